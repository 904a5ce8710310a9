//! Golden plans: a change of order or of a default shows up as a diff of a snapshot.

use super::*;
use crate::cgroup::layout::CgroupLayout;
use crate::exec::plan_exec;
use crate::facts::{KernelVersion, RlimitFact};
use crate::spec::{ExecSpec, ResolvedMount};
use dhow_model::container::{ContainerConfig, HostConfig};
use dhow_model::mount::{Mount, MountSource, MountSyntax, Propagation, ReadonlyBelow, VolumeDetails};
use dhow_model::resources::{Device, DeviceRate, DeviceWeight, RateKind, Resources};
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
            volatile: false,
        },
        hostname_file: "/c/hostname".into(),
        hosts_file: "/c/hosts".into(),
        resolv_conf_file: "/c/resolv.conf".into(),
        volumes: vec![],
        cgroup_parent: "dhow".into(),
        init_binary: None,
        donors: Donors::default(),
        id_maps: None,
        seccomp: Some(vec![0; 80]),
    }
}

fn bind(target: &str, readonly: bool, propagation: Propagation) -> ResolvedMount {
    let source = MountSource::Bind {
        path: "/host".into(),
        create: true,
        recursive: true,
        propagation,
        readonly_below: ReadonlyBelow::default(),
    };
    ResolvedMount {
        mount: Mount { target: target.into(), readonly, source, written_as: MountSyntax::Volume },
        host_path: Some("/host".into()),
        copy_up: false,
        filesystem: None,
        layers: Vec::new(),
    }
}

fn volume(target: &str) -> ResolvedMount {
    let source = MountSource::Volume {
        name: "v".into(),
        nocopy: false,
        anonymous: false,
        details: VolumeDetails::default(),
    };
    ResolvedMount {
        mount: Mount { target: target.into(), readonly: false, source, written_as: MountSyntax::Mount },
        host_path: Some("/volumes/v/_data".into()),
        copy_up: true,
        filesystem: None,
        layers: Vec::new(),
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

/// Every limit that there is, on both kinds of machine; those of v1 alone are refused on v2.
#[test]
fn every_limit() {
    let v1 = facts(
        "30 31 0:1 / /c/cpu rw - cgroup cgroup rw,cpu,cpuacct\n31 31 0:2 / /c/memory rw - cgroup cgroup rw,memory\n\
         32 31 0:3 / /c/cpuset rw - cgroup cgroup rw,cpuset\n33 31 0:4 / /c/pids rw - cgroup cgroup rw,pids\n\
         34 31 0:5 / /c/blkio rw - cgroup cgroup rw,blkio\n",
        &[],
    );
    let rate = |kind, rate| DeviceRate { path: "/dev/sda".into(), kind, rate };
    let mut spec = spec();
    spec.config.host.resources = Resources {
        memory_bytes: Some(64 << 20),
        memory_swap_bytes: Some(96 << 20),
        memory_reservation_bytes: Some(32 << 20),
        cpu_quota_us: Some(5_000),
        cpu_period_us: Some(10_000),
        cpu_shares: Some(512),
        cpuset_cpus: "0-1".into(),
        cpuset_mems: "0".into(),
        pids_limit: Some(100),
        blkio_weight: Some(500),
        blkio_weight_devices: vec![DeviceWeight { path: "/dev/sda".into(), weight: 10 }],
        blkio_rates: vec![
            rate(RateKind::ReadBytes, 1),
            rate(RateKind::WriteBytes, 2),
            rate(RateKind::ReadRequests, 3),
            rate(RateKind::WriteRequests, 4),
        ],
        ..Resources::default()
    };
    let shown = |spec: &LaunchSpec, facts: &HostFacts| limits::plan(spec, facts).map(|plan| plan.to_string());
    insta::assert_snapshot!("every_limit_v2", shown(&spec, &v2()).unwrap());
    let common = spec.config.host.resources.clone();
    let resources = &mut spec.config.host.resources;
    (resources.memory_swappiness, resources.oom_kill_disable) = (Some(60), true);
    (resources.cpu_rt_period_us, resources.cpu_rt_runtime_us) = (Some(1_000_000), Some(950_000));
    insta::assert_snapshot!("every_limit_v1", shown(&spec, &v1).unwrap());
    for only_v1 in [
        Resources { memory_swappiness: Some(1), ..common.clone() },
        Resources { oom_kill_disable: true, ..common.clone() },
        Resources { cpu_rt_runtime_us: Some(1), ..common },
    ] {
        spec.config.host.resources = only_v1;
        assert_eq!(shown(&spec, &v2()).unwrap_err().kind(), ErrorKind::Unsupported);
    }
}

/// What `update` writes: what differs, and what is lifted.
#[test]
fn a_change_of_limits() {
    let change = |facts: &HostFacts, before: Resources, after: Resources| -> Vec<String> {
        let writes = limits::plan_change(&before, &after, facts).unwrap();
        writes.iter().map(|w| format!("{}={}", w.files.join("|"), w.value)).collect()
    };
    let none = Resources::default;
    let before =
        Resources { cpu_shares: Some(512), pids_limit: Some(5), nano_cpus: Some(500_000_000), ..none() };
    let after = Resources { cpu_shares: Some(512), memory_bytes: Some(64 << 20), ..none() };
    let hybrid = facts(HYBRID, &[]);
    assert_eq!(
        change(&hybrid, before.clone(), after.clone()),
        [
            "memory.limit_in_bytes=67108864",
            "memory.memsw.limit_in_bytes=134217728",
            "pids.max=max",
            "cpu.cfs_quota_us=-1"
        ]
    );
    assert_eq!(
        change(&v2(), before.clone(), after),
        ["memory.max=67108864", "memory.swap.max=67108864", "pids.max=max", "cpu.max=max 100000"]
    );
    let faster = Resources { nano_cpus: Some(250_000_000), ..before.clone() };
    assert_eq!(
        change(&hybrid, before.clone(), faster.clone()),
        ["cpu.cfs_period_us=100000", "cpu.cfs_quota_us=25000"]
    );
    assert_eq!(change(&v2(), before.clone(), faster), ["cpu.max=25000 100000"]);
    assert_eq!(change(&v2(), before.clone(), before), Vec::<String>::new());
}

/// Who joins other containers makes no namespaces of those kinds, and enters theirs first of all.
#[test]
fn namespaces_of_other_containers() {
    let mut spec = spec();
    let donor = |pid| Some(crate::spec::Donor { pid, start_ticks: 7 });
    let host = &mut spec.config.host;
    host.security.pid = Namespace::Container("a".into());
    host.security.ipc = Ipc::Container("b".into());
    host.network = NetworkMode::Container("c".into());
    assert_eq!(plan_launch(&spec, &v2()).unwrap_err().kind(), ErrorKind::Internal, "nobody to join");
    spec.donors = Donors { pid: donor(1), ipc: donor(2), network: donor(3) };
    let plan = plan_launch(&spec, &v2()).unwrap();
    assert_eq!(plan.steps[..3], [Step::JoinIpc, Step::JoinNetwork, Step::NewSession]);
    assert!(!plan.steps.contains(&Step::LoopbackUp), "it is up, or down, as its owner has it");
    let text = plan.to_string();
    for line in [
        "namespaces mount uts\n",
        "pid namespace of process 1 since 7\n",
        "net namespace of process 3 since 7\n",
        "mount the other container's shared memory at /dev/shm",
    ] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
    spec.config.host.security.ipc = Ipc::None;
    spec.donors.ipc = None;
    let text = plan_launch(&spec, &v2()).unwrap().to_string();
    assert!(!text.contains("/dev/shm") && text.contains("namespaces mount ipc uts\n"), "{text}");
}

#[test]
fn privileged_in_the_hosts_namespaces() {
    let mut spec = spec();
    let host = &mut spec.config.host;
    host.network = NetworkMode::Host;
    let own = Namespace::Host;
    host.security = Security {
        privileged: true,
        pid: own.clone(),
        ipc: Ipc::Host,
        uts: own.clone(),
        cgroup: own,
        ..Security::default()
    };
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
