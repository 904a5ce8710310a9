//! `dhow info`: the engine, and the machine as the engine sees it.

use crate::cli::arguments::Rules;
use crate::cli::client::wire;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::listing::parse_template;
use crate::cli::output;
use crate::cli::template::{Kind, Ordered};
use clap::Parser;
use dhow_model::units;
use serde_json::{Value, json};
use std::fmt::Write;

/// Display system-wide information
#[derive(Debug, Parser)]
#[command(name = "dhow info")]
pub(crate) struct Args {
    /// Format output using a custom template: 'json' or 'TEMPLATE'
    #[arg(short, long)]
    format: Option<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let template = match args.format.as_deref() {
        None | Some("") => None,
        Some("json") => Some(parse_template("{{json .}}")?),
        Some(text) => Some(parse_template(text)?),
    };
    let client = context.client().await?;
    let mut info: Value = serde_json::from_slice(&client.get_bytes("/info").await?).map_err(wire)?;
    info["ClientInfo"] = json!({"Debug": false, "Context": "default", "Version": env!("CARGO_PKG_VERSION")});
    if let Some(template) = template {
        let json = serde_json::to_vec(&info).map_err(wire)?;
        let info = Ordered::parse_struct(&json, Kind::Info).map_err(wire)?.of_type("system.dockerInfo");
        output::print_line(&template.execute(&info).map_err(Failure::new)?)?;
        return Ok(0);
    }
    output::print(&show(&info))?;
    for warning in info["Warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        output::warn_line(warning);
    }
    Ok(0)
}

/// Lines in Docker's order: what the engine does not tell is not shown.
const LINES: [(&str, &str); 27] = [
    ("Containers", "Containers"),
    (" Running", "ContainersRunning"),
    (" Paused", "ContainersPaused"),
    (" Stopped", "ContainersStopped"),
    ("Images", "Images"),
    ("Server Version", "ServerVersion"),
    ("Storage Driver", "Driver"),
    ("Logging Driver", "LoggingDriver"),
    ("Cgroup Driver", "CgroupDriver"),
    ("Cgroup Version", "CgroupVersion"),
    ("Default Runtime", "DefaultRuntime"),
    ("Init Binary", "InitBinary"),
    ("Kernel Version", "KernelVersion"),
    ("Operating System", "OperatingSystem"),
    ("OSType", "OSType"),
    ("Architecture", "Architecture"),
    ("CPUs", "NCPU"),
    ("Total Memory", "MemTotal"),
    ("Name", "Name"),
    ("ID", "ID"),
    ("Docker Root Dir", "DockerRootDir"),
    ("Debug Mode", "Debug"),
    ("HTTP Proxy", "HttpProxy"),
    ("HTTPS Proxy", "HttpsProxy"),
    ("No Proxy", "NoProxy"),
    ("Experimental", "ExperimentalBuild"),
    ("Live Restore Enabled", "LiveRestoreEnabled"),
];

fn show(info: &Value) -> String {
    let mut text = format!("Client: dhow\n Version:    {}\n\nServer:\n", env!("CARGO_PKG_VERSION"));
    for (title, field) in LINES {
        let shown = match &info[field] {
            Value::Null => continue,
            Value::String(value) if value.is_empty() => continue,
            Value::String(value) => value.clone(),
            Value::Number(bytes) if field == "MemTotal" => units::bytes_size(bytes.as_u64().unwrap_or(0)),
            other => other.to_string(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, " {title}: {shown}");
        if field == "Driver" {
            for pair in info["DriverStatus"].as_array().into_iter().flatten() {
                if let (Some(name), Some(value)) = (pair[0].as_str(), pair[1].as_str()) {
                    let _ = writeln!(text, "  {name}: {value}");
                }
            }
        }
        match field {
            "CgroupVersion" => text.push_str(&offered(info)),
            "InitBinary" => text.push_str(&security(info)),
            _ => {}
        }
    }
    text.push_str(&settings(&info["Dhow"]));
    let labels: Vec<&str> =
        info["Labels"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !labels.is_empty() {
        let _ = writeln!(text, " Labels:\n  {}", labels.join("\n  "));
    }
    text
}

/// Drivers, and runtimes by name.
fn offered(info: &Value) -> String {
    let mut text = " Plugins:\n".to_owned();
    for kind in ["Volume", "Network", "Authorization", "Log"] {
        let names: Vec<&str> =
            info["Plugins"][kind].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if !names.is_empty() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {kind}: {}", names.join(" "));
        }
    }
    if let Some(state) = info["Swarm"]["LocalNodeState"].as_str() {
        let _ = writeln!(text, " Swarm: {state}");
    }
    let runtimes = info["Runtimes"].as_object().into_iter().flat_map(|all| all.keys().map(String::as_str));
    let _ = writeln!(text, " Runtimes: {}", runtimes.collect::<Vec<_>>().join(" "));
    text
}

/// What dhow.json says, or what holds without it.
fn settings(dhow: &Value) -> String {
    let mut text = String::new();
    for (title, field) in [
        ("Config File", "ConfigFile"),
        ("Cgroup Parent", "CgroupParent"),
        ("Log Options", "LogOpts"),
        ("Default Ulimits", "DefaultUlimits"),
        ("Detach Keys", "DetachKeys"),
        ("User Namespace Remap", "UsernsRemap"),
    ] {
        let shown = match &dhow[field] {
            Value::String(value) => value.clone(),
            Value::Array(values) => values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
            Value::Object(values) => {
                let pairs =
                    values.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")));
                pairs.collect::<Vec<_>>().join(", ")
            }
            _ => String::new(),
        };
        if !shown.is_empty() {
            let _ = writeln!(text, " {title}: {shown}");
        }
    }
    text
}

/// `name=seccomp,profile=builtin` as a title with its details below.
fn security(info: &Value) -> String {
    let options: Vec<&str> =
        info["SecurityOptions"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if options.is_empty() {
        return String::new();
    }
    let mut text = " Security Options:\n".to_owned();
    for option in options {
        for part in option.split(',') {
            let _ = match part.split_once('=') {
                Some(("name", name)) => writeln!(text, "  {name}"),
                Some((key, value)) => {
                    let title = if key == "profile" { "Profile" } else { key };
                    writeln!(text, "   {title}: {value}")
                }
                None => writeln!(text, "  {part}"),
            };
        }
    }
    text
}
