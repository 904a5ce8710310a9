//! What the administrator of a machine says about registries.

use std::net::IpAddr;
use std::path::PathBuf;

/// The registry that a name without one means.
pub(crate) const HUB: &str = "docker.io";
/// Where that registry really is.
const HUB_HOST: &str = "registry-1.docker.io";

/// Which registries may be asked how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Hosts (`reg.example:5000`), addresses or networks (`10.0.0.0/8`) that are asked without checking who answers,
    /// and over plain HTTP when they do not speak TLS. This machine itself always is.
    pub insecure: Vec<String>,
    /// Hosts that are asked before Docker Hub is.
    pub mirrors: Vec<String>,
    /// Directories like Docker's `/etc/docker/certs.d`: `HOST[:PORT]/*.crt`, `*.cert` with `*.key`.
    pub certificates: Vec<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            mirrors: Vec::new(),
            certificates: vec!["/etc/dhow/certs.d".into(), "/etc/docker/certs.d".into()],
        }
    }
}

impl Settings {
    /// The hosts that serve a domain's images, the best first.
    pub(crate) fn hosts_to_pull(&self, domain: &str) -> Vec<String> {
        let mirrors = self.mirrors.iter().filter(|_| domain == HUB).cloned();
        mirrors.chain([host_of(domain)]).collect()
    }

    /// Whether nobody needs to prove who a host is.
    pub(crate) fn is_insecure(&self, host: &str) -> bool {
        let name = without_port(host);
        let address: Option<IpAddr> = name.trim_matches(['[', ']']).parse().ok();
        if name == "localhost" || address.is_some_and(|a| a.is_loopback()) {
            return true;
        }
        self.insecure.iter().any(|known| {
            known == host || known == name || address.is_some_and(|address| network_has(known, address))
        })
    }
}

/// The host that a domain's own registry is at.
pub(crate) fn host_of(domain: &str) -> String {
    if domain == HUB { HUB_HOST.to_owned() } else { domain.to_owned() }
}

pub(crate) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Whether an address lies in `10.0.0.0/8`.
pub(crate) fn network_has(network: &str, address: IpAddr) -> bool {
    let Some((base, length)) = network.split_once('/') else { return false };
    let (Ok(base), Ok(length)) = (base.parse::<IpAddr>(), length.parse::<u32>()) else { return false };
    let common = |a: u128, b: u128, bits: u32| {
        length <= bits && (length == 0 || (a ^ b) << (128 - bits) >> (128 - length) == 0)
    };
    match (base, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => common(u32::from(a).into(), u32::from(b).into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => common(u128::from(a), u128::from(b), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_needs_no_proof() {
        let settings = Settings {
            insecure: vec!["reg.example:5000".into(), "10.1.0.0/16".into(), "fd00::/8".into()],
            ..Settings::default()
        };
        for host in
            ["localhost", "localhost:5000", "127.0.0.1:80", "127.9.9.9", "[::1]:5000", "reg.example:5000"]
        {
            assert!(settings.is_insecure(host), "{host}");
        }
        for host in ["10.1.2.3:5000", "[fd12::1]:5000"] {
            assert!(settings.is_insecure(host), "{host}");
        }
        for host in
            ["reg.example", "reg.example:5001", "10.2.0.1", "docker.io", "128.0.0.1", "localhost.example"]
        {
            assert!(!settings.is_insecure(host), "{host}");
        }
    }

    #[test]
    fn mirrors_are_for_the_hub() {
        let settings = Settings { mirrors: vec!["mirror.example".into()], ..Settings::default() };
        assert_eq!(settings.hosts_to_pull("docker.io"), ["mirror.example", "registry-1.docker.io"]);
        assert_eq!(settings.hosts_to_pull("reg.example"), ["reg.example"]);
    }
}
