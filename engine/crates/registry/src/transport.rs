//! Requests to one registry: which scheme, which proof of identity, retries, and failures in words.

use crate::auth::{Challenge, Credentials, Token, encoded};
use crate::connections::Connections;
use crate::redirect::{self, Origin};
use crate::settings::{Settings, host_of};
use dhow_model::limits::{self, Limit};
use dhow_model::{Error, ErrorKind, Result};
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use serde::Deserialize;
use std::collections::HashMap;
use std::io::Read;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use ureq::{Agent, Body, SendBody};

/// How often a request is tried, with these waits in between.
const BACK_OFF: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// A registry may ask to be left alone for longer, but not for ever.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
const REDIRECTS_MAX: u32 = 10;
/// What is read of an answer that leads elsewhere, so that its connection can be used again.
const REDIRECT_BODY_MAX: u64 = 64 << 10;
/// What a pull can do without is asked for once more at most, and not waited for like this.
const SHORT_PATIENCE: Duration = Duration::from_secs(8);
const SHORT_TRIES: usize = 1;

/// One registry.
#[derive(Debug)]
pub(crate) struct Transport {
    host: String,
    settings: Settings,
    credentials: Credentials,
    base: OnceLock<Base>,
    tokens: Mutex<HashMap<String, Token>>,
    /// Whether it was asked for referrers, and did not know what that is.
    lacks_referrers: AtomicBool,
}

/// How a registry is reached.
#[derive(Debug)]
struct Base {
    /// `https://reg.example:5000`
    origin: String,
    connections: Connections,
    challenge: Mutex<Option<Challenge>>,
}

/// One request.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    /// `/v2/…`, or a whole URL that the registry gave.
    pub(crate) target: &'a str,
    pub(crate) headers: &'a [(&'static str, &'a str)],
    pub(crate) body: Option<&'a [u8]>,
    /// What a token must allow: `repository:library/debian:pull`. Empty: nothing in particular.
    pub(crate) scope: &'a str,
    pub(crate) patience: Patience,
}

/// How long an answer is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// As long as it may take.
    Full,
    /// It can be done without: not long for its beginning, nor between its parts.
    Short,
    /// The same, and not long for all of it.
    ShortInAll,
}

impl Patience {
    fn is_worth_another(self, error: &ureq::Error) -> bool {
        self == Self::Full || !matches!(error, ureq::Error::Timeout(_))
    }
}

/// What came back, whatever its status.
pub(crate) type Response = http::Response<Body>;

impl Transport {
    pub(crate) fn new(domain: &str, credentials: Credentials, settings: &Settings) -> Result<Self> {
        Ok(Self::of_host(&host_of(domain), credentials, settings))
    }

    pub(crate) fn of_host(host: &str, credentials: Credentials, settings: &Settings) -> Self {
        Self {
            host: host.to_owned(),
            settings: settings.clone(),
            credentials,
            base: OnceLock::new(),
            tokens: Mutex::default(),
            lacks_referrers: AtomicBool::new(false),
        }
    }

    pub(crate) fn lacks_referrers(&self) -> &AtomicBool {
        &self.lacks_referrers
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Sends a request, again when the failure may pass.
    ///
    /// # Errors
    /// `Unavailable` when there is no answer; an answer that says no is not an error here.
    pub(crate) fn send(&self, request: &Request<'_>) -> Result<Response> {
        let mut asked_again = false;
        let tries = if request.patience == Patience::Full { BACK_OFF.len() } else { SHORT_TRIES };
        let mut waits = BACK_OFF.iter().take(tries);
        loop {
            let base = self.base()?;
            let authorization = self.authorization(base, request.scope)?;
            let proof = Proof { value: authorization.as_deref(), in_body: false, owner: &base.origin };
            let failure = match base.send(request, proof) {
                // Only the registry itself may ask who we are: whoever it leads to gets no answer.
                Ok(Answer { response, by_owner: true })
                    if response.status() == StatusCode::UNAUTHORIZED && !asked_again =>
                {
                    // A token may have ended, or another one be wanted for this.
                    asked_again = true;
                    let offered = response.headers().get_all(WWW_AUTHENTICATE).iter();
                    let challenge = Challenge::choose(offered.filter_map(|value| value.to_str().ok()));
                    if challenge.is_none() {
                        return Ok(response);
                    }
                    *lock(&base.challenge) = challenge;
                    lock(&self.tokens).remove(request.scope);
                    continue;
                }
                Ok(Answer { response, .. }) if may_pass(response.status()) => Err(response),
                Ok(Answer { response, .. }) => return Ok(response),
                Err(error) if is_transient(&error) && request.patience.is_worth_another(&error) => Ok(error),
                Err(error) => return Err(self.unreachable(request, error)),
            };
            match (waits.next(), failure) {
                (Some(wait), Err(response)) if request.patience == Patience::Full => {
                    std::thread::sleep(asked_wait(&response).unwrap_or(*wait));
                }
                (Some(wait), Err(_)) => std::thread::sleep(*wait),
                (Some(wait), Ok(_)) => std::thread::sleep(*wait),
                (None, Err(response)) => return Ok(response),
                (None, Ok(error)) => return Err(self.unreachable(request, error)),
            }
        }
    }

    /// Whether the credentials are taken.
    pub(crate) fn check_credentials(&self) -> Result<()> {
        let request = Request {
            method: Method::GET,
            target: "/v2/",
            headers: &[],
            body: None,
            scope: "",
            patience: Patience::Full,
        };
        let response = self.send(&request)?;
        if response.status().is_success() {
            return Ok(());
        }
        Err(self.refusal(&request, response))
    }

    /// The scheme that the registry speaks, found once.
    fn base(&self) -> Result<&Base> {
        if let Some(base) = self.base.get() {
            return Ok(base);
        }
        let insecure = self.settings.is_insecure(&self.host);
        let schemes: &[&str] = if insecure { &["https", "http"] } else { &["https"] };
        let mut failure = None;
        for scheme in schemes {
            let origin = format!("{scheme}://{}", self.host);
            let home = Origin::of(&origin)
                .ok_or_else(|| Error::invalid(format!("registry {}: want HOST or HOST:PORT", self.host)))?;
            let connections = Connections::of(&self.host, home, &self.settings)?;
            let base = Base { origin, connections, challenge: Mutex::default() };
            let ping = Request {
                method: Method::GET,
                target: "/v2/",
                headers: &[],
                body: None,
                scope: "",
                patience: Patience::Full,
            };
            match base.send(&ping, Proof { value: None, in_body: false, owner: &base.origin }) {
                Ok(Answer { response, by_owner }) => {
                    let offered = response.headers().get_all(WWW_AUTHENTICATE).iter();
                    let challenge = Challenge::choose(offered.filter_map(|value| value.to_str().ok()));
                    *lock(&base.challenge) = challenge.filter(|_| by_owner);
                    return Ok(self.base.get_or_init(|| base));
                }
                Err(error) => failure = Some(self.unreachable_at(&format!("{}/v2/", base.origin), error)),
            }
        }
        Err(failure.unwrap_or_else(|| Error::internal("no scheme to ask a registry by")))
    }

    /// The value of the `Authorization` header for a scope.
    fn authorization(&self, base: &Base, scope: &str) -> Result<Option<String>> {
        if let Credentials::RegistryToken(token) = &self.credentials {
            return Ok(Some(format!("Bearer {token}")));
        }
        let challenge = lock(&base.challenge).clone();
        match challenge {
            None => Ok(None),
            Some(Challenge::Basic) => Ok(self.credentials.basic()),
            Some(Challenge::Bearer { realm, service, scope: offered }) => {
                let scope = if scope.is_empty() { &offered } else { scope };
                if let Some(token) = lock(&self.tokens).get(scope).filter(|token| token.ends > Instant::now())
                {
                    return Ok(Some(format!("Bearer {}", token.value)));
                }
                let token = self.fetch_token(base, &realm, &service, scope)?;
                let value = format!("Bearer {}", token.value);
                lock(&self.tokens).insert(scope.to_owned(), token);
                Ok(Some(value))
            }
        }
    }

    /// The one place where a secret goes to another host than the registry's: where the registry itself says that its
    /// tokens come from.
    fn fetch_token(&self, base: &Base, realm: &str, service: &str, scope: &str) -> Result<Token> {
        if !is_safe_realm(&base.origin, realm) {
            return Err(Error::new(
                ErrorKind::Unauthorized,
                format!(
                    "registry {}: its tokens come from {realm:?}, which has no TLS: nothing is told there",
                    self.host
                ),
            ));
        }
        crate::debug(&format!("registry {}: asks for a token at {}", self.host, without_query(realm)));
        let mut query = format!("service={}", encoded(service));
        if !scope.is_empty() {
            query += &format!("&scope={}", encoded(scope));
        }
        let ask = Request {
            method: Method::GET,
            target: realm,
            headers: &[],
            body: None,
            scope: "",
            patience: Patience::Full,
        };
        let result = match &self.credentials {
            Credentials::IdentityToken(token) => {
                let form = format!(
                    "grant_type=refresh_token&client_id=dhow&refresh_token={}&{query}",
                    encoded(token)
                );
                let headers = &[("content-type", "application/x-www-form-urlencoded")];
                let body = Some(form.as_bytes());
                let ask = Request { method: Method::POST, headers, body, ..ask };
                base.send(&ask, Proof { value: None, in_body: true, owner: realm })
            }
            credentials => {
                if let Credentials::Password { username, .. } = credentials {
                    query += &format!("&account={}", encoded(username));
                }
                let joint = if realm.contains('?') { '&' } else { '?' };
                let target = format!("{realm}{joint}{query}");
                let ask = Request {
                    method: Method::GET,
                    target: &target,
                    headers: &[],
                    body: None,
                    scope: "",
                    patience: Patience::Full,
                };
                base.send(&ask, Proof { value: credentials.basic().as_deref(), in_body: false, owner: realm })
            }
        };
        let Answer { response, .. } = result.map_err(|error| self.unreachable_at(realm, error))?;
        if !response.status().is_success() {
            let ask = Request {
                method: Method::GET,
                target: realm,
                headers: &[],
                body: None,
                scope: "",
                patience: Patience::Full,
            };
            return Err(self.refusal(&ask, response));
        }
        Token::parse(realm, &read_whole(response, realm, limits::TOKEN_BYTES)?)
    }

    fn unreachable(&self, request: &Request<'_>, error: ureq::Error) -> Error {
        let origin = self.base.get().map_or(self.host.as_str(), |base| base.origin.as_str());
        self.unreachable_at(&whole(origin, request.target), error)
    }

    fn unreachable_at(&self, url: &str, error: ureq::Error) -> Error {
        Error::caused(
            ErrorKind::Unavailable,
            format!("registry {}: get {}", self.host, without_query(url)),
            error,
        )
    }

    /// An answer that says no, as an error: with the registry's own words if it has any.
    pub(crate) fn refusal(&self, request: &Request<'_>, response: Response) -> Error {
        let status = response.status();
        let kind = match status {
            StatusCode::UNAUTHORIZED => ErrorKind::Unauthorized,
            StatusCode::FORBIDDEN => ErrorKind::Forbidden,
            StatusCode::NOT_FOUND => ErrorKind::NotFound,
            _ => ErrorKind::Unavailable,
        };
        let led_to = response.extensions().get::<LedTo>().cloned();
        let body = read_answer(response, request.target).unwrap_or_default();
        let mut words = Refusals::words(&body).unwrap_or_else(|| format!("the answer is {status}"));
        if let Some(LedTo(origin)) = led_to {
            words += &format!(" (from {origin}, where it leads)");
        }
        let what = format!("{} {}", request.method, without_query(request.target));
        Error::new(kind, format!("registry {}: {what}: {words}", self.host))
    }
}

/// What a request proves its sender by, and the URL of whom that is for.
#[derive(Clone, Copy)]
struct Proof<'a> {
    /// The `Authorization` header.
    value: Option<&'a str>,
    /// Whether the body holds a secret of the owner's, too.
    in_body: bool,
    owner: &'a str,
}

/// An answer, and whether it is of the owner of the proof, or of somebody that the owner led to.
struct Answer {
    response: Response,
    by_owner: bool,
}

impl Base {
    /// Sends a request and follows where the answer leads. The proof goes to its owner alone (same scheme, host and
    /// port), and no more once another host was asked, wherever that one leads.
    fn send(&self, request: &Request<'_>, proof: Proof<'_>) -> Result<Answer, ureq::Error> {
        let mut url = whole(&self.origin, request.target);
        let owner = Origin::of(&whole(&self.origin, proof.owner));
        let mut by_owner = true;
        for _ in 0..=REDIRECTS_MAX {
            let here = Origin::of(&url).ok_or_else(|| {
                ureq::Error::Other(format!("it leads to {:?}, which is no URL", without_query(&url)).into())
            })?;
            by_owner &= owner.as_ref() == Some(&here);
            let agent = self.connections.to(&here)?;
            let mut response = send_to(&agent, &url, request, proof.value.filter(|_| by_owner))?;
            match redirect::target(&url, &request.method, &response) {
                Some(next) if !proof.in_body || Origin::of(&next) == owner => {
                    // What cannot be read leaves a connection that is not used again.
                    let body = response.into_body().into_reader();
                    let _ = body.take(REDIRECT_BODY_MAX).read_to_end(&mut Vec::new());
                    url = next;
                }
                _ => {
                    if !by_owner {
                        response.extensions_mut().insert(LedTo(here));
                    }
                    return Ok(Answer { response, by_owner });
                }
            }
        }
        Err(ureq::Error::TooManyRedirects)
    }
}

/// Who answered, where that is not who is told secrets.
#[derive(Clone)]
struct LedTo(Origin);

fn send_to(
    agent: &Agent,
    url: &str,
    request: &Request<'_>,
    authorization: Option<&str>,
) -> Result<Response, ureq::Error> {
    let mut builder = http::Request::builder().method(request.method.clone()).uri(url);
    for (name, value) in request.headers {
        builder = builder.header(*name, *value);
    }
    if let Some(value) = authorization {
        builder = builder.header(AUTHORIZATION, value);
    }
    match request.body {
        Some(mut body) => {
            let length = body.len();
            if !request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(CONTENT_TYPE.as_str())) {
                builder = builder.header(CONTENT_TYPE, "application/octet-stream");
            }
            builder = builder.header(http::header::CONTENT_LENGTH, length);
            agent.run(builder.body(SendBody::from_reader(&mut body))?)
        }
        None if request.method == Method::POST || request.method == Method::PUT => {
            builder = builder.header(http::header::CONTENT_LENGTH, 0);
            agent.run(builder.body(SendBody::none())?)
        }
        None => run(agent, builder.body(SendBody::none())?, request.patience),
    }
}

fn run(
    agent: &Agent,
    request: http::Request<SendBody<'_>>,
    patience: Patience,
) -> Result<Response, ureq::Error> {
    if patience == Patience::Full {
        return agent.run(request);
    }
    let mut config = agent
        .configure_request(request)
        .timeout_connect(Some(SHORT_PATIENCE))
        .timeout_recv_response(Some(SHORT_PATIENCE))
        .timeout_per_read(Some(SHORT_PATIENCE));
    if patience == Patience::ShortInAll {
        config = config.timeout_recv_body(Some(SHORT_PATIENCE));
    }
    agent.run(config.build())
}

/// Reads a small answer whole.
pub(crate) fn read_answer(response: Response, what: &str) -> Result<Vec<u8>> {
    read_whole(response, what, limits::ANSWER_BYTES)
}

fn read_whole(response: Response, what: &str, limit: Limit) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    response
        .into_body()
        .into_reader()
        .take(limit.most() + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::caused(ErrorKind::Unavailable, format!("read {}", without_query(what)), e))?;
    if bytes.len() as u64 > limit.most() {
        let (name, most) = (without_query(what), limit.most());
        return Err(Error::corrupt(format!("{name} has more than {most} bytes, which none needs")));
    }
    Ok(bytes)
}

#[derive(Deserialize)]
struct Refusals {
    #[serde(default)]
    errors: Vec<Refusal>,
    /// What token servers say.
    details: Option<String>,
    error_description: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Refusals {
    /// `denied: requested access to the resource is denied`, as the distribution specification has it.
    fn words(body: &[u8]) -> Option<String> {
        let said: Refusals = serde_json::from_slice(body).ok()?;
        let all: Vec<String> = said
            .errors
            .iter()
            .map(|r| format!("{}: {}", r.code.to_lowercase().replace('_', " "), r.message))
            .collect();
        let words = if all.is_empty() { said.details.or(said.error_description)? } else { all.join("; ") };
        // A registry's words go to a terminal.
        Some(words.chars().filter(|c| !c.is_control()).take(1000).collect())
    }
}

/// Whether a secret may go to a token service: a registry with TLS must not name one without.
fn is_safe_realm(origin: &str, realm: &str) -> bool {
    !origin.starts_with("https:") || whole(origin, realm).starts_with("https://")
}

fn whole(origin: &str, target: &str) -> String {
    if target.starts_with('/') { format!("{origin}{target}") } else { target.to_owned() }
}

/// Queries of storage services hold signatures: they belong in no message.
fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}

fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504)
}

/// Failures of the way, not of the registry. Whoever is not there at all is told so at once.
fn is_transient(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Timeout(_) | ureq::Error::BodyStalled => true,
        ureq::Error::Io(error) => error.kind() != std::io::ErrorKind::ConnectionRefused,
        _ => false,
    }
}

fn asked_wait(response: &Response) -> Option<Duration> {
    let seconds: u64 = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_words() {
        let body =
            br#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#;
        assert_eq!(Refusals::words(body).unwrap(), "denied: requested access to the resource is denied");
        assert_eq!(Refusals::words(br#"{"details":"incorrect username"}"#).unwrap(), "incorrect username");
        assert_eq!(Refusals::words(b"<html>"), None);
        let escape = br#"{"errors":[{"code":"X","message":"a\u001b[2Jb"}]}"#;
        assert_eq!(Refusals::words(escape).unwrap(), "x: a[2Jb");
    }

    #[test]
    fn a_registry_with_tls_names_no_token_service_without() {
        assert!(is_safe_realm("https://reg.example", "https://auth.example/token"));
        assert!(is_safe_realm("https://reg.example", "/token"));
        assert!(!is_safe_realm("https://reg.example", "http://auth.example/token"));
        assert!(!is_safe_realm("https://reg.example", ""));
        assert!(is_safe_realm("http://127.0.0.1:5000", "http://127.0.0.1:5001/token"));
    }

    #[test]
    fn secrets_in_queries_are_not_told() {
        assert_eq!(without_query("https://s3.example/blob?sig=abc"), "https://s3.example/blob");
        assert_eq!(whole("https://a", "/v2/"), "https://a/v2/");
        assert_eq!(whole("https://a", "https://b/c"), "https://b/c");
    }
}
