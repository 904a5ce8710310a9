//! `--network` in both forms, and the flags that say what a container is on it.

use super::csv::split_csv;
use super::flags::SpecArgs;
use crate::cli::exit::{Failure, Outcome};
use bollard::models::{EndpointIpamConfig, EndpointSettings, NetworkingConfig};
use std::collections::HashMap;

/// The network mode, and what is asked of each network.
pub(super) struct Networks {
    pub(super) mode: String,
    pub(super) config: Option<NetworkingConfig>,
}

/// Brings the flags together, as Docker's client does: those without a network of their own are for the first.
pub(super) fn build(args: &SpecArgs) -> Outcome<Networks> {
    let mut networks: Vec<(String, EndpointSettings)> = Vec::new();
    for text in &args.network {
        let (name, settings) = parse(text)?;
        if networks.iter().any(|(other, _)| *other == name) {
            return Err(Failure::usage(format!("network \"{name}\" is specified multiple times")));
        }
        networks.push((name, settings));
    }
    if networks.is_empty() {
        networks.push(("default".to_owned(), EndpointSettings::default()));
    }
    let several = networks.len() > 1;
    if several && networks.iter().any(|(name, _)| is_mode(name)) {
        return Err(Failure::usage(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
        ));
    }
    let (mode, first) = (networks[0].0.clone(), &mut networks[0].1);
    let both = |flag: &str| {
        Failure::usage(format!("conflicting options: cannot specify both --{flag} and per-network {flag}"))
    };
    if !args.network_alias.is_empty() {
        if first.aliases.is_some() {
            return Err(both("network-alias"));
        }
        first.aliases = Some(args.network_alias.clone());
    }
    if !args.link.is_empty() && mode != "default" && mode != "bridge" {
        if first.links.is_some() {
            return Err(both("link"));
        }
        first.links = Some(args.link.clone());
    }
    let ipam = first.ipam_config.get_or_insert_default();
    for (flag, value, slot) in [
        ("ip", args.ip.map(|ip| ip.to_string()), &mut ipam.ipv4_address),
        ("ip6", args.ip6.map(|ip| ip.to_string()), &mut ipam.ipv6_address),
    ] {
        if value.is_some() && slot.is_some() {
            return Err(both(flag));
        }
        *slot = slot.take().or(value);
    }
    if !args.link_local_ip.is_empty() {
        if ipam.link_local_ips.is_some() {
            return Err(both("link-local-ip"));
        }
        ipam.link_local_ips = Some(args.link_local_ip.iter().map(ToString::to_string).collect());
    }
    if *ipam == EndpointIpamConfig::default() {
        first.ipam_config = None;
    }
    if let Some(mac) = &args.mac_address {
        if first.mac_address.is_some() {
            return Err(both("mac-address"));
        }
        first.mac_address = Some(mac.clone());
    }
    let plain = networks.iter().all(|(_, settings)| *settings == EndpointSettings::default());
    let config = (!plain || several).then(|| NetworkingConfig {
        endpoints_config: Some(networks.into_iter().collect::<HashMap<_, _>>()),
    });
    Ok(Networks { mode, config })
}

/// What is no network, but a way to have none of one's own.
fn is_mode(name: &str) -> bool {
    matches!(name, "none" | "host") || name.starts_with("container:")
}

/// `NAME`, or `name=NAME,alias=A,ip=ADDRESS,…`.
fn parse(text: &str) -> Outcome<(String, EndpointSettings)> {
    let mut settings = EndpointSettings::default();
    if !text.contains('=') {
        return Ok((text.to_owned(), settings));
    }
    let mut name = String::new();
    let mut ipam = EndpointIpamConfig::default();
    let fields = split_csv(text).map_err(|why| Failure::usage(format!("invalid --network: {why}")))?;
    for field in &fields {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("invalid field {field} in --network {text}")))?;
        let value = value.trim().to_owned();
        match key.trim().to_ascii_lowercase().as_str() {
            "name" => name = value,
            "alias" => settings.aliases.get_or_insert_default().push(value),
            "link" => settings.links.get_or_insert_default().push(value),
            "ip" => ipam.ipv4_address = Some(value),
            "ip6" => ipam.ipv6_address = Some(value),
            "link-local-ip" => ipam.link_local_ips.get_or_insert_default().push(value),
            "mac-address" => settings.mac_address = Some(value),
            "driver-opt" => {
                let (key, value) = driver_option(&value)?;
                settings.driver_opts.get_or_insert_default().insert(key, value);
            }
            "gw-priority" => {
                let number = value
                    .parse()
                    .map_err(|_| Failure::usage(format!("invalid gw-priority ({value}): invalid syntax")))?;
                settings.gw_priority = Some(number);
            }
            _ => return Err(Failure::usage(format!("invalid field key {key}"))),
        }
    }
    if name.is_empty() {
        return Err(Failure::usage("network name/id is not specified"));
    }
    if ipam != EndpointIpamConfig::default() {
        settings.ipam_config = Some(ipam);
    }
    Ok((name, settings))
}

/// `KEY=VALUE` of an endpoint.
pub(crate) fn driver_option(text: &str) -> Outcome<(String, String)> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err(Failure::usage("invalid key value pair format in driver options")),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn both_forms() {
        let (name, settings) = parse("mine").unwrap();
        assert_eq!((name.as_str(), settings.aliases), ("mine", None));
        let (name, settings) =
            parse("name=mine,alias=a,alias=b,ip=10.0.0.7,gw-priority=-1,driver-opt=k=v").unwrap();
        assert_eq!((name.as_str(), settings.gw_priority), ("mine", Some(-1)));
        assert_eq!(settings.aliases.unwrap(), ["a", "b"]);
        assert_eq!(settings.ipam_config.unwrap().ipv4_address.as_deref(), Some("10.0.0.7"));
        assert_eq!(settings.driver_opts.unwrap()["k"], "v");
        let (_, settings) = parse("name=mine,\"driver-opt=k=v,w\",link-local-ip=169.254.1.2").unwrap();
        assert_eq!(settings.driver_opts.unwrap()["k"], "v,w");
        assert_eq!(settings.ipam_config.unwrap().link_local_ips.unwrap(), ["169.254.1.2"]);
        for bad in ["alias=a", "name=a,b", "name=a,colour=red", "name=a,gw-priority=x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
