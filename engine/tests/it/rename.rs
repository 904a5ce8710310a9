//! `rename`: the new name everywhere, at once, and the old one free.

use crate::sandbox::Sandbox;

#[test]
fn a_running_container_gets_another_name() {
    let sandbox = Sandbox::with_busybox();
    let id = sandbox.ok(["run", "-d", "--name", "old", "--network", "none", "busybox", "sleep", "1000"]);
    assert_eq!(sandbox.ok(["rename", "old", "new"]), "");
    assert_eq!(sandbox.inspect("new")["Name"], "/new");
    assert_eq!(sandbox.inspect("new")["Id"], id.as_str());
    sandbox.dhow(["inspect", "--type", "container", "old"]).fails(1, "No such container: old");
    assert_eq!(sandbox.ok(["ps", "--format", "{{.Names}}"]), "new");

    // What happens from now on happens to the new name, also where the monitor tells it.
    sandbox.ok(["container", "rename", "/new", "/newer"]);
    sandbox.ok(["kill", "newer"]);
    sandbox.wait_for_status("newer", "exited");
    let events = sandbox.events();
    let of = |action: &str| {
        let events = events.iter().filter(|event| event["Action"] == action);
        events.map(|event| event["Actor"]["Attributes"].clone()).collect::<Vec<_>>()
    };
    let renames = of("rename");
    assert_eq!(renames.len(), 2);
    assert_eq!((&renames[0]["name"], &renames[0]["oldName"]), (&"new".into(), &"/old".into()));
    assert_eq!((&renames[1]["name"], &renames[1]["oldName"]), (&"newer".into(), &"/new".into()));
    assert_eq!(of("die")[0]["name"], "newer");

    // The old name is free.
    sandbox.ok(["create", "--name", "old", "--network", "none", "busybox", "true"]);
}

#[test]
fn names_that_cannot_be() {
    let sandbox = Sandbox::with_busybox();
    for name in ["aa", "bb"] {
        sandbox.ok(["create", "--name", name, "--network", "none", "busybox", "true"]);
    }
    sandbox
        .dhow(["rename", "aa", "bb"])
        .fails(1, "The container name \"/bb\" is already in use by container");
    sandbox.dhow(["rename", "aa", "aa"]).fails(1, "same name as its current name");
    sandbox.dhow(["rename", "aa", "no/slash"]).fails(1, "Invalid container name");
    sandbox.dhow(["rename", "aa", " "]).fails(1, "Neither old nor new names may be empty");
    sandbox.dhow(["rename", "no-such", "c"]).fails(1, "No such container: no-such");
    sandbox.dhow(["rename", "aa"]).fails(1, "'dhow rename' requires 2 arguments");

    let server = sandbox.serve();
    assert_eq!(server.docker(["rename", "aa", "cc"]).ok(), "");
    assert_eq!(sandbox.inspect("cc")["Name"], "/cc");
    // Docker's client adds a line of its own.
    let taken = server.docker(["rename", "cc", "bb"]);
    assert_eq!(taken.code, 1);
    assert!(taken.stderr.contains("is already in use by container"), "{taken:?}");
}
