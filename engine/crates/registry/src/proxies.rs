//! Which proxy leads to a host: `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, as Docker reads them.
//!
//! A URL of TLS has the proxy of `HTTPS_PROXY`, one without it that of `HTTP_PROXY`; `ALL_PROXY` is for both where
//! those are missing. Small letters do, too. This machine itself needs none. Every connection is judged by its own
//! host: a registry may lead to others.
//!
//! ```text
//!   https  ── CONNECT host:443 ──► proxy ──► TLS with the host, from end to end
//!   http   ── GET http://host/… ─► proxy     (forward.rs)
//! ```

use crate::forward::Forwarded;
use crate::settings::{network_has, without_port};
use dhow_model::{Error, Result};
use http::Uri;
use std::net::IpAddr;
use ureq::config::Config;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectionDetails, Connector, DefaultConnector, Transport};
use ureq::{Agent, Proxy, ProxyProtocol};

/// What the environment says of proxies.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies {
    http: Option<Setting>,
    https: Option<Setting>,
    /// `NO_PROXY`.
    without: String,
}

/// A variable that is set.
#[derive(Debug, Clone)]
struct Setting {
    name: String,
    /// `None`: it holds no address of a proxy.
    proxy: Option<Proxy>,
}

impl Proxies {
    pub(crate) fn of_environment() -> Self {
        Self::read(&|name| std::env::var(name).ok())
    }

    fn read(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let filled = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let either = |name: &str| {
            [name.to_owned(), name.to_lowercase()].into_iter().find_map(|name| Some((filled(&name)?, name)))
        };
        let of = |own: &str| {
            let (address, name) = either(own).or_else(|| either("ALL_PROXY"))?;
            Some(Setting { name, proxy: Proxy::new(address.trim()).ok() })
        };
        Self {
            http: of("HTTP_PROXY"),
            https: of("HTTPS_PROXY"),
            without: either("NO_PROXY").map(|(list, _)| list).unwrap_or_default(),
        }
    }

    /// The proxy for a host, which may have a port.
    ///
    /// # Errors
    /// `InvalidArgument` naming the variable that holds no proxy's address.
    pub(crate) fn choose(&self, scheme: &str, host: &str) -> Result<Option<&Proxy>> {
        let own = if scheme == "https" { &self.https } else { &self.http };
        let Some(Setting { name, proxy }) = own.as_ref().filter(|_| !goes_direct(host, &self.without)) else {
            return Ok(None);
        };
        // What the address is stays untold: it may hold a password.
        proxy.as_ref().map(Some).ok_or_else(|| Error::invalid(format!("{name}: want http://HOST:PORT")))
    }

    /// An agent that connects so. `config` makes its settings, with a proxy or without.
    pub(crate) fn agent(self, config: impl Fn(Option<Proxy>) -> Config) -> Agent {
        let of = |setting: &Option<Setting>| setting.as_ref().and_then(|setting| setting.proxy.clone());
        let (http, https) = (of(&self.http), of(&self.https));
        // With one, the agent leaves it to the connector to find hosts: those behind a proxy only that proxy may know.
        let settings = config(https.clone().or_else(|| http.clone()));
        let connector = ByProxies {
            direct: config(None),
            http: config(http),
            https: config(https),
            proxies: self,
            usual: DefaultConnector::default(),
        };
        Agent::with_parts(settings, connector, DefaultResolver::default())
    }
}

/// Connects to hosts, or to the proxies that lead there.
#[derive(Debug)]
struct ByProxies {
    proxies: Proxies,
    /// Settings of connections: without a proxy, and with that of each scheme.
    direct: Config,
    http: Config,
    https: Config,
    usual: DefaultConnector,
}

impl Connector for ByProxies {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<()>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        if details.config.proxy().is_none() {
            // Nobody has a proxy, or this is the way to one.
            return self.usual.connect(details, chained);
        }
        let target = details.uri;
        let secret = target.scheme_str() == Some("https");
        let scheme = if secret { "https" } else { "http" };
        let port = target.port_u16().unwrap_or(if secret { 443 } else { 80 });
        let host = format!("{}:{port}", target.host().unwrap_or_default());
        let chosen = self.proxies.choose(scheme, &host).map_err(|_| ureq::Error::InvalidProxyUrl)?;
        match chosen {
            None => self.connect_to(target, details),
            Some(proxy) if !secret && takes_urls(proxy) => {
                let connection = self.connect_to(proxy.uri(), details)?;
                Ok(connection.map(|one| Forwarded::over(one, proxy, target).boxed()))
            }
            Some(_) => {
                let config = if secret { &self.https } else { &self.http };
                self.usual.connect(&ConnectionDetails { config, ..again(details) }, chained)
            }
        }
    }
}

impl ByProxies {
    /// Without a proxy.
    fn connect_to(
        &self,
        uri: &Uri,
        details: &ConnectionDetails<'_>,
    ) -> Result<Option<Box<dyn Transport>>, ureq::Error> {
        let addrs = details.resolver.resolve(uri, &self.direct, details.timeout)?;
        let direct = ConnectionDetails { uri, addrs, config: &self.direct, ..again(details) };
        self.usual.connect(&direct, None)
    }
}

fn takes_urls(proxy: &Proxy) -> bool {
    matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https)
}

/// The same details.
fn again<'a>(details: &ConnectionDetails<'a>) -> ConnectionDetails<'a> {
    ConnectionDetails {
        uri: details.uri,
        addrs: details.addrs.clone(),
        config: details.config,
        request_level: details.request_level,
        resolver: details.resolver,
        now: details.now,
        timeout: details.timeout,
        current_time: details.current_time.clone(),
        run_connector: details.run_connector.clone(),
        register_shutdown: details.register_shutdown.clone(),
    }
}

fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// Whether a host is this machine, or on the list: `*`, `example.org` with all below it, `.example.org` with only
/// those, `host:port`, addresses and networks.
fn goes_direct(host: &str, list: &str) -> bool {
    let host = host.to_lowercase();
    let name = without_port(&host).trim_matches(['[', ']']);
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
        let proxies = Proxies::read(&variable);
        proxies
            .choose(scheme, host)
            .unwrap()
            .map(|proxy| format!("{}@{}:{}", proxy.username().unwrap_or("-"), proxy.host(), proxy.port()))
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
        let odd = Proxies::read(&odd);
        let error = odd.choose("https", "reg.example").unwrap_err().to_string();
        assert_eq!(error, "HTTPS_PROXY: want http://HOST:PORT");
        assert!(odd.choose("https", "localhost:5000").unwrap().is_none());
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
