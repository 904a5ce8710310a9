//! The keys that concern networks.

use super::{Wrong, object, text, wrong};
use dhow_model::network::Subnet;
use serde_json::Value;
use std::net::IpAddr;

/// What the file says of networks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkSettings {
    /// `bridge`: the interface of the default bridge; `none`: there is no default bridge.
    pub bridge: Option<String>,
    /// `bip`: the host's address on it, and the size of its subnet.
    pub bip: Option<(IpAddr, u8)>,
    /// `default-address-pools`: ranges, and how large a part each network gets.
    pub pools: Vec<(Subnet, u8)>,
    /// `icc`.
    pub icc: Option<bool>,
    /// `ip-masq`.
    pub masquerade: Option<bool>,
    /// `mtu`.
    pub mtu: Option<u32>,
    /// `ip`: where ports are published when no address is said.
    pub host_ip: Option<IpAddr>,
    /// `dns`.
    pub dns: Vec<String>,
    /// `dns-opts`.
    pub dns_options: Vec<String>,
    /// `dns-search`.
    pub dns_search: Vec<String>,
}

impl NetworkSettings {
    /// Its keys.
    pub(super) const KEYS: [&str; 10] = [
        "bridge",
        "bip",
        "default-address-pools",
        "icc",
        "ip-masq",
        "mtu",
        "ip",
        "dns",
        "dns-opts",
        "dns-search",
    ];

    pub(super) fn take(&mut self, key: &str, value: &Value) -> Result<(), Wrong> {
        let flag = || value.as_bool().ok_or_else(|| wrong(key, "want true or false"));
        match key {
            "bridge" => self.bridge = Some(interface(key, value)?),
            "bip" => self.bip = Some(host_address(key, value)?),
            "icc" => self.icc = Some(flag()?),
            "ip-masq" => self.masquerade = Some(flag()?),
            "mtu" => {
                let mtu = value.as_u64().and_then(|mtu| u32::try_from(mtu).ok());
                self.mtu = Some(
                    mtu.filter(|mtu| (68..=65535).contains(mtu))
                        .ok_or_else(|| wrong(key, "want 68 to 65535"))?,
                );
            }
            "ip" => self.host_ip = Some(address(key, value)?),
            "dns" => {
                let list = texts(key, value)?;
                for one in &list {
                    one.parse::<IpAddr>().map_err(|_| wrong(key, "want addresses"))?;
                }
                self.dns = list;
            }
            "dns-opts" => self.dns_options = texts(key, value)?,
            "dns-search" => self.dns_search = texts(key, value)?,
            _ => {
                let list = value.as_array().ok_or_else(|| wrong(key, "want a list of pools"))?;
                self.pools = list.iter().map(|one| pool(key, one)).collect::<Result<_, _>>()?;
            }
        }
        Ok(())
    }
}

fn interface(key: &str, value: &Value) -> Result<String, Wrong> {
    let name = text(key, value)?;
    let good = name.len() < 16 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if good && name != "." && name != ".." {
        Ok(name)
    } else {
        Err(wrong(key, "want the name of an interface"))
    }
}

fn address(key: &str, value: &Value) -> Result<IpAddr, Wrong> {
    text(key, value)?.parse().map_err(|_| wrong(key, "want an address"))
}

/// `10.0.0.1/24`: an address, and the subnet around it.
fn host_address(key: &str, value: &Value) -> Result<(IpAddr, u8), Wrong> {
    let bad = || wrong(key, "want an IPv4 address with the size of its subnet, for example \"10.0.0.1/24\"");
    let text = text(key, value)?;
    let subnet = Subnet::parse(&text, false).map_err(|_| bad())?;
    let address: IpAddr = text.split('/').next().and_then(|a| a.parse().ok()).ok_or_else(bad)?;
    if address.is_ipv4() && address != subnet.address() && address != subnet.last() && subnet.prefix() <= 30 {
        Ok((address, subnet.prefix()))
    } else {
        Err(bad())
    }
}

fn texts(key: &str, value: &Value) -> Result<Vec<String>, Wrong> {
    let list = value.as_array().ok_or_else(|| wrong(key, "want a list of texts"))?;
    let one = |value: &Value| match text(key, value)? {
        word if word.is_empty() || word.chars().any(|c| c.is_whitespace() || c.is_control()) => {
            Err(wrong(key, "want words"))
        }
        word => Ok(word),
    };
    list.iter().map(one).collect()
}

fn pool(key: &str, value: &Value) -> Result<(Subnet, u8), Wrong> {
    let bad = || wrong(key, "want {\"base\": \"10.0.0.0/16\", \"size\": 24}");
    let fields = object(key, value)?;
    if fields.keys().any(|field| !["base", "size"].contains(&field.as_str())) {
        return Err(bad());
    }
    let base = fields.get("base").and_then(Value::as_str).and_then(|text| Subnet::parse(text, true).ok());
    let size = fields.get("size").and_then(Value::as_u64).and_then(|size| u8::try_from(size).ok());
    match (base, size) {
        (Some(base), Some(size)) if size >= base.prefix() && size <= if base.is_v6() { 126 } else { 30 } => {
            Ok((base, size))
        }
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use crate::Settings;

    #[test]
    fn keys_of_networks() {
        let settings = Settings::parse(
            r#"{"bridge": "br0", "bip": "10.9.0.1/24", "icc": false, "mtu": 1400, "dns": ["10.0.0.53"],
                "default-address-pools": [{"base": "10.8.0.0/16", "size": 24}]}"#,
        )
        .unwrap();
        let network = &settings.network;
        assert_eq!(network.bridge.as_deref(), Some("br0"));
        assert_eq!((network.icc, network.mtu), (Some(false), Some(1400)));
        assert_eq!(network.pools[0].0.to_string(), "10.8.0.0/16");
        for bad in [
            r#"{"bridge": "a/b"}"#,
            r#"{"bip": "10.0.0.0/24"}"#,
            r#"{"bip": "10.0.0.1"}"#,
            r#"{"mtu": 10}"#,
            r#"{"dns": ["name"]}"#,
            r#"{"default-address-pools": [{"base": "10.8.0.0/16", "size": 8}]}"#,
            r#"{"default-address-pools": [{"base": "10.8.0.1/16", "size": 24}]}"#,
        ] {
            assert!(Settings::parse(bad).is_err(), "{bad}");
        }
    }
}
