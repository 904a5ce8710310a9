//! The files that are mounted on `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf`.
//!
//! Each start writes them anew, so they lie below the state directory: a tmpfs makes and removes files ten times
//! as fast as a disk.

use crate::visible;
use dhow_model::container::{ContainerConfig, HOST_GATEWAY, NetworkMode};
use dhow_model::network::{Endpoint, Network};
use dhow_model::{Result, ResultExt};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// Where the monitor answers questions for names, in the container's own namespace.
pub(crate) const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// Who is asked when the host's own servers are out of a container's reach: as in Docker.
const PUBLIC_SERVERS: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

/// Writes the three files into the container's run-time directory, and returns their paths in the order above.
/// `resolves` says that the monitor answers for names; `gateway` is what `host-gateway` stands for. A container on
/// networks gets its own addresses later, by [`write_hosts`].
pub(crate) fn write(
    directory: &Path,
    config: &ContainerConfig,
    resolves: bool,
    gateway: Option<IpAddr>,
) -> Result<(PathBuf, PathBuf, PathBuf)> {
    let host_resolv_conf = host_resolv_conf();
    let file = |name: &str, text: String| {
        let path = directory.join(name);
        visible::write_file(&path, &text).context(|| format!("write {}", path.display()))?;
        Ok::<_, dhow_model::Error>(path)
    };
    let resolv_conf = if resolves {
        own_resolv_conf(config, &host_resolv_conf)
    } else {
        resolv_conf(config, &host_resolv_conf)
    };
    Ok((
        file("hostname", format!("{}\n", config.hostname))?,
        file("hosts", hosts(config, gateway))?,
        file("resolv.conf", resolv_conf)?,
    ))
}

/// Writes the hosts file anew, with the container's addresses, and those of `others` by their names. The file stays
/// the same one: it is mounted already.
pub(crate) fn write_hosts(
    directory: &Path,
    config: &ContainerConfig,
    taken: &[(Network, Endpoint)],
    gateway: Option<IpAddr>,
    others: &[(IpAddr, String)],
) -> Result<()> {
    let mut text = hosts(config, gateway);
    let own = taken.iter().flat_map(|(_, e)| [e.ipv4.map(IpAddr::V4), e.ipv6.map(IpAddr::V6)]).flatten();
    let own = own.map(|address| (address, full_name(config)));
    for (address, names) in others.iter().cloned().chain(own) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{address}\t{names}");
    }
    let path = directory.join("hosts");
    std::fs::write(&path, text).context(|| format!("write {}", path.display()))
}

/// The host's file; where a local resolver is all that it names, that resolver's own list.
pub(crate) fn host_resolv_conf() -> String {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    if name_servers(&text).all(|server| server.is_loopback())
        && let Ok(other) = std::fs::read_to_string("/run/systemd/resolve/resolv.conf")
    {
        return other;
    }
    text
}

/// The servers that a file names.
pub(crate) fn name_servers(text: &str) -> impl Iterator<Item = IpAddr> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "nameserver")?;
        // A link-local address has its interface behind it.
        words.next()?.split('%').next()?.parse().ok()
    })
}

/// The whole name and, if it has several parts, the first: a whole name may be the host's alone, or have a domain of its
/// own.
fn full_name(config: &ContainerConfig) -> String {
    let whole = match config.domainname.as_str() {
        "" => config.hostname.clone(),
        domain => format!("{}.{domain}", config.hostname),
    };
    match whole.split_once('.') {
        Some((first, _)) => format!("{whole} {first}"),
        None => whole,
    }
}

fn hosts(config: &ContainerConfig, gateway: Option<IpAddr>) -> String {
    // In the host's network the host's names hold, unless others are asked for.
    if config.host.network == NetworkMode::Host
        && config.host.extra_hosts.is_empty()
        && let Ok(text) = std::fs::read_to_string("/etc/hosts")
    {
        return text;
    }
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    for extra in &config.host.extra_hosts {
        // `name:address`, where the address may hold colons; validated at the edge.
        let Some((name, address)) = extra.split_once([':', '=']) else { continue };
        let address = address.trim_start_matches('[').trim_end_matches(']');
        // Writing to a String cannot fail.
        let _ = match (address, gateway) {
            (HOST_GATEWAY, Some(gateway)) => writeln!(text, "{gateway}\t{name}"),
            (HOST_GATEWAY, None) => Ok(()),
            (address, _) => writeln!(text, "{address}\t{name}"),
        };
    }
    if config.host.network == NetworkMode::None && !config.host.is_connected() {
        let _ = writeln!(text, "127.0.0.1\t{}", full_name(config));
    }
    text
}

/// What a container is told whose monitor answers for names. Pure.
fn own_resolv_conf(config: &ContainerConfig, host: &str) -> String {
    let host_config = &config.host;
    let of_host = |keyword: &str| -> Vec<String> {
        let lines = host.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let mut found = lines.filter(|words| words.first().is_some_and(|word| word == keyword));
        found.next_back().map(|words| words[1..].to_vec()).unwrap_or_default()
    };
    let chosen = |own: &[String], keyword: &str| if own.is_empty() { of_host(keyword) } else { own.to_vec() };
    let search = chosen(&host_config.dns_search, "search");
    let mut options = chosen(&host_config.dns_options, "options");
    let mut text = format!("nameserver {NAME_SERVER}\n");
    // A lone dot means no search.
    if !search.is_empty() && search != ["."] {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    // Names without a dot are asked for as they are first: containers have such names.
    if !options.iter().any(|option| option.starts_with("ndots:")) {
        options.push("ndots:0".to_owned());
    }
    let _ = writeln!(text, "options {}", options.join(" "));
    text
}

/// The host's file, with what the user set in place of the host's. Pure.
fn resolv_conf(config: &ContainerConfig, host: &str) -> String {
    let host_config = &config.host;
    let connected = host_config.is_connected();
    let reachable = match filter_loopback(host, host_config.network == NetworkMode::Host) {
        text if connected && name_servers(&text).next().is_none() => {
            PUBLIC_SERVERS.iter().fold(text, |text, server| format!("{text}nameserver {server}\n"))
        }
        text => text,
    };
    if host_config.dns.is_empty() && host_config.dns_search.is_empty() && host_config.dns_options.is_empty() {
        return reachable;
    }
    let mut text = String::new();
    let mut kept = |keyword: &str, own: &[String], joined: bool| {
        if own.is_empty() {
            for line in reachable.lines().filter(|line| line.split_whitespace().next() == Some(keyword)) {
                let _ = writeln!(text, "{line}");
            }
        } else if joined {
            // A lone dot means no search.
            if own != ["."] {
                let _ = writeln!(text, "{keyword} {}", own.join(" "));
            }
        } else {
            for value in own {
                let _ = writeln!(text, "{keyword} {value}");
            }
        }
    };
    kept("nameserver", &host_config.dns, false);
    kept("search", &host_config.dns_search, true);
    kept("options", &host_config.dns_options, true);
    text
}

/// A name server on the host's loopback is out of reach in a namespace of one's own.
fn filter_loopback(host: &str, shares_host_network: bool) -> String {
    if shares_host_network {
        return host.to_owned();
    }
    let reachable = |line: &&str| {
        let mut words = line.split_whitespace();
        words.next() != Some("nameserver")
            || !words.next().and_then(|a| a.parse::<IpAddr>().ok()).is_some_and(|a| a.is_loopback())
    };
    host.lines().filter(reachable).flat_map(|line| [line, "\n"]).collect()
}
