//! Who is told a user's password or token: the registry, and the token service that it names. Nobody else, wherever
//! an answer leads.

use super::fixture::{Asked, Fault, Front, Registry};
use super::login;
use crate::sandbox::Sandbox;

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
