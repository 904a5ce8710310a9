//! What the container sees of filesystems, and what the host does not see of them.

use crate::fixture::{Box, finish, make_rootfs};
use dhow_model::ErrorKind;
use dhow_model::mount::{Mount, MountSource, MountSyntax, Propagation, ReadonlyBelow, VolumeDetails};
use dhow_runtime::Rootfs;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

fn bind(target: &str, readonly: bool, create: bool) -> Mount {
    let source = MountSource::Bind {
        path: String::new(),
        create,
        recursive: true,
        propagation: Propagation::Rprivate,
        readonly_below: ReadonlyBelow::default(),
    };
    Mount { target: target.into(), readonly, source, written_as: MountSyntax::Volume }
}

fn tmpfs(target: &str, size: u64) -> Mount {
    let source = MountSource::Tmpfs {
        size_bytes: Some(size),
        mode: None,
        exec: false,
        options: vec!["uid=1000".into()],
    };
    Mount { target: target.into(), readonly: false, source, written_as: MountSyntax::Tmpfs }
}

#[test]
fn the_usual_mounts() {
    let host_before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let b = Box::new("awk '{print $2, $3, $4}' /proc/mounts");
    let out = b.output();
    let line = |target: &str| {
        out.lines().find(|l| l.split(' ').next() == Some(target)).unwrap_or_else(|| panic!("{target}: {out}"))
    };
    for (target, kind, options) in [
        ("/proc", "proc", "rw,nosuid,nodev,noexec,relatime"),
        ("/dev", "tmpfs", "rw,nosuid"),
        ("/dev/pts", "devpts", "rw,nosuid,noexec,relatime,gid=5,mode=620,ptmxmode=666"),
        ("/sys", "sysfs", "ro,nosuid,nodev,noexec,relatime"),
        ("/sys/fs/cgroup", "", "ro,nosuid,nodev,noexec"),
        ("/dev/mqueue", "mqueue", "rw,nosuid,nodev,noexec,relatime"),
        ("/dev/shm", "tmpfs", "rw,nosuid,nodev,noexec,relatime,size=65536k"),
        ("/proc/sys", "proc", "ro,nosuid,nodev,noexec,relatime"),
        ("/proc/keys", "tmpfs", "rw,nosuid"),
    ] {
        let fields: Vec<&str> = line(target).split(' ').collect();
        assert!(fields[1].starts_with(kind) && fields[2].starts_with(options), "{fields:?}");
    }
    assert!(!out.contains("ext4 rw") || out.lines().filter(|l| l.starts_with("/ ")).count() == 1, "{out}");
    let host_after = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!host_after.contains(b.dir.path().to_str().unwrap()));
    assert_eq!(host_before.contains("dhow-test"), host_after.contains("dhow-test"));
}

#[test]
fn cgroups_are_the_containers_own_and_read_only() {
    let b = Box::new(
        "cat /proc/self/cgroup | sed 's/.*://' | sort -u; for d in $(ls -d /sys/fs/cgroup/*/ /sys/fs/cgroup 2>/dev/null); do [ -e $d/cgroup.procs ] && cat $d/cgroup.procs | head -1; done | sort -u; for d in /sys/fs/cgroup $(ls -d /sys/fs/cgroup/*/ 2>/dev/null); do mkdir $d/x 2>&1; done | grep -vc 'Read-only'",
    );
    let outcome = b.run().unwrap();
    assert_eq!(outcome.out, "/\n1\n0\n", "{outcome:?}");
}

#[test]
fn devices() {
    let b = Box::new(
        "cd /dev; for d in null zero full random urandom tty; do stat -c '%n %t:%T %a' $d; done; for l in fd stdin stdout stderr ptmx; do echo $l $(readlink $l); done; echo x > null; head -c 3 zero | wc -c; echo x > full || echo full; ls | wc -l",
    );
    let outcome = b.run().unwrap();
    // A kernel without /proc/kcore gets no link to it.
    let names = if fs::exists("/proc/kcore").unwrap() { 15 } else { 14 };
    assert_eq!(
        outcome.out,
        format!(
            "null 1:3 666\nzero 1:5 666\nfull 1:7 666\nrandom 1:8 666\nurandom 1:9 666\ntty 5:0 666\n\
         fd /proc/self/fd\nstdin /proc/self/fd/0\nstdout /proc/self/fd/1\nstderr /proc/self/fd/2\nptmx pts/ptmx\n3\nfull\n{names}\n"
        )
    );
}

#[test]
fn binds_tmpfs_and_their_order() {
    let mut b = Box::new(
        "cat /data/file; echo new > /data/inner/x; echo no > /ro/x; cat /data/inner/x; cat /one; df -k /t | tail -1 | awk '{print $2}'; stat -c '%a %u' /t; cat /etc/hostname; echo more >> /etc/hosts; readlink /etc/mtab",
    );
    let host = b.dir.path().join("host");
    fs::create_dir_all(host.join("a")).unwrap();
    fs::create_dir_all(host.join("b")).unwrap();
    fs::write(host.join("a/file"), "from a\n").unwrap();
    fs::write(host.join("single"), "single\n").unwrap();
    // The child is written before its parent.
    b.mount(bind("/data/inner", false, false), Some(host.join("b")));
    b.mount(bind("/data", false, false), Some(host.join("a")));
    b.mount(bind("/ro", true, true), Some(host.join("made")));
    b.mount(bind("/one", false, false), Some(host.join("single")));
    b.mount(tmpfs("/t", 1 << 20), None);
    let outcome = b.run().unwrap();
    assert_eq!(outcome.out, "from a\nnew\nsingle\n1024\n1777 1000\nbox\n/proc/mounts\n", "{outcome:?}");
    assert!(outcome.err.contains("can't create /ro/x: Read-only file system"), "{outcome:?}");
    assert_eq!(fs::read_to_string(host.join("b/x")).unwrap(), "new\n");
    assert!(host.join("made").is_dir());
    assert!(fs::read_to_string(&b.spec.hosts_file).unwrap().ends_with("more\n"));

    b.mount(bind("/missing", false, false), Some(host.join("nothing")));
    let error = b.run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("bind source path does not exist"), "{error}");
}

#[test]
fn a_read_only_root() {
    let mut b =
        Box::new("touch /x; echo y > /etc/hosts; touch /dev/shm/y && echo shm; touch /v/z && echo volume");
    b.spec.config.host.readonly_rootfs = true;
    let volume = b.dir.path().join("volume");
    fs::create_dir(&volume).unwrap();
    b.mount(bind("/v", false, false), Some(volume));
    let outcome = b.run().unwrap();
    assert_eq!(outcome.out, "shm\nvolume\n");
    assert!(outcome.err.contains("touch: /x: Read-only file system"), "{outcome:?}");
}

#[test]
fn an_overlay_of_many_layers() {
    let mut b = Box::new("cat /which; cat /layer199; echo written > /new; rm /layer3; ls / | grep -c layer");
    let layers = b.dir.path().join("layers");
    let lower: Vec<_> = (0..200)
        .map(|number| {
            let layer = layers.join(number.to_string());
            fs::create_dir_all(&layer).unwrap();
            fs::write(layer.join(format!("layer{number}")), format!("{number}\n")).unwrap();
            fs::write(layer.join("which"), format!("{number}\n")).unwrap();
            layer
        })
        .chain([b.root()])
        .map(dhow_model::LowerLayer::from)
        .collect();
    let (upper, work) = (b.dir.path().join("upper"), b.dir.path().join("work"));
    fs::create_dir(&upper).unwrap();
    fs::create_dir(&work).unwrap();
    b.spec.rootfs = Rootfs::Overlay { lower, upper: upper.clone(), work, volatile: false };
    assert_eq!(b.output(), "0\n199\n199");
    assert_eq!(fs::read_to_string(upper.join("new")).unwrap(), "written\n");
    assert!(layers.join("3/layer3").exists());
    assert_eq!(fs::metadata(upper.join("layer3")).unwrap().rdev(), 0, "a whiteout");
}

#[test]
fn what_is_volatile_is_mounted_again_with_all_that_was_written() {
    let mut b =
        Box::new("cat /new 2>/dev/null; echo line >>/new; grep -o 'overlay.*volatile' /proc/mounts | wc -l");
    let (upper, work) = (b.dir.path().join("upper"), b.dir.path().join("work"));
    fs::create_dir(&upper).unwrap();
    fs::create_dir(&work).unwrap();
    let lower = vec![b.root().into()];
    b.spec.rootfs = Rootfs::Overlay { lower, upper: upper.clone(), work, volatile: true };
    assert_eq!(b.output(), "1");
    assert_eq!(b.output(), "line\n1", "overlayfs refuses a second time, unless its mark is taken away");
    let Rootfs::Overlay { volatile, .. } = &mut b.spec.rootfs else { unreachable!() };
    *volatile = false;
    assert_eq!(b.output(), "line\nline\n0");
    assert_eq!(fs::read_to_string(upper.join("new")).unwrap(), "line\nline\nline\n");
}

#[test]
fn a_volume_is_filled_from_the_image_once() {
    let mut b = Box::new("ls /srv/data; touch /srv/data/mine");
    fs::create_dir_all(b.root().join("srv/data")).unwrap();
    fs::write(b.root().join("srv/data/given"), "x").unwrap();
    fs::set_permissions(b.root().join("srv/data"), fs::Permissions::from_mode(0o700)).unwrap();
    let volume = b.dir.path().join("volume");
    fs::create_dir(&volume).unwrap();
    let source = MountSource::Volume {
        name: "v".into(),
        nocopy: false,
        anonymous: false,
        details: VolumeDetails::default(),
    };
    let mount =
        Mount { target: "/srv/data".into(), readonly: false, source, written_as: MountSyntax::Volume };
    b.mount(mount, Some(volume.clone()));
    b.spec.volumes[0].copy_up = true;
    assert_eq!(b.output(), "given");
    assert_eq!(b.output(), "given\nmine");
    assert_eq!(fs::metadata(&volume).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn a_link_of_the_image_in_the_place_of_our_file_is_not_followed() {
    let b = Box::new("cat /etc/resolv.conf; test -e /run/systemd || echo nothing");
    symlink("../run/systemd/stub.conf", b.root().join("etc/resolv.conf")).unwrap();
    assert_eq!(b.output(), "# none\nnothing");
}

#[test]
fn mounts_into_proc_are_refused() {
    let mut b = Box::new("true");
    let host = b.dir.path().join("host");
    fs::create_dir(&host).unwrap();
    for target in ["/proc", "/proc/self", "/proc/sys/kernel"] {
        b.spec.volumes.clear();
        b.mount(bind(target, false, false), Some(host.clone()));
        let error = b.run().unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string()),
            (ErrorKind::InvalidArgument, format!("{target:?} cannot be mounted because it is inside /proc"))
        );
    }
    // The same through a link of the image's.
    symlink("/proc/sys", b.root().join("link")).unwrap();
    b.spec.volumes.clear();
    b.mount(bind("/link", false, false), Some(host.clone()));
    let error = b.run().unwrap_err();
    assert!(error.to_string().ends_with("the target leads into /proc"), "{error}");
    // But one file may be replaced.
    fs::write(host.join("uptime"), "1 1\n").unwrap();
    b.spec.volumes.clear();
    b.mount(bind("/proc/uptime", true, false), Some(host.join("uptime")));
    b.cmd(&["cat", "/proc/uptime"]);
    assert_eq!(b.output(), "1 1");
}

#[test]
fn a_source_that_is_not_shared_cannot_be() {
    let mut b = Box::new("true");
    let host = b.dir.path().join("host");
    fs::create_dir(&host).unwrap();
    let source = MountSource::Bind {
        path: String::new(),
        create: false,
        recursive: true,
        propagation: Propagation::Rshared,
        readonly_below: ReadonlyBelow::default(),
    };
    let mount = Mount { target: "/m".into(), readonly: false, source, written_as: MountSyntax::Volume };
    b.mount(mount, Some(host));
    if let Err(error) = b.run() {
        assert!(error.to_string().contains("not a shared mount"), "{error}");
    } else {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(table.contains("shared:"), "accepted without any shared mount");
    }
}

#[test]
fn nothing_is_left_in_the_hosts_mount_table_by_a_kill() {
    let mut b = Box::new("sleep 100");
    let (upper, work) = (b.dir.path().join("upper"), b.dir.path().join("work"));
    fs::create_dir(&upper).unwrap();
    fs::create_dir(&work).unwrap();
    b.spec.rootfs = Rootfs::Overlay { lower: vec![b.root().into()], upper, work, volatile: false };
    let launched = b.start().unwrap();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    // Other engines of the machine may have overlays: this one names its directories.
    let ours = b.dir.path().display().to_string();
    let is_ours = |line: &str| line.contains(" overlay ") && line.contains(&ours);
    assert!(!table.lines().any(is_ours), "{table}");
    let inside = fs::read_to_string(format!("/proc/{}/mountinfo", launched.pid)).unwrap();
    assert!(inside.lines().any(is_ours), "{inside}");
    assert!(inside.contains(" / / rw,relatime - overlay overlay"), "{inside}");
    launched.cgroup.as_ref().unwrap().kill_all();
    finish(launched);
}

#[test]
fn an_empty_image_is_a_root_too() {
    let mut b = Box::new("ls /bin/busybox");
    let upper = b.dir.path().join("upper");
    make_rootfs(&upper);
    b.spec.rootfs =
        Rootfs::Overlay { lower: vec![], upper, work: Path::new("/unused").into(), volatile: false };
    assert_eq!(b.output(), "/bin/busybox");
}

#[test]
fn the_user_may_bring_dev_and_sys() {
    let mut b = Box::new(
        "tty; test -c /dev/console && echo console; stat -c %t:%T /proc/timer_list; ls /sys/firmware | wc -l; ls -d /sys/fs/cgroup/*/ 2>/dev/null | wc -l",
    );
    b.spec.config.tty = true;
    b.mount(bind("/dev", false, false), Some("/dev".into()));
    b.mount(bind("/sys", true, false), Some("/sys".into()));
    let outcome = b.run().unwrap();
    let hierarchies = b.facts.cgroup.v1.len();
    assert_eq!(outcome.out, format!("/dev/pts/0\nconsole\n1:3\n0\n{hierarchies}\n"), "{outcome:?}");
    assert!(!b.root().join("sys/fs").exists());
}
