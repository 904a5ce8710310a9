//! Host devices in containers: `--device`, `--device-cgroup-rule`, and that nothing else can be opened.

use crate::resources::Disk;
use crate::sandbox::Sandbox;
use std::process::Command;

#[test]
fn a_device_allows_what_it_was_given_for() {
    let sandbox = Sandbox::with_busybox();
    let disk = Disk::new(&sandbox);
    let script = "dd if=/dev/disk of=/dev/null bs=512 count=1 2>&1 | grep -c 'records out'; \
                  dd if=/dev/zero of=/dev/disk bs=512 count=1 2>&1 | grep -o 'not permitted'; true";
    let run = |device: &str| sandbox.ok(["run", "--rm", "--device", device, "busybox", "sh", "-c", script]);
    assert_eq!(run(&format!("{}:/dev/disk", disk.node)), "1");
    assert_eq!(run(&format!("{}:/dev/disk:rw", disk.node)), "1");
    assert_eq!(run(&format!("{}:/dev/disk:r", disk.node)), "1\nnot permitted");
    assert_eq!(run(&format!("{}:/dev/disk:w", disk.node)), "0");
    // A further process is under the same rule, a privileged one too.
    let device = format!("{}:/dev/disk:r", disk.node);
    sandbox.ok(["run", "-d", "--name", "box", "--device", &device, "busybox", "sleep", "1000"]);
    for flags in [&[][..], &["--privileged"]] {
        let exec = [&["exec"], flags, &["box", "sh", "-c", script]].concat();
        assert_eq!(sandbox.ok(exec), "1\nnot permitted", "{flags:?}");
    }
    assert_eq!(sandbox.inspect("box")["HostConfig"]["Devices"][0]["CgroupPermissions"], "r");
    let privileged = ["run", "--rm", "--privileged", "busybox", "dd", "of=/dev/null", "bs=512", "count=1"];
    sandbox.ok([&privileged[..], &[&format!("if={}", disk.node)]].concat());
}

#[test]
fn rules_allow_nodes_that_the_container_makes() {
    let sandbox = Sandbox::with_busybox();
    let disk = Disk::new(&sandbox);
    let minor = disk.number().split_once(':').unwrap().1.to_owned();
    let script =
        format!("mknod /tmp-disk b 7 {minor} && dd if=/tmp-disk of=/dev/null bs=512 count=1 2>&1 | tail -1");
    let run =
        |flags: &[&str]| sandbox.dhow([&["run", "--rm"], flags, &["busybox", "sh", "-c", &script]].concat());
    assert!(run(&[]).stdout.contains("Operation not permitted"));
    assert!(run(&["--device-cgroup-rule", "b 7:* rmw"]).stdout.contains("records out"));
    assert!(run(&["--device-cgroup-rule", &format!("b 7:{minor} r")]).stdout.contains("records out"));
    assert!(run(&["--device-cgroup-rule", "c 7:* rmw"]).stdout.contains("Operation not permitted"));
    run(&["--device-cgroup-rule", "b 7 rmw"]).fails(125, "invalid device cgroup format 'b 7 rmw'");
}

#[test]
fn a_directory_gives_all_its_devices() {
    let sandbox = Sandbox::with_busybox();
    let disk = Disk::new(&sandbox);
    let number = disk.number();
    let (major, minor) = number.split_once(':').unwrap();
    let directory = sandbox.path("devices");
    std::fs::create_dir_all(directory.join("sub")).unwrap();
    for name in ["a", "sub/b"] {
        let made =
            Command::new("mknod").arg(directory.join(name)).args(["b", major, minor]).status().unwrap();
        assert!(made.success(), "{name}");
    }
    let device = format!("{}:/dev/set:r", directory.display());
    let script = "cd /dev/set; find . -type b | sort; head -c3 sub/b | wc -c; echo x > a";
    let ended = sandbox.dhow(["run", "--rm", "--device", &device, "busybox", "sh", "-c", script]);
    assert_eq!(ended.stdout, "./a\n./sub/b\n3\n", "{ended:?}");
    assert!(ended.stderr.contains("can't create a: Operation not permitted"), "{ended:?}");
}

#[test]
fn who_has_all_devices_has_them_at_other_places_too() {
    let sandbox = Sandbox::with_busybox();
    let flags =
        ["run", "--rm", "--privileged", "--device", "/dev/null:/dev/other/nil", "--device", "/dev/zero"];
    let script = "stat -c '%t:%T' /dev/other/nil /dev/zero";
    let shown = sandbox.ok(flags.into_iter().chain(["busybox", "sh", "-c", script]));
    assert_eq!(shown, "1:3\n1:5");
}

#[test]
fn what_is_no_device_is_refused() {
    let sandbox = Sandbox::with_busybox();
    for (device, words) in [
        ("/etc/passwd:/dev/x", "/etc/passwd: not a device node"),
        ("/dev/no-such", "error gathering device information while adding custom device \"/dev/no-such\""),
        ("/dev/null:/etc/null", "a device can only appear below /dev"),
        ("/dev/null:/dev/x:q", "bad mode specified: q"),
        ("vendor.com/class=name", "devices by CDI name are not supported by dhow"),
    ] {
        let ended = sandbox.dhow(["run", "--rm", "--device", device, "busybox", "true"]);
        ended.fails(125, words);
    }
    sandbox
        .dhow(["run", "--rm", "--gpus", "all", "busybox", "true"])
        .fails(125, "--gpus is not supported by dhow");
    let server = sandbox.serve();
    let ended = server.docker(["create", "--gpus", "all", "busybox", "true"]);
    assert!(ended.code == 1 && ended.stderr.contains("not supported by dhow"), "{ended:?}");
    sandbox.assert_no_containers();
}
