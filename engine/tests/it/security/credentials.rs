//! Who is told a user's password or token: the registry, and the token service that it names. Nobody else, wherever
//! an answer leads.

use crate::registry::fixture::{Asked, Fault, Front, LOOPBACK, Registry, free_port};
use crate::registry::{certificate, login, own_address};
use crate::sandbox::{Ended, Sandbox, finish};

/// Whether a request names its sender.
fn proves(asked: &Asked) -> bool {
    asked.headers.contains_key("authorization")
}

/// A 401 that asks for a password or for a token from `realm`.
fn who_are_you(realm: Option<&str>) -> Fault {
    let challenge = match realm {
        Some(realm) => format!("Bearer realm=\"{realm}\",service=\"thief\""),
        None => "Basic realm=\"thief\"".to_owned(),
    };
    Fault::Answer("401 Unauthorized", vec![("WWW-Authenticate", challenge)], String::new())
}

/// A registry that wants a password before all else, and answers some requests otherwise.
fn guarded(registry: &Registry, other: impl Fn(&Asked) -> Option<Fault> + Send + Sync + 'static) -> Front {
    Front::of(
        registry,
        move |asked, _| if proves(asked) { other(asked).unwrap_or(Fault::None) } else { who_are_you(None) },
    )
}

/// Pushed past the guard.
fn fill(sandbox: &Sandbox, registry: &Registry) {
    let name = registry.name("app");
    sandbox.ok(["tag", "busybox", &name]);
    sandbox.ok(["push", &name]);
    sandbox.ok(["rmi", &name, "busybox"]);
}

fn log_in(sandbox: &Sandbox, front: &Front) {
    let host = front.name("");
    login(sandbox, host.trim_end_matches('/'), "secret").ok();
}

#[test]
fn a_host_that_a_blob_is_redirected_to_is_told_nothing() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    fill(&sandbox, &registry);

    // A store of blobs, as registries have: it gives them to whoever has the link.
    let store = Front::of(&registry, |_, _| Fault::None);
    let there = store.url("");
    let moved = move |asked: &Asked| {
        let location = vec![("Location", format!("{there}{}", asked.path))];
        asked.is_blob().then(|| Fault::Answer("307 Temporary Redirect", location, String::new()))
    };
    let front = guarded(&registry, moved);
    log_in(&sandbox, &front);
    sandbox.ok(["pull", &front.name("app")]);
    assert!(store.asked().iter().any(Asked::is_blob), "it was asked");
    assert!(!store.asked().iter().any(proves), "{:?}", store.asked());
    sandbox.ok(["rmi", &front.name("app")]);

    // One that asks who is there: for a password, and for a token from a service of its own.
    for wants_token in [false, true] {
        let service = Front::alone(|_, _| Fault::Answer("200 OK", vec![], r#"{"token":"x"}"#.into()));
        let realm = wants_token.then(|| service.url("/token"));
        let thief = Front::alone(move |_, _| who_are_you(realm.as_deref()));
        let there = thief.url("");
        let front = guarded(&registry, move |asked| {
            let location = vec![("Location", format!("{there}{}", asked.path))];
            asked.is_blob().then(|| Fault::Answer("302 Found", location, String::new()))
        });
        log_in(&sandbox, &front);
        sandbox.dhow(["pull", &front.name("app")]).fails(1, "401");
        assert!(thief.asked().iter().any(Asked::is_blob), "it was asked");
        assert!(!thief.asked().iter().any(proves), "{:?}", thief.asked());
        assert_eq!(service.asked().len(), 0, "{:?}", service.asked());
    }
}

#[test]
fn a_host_that_an_upload_is_sent_to_is_told_nothing() {
    for challenges in [false, true] {
        let sandbox = Sandbox::with_busybox();
        let registry = Registry::start(&sandbox.path("registry"));
        let thief = Front::alone(move |asked, _| {
            if challenges {
                return who_are_you(None);
            }
            let status = if asked.method == "PUT" { "201 Created" } else { "202 Accepted" };
            Fault::Answer(status, vec![("Location", asked.path.clone())], String::new())
        });
        let there = thief.url("/upload/1");
        let front = guarded(&registry, move |asked| {
            let location = vec![("Location", there.clone())];
            (asked.method == "POST").then(|| Fault::Answer("202 Accepted", location, String::new()))
        });
        log_in(&sandbox, &front);
        let name = front.name("app");
        sandbox.ok(["tag", "busybox", &name]);
        let ended = sandbox.dhow(["push", &name]);
        assert_ne!(ended.code, 0, "the registry has no such blobs: {}", ended.stdout);
        assert!(!thief.asked().is_empty(), "it was asked");
        assert!(!thief.asked().iter().any(proves), "{:?}", thief.asked());
    }
}

/// The same host on another port is another server.
#[test]
fn a_token_goes_to_its_registry_alone() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    fill(&sandbox, &registry);
    let tokens = Front::alone(|_, _| Fault::Answer("200 OK", vec![], r#"{"token":"a-token"}"#.into()));
    let store = Front::of(&registry, |_, _| Fault::None);
    let (realm, there) = (tokens.url("/token"), store.url(""));
    let front = Front::of(&registry, move |asked, _| {
        if !proves(asked) {
            return who_are_you(Some(&realm));
        }
        let location = vec![("Location", format!("{there}{}", asked.path))];
        let moved = asked.is_blob() || asked.method == "GET" && asked.path.contains("/manifests/");
        if moved { Fault::Answer("308 Permanent Redirect", location, String::new()) } else { Fault::None }
    });
    log_in(&sandbox, &front);
    sandbox.ok(["pull", &front.name("app")]);
    // The registry said that its tokens come from there.
    assert!(tokens.asked().iter().any(|asked| asked.headers["authorization"].starts_with("Basic ")));
    assert!(store.asked().iter().any(|asked| asked.path.contains("/manifests/")), "{:?}", store.asked());
    assert!(!store.asked().iter().any(proves), "{:?}", store.asked());
}

/// A token service that leads elsewhere leads nobody there with a password.
#[test]
fn a_redirected_token_service_passes_no_password_on() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    let thief = Front::alone(|_, _| Fault::Answer("200 OK", vec![], r#"{"token":"a-token"}"#.into()));
    let there = thief.url("/token");
    let tokens = Front::alone(move |_, _| {
        Fault::Answer("307 Temporary Redirect", vec![("Location", there.clone())], String::new())
    });
    let realm = tokens.url("/token");
    let front = Front::of(
        &registry,
        move |asked, _| if proves(asked) { Fault::None } else { who_are_you(Some(&realm)) },
    );
    let ended = login(&sandbox, front.name("").trim_end_matches('/'), "secret");
    assert!(tokens.asked().iter().any(proves), "{ended:?}");
    assert!(!thief.asked().iter().any(proves), "{:?}", thief.asked());
}

/// A command with settings of its own, and nothing of the proxies and authorities of this machine.
fn with_settings(
    sandbox: &Sandbox,
    settings: &str,
    environment: &[(&str, &str)],
    arguments: &[&str],
) -> Ended {
    let file = sandbox.path("dhow.json");
    std::fs::write(&file, settings).unwrap();
    let mut command = sandbox.command([&["--config-file", file.to_str().unwrap()][..], arguments].concat());
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command.envs(environment.iter().copied());
    finish(command, b"")
}

#[test]
fn a_mirror_of_the_hub_is_not_told_the_hubs_password() {
    let sandbox = Sandbox::new();
    let hub = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6c2VjcmV0"}}}"#;
    std::fs::create_dir(sandbox.path(".docker")).unwrap();
    std::fs::write(sandbox.path(".docker/config.json"), hub).unwrap();
    let service = Front::alone(|_, _| Fault::Answer("200 OK", vec![], r#"{"token":"x"}"#.into()));
    // The hub itself is out of reach.
    let nobody = format!("http://127.0.0.1:{}", free_port(LOOPBACK));
    for realm in [None, Some(service.url("/token"))] {
        let mirror = Front::alone(move |_, _| who_are_you(realm.as_deref()));
        let settings = format!(r#"{{"registry-mirrors": ["{}"]}}"#, mirror.url(""));
        let ended =
            with_settings(&sandbox, &settings, &[("HTTPS_PROXY", nobody.as_str())], &["pull", "thing"]);
        ended.fails(1, "registry registry-1.docker.io: ");
        assert!(
            mirror.asked().iter().any(|asked| asked.path.contains("/manifests/")),
            "{:?}",
            mirror.asked()
        );
        let told = |asked: &Asked| asked.headers.get("authorization").is_some_and(|a| a != "Bearer x");
        assert!(!mirror.asked().iter().any(told), "{:?}", mirror.asked());
    }
    assert!(!service.asked().iter().any(proves), "{:?}", service.asked());
    assert!(!service.asked().iter().any(|asked| asked.path.contains("account")), "{:?}", service.asked());
}

#[test]
fn what_is_for_a_proxy_stays_with_the_proxy() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    fill(&sandbox, &registry);
    // This machine needs no proxy: the store is asked directly.
    let store = Front::of(&registry, |_, _| Fault::None);
    let there = store.url("");
    let known = "http://reg.invalid:5000";
    let proxy = guarded(&registry, move |asked| {
        let path = asked.path.strip_prefix(known)?;
        let location = vec![("Location", format!("{there}{path}"))];
        asked.is_blob().then(|| Fault::Answer("307 Temporary Redirect", location, String::new()))
    });
    let auths = r#"{"auths":{"reg.invalid:5000":{"auth":"bWU6c2VjcmV0"}}}"#;
    std::fs::create_dir_all(sandbox.path(".docker")).unwrap();
    std::fs::write(sandbox.path(".docker/config.json"), auths).unwrap();
    let address = proxy.url("").replace("http://", "http://for-proxy:only@");
    let settings = r#"{"insecure-registries": ["reg.invalid:5000"]}"#;
    with_settings(&sandbox, settings, &[("HTTP_PROXY", &address)], &["pull", "reg.invalid:5000/app"]).ok();
    assert!(proxy.asked().iter().all(|asked| asked.headers.contains_key("proxy-authorization")));
    assert!(proxy.asked().iter().any(proves), "the registry is told who asks");
    assert!(store.asked().iter().any(Asked::is_blob), "{:?}", store.asked());
    for asked in store.asked() {
        assert!(!proves(&asked) && !asked.headers.contains_key("proxy-authorization"), "{asked:?}");
    }
}

/// A registry with TLS; more lines of its configuration; and what trusts its authority.
fn sealed(sandbox: &Sandbox, more: &str) -> (Registry, String) {
    let address = own_address().expect("an address of this machine that is not the loopback's");
    let (authority, certificate, key) = certificate(sandbox, &address.to_string());
    let more = more.replace("AUTHORITY", authority.to_str().unwrap());
    let tls = format!("  tls: {{certificate: {}, key: {}}}\n{more}", certificate.display(), key.display());
    (Registry::with(&sandbox.path("sealed"), address, &tls), authority.to_str().unwrap().to_owned())
}

#[test]
fn a_registry_with_tls_names_no_token_service_without() {
    let sandbox = Sandbox::with_busybox();
    let thief = Front::alone(|_, _| Fault::Answer("200 OK", vec![], r#"{"token":"x"}"#.into()));
    let auth = format!(
        "auth: {{token: {{realm: \"{}\", service: x, issuer: x, rootcertbundle: AUTHORITY}}}}\n",
        thief.url("/token")
    );
    let (registry, authority) = sealed(&sandbox, &auth);
    let auths = format!(r#"{{"auths":{{"{}":{{"auth":"bWU6c2VjcmV0"}}}}}}"#, registry.host());
    std::fs::create_dir(sandbox.path(".docker")).unwrap();
    std::fs::write(sandbox.path(".docker/config.json"), auths).unwrap();
    let ended =
        with_settings(&sandbox, "{}", &[("SSL_CERT_FILE", &authority)], &["pull", &registry.name("app")]);
    ended.fails(1, "which has no TLS");
    assert_eq!(thief.asked().len(), 0, "{:?}", thief.asked());
}

#[test]
fn a_blob_asked_for_with_tls_is_not_asked_for_without() {
    let sandbox = Sandbox::with_busybox();
    let thief = Front::alone(|_, _| Fault::Answer("200 OK", vec![], String::new()));
    let redirect = format!(
        "middleware: {{storage: [{{name: redirect, options: {{baseurl: \"{}\"}}}}]}}\n",
        thief.url("/?signature=of-the-store")
    );
    let (registry, authority) = sealed(&sandbox, &redirect);
    let trusted = [("SSL_CERT_FILE", authority.as_str())];
    let name = registry.name("app");
    sandbox.ok(["tag", "busybox", &name]);
    with_settings(&sandbox, "{}", &trusted, &["push", &name]).ok();
    sandbox.ok(["rmi", "-f", &name, "busybox"]);
    let ended = with_settings(&sandbox, "{}", &trusted, &["pull", &name]);
    ended.fails(1, "what is asked for with TLS is not asked for without");
    assert!(!ended.stderr.contains("signature"), "{}", ended.stderr);
    assert_eq!(thief.asked().len(), 0, "{:?}", thief.asked());
}

/// Each step of a push that an answer can lead elsewhere: the beginning, a piece, the end, the manifest.
#[test]
fn no_step_of_a_push_proves_itself_elsewhere() {
    for moved in ["POST", "PATCH", "PUT /blobs/", "PUT /manifests/"] {
        let sandbox = Sandbox::with_busybox();
        let registry = Registry::start(&sandbox.path("registry"));
        let store = Front::of(&registry, |_, _| Fault::None);
        let there = store.url("");
        let (method, part) = moved.split_once(' ').unwrap_or((moved, ""));
        let front = guarded(&registry, move |asked| {
            let location = vec![("Location", format!("{there}{}", asked.path))];
            (asked.method == method && asked.path.contains(part))
                .then(|| Fault::Answer("307 Temporary Redirect", location, String::new()))
        });
        log_in(&sandbox, &front);
        let name = front.name("app");
        sandbox.ok(["tag", "busybox", &name]);
        let ended = sandbox.dhow(["push", &name]);
        assert!(store.asked().iter().any(|asked| asked.method == method), "{moved}: {ended:?}");
        assert!(!store.asked().iter().any(proves), "{moved}: {:?}", store.asked());
    }
}

/// Nor when the registry is asked to take a blob from another repository.
#[test]
fn a_blob_taken_from_another_repository_proves_nothing_elsewhere() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    let thief = Front::alone(|_, _| who_are_you(None));
    let there = thief.url("");
    let front = guarded(&registry, move |asked| {
        let location = vec![("Location", format!("{there}{}", asked.path))];
        asked
            .path
            .contains("mount=")
            .then(|| Fault::Answer("307 Temporary Redirect", location, String::new()))
    });
    log_in(&sandbox, &front);
    for name in [front.name("one"), front.name("two")] {
        sandbox.ok(["tag", "busybox", &name]);
        sandbox.dhow(["push", &name]);
    }
    assert!(thief.asked().iter().any(|asked| asked.path.contains("mount=")), "{:?}", front.asked());
    assert!(!thief.asked().iter().any(proves), "{:?}", thief.asked());
}

#[test]
fn the_log_names_the_token_service_and_no_secret() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    fill(&sandbox, &registry);
    let tokens = Front::alone(|_, _| Fault::Answer("200 OK", vec![], r#"{"token":"a-token"}"#.into()));
    let (realm, shown) = (tokens.url("/token?key=of-the-service"), tokens.url("/token"));
    let front = Front::of(
        &registry,
        move |asked, _| if proves(asked) { Fault::None } else { who_are_you(Some(&realm)) },
    );
    log_in(&sandbox, &front);
    let ended = sandbox.dhow(["--debug", "pull", &front.name("app")]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stderr.contains(&format!("asks for a token at {shown}\n")), "{}", ended.stderr);
    for secret in ["secret", "a-token", "bWU6c2VjcmV0", "of-the-service"] {
        assert!(!ended.stderr.contains(secret), "{secret}: {}", ended.stderr);
    }
}
