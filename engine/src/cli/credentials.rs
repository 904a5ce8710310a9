//! Who the person is at which registry: `auths`, `credsStore` and `credHelpers` of `config.json`, as Docker's command
//! line reads and writes them.

use crate::cli::exit::{Failure, Outcome};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
use dhow_model::members;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The registry of names without one.
pub(crate) const HUB: &str = "docker.io";
/// What `config.json` calls it.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// What helpers say as the user of a token.
const TOKEN_USER: &str = "<token>";

/// What a registry is to be told.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Login {
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) identity_token: String,
}

impl std::fmt::Debug for Login {
    /// Never the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({})", self.username)
    }
}

impl Login {
    /// The value of `X-Registry-Auth`.
    pub(crate) fn header(&self, domain: &str) -> String {
        let mut fields = json!({ "serveraddress": key_of(domain) });
        if self.identity_token.is_empty() {
            fields["username"] = Value::from(self.username.as_str());
            fields["password"] = Value::from(self.password.as_str());
        } else {
            fields["identitytoken"] = Value::from(self.identity_token.as_str());
        }
        BASE64_URL_SAFE.encode(fields.to_string())
    }
}

/// The name of a registry in `config.json`.
pub(crate) fn key_of(domain: &str) -> String {
    if domain == HUB { HUB_KEY.to_owned() } else { domain.to_owned() }
}

/// The registry that an address means.
pub(crate) fn domain_of(address: &str) -> String {
    let host = address.trim_start_matches("https://").trim_start_matches("http://");
    match host.split('/').next().unwrap_or("") {
        "" | "index.docker.io" | "registry-1.docker.io" | HUB => HUB.to_owned(),
        host => host.to_owned(),
    }
}

/// The file that knows.
pub(crate) struct Credentials {
    path: Option<PathBuf>,
}

impl Credentials {
    /// `directory` is `~/.docker`.
    pub(crate) fn of(directory: Option<PathBuf>) -> Self {
        Self { path: directory.map(|d| d.join("config.json")) }
    }

    /// What is known for a registry.
    pub(crate) fn get(&self, domain: &str) -> Outcome<Option<Login>> {
        let config = self.read()?;
        if let Some(helper) = helper_for(&config, domain) {
            return from_helper(&helper, domain);
        }
        let Some(auths) = members::get_in(&config, "auths").and_then(Value::as_object) else {
            return Ok(None);
        };
        let exact = auths.get(&key_of(domain));
        let entry = exact.or_else(|| auths.iter().find(|(key, _)| domain_of(key) == domain).map(|(_, v)| v));
        Ok(entry.and_then(parse_entry))
    }

    /// Whether anything is known, which a helper may know better.
    pub(crate) fn has(&self, domain: &str) -> Outcome<bool> {
        let config = self.read()?;
        let auths = members::get_in(&config, "auths").and_then(Value::as_object);
        Ok(auths.is_some_and(|auths| auths.keys().any(|key| domain_of(key) == domain)))
    }

    /// Remembers. Returns the file that now holds the secret as anybody can read it, if one does.
    pub(crate) fn store(&self, domain: &str, login: &Login) -> Outcome<Option<PathBuf>> {
        let mut config = self.read()?;
        let helper = helper_for(&config, domain);
        let key = key_of(domain);
        let entry = match &helper {
            Some(helper) => {
                let secret = json!({
                    "ServerURL": key, "Username": login.username, "Secret": login.password,
                });
                run_helper(helper, "store", &secret.to_string())?;
                json!({})
            }
            None => {
                json!({ "auth": BASE64_STANDARD.encode(format!("{}:{}", login.username, login.password)) })
            }
        };
        object(&mut config, "auths").insert(key, entry);
        self.write(&config)?;
        Ok(if helper.is_some() { None } else { self.path.clone() })
    }

    /// Forgets.
    pub(crate) fn erase(&self, domain: &str) -> Outcome<()> {
        let mut config = self.read()?;
        if let Some(helper) = helper_for(&config, domain) {
            run_helper(&helper, "erase", &key_of(domain))?;
        }
        object(&mut config, "auths").retain(|key, _| domain_of(key) != domain);
        self.write(&config)
    }

    fn read(&self) -> Outcome<Map<String, Value>> {
        let Some(path) = &self.path else { return Ok(Map::new()) };
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
            Err(error) => return Err(Failure::new(format!("read {}: {error}", path.display()))),
        };
        // The message says where, and shows nothing of what is there.
        serde_json::from_slice(&text)
            .map_err(|error| Failure::new(format!("{}: not a JSON object: {error}", path.display())))
    }

    /// Replaces the file whole, readable by its owner alone.
    fn write(&self, config: &Map<String, Value>) -> Outcome<()> {
        let Some(path) = &self.path else {
            return Err(Failure::new("no place for credentials: HOME and DOCKER_CONFIG are not set"));
        };
        let fail = |error: std::io::Error| Failure::new(format!("write {}: {error}", path.display()));
        // Some people keep the file elsewhere, and a link to it here.
        let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let directory = target.parent().unwrap_or(Path::new("."));
        std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700)
            .create(directory)
            .map_err(fail)?;
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(fail)?;
        let mut text = Vec::new();
        let indent = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        serde::Serialize::serialize(config, &mut serde_json::Serializer::with_formatter(&mut text, indent))
            .map_err(|error| Failure::new(format!("encode {}: {error}", path.display())))?;
        file.write_all(&text).map_err(fail)?;
        file.persist(&target).map_err(|error| fail(error.error))?;
        Ok(())
    }
}

fn object<'a>(config: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let written = config.keys().find(|name| name.eq_ignore_ascii_case(key)).cloned();
    let value = config.entry(written.unwrap_or_else(|| key.to_owned())).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it was made one just before"),
    }
}

/// The program that keeps a registry's secrets, by the end of its name.
fn helper_for(config: &Map<String, Value>, domain: &str) -> Option<String> {
    let of_registry = members::get_in(config, "credHelpers")
        .and_then(|all| all.get(key_of(domain)).or_else(|| all.get(domain)));
    let name = of_registry.or_else(|| members::get_in(config, "credsStore"))?.as_str()?;
    (!name.is_empty()).then(|| name.to_owned())
}

fn parse_entry(entry: &Value) -> Option<Login> {
    let text = |key: &str| members::get(entry, key).and_then(Value::as_str).unwrap_or("").to_owned();
    let mut login = Login {
        username: text("username"),
        password: text("password"),
        identity_token: text("identitytoken"),
    };
    if let Ok(decoded) = BASE64_STANDARD.decode(text("auth"))
        && let Ok(decoded) = String::from_utf8(decoded)
        && let Some((username, password)) = decoded.split_once(':')
    {
        username.clone_into(&mut login.username);
        password.trim_end_matches('\0').clone_into(&mut login.password);
    }
    (login != Login::default()).then_some(login)
}

/// Asks a helper; it knows nothing is an answer, too.
fn from_helper(helper: &str, domain: &str) -> Outcome<Option<Login>> {
    let answer = match run_helper(helper, "get", &key_of(domain)) {
        Err(failure) if failure.message.contains("credentials not found") => return Ok(None),
        answer => answer?,
    };
    let answer: Value = serde_json::from_str(&answer)
        .map_err(|_| Failure::new(format!("docker-credential-{helper} answered what is no JSON")))?;
    let text = |key: &str| members::get(&answer, key).and_then(Value::as_str).unwrap_or("").to_owned();
    Ok(Some(match text("Username") {
        user if user == TOKEN_USER => Login { identity_token: text("Secret"), ..Login::default() },
        username => Login { username, password: text("Secret"), ..Login::default() },
    }))
}

fn run_helper(helper: &str, verb: &str, input: &str) -> Outcome<String> {
    let program = format!("docker-credential-{helper}");
    let fail = |why: &str| Failure::new(format!("{program} {verb}: {why}"));
    let mut child = Command::new(&program)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| fail(&error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read has its reasons, and says so.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| fail(&error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(fail(if text.is_empty() { "it failed" } else { &text }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(text: &str) -> (tempfile::TempDir, Credentials) {
        let directory = tempfile::tempdir().unwrap();
        if !text.is_empty() {
            std::fs::write(directory.path().join("config.json"), text).unwrap();
        }
        let credentials = Credentials::of(Some(directory.path().to_owned()));
        (directory, credentials)
    }

    #[test]
    fn what_docker_wrote_is_read() {
        let (_directory, credentials) = fixture(
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6c2VjcmV0"},
                "https://old.example/v1/":{"auth":"YTpiOmM="},"tok.example":{"identitytoken":"T"},"empty":{}}}"#,
        );
        let get = |domain: &str| credentials.get(domain).unwrap();
        let login = |user: &str, password: &str| {
            Some(Login { username: user.into(), password: password.into(), ..Login::default() })
        };
        assert_eq!(get("docker.io"), login("me", "secret"));
        assert_eq!(get("old.example"), login("a", "b:c"));
        assert_eq!(get("tok.example").unwrap().identity_token, "T");
        assert_eq!(get("empty"), None);
        assert_eq!(get("other"), None);
    }

    #[test]
    fn storing_keeps_everything_else_and_erasing_too() {
        let (directory, credentials) = fixture(r#"{"psFormat":"x","auths":{"a.example":{"auth":"YTpi"}}}"#);
        let login = Login { username: "u".into(), password: "p".into(), ..Login::default() };
        let path = credentials.store("b.example:5000", &login).unwrap();
        assert_eq!(path, credentials.path);
        assert_eq!(credentials.get("b.example:5000").unwrap(), Some(login));
        assert!(credentials.has("a.example").unwrap());
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(directory.path().join("config.json")).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        credentials.erase("b.example:5000").unwrap();
        assert!(!credentials.has("b.example:5000").unwrap());
        let text = std::fs::read_to_string(directory.path().join("config.json")).unwrap();
        assert!(
            text.contains("psFormat") && text.contains("a.example") && !text.contains("b.example"),
            "{text}"
        );
    }

    #[test]
    fn helpers_are_chosen_as_docker_chooses_them() {
        let config = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        let both = config(r#"{"credsStore":"all","credHelpers":{"a.example":"one"}}"#);
        assert_eq!(helper_for(&both, "a.example").as_deref(), Some("one"));
        assert_eq!(helper_for(&both, "docker.io").as_deref(), Some("all"));
        assert_eq!(helper_for(&config("{}"), "docker.io"), None);
        assert_eq!(domain_of("https://index.docker.io/v1/"), "docker.io");
        assert_eq!(domain_of("http://h:5000/v2/"), "h:5000");
    }
}
