//! What volumes hold: copied from images whole or not at all, exported and imported, and no more than they were given.

use crate::sandbox::Sandbox;
use crate::volumes::{HostMount, create, user};
use std::path::Path;
use std::process::Command;

/// An archive with the files whose copies go wrong most easily.
fn nasty_tree() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add =
        |kind: tar::EntryType, name: &str, link: &str, content: &[u8], mode: u32, owner: (u64, u64)| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(content.len() as u64);
            header.set_mode(mode);
            header.set_uid(owner.0);
            header.set_gid(owner.1);
            header.set_mtime(1_000_000_000 + owner.0);
            if matches!(kind, tar::EntryType::Char | tar::EntryType::Block) {
                header.set_device_major(7).unwrap();
                header.set_device_minor(99).unwrap();
            }
            if link.is_empty() {
                archive.append_data(&mut header, name, content).unwrap();
            } else {
                archive.append_link(&mut header, name, link).unwrap();
            }
        };
    use tar::EntryType as T;
    add(T::Directory, "tree/", "", b"", 0o3775, (11, 12));
    add(T::Regular, "tree/setuid", "", b"program", 0o6755, (13, 14));
    add(T::Link, "tree/second-name", "tree/setuid", b"", 0o6755, (13, 14));
    add(T::Directory, "tree/a", "", b"", 0o700, (15, 16));
    add(T::Link, "tree/a/third-name", "tree/setuid", b"", 0o6755, (13, 14));
    add(T::Symlink, "tree/a/absolute", "/etc/passwd", b"", 0o777, (17, 18));
    add(T::Symlink, "tree/dangling", "../../nowhere", b"", 0o777, (17, 18));
    add(T::Fifo, "tree/pipe", "", b"", 0o620, (19, 20));
    add(T::Char, "tree/character", "", b"", 0o604, (21, 22));
    add(T::Block, "tree/block", "", b"", 0o640, (23, 24));
    add(T::Regular, "tree/empty", "", b"", 0, (25, 26));
    add(T::Regular, "tree/name with  blanks", "", b"x", 0o400, (27, 28));
    let long = format!("tree/{}", "l".repeat(250));
    add(T::Regular, &long, "", b"long", 0o444, (u64::from(u32::MAX - 1), 29));
    archive.into_inner().unwrap()
}

#[test]
fn a_new_volume_has_exactly_what_the_image_has() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["create", "--name", "maker", "busybox", "true"]);
    sandbox.dhow_with_input(["cp", "-a", "-", "maker:/"], &nasty_tree()).ok();
    sandbox.ok(["commit", "maker", "nasty"]);
    let tell = "cd /tree && find . | sort | tr '\\n' '\\0' | xargs -0 stat -c '%n %F %a %u:%g %h %Y %t:%T'; \
                find . -type l | sort | xargs -n 1 readlink; cat setuid a/third-name l*; stat -c %i setuid second-name | uniq | wc -l";
    let look = |flags: &[&str]| sandbox.ok([&["run", "--rm"], flags, &["nasty", "sh", "-c", tell]].concat());
    let image = look(&[]);
    assert!(image.contains("fifo") && image.contains("7:63") && image.lines().count() > 15, "{image}");
    assert_eq!(look(&["-v", "named:/tree"]), image);
    assert_eq!(look(&["-v", "named:/tree"]), image, "and is not touched again");
    assert_eq!(look(&["-v", "/tree"]), image, "without a name");
    assert_eq!(look(&["--mount", "type=volume,src=mounted,dst=/tree"]), image);
    for flags in [["-v", "plain:/tree:nocopy"], ["--mount", "type=volume,src=bare,dst=/tree,volume-nocopy"]] {
        let run = [&["run", "--rm"], &flags[..], &["nasty", "ls", "-A", "/tree"]].concat();
        assert_eq!(sandbox.ok(run), "", "{flags:?}");
    }
    // What the archive cannot say: attributes and access lists, on files and directories.
    let data = sandbox.root().join("volumes/named/_data");
    for (name, attribute, value) in
        [("setuid", "user.note", &b"kept\0bytes"[..]), ("a", "trusted.mark", b"1")]
    {
        let file = std::fs::File::open(data.join(name)).unwrap();
        dhow_sys::xattr::set(std::os::fd::AsFd::as_fd(&file), attribute.as_ref(), value).unwrap();
    }
    sandbox.ok(["run", "--name", "with", "-v", "named:/from", "nasty", "sh", "-c", "mkdir /copy"]);
    sandbox
        .dhow_with_input(["cp", "-a", "-", "with:/copy"], &bytes(&sandbox, &["cp", "-a", "with:/from", "-"]))
        .ok();
    sandbox.ok(["commit", "with", "attributed"]);
    sandbox.ok(["run", "--rm", "-v", "second:/copy/from", "attributed", "true"]);
    let second = sandbox.root().join("volumes/second/_data");
    for (name, attribute, value) in
        [("setuid", "user.note", &b"kept\0bytes"[..]), ("a", "trusted.mark", b"1")]
    {
        let file = std::fs::File::open(second.join(name)).unwrap();
        let found = dhow_sys::xattr::get(std::os::fd::AsFd::as_fd(&file), attribute.as_ref()).unwrap();
        assert_eq!(found.as_deref(), Some(value), "{name}");
    }
}

fn bytes(sandbox: &Sandbox, arguments: &[&str]) -> Vec<u8> {
    let out = sandbox.command(arguments).output().unwrap();
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

#[test]
fn a_volume_is_filled_whole_or_not_at_all() {
    let sandbox = Sandbox::with_busybox();
    let make = "mkdir /big; for n in 1 2 3 4 5 6 7 8; do dd if=/dev/zero of=/big/$n bs=64k count=4 2>/dev/null; done";
    sandbox.ok(["run", "--name", "maker", "busybox", "sh", "-c", make]);
    sandbox.ok(["commit", "maker", "big"]);
    let disk = HostMount::tmpfs(&sandbox.path("disk"));
    let resize = |size: &str| {
        let option = format!("remount,size={size}");
        assert!(Command::new("mount").args(["-o", &option]).arg(&disk.0).status().unwrap().success());
    };
    resize("1m");
    let device = format!("device={}", disk.0.display());
    create(&sandbox, "small", &["type=none", "o=bind", &device]).ok();
    let ended = sandbox.dhow(["run", "--rm", "-v", "small:/big", "big", "true"]);
    assert!(ended.code != 0 && ended.stderr.contains("no space left on device"), "{ended:?}");
    assert_eq!(std::fs::read_dir(&disk.0).unwrap().count(), 0, "nothing is left of it");
    resize("10m");
    let count = "ls /big | wc -l; cat /big/* | wc -c";
    assert_eq!(sandbox.ok(["run", "--rm", "-v", "small:/big", "big", "sh", "-c", count]), "8\n2097152");
    sandbox.ok(["volume", "rm", "small"]);

    // One that was cut short by a crash is begun anew.
    sandbox.ok(["volume", "create", "cut"]);
    let home = sandbox.root().join("volumes/cut");
    std::fs::write(home.join("_data/1"), "half").unwrap();
    std::fs::write(home.join("_data.filling"), b"1\x002\x003\x004\x005\x006\x007\x008").unwrap();
    assert_eq!(sandbox.ok(["run", "--rm", "-v", "cut:/big", "big", "sh", "-c", count]), "8\n2097152");

    // Many at once: one of them fills it, the others wait, and all see all of it.
    let all: Vec<String> = std::thread::scope(|scope| {
        let run = || sandbox.ok(["run", "--rm", "-v", "crowd:/big", "big", "sh", "-c", count]);
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(all.iter().all(|one| one == "8\n2097152"), "{all:?}");
}

/// Everything that can be told of what lies in a volume.
fn told(sandbox: &Sandbox, volume: &str) -> String {
    let tell = "cd /v && find . | sort | xargs stat -c '%n %F %a %u:%g %h %Y %t:%T' && \
                find . -type l | sort | xargs -n 1 readlink; cat setuid";
    sandbox.ok(["run", "--rm", "-v", &format!("{volume}:/v"), "busybox", "sh", "-c", tell])
}

#[test]
fn export_import_and_snapshot_keep_everything() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["create", "--name", "maker", "-v", "first:/tree", "busybox", "true"]);
    let renamed = nasty_tree();
    sandbox.dhow_with_input(["cp", "-a", "-", "maker:/"], &renamed).ok();
    let top = sandbox.root().join("volumes/first/_data");
    std::os::unix::fs::chown(&top, Some(11), Some(12)).unwrap();
    std::fs::set_permissions(&top, std::os::unix::fs::PermissionsExt::from_mode(0o3775)).unwrap();
    let first = told(&sandbox, "first");
    assert!(first.contains("fifo") && first.contains("3775 11:12"), "{first}");

    let file = sandbox.path("volume.tar");
    sandbox.ok(["volume", "export", "-o", file.to_str().unwrap(), "first"]);
    sandbox.ok(["volume", "create", "second"]);
    sandbox.ok(["volume", "import", "second", file.to_str().unwrap()]);
    assert_eq!(told(&sandbox, "second"), first);
    let archive = bytes(&sandbox, &["volume", "export", "second"]);
    sandbox.ok(["volume", "create", "third"]);
    sandbox.dhow_with_input(["volume", "import", "third", "-"], &archive).ok();
    assert_eq!(told(&sandbox, "third"), first);

    sandbox.ok(["volume", "create", "--label", "tier=db", "labelled"]);
    sandbox.dhow_with_input(["volume", "import", "labelled", "-"], &archive).ok();
    assert_eq!(sandbox.ok(["volume", "snapshot", "labelled", "copy"]), "copy");
    assert_eq!(told(&sandbox, "copy"), first);
    assert_eq!(sandbox.inspect("copy")["Labels"]["tier"], "db");
    // A copy is one: what changes in either does not in the other.
    sandbox.ok([
        "run",
        "--rm",
        "-v",
        "labelled:/v",
        "busybox",
        "sh",
        "-c",
        "echo changed > /v/setuid; rm -r /v/a",
    ]);
    assert_eq!(told(&sandbox, "copy"), first);
    sandbox.ok(["volume", "snapshot", "copy", "again"]);

    // Of a filesystem that is mounted only while it is used.
    create(&sandbox, "mem", &["type=tmpfs", "device=tmpfs"]).ok();
    user(&sandbox, "box", "mem:/m");
    sandbox.ok(["exec", "box", "sh", "-c", "echo inside > /m/file"]);
    sandbox.ok(["volume", "snapshot", "mem", "saved"]);
    let listed = bytes(&sandbox, &["volume", "export", "mem"]);
    assert!(String::from_utf8_lossy(&listed).contains("inside"));
    sandbox.ok(["rm", "-f", "box"]);
    assert_eq!(sandbox.ok(["run", "--rm", "-v", "saved:/v", "busybox", "cat", "/v/file"]), "inside");

    for (arguments, words) in [
        (&["volume", "export", "nobody"][..], "get nobody: no such volume"),
        (&["volume", "import", "nobody", "-"], "get nobody: no such volume"),
        (&["volume", "import", "first", "/no/such.tar"], "open /no/such.tar: no such file or directory"),
        (&["volume", "snapshot", "nobody", "new"], "get nobody: no such volume"),
        (&["volume", "snapshot", "first", "second"], "volume \"second\" already exists"),
        (&["volume", "snapshot", "first", "x/y"], "includes invalid characters"),
    ] {
        sandbox.dhow(arguments).fails(1, words);
    }
    let mut hostile = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.as_gnu_mut().unwrap().name[..14].copy_from_slice(b"../../escaped\0");
    header.set_cksum();
    hostile.append(&header, &b""[..]).unwrap();
    sandbox
        .dhow_with_input(["volume", "import", "first", "-"], &hostile.into_inner().unwrap())
        .fails(1, "is outside of the directory that is extracted to");
    assert!(!sandbox.root().join("escaped").exists());
    sandbox.ok(["rm", "maker"]);
    sandbox.ok(["volume", "prune", "-af"]);
    assert_eq!(crate::sandbox::names_in(&sandbox.root().join("volumes")), Vec::<String>::new());
}

/// Where this kernel has quotas, a filesystem with them; `Err` with what mount(8) says where it has none.
fn disk_with_quotas(sandbox: &Sandbox, kind: &str, place: &Path) -> Result<HostMount, String> {
    let file = sandbox.path("disk.img");
    // Sparse; mkfs.xfs makes none below 300 MB.
    std::fs::File::create(&file).unwrap().set_len(if kind == "xfs" { 320 << 20 } else { 96 << 20 }).unwrap();
    let options: &[&str] = match kind {
        "xfs" => &["-q", "-f"],
        _ => &["-q", "-F", "-O", "project,quota", "-E", "quotatype=prjquota"],
    };
    let mkfs = Command::new(format!("mkfs.{kind}")).args(options).arg(&file).status();
    assert!(mkfs.unwrap().success());
    std::fs::create_dir_all(place).unwrap();
    let looped = Command::new("losetup").args(["--find", "--show"]).arg(&file).output().unwrap();
    assert!(looped.status.success(), "{looped:?}");
    let node = String::from_utf8(looped.stdout).unwrap().trim().to_owned();
    let mounted =
        Command::new("mount").args(["-t", kind, "-o", "prjquota", &node]).arg(place).output().unwrap();
    // It goes with the mount, or now.
    assert!(Command::new("losetup").args(["--detach", &node]).status().unwrap().success());
    if mounted.status.success() {
        Ok(HostMount(place.to_owned()))
    } else {
        Err(String::from_utf8_lossy(&mounted.stderr).into_owned())
    }
}

#[test]
fn a_volume_holds_as_much_as_it_was_given() {
    holds_as_much_as_it_was_given("ext4");
}

#[test]
fn a_volume_holds_as_much_as_it_was_given_on_xfs() {
    holds_as_much_as_it_was_given("xfs");
}

fn holds_as_much_as_it_was_given(kind: &str) {
    let sandbox = Sandbox::new();
    let disk = disk_with_quotas(&sandbox, kind, &sandbox.root());
    std::fs::create_dir_all(sandbox.root()).unwrap();
    sandbox.ok(["import", crate::fixtures::busybox_tar().to_str().unwrap(), "busybox"]);
    for (size, words) in [("lots", "invalid size: 'lots'"), ("0", "invalid size: '0'")] {
        create(&sandbox, "bad", &[&format!("size={size}")]).fails(1, words);
    }
    create(&sandbox, "bad", &["size=1m", "type=tmpfs", "device=x"]).fails(1, "size is for plain volumes");
    let run = |option: &str, script: &str| {
        sandbox.dhow(["run", "--name", "full", "--storage-opt", option, "busybox", "sh", "-c", script])
    };
    for (option, words) in [
        ("size=lots", "--storage-opt size: invalid size: 'lots'"),
        ("size=0", "--storage-opt size: invalid size: '0'"),
        ("color=red", "--storage-opt: unknown option color"),
        ("size", "invalid storage option"),
    ] {
        run(option, "true").fails(125, words);
    }
    if let Err(why) = &disk {
        // This kernel has no quotas for it: then what holds the engine's directory has none, either.
        assert!(!why.is_empty());
        create(&sandbox, "small", &["size=1m"]).fails(1, "has no project quotas");
        assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "");
        run("size=3m", "true").fails(125, "--storage-opt is supported only where the filesystem of");
        assert_eq!(sandbox.ok(["ps", "-aq"]), "");
        return;
    }
    create(&sandbox, "small", &["size=1m"]).ok();
    create(&sandbox, "large", &["size=8m"]).ok();
    let write = |mount: &str, megabytes: u32| -> u64 {
        let script = format!(
            "dd if=/dev/zero of=/v/file bs=64k count={} 2>/dev/null; wc -c < /v/file; rm /v/file",
            megabytes * 16
        );
        sandbox.ok(["run", "--rm", "--mount", mount, "busybox", "sh", "-c", &script]).parse().unwrap()
    };
    let mib = 1 << 20;
    for (mount, megabytes, most) in [
        ("type=volume,src=small,dst=/v", 2, 1),
        ("type=volume,src=large,dst=/v", 4, 4),
        ("type=volume,src=large,dst=/v", 12, 8),
        // One that a container makes.
        ("type=volume,src=made,dst=/v,volume-opt=size=2m", 3, 2),
    ] {
        let written = write(mount, megabytes);
        assert!(written <= most * mib && written >= most * mib - (128 << 10), "{mount}: {written}");
    }
    assert_eq!(sandbox.inspect("small")["Options"]["size"], "1m");
    // A container's own layer, in two lives: what it has written counts, wherever it lies.
    let fill = "for i in 1 2 3 4 5; do dd if=/dev/zero of=/root/$$.$i bs=64k count=16; done 2>/dev/null; \
                cat /root/* | wc -c";
    let written: u64 = run("size=3m", fill).ok().parse().unwrap();
    assert!(written <= 3 * mib && written >= 2 * mib, "{written}");
    assert_eq!(sandbox.inspect("full")["HostConfig"]["StorageOpt"]["size"], "3m");
    assert_eq!(sandbox.ok(["start", "-a", "full"]), written.to_string());
    sandbox.ok(["rm", "full"]);
    sandbox.ok(["volume", "prune", "-af"]);
    sandbox.ok(["rmi", "-f", "busybox"]);
    drop(disk);
}
