//! Who asks a registry, as clients say it.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bollard_stubs::models as wire;
use dhow_model::members;
use dhow_registry::Credentials;
use serde::Deserialize;

/// Clients pad, or do not; most use the URL's alphabet.
const PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const URL_BASE64: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, PADDING);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, PADDING);

/// The header's JSON. `serveraddress` and `email` are there, too, and mean nothing here. Members may be null.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Header {
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

/// `X-Registry-Auth`: JSON in base64. What is not that means nobody in particular, as for dockerd, which ignores it
/// "to increase compatibility": clients send `null`, `{}`, or words of their own where they have no credentials.
pub(in crate::api) fn parse_header(header: &[u8]) -> Credentials {
    let text = URL_BASE64.decode(header).or_else(|_| BASE64.decode(header)).unwrap_or_default();
    choose(members::from_slice(&text).unwrap_or_default())
}

/// The body of `POST /auth`.
pub(in crate::api) fn credentials(config: &wire::AuthConfig) -> Credentials {
    choose(Header {
        username: config.username.clone(),
        password: config.password.clone(),
        ..Header::default()
    })
}

fn choose(header: Header) -> Credentials {
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    if let Some(token) = filled(header.registrytoken) {
        Credentials::RegistryToken(token)
    } else if let Some(token) = filled(header.identitytoken) {
        Credentials::IdentityToken(token)
    } else if let Some(username) = filled(header.username) {
        Credentials::Password { username, password: header.password.unwrap_or_default() }
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
        for nobody in [&b""[..], b"e30=", b"bnVsbA==", b"!", b"c29tZSB0ZXh0", b"W10="] {
            assert_eq!(parse_header(nobody), Credentials::Anonymous, "{nobody:?}");
        }
        let header = URL_BASE64.encode(br#"{"username":"me","password":"p?\u00fc","serveraddress":"x"}"#);
        let expected = Credentials::Password { username: "me".into(), password: "p?ü".into() };
        assert_eq!(parse_header(header.trim_end_matches('=').as_bytes()), expected);
        let header =
            BASE64.encode(br#"{"Username":"me","password":"p?\u00fc","identitytoken":null,"auth":null}"#);
        assert_eq!(parse_header(header.as_bytes()), expected, "nulls, the other alphabet, another case");
        assert_eq!(domain("https://index.docker.io/v1/"), "docker.io");
        assert_eq!(domain("reg.example:5000"), "reg.example:5000");
    }
}
