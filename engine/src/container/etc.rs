//! The files that are mounted on `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf`.
//!
//! Each start writes them anew, so they lie below the state directory: a tmpfs makes and removes files ten times
//! as fast as a disk.

use dhow_model::container::{ContainerConfig, NetworkMode};
use dhow_model::{Result, ResultExt};
use std::fmt::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Writes the three files into the container's run-time directory, and returns their paths in the order above.
pub(crate) fn write(directory: &Path, config: &ContainerConfig) -> Result<(PathBuf, PathBuf, PathBuf)> {
    let host_resolv_conf = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let file = |name: &str, text: String| {
        let path = directory.join(name);
        std::fs::write(&path, text).context(|| format!("write {}", path.display()))?;
        Ok::<_, dhow_model::Error>(path)
    };
    Ok((
        file("hostname", format!("{}\n", config.hostname))?,
        file("hosts", hosts(config))?,
        file("resolv.conf", resolv_conf(config, &host_resolv_conf))?,
    ))
}

fn hosts(config: &ContainerConfig) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    for extra in &config.host.extra_hosts {
        // `name:address`, where the address may hold colons; validated at the edge.
        if let Some((name, address)) = extra.split_once([':', '=']) {
            let address = address.trim_start_matches('[').trim_end_matches(']');
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{address}\t{name}");
        }
    }
    if config.host.network == NetworkMode::None {
        let full = if config.domainname.is_empty() {
            config.hostname.clone()
        } else {
            format!("{}.{} {}", config.hostname, config.domainname, config.hostname)
        };
        let _ = writeln!(text, "127.0.0.1\t{full}");
    }
    text
}

/// The host's file, with what the user set in place of the host's. Pure.
fn resolv_conf(config: &ContainerConfig, host: &str) -> String {
    let host_config = &config.host;
    if host_config.dns.is_empty() && host_config.dns_search.is_empty() && host_config.dns_options.is_empty() {
        return filter_loopback(host, host_config.network == NetworkMode::Host);
    }
    let mut text = String::new();
    let mut kept = |keyword: &str, own: &[String], joined: bool| {
        if own.is_empty() {
            for line in host.lines().filter(|line| line.split_whitespace().next() == Some(keyword)) {
                let _ = writeln!(text, "{line}");
            }
        } else if joined {
            let _ = writeln!(text, "{keyword} {}", own.join(" "));
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
