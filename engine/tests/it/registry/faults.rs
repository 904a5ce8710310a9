//! A registry, or the way to it, that does what it should not.

use super::fixture::{Asked, Fault, Front, Registry};
use super::{kept, noisy_image, prune};
use crate::sandbox::{Sandbox, eventually};
use std::path::Path;

/// A registry that has `noise`, of which the layer is the only large blob.
const SIZE: usize = 6 << 20;

fn registry_with_noise(sandbox: &Sandbox) -> Registry {
    let registry = Registry::start(&sandbox.path("registry"));
    let name = registry.name("noise");
    noisy_image(sandbox, &name, SIZE, 1);
    sandbox.ok(["push", &name]);
    sandbox.ok(["rmi", "-f", &name]);
    assert_eq!(kept(sandbox), Vec::<String>::new());
    registry
}

/// The layer, and not the small configuration: by how much came.
fn layers(front: &Front) -> Vec<Asked> {
    let asked: Vec<Asked> = front.asked().into_iter().filter(Asked::is_blob).collect();
    // The configuration is fetched first.
    let config = asked.first().map(|a| a.path.clone());
    asked.into_iter().filter(|a| Some(&a.path) != config.as_ref()).collect()
}

#[test]
fn a_transfer_that_breaks_again_and_again_goes_on_where_it_was() {
    let sandbox = Sandbox::new();
    let registry = registry_with_noise(&sandbox);
    let front =
        Front::of(&registry, |asked, _| if asked.is_blob() { Fault::Cut(1 << 20) } else { Fault::None });
    sandbox.ok(["pull", &front.name("noise")]);
    let starts: Vec<u64> = layers(&front).iter().map(Asked::from).collect();
    assert!(starts.len() >= 6, "{starts:?}");
    assert!(starts.windows(2).all(|pair| pair[1] - pair[0] <= 1 << 20 && pair[1] > pair[0]), "{starts:?}");
    let sum = sandbox.ok(["run", "--rm", "--network", "none", &front.name("noise"), "sha256sum", "/noise"]);
    let expected = sandbox.path("expected");
    std::fs::write(&expected, super::noise(SIZE, 1)).unwrap();
    assert_eq!(format!("sha256:{}", sum.split(' ').next().unwrap()), crate::fixtures::sha256_of(&expected));
}

fn partial_bytes(root: &Path) -> u64 {
    let entries = std::fs::read_dir(root.join("content/partial")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

#[test]
fn a_pull_that_was_killed_goes_on_where_it_was_and_a_prune_leaves_nothing() {
    let sandbox = Sandbox::new();
    let registry = registry_with_noise(&sandbox);
    let front = Front::of(&registry, |asked, count| {
        if asked.is_blob() && count == 1 { Fault::Throttle(32 << 10) } else { Fault::None }
    });
    let name = front.name("noise");
    let mut pulling = sandbox.command(["pull", &name]).stdout(std::process::Stdio::null()).spawn().unwrap();
    eventually("a part is there", || partial_bytes(&sandbox.root()) > 1 << 20);
    pulling.kill().unwrap();
    pulling.wait().unwrap();
    assert!(sandbox.ok(["images", "-aq"]).is_empty());
    let before = partial_bytes(&sandbox.root());
    sandbox.ok(["pull", &name]);
    let starts: Vec<u64> = layers(&front).iter().map(Asked::from).collect();
    assert_eq!(starts, [0, before]);
    assert_eq!(partial_bytes(&sandbox.root()), 0);

    // Killed again, and given up.
    sandbox.ok(["rmi", &name]);
    let slow = Front::of(
        &registry,
        |asked, _| if asked.is_blob() { Fault::Throttle(32 << 10) } else { Fault::None },
    );
    let mut pulling =
        sandbox.command(["pull", &slow.name("noise")]).stdout(std::process::Stdio::null()).spawn().unwrap();
    eventually("a part is there", || partial_bytes(&sandbox.root()) > 1 << 20);
    pulling.kill().unwrap();
    pulling.wait().unwrap();
    prune(&sandbox);
    assert_eq!(kept(&sandbox), Vec::<String>::new());
}

#[test]
fn a_byte_that_is_another_is_found_named_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let registry = registry_with_noise(&sandbox);
    let front =
        Front::of(&registry, |asked, _| if asked.is_blob() { Fault::Flip(SIZE / 2) } else { Fault::None });
    let ended = sandbox.dhow(["pull", &front.name("noise")]);
    let digest = layers(&front)[0].path.rsplit('/').next().unwrap().to_owned();
    ended.fails(1, &digest);
    assert!(sandbox.ok(["images", "-aq"]).is_empty());
    prune(&sandbox);
    assert_eq!(kept(&sandbox), Vec::<String>::new());

    // Spoilt on the disk between two pulls: fetched anew, and right in the end.
    let slow = Front::of(&registry, |asked, count| {
        if asked.is_blob() && count == 1 { Fault::Throttle(32 << 10) } else { Fault::None }
    });
    let name = slow.name("noise");
    let mut pulling = sandbox.command(["pull", &name]).stdout(std::process::Stdio::null()).spawn().unwrap();
    eventually("a part is there", || partial_bytes(&sandbox.root()) > 1 << 20);
    pulling.kill().unwrap();
    pulling.wait().unwrap();
    let partial =
        std::fs::read_dir(sandbox.root().join("content/partial")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&partial).unwrap();
    bytes[1 << 19] ^= 1;
    std::fs::write(&partial, bytes).unwrap();
    sandbox.ok(["pull", &name]);
    assert_eq!(layers(&slow).last().unwrap().from(), 0);
}

#[test]
fn a_manifest_that_is_not_what_its_digest_says_is_refused() {
    let sandbox = Sandbox::new();
    let registry = registry_with_noise(&sandbox);
    let front = Front::of(&registry, |asked, _| {
        if asked.method == "GET" && asked.path.contains("/manifests/sha256:") {
            Fault::Flip(3)
        } else {
            Fault::None
        }
    });
    let pulled = sandbox.ok(["pull", &registry.name("noise")]);
    let digest = pulled.lines().find_map(|line| line.strip_prefix("Digest: ")).unwrap().to_owned();
    sandbox.ok(["rmi", &registry.name("noise")]);
    let name = format!("{}@{digest}", front.name("noise"));
    sandbox.dhow(["pull", &name]).fails(1, &format!("manifest {digest} has the digest"));
    assert_eq!(kept(&sandbox), Vec::<String>::new());
}

#[test]
fn refusals_that_pass_are_waited_for_and_those_that_stay_are_told() {
    let sandbox = Sandbox::new();
    let registry = registry_with_noise(&sandbox);
    let busy = Front::of(&registry, |asked, count| match count {
        1 if asked.is_blob() => {
            Fault::Answer("429 Too Many Requests", vec![("Retry-After", "0".into())], String::new())
        }
        2 if asked.is_blob() => Fault::Answer("503 Service Unavailable", Vec::new(), String::new()),
        _ => Fault::None,
    });
    sandbox.ok(["pull", "-q", &busy.name("noise")]);
    sandbox.ok(["rmi", &busy.name("noise")]);

    let broken = Front::of(&registry, |asked, _| {
        let words = r#"{"errors":[{"code":"UNKNOWN","message":"the disk is on fire"}]}"#;
        if asked.path.contains("/manifests/") {
            Fault::Answer("500 Internal Server Error", Vec::new(), words.into())
        } else {
            Fault::None
        }
    });
    sandbox.dhow(["pull", &broken.name("noise")]).fails(1, "unknown: the disk is on fire");
    let nobody = super::fixture::free_port(super::fixture::LOOPBACK);
    sandbox.dhow(["pull", &format!("127.0.0.1:{nobody}/x")]).fails(1, "onnection refused");
    assert_eq!(kept(&sandbox), Vec::<String>::new());
}

#[test]
fn a_redirect_is_followed_and_takes_no_secret_along() {
    let sandbox = Sandbox::new();
    let registry = registry_with_noise(&sandbox);
    let storage = Front::of(&registry, |_, _| Fault::None);
    // Another host, as far as anybody can tell.
    let elsewhere = storage.url("").replace("127.0.0.1", "localhost");
    let front = Front::of(&registry, move |asked, _| {
        if asked.is_blob() {
            let place = vec![("Location", format!("{elsewhere}{}", asked.path))];
            return Fault::Answer("307 Temporary Redirect", place, String::new());
        }
        if asked.headers.contains_key("authorization") {
            return Fault::None;
        }
        let header = vec![("WWW-Authenticate", r#"Basic realm="x""#.to_owned())];
        Fault::Answer("401 Unauthorized", header, String::new())
    });
    let name = front.name("noise");
    let host = name.split('/').next().unwrap();
    sandbox.dhow_with_input(["login", "-u", "me", "--password-stdin", host], b"secret").ok();
    sandbox.ok(["pull", &name]);
    let there = storage.asked();
    assert!(there.iter().any(Asked::is_blob), "{there:?}");
    assert!(there.iter().all(|asked| !asked.headers.contains_key("authorization")), "{there:?}");
}

#[test]
fn sixteen_pulls_at_once_fetch_each_layer_once() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox.path("registry"));
    let names: Vec<String> = (0..4).map(|n| format!("noise{n}")).collect();
    for (seed, name) in (1..).zip(&names) {
        let name = registry.name(name);
        noisy_image(&sandbox, &name, 1 << 20, seed);
        sandbox.ok(["push", "-q", &name]);
        sandbox.ok(["rmi", "-f", &name]);
    }
    let front = Front::of(
        &registry,
        |asked, _| if asked.is_blob() { Fault::Throttle(64 << 10) } else { Fault::None },
    );
    let pulls: Vec<_> = (0..16)
        .map(|n| {
            let mut command = sandbox.command(["pull", "-q", &front.name(&names[n % 4])]);
            command.stdout(std::process::Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut pull in pulls {
        assert!(pull.wait().unwrap().success());
    }
    let asked = front.asked();
    // Of the two blobs of an image, the configuration is what every pull reads.
    for name in &names {
        let mut counts = std::collections::BTreeMap::new();
        for blob in asked.iter().filter(|a| a.is_blob() && a.path.contains(&format!("/{name}/"))) {
            *counts.entry(&blob.path).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 2, "{counts:?}");
        assert!(counts.values().any(|count| *count == 1), "{counts:?}");
    }
    assert_eq!(sandbox.ok(["images", "-q"]).lines().count(), 4);
}

#[test]
fn a_client_that_goes_ends_its_pull_and_the_next_one_goes_on() {
    let sandbox = Sandbox::new();
    let registry = registry_with_noise(&sandbox);
    let front = Front::of(&registry, |asked, count| {
        if asked.is_blob() && count == 1 { Fault::Throttle(32 << 10) } else { Fault::None }
    });
    let server = sandbox.serve();
    let name = front.name("noise");
    let mut pulling =
        server.docker_command(["pull", &name]).stdout(std::process::Stdio::null()).spawn().unwrap();
    eventually("a part is there", || partial_bytes(&sandbox.root()) > 1 << 20);
    pulling.kill().unwrap();
    pulling.wait().unwrap();
    // Nobody holds the part any more.
    let partial = sandbox.root().join("content/partial");
    eventually("the pull has ended", || {
        let file = std::fs::File::open(partial.read_dir().unwrap().next().unwrap().unwrap().path()).unwrap();
        file.try_lock().is_ok()
    });
    let before = partial_bytes(&sandbox.root());
    assert!(before < SIZE as u64 / 2, "{before} bytes came although nobody wanted them");
    server.docker(["pull", "-q", &name]).ok();
    assert_eq!(layers(&front).iter().map(Asked::from).collect::<Vec<_>>(), [0, before]);
}

#[test]
fn a_transfer_that_stalls_is_given_up_and_goes_on_where_it_was() {
    let sandbox = Sandbox::new();
    let registry = registry_with_noise(&sandbox);
    let front =
        Front::of(
            &registry,
            |asked, count| {
                if asked.is_blob() && count == 1 { Fault::Stall(1 << 20) } else { Fault::None }
            },
        );
    sandbox.ok(["pull", &front.name("noise")]);
    let starts: Vec<u64> = layers(&front).iter().map(Asked::from).collect();
    assert!(matches!(starts[..], [0, again] if again > 0 && again <= 1 << 20), "{starts:?}");
}
