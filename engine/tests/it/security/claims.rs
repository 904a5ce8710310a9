//! Images, registries and clients that claim more than anybody has. What is too much is refused before memory, time or a
//! request is spent on it: `engine/crates/model/src/limits.rs` is the table. That each is linear the unit tests show by
//! sizes that would take hours otherwise.

use crate::fixtures::{self, Tar};
use crate::registry::fixture::{Asked, Fault, Front, Registry, put_blob};
use crate::sandbox::{Sandbox, finish};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry whose image `claims` has layers of these sizes. The configuration is there; the layers are not.
fn claiming(registry: &Registry, sizes: &[u64]) -> Front {
    let diff_ids: Vec<String> = sizes.iter().map(|_| format!("sha256:{}", "1".repeat(64))).collect();
    let config = serde_json::json!({
        "os": "linux", "architecture": "amd64", "config": {}, "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = put_blob(registry, "claims", config.to_string().as_bytes())
        .descriptor("application/vnd.oci.image.config.v1+json");
    let layers: Vec<_> = sizes
        .iter()
        .map(|size| {
            serde_json::json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": format!("sha256:{}", "2".repeat(64)), "size": size,
            })
        })
        .collect();
    let manifest =
        serde_json::json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers })
            .to_string();
    Front::of(registry, move |asked, _| {
        if asked.path.contains("/manifests/") {
            return Fault::Answer("200 OK", vec![("Content-Type", MANIFEST.into())], manifest.clone());
        }
        Fault::None
    })
}

/// A command that may take that much memory, and no more.
fn within(sandbox: &Sandbox, megabytes: u64, arguments: &[&str]) -> crate::sandbox::Ended {
    let plain = sandbox.command(arguments);
    let mut command = Command::new("prlimit");
    command.arg(format!("--data={}", megabytes << 20)).arg(plain.get_program()).args(plain.get_args());
    sandbox.isolate(&mut command);
    finish(command, b"")
}

#[test]
fn a_layer_that_claims_a_million_gigabytes_costs_no_memory_and_no_request() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox.path("registry"));
    for size in [(1 << 40) + 1, 1 << 50, 1 << 63] {
        let front = claiming(&registry, &[1, size]);
        let ended = within(&sandbox, 512, &["pull", &front.name("claims")]);
        ended.fails(1, &format!("has {size} bytes; at most {} are taken", 1_u64 << 40));
        assert!(!front.asked().iter().any(Asked::is_blob), "{:?}", front.asked());
    }
    // At the edge it is asked for, and is not there.
    let front = claiming(&registry, &[1 << 40]);
    let ended = within(&sandbox, 512, &["pull", &front.name("claims")]);
    ended.fails(1, "blob unknown");
}

#[test]
fn an_image_of_more_layers_than_can_be_mounted_is_not_fetched() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox.path("registry"));
    let front = claiming(&registry, &[1; 501]);
    sandbox.dhow(["pull", &front.name("claims")]).fails(1, "has 501 layers; at most 500 are taken");
    assert!(!front.asked().iter().any(Asked::is_blob), "{:?}", front.asked());
    let front = claiming(&registry, &[1; 500]);
    sandbox.dhow(["pull", &front.name("claims")]).fails(1, "blob unknown");
}

/// A tar with one empty file, whose path has that many bytes.
fn deep(sandbox: &Sandbox, bytes: usize) -> PathBuf {
    let path = sandbox.path(&format!("deep-{bytes}.tar"));
    let mut tar = Tar::create(&path);
    // `a/a/…/f`, with one name longer where the number wants it.
    let name =
        format!("{}{}", "a/".repeat((bytes - 1) / 2), if bytes.is_multiple_of(2) { "ff" } else { "f" });
    assert_eq!(name.len(), bytes);
    tar.file(&name, 0o644, b"");
    tar.finish();
    path
}

#[test]
fn a_path_of_forty_thousand_levels_is_refused() {
    let sandbox = Sandbox::new();
    for bytes in [4096, 80_001] {
        let tar = deep(&sandbox, bytes);
        let ended = within(&sandbox, 512, &["import", tar.to_str().unwrap(), "deep"]);
        ended.fails(1, &format!("has {bytes} bytes; at most 4095 are taken"));
        assert!(ended.stderr.len() < 2000, "{}", ended.stderr);
    }
    let longest = deep(&sandbox, 4095);
    sandbox.ok(["import", longest.to_str().unwrap(), "deep"]);
    // Also where the kernel mounts the tar itself.
    let loaded = archive(&sandbox, &deep(&sandbox, 80_001));
    let ended = within(&sandbox, 512, &["load", "-i", loaded.to_str().unwrap()]);
    ended.fails(1, "at most 4095 are taken");
}

fn archive(sandbox: &Sandbox, layer: &Path) -> PathBuf {
    fixtures::docker_archive(&sandbox.path(""), layer, &fixtures::sha256_of(layer))
}

#[test]
fn tens_of_thousands_of_variables_are_taken_by_both_roads() {
    let sandbox = Sandbox::with_busybox();
    let file = sandbox.path("many.env");
    let mut text = std::fs::File::create(&file).unwrap();
    for number in 0..32_000 {
        writeln!(text, "V{number}=x").unwrap();
    }
    drop(text);
    let file = file.to_str().unwrap();
    sandbox.ok(["create", "--name", "many", "--env-file", file, "busybox", "true"]);
    let own = sandbox.inspect("many")["Config"]["Env"].as_array().unwrap().len();
    assert!(own >= 32_000, "{own}");
    sandbox.ok(["commit", "many", "of-many"]);
    sandbox.ok(["create", "--name", "again", "--env-file", file, "of-many", "true"]);
    assert_eq!(sandbox.inspect("again")["Config"]["Env"].as_array().unwrap().len(), own);
}
