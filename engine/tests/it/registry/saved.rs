//! What refers to images, and artifacts, in archives: `save` writes them, `load` keeps them again, and nobody else
//! stumbles over them.

use super::artifacts::artifact;
use super::fixture::{Registry, put_manifest};
use super::referrers::{attested, index, referrers, statement, tag_of};
use super::{kept, prune, skopeo};
use crate::sandbox::{Sandbox, finish};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

fn podman(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let mut command = Command::new("podman");
    command.env("STORAGE_DRIVER", "vfs");
    command.args(["--root", sandbox.path("podman").to_str().unwrap()]);
    command.args(["--runroot", sandbox.path("podman-run").to_str().unwrap()]).args(arguments);
    finish(command, b"").ok()
}

fn checked(sandbox: &Sandbox) {
    assert!(sandbox.ok(["system", "check"]).ends_with(": nothing is broken"));
}

fn member(archive: &Path, name: &str) -> Value {
    let mut command = Command::new("tar");
    command.arg("-xOf").arg(archive).arg(name);
    serde_json::from_str(&finish(command, b"").ok()).unwrap()
}

#[test]
fn what_refers_to_an_image_survives_an_archive() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    let (whole, image, attestation) = attested(&sandbox, &registry, "copied");
    let signature = statement(&registry, "copied", &whole, "signed");
    put_manifest(&registry, "copied", Some(&tag_of(&whole)), &index(std::slice::from_ref(&signature)));
    sandbox.ok(["rmi", "busybox"]);
    let name = registry.name("copied");
    sandbox.ok(["pull", "--platform", "linux/amd64", &name]);
    let before = sandbox.inspect(&name);
    assert_eq!(before["Referrers"].as_array().unwrap().len(), 2);
    let saved = sandbox.path("saved.tar");
    let archive = saved.to_str().unwrap();
    sandbox.ok(["save", "-o", archive, &name]);

    // One entry, an index that has the image and what refers to it, each by what it is about.
    let entries = member(&saved, "index.json")["manifests"].take();
    assert_eq!(entries.as_array().unwrap().len(), 1, "{entries}");
    let path = format!("blobs/{}", entries[0]["digest"].as_str().unwrap().replace(':', "/"));
    let beside = member(&saved, &path)["manifests"].take();
    assert_eq!((beside.as_array().unwrap().len(), &beside[0]["platform"]), (3, &Value::Null));
    let about = |entry: &Value| {
        let found = beside.as_array().unwrap().iter().find(|beside| beside["digest"] == entry["digest"]);
        found.unwrap()["annotations"]["io.containerd.manifest.subject"].clone()
    };
    assert_eq!((about(&attestation), about(&signature)), (json!(image.digest), json!(whole.digest)));

    // For others it is the image, by its name and without one.
    for transport in ["oci-archive", "docker-archive"] {
        let source = format!("{transport}:{archive}");
        let config: Value =
            serde_json::from_str(&skopeo(&["inspect", "--config", "--raw", &source])).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"], before["RootFS"]["Layers"], "{transport}");
        let copy = format!("dir:{}", sandbox.path(transport).display());
        skopeo(&["copy", "-q", &source, &copy]);
    }
    skopeo(&[
        "copy",
        "-q",
        &format!("oci-archive:{archive}:latest"),
        &format!("dir:{}", sandbox.path("tagged").display()),
    ]);
    podman(&sandbox, &["load", "-q", "-i", archive]);
    let id = before["Id"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    assert_eq!(podman(&sandbox, &["images", "--no-trunc", "--format", "{{.Id}}"]), id);
    finish(
        {
            let mut command = Command::new("rm");
            command.arg("-rf").arg(sandbox.path("podman")).arg(sandbox.path("podman-run"));
            command
        },
        b"",
    )
    .ok();

    // Here again, and as it was: even the archive.
    let other = Sandbox::new();
    assert_eq!(other.ok(["load", "-i", archive]), format!("Loaded image: {name}:latest"));
    let after = other.inspect(&name);
    for field in ["Id", "RootFS", "RepoTags", "Referrers"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    let by_index = format!("{name}@{}", whole.digest);
    assert!(after["RepoDigests"].as_array().unwrap().contains(&json!(by_index)), "{}", after["RepoDigests"]);
    checked(&other);
    let again = other.path("again.tar");
    other.ok(["save", "-o", again.to_str().unwrap(), &name]);
    assert!(std::fs::read(&saved).unwrap() == std::fs::read(&again).unwrap(), "the archive is another one");
    // Twice is as once.
    other.ok(["load", "-i", archive]);
    assert_eq!(other.inspect(&name)["Referrers"], before["Referrers"]);
    other.ok(["run", "--rm", "--network", "none", &name, "true"]);

    // On to another registry, where it has the digest that they are about.
    let far = Registry::start(&sandbox.path("far"));
    let there = far.name("app");
    other.ok(["tag", &name, &there]);
    let pushed = other.ok(["push", &there]);
    assert!(pushed.contains(&image.digest) && pushed.contains("Referrers: 1 of 1 pushed"), "{pushed}");
    other.ok(["rmi", &there]);
    other.ok(["rmi", &name]);
    assert_eq!(kept(&other), Vec::<String>::new());

    // The real docker, over the socket.
    let server = other.serve();
    let loaded = server.docker(["load", "-i", archive]).ok();
    assert!(loaded.contains(&format!("Loaded image: {name}:latest")), "{loaded}");
    assert_eq!(referrers(&other, &name).len(), 2);
    let third = other.path("third.tar");
    server.docker(["save", "-o", third.to_str().unwrap(), &name]).ok();
    assert!(std::fs::read(&saved).unwrap() == std::fs::read(&third).unwrap());
    // By its id, it has no name, and what refers to it is about what it was known by.
    let id = after["Id"].as_str().unwrap();
    sandbox.ok(["save", "-o", archive, id]);
    other.ok(["rmi", "-f", &name]);
    assert_eq!(other.ok(["load", "-i", archive]), format!("Loaded image ID: {id}"));
    assert_eq!(other.inspect(id)["Referrers"], before["Referrers"]);
    prune(&other);
    assert_eq!(kept(&other), Vec::<String>::new());
}

#[test]
fn what_is_spoilt_is_left_out_and_said() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    let name = registry.name("app");
    sandbox.ok(["tag", "busybox", &name]);
    let pushed = sandbox.ok(["push", &name]);
    super::referrers::attach(&registry, "app", &pushed);
    sandbox.ok(["pull", &name]);
    let (archive, spoilt) = (sandbox.path("saved.tar"), sandbox.path("spoilt.tar"));
    sandbox.ok(["save", "-o", archive.to_str().unwrap(), &name]);
    let good = crate::fixtures::digest_of(b"it is good");
    let unpacked = sandbox.path("unpacked");
    std::fs::create_dir(&unpacked).unwrap();
    let tar = |arguments: [&str; 2], file: &Path| {
        let mut command = Command::new("tar");
        command.arg("-C").arg(&unpacked).arg(arguments[0]).arg(file).args(&arguments[1..]);
        finish(command, b"").ok()
    };
    tar(["-xf", "--no-same-owner"], &archive);
    std::fs::remove_file(unpacked.join("blobs").join(good.replace(':', "/"))).unwrap();
    tar(["-cf", "."], &spoilt);
    let other = Sandbox::new();
    let told = other.ok(["load", "-i", spoilt.to_str().unwrap()]);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!((lines.len(), lines[1]), (2, format!("Loaded image: {name}:latest").as_str()));
    assert!(lines[0].starts_with("Referrers left out: sha256:"), "{told}");
    assert!(lines[0].ends_with(&format!("blob {good} of it is not in the archive")), "{told}");
    assert_eq!(referrers(&other, &name).len(), 1);
    checked(&other);
    // The whole one brings what was missing.
    assert_eq!(other.ok(["load", "-i", archive.to_str().unwrap()]).lines().count(), 1);
    assert_eq!(referrers(&other, &name).len(), 2);
    // What is damaged here does not go into an archive, and keeps no image from going.
    let content = other.root().join("content/sha256");
    std::fs::write(content.join(good.trim_start_matches("sha256:")), "it is baad").unwrap();
    other.ok(["save", "-o", spoilt.to_str().unwrap(), &name]);
    let third = Sandbox::new();
    assert_eq!(third.ok(["load", "-i", spoilt.to_str().unwrap()]).lines().count(), 1);
    assert_eq!(referrers(&third, &name).len(), 1);
    prune(&other);
    assert_eq!(kept(&other), Vec::<String>::new());
}

#[test]
fn artifacts_survive_an_archive() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    let stored = artifact(&registry, "model", "1");
    let signature = statement(&registry, "model", &stored, "signed");
    put_manifest(&registry, "model", Some(&tag_of(&stored)), &index(&[signature]));
    let name = registry.name("model:1");
    sandbox.ok(["pull", &name]);
    let before = sandbox.inspect(&name);
    let archive = sandbox.path("saved.tar");
    // With an image, in one archive.
    sandbox.ok(["save", "-o", archive.to_str().unwrap(), &name, "busybox"]);
    let other = Sandbox::new();
    let told = other.ok(["load", "-i", archive.to_str().unwrap()]);
    assert_eq!(told, format!("Loaded image: busybox:latest\nLoaded artifact: {name}"));
    let after = other.inspect(&name);
    for field in ["Id", "RepoTags", "RepoDigests", "Artifact", "Created", "Referrers", "Size"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_eq!(after["Referrers"].as_array().unwrap().len(), 1);
    checked(&other);
    other.ok(["run", "--rm", "--network", "none", "busybox", "true"]);
    let far = Registry::start(&sandbox.path("far"));
    let there = far.name("model:2");
    other.ok(["tag", &name, &there]);
    let pushed = other.ok(["push", &there]);
    assert!(pushed.contains(&stored.digest) && pushed.contains("Referrers: 1 of 1 pushed"), "{pushed}");
    other.ok(["rmi", "-f", &name, &there, "busybox"]);
    assert_eq!(kept(&other), Vec::<String>::new());

    // Alone, by the real docker, and for skopeo, which is told the name that the layout has for it.
    let server = sandbox.serve();
    server.docker(["save", "-o", archive.to_str().unwrap(), &name]).ok();
    let copy = sandbox.path("copy");
    let source = format!("oci-archive:{}:1", archive.display());
    skopeo(&["copy", "-q", "--all", &source, &format!("oci:{}:1", copy.display())]);
    assert!(copy.join("blobs").join(stored.digest.replace(':', "/")).exists());
    let there = other.serve();
    let told = there.docker(["load", "-i", archive.to_str().unwrap()]).ok();
    assert!(told.contains(&format!("Loaded artifact: {name}")), "{told}");
    assert_eq!(other.inspect(&name)["Referrers"], before["Referrers"]);
    prune(&other);
    assert_eq!(kept(&other), Vec::<String>::new());
}
