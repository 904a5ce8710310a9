//! Which proxy leads to a registry: `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, as Docker reads them.
//!
//! A registry that is asked over TLS has the proxy of `HTTPS_PROXY`, one that is asked without it that of `HTTP_PROXY`;
//! `ALL_PROXY` is for both where those are missing. Small letters do, too. This machine itself needs none.

use crate::settings::{network_has, without_port};
use dhow_model::{Error, Result};
use std::net::IpAddr;
use ureq::Proxy;

/// The proxy for a host, with its port if it has one.
///
/// # Errors
/// `InvalidArgument` naming the variable that holds no proxy's address.
pub(crate) fn proxy_for(scheme: &str, host: &str) -> Result<Option<Proxy>> {
    choose(scheme, host, &|name| std::env::var(name).ok())
}

fn choose(scheme: &str, host: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Proxy>> {
    let filled = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let either = |name: &str| {
        [name.to_owned(), name.to_lowercase()].into_iter().find_map(|name| Some((filled(&name)?, name)))
    };
    let own = if scheme == "https" { "HTTPS_PROXY" } else { "HTTP_PROXY" };
    let Some((address, name)) = either(own).or_else(|| either("ALL_PROXY")) else { return Ok(None) };
    let without = either("NO_PROXY").map(|(list, _)| list).unwrap_or_default();
    if goes_direct(host, &without) {
        return Ok(None);
    }
    let wrong = |why: String| Error::invalid(format!("{name}: {why}"));
    // What the address is stays untold: it may hold a password.
    let proxy = Proxy::new(address.trim()).map_err(|_| wrong("want http://HOST:PORT".to_owned()))?;
    let mut built = Proxy::builder(proxy.protocol()).host(proxy.host()).port(proxy.port());
    if let Some(username) = proxy.username() {
        built = built.username(username);
    }
    if let Some(password) = proxy.password() {
        built = built.password(password);
    }
    // A registry may lead to other hosts.
    for entry in entries(&without) {
        let entry = entry.trim_start_matches('.');
        built = built.no_proxy(entry).no_proxy(&format!(".{entry}"));
    }
    built.build().map(Some).map_err(|error| wrong(error.to_string()))
}

fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// Whether a host is this machine, or on the list: `*`, `example.org` with all below it, `.example.org` with only
/// those, `host:port`, addresses and networks.
fn goes_direct(host: &str, list: &str) -> bool {
    let name = without_port(host).trim_matches(['[', ']']).to_lowercase();
    let address: Option<IpAddr> = name.parse().ok();
    if name == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    entries(list).any(|entry| {
        let entry = entry.to_lowercase();
        let entry = entry.trim_start_matches('*');
        if entry.is_empty() || entry == host {
            return true;
        }
        match (address, entry.strip_prefix('.')) {
            (Some(address), _) => entry == name || network_has(entry, address),
            (None, Some(parent)) => name.strip_suffix(parent).is_some_and(|before| before.ends_with('.')),
            (None, None) => {
                name == entry || name.strip_suffix(entry).is_some_and(|before| before.ends_with('.'))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(scheme: &str, host: &str, variables: &[(&str, &str)]) -> Option<String> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let proxy = choose(scheme, host, &variable).unwrap();
        proxy.map(|proxy| format!("{}@{}:{}", proxy.username().unwrap_or("-"), proxy.host(), proxy.port()))
    }

    #[test]
    fn each_scheme_has_its_variable() {
        let both =
            [("HTTPS_PROXY", "http://me:x%40y@one:1"), ("http_proxy", "two:2"), ("ALL_PROXY", "three:3")];
        assert_eq!(chosen("https", "reg.example", &both).unwrap(), "me@one:1");
        assert_eq!(chosen("http", "reg.example:5000", &both).unwrap(), "-@two:2");
        assert_eq!(chosen("http", "reg.example", &both[..1]), None);
        assert_eq!(chosen("http", "reg.example", &[("all_proxy", "three:3")]).unwrap(), "-@three:3");
        assert_eq!(chosen("http", "reg.example", &[("HTTP_PROXY", " ")]), None);
        for host in ["localhost:5000", "127.0.0.1:5000", "[::1]:5000"] {
            assert_eq!(chosen("http", host, &both), None, "{host}");
        }
        let odd = |_: &str| Some("http://".to_owned());
        let error = choose("https", "reg.example", &odd).unwrap_err().to_string();
        assert_eq!(error, "HTTPS_PROXY: want http://HOST:PORT");
    }

    #[test]
    fn who_is_asked_directly() {
        let list = "a.example, .b.example,10.0.0.0/8,fd00::1,c.example:5000, *.d.example";
        for host in [
            "a.example",
            "A.example:443",
            "x.a.example",
            "x.b.example:5000",
            "10.1.2.3:5000",
            "[fd00::1]:5000",
            "c.example:5000",
            "x.d.example",
        ] {
            assert!(goes_direct(host, list), "{host}");
        }
        for host in
            ["aa.example", "b.example", "11.0.0.1", "c.example", "c.example:5001", "[fd00::2]", "d.example"]
        {
            assert!(!goes_direct(host, list), "{host}");
        }
        assert!(goes_direct("anybody.example", "*"));
        assert!(!goes_direct("anybody.example", " , "));
    }
}
