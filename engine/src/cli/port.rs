//! `dhow port`: which ports of a container are published, and where.

use crate::cli::arguments::Rules;
use crate::cli::client::wire;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::output;
use crate::cli::stop::container;
use clap::Parser;
use serde_json::{Map, Value};

/// List port mappings or a specific mapping for the container
#[derive(Debug, Parser)]
#[command(name = "dhow port")]
pub(crate) struct Args {
    #[arg(required = true, value_name = "CONTAINER")]
    container: String,
    /// Only where this port of the container is published
    #[arg(value_name = "PRIVATE_PORT[/PROTO]")]
    port: Option<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let answer = context.client().await?.get_bytes(container(&args.container, "/json")?.as_str()).await?;
    let found: Value = serde_json::from_slice(&answer).map_err(wire)?;
    let none = Map::new();
    let ports = found["NetworkSettings"]["Ports"].as_object().unwrap_or(&none);
    for line in lines(ports, &args)? {
        output::print_line(&line)?;
    }
    Ok(0)
}

fn lines(ports: &Map<String, Value>, args: &Args) -> Outcome<Vec<String>> {
    let Some(port) = &args.port else {
        let mut all: Vec<(u16, String)> = ports
            .iter()
            .flat_map(|(from, to)| {
                let number = from.split('/').next().and_then(|n| n.parse().ok()).unwrap_or(0);
                places(to).map(move |place| (number, format!("{from} -> {place}")))
            })
            .collect();
        all.sort();
        return Ok(all.into_iter().map(|(_, line)| line).collect());
    };
    let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    if number.parse::<u16>().is_err() {
        let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        let why = if digits { "value out of range" } else { "invalid syntax" };
        return Err(Failure::bare(format!(
            "Error: invalid port ({number}): strconv.ParseUint: parsing {number:?}: {why}"
        )));
    }
    let found: Vec<String> =
        ports.get(&format!("{number}/{protocol}")).into_iter().flat_map(places).collect();
    if found.is_empty() {
        return Err(Failure::bare(format!(
            "Error: No public port '{port}' published for {}",
            args.container
        )));
    }
    Ok(found)
}

/// `0.0.0.0:8080`, `[::]:8080`.
fn places(bindings: &Value) -> impl Iterator<Item = String> {
    bindings.as_array().into_iter().flatten().map(|binding| {
        let text = |key: &str| binding[key].as_str().unwrap_or_default();
        let (ip, port) = (text("HostIp"), text("HostPort"));
        if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports() {
        let ports = json!({
            "443/tcp": [{"HostIp": "::", "HostPort": "8443"}],
            "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
            "53/udp": null,
        });
        let ports = ports.as_object().unwrap();
        let asked = |port: Option<&str>| {
            lines(ports, &Args { container: "web".to_owned(), port: port.map(str::to_owned) })
        };
        assert_eq!(
            asked(None).unwrap(),
            ["80/tcp -> 0.0.0.0:8080", "80/tcp -> [::]:8080", "443/tcp -> [::]:8443"]
        );
        assert_eq!(asked(Some("443")).unwrap(), ["[::]:8443"]);
        assert_eq!(asked(Some("80/tcp")).unwrap(), ["0.0.0.0:8080", "[::]:8080"]);
        for (port, message) in [
            ("53/udp", "Error: No public port '53/udp' published for web"),
            ("81", "Error: No public port '81' published for web"),
            ("x", "Error: invalid port (x): strconv.ParseUint: parsing \"x\": invalid syntax"),
            (
                "70000",
                "Error: invalid port (70000): strconv.ParseUint: parsing \"70000\": value out of range",
            ),
        ] {
            assert_eq!(asked(Some(port)).unwrap_err().message, message);
        }
    }
}
