//! What a registry has that is no image: kept as it came, named and removed as images are, pushed byte for byte, and
//! never run.

use super::fixture::{Fault, Front, Registry, Stored, put_blob, put_manifest};
use super::referrers::{EMPTY, MANIFEST, index, raw, referrers, statement, tag_of};
use super::{digest_line, kept, noise, prune, skopeo};
use crate::http::Api;
use crate::sandbox::Sandbox;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;

const KIND: &str = "application/x-model";
const SIZE: usize = 3 << 20;

/// As `oras push` makes them: an empty configuration, and files of any type.
pub(super) fn artifact(registry: &Registry, repository: &str, tag: &str) -> Stored {
    let config = put_blob(registry, repository, b"{}").descriptor(EMPTY);
    let weights = put_blob(registry, repository, &noise(SIZE, 7)).descriptor("application/octet-stream");
    let readme = put_blob(registry, repository, b"read me").descriptor("text/markdown");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": KIND, "config": config,
        "layers": [weights, readme],
        "annotations": { "org.opencontainers.image.created": "2024-01-02T03:04:05Z" },
    });
    put_manifest(registry, repository, Some(tag), &manifest)
}

fn skopeo_copies(from: &str, to: &str) {
    let plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    skopeo(&[
        "copy",
        "-q",
        "--all",
        plain[0],
        plain[1],
        &format!("docker://{from}"),
        &format!("docker://{to}"),
    ]);
}

fn checked(sandbox: &Sandbox) {
    assert!(sandbox.ok(["system", "check"]).ends_with(": nothing is broken"));
}

#[test]
fn it_is_kept_and_shown_and_pushed_as_it_came() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox.path("registry"));
    let stored = artifact(&registry, "made", "1");
    // Through another tool, which changes nothing.
    let name = registry.name("models/small:1");
    skopeo_copies(&registry.name("made:1"), &name);
    let pulled = sandbox.ok(["pull", &name]);
    assert_eq!(digest_line(&pulled), stored.digest);
    assert!(pulled.contains(&format!("Status: Downloaded newer artifact for {name}")), "{pulled}");
    assert!(sandbox.ok(["pull", &name]).contains(&format!("Status: Artifact is up to date for {name}")));

    // Byte for byte.
    let content = sandbox.root().join("content/sha256");
    let blobs = crate::sandbox::names_in(&content);
    assert_eq!(blobs.len(), 4, "{blobs:?}");
    for hex in &blobs {
        assert_eq!(crate::fixtures::sha256_of(&content.join(hex)), format!("sha256:{hex}"));
    }
    assert!(blobs.contains(&stored.digest.trim_start_matches("sha256:").to_owned()));

    // Listed with images.
    let short = &stored.digest["sha256:".len()..][..12];
    let row = format!("{} 1 {short}", registry.name("models/small"));
    let list = |more: &[&str]| {
        let format = ["images", "--format", "{{.Repository}} {{.Tag}} {{.ID}}"];
        sandbox.ok([&format[..], more].concat())
    };
    assert_eq!(list(&[]), row);
    assert_eq!(list(&["--filter", &format!("reference={}", registry.name("models/*"))]), row);
    for none in ["label=x", "dangling=true", "reference=other"] {
        assert_eq!(list(&["--filter", none]), "", "{none}");
    }
    let shown = sandbox.inspect(&name);
    assert_eq!((&shown["Artifact"]["Type"], &shown["Id"]), (&json!(KIND), &json!(stored.digest)));
    assert_eq!(shown["Created"], "2024-01-02T03:04:05Z");
    assert_eq!(shown["Artifact"]["Layers"][0]["size"], SIZE);
    assert_eq!(shown["Artifact"]["Layers"][1]["mediaType"], "text/markdown");
    assert_eq!(shown["RepoDigests"][0], format!("{}@{}", registry.name("models/small"), stored.digest));
    assert_eq!(sandbox.ok(["image", "inspect", "-f", "{{.Descriptor.artifactType}}", short]), KIND);
    assert!(sandbox.ok(["info", "-f", "{{.Images}}"]) == "1");
    let server = sandbox.serve();
    assert!(server.docker(["images"]).ok().contains(short));
    assert!(server.docker(["image", "inspect", &name]).ok().contains(&stored.digest));
    let mut api = Api::new(Path::new(server.address.strip_prefix("unix://").unwrap()));
    let mut get = |path: &str| serde_json::from_slice::<Value>(&api.ask("GET", path, b"").1).unwrap();
    assert_eq!(get(&format!("/v1.48/images/{name}/json?manifests=1"))["Manifests"][0]["Kind"], "unknown");
    assert_eq!(
        get(&format!("/v1.48/distribution/{name}/json"))["Descriptor"]["digest"],
        stored.digest.as_str()
    );
    let used = get("/v1.44/system/df?type=image");
    assert_eq!(used["LayersSize"].as_u64().unwrap(), (SIZE + 2 + "read me".len() + stored.size) as u64);
    assert_eq!(used["Images"][0]["Id"], stored.digest.as_str());
    checked(&sandbox);

    // Elsewhere in the registry, where its blobs are taken from here, and at another one.
    let far = Registry::start(&sandbox.path("far"));
    let (near, far) = (registry.name("other:2"), far.name("model:3"));
    for to in [&near, &far] {
        sandbox.ok(["tag", &name, to]);
        let pushed = sandbox.ok(["push", to]);
        assert!(pushed.contains(&format!("digest: {} size: {}", stored.digest, stored.size)), "{pushed}");
        assert_eq!(pushed.matches(": Mounted from models/small\n").count(), 3 * usize::from(*to == near));
        assert_eq!(crate::fixtures::digest_of(raw(to).as_bytes()), stored.digest);
        skopeo(&["copy", "-q", "--src-tls-verify=false", &format!("docker://{to}"), &copy_to(&sandbox, to)]);
    }
    assert!(sandbox.ok(["push", &far]).contains(": Layer already exists\n"));
    sandbox.dhow(["push", "--platform", "linux/amd64", &far]).fails(1, "which is for no platform");

    // Away by its names, one after the other.
    sandbox.dhow(["rmi", short]).fails(1, "image is referenced in multiple repositories");
    assert!(sandbox.ok(["rmi", &near]).contains(&format!("Untagged: {near}")));
    sandbox.ok(["image", "prune", "-f"]);
    sandbox.ok(["rmi", &name]);
    assert_eq!(sandbox.inspect(&far)["RepoTags"], json!([far]));
    assert!(sandbox.ok(["rmi", &far]).contains(&format!("Deleted: {}", stored.digest)));
    assert_eq!(kept(&sandbox), Vec::<String>::new());
    sandbox.dhow(["inspect", &name]).fails(1, "o such");
}

fn copy_to(sandbox: &Sandbox, name: &str) -> String {
    format!("dir:{}", sandbox.path(&name.replace(['/', ':'], "-")).display())
}

#[test]
fn nothing_can_be_run_of_it() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    artifact(&registry, "model", "latest");
    let name = registry.name("model");
    let refused = format!("{name} is an OCI artifact of type {KIND}, not an image that can run");
    // It is pulled, because that is what it is found out by.
    let first = sandbox.dhow(["run", "--rm", &name, "true"]);
    assert!(first.code == 125 && first.stderr.contains(&refused), "{first:?}");
    sandbox.dhow(["run", "--rm", &name, "true"]).fails(125, &refused);
    sandbox.dhow(["create", &name]).fails(1, &refused);
    let mount = format!("type=image,source={name},target=/x");
    sandbox
        .dhow(["run", "--rm", "--network", "none", "--mount", &mount, "busybox", "true"])
        .fails(125, &refused);
    sandbox.dhow(["history", &name]).fails(1, &refused);
    let server = sandbox.serve();
    let theirs = server.docker(["run", "--rm", &name]);
    assert!(theirs.code == 125 && theirs.stderr.contains(&refused), "{theirs:?}");
    assert_eq!(sandbox.ok(["ps", "-aq"]), "");
    prune(&sandbox);
    assert_eq!(kept(&sandbox), Vec::<String>::new());
}

#[test]
fn a_name_is_that_of_one_thing() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    let stored = artifact(&registry, "mixed", "model");
    let name = registry.name("mixed");
    let (image, model) = (format!("{name}:image"), format!("{name}:model"));
    sandbox.ok(["tag", "busybox", &image]);
    sandbox.ok(["push", &image]);
    sandbox.ok(["rmi", &image]);
    sandbox.ok(["pull", "-a", &name]);
    assert_eq!(sandbox.inspect(&model)["Artifact"]["Type"], KIND);
    assert_eq!(sandbox.inspect(&image)["Os"], "linux");
    sandbox.ok(["push", "-a", &name]);
    // The artifact loses its name to an image, and then an image to the artifact.
    sandbox.ok(["tag", "busybox", &model]);
    sandbox.ok(["run", "--rm", "--network", "none", &model, "true"]);
    let by_digest = format!("{name}@{}", stored.digest);
    assert_eq!(sandbox.inspect(&by_digest)["RepoTags"], json!([]));
    sandbox.ok(["pull", &model]);
    sandbox.dhow(["create", &model]).fails(1, "is an OCI artifact");
    sandbox.ok(["tag", "busybox", &model]);
    assert!(sandbox.ok(["image", "prune", "-f"]).contains(&stored.digest));
    sandbox.dhow(["inspect", &by_digest]).fails(1, "o such");
    // By digest alone.
    sandbox.ok(["pull", &by_digest]);
    assert_eq!(sandbox.inspect(&by_digest)["RepoTags"], json!([]));
    sandbox.ok(["rmi", &by_digest]);
    prune(&sandbox);
    assert_eq!(kept(&sandbox), Vec::<String>::new());
}

#[test]
fn a_transfer_that_breaks_goes_on_and_what_is_wrong_is_never_there() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox.path("registry"));
    let stored = artifact(&registry, "model", "latest");
    let large = crate::fixtures::digest_of(&noise(SIZE, 7));
    let cut =
        Front::of(&registry, |asked, _| if asked.is_blob() { Fault::Cut(1 << 20) } else { Fault::None });
    sandbox.ok(["pull", &cut.name("model")]);
    let of_large = |front: &Front| front.asked().iter().filter(|asked| asked.path.ends_with(&large)).count();
    assert!(of_large(&cut) >= 3);
    sandbox.ok(["rmi", &cut.name("model")]);
    let path = format!("/v2/model/blobs/{large}");
    let flip = Front::of(
        &registry,
        move |asked, _| {
            if asked.path == path { Fault::Flip(SIZE / 2) } else { Fault::None }
        },
    );
    let name = flip.name("model");
    sandbox.dhow(["pull", &name]).fails(1, &format!("blob {large} of {}", name.trim_end_matches(":latest")));
    assert_eq!(sandbox.ok(["images", "-aq"]), "");
    prune(&sandbox);
    assert_eq!(kept(&sandbox), Vec::<String>::new());
    checked(&sandbox);

    // What the disk has spoilt is named, and removed by a repair: to be pulled again.
    let name = registry.name("model");
    sandbox.ok(["pull", &name]);
    let file = sandbox.root().join("content/sha256").join(large.trim_start_matches("sha256:"));
    std::fs::write(&file, "spoilt").unwrap();
    let found = sandbox.dhow(["system", "check"]);
    assert!(found.code == 1 && found.stdout.contains(&format!("needed by {name}")), "{found:?}");
    sandbox.dhow(["system", "check", "--repair"]);
    checked(&sandbox);
    assert_eq!(kept(&sandbox), Vec::<String>::new());
    assert_eq!(digest_line(&sandbox.ok(["pull", &name])), stored.digest);
    prune(&sandbox);
    assert_eq!(kept(&sandbox), Vec::<String>::new());
}

#[test]
fn what_refers_to_it_comes_and_goes_with_it() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox.path("registry"));
    let stored = artifact(&registry, "model", "latest");
    let signature = statement(&registry, "model", &stored, "signed");
    put_manifest(&registry, "model", Some(&tag_of(&stored)), &index(std::slice::from_ref(&signature)));
    let name = registry.name("model");
    assert!(sandbox.ok(["pull", &name]).contains("Referrers: 1 kept with the artifact"));
    assert_eq!(referrers(&sandbox, &name)[0]["Descriptor"]["digest"], signature["digest"]);
    checked(&sandbox);
    let other = registry.name("other");
    sandbox.ok(["tag", &name, &other]);
    assert!(sandbox.ok(["push", &other]).contains("Referrers: 1 of 1 pushed"));
    sandbox.ok(["rmi", &name, &other]);
    assert_eq!(kept(&sandbox), Vec::<String>::new());
    assert!(sandbox.ok(["pull", &other]).contains("Referrers: 1 kept with the artifact"));
    // Under an index that has nothing but it.
    let only = put_manifest(&registry, "model", Some("only"), &index(&[stored.descriptor(MANIFEST)]));
    let only_name = format!("{name}:only");
    assert_eq!(digest_line(&sandbox.ok(["pull", &only_name])), only.digest);
    assert_eq!(sandbox.inspect(&only_name)["Id"], stored.digest.as_str());
    checked(&sandbox);
    prune(&sandbox);
    assert_eq!(kept(&sandbox), Vec::<String>::new());
}

#[test]
fn several_may_pull_it_at_once() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox.path("registry"));
    let stored = artifact(&registry, "model", "latest");
    // Slow enough that all of them meet.
    let front = Front::of(
        &registry,
        |asked, _| {
            if asked.is_blob() { Fault::Throttle(128 << 10) } else { Fault::None }
        },
    );
    let name = front.name("model");
    let pulls = (0..6).map(|_| sandbox.command(["pull", "-q", &name]).stdout(Stdio::null()).spawn().unwrap());
    let pulls: Vec<_> = pulls.collect();
    for mut pull in pulls {
        assert!(pull.wait().unwrap().success());
    }
    assert_eq!(sandbox.inspect(&name)["Id"], stored.digest.as_str());
    checked(&sandbox);
    prune(&sandbox);
    assert_eq!(kept(&sandbox), Vec::<String>::new());
}
