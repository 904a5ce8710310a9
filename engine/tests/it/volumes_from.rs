//! `--volumes-from`: the mounts of other containers, at the same places.

use crate::sandbox::Sandbox;

#[test]
fn mounts_come_along_and_own_ones_win() {
    let sandbox = Sandbox::with_busybox();
    let host = sandbox.path("host");
    std::fs::create_dir(&host).unwrap();
    let bind = format!("{}:/bind", host.display());
    let flags =
        ["--name", "donor", "-v", "named:/named", "-v", "/anonymous", "-v", &bind, "--tmpfs", "/memory"];
    sandbox.ok([&["create"], &flags[..], &["busybox", "true"]].concat());
    let script = "echo 1 > /named/x && echo 2 > /anonymous/x && echo 3 > /bind/x && grep -c ' /memory ' /proc/mounts; true";
    let run = |flags: &[&str], script: &str| {
        sandbox.dhow([&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat())
    };
    assert_eq!(run(&["--volumes-from", "donor"], script).ok(), "0", "a tmpfs is nobody else's");
    assert_eq!(std::fs::read_to_string(host.join("x")).unwrap(), "3\n");
    let read = "cat /named/x /anonymous/x /bind/x; for d in named anonymous bind; do echo x > /$d/y; done";
    let readonly = run(&["--volumes-from", "donor:ro"], read);
    assert_eq!(readonly.stdout, "1\n2\n3\n");
    assert_eq!(readonly.stderr.matches("Read-only file system").count(), 3, "{readonly:?}");
    // What the container mounts itself stays.
    let own = run(&["--volumes-from", "donor", "-v", "mine:/named"], "ls /named; cat /anonymous/x");
    assert_eq!(own.ok(), "2");

    sandbox.ok(["create", "--name", "guest", "--volumes-from", "donor:ro", "busybox", "true"]);
    let guest = sandbox.inspect("guest");
    assert_eq!(guest["HostConfig"]["VolumesFrom"][0], "donor:ro");
    assert!(guest["HostConfig"]["Binds"].is_null(), "{guest}");
    let mut targets: Vec<&str> =
        guest["Mounts"].as_array().unwrap().iter().filter_map(|m| m["Destination"].as_str()).collect();
    targets.sort_unstable();
    assert_eq!(targets, ["/anonymous", "/bind", "/named"]);
    // The anonymous volume goes with the last of those who use it.
    sandbox.ok(["rm", "-v", "donor"]);
    let read = ["run", "--rm", "--volumes-from", "guest", "busybox", "cat", "/anonymous/x"];
    assert_eq!(sandbox.ok(read), "2");

    let server = sandbox.serve();
    let docker = server.docker(["run", "--rm", "--volumes-from", "guest:ro", "busybox", "cat", "/bind/x"]);
    assert_eq!(docker.ok(), "3");
    run(&["--volumes-from", "nobody"], "true").fails(125, "No such container: nobody");
    run(&["--volumes-from", "guest:bogus"], "true").fails(125, "invalid mode: bogus");
}
