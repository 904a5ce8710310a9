//! Golden plans: a change of order or of a default shows up as a diff of a snapshot.

use super::*;
use crate::cgroup::layout::CgroupLayout;
use crate::exec::plan_exec;
use crate::facts::{KernelVersion, RlimitFact};
use crate::spec::{ExecSpec, ResolvedMount};
use dhow_model::container::{ContainerConfig, HostConfig};
use dhow_model::mount::{Mount, MountSource, MountSyntax, Propagation};
use dhow_model::resources::{Device, Resources};
use dhow_model::security::Security;
use dhow_model::{ContainerId, Digest, ErrorKind};
use std::collections::{BTreeMap, BTreeSet};

const HYBRID: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
37 31 0:34 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

fn facts(mountinfo: &str, v2_controllers: &[&str]) -> HostFacts {
    let mut cgroup = CgroupLayout::parse(mountinfo);
    cgroup.unified_controllers = v2_controllers.iter().map(|c| (*c).to_owned()).collect();
    HostFacts {
        kernel: KernelVersion { major: 6, minor: 12 },
        cgroup,
        bounding_capabilities: (1 << 41) - 1,
        effective_capabilities: ((1 << 41) - 1) & !(1 << 24),
        rlimits: vec![RlimitFact { name: "nofile".into(), soft: 1024, hard: 20_000 }],
    }
}

fn v2() -> HostFacts {
    facts("26 25 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", &["cpuset", "cpu", "io", "memory", "pids"])
}

fn spec() -> LaunchSpec {
    LaunchSpec {
        id: ContainerId::from_random([0xab; 32]),
        config: ContainerConfig {
            image: "debian:12".into(),
            image_id: Digest::from_sha256([1; 32]),
            hostname: "abababababab".into(),
            domainname: String::new(),
            user: String::new(),
            env: vec!["PATH=/bin".into(), "LANG=C".into()],
            entrypoint: vec![],
            cmd: vec!["true".into()],
            working_dir: String::new(),
            labels: BTreeMap::new(),
            volumes: BTreeSet::new(),
            exposed_ports: BTreeSet::new(),
            tty: false,
            open_stdin: false,
            stdin_once: false,
            attach_stdin: false,
            attach_stdout: true,
            attach_stderr: true,
            stop_signal: dhow_model::signal::Signal::TERM,
            stop_timeout: None,
            healthcheck: None,
            shell: vec![],
            host: HostConfig::default(),
        },
        rootfs: Rootfs::Overlay {
            lower: vec!["/l/top".into(), "/l/base".into()],
            upper: "/c/upper".into(),
            work: "/c/work".into(),
        },
        hostname_file: "/c/hostname".into(),
        hosts_file: "/c/hosts".into(),
        resolv_conf_file: "/c/resolv.conf".into(),
        volumes: vec![],
        cgroup_parent: "dhow".into(),
        init_binary: None,
        id_maps: None,
        seccomp: Some(vec![0; 80]),
    }
}

fn bind(target: &str, readonly: bool, propagation: Propagation) -> ResolvedMount {
    let source = MountSource::Bind { path: "/host".into(), create: true, recursive: true, propagation };
    ResolvedMount {
        mount: Mount { target: target.into(), readonly, source, written_as: MountSyntax::Volume },
        host_path: Some("/host".into()),
        copy_up: false,
    }
}

fn volume(target: &str) -> ResolvedMount {
    let source = MountSource::Volume { name: "v".into(), nocopy: false, anonymous: false };
    ResolvedMount {
        mount: Mount { target: target.into(), readonly: false, source, written_as: MountSyntax::Mount },
        host_path: Some("/volumes/v/_data".into()),
        copy_up: true,
    }
}

#[test]
fn a_default_container() {
    insta::assert_snapshot!(plan_launch(&spec(), &facts(HYBRID, &[])).unwrap());
}

#[test]
fn everything_at_once() {
    let mut spec = spec();
    let config = &mut spec.config;
    (config.tty, config.user, config.working_dir) = (true, "bob:wheel".into(), "/srv/app".into());
    config.entrypoint = vec!["/entry".into()];
    config.domainname = "example.org".into();
    let host = &mut config.host;
    host.readonly_rootfs = true;
    host.sysctls.insert("net.core.somaxconn".into(), "512".into());
    host.group_add = vec!["audio".into()];
    host.security =
        Security { no_new_privileges: true, cap_drop: vec!["CAP_NET_RAW".into()], ..Security::default() };
    host.resources = Resources {
        memory_bytes: Some(64 << 20),
        nano_cpus: Some(1_500_000_000),
        cpu_shares: Some(512),
        pids_limit: Some(100),
        blkio_weight: Some(500),
        oom_score_adj: 300,
        ulimits: vec![Ulimit { name: "nofile".into(), soft: -1, hard: -1 }],
        devices: vec![Device {
            host_path: "/dev/fuse".into(),
            container_path: "/dev/fuse".into(),
            permissions: "rwm".into(),
        }],
        device_cgroup_rules: vec!["c 42:* rmw".into()],
        ..Resources::default()
    };
    spec.init_binary = Some("/init".into());
    spec.volumes = vec![
        bind("/data/inner", true, Propagation::Rslave),
        volume("/data"),
        bind("/dev/shm", false, Propagation::Rprivate),
        bind("/sys", true, Propagation::Rprivate),
    ];
    insta::assert_snapshot!(plan_launch(&spec, &v2()).unwrap());
}

#[test]
fn privileged_in_the_hosts_namespaces() {
    let mut spec = spec();
    let host = &mut spec.config.host;
    host.network = NetworkMode::Host;
    let own = Namespace::Host;
    host.security =
        Security { privileged: true, pid: own, ipc: own, uts: own, cgroup: own, ..Security::default() };
    insta::assert_snapshot!(plan_launch(&spec, &v2()).unwrap());
}

#[test]
fn a_further_process() {
    let exec = ExecSpec {
        container_pid: 77,
        container_start_ticks: 1234,
        argv: vec!["sh".into()],
        env: vec!["A=b".into()],
        working_dir: "/tmp".into(),
        user: "bob".into(),
        group_add: vec![],
        tty: true,
        privileged: false,
        capability_mask: 0xa804_25fb,
        no_new_privileges: false,
        seccomp: Some(vec![0; 8]),
        cgroup: facts(HYBRID, &[]).cgroup.paths_for("dhow", "ab"),
        ulimits: vec![],
        oom_score_adj: 0,
    };
    insta::assert_snapshot!(plan_exec(&exec, &facts(HYBRID, &[])).unwrap());
}

#[test]
fn what_cannot_be_is_refused_with_its_reason() {
    let refused = |change: fn(&mut LaunchSpec)| {
        let mut spec = spec();
        change(&mut spec);
        let error = plan_launch(&spec, &facts(HYBRID, &[])).unwrap_err();
        (error.kind(), error.to_string())
    };
    let invalid = |text: &str| (ErrorKind::InvalidArgument, text.to_owned());
    assert_eq!(refused(|s| s.config.cmd.clear()), invalid("no command specified"));
    assert_eq!(
        refused(|s| s.config.working_dir = "tmp".into()),
        invalid("the working directory 'tmp' is invalid, it needs to be an absolute path")
    );
    assert_eq!(
        refused(|s| s.config.cmd = vec!["a\0b".into()]),
        invalid("argument \"a\\0b\" contains a NUL byte")
    );
    assert_eq!(
        refused(|s| s.volumes = vec![bind("/proc/sys", false, Propagation::Rprivate)]),
        invalid("\"/proc/sys\" cannot be mounted because it is inside /proc")
    );
    for key in ["kernel.pid_max", "net/../kernel/x", "", "vm.swappiness"] {
        let mut spec = spec();
        spec.config.host.sysctls.insert(key.into(), "1".into());
        assert!(plan_launch(&spec, &v2()).is_err(), "{key}");
    }
    assert_eq!(
        refused(|s| {
            s.config.host.network = NetworkMode::Host;
            s.config.host.sysctls.insert("net.core.somaxconn".into(), "1".into());
        }),
        invalid("sysctl \"net.core.somaxconn\" cannot be set in the host's namespace")
    );
    let swap = |s: &mut LaunchSpec| {
        s.config.host.resources.memory_bytes = Some(64 << 20);
        s.config.host.resources.memory_swap_bytes = Some(1);
    };
    assert_eq!(refused(swap), invalid("the memory and swap limit must not be smaller than the memory limit"));
    assert_eq!(refused(|s| s.config.host.resources.cpuset_cpus = "0".into()).0, ErrorKind::Unsupported);
    assert_eq!(
        refused(|s| s.config.host.resources.cgroup_parent = "a/../..".into()),
        invalid("invalid cgroup parent \"a/../..\"")
    );
}

#[test]
fn a_plan_survives_the_memfd() {
    let plan = plan_launch(&spec(), &v2()).unwrap();
    let bytes = postcard::to_stdvec(&plan).unwrap();
    assert_eq!(postcard::from_bytes::<LaunchPlan>(&bytes).unwrap(), plan);
    println!("{} bytes", bytes.len());
}
