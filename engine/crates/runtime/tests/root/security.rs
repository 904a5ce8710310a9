//! Privileges, and the attacks of the immunity table that reach the runtime.

use crate::fixture::{Box, eventually, finish};
use dhow_model::ErrorKind;
use dhow_model::mount::{Mount, MountSource, MountSyntax, Propagation, ReadonlyBelow};
use dhow_model::security::{Ipc, Namespace, SeccompProfile};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

const STATUS: &str = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr -d '\\t' | tr '\\n' ' '";

/// The default set of Docker as far as this machine can give it.
fn grantable(b: &Box) -> u64 {
    b.spec.config.host.security.capability_mask() & b.facts.bounding_capabilities
}

#[test]
fn inheritable_capabilities_are_empty() {
    let mut b = Box::new(STATUS);
    let mask = grantable(&b);
    let expected = |eff: u64, bnd: u64, nnp: u8, filter: u8| {
        format!(
            "CapInh:{:016x} CapPrm:{eff:016x} CapEff:{eff:016x} CapBnd:{bnd:016x} CapAmb:{:016x} NoNewPrivs:{nnp} Seccomp:{filter}",
            0, 0
        )
    };
    assert_eq!(b.output(), expected(mask, mask, 0, 2));
    b.spec.config.user = "1000:1000".into();
    b.spec.config.host.security.no_new_privileges = true;
    assert_eq!(b.output(), expected(0, mask, 1, 2));
    b.spec.config.user = String::new();
    b.spec.config.host.security.cap_drop = vec!["ALL".into()];
    b.recompile();
    assert_eq!(b.output(), expected(0, 0, 1, 2));
    b.spec.config.host.security.no_new_privileges = false;
    b.spec.config.host.security.seccomp = SeccompProfile::Unconfined;
    b.recompile();
    assert_eq!(b.output(), expected(0, 0, 0, 0));
}

#[test]
fn privileged_sees_everything() {
    let mut b = Box::new(
        "grep CapEff /proc/self/status; ls /dev | wc -l; touch /sys/fs/cgroup/*/x 2>&1 | grep -c Read-only; mount -t tmpfs none /tmp && echo mounted; grep Seccomp: /proc/self/status; stat -c %t:%T /proc/interrupts",
    );
    b.spec.config.host.security.privileged = true;
    let outcome = b.run().unwrap();
    let lines: Vec<&str> = outcome.out.lines().collect();
    let all = grantable(&b);
    assert_eq!(lines[0], format!("CapEff:\t{all:016x}"), "{outcome:?}");
    assert!(lines[1].parse::<u32>().unwrap() > 15);
    assert_eq!(lines[2..], ["0", "mounted", "Seccomp:\t0", "0:0"], "{outcome:?}");
}

#[test]
fn masked_and_read_only_paths() {
    let b = Box::new(
        "for p in kcore keys timer_list interrupts; do [ -e /proc/$p ] && stat -c %t:%T /proc/$p; done | sort -u; ls /sys/firmware /proc/acpi 2>/dev/null | grep -v : | wc -w; (echo 1 > /proc/sys/kernel/hostname) 2>/dev/null || echo ro; (echo 1 > /proc/irq/default_smp_affinity) 2>/dev/null || echo ro; umount /proc/kcore 2>/dev/null || echo no",
    );
    assert_eq!(b.output(), "1:3\n0\nro\nro\nno");
}

#[test]
fn the_filter_is_in_force() {
    let b = Box::new("unshare -m true 2>&1; mount -t tmpfs none /tmp 2>&1; dmesg 2>&1 | head -1");
    let outcome = b.run().unwrap();
    assert_eq!(
        outcome.out.matches("Operation not permitted").count()
            + outcome.out.matches("permission denied").count(),
        3,
        "{outcome:?}"
    );
}

#[test]
fn host_namespaces() {
    let mut b = Box::new(
        "for n in pid ipc uts net cgroup mnt; do readlink /proc/self/ns/$n; done; ls /proc | grep -c '^[0-9]'",
    );
    let own =
        |name: &str| fs::read_link(format!("/proc/thread-self/ns/{name}")).unwrap().display().to_string();
    let private: Vec<String> = b.output().lines().map(str::to_owned).collect();
    for (name, seen) in ["pid", "ipc", "uts", "net", "cgroup", "mnt"].iter().zip(&private) {
        assert_ne!(own(name), *seen);
    }
    let host = &mut b.spec.config.host;
    host.network = dhow_model::container::NetworkMode::Host;
    let s = &mut host.security;
    (s.pid, s.ipc, s.uts, s.cgroup) = (Namespace::Host, Ipc::Host, Namespace::Host, Namespace::Host);
    let shared: Vec<String> = b.output().lines().map(str::to_owned).collect();
    for (name, seen) in ["pid", "ipc", "uts", "net", "cgroup"].iter().zip(&shared) {
        assert_eq!(own(name), *seen);
    }
    assert_ne!(own("mnt"), shared[5]);
    assert!(shared[6].parse::<u32>().unwrap() > 3);
}

#[test]
fn the_network_is_only_loopback_and_up() {
    let b = Box::new(
        "ls /sys/class/net; ip addr show lo | grep -c 'inet 127.0.0.1'; cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
    );
    let mut b = b;
    b.spec.config.host.sysctls.insert("net.ipv4.ip_unprivileged_port_start".into(), "77".into());
    let outcome = b.run().unwrap();
    assert!(
        outcome.out.contains("lo\n") && outcome.out.ends_with("1\n77\n") && !outcome.out.contains("eth"),
        "{outcome:?}"
    );
    b.spec.config.host.sysctls.insert("kernel.pid_max".into(), "1000".into());
    let error = b.run().unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string()),
        (
            ErrorKind::InvalidArgument,
            "sysctl \"kernel.pid_max\" is not in a separate kernel namespace".into()
        )
    );
}

/// CVE-2024-21626
#[test]
fn a_working_directory_through_a_descriptor_is_refused() {
    let running = Box::new("sleep 100");
    let launched = running.start().unwrap();
    let mut b = Box::new("pwd");
    let mut exec = running.exec_spec(&launched, &["pwd"]);
    for number in 3..=64 {
        b.spec.config.working_dir = format!("/proc/self/fd/{number}");
        let error = b.run().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StartFailed, "{error}");
        exec.working_dir = format!("/proc/self/fd/{number}/../..");
        assert_eq!(b.exec(&exec).unwrap_err().kind(), ErrorKind::StartFailed);
    }
    launched.cgroup.as_ref().unwrap().kill_all();
    finish(launched);
}

/// CVE-2019-19921, CVE-2023-28642
#[test]
fn a_fake_proc_or_sys_is_refused() {
    for name in ["proc", "sys", "dev"] {
        let b = Box::new("true");
        fs::remove_dir(b.root().join(name)).unwrap();
        symlink("/tmp", b.root().join(name)).unwrap();
        let error = b.run().unwrap_err();
        assert!(error.to_string().ends_with("the image has a symbolic link in its path"), "{error}");
        assert_eq!(fs::read_dir(b.root().join("tmp")).unwrap().count(), 0);
    }
}

/// CVE-2021-30465, CVE-2024-45310: a container swaps a directory of a shared volume for a link to the host's
/// root while another one mounts below it.
#[test]
fn mount_target_races_stay_inside() {
    let mut attacker =
        Box::new("cd /vol; while :; do mkdir a; mv a b 2>/dev/null; ln -s /escape a; rm -rf a b; done");
    let volume = attacker.dir.path().join("volume");
    let escape = attacker.dir.path().join("escape");
    fs::create_dir(&volume).unwrap();
    let bind = |target: &str| Mount {
        target: target.into(),
        readonly: false,
        source: MountSource::Bind {
            path: String::new(),
            create: false,
            recursive: true,
            propagation: Propagation::Rprivate,
            readonly_below: ReadonlyBelow::default(),
        },
        written_as: MountSyntax::Volume,
    };
    attacker.mount(bind("/vol"), Some(volume.clone()));
    let launched = attacker.start().unwrap();
    let host = attacker.dir.path().join("host");
    fs::create_dir(&host).unwrap();
    for _ in 0..60 {
        let mut victim = Box::new("true");
        symlink(&escape, victim.root().join("escape")).unwrap();
        victim.mount(bind("/vol"), Some(volume.clone()));
        victim.mount(bind("/vol/a/sub"), Some(host.clone()));
        // It may fail, in a clear way; it must not leave the root.
        let _ = victim.run();
    }
    launched.cgroup.as_ref().unwrap().kill_all();
    finish(launched);
    assert!(!escape.exists() && !std::path::Path::new("/escape").exists());
    assert_eq!(fs::read_dir(&host).unwrap().count(), 0);
}

/// CVE-2019-5736, as far as the runtime goes: the program that runs the child is out of reach by `/proc/self/exe`
/// only when it was started by `spawn_detached`; see `dhow_sys::spawn`.
#[test]
fn a_script_that_names_proc_self_exe_does_not_run_us() {
    let b = Box::new("true");
    let script = b.root().join("bin/evil");
    fs::write(&script, "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let us = fs::read(std::env::current_exe().unwrap()).unwrap();
    let mut b = b;
    b.cmd(&["/bin/evil"]);
    let _ = b.run();
    assert!(fs::read(std::env::current_exe().unwrap()).unwrap() == us);
}

#[test]
fn a_container_dies_with_its_monitor() {
    let b = Box::new("sleep 100");
    let (pid, cgroup) = std::thread::scope(|scope| {
        // The thread that launched is the parent whose death is signalled.
        let launched = scope.spawn(|| b.start().unwrap()).join().unwrap();
        let cgroup = launched.cgroup.unwrap();
        eventually("it is killed", || cgroup.pids().unwrap().is_empty());
        assert!(
            dhow_sys::process::wait_pidfd(std::os::fd::AsFd::as_fd(&launched.pidfd), true).unwrap().is_some()
        );
        (launched.pid, cgroup)
    });
    assert!(pid > 0);
    cgroup.remove().unwrap();
}

/// Odd user databases of an image, and a FIFO that nobody writes to.
#[test]
fn hostile_user_files_are_refused_at_once() {
    let b = Box::new("true");
    fs::remove_file(b.root().join("etc/group")).unwrap();
    nix::unistd::mkfifo(&b.root().join("etc/group"), nix::sys::stat::Mode::from_bits_truncate(0o644))
        .unwrap();
    assert_eq!(b.run().unwrap_err().to_string(), "the container's /etc/group is not a regular file");
}
