//! Where answers lead, and whom a URL belongs to: what decides who is told a secret.

use crate::transport::Response;
use http::header::LOCATION;
use http::{Method, Uri};

/// The URL that an answer leads to; `None` when it does not, or when the same request must not go there: 301 to 303 turn
/// what has a body into a GET (RFC 9110, 15.4).
pub(crate) fn target(url: &str, method: &Method, response: &Response) -> Option<String> {
    let follows = match response.status().as_u16() {
        301..=303 => *method == Method::GET || *method == Method::HEAD,
        307 | 308 => true,
        _ => false,
    };
    let location = response.headers().get(LOCATION).filter(|_| follows)?.to_str().ok()?;
    let here = Uri::try_from(url).ok()?;
    let authority = here.authority()?;
    let scheme = here.scheme_str()?;
    let names_scheme = location.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    });
    Some(if names_scheme {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let directory = here.path().rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{scheme}://{authority}{directory}/{location}")
    })
}

/// Whom a URL belongs to (RFC 6454): scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// `None` for what is no URL of the web.
    pub(crate) fn of(url: &str) -> Option<Self> {
        let uri = Uri::try_from(url).ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let usual = match scheme.as_str() {
            "https" => 443,
            "http" => 80,
            _ => return None,
        };
        let host = uri.host()?.trim_end_matches('.').to_ascii_lowercase();
        Some(Self { scheme, host, port: uri.port_u16().unwrap_or(usual) })
    }

    pub(crate) fn scheme(&self) -> &str {
        &self.scheme
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.scheme == "https"
    }

    /// The name or the address, without a port.
    pub(crate) fn name(&self) -> &str {
        &self.host
    }

    /// `reg.example`, or `reg.example:5000` where the port is not the usual one.
    pub(crate) fn host(&self) -> String {
        let usual = if self.is_tls() { 443 } else { 80 };
        if self.port == usual { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |a: &str, b: &str| Origin::of(a).is_some() && Origin::of(a) == Origin::of(b);
        assert!(same("https://Reg.example/v2/", "https://reg.example:443/x?y"));
        assert!(same("http://127.0.0.1:80/", "http://127.0.0.1"));
        assert!(!same("https://reg.example", "http://reg.example"), "scheme");
        assert!(!same("https://reg.example", "https://reg.example:5000"), "port");
        assert!(!same("https://reg.example", "https://blobs.reg.example"), "a subdomain is another host");
        assert!(!same("https://reg.example", "https://reg.example@evil.example"), "a user's name is no host");
        assert_eq!(Origin::of("ftp://reg.example/"), None);
        assert_eq!(Origin::of("/v2/"), None);
        let shown = |url: &str| Origin::of(url).map(|origin| origin.to_string());
        assert_eq!(shown("https://me:secret@Reg.example:443/x?y").as_deref(), Some("https://reg.example"));
        assert_eq!(shown("http://[::1]:5000/").as_deref(), Some("http://[::1]:5000"));
    }
}
