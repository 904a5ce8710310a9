//! Options of a container's place on one network (`--network name=…,driver-opt=…`). Pure.

use crate::network::EndpointConfig;
use crate::{Error, Result};

/// What the interface is called in the container.
pub const INTERFACE_NAME: &str = "com.docker.network.endpoint.ifname";
/// Kernel settings of the interface: `net.ipv4.conf.IFNAME.log_martians=1,…`.
pub const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";

/// The longest name that the kernel takes: IFNAMSIZ without its NUL.
const INTERFACE_NAME_MAX: usize = 15;

/// A setting of one interface: `net.FAMILY.GROUP.IFNAME.KEY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceSysctl {
    /// `ipv4`, `ipv6` or `mpls`.
    pub family: String,
    /// `conf` or `neigh`, mostly.
    pub group: String,
    /// The setting.
    pub key: String,
    /// What it is set to.
    pub value: String,
}

/// Checks all options of an endpoint.
///
/// # Errors
/// `InvalidArgument` for a bad value; `Unsupported` for an option that nothing here would heed.
pub fn check(endpoint: &EndpointConfig) -> Result<()> {
    if let Some(other) =
        endpoint.options.keys().find(|key| ![INTERFACE_NAME, SYSCTLS].contains(&key.as_str()))
    {
        return Err(Error::unsupported(format!("not supported by dhow: the endpoint option {other}")));
    }
    sysctls(endpoint)?;
    match interface_name(endpoint) {
        Some(name) if !is_interface_name(name) => {
            Err(Error::invalid(format!("{INTERFACE_NAME}: {name:?} is no name for an interface")))
        }
        _ => Ok(()),
    }
}

/// What the interface is to be called, if the user says.
pub fn interface_name(endpoint: &EndpointConfig) -> Option<&str> {
    endpoint.options.get(INTERFACE_NAME).map(String::as_str).filter(|name| !name.is_empty())
}

fn is_interface_name(name: &str) -> bool {
    name.len() <= INTERFACE_NAME_MAX
        && !["lo", ".", ".."].contains(&name)
        && name.bytes().all(|b| b.is_ascii_graphic() && !b"/:%".contains(&b))
}

/// The kernel settings of an interface, in their order.
///
/// # Errors
/// `InvalidArgument` in Docker's words.
pub fn sysctls(endpoint: &EndpointConfig) -> Result<Vec<InterfaceSysctl>> {
    let Some(text) = endpoint.options.get(SYSCTLS).filter(|text| !text.is_empty()) else {
        return Ok(Vec::new());
    };
    text.split(',').map(parse_sysctl).collect()
}

/// Whether the user has switched IPv6 off on the interface: then it gets no address of it.
pub fn is_without_ipv6(endpoint: &EndpointConfig) -> bool {
    sysctls(endpoint).unwrap_or_default().iter().any(|one| {
        (one.family.as_str(), one.key.as_str(), one.value.as_str()) == ("ipv6", "disable_ipv6", "1")
    })
}

fn parse_sysctl(text: &str) -> Result<InterfaceSysctl> {
    let bad = || {
        Error::invalid(format!(
            "invalid endpoint settings: unrecognised network interface sysctl '{text}'; represent \
             'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'"
        ))
    };
    let (path, value) = text.split_once('=').ok_or_else(bad)?;
    let parts: Vec<&str> = path.split('.').collect();
    // Docker's client makes everything lower case.
    let ["net", family @ ("ipv4" | "ipv6" | "mpls"), group, "IFNAME" | "ifname", key] = parts[..] else {
        return Err(bad());
    };
    // They become names of files.
    let is_plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    if !is_plain(group) || !is_plain(key) || value.is_empty() {
        return Err(bad());
    }
    let [family, group, key, value] = [family, group, key, value].map(str::to_owned);
    Ok(InterfaceSysctl { family, group, key, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key: &str, value: &str) -> EndpointConfig {
        let options = [(key.to_owned(), value.to_owned())].into();
        EndpointConfig { options, ..EndpointConfig::default() }
    }

    #[test]
    fn settings_of_an_interface() {
        let two = with(SYSCTLS, "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.neigh.ifname.ucast_solicit=5");
        let read = sysctls(&two).unwrap();
        assert_eq!(
            (read[0].family.as_str(), read[0].key.as_str(), read[0].value.as_str()),
            ("ipv4", "log_martians", "1")
        );
        assert_eq!((read[1].group.as_str(), read[1].value.as_str()), ("neigh", "5"));
        assert!(!is_without_ipv6(&two));
        assert!(is_without_ipv6(&with(SYSCTLS, "net.ipv6.conf.IFNAME.disable_ipv6=1")));
        for bad in [
            "net.ipv4.conf.eth0.log_martians=1",
            "net.ipv4.conf.IFNAME.log_martians",
            "net.core.conf.IFNAME.x=1",
            "net.ipv4.conf.IFNAME.a/../b=1",
            "net.ipv4.conf.IFNAME.a.b=1",
            "kernel.ipv4.conf.IFNAME.a=1",
            ",",
        ] {
            assert!(check(&with(SYSCTLS, bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_interfaces() {
        assert!(check(&with(INTERFACE_NAME, "lan0.7")).is_ok());
        assert_eq!(interface_name(&with(INTERFACE_NAME, "")), None);
        for bad in ["lo", "a/b", "..", "sixteen-letters-", "a b", "ü"] {
            assert!(check(&with(INTERFACE_NAME, bad)).is_err(), "{bad}");
        }
        assert_eq!(check(&with("colour", "red")).unwrap_err().kind(), crate::ErrorKind::Unsupported);
    }
}
