//! The first command of a new user, on an empty engine.

use crate::sandbox::Sandbox;

#[test]
fn hello_world_greets_from_inside_a_real_container() {
    let sandbox = Sandbox::new();
    let ended = sandbox.dhow(["run", "--rm", "hello-world"]);
    let greeting = ended.ok();
    for fact in [
        "Hello from inside a container!",
        "a filesystem of type overlay",
        "I am process 1, and I see 1 process in all",
        "I am user 0 with the capabilities 00000000a80425fb",
        "my system calls are filtered",
    ] {
        assert!(greeting.contains(fact), "no {fact:?} in: {greeting}");
    }
    sandbox.assert_no_containers();
    assert!(sandbox.ok(["images"]).contains("hello-world"), "the image is there for the next time");
}

#[test]
fn hello_world_is_an_image_like_any_other() {
    let sandbox = Sandbox::new();
    let name = sandbox.ok(["run", "-d", "-h", "a-name-of-mine", "hello-world"]);
    assert_eq!(sandbox.ok(["wait", &name]), "0");
    let log = sandbox.ok(["logs", &name]);
    assert!(log.contains("my host name is a-name-of-mine"), "{log}");
    sandbox.ok(["rm", &name]);
    sandbox.ok(["rmi", "hello-world"]);
    assert_eq!(sandbox.ok(["images", "-q"]), "");
    sandbox.ok(["run", "--rm", "hello-world"]);
}
