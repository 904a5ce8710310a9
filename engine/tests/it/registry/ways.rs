//! Ways to a registry: proxies and what they are not for, mirrors, networks without TLS, certificates of clients;
//! and `search`, which looks for what is there.

use super::fixture::{Asked, Fault, Front, LOOPBACK, Registry, free_port};
use super::{certificate, own_address};
use crate::sandbox::{Ended, Sandbox, finish};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// A proxy that leads everybody to one registry, whatever host they ask for.
struct Tunnel {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Tunnel {
    fn to(address: IpAddr, port: u16) -> Self {
        let listener = TcpListener::bind((LOOPBACK, 0)).unwrap();
        let own = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&asked);
        // It ends with the process: nobody connects when its test is over.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let log = Arc::clone(&log);
                std::thread::spawn(move || carry(client, (address, port), &log));
            }
        });
        Self { port: own, asked }
    }

    fn address(&self) -> String {
        format!("http://me:secret@127.0.0.1:{}", self.port)
    }

    /// What was asked for, by which credentials.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

fn carry(client: TcpStream, to: (IpAddr, u16), log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let (mut first, mut proof) = (String::new(), String::new());
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim_end().is_empty() {
            break;
        }
        if line.to_lowercase().starts_with("proxy-authorization: ") {
            line.trim_end().clone_into(&mut proof);
        }
    }
    let asked = first.split(" HTTP/").next().unwrap_or_default();
    log.lock().unwrap().push(format!("{asked} {}", proof.rsplit(' ').next().unwrap_or_default()));
    let mut client = client;
    let mut server = TcpStream::connect(to)?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut up, mut down) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut reader, &mut up);
        up.shutdown(std::net::Shutdown::Write)
    });
    std::io::copy(&mut server, &mut down)?;
    client.shutdown(std::net::Shutdown::Write)
}

/// Without what the environment of the tests says of proxies and authorities.
fn command(sandbox: &Sandbox, settings: &str, arguments: &[&str]) -> Command {
    let file = sandbox.path("dhow.json");
    std::fs::write(&file, settings).unwrap();
    let mut command = sandbox.command([&["--config-file", file.to_str().unwrap()][..], arguments].concat());
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command
}

fn dhow(sandbox: &Sandbox, settings: &str, environment: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let mut command = command(sandbox, settings, arguments);
    command.envs(environment.iter().copied());
    finish(command, b"")
}

#[test]
fn proxies_are_asked_for_their_scheme_and_not_for_those_that_need_none() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    // It takes whole URLs, and no CONNECT, as many proxies do for what is not TLS.
    let proxy = Front::of(&registry, |_, _| Fault::None);
    let address = proxy.url("").replace("http://", "http://me:secret@");
    // A name that nobody but the proxy knows.
    let name = "reg.invalid:5000/far";
    let settings = r#"{"insecure-registries": ["reg.invalid:5000", "reg2.invalid"]}"#;
    let http = [("HTTP_PROXY", address.as_str())];
    sandbox.ok(["tag", "busybox", name]);
    dhow(&sandbox, settings, &http, &["push", "-q", name]).ok();
    let asked = proxy.asked();
    for asked in &asked {
        assert!(asked.path.starts_with("http://reg.invalid:5000/v2/"), "{asked:?}");
        assert_eq!(asked.headers["host"], "reg.invalid:5000");
        assert_eq!(asked.headers["proxy-authorization"], "Basic bWU6c2VjcmV0");
    }
    assert!(asked.iter().any(|asked| matches!(&*asked.method, "PUT" | "PATCH")), "{asked:?}");
    sandbox.ok(["rmi", "-f", name, "busybox"]);
    dhow(&sandbox, settings, &http, &["pull", "-q", name]).ok();
    assert!(proxy.asked().iter().any(Asked::is_blob));

    // That of the other scheme is not, nor any for hosts on the list, nor for this machine.
    let tunnel = Tunnel::to(LOOPBACK, registry.port());
    let address = tunnel.address();
    for (variable, without) in
        [("HTTPS_PROXY", ""), ("HTTP_PROXY", ".invalid"), ("http_proxy", "reg.invalid:5000")]
    {
        let environment = [(variable, address.as_str()), ("no_proxy", without)];
        let failed = dhow(&sandbox, settings, &environment, &["pull", name]);
        failed.fails(1, "registry reg.invalid:5000: get http://reg.invalid:5000/v2/");
        let asked = tunnel.asked();
        // The proxy of TLS was asked, for TLS; what is behind it does not speak that.
        assert_eq!(asked.is_empty(), variable != "HTTPS_PROXY", "{variable}: {asked:?}");
        assert!(asked.iter().all(|to| to == "CONNECT reg.invalid:5000 bWU6c2VjcmV0"), "{asked:?}");
    }
    let local = registry.name("far");
    dhow(&sandbox, "{}", &[("ALL_PROXY", &address)], &["pull", "-q", &local]).ok();
    assert_eq!(tunnel.asked(), Vec::<String>::new());
    let odd = dhow(&sandbox, settings, &[("HTTP_PROXY", "http://")], &["pull", name]);
    odd.fails(1, "HTTP_PROXY: want http://HOST:PORT");
}

#[test]
fn a_host_that_a_registry_leads_to_is_judged_by_itself() {
    let sandbox = Sandbox::with_busybox();
    let address = own_address().expect("an address of this machine that is not the loopback's");
    let registry = Registry::with(&sandbox.path("registry"), IpAddr::V4(Ipv4Addr::UNSPECIFIED), "");
    let near = format!("127.0.0.1:{}/led", registry.port());
    sandbox.ok(["tag", "busybox", &near]);
    sandbox.ok(["push", "-q", &near]);
    let behind = format!("http://{address}:{}/", registry.port());
    let known = "http://reg.invalid:5000/";
    let leads_to = behind.clone();
    let proxy = Front::of(&registry, move |asked, _| match asked.path.strip_prefix(known) {
        Some(path) if asked.is_blob() => {
            let location = vec![("Location", format!("{leads_to}{path}"))];
            Fault::Answer("307 Temporary Redirect", location, String::new())
        }
        _ => Fault::None,
    });
    let settings = r#"{"insecure-registries": ["reg.invalid:5000"]}"#;
    let (url, network) = (proxy.url(""), format!("198.51.100.0/24,{address}/31"));
    let mut asked_before = 0;
    for (without, by_proxy) in [(network.as_str(), false), ("198.51.100.0/24", true)] {
        sandbox.ok(["rmi", "-f", "busybox", &near, "reg.invalid:5000/led"]);
        let environment = [("HTTP_PROXY", url.as_str()), ("NO_PROXY", without)];
        dhow(&sandbox, settings, &environment, &["pull", "-q", "reg.invalid:5000/led"]).ok();
        let asked = proxy.asked();
        let (to_known, to_behind): (Vec<_>, Vec<_>) =
            asked[asked_before..].iter().partition(|asked| asked.path.starts_with(known));
        assert!(to_known.iter().any(|asked| asked.is_blob()), "{to_known:?}");
        assert_eq!(!to_behind.is_empty(), by_proxy, "{to_behind:?}");
        assert!(to_behind.iter().all(|asked| asked.path.starts_with(&behind)), "{to_behind:?}");
        asked_before = asked.len();
    }
}

#[test]
fn who_is_led_from_a_registry_without_tls_to_one_with_it_checks_that() {
    let sandbox = Sandbox::with_busybox();
    let address = own_address().expect("an address of this machine that is not the loopback's");
    let (authority, certificate, key) = certificate(&sandbox, &address.to_string());
    let tls = format!("  tls: {{certificate: {}, key: {}}}\n", certificate.display(), key.display());
    let sealed = Registry::with(&sandbox.path("sealed"), address, &tls);
    let plain = Registry::start(&sandbox.path("plain"));
    let trusted = [("SSL_CERT_FILE", authority.to_str().unwrap())];
    for registry in [&sealed, &plain] {
        let name = registry.name("led");
        sandbox.ok(["tag", "busybox", &name]);
        dhow(&sandbox, "{}", &trusted, &["push", "-q", &name]).ok();
        sandbox.ok(["rmi", &name]);
    }
    sandbox.ok(["rmi", "-f", "busybox"]);
    let behind = format!("https://{}", sealed.host());
    let front = Front::of(&plain, move |asked, _| {
        if asked.is_blob() {
            let location = vec![("Location", format!("{behind}{}", asked.path))];
            return Fault::Answer("307 Temporary Redirect", location, String::new());
        }
        Fault::None
    });
    let name = front.name("led");
    dhow(&sandbox, "{}", &[], &["pull", "-q", &name]).fails(1, "invalid peer certificate");
    dhow(&sandbox, "{}", &trusted, &["pull", "-q", &name]).ok();
}

#[test]
fn tls_goes_through_a_proxy_from_end_to_end() {
    let sandbox = Sandbox::with_busybox();
    let address = own_address().expect("an address of this machine that is not the loopback's");
    let (authority, certificate, key) = certificate(&sandbox, &address.to_string());
    let tls = format!("  tls: {{certificate: {}, key: {}}}\n", certificate.display(), key.display());
    let registry = Registry::with(&sandbox.path("registry"), address, &tls);
    let tunnel = Tunnel::to(address, registry.port());
    let (name, proxy) = (registry.name("sealed"), tunnel.address());
    let trusted = ("SSL_CERT_FILE", authority.to_str().unwrap());
    sandbox.ok(["tag", "busybox", &name]);
    dhow(&sandbox, "{}", &[trusted, ("HTTPS_PROXY", &proxy)], &["push", "-q", &name]).ok();
    let host = format!("CONNECT {} ", registry.host());
    let asked = tunnel.asked();
    assert!(!asked.is_empty() && asked.iter().all(|to| to.starts_with(&host)), "{asked:?}");
    // Directly, by the network that the host is in.
    let network = format!("192.0.2.1,{address}/32");
    let environment = [trusted, ("HTTPS_PROXY", proxy.as_str()), ("NO_PROXY", network.as_str())];
    dhow(&sandbox, "{}", &environment, &["pull", "-q", &name]).ok();
    assert_eq!(tunnel.asked(), Vec::<String>::new());
}

#[test]
fn a_mirror_has_what_the_hub_is_asked_for() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    let pushed = registry.name("library/thing");
    sandbox.ok(["tag", "busybox", &pushed]);
    sandbox.ok(["push", "-q", &pushed]);
    sandbox.ok(["rmi", "-f", &pushed, "busybox"]);
    // The hub itself is out of reach.
    let nobody = format!("http://127.0.0.1:{}", free_port(LOOPBACK));
    let environment = [("HTTPS_PROXY", nobody.as_str())];
    let gone = format!("127.0.0.1:{}", free_port(LOOPBACK));
    let settings = format!(r#"{{"registry-mirrors": ["http://{gone}", "http://{}/"]}}"#, registry.host());
    let pulled = dhow(&sandbox, &settings, &environment, &["pull", "thing"]).ok();
    assert!(pulled.contains("latest: Pulling from library/thing\n"), "{pulled}");
    assert!(pulled.ends_with("\ndocker.io/library/thing:latest"), "{pulled}");
    assert_eq!(sandbox.ok(["images", "--format", "{{.Repository}}:{{.Tag}}"]), "thing:latest");
    // What no mirror has is the hub's to refuse; other registries have no mirrors.
    let missing = dhow(&sandbox, &settings, &environment, &["pull", "other"]);
    missing.fails(1, "registry registry-1.docker.io: ");
    let elsewhere = dhow(&sandbox, &settings, &[], &["pull", &format!("{gone}/library/thing")]);
    elsewhere.fails(1, &format!("registry {gone}: "));
}

#[test]
fn a_network_is_asked_without_tls_when_the_file_says_so() {
    let sandbox = Sandbox::with_busybox();
    let address = own_address().expect("an address of this machine that is not the loopback's");
    let registry = Registry::with(&sandbox.path("registry"), address, "");
    let name = registry.name("plain");
    sandbox.ok(["tag", "busybox", &name]);
    let refused = dhow(&sandbox, "{}", &[], &["push", &name]);
    refused.fails(1, &format!("registry {}: get https://", registry.host()));
    for who in [registry.host(), address.to_string(), format!("{address}/32")] {
        let settings = format!(r#"{{"insecure-registries": ["{who}"]}}"#);
        dhow(&sandbox, &settings, &[], &["push", "-q", &name]).ok();
    }

    // TLS by an authority that nobody knows is good enough, too.
    let (_, certificate, key) = certificate(&sandbox, "192.0.2.1");
    let tls = format!("  tls: {{certificate: {}, key: {}}}\n", certificate.display(), key.display());
    let sealed = Registry::with(&sandbox.path("sealed"), address, &tls);
    let name = sealed.name("x");
    sandbox.ok(["tag", "busybox", &name]);
    dhow(&sandbox, "{}", &[], &["push", &name]).fails(1, "invalid peer certificate");
    let settings = format!(r#"{{"insecure-registries": ["{}"]}}"#, sealed.host());
    dhow(&sandbox, &settings, &[], &["push", "-q", &name]).ok();
}

/// The same command in a mount namespace of its own, where that directory's files are in `/etc`, too.
fn with_etc(directory: &Path, command: &Command) -> Command {
    let mut inside = Command::new("unshare");
    inside.args(["--mount", "--propagation", "private", "sh", "-c"]);
    let options = "lowerdir=/etc,upperdir=$0,workdir=$0.work";
    inside.arg(format!(r#"mount -t overlay overlay -o "{options}" /etc && exec "$@""#)).arg(directory);
    inside.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => inside.env(name, value),
            None => inside.env_remove(name),
        };
    }
    inside
}

#[test]
fn authorities_and_certificates_of_clients_are_in_certs_d() {
    let sandbox = Sandbox::with_busybox();
    let address = own_address().expect("an address of this machine that is not the loopback's");
    let (authority, certificate, key) = certificate(&sandbox, &address.to_string());
    let tls = format!(
        "  tls: {{certificate: {}, key: {}, clientcas: [{}]}}\n",
        certificate.display(),
        key.display(),
        authority.display()
    );
    let registry = Registry::with(&sandbox.path("registry"), address, &tls);
    let name = registry.name("guarded");
    sandbox.ok(["tag", "busybox", &name]);

    let etc = sandbox.path("etc");
    let all = etc.join("docker/certs.d");
    let own = all.join(registry.host());
    std::fs::create_dir_all(&own).unwrap();
    std::fs::create_dir(sandbox.path("etc.work")).unwrap();
    let run = |arguments: &[&str]| finish(with_etc(&etc, &command(&sandbox, "{}", arguments)), b"");
    run(&["push", &name]).fails(1, "invalid peer certificate: UnknownIssuer");
    // The registry is known; who asks is not.
    std::fs::copy(&authority, own.join("ca.crt")).unwrap();
    run(&["push", &name]).fails(1, &format!("registry {}: ", registry.host()));
    std::fs::copy(&certificate, own.join("client.cert")).unwrap();
    run(&["push", &name]).fails(1, "client.key");
    std::fs::copy(&key, own.join("client.key")).unwrap();
    run(&["push", "-q", &name]).ok();
    sandbox.ok(["rmi", "-f", &name, "busybox"]);
    run(&["pull", "-q", &name]).ok();
    assert_eq!(sandbox.ok(["run", "--rm", "--network", "none", &name, "echo", "hi"]), "hi");
    // Of another registry's directory nothing is taken.
    std::fs::rename(&own, all.join(address.to_string())).unwrap();
    run(&["pull", &name]).fails(1, "invalid peer certificate: UnknownIssuer");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("ca.crt"), "nothing").unwrap();
    run(&["pull", &name]).fails(1, "there is no certificate in ");
}

#[test]
fn search_finds_what_a_catalogue_has() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    for name in ["tools/one", "tools/two", "other"] {
        let name = registry.name(name);
        sandbox.ok(["tag", "busybox", &name]);
        sandbox.ok(["push", "-q", &name]);
    }
    let (one, two) = (registry.name("tools/one"), registry.name("tools/two"));
    let found = sandbox.ok(["search", "--format", "{{.Name}}", &registry.name("tool")]);
    assert_eq!(found, format!("{one}\n{two}"));
    assert_eq!(
        sandbox.ok(["search", "--format", "{{.Name}}", "--limit", "1", &registry.name("t")]).lines().count(),
        1
    );
    let table = sandbox.ok(["search", &registry.name("one")]);
    assert!(table.starts_with("NAME") && table.lines().count() == 2, "{table}");
    // What was found is what is pulled.
    sandbox.ok(["pull", "-q", &one]);
    sandbox
        .dhow(["search", "--limit", "101", &registry.name("x")])
        .fails(1, "limit 101 is outside the range");

    // A catalogue has pages.
    let pages = Front::alone(|asked: &Asked, _| match asked.path.as_str() {
        "/v2/" => Fault::Answer("200 OK", Vec::new(), "{}".into()),
        "/v2/_catalog?n=1000" => {
            let next = vec![("Link", r#"</v2/_catalog?n=1000&last=b>; rel="next""#.to_owned())];
            Fault::Answer("200 OK", next, r#"{"repositories":["a1","b"]}"#.into())
        }
        "/v2/_catalog?n=1000&last=b" => {
            Fault::Answer("200 OK", Vec::new(), r#"{"repositories":["c","a2"]}"#.into())
        }
        _ => Fault::Answer("404 Not Found", Vec::new(), String::new()),
    });
    let found = sandbox.ok(["search", "--format", "{{.Name}}", &pages.name("a")]);
    assert_eq!(found, format!("{}\n{}", pages.name("a1"), pages.name("a2")));
}

#[test]
fn search_asks_the_endpoint_of_those_who_have_docker_hubs() {
    let sandbox = Sandbox::new();
    let hub = Front::alone(|asked: &Asked, _| {
        if !asked.path.starts_with("/v1/search?q=web&n=") {
            return Fault::Answer("200 OK", Vec::new(), "{}".into());
        }
        let results = serde_json::json!({ "results": [
            { "name": "web", "description": "Serves\npages", "star_count": 90, "is_official": true },
            { "name": "me/web", "description": "x".repeat(60), "star_count": 3 },
        ]});
        Fault::Answer("200 OK", Vec::new(), results.to_string())
    });
    let term = hub.name("web");
    let table = sandbox.ok(["search", &term]);
    let lines: Vec<&str> = table.lines().collect();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
    assert_eq!(words(lines[0]), "NAME DESCRIPTION STARS OFFICIAL");
    assert_eq!(words(lines[1]), "web Serves pages 90 [OK]");
    assert_eq!(words(lines[2]), format!("me/web {}… 3", "x".repeat(44)));
    let names =
        |more: &[&str]| sandbox.ok([&["search", "--format", "{{.Name}}"][..], more, &[&term]].concat());
    assert_eq!(names(&["--filter", "is-official=true"]), "web");
    assert_eq!(names(&["--filter", "stars=3"]), "web\nme/web");
    assert_eq!(names(&["--filter", "stars=4"]), "web");
    assert!(sandbox.ok(["search", "--no-trunc", &term]).contains(&"x".repeat(60)));
    sandbox.dhow(["search", "--filter", "odd=1", &term]).fails(1, "odd");

    // The real docker, over the socket.
    let server = sandbox.serve();
    assert_eq!(server.docker(["search", &term]).ok(), table);
    let asked = hub.asked();
    assert!(asked.iter().any(|asked| asked.path.ends_with("&n=25")), "{asked:?}");
}
