//! Pull and push against Debian's docker-registry: plain, with TLS, with passwords, with tokens; and through a server
//! that cuts, throttles, spoils and refuses. Other tools judge what is there.

mod artifacts;
mod faults;
pub(crate) mod fixture;
mod killed;
mod manifests;
mod ranges;
mod referrers;
mod saved;
mod told;
mod ways;

use crate::fixtures::{self, Tar};
use crate::sandbox::{Ended, Sandbox, finish};
use fixture::{Asked, Fault, Front, Registry, request};
use std::path::PathBuf;
use std::process::Command;

/// Bytes that no compression makes smaller.
pub(super) fn noise(bytes: usize, mut seed: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        // xorshift64*
        seed ^= seed >> 12;
        seed ^= seed << 25;
        seed ^= seed >> 27;
        out.extend_from_slice(&seed.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    out.truncate(bytes);
    out
}

/// An image with a layer of that much noise, in the sandbox's engine.
pub(super) fn noisy_image(sandbox: &Sandbox, name: &str, bytes: usize, seed: u64) {
    let tar = sandbox.path("noise.tar");
    let mut builder = Tar::with_busybox(&tar);
    builder.file("noise", 0o644, &noise(bytes, seed));
    builder.finish();
    sandbox.ok(["import", tar.to_str().unwrap(), name]);
}

/// Everything that the engine keeps of images.
pub(super) fn kept(sandbox: &Sandbox) -> Vec<String> {
    let mut kept = Vec::new();
    for directory in ["content/sha256", "content/tmp", "content/partial", "layers/tmp"] {
        kept.extend(crate::sandbox::names_in(&sandbox.root().join(directory)));
    }
    let layers = crate::sandbox::names_in(&sandbox.root().join("layers"));
    kept.extend(layers.into_iter().filter(|name| name.len() == 64));
    kept
}

/// All images that nobody uses, and what broken pulls have left.
pub(super) fn prune(sandbox: &Sandbox) {
    sandbox.ok(["image", "prune", "-af"]);
}

fn skopeo(arguments: &[&str]) -> String {
    let mut command = Command::new("skopeo");
    command.args(arguments);
    finish(command, b"").ok()
}

fn digest_line(output: &str) -> String {
    let line = output.lines().find_map(|line| line.strip_prefix("Digest: "));
    line.unwrap_or_else(|| panic!("no digest in {output}")).to_owned()
}

#[test]
fn what_is_pushed_is_what_others_pull_and_what_comes_back() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    let name = registry.name("team/tools:1");
    sandbox.ok(["tag", "busybox", &name]);
    let pushed = sandbox.ok(["push", &name]);
    assert!(pushed.starts_with(&format!("The push refers to repository [{}]", registry.name("team/tools"))));
    assert!(pushed.contains(": Pushed\n"), "{pushed}");
    let digest =
        skopeo(&["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &format!("docker://{name}")]);
    assert!(pushed.contains(&format!("1: digest: {digest} size: ")), "{pushed}");
    let repository = registry.name("team/tools");
    assert_eq!(sandbox.inspect(&name)["RepoDigests"][0], format!("{repository}@{digest}"));

    // Others have the same image of it.
    let copy = sandbox.path("copy");
    skopeo(&[
        "copy",
        "-q",
        "--src-tls-verify=false",
        &format!("docker://{name}"),
        &format!("dir:{}", copy.display()),
    ]);
    let theirs = std::fs::read(copy.join("manifest.json")).unwrap();
    std::fs::write(sandbox.path("m"), &theirs).unwrap();
    assert_eq!(fixtures::sha256_of(&sandbox.path("m")), digest);

    // Back again, by tag and by digest.
    let id = sandbox.inspect(&name)["Id"].clone();
    sandbox.ok(["rmi", "-f", &name, "busybox"]);
    assert_eq!(kept(&sandbox), Vec::<String>::new());
    let pulled = sandbox.ok(["pull", &name]);
    assert_eq!(digest_line(&pulled), digest);
    assert!(pulled.contains(&format!("Status: Downloaded newer image for {name}\n{name}")), "{pulled}");
    assert_eq!(sandbox.inspect(&name)["Id"], id);
    assert!(sandbox.ok(["pull", &name]).contains("Status: Image is up to date for"));
    assert_eq!(sandbox.ok(["run", "--rm", "--network", "none", &name, "echo", "hi"]), "hi");
    sandbox.ok(["rmi", &name]);
    let by_digest = format!("{repository}@{digest}");
    assert_eq!(sandbox.ok(["pull", "-q", &by_digest]), by_digest);
    assert_eq!(sandbox.inspect(&by_digest)["RepoTags"], serde_json::json!([]));
    assert_eq!(
        sandbox.ok(["images", "--digests", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}"]),
        format!("{repository} <none> {digest}")
    );

    // The image keeps its digest when it is pushed again; what the registry has is not sent.
    let other = registry.name("other/tools:2");
    sandbox.ok(["tag", &by_digest, &other]);
    let pushed = sandbox.ok(["push", &other]);
    assert!(pushed.contains(": Mounted from team/tools\n"), "{pushed}");
    assert!(pushed.contains(&digest), "{pushed}");
    assert!(sandbox.ok(["push", &other]).contains(": Layer already exists\n"));
    sandbox.ok(["rmi", "-f", &other]);
    sandbox.ok(["image", "rm", &by_digest]);
    assert_eq!(kept(&sandbox), Vec::<String>::new());
}

#[test]
fn all_tags_go_and_come() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    let name = registry.name("many");
    for tag in ["a", "b", "c"] {
        sandbox.ok(["tag", "busybox", &format!("{name}:{tag}")]);
    }
    assert_eq!(sandbox.ok(["push", "-a", &name]).matches("digest: ").count(), 3);
    sandbox.ok(["rmi", &format!("{name}:a"), &format!("{name}:b"), &format!("{name}:c")]);
    sandbox.ok(["pull", "-a", &name]);
    let tags = sandbox.ok(["images", "--format", "{{.Tag}}", &name]);
    assert_eq!(tags.lines().collect::<std::collections::BTreeSet<_>>(), ["a", "b", "c"].into());
    sandbox.dhow(["pull", "-a", &format!("{name}:a")]).fails(1, "tag can't be used with --all-tags/-a");
    // For a kind of machine: the image's own, or nothing is sent.
    let own = if cfg!(target_arch = "aarch64") { "linux/arm64" } else { "linux/amd64" };
    assert!(sandbox.ok(["push", "--platform", own, &format!("{name}:a")]).contains("digest: sha256:"));
    sandbox
        .dhow(["push", "--platform", "linux/s390x", &format!("{name}:a")])
        .fails(1, "does not match the specified platform (linux/s390x)");
    sandbox.dhow(["push", &registry.name("none")]).fails(1, "An image does not exist locally with the tag");
}

#[test]
fn run_pulls_what_is_missing_and_docker_does_the_same() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    let name = registry.name("app");
    sandbox.ok(["tag", "busybox", &name]);
    let server = sandbox.serve();
    let pushed = server.docker(["push", &name]).ok();
    assert!(pushed.contains("Pushed") && pushed.contains("latest: digest: sha256:"), "{pushed}");
    let remove = || sandbox.ok(["rmi", "-f", &name, "busybox"]);
    remove();
    let ended = sandbox.dhow(["run", "--rm", "--network", "none", &name, "echo", "hi"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "hi\n"));
    let shown = format!("Unable to find image '{name}:latest' locally\nlatest: Pulling from app\n");
    assert!(
        ended.stderr.starts_with(&shown) && ended.stderr.contains("Downloaded newer image"),
        "{}",
        ended.stderr
    );
    // `always` asks the registry even so, `never` does not ask at all.
    let always = sandbox.dhow(["run", "--rm", "--network", "none", "--pull", "always", &name, "true"]);
    assert!(always.stderr.contains("Image is up to date"), "{}", always.stderr);
    sandbox.ok(["rmi", &name]);
    sandbox.dhow(["run", "--rm", "--pull", "never", &name, "true"]).fails(125, "No such image");
    sandbox.dhow(["create", &registry.name("nothing")]).fails(125, "not found");

    // The real docker, over the socket.
    let pulled = server.docker(["pull", &name]).ok();
    assert!(
        pulled.contains("Pull complete") && pulled.contains("Status: Downloaded newer image for"),
        "{pulled}"
    );
    sandbox.ok(["rmi", &name]);
    let ran = server.docker(["run", "--rm", "--network", "none", &name, "echo", "ho"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "ho\n"), "{}", ran.stderr);
    server.docker(["pull", &registry.name("nothing")]).fails(1, "not found");
}

/// Fills an index with images for two machines.
fn push_index(sandbox: &Sandbox, registry: &Registry) -> Vec<String> {
    let mut entries = Vec::new();
    let mut digests = Vec::new();
    for (platform, content) in [("linux/amd64", "ours"), ("linux/arm64", "theirs")] {
        let tar = sandbox.path("one.tar");
        let mut builder = Tar::with_busybox(&tar);
        builder.file("which", 0o644, content.as_bytes());
        builder.finish();
        let name = registry.name(&format!("multi:{content}"));
        sandbox.ok(["import", "--platform", platform, tar.to_str().unwrap(), &name]);
        let pushed = sandbox.ok(["push", &name]);
        let line = pushed.lines().find(|line| line.contains("digest: ")).unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let (os, architecture) = platform.split_once('/').unwrap();
        entries.push(serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": words[2],
            "size": words[4].parse::<u64>().unwrap(), "platform": { "os": os, "architecture": architecture },
        }));
        digests.push(words[2].to_owned());
        sandbox.ok(["rmi", "-f", &name]);
    }
    let kind = "application/vnd.oci.image.index.v1+json";
    let index =
        serde_json::json!({ "schemaVersion": 2, "mediaType": kind, "manifests": entries }).to_string();
    let (status, body) = request(registry, "PUT", "/v2/multi/manifests/latest", kind, index.as_bytes());
    assert_eq!(status, 201, "{body}");
    digests
}

#[test]
fn an_index_gives_the_image_for_the_machine_that_is_asked_for() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox.path("registry"));
    let name = registry.name("multi");
    push_index(&sandbox, &registry);
    let digest = skopeo(&["inspect", "--tls-verify=false", "--raw", &format!("docker://{name}")]);
    std::fs::write(sandbox.path("index"), &digest).unwrap();
    let index_digest = fixtures::sha256_of(&sandbox.path("index"));
    let pulled = sandbox.ok(["pull", &name]);
    // An image is known by the digest of the index that it was pulled by.
    assert_eq!(digest_line(&pulled), index_digest);
    assert_eq!(sandbox.ok(["run", "--rm", "--network", "none", &name, "cat", "/which"]), "ours");
    let arm = sandbox.ok(["pull", "--platform", "linux/arm64", &name]);
    assert_eq!(digest_line(&arm), index_digest);
    assert_eq!(sandbox.inspect(&name)["Architecture"], "arm64");
    sandbox
        .dhow(["pull", "--platform", "linux/s390x", &name])
        .fails(1, "has no image for linux/s390x; it has:");
    sandbox.dhow(["pull", "--platform", "a/b/c/d", &name]).fails(1, "invalid platform");
    prune(&sandbox);
    assert_eq!(kept(&sandbox), Vec::<String>::new());
}

/// docker-registry's configuration for a user `me` with the password `secret`.
fn password_config(sandbox: &Sandbox) -> String {
    let file = sandbox.path("htpasswd");
    std::fs::write(&file, "me:$2b$04$rmJl64YMJtCVggkS0kf2aetNmRKxB2HdS3HipLMnZlWC8YB038ip.\n").unwrap();
    format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", file.display())
}

pub(crate) fn login(sandbox: &Sandbox, host: &str, password: &str) -> Ended {
    sandbox.dhow_with_input(["login", "-u", "me", "--password-stdin", host], password.as_bytes())
}

#[test]
fn passwords_are_asked_for_and_remembered_where_docker_remembers_them() {
    let sandbox = Sandbox::with_busybox();
    let config = password_config(&sandbox);
    let registry = Registry::with(&sandbox.path("registry"), fixture::LOOPBACK, &config);
    let name = registry.name("closed");
    sandbox.ok(["tag", "busybox", &name]);
    sandbox.dhow(["push", &name]).fails(1, "unauthorized: authentication required");
    sandbox.dhow(["pull", &name]).fails(1, "repository does not exist or may require 'docker login'");
    login(&sandbox, &registry.host(), "wrong").fails(1, "unauthorized: authentication required");
    sandbox
        .dhow(["login", &registry.host()])
        .fails(1, "cannot perform an interactive login from a non-TTY device");
    sandbox.dhow(["login", "--password-stdin", &registry.host()]).fails(1, "must provide --username");

    let ended = login(&sandbox, &registry.host(), "secret\n");
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "Login Succeeded\n"), "{}", ended.stderr);
    assert!(ended.stderr.contains("stored unencrypted"), "{}", ended.stderr);
    sandbox.ok(["push", &name]);
    sandbox.ok(["rmi", "-f", &name, "busybox"]);
    sandbox.ok(["pull", &name]);

    // What one wrote the other reads.
    let server = sandbox.serve();
    server.docker(["pull", &name]).ok();
    assert_eq!(server.docker(["logout", &registry.host()]).ok().lines().count(), 1);
    sandbox.dhow(["pull", &name]).fails(1, "may require 'docker login'");
    let mut command = server.docker_command(["login", "-u", "me", "--password-stdin", &registry.host()]);
    command.stdin(std::process::Stdio::piped());
    let ended = finish(command, b"secret");
    assert!(ended.code == 0 && ended.stdout.contains("Login Succeeded"), "{ended:?}");
    sandbox.ok(["pull", &name]);
    let shown = sandbox.ok(["login", &registry.host()]);
    assert_eq!(shown, "Authenticating with existing credentials...\nLogin Succeeded");
    sandbox.ok(["logout", &registry.host()]);
    let removing = format!("Removing login credentials for {}", registry.host());
    assert_eq!(sandbox.ok(["logout", &registry.host()]), removing, "also where there are none");
}

#[test]
fn a_credential_helper_keeps_the_secret() {
    let sandbox = Sandbox::with_busybox();
    let config = password_config(&sandbox);
    let registry = Registry::with(&sandbox.path("registry"), fixture::LOOPBACK, &config);
    let programs = sandbox.path("bin");
    std::fs::create_dir_all(&programs).unwrap();
    let safe = sandbox.path("safe");
    fixtures::script(
        &programs.join("docker-credential-test"),
        &format!(
            "#!/bin/sh\ncase $1 in\nstore) cat > {safe} ;;\nget) cat {safe} 2>/dev/null || \
             {{ echo credentials not found in native keychain; exit 1; }} ;;\nerase) rm -f {safe} ;;\nesac\n",
            safe = safe.display()
        ),
    );
    let home = sandbox.path(".docker");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("config.json"), r#"{"credsStore":"test"}"#).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let dhow = |arguments: &[&str], input: &str| {
        let mut command = sandbox.command(arguments);
        command.env("PATH", &path);
        finish(command, input.as_bytes())
    };
    let name = registry.name("kept");
    sandbox.ok(["tag", "busybox", &name]);
    let ended = dhow(&["login", "-u", "me", "--password-stdin", &registry.host()], "secret");
    assert!(ended.code == 0 && !ended.stderr.contains("unencrypted"), "{ended:?}");
    assert!(std::fs::read_to_string(&safe).unwrap().contains("secret"));
    assert!(!std::fs::read_to_string(home.join("config.json")).unwrap().contains("auth\""));
    dhow(&["push", &name], "").ok();
    dhow(&["logout", &registry.host()], "").ok();
    assert!(!safe.exists());
    dhow(&["pull", &name], "").fails(1, "may require 'docker login'");

    // A helper for this registry alone.
    let text = format!(r#"{{"credsStore":"none","credHelpers":{{"{}":"test"}}}}"#, registry.host());
    std::fs::write(home.join("config.json"), text).unwrap();
    dhow(&["login", "-u", "me", "--password-stdin", &registry.host()], "secret").ok();
    dhow(&["pull", "-q", &name], "").ok();
    assert!(safe.exists());
}

#[test]
fn a_token_service_is_asked_with_the_right_scope() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    // It gives tokens to `me`, and each is good for what it was asked for.
    let tokens = Front::alone(|asked: &Asked, _| {
        let query = asked.path.split_once('?').map_or("", |(_, query)| query);
        let scope = query.split('&').find_map(|pair| pair.strip_prefix("scope=")).unwrap_or("");
        match asked.headers.get("authorization").map(String::as_str) {
            Some("Basic bWU6c2VjcmV0") => {
                let text = format!(r#"{{"token":"T-{scope}","expires_in":300}}"#);
                Fault::Answer("200 OK", Vec::new(), text)
            }
            _ => Fault::Answer(
                "401 Unauthorized",
                Vec::new(),
                r#"{"details":"incorrect username or password"}"#.into(),
            ),
        }
    });
    let realm = tokens.url("/token");
    let guard = Front::of(&registry, move |asked, _| {
        let wanted = if asked.method == "GET" || asked.method == "HEAD" { "pull" } else { "push" };
        let token = asked.headers.get("authorization").map_or("", String::as_str);
        let good = asked.path == "/v2/" && token == "Bearer T-"
            || token.starts_with("Bearer T-repository%3Aguarded%3A") && token.contains(wanted);
        if good {
            return Fault::None;
        }
        let header = format!(r#"Bearer realm="{realm}",service="reg",scope="repository:guarded:{wanted}""#);
        let header =
            if asked.path == "/v2/" { header.split(",scope").next().unwrap().to_owned() } else { header };
        Fault::Answer("401 Unauthorized", vec![("WWW-Authenticate", header)], String::new())
    });
    let name = guard.name("guarded");
    sandbox.ok(["tag", "busybox", &name]);
    sandbox.dhow(["pull", &name]).fails(1, "may require 'docker login'");
    let host = name.split('/').next().unwrap();
    login(&sandbox, host, "wrong").fails(1, "incorrect username or password");
    login(&sandbox, host, "secret").ok();
    sandbox.ok(["push", &name]);
    sandbox.ok(["rmi", "-f", &name, "busybox"]);
    sandbox.ok(["pull", &name]);
    let asked = tokens.asked();
    assert!(
        asked.iter().any(|a| a.path.contains("scope=repository%3Aguarded%3Apull%2Cpush&account=me")),
        "{asked:?}"
    );
    // One token does for all of a pull.
    assert_eq!(asked.iter().filter(|a| a.path.contains("guarded%3Apull&account=me")).count(), 1, "{asked:?}");
}

/// An address of this machine that is not the loopback's; `None` on a machine that has no other.
pub(crate) fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: the kernel only chooses a route.
    socket.connect("192.0.2.1:9").ok()?;
    socket
        .local_addr()
        .ok()
        .map(|address| address.ip())
        .filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

/// A certificate for an address, signed by an authority of its own: (authority, certificate, key).
pub(crate) fn certificate(sandbox: &Sandbox, address: &str) -> (PathBuf, PathBuf, PathBuf) {
    let [ca, ca_key, cert, key, request, extension] =
        ["ca.crt", "ca.key", "reg.crt", "reg.key", "reg.csr", "ext"].map(|name| sandbox.path(name));
    let openssl = |arguments: &[&str]| {
        let mut command = Command::new("openssl");
        command.args(arguments);
        finish(command, b"").ok();
    };
    let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=test authority",
        "-keyout",
        &text(&ca_key),
        "-out",
        &text(&ca),
    ]);
    openssl(&[
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=registry",
        "-keyout",
        &text(&key),
        "-out",
        &text(&request),
    ]);
    std::fs::write(&extension, format!("subjectAltName=IP:{address}\n")).unwrap();
    openssl(&[
        "x509",
        "-req",
        "-days",
        "2",
        "-in",
        &text(&request),
        "-CA",
        &text(&ca),
        "-CAkey",
        &text(&ca_key),
        "-CAcreateserial",
        "-extfile",
        &text(&extension),
        "-out",
        &text(&cert),
    ]);
    (ca, cert, key)
}

#[test]
fn tls_is_checked_against_the_authorities_that_the_machine_trusts() {
    let sandbox = Sandbox::with_busybox();
    let address = own_address().expect("an address of this machine that is not the loopback's");
    let (authority, certificate, key) = certificate(&sandbox, &address.to_string());
    let tls = format!("  tls: {{certificate: {}, key: {}}}\n", certificate.display(), key.display());
    let registry = Registry::with(&sandbox.path("registry"), address, &tls);
    let name = registry.name("sealed");
    sandbox.ok(["tag", "busybox", &name]);
    sandbox.dhow(["push", &name]).fails(1, "invalid peer certificate: UnknownIssuer");
    let trusting = |arguments: &[&str]| {
        let mut command = sandbox.command(arguments);
        command.env("SSL_CERT_FILE", &authority);
        finish(command, b"")
    };
    trusting(&["push", &name]).ok();
    sandbox.ok(["rmi", "-f", &name, "busybox"]);
    trusting(&["pull", &name]).ok();
    // Nobody speaks plain HTTP to a machine that is elsewhere.
    let plain = Registry::with(&sandbox.path("plain"), address, "");
    sandbox.dhow(["pull", &plain.name("x")]).fails(1, &format!("registry {}: get https://", plain.host()));
}
