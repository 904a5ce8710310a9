//! Networks, endpoints and ports, both ways.

use super::non_empty;
use crate::container::inspect::Inspected;
use crate::network::Joined;
use bollard_stubs::models as wire;
use dhow_model::container::NetworkMode;
use dhow_model::network::{DEFAULT_NETWORK, EndpointConfig, Mac, Pool, PortBinding, Protocol, Published};
use dhow_model::{Error, Result};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What clients send for the default network.
fn real_name(name: &str) -> &str {
    if matches!(name, "" | "default") { DEFAULT_NETWORK } else { name }
}

/// `HostConfig.NetworkMode`.
pub(super) fn parse_mode(mode: &str) -> Result<NetworkMode> {
    match mode {
        "none" => Ok(NetworkMode::None),
        "host" => Ok(NetworkMode::Host),
        container if container.starts_with("container:") => match &container["container:".len()..] {
            "" => Err(Error::invalid("invalid container format container:<name|id>")),
            who => Ok(NetworkMode::Container(who.to_owned())),
        },
        name => Ok(NetworkMode::Network(real_name(name).to_owned())),
    }
}

/// `NetworkingConfig.EndpointsConfig`: that of the mode first, the others by name. `mac` is the older field beside it.
pub(super) fn parse_endpoints(
    mode: &NetworkMode,
    config: Option<&wire::NetworkingConfig>,
    mac: Option<&str>,
) -> Result<Vec<EndpointConfig>> {
    let mut endpoints = BTreeMap::new();
    for (name, settings) in config.and_then(|c| c.endpoints_config.as_ref()).into_iter().flatten() {
        let name = real_name(name);
        let endpoint = parse_endpoint(name, settings)?;
        // `none`, `host` and `container:…` are modes; what is asked of them is checked with the mode.
        endpoints.insert(name.to_owned(), endpoint);
    }
    let mac = mac.filter(|mac| !mac.is_empty()).map(Mac::parse).transpose()?;
    let NetworkMode::Network(main) = mode else {
        if mac.is_some() && !matches!(mode, NetworkMode::None) {
            return Err(Error::invalid("conflicting options: mac-address and the network mode"));
        }
        let word = mode.word();
        let others: Vec<EndpointConfig> = endpoints.into_values().collect();
        if let Some(other) = others.iter().find(|e| e.network != word && e.network != DEFAULT_NETWORK) {
            return Err(Error::invalid(format!(
                "conflicting options: cannot attach both user-defined network {} and network mode {word}",
                other.network
            )));
        }
        return Ok(others);
    };
    let mut list = vec![endpoints.remove(main).unwrap_or_else(|| EndpointConfig::plain(main))];
    list[0].mac = list[0].mac.or(mac);
    // Clients name the mode by its name and the endpoint by another: an empty one for the default is harmless.
    if main != DEFAULT_NETWORK
        && endpoints.get(DEFAULT_NETWORK).is_some_and(|e| *e == EndpointConfig::plain(DEFAULT_NETWORK))
        && endpoints.len() == 1
    {
        endpoints.clear();
    }
    list.extend(endpoints.into_values());
    Ok(list)
}

/// One endpoint.
pub(in crate::api) fn parse_endpoint(
    network: &str,
    settings: &wire::EndpointSettings,
) -> Result<EndpointConfig> {
    let ipam = settings.ipam_config.clone().unwrap_or_default();
    let bad = |text: &str, what: &str| {
        Error::invalid(format!("invalid endpoint settings: invalid {what} address: {text}"))
    };
    let ipv4 = non_empty(&ipam.ipv4_address)
        .map(|text| text.parse::<Ipv4Addr>().map_err(|_| bad(text, "IPv4")))
        .transpose()?;
    let ipv6 = non_empty(&ipam.ipv6_address)
        .map(|text| text.parse::<Ipv6Addr>().map_err(|_| bad(text, "IPv6")))
        .transpose()?;
    let link_local = |text: &String| {
        text.parse::<IpAddr>().map_err(|_| {
            Error::invalid(format!("invalid endpoint settings: invalid link-local IP address: {text}"))
        })
    };
    let aliases = settings.aliases.clone().unwrap_or_default();
    if let Some(odd) = aliases.iter().find(|a| !is_name(a)) {
        return Err(Error::invalid(format!("invalid alias {odd:?}")));
    }
    Ok(EndpointConfig {
        network: network.to_owned(),
        aliases,
        links: parse_links(settings.links.as_deref().unwrap_or_default())?,
        ipv4,
        ipv6,
        link_local: ipam.link_local_ips.iter().flatten().map(link_local).collect::<Result<_>>()?,
        options: settings.driver_opts.clone().unwrap_or_default().into_iter().collect(),
        mac: non_empty(&settings.mac_address).map(Mac::parse).transpose()?,
        gateway_priority: settings.gw_priority.unwrap_or(0),
    })
}

/// What may stand in a hosts file and in a question to a name server.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 253 && text.chars().all(|c| c.is_ascii_graphic() && c != '#')
}

/// `container[:alias]`.
pub(super) fn parse_links(links: &[String]) -> Result<Vec<(String, String)>> {
    links
        .iter()
        .map(|text| {
            let (name, alias) = text.split_once(':').unwrap_or((text, text));
            let (name, alias) = (name.trim_start_matches('/'), alias.rsplit('/').next().unwrap_or(alias));
            if name.is_empty() || !is_name(alias) || alias.contains(':') {
                return Err(Error::invalid(format!("bad format for links: {text}")));
            }
            Ok((name.to_owned(), alias.to_owned()))
        })
        .collect()
}

/// `HostConfig.PortBindings`.
pub(super) fn parse_ports(bindings: Option<&wire::PortMap>) -> Result<Vec<PortBinding>> {
    let mut ports = Vec::new();
    for (port, places) in bindings.into_iter().flatten() {
        let bad = || Error::invalid(format!("invalid port specification: {port:?}"));
        let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        let number: u16 = number.parse().map_err(|_| bad())?;
        let protocol = Protocol::parse(protocol)?;
        if number == 0 {
            return Err(bad());
        }
        for place in places.iter().flatten() {
            let host_ip = non_empty(&place.host_ip)
                .map(|ip| {
                    ip.parse::<IpAddr>().map_err(|_| Error::invalid(format!("invalid IP address: {ip}")))
                })
                .transpose()?;
            let text = non_empty(&place.host_port).unwrap_or("0");
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let bad = |_| Error::invalid(format!("invalid port specification: {text:?}"));
            let host_ports: (u16, u16) = (first.parse().map_err(bad)?, last.parse().map_err(bad)?);
            if host_ports.0 > host_ports.1 {
                return Err(Error::invalid(format!("invalid port specification: {text:?}")));
            }
            ports.push(PortBinding { port: number, protocol, host_ip, host_ports });
        }
    }
    ports.sort_by_key(|p| (p.protocol, p.port, p.host_ports, p.host_ip));
    Ok(ports)
}

/// `HostConfig.PortBindings`, as asked for.
pub(super) fn show_bindings(ports: &[PortBinding]) -> wire::PortMap {
    let mut map = wire::PortMap::new();
    for port in ports {
        let (first, last) = port.host_ports;
        let host_port = match (first, last) {
            (0, 0) => String::new(),
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        };
        let host_ip = port.host_ip.map(|ip| ip.to_string()).unwrap_or_default();
        let binding = wire::PortBinding { host_ip: Some(host_ip), host_port: Some(host_port) };
        let key = format!("{}/{}", port.port, port.protocol.as_str());
        map.entry(key).or_default().get_or_insert_default().push(binding);
    }
    map
}

/// `NetworkSettings.Ports`: what is published, and what is exposed without.
pub(super) fn show_ports(found: &Inspected) -> wire::PortMap {
    if !found.record.state.status.has_process() {
        return wire::PortMap::new();
    }
    let mut map: wire::PortMap = if found.joined.is_empty() {
        HashMap::new()
    } else {
        found.record.config.exposed_ports.iter().map(|port| (port.clone(), None)).collect()
    };
    for port in &found.published {
        let binding = wire::PortBinding {
            host_ip: Some(port.host_ip.to_string()),
            host_port: Some(port.host_port.to_string()),
        };
        let key = format!("{}/{}", port.port, port.protocol.as_str());
        map.entry(key).or_default().get_or_insert_default().push(binding);
    }
    map
}

/// The ports of a row of `ps`.
pub(super) fn summary_ports(exposed: &[String], published: &[Published]) -> Vec<wire::PortSummary> {
    let kind = |protocol: Protocol| match protocol {
        Protocol::Tcp => wire::PortSummaryTypeEnum::TCP,
        Protocol::Udp => wire::PortSummaryTypeEnum::UDP,
        Protocol::Sctp => wire::PortSummaryTypeEnum::SCTP,
    };
    let mut ports: Vec<wire::PortSummary> = published
        .iter()
        .map(|port| wire::PortSummary {
            ip: Some(port.host_ip.to_string()),
            private_port: port.port,
            public_port: Some(port.host_port),
            typ: Some(kind(port.protocol)),
        })
        .collect();
    let known: HashSet<_> = published.iter().map(|port| (port.port, port.protocol)).collect();
    for text in exposed {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (Ok(number), Ok(protocol)) = (number.parse::<u16>(), Protocol::parse(protocol)) else { continue };
        if !known.contains(&(number, protocol)) {
            ports.push(wire::PortSummary {
                ip: None,
                private_port: number,
                public_port: None,
                typ: Some(kind(protocol)),
            });
        }
    }
    ports
}

/// The same, one after the other.
pub(super) fn endpoints_by_name(joined: &[Joined]) -> impl Iterator<Item = (&str, wire::EndpointSettings)> {
    joined.iter().map(|one| (one.name.as_str(), show_endpoint(one)))
}

/// The endpoints of a container by the names of their networks.
pub(super) fn show_endpoints(joined: &[Joined]) -> HashMap<String, wire::EndpointSettings> {
    endpoints_by_name(joined).map(|(name, endpoint)| (name.to_owned(), endpoint)).collect()
}

fn show_endpoint(one: &Joined) -> wire::EndpointSettings {
    let text = |value: Option<String>| Some(value.unwrap_or_default());
    let wanted = &one.wanted;
    let ipam = wire::EndpointIpamConfig {
        ipv4_address: wanted.ipv4.map(|a| a.to_string()),
        ipv6_address: wanted.ipv6.map(|a| a.to_string()),
        link_local_ips: (!wanted.link_local.is_empty())
            .then(|| wanted.link_local.iter().map(ToString::to_string).collect()),
    };
    let endpoint = one.endpoint.as_ref();
    let network = one.network.as_ref();
    let ipv4 = endpoint.and_then(|e| e.ipv4);
    let ipv6 = endpoint.and_then(|e| e.ipv6);
    let pool = |address: Option<IpAddr>| network.and_then(|n| n.config.pool_with(address?));
    let (pool4, pool6) = (pool(ipv4.map(IpAddr::V4)), pool(ipv6.map(IpAddr::V6)));
    let gateway = |pool: Option<&Pool>| {
        let internal = network.is_some_and(|n| n.config.internal);
        pool.filter(|_| !internal).and_then(|p| p.gateway).map(|g| g.to_string())
    };
    let prefix = |pool: Option<&Pool>| Some(i64::from(pool.map_or(0, |p| p.subnet.prefix())));
    let links: Vec<String> = wanted.links.iter().map(|(name, alias)| format!("{name}:{alias}")).collect();
    wire::EndpointSettings {
        ipam_config: (ipam != wire::EndpointIpamConfig::default()).then_some(ipam),
        links: (!links.is_empty()).then_some(links),
        mac_address: text(endpoint.and_then(|e| e.mac).map(|m| m.to_string())),
        aliases: (!wanted.aliases.is_empty()).then(|| wanted.aliases.clone()),
        driver_opts: (!wanted.options.is_empty()).then(|| wanted.options.clone().into_iter().collect()),
        gw_priority: Some(wanted.gateway_priority),
        network_id: text(network.map(|n| n.id.to_string())),
        endpoint_id: text(endpoint.map(|e| e.id.to_string())),
        gateway: text(gateway(pool4)),
        ip_address: text(ipv4.map(|a| a.to_string())),
        ip_prefix_len: prefix(pool4),
        ipv6_gateway: text(gateway(pool6)),
        global_ipv6_address: text(ipv6.map(|a| a.to_string())),
        global_ipv6_prefix_len: prefix(pool6),
        dns_names: dns_names(one),
    }
}

/// What others find the container by; none on networks that do not resolve names.
fn dns_names(one: &Joined) -> Option<Vec<String>> {
    let endpoint = one.endpoint.as_ref()?;
    one.network.as_ref().filter(|n| n.resolves_names())?;
    let mut names = vec![one.container.clone()];
    names.extend(endpoint.names.iter().filter(|name| **name != one.container).cloned());
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn endpoints(mode: &str, config: serde_json::Value) -> Result<Vec<EndpointConfig>> {
        let config: wire::NetworkingConfig =
            serde_json::from_value(json!({"EndpointsConfig": config})).unwrap();
        parse_endpoints(&parse_mode(mode)?, Some(&config), None)
    }

    #[test]
    fn the_mode_comes_first() {
        let names = |list: Vec<EndpointConfig>| list.into_iter().map(|e| e.network).collect::<Vec<_>>();
        assert_eq!(names(endpoints("", json!({})).unwrap()), ["bridge"]);
        assert_eq!(names(endpoints("default", json!({"default": {}})).unwrap()), ["bridge"]);
        assert_eq!(names(endpoints("b", json!({"a": {}, "c": {}})).unwrap()), ["b", "a", "c"]);
        assert_eq!(names(endpoints("b", json!({"default": {}})).unwrap()), ["b"]);
        assert!(endpoints("host", json!({"mine": {}})).is_err());
    }

    #[test]
    fn settings_are_read() {
        let list = endpoints(
            "n",
            json!({"n": {"IPAMConfig": {"IPv4Address": "10.0.0.7", "IPv6Address": "fd00::7"}, "Aliases": ["a"],
                          "Links": ["db:sql"], "MacAddress": "02:42:00:00:00:07", "GwPriority": 3}}),
        )
        .unwrap();
        let one = &list[0];
        assert_eq!(one.ipv4.unwrap().to_string(), "10.0.0.7");
        assert_eq!(one.ipv6.unwrap().to_string(), "fd00::7");
        assert_eq!((one.aliases[0].as_str(), one.gateway_priority), ("a", 3));
        assert_eq!(one.links, [("db".to_owned(), "sql".to_owned())]);
        for bad in [
            json!({"IPAMConfig": {"IPv4Address": "fd00::7"}}),
            json!({"Aliases": ["a b"]}),
            json!({"Links": [":x"]}),
            json!({"MacAddress": "x"}),
        ] {
            assert!(endpoints("n", json!({"n": bad.clone()})).is_err(), "{bad}");
        }
    }

    #[test]
    fn ports_are_read_and_shown() {
        let map: wire::PortMap = serde_json::from_value(json!({
            "80/tcp": [{"HostIp": "", "HostPort": "8080"}, {"HostIp": "::1", "HostPort": ""}],
            "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "5000-5010"}],
        }))
        .unwrap();
        let ports = parse_ports(Some(&map)).unwrap();
        assert_eq!(ports.len(), 3);
        assert_eq!(ports[2].host_ports, (5000, 5010));
        let shown = show_bindings(&ports);
        assert_eq!(shown["53/udp"].as_ref().unwrap()[0].host_port.as_deref(), Some("5000-5010"));
        assert_eq!(shown["80/tcp"].as_ref().unwrap().len(), 2);
        for bad in [
            json!({"0/tcp": [{}]}),
            json!({"80/x": [{}]}),
            json!({"80/tcp": [{"HostIp": "host"}]}),
            json!({"80/tcp": [{"HostPort": "9-8"}]}),
            json!({"80/tcp": [{"HostPort": "70000"}]}),
        ] {
            let map: wire::PortMap = serde_json::from_value(bad.clone()).unwrap();
            assert!(parse_ports(Some(&map)).is_err(), "{bad}");
        }
    }
}
