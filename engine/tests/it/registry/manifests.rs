//! `manifest`: lists made by dhow and by docker are the same files, the same output and the same bytes at the registry.

use super::fixture::Registry;
use crate::http::Api;
use crate::sandbox::{Ended, Sandbox, finish};
use std::path::Path;
use std::process::Command;

/// Docker's own command line, with the configuration that dhow reads.
fn docker(sandbox: &Sandbox, arguments: &[&str]) -> Ended {
    let mut command = Command::new("docker");
    command.args(arguments);
    sandbox.isolate(&mut command);
    finish(command, b"")
}

/// Two images with different configurations and one layer, pushed.
fn images(sandbox: &Sandbox, registry: &Registry) -> [String; 2] {
    ["1", "2"].map(|tag| {
        let name = registry.name(&format!("team/app:{tag}"));
        sandbox.ok(["create", "--name", "maker", "--network", "none", "busybox", "true"]);
        sandbox.ok(["commit", "-c", &format!("ENV N={tag}"), "maker", &name]);
        sandbox.ok(["rm", "maker"]);
        sandbox.ok(["push", &name]);
        name
    })
}

#[test]
fn lists_are_dockers() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    let [one, two] = images(&sandbox, &registry);
    let same = |arguments: &[&str]| {
        let theirs = docker(&sandbox, arguments);
        let ours = sandbox.dhow(arguments);
        assert_eq!(
            (ours.code, &ours.stdout),
            (theirs.code, &theirs.stdout),
            "{arguments:?}: {}",
            ours.stderr
        );
        // Ours says who complains; Docker begins the line with it only for errors of the daemon.
        assert_eq!(ours.stderr.replace("dhow: ", ""), theirs.stderr, "{arguments:?}");
        ours.stdout
    };
    let list = registry.name("team/all:1");
    let (list, one, two) = (list.as_str(), one.as_str(), two.as_str());
    same(&["manifest", "inspect", "--insecure", one]);
    same(&["manifest", "inspect", "--insecure", "-v", one]);
    same(&["manifest", "inspect", "--insecure", &registry.name("nothing:1")]);

    // Begun by dhow, gone on by docker, and the other way round.
    assert_eq!(sandbox.ok(["manifest", "create", list, one]), format!("Created manifest list {list}"));
    same(&["manifest", "inspect", list]);
    sandbox.dhow(["manifest", "create", list, two]).fails(1, "refusing to amend an existing manifest list");
    docker(&sandbox, &["manifest", "create", "--insecure", "--amend", list, two]).ok();
    docker(&sandbox, &["manifest", "annotate", "--arch", "arm64", "--variant", "v8", list, two]).ok();
    same(&["manifest", "inspect", list]);
    sandbox.ok(["manifest", "annotate", "--os-version", "3", "--os-features", "x,y", list, two]);
    same(&["manifest", "inspect", list]);
    same(&["manifest", "inspect", "-v", list]);
    same(&["manifest", "inspect", list, two]);
    same(&["manifest", "annotate", "--arch", "pdp11", list, two]);
    same(&["manifest", "annotate", list, &registry.name("nothing:1")]);

    // The same bytes under the same digest, and what it is for is found by it.
    let theirs = docker(&sandbox, &["manifest", "push", "--insecure", list]).ok();
    let ours = sandbox.ok(["manifest", "push", list]);
    assert_eq!(ours, theirs);
    sandbox.ok(["manifest", "push", "--insecure", "-p", list]);
    assert!(!sandbox.path(".docker/manifests").read_dir().unwrap().any(|_| true), "purged");
    same(&["manifest", "inspect", "--insecure", list]);
    same(&["manifest", "inspect", "--insecure", "-v", list]);
    sandbox.ok(["rmi", "-f", one, two]);
    sandbox.ok(["pull", "--platform", "linux/arm64/v8", list]);
    assert_eq!(sandbox.ok(["image", "inspect", "-f", "{{index .Config.Env 0}}", list]), "N=2");
    sandbox.ok(["pull", "--platform", "linux/amd64", list]);
    assert_eq!(sandbox.ok(["image", "inspect", "-f", "{{index .Config.Env 0}}", list]), "N=1");
    let digest = ours.lines().last().unwrap();
    assert_eq!(sandbox.inspect(list)["RepoDigests"][0], format!("{}@{digest}", registry.name("team/all")));

    sandbox.ok(["manifest", "create", list, one]);
    sandbox.ok(["manifest", "rm", list]);
    same(&["manifest", "rm", list, &registry.name("nothing:1")]);
    same(&["manifest", "push", list]);
    sandbox.dhow(["manifest", "create", &registry.name("x:1"), list]).fails(1, "is a manifest list");
}

#[test]
fn blobs_of_other_repositories_are_mounted() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    let [one, two] = images(&sandbox, &registry);
    let list = registry.name("elsewhere/all:1");
    sandbox.ok(["manifest", "create", &list, &one, &two]);
    sandbox.ok(["manifest", "push", "--purge", &list]);
    sandbox.ok(["rmi", "-f", &one, &two, "busybox"]);
    sandbox.ok(["run", "--rm", "--network", "none", &list, "true"]);
}

#[test]
fn the_api_tells_what_a_registry_has() {
    let sandbox = Sandbox::with_busybox();
    let registry = Registry::start(&sandbox.path("registry"));
    let [one, two] = images(&sandbox, &registry);
    let list = registry.name("team/all:1");
    sandbox.ok(["manifest", "create", &list, &one, &two]);
    sandbox.ok(["manifest", "annotate", "--arch", "arm64", "--variant", "v8", &list, &two]);
    let pushed = sandbox.ok(["manifest", "push", "-p", &list]);
    let server = sandbox.serve();
    let mut api = Api::new(Path::new(server.address.strip_prefix("unix://").unwrap()));
    let mut get = |name: &str| {
        let (status, body) = api.ask("GET", &format!("/v1.44/distribution/{name}/json"), b"");
        (status, serde_json::from_slice::<serde_json::Value>(&body).unwrap())
    };
    let (status, found) = get(&list);
    assert_eq!((status, found["Descriptor"]["digest"].as_str()), (200, pushed.lines().last()));
    assert_eq!(
        found["Platforms"],
        serde_json::json!([
            { "architecture": "amd64", "os": "linux" },
            { "architecture": "arm64", "os": "linux", "variant": "v8" },
        ])
    );
    let (_, found) = get(&one);
    assert_eq!(found["Platforms"], serde_json::json!([{ "architecture": "amd64", "os": "linux" }]));
    assert_eq!(found["Descriptor"]["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(get(&registry.name("nothing:1")).0, 404);
}
