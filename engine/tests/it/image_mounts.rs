//! `--mount type=image`: an image's files in another image's container, for reading.

use crate::sandbox::Sandbox;

/// An engine with `layered`, which has more than one layer, beside `busybox`, which has one.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_busybox();
    let script = "mkdir /extra && echo layered > /extra/file && rm /etc/group";
    sandbox.ok(["run", "--name", "make", "--network", "none", "busybox", "sh", "-c", script]);
    sandbox.ok(["commit", "make", "layered"]);
    sandbox.ok(["rm", "make"]);
    sandbox
}

/// What a shell prints beside whose files an image's are.
fn beside(sandbox: &Sandbox, flags: &[&str], script: &str) -> String {
    sandbox.ok([&["run", "--rm", "--network", "none"], flags, &["busybox", "sh", "-c", script]].concat())
}

#[test]
fn an_images_files_are_read_and_never_written() {
    let sandbox = sandbox();
    let whole = ["--mount", "type=image,source=layered,target=/img"];
    let look = "cat /img/extra/file; test -e /img/etc/group || echo gone; /img/bin/busybox echo runs; \
                touch /img/x 2>&1 | grep -o 'Read-only file system'; grep -c ' /img ' /proc/mounts";
    let seen = "layered\ngone\nruns\nRead-only file system\n1";
    assert_eq!(beside(&sandbox, &whole, look), seen);
    // One layer alone, and the container's own image.
    let one = ["--mount", "type=image,src=busybox,dst=/img"];
    let look = "test -e /img/etc/group && touch /img/etc/group 2>&1 | grep -o 'Read-only file system'";
    assert_eq!(beside(&sandbox, &one, look), "Read-only file system");
    let part = |subpath: &str| format!("type=image,source=layered,target=/img,image-subpath={subpath}");
    assert_eq!(beside(&sandbox, &["--mount", &part("extra")], "cat /img/file"), "layered");
    assert_eq!(beside(&sandbox, &["--mount", &part("extra/file")], "cat /img"), "layered");
    // In a user namespace its files are the container's.
    let conf = sandbox.path("dhow.json");
    std::fs::write(&conf, r#"{"userns-ids": {"first": 1000000, "count": 65536}}"#).unwrap();
    let head =
        ["--config-file", conf.to_str().unwrap(), "run", "--rm", "--network", "none", "--userns", "private"];
    let look = "stat -c '%u:%g' /img/extra/file; cat /img/extra/file";
    let seen = sandbox.ok([&head[..], &whole, &["busybox", "sh", "-c", look]].concat());
    assert_eq!(seen, "0:0\nlayered");
    for runtime in ["runc", "dhow"] {
        let two =
            ["--runtime", runtime, "--mount", &part("extra"), "--mount", "type=image,src=busybox,dst=/b"];
        assert_eq!(beside(&sandbox, &two, "cat /img/file; touch /b/x 2>/dev/null || echo ro"), "layered\nro");
    }
    // As for a missing program, by Docker's rule: the words say which.
    let missing = ["run", "--rm", "--network", "none", "--mount", &part("nothing"), "busybox", "true"];
    sandbox.dhow(missing).fails(127, "cannot access path nothing: no such file or directory");
    let refuse = |mount: &str, why: &str| {
        sandbox
            .dhow(["run", "--rm", "--network", "none", "--mount", mount, "busybox", "true"])
            .fails(125, why);
    };
    refuse("type=image,source=nope,target=/img", "No such image: nope");
    refuse("type=image,target=/img", "field Source must not be empty");
    refuse(&part("../etc"), "subpath must be a relative path within the image");
    refuse("type=image,source=layered,target=/img,volume-nocopy", "cannot mix 'volume-*' options");
    sandbox.assert_no_containers();
}

#[test]
fn a_mounted_image_is_in_use() {
    let sandbox = sandbox();
    let mount = ["--mount", "type=image,source=layered,target=/img", "--mount", "type=tmpfs,target=/t"];
    let run = ["run", "-d", "--name", "box", "--network", "none"];
    sandbox.ok([&run[..], &mount, &["busybox", "sleep", "1000"]].concat());
    let shown = sandbox.inspect("box");
    let wanted =
        serde_json::json!({"Type": "image", "Source": "layered", "Target": "/img", "ReadOnly": true});
    assert_eq!(shown["HostConfig"]["Mounts"][0], wanted);
    assert_eq!((&shown["Mounts"][0]["Type"], &shown["Mounts"][0]["RW"]), (&"image".into(), &false.into()));
    let id = sandbox.ok(["image", "inspect", "--format", "{{.Id}}", "layered"]);
    sandbox.dhow(["rmi", "layered"]).fails(1, "is using its referenced image");
    sandbox
        .dhow(["rmi", "-f", &id])
        .fails(1, "(cannot be forced) - image is being used by running container");
    sandbox.ok(["stop", "-t", "0", "box"]);
    sandbox.dhow(["rmi", "layered"]).fails(1, "(must force)");
    sandbox.ok(["image", "prune", "-a", "-f"]);
    // A new image of the name is not the one that it was made with; and that one stays as long as it is.
    sandbox.ok(["tag", "busybox", "layered"]);
    sandbox.ok(["start", "box"]);
    assert_eq!(sandbox.ok(["exec", "box", "cat", "/img/extra/file"]), "layered");
    // Copies see it, running and stopped.
    let copy = || {
        let to = sandbox.path("copied");
        sandbox.ok(["cp", "box:/img/extra/file", to.to_str().unwrap()]);
        std::fs::read_to_string(&to).unwrap()
    };
    assert_eq!(copy(), "layered\n");
    sandbox.ok(["stop", "-t", "0", "box"]);
    assert_eq!(copy(), "layered\n");
    let count = || sandbox.ok(["images", "-aq", "--no-trunc"]).lines().count();
    let before = count();
    sandbox.ok(["rm", "box"]);
    sandbox.ok(["image", "prune", "-f"]);
    assert_eq!(count(), before - 1, "nothing holds it any more");
}

#[test]
fn the_docker_cli_mounts_images() {
    let sandbox = sandbox();
    let server = sandbox.serve();
    let mount = "type=image,source=layered,target=/img,image-subpath=extra";
    let run = ["run", "--rm", "--network", "none", "--mount", mount, "busybox", "cat", "/img/file"];
    assert_eq!(server.docker(run).ok(), "layered");
}

#[test]
fn users_of_a_mounted_image_are_known() {
    let sandbox = Sandbox::with_busybox();
    // Two layers above busybox's: the users are in the second, and its directory, too.
    let script = "mkdir -p /users && echo 'anna:x:1234:77::/home/anna:/bin/sh' > /users/passwd && \
                  echo 'crew:x:4321:anna' > /users/group && cd /users && touch hosts hostname resolv.conf";
    sandbox.ok(["run", "--name", "make", "--network", "none", "busybox", "sh", "-c", script]);
    sandbox.ok(["commit", "make", "people"]);
    let own = ["run", "--rm", "--network", "none", "-u", "anna", "busybox", "true"];
    sandbox.dhow(own).fails(125, "unable to find user anna");
    let part = |subpath: &str, target: &str| {
        format!("type=image,source=people,target={target},image-subpath={subpath}")
    };
    let (directory, passwd, group) =
        (part("users", "/etc"), part("users/passwd", "/etc/passwd"), part("users/group", "/etc/group"));
    for runtime in ["dhow", "runc"] {
        for mounts in [&[&directory][..], &[&passwd, &group]] {
            let mut flags = vec!["-u", "anna", "--runtime", runtime];
            for mount in mounts {
                flags.extend(["--mount", mount.as_str()]);
            }
            assert_eq!(beside(&sandbox, &flags, "id; echo $HOME"), ID, "{runtime}: {mounts:?}");
        }
    }
    // Deeper mounts hide what lies below them, whichever is said first.
    let other = sandbox.path("passwd");
    std::fs::write(&other, "anna:x:99:99::/:/bin/sh\n").unwrap();
    let bind = format!("{}:/etc/passwd:ro", other.display());
    let flags = ["-u", "anna", "-v", &bind, "--mount", &directory];
    assert_eq!(beside(&sandbox, &flags, "id -u; id -g"), "99\n99");
}

/// What `anna` is.
const ID: &str = "uid=1234(anna) gid=77 groups=77,4321(crew)\n/home/anna";
