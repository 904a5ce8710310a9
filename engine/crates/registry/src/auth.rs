//! What a registry that answers 401 asks for, and how to get it.
//!
//! Sources: RFC 9110, 11.6.1 (`WWW-Authenticate`); the distribution project's `docs/spec/auth/token.md` and `oauth.md`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use dhow_model::{Error, ErrorKind, Result};
use serde::Deserialize;
use std::time::{Duration, Instant};

/// Who asks.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Credentials {
    /// Nobody in particular.
    #[default]
    Anonymous,
    /// A user with a password or an access token.
    Password {
        /// The user.
        username: String,
        /// The secret.
        password: String,
    },
    /// A token that other tokens are got with (OAuth 2's refresh token).
    IdentityToken(String),
    /// A token that the registry takes as it is.
    RegistryToken(String),
}

impl std::fmt::Debug for Credentials {
    /// Never the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Credentials::Anonymous => "Anonymous",
            Credentials::Password { .. } => "Password",
            Credentials::IdentityToken(_) => "IdentityToken",
            Credentials::RegistryToken(_) => "RegistryToken",
        })
    }
}

impl Credentials {
    /// The value of an `Authorization` header with user and password.
    pub(crate) fn basic(&self) -> Option<String> {
        let Credentials::Password { username, password } = self else { return None };
        Some(format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{password}"))))
    }
}

/// One way that a registry offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: String, service: String, scope: String },
}

impl Challenge {
    /// The way to take of those in the headers: tokens before passwords. `None` when nothing is known.
    pub(crate) fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut basic = None;
        for header in headers {
            let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
            if scheme.eq_ignore_ascii_case("bearer") {
                let parameters = parameters(rest);
                let get = |name: &str| {
                    let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.clone()).unwrap_or_default()
                };
                return Some(Self::Bearer {
                    realm: get("realm"),
                    service: get("service"),
                    scope: get("scope"),
                });
            }
            if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Self::Basic);
            }
        }
        basic
    }
}

/// `realm="https://a/token",service="a"`: names and values; quotes and backslashes as RFC 9110, 5.6.4 has them.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',']);
    while let Some((name, after)) = rest.split_once('=') {
        let mut value = String::new();
        let used = match after.strip_prefix('"') {
            Some(quoted) => {
                let mut characters = quoted.char_indices();
                let mut end = quoted.len();
                while let Some((at, c)) = characters.next() {
                    match c {
                        '"' => {
                            end = at + 1;
                            break;
                        }
                        '\\' => value.extend(characters.next().map(|(_, c)| c)),
                        c => value.push(c),
                    }
                }
                end + 1
            }
            None => {
                let end = after.find(',').unwrap_or(after.len());
                value.push_str(after[..end].trim());
                end
            }
        };
        found.push((name.trim().to_owned(), value));
        rest = after.get(used..).unwrap_or("").trim_start_matches([' ', ',']);
    }
    found
}

/// A token, until it ends.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) value: String,
    pub(crate) ends: Instant,
}

/// Tokens say how long they live; one that does not, lives that long.
const SHORTEST_LIFE: u64 = 60;
/// Given back before its end: a request takes a moment to arrive.
const MARGIN: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Token {
    /// From a token server's answer.
    pub(crate) fn parse(realm: &str, body: &[u8]) -> Result<Self> {
        let bad = |why: &str| {
            Error::new(ErrorKind::Unavailable, format!("the token server {realm} gave no token: {why}"))
        };
        let answer: TokenAnswer = serde_json::from_slice(body).map_err(|error| bad(&error.to_string()))?;
        let value = answer.token.or(answer.access_token).filter(|t| !t.is_empty());
        let value = value.ok_or_else(|| bad("the answer has none"))?;
        if value.bytes().any(|b| b.is_ascii_control()) {
            return Err(bad("it holds what no header may"));
        }
        let life =
            Duration::from_secs(answer.expires_in.unwrap_or(SHORTEST_LIFE).clamp(SHORTEST_LIFE, 86_400));
        Ok(Self { value, ends: Instant::now() + life.saturating_sub(MARGIN) })
    }
}

/// Text in a query or a form.
pub(crate) fn encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            // Writing to a string cannot fail.
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bearer(realm: &str, service: &str, scope: &str) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.into(), service: service.into(), scope: scope.into() })
    }

    #[test]
    fn challenges_as_registries_send_them() {
        let one = |text: &str| Challenge::choose([text].into_iter());
        assert_eq!(
            one(
                r#"Bearer realm="https://auth.example/token",service="reg",scope="repository:a/b:pull,push""#
            ),
            bearer("https://auth.example/token", "reg", "repository:a/b:pull,push")
        );
        assert_eq!(one(r#"bearer service=reg, realm="https://a/\"t""#), bearer("https://a/\"t", "reg", ""));
        assert_eq!(one(r#"Basic realm="Registry""#), Some(Challenge::Basic));
        assert_eq!(one("Negotiate"), None);
        let both = Challenge::choose([r#"Basic realm="x""#, r#"Bearer realm="https://a""#].into_iter());
        assert_eq!(both, bearer("https://a", "", ""));
    }

    #[test]
    fn tokens_and_secrets() {
        let token = Token::parse("r", br#"{"access_token":"abc","expires_in":300}"#).unwrap();
        assert_eq!(token.value, "abc");
        assert!(Token::parse("r", b"{}").unwrap_err().to_string().contains("gave no token"));
        assert!(Token::parse("r", br#"{"token":"a\nb"}"#).is_err());
        let credentials = Credentials::Password { username: "me".into(), password: "secret".into() };
        assert_eq!(credentials.basic().as_deref(), Some("Basic bWU6c2VjcmV0"));
        assert!(!format!("{credentials:?}").contains("secret"));
        assert_eq!(encoded("a b:c/ü"), "a%20b%3Ac%2F%C3%BC");
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(text in "\\PC{0,80}") {
            let _ = Challenge::choose([text.as_str()].into_iter());
        }
    }
}
