//! Containers with a user namespace of their own.

use crate::fixture::{Box, finish};
use dhow_model::ErrorKind;
use dhow_model::container::NetworkMode;
use dhow_model::mount::{Mount, MountSource, MountSyntax, Propagation, ReadonlyBelow, VolumeDetails};
use dhow_model::resources::Ulimit;
use dhow_model::security::Namespace;
use dhow_runtime::{IdMaps, IdRange, ResolvedMount, Rootfs};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

/// Id 0 to 65535 inside.
const FIRST: u32 = 200_000;

fn mapped(script: &str) -> Box {
    let mut b = Box::new(script);
    let ranges = vec![IdRange { inside: 0, outside: FIRST, count: 65_536 }];
    b.spec.id_maps = Some(IdMaps { uids: ranges.clone(), gids: ranges });
    // The temporary directory is 0700, which mere members of the container do not cross.
    fs::set_permissions(b.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    b
}

/// The root filesystem as the only layer below an overlay.
fn over_overlay(b: &mut Box) {
    let (upper, work) = (b.dir.path().join("upper"), b.dir.path().join("work"));
    fs::create_dir(&upper).unwrap();
    fs::create_dir(&work).unwrap();
    b.spec.rootfs = Rootfs::Overlay { lower: vec![b.root().into()], upper, work, volatile: false };
}

#[test]
fn root_inside_is_nobody_special_outside() {
    let mut b = mapped("id -u; id -g; cat /proc/self/uid_map; readlink /proc/self/ns/user; exec cat");
    b.input = Some(Vec::new());
    let launched = b.start().unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", launched.pid)).unwrap();
    assert!(status.contains(&format!("Uid:\t{FIRST}\t{FIRST}\t{FIRST}\t{FIRST}")), "{status}");
    let theirs = fs::read_link(format!("/proc/{}/ns/user", launched.pid)).unwrap();
    let outcome = finish(launched);
    let lines: Vec<&str> = outcome.out.lines().collect();
    assert_eq!(lines[..2], ["0", "0"], "{outcome:?}");
    assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>(), ["0", "200000", "65536"]);
    assert_eq!(lines[3], theirs.to_str().unwrap());
    assert_ne!(theirs, fs::read_link("/proc/self/ns/user").unwrap());
}

/// The other new namespaces belong to it: that is what its root has power over.
#[test]
fn its_root_rules_its_own_namespaces_and_no_other() {
    let mut b = mapped(
        "hostname; hostname other && hostname; mount -t tmpfs none /mnt && stat -c %u:%g /mnt; \
         ip link set lo down && echo down; echo 7 > /proc/sys/net/ipv4/ip_default_ttl && echo ttl; \
         echo 1 > /proc/sys/vm/swappiness || echo refused; mknod /mnt/null c 1 3 || echo no device",
    );
    fs::create_dir(b.root().join("mnt")).unwrap();
    b.spec.config.host.security.cap_add = ["CAP_SYS_ADMIN", "CAP_NET_ADMIN"].map(str::to_owned).to_vec();
    b.spec.config.host.security.systempaths_unconfined = true;
    b.spec.config.host.sysctls.insert("net.ipv4.ip_default_ttl".into(), "33".into());
    b.recompile();
    let outcome = b.run().unwrap();
    assert_eq!(outcome.out, "box\nother\n0:0\ndown\nttl\nrefused\nno device\n", "{outcome:?}");
}

#[test]
fn files_of_the_image_keep_their_owners() {
    let script = "stat -c '%n %u:%g' /bin/busybox /home/bob /etc/shared /dev/null /dev /dev/shm /etc/hosts; \
                  echo x > /etc/new && echo y >> /etc/shared && chown 1000:1000 /etc/new && \
                  stat -c '%n %u:%g' /etc/new /etc/shared; echo h >> /etc/hosts && echo z > /dev/shm/z && \
                  echo > /dev/null && echo written";
    let mut b = mapped(script);
    chown(b.root().join("home/bob"), Some(1000), Some(1000)).unwrap();
    fs::write(b.root().join("etc/shared"), "s\n").unwrap();
    chown(b.root().join("etc/shared"), Some(0), Some(10)).unwrap();
    let expected = "/bin/busybox 0:0\n/home/bob 1000:1000\n/etc/shared 0:10\n/dev/null 0:0\n/dev 0:0\n\
                    /dev/shm 0:0\n/etc/hosts 0:0\n/etc/new 1000:1000\n/etc/shared 0:10\nwritten";
    over_overlay(&mut b);
    assert_eq!(b.output(), expected);
    // On disk: the layer as it was, the written with the host's ids.
    let upper = b.dir.path().join("upper");
    assert_eq!(fs::metadata(b.root().join("etc/shared")).unwrap().gid(), 10);
    assert_eq!(fs::metadata(upper.join("etc/new")).unwrap().uid(), FIRST + 1000);
    assert_eq!(fs::metadata(upper.join("etc/shared")).unwrap().gid(), FIRST + 10);
    // And a plain directory, mapped as a whole.
    b.spec.rootfs = Rootfs::Directory(b.root());
    assert_eq!(b.output(), expected);
    assert_eq!(fs::metadata(b.root().join("etc/new")).unwrap().uid(), 1000);
}

#[test]
fn many_layers_are_mapped() {
    let mut b = mapped("cat /l/0 /l/59 && stat -c %u /l/30");
    let mut lower = Vec::new();
    for layer in 0..60 {
        let dir = b.dir.path().join(format!("layer{layer}/l"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(layer.to_string()), format!("{layer}\n")).unwrap();
        chown(dir.join(layer.to_string()), Some(layer), Some(0)).unwrap();
        lower.push(b.dir.path().join(format!("layer{layer}")).into());
    }
    over_overlay(&mut b);
    let Rootfs::Overlay { lower: layers, .. } = &mut b.spec.rootfs else { unreachable!() };
    layers.splice(0..0, lower);
    assert_eq!(b.output(), "0\n59\n30");
}

#[test]
fn a_users_directory_stays_the_hosts_and_a_volume_is_the_containers() {
    let mut b = mapped(
        "stat -c '%n %u' /bind /volume/old /volume/from; (echo x > /bind/x) 2>/dev/null || echo refused; \
         echo x > /volume/x; stat -c '%u' /volume/x",
    );
    let (bind, volume) = (b.dir.path().join("bind"), b.dir.path().join("volume"));
    fs::create_dir(&bind).unwrap();
    fs::create_dir(&volume).unwrap();
    fs::create_dir(b.root().join("volume")).unwrap();
    for (name, uid) in [("old", 7), ("from", 0)] {
        fs::write(b.root().join("volume").join(name), "").unwrap();
        chown(b.root().join("volume").join(name), Some(uid), Some(0)).unwrap();
    }
    over_overlay(&mut b);
    let mount = |target: &str, source| Mount {
        target: target.into(),
        source,
        readonly: false,
        written_as: MountSyntax::Mount,
    };
    b.spec.volumes.push(ResolvedMount {
        mount: mount(
            "/bind",
            MountSource::Bind {
                path: bind.to_str().unwrap().into(),
                create: false,
                recursive: true,
                propagation: Propagation::Rprivate,
                readonly_below: ReadonlyBelow::default(),
            },
        ),
        host_path: Some(bind),
        copy_up: false,
        filesystem: None,
        layers: Vec::new(),
    });
    b.spec.volumes.push(ResolvedMount {
        mount: mount(
            "/volume",
            MountSource::Volume {
                name: "v".into(),
                nocopy: false,
                anonymous: false,
                details: VolumeDetails::default(),
            },
        ),
        host_path: Some(volume.clone()),
        copy_up: true,
        filesystem: None,
        layers: Vec::new(),
    });
    assert_eq!(b.output(), "/bind 65534\n/volume/old 7\n/volume/from 0\nrefused\n0");
    assert_eq!(fs::metadata(volume.join("old")).unwrap().uid(), 7, "a volume keeps the container's ids");
    assert_eq!(fs::metadata(volume.join("x")).unwrap().uid(), 0);
}

#[test]
fn a_user_limits_and_a_terminal() {
    let mut b =
        mapped("id -u; id -G; ulimit -n; cat /proc/self/oom_score_adj; stat -c %u:%g $(tty); ls /root");
    fs::set_permissions(b.root().join("root"), fs::Permissions::from_mode(0o700)).unwrap();
    b.spec.config.user = "bob".into();
    b.spec.config.tty = true;
    b.spec.config.host.resources.oom_score_adj = 321;
    b.spec.config.host.resources.ulimits = vec![Ulimit { name: "nofile".into(), soft: 333, hard: 444 }];
    let outcome = b.run().unwrap();
    assert!(outcome.out.starts_with("1000\n1000 10\n333\n321\n1000:5\nls: can't open"), "{outcome:?}");
    b.spec.config.user = "70000".into();
    let error = b.run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(error.to_string(), "user 70000 is not in the container's user namespace");
}

#[test]
fn exec_joins_the_user_namespace() {
    let mut b = mapped("cat; :");
    b.input = Some(Vec::new());
    let launched = b.start().unwrap();
    let spec = b.exec_spec(
        &launched,
        &["sh", "-c", "id -u; [ $(readlink /proc/self/ns/user) = $(readlink /proc/1/ns/user) ] && echo same"],
    );
    let outcome = b.exec(&spec).unwrap();
    assert_eq!((outcome.code, outcome.out.as_str()), (0, "0\nsame\n"), "{outcome:?}");
    let mut spec =
        b.exec_spec(&launched, &["sh", "-c", "id -u; stat -c %u $(tty); cat /proc/self/oom_score_adj"]);
    (spec.user, spec.tty, spec.oom_score_adj) = ("bob".into(), true, 123);
    assert_eq!(b.exec(&spec).unwrap().out, "1000\n1000\n123\n");
    finish(launched);
}

#[test]
fn what_it_cannot_have_is_refused_by_name() {
    let refused = |change: fn(&mut Box)| {
        let mut b = mapped("true");
        change(&mut b);
        let error = b.run().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        error.to_string()
    };
    assert_eq!(
        refused(|b| b.spec.config.host.network = NetworkMode::Host),
        "cannot share the host's network namespace when user namespaces are enabled"
    );
    assert_eq!(
        refused(|b| b.spec.config.host.security.pid = Namespace::Host),
        "cannot share the host's PID namespace when user namespaces are enabled"
    );
    assert!(refused(|b| b.spec.config.host.security.privileged = true).starts_with("privileged mode is"));
}
