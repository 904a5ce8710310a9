//! Who asks a registry, as clients say it.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bollard_stubs::models as wire;
use dhow_model::{Error, Result};
use dhow_registry::Credentials;
use serde::Deserialize;

/// Clients pad, or do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The header's JSON. `serveraddress` and `email` are there, too, and mean nothing here.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Header {
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// `X-Registry-Auth`: JSON in the URL's form of base64.
///
/// # Errors
/// `InvalidArgument` when it is not that.
pub(in crate::api) fn parse_header(header: &[u8]) -> Result<Credentials> {
    if header.is_empty() {
        return Ok(Credentials::Anonymous);
    }
    let bad = |why: String| Error::invalid(format!("invalid X-Registry-Auth header: {why}"));
    let text = BASE64.decode(header).map_err(|error| bad(error.to_string()))?;
    if text.is_empty() {
        return Ok(Credentials::Anonymous);
    }
    // The error names a place, and no secret.
    let header: Header = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
    Ok(choose(header))
}

/// The body of `POST /auth`.
pub(in crate::api) fn credentials(config: &wire::AuthConfig) -> Credentials {
    choose(Header {
        username: config.username.clone().unwrap_or_default(),
        password: config.password.clone().unwrap_or_default(),
        ..Header::default()
    })
}

fn choose(header: Header) -> Credentials {
    if !header.registrytoken.is_empty() {
        Credentials::RegistryToken(header.registrytoken)
    } else if !header.identitytoken.is_empty() {
        Credentials::IdentityToken(header.identitytoken)
    } else if !header.username.is_empty() {
        Credentials::Password { username: header.username, password: header.password }
    } else {
        Credentials::Anonymous
    }
}

/// The registry that an address means: `https://index.docker.io/v1/` is Docker Hub.
pub(in crate::api) fn domain(address: &str) -> String {
    let host = address.trim_start_matches("https://").trim_start_matches("http://");
    let host = host.split('/').next().unwrap_or("");
    match host {
        "" | "index.docker.io" | "registry-1.docker.io" | "docker.io" => "docker.io".to_owned(),
        host => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_send() {
        assert_eq!(parse_header(b"").unwrap(), Credentials::Anonymous);
        // {}
        assert_eq!(parse_header(b"e30=").unwrap(), Credentials::Anonymous);
        let header = BASE64.encode(br#"{"username":"me","password":"p?\u00fc","serveraddress":"x"}"#);
        let expected = Credentials::Password { username: "me".into(), password: "p?ü".into() };
        assert_eq!(parse_header(header.trim_end_matches('=').as_bytes()).unwrap(), expected);
        assert!(parse_header(b"!").unwrap_err().to_string().starts_with("invalid X-Registry-Auth header"));
        assert_eq!(domain("https://index.docker.io/v1/"), "docker.io");
        assert_eq!(domain("reg.example:5000"), "reg.example:5000");
    }
}
