//! `-p` and `--expose`: ports and ranges of ports.

use bollard::models::PortBinding;
use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// Ports by `number/protocol`, with where they are published.
pub(crate) type Bindings = HashMap<String, Option<Vec<PortBinding>>>;

/// Adds `[ip:][host]:container[/protocol]`, each port possibly a range.
pub(crate) fn publish(bindings: &mut Bindings, text: &str) -> Result<(), String> {
    let (address, protocol) = split_protocol(text)?;
    let (front, container) = address.rsplit_once(':').unwrap_or(("", address));
    // An IPv6 address has colons of its own, within brackets.
    let (ip, host) = match front.rsplit_once(':') {
        Some((ip, host)) if front.ends_with(']') => (format!("{ip}:{host}"), ""),
        Some((ip, host)) => (ip.to_owned(), host),
        None if front.starts_with('[') || front.parse::<IpAddr>().is_ok() => (front.to_owned(), ""),
        None => (String::new(), front),
    };
    let ip = ip.strip_prefix('[').and_then(|i| i.strip_suffix(']')).unwrap_or(&ip).to_owned();
    if !ip.is_empty() && ip.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address: {ip}"));
    }
    if container.is_empty() {
        return Err(format!("no port specified: {text}<empty>"));
    }
    let container = parse_range(container).ok_or_else(|| format!("invalid containerPort: {container}"))?;
    let host_range = match host {
        "" => None,
        _ => Some(parse_range(host).ok_or_else(|| format!("invalid hostPort: {host}"))?),
    };
    let count = container.len();
    if let Some(range) = &host_range
        && range.len() != count
        && count != 1
    {
        return Err(format!("invalid ranges specified for container and host Ports: {text} and {host}"));
    }
    for (index, port) in container.enumerate() {
        let host_port = match &host_range {
            None => String::new(),
            // One container port and a range: the engine chooses among them.
            Some(range) if range.len() != count => format!("{}-{}", range.start(), range.end()),
            Some(range) => range.clone().nth(index).map(|p| p.to_string()).unwrap_or_default(),
        };
        let binding = PortBinding { host_ip: Some(ip.clone()), host_port: Some(host_port) };
        bindings.entry(format!("{port}/{protocol}")).or_default().get_or_insert_default().push(binding);
    }
    Ok(())
}

/// The ports of `80`, `80/udp`, `80-90/tcp`.
pub(crate) fn expose(text: &str) -> Result<Vec<String>, String> {
    let (range, protocol) = split_protocol(text)?;
    if range.contains(':') {
        return Err(format!("invalid port format for --expose: {text}"));
    }
    let range = parse_range(range).ok_or_else(|| format!("invalid range format for --expose: {text}"))?;
    Ok(range.map(|port| format!("{port}/{protocol}")).collect())
}

fn split_protocol(text: &str) -> Result<(&str, String), String> {
    let (address, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_lowercase();
    match protocol.as_str() {
        "tcp" | "udp" | "sctp" => Ok((address, protocol)),
        _ => Err(format!("invalid proto: {protocol}")),
    }
}

fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let number = |n: &str| n.bytes().all(|b| b.is_ascii_digit()).then(|| n.parse::<u16>().ok()).flatten();
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(text: &str) -> Result<Vec<String>, String> {
        let mut bindings = Bindings::new();
        publish(&mut bindings, text)?;
        let mut shown: Vec<String> = bindings
            .into_iter()
            .flat_map(|(port, list)| {
                list.unwrap_or_default().into_iter().map(move |b| {
                    format!("{}|{}>{port}", b.host_ip.unwrap_or_default(), b.host_port.unwrap_or_default())
                })
            })
            .collect();
        shown.sort();
        Ok(shown)
    }

    #[test]
    fn publishing() {
        assert_eq!(published("80").unwrap(), ["|>80/tcp"]);
        assert_eq!(published("8080:80/udp").unwrap(), ["|8080>80/udp"]);
        assert_eq!(published("127.0.0.1:8080:80").unwrap(), ["127.0.0.1|8080>80/tcp"]);
        assert_eq!(published("127.0.0.1::80").unwrap(), ["127.0.0.1|>80/tcp"]);
        assert_eq!(published("[::1]:8080:80").unwrap(), ["::1|8080>80/tcp"]);
        assert_eq!(published("8000-8001:80-81").unwrap(), ["|8000>80/tcp", "|8001>81/tcp"]);
        assert_eq!(published("8000-8010:80").unwrap(), ["|8000-8010>80/tcp"]);
        for bad in ["", "x", "80:", "99999", "80:x", "1-2:1-3", "1.2.3:80:80", "80/xyz", "9-8"] {
            assert!(published(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn exposing() {
        assert_eq!(expose("80").unwrap(), ["80/tcp"]);
        assert_eq!(expose("80-82/udp").unwrap(), ["80/udp", "81/udp", "82/udp"]);
        assert!(expose("80:80").is_err() && expose("x").is_err());
    }
}
