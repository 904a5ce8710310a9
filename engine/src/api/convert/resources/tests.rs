//! Limits, and the words in which they are refused.

use super::*;
use crate::api::convert::machine::Caller;
use dhow_runtime::cgroup::support::Support;
use serde_json::{Value, json};

fn machine() -> Machine {
    Machine { cpus: "0-1".into(), nodes: "0".into(), support: Support::all(), caller: Caller::default() }
}

fn parsed(value: Value) -> Result<(Resources, Vec<String>)> {
    let host: wire::HostConfig = serde_json::from_value(value).unwrap();
    let mut warnings = Vec::new();
    parse(&host, &machine(), &mut warnings).map(|r| (r, warnings))
}

#[test]
fn what_the_docker_cli_sends_by_default_is_no_limit() {
    let (resources, warnings) = parsed(json!({
        "CpuShares": 0, "Memory": 0, "NanoCpus": 0, "CgroupParent": "", "BlkioWeight": 0, "BlkioWeightDevice": [],
        "BlkioDeviceReadBps": [], "CpuPeriod": 0, "CpuQuota": 0, "CpuRealtimePeriod": 0, "CpusetCpus": "",
        "Devices": [], "DeviceCgroupRules": null, "DeviceRequests": null, "MemoryReservation": 0, "MemorySwap": 0,
        "MemorySwappiness": -1, "OomKillDisable": false, "PidsLimit": 0, "Ulimits": [], "CpuCount": 0,
    }))
    .unwrap();
    assert_eq!(resources, Resources::default());
    assert!(warnings.is_empty());
}

#[test]
fn limits() {
    let (resources, _) = parsed(json!({
        "Memory": 6 << 20, "MemorySwap": -1, "MemoryReservation": 6 << 20, "NanoCpus": 2_000_000_000_i64,
        "CpusetCpus": "0-1", "CpusetMems": "0", "PidsLimit": 10, "BlkioWeight": 500, "OomScoreAdj": -500,
        "Ulimits": [{"Name": "nofile", "Soft": 10, "Hard": -1}],
        "Devices": [{"PathOnHost": "/dev/fuse", "PathInContainer": "", "CgroupPermissions": ""}],
        "DeviceCgroupRules": ["c 10:* rw"], "CgroupParent": "/a/b",
    }))
    .unwrap();
    assert_eq!(resources.memory_bytes, Some(6 << 20));
    assert_eq!(resources.memory_swap_bytes, Some(-1));
    assert_eq!(resources.nano_cpus, Some(2_000_000_000));
    assert_eq!(resources.cpuset_cpus, "0-1");
    assert_eq!(resources.pids_limit, Some(10));
    assert_eq!(resources.oom_score_adj, -500);
    assert_eq!(resources.ulimits, [Ulimit { name: "nofile".into(), soft: 10, hard: -1 }]);
    assert_eq!(resources.devices[0].container_path, "/dev/fuse");
    assert_eq!(resources.devices[0].permissions, "rwm");
    assert_eq!(parsed(json!({"PidsLimit": -1})).unwrap().0.pids_limit, None);
    assert_eq!(parsed(json!({"CpuQuota": -1})).unwrap().0.cpu_quota_us, None);
    let (_, warnings) = parsed(json!({"OomKillDisable": true})).unwrap();
    assert!(warnings[0].starts_with("OOM killer is disabled for the container, but no memory limit is set"));
}

#[test]
fn refusals_are_dockers() {
    let mb = 1 << 20;
    for (value, words) in [
        (json!({"Memory": 6 * mb - 1}), "Minimum memory limit allowed is 6MB"),
        (json!({"Memory": -1}), "Minimum memory limit allowed is 6MB"),
        (json!({"MemoryReservation": mb}), "Minimum memory reservation allowed is 6MB"),
        (
            json!({"Memory": 10 * mb, "MemorySwap": 9 * mb}),
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ),
        (
            json!({"MemorySwap": 9 * mb}),
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ),
        (json!({"Memory": 10 * mb, "MemorySwap": -2}), "invalid memory swap limit: -2"),
        (
            json!({"Memory": 10 * mb, "MemoryReservation": 11 * mb}),
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ),
        (
            json!({"NanoCpus": 2_000_000_001_i64}),
            "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
        ),
        (json!({"NanoCpus": -1}), "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"),
        (
            json!({"NanoCpus": 1, "CpuPeriod": 1000}),
            "Conflicting options: Nano CPUs and CPU Period cannot both be set",
        ),
        (
            json!({"NanoCpus": 1, "CpuQuota": 1000}),
            "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
        ),
        (
            json!({"CpuPeriod": 999}),
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ),
        (
            json!({"CpuPeriod": 1_000_001}),
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ),
        (json!({"CpuQuota": 999}), "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
        (json!({"CpuShares": -1}), "invalid CPU shares (-1): value must be a positive integer"),
        (json!({"CpusetCpus": "x"}), "Invalid value x for cpuset cpus"),
        (json!({"CpusetCpus": "0-7"}), "Requested CPUs are not available - requested 0-7, available: 0-1"),
        (json!({"CpusetMems": "1"}), "Requested memory nodes are not available - requested 1, available: 0"),
        (json!({"BlkioWeight": 9}), "Range of blkio weight is from 10 to 1000"),
        (json!({"OomScoreAdj": 1001}), "Invalid value 1001, range for oom score adj is [-1000, 1000]"),
        (
            json!({"OomScoreAdj": 99_999_999_999_i64}),
            "Invalid value 99999999999, range for oom score adj is [-1000, 1000]",
        ),
        (json!({"Ulimits": [{"Name": "bogus", "Soft": 1, "Hard": 1}]}), "invalid ulimit type: bogus"),
        (
            json!({"Ulimits": [{"Name": "core", "Soft": 2, "Hard": 1}]}),
            "ulimit soft limit must be less than or equal to hard limit: 2 > 1",
        ),
        (
            json!({"Ulimits": [{"Name": "core", "Soft": -1, "Hard": 1}]}),
            "ulimit soft limit must be less than or equal to hard limit: -1 > 1",
        ),
        (json!({"DeviceCgroupRules": ["c 1 rwm"]}), "invalid device cgroup rule format: 'c 1 rwm'"),
        (json!({"DeviceCgroupRules": ["x 1:1 rwm"]}), "invalid device cgroup rule format: 'x 1:1 rwm'"),
        (json!({"CgroupParent": "a/../.."}), "invalid cgroup-parent"),
        (json!({"CgroupParent": "x.slice"}), "systemd slices"),
        (json!({"Devices": [{"PathOnHost": "dev/x"}]}), "invalid device path"),
        (
            json!({"Devices": [{"PathOnHost": "/dev/x", "PathInContainer": "/dev/../etc/passwd"}]}),
            "invalid device path",
        ),
        (json!({"Devices": [{"PathOnHost": "/dev/x", "CgroupPermissions": "rx"}]}), "bad mode specified: rx"),
    ] {
        let message =
            parsed(value.clone()).map(|r| panic!("{value}: {r:?}")).unwrap_or_else(|e| e.to_string());
        assert!(message.contains(words), "{value}: {message}");
    }
}

#[test]
fn what_is_not_done_is_refused_by_name() {
    for (value, name) in [
        (json!({"CpuCount": 1}), "CpuCount"),
        (json!({"CpuPercent": 1}), "CpuPercent"),
        (json!({"IOMaximumIOps": 1}), "IOMaximumIOps"),
        (json!({"IOMaximumBandwidth": 1}), "IOMaximumBandwidth"),
        (json!({"DeviceRequests": [{"Driver": "nvidia"}]}), "DeviceRequests"),
    ] {
        let error = parsed(value.clone()).unwrap_err();
        assert_eq!(error.kind(), dhow_model::ErrorKind::Unsupported, "{value}");
        assert!(error.to_string().contains(name), "{value}: {error}");
    }
}

#[test]
fn limits_of_block_devices_real_time_and_swappiness() {
    let device = |rate: u64| json!([{"Path": "/dev/sda", "Rate": rate}]);
    let sent = json!({
        "BlkioWeightDevice": [{"Path": "/dev/sda", "Weight": 10}, {"Path": "/dev/sdb", "Weight": 0}],
        "BlkioDeviceReadBps": device(1), "BlkioDeviceWriteBps": device(2), "BlkioDeviceReadIOps": device(3),
        "BlkioDeviceWriteIOps": device(4), "CpuRealtimePeriod": 1000, "CpuRealtimeRuntime": 900,
        "MemorySwappiness": 60, "Memory": 64 << 20,
    });
    let (resources, warnings) = parsed(sent.clone()).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(resources.blkio_weight_devices, [DeviceWeight { path: "/dev/sda".into(), weight: 10 }]);
    let rates: Vec<(RateKind, u64)> = resources.blkio_rates.iter().map(|r| (r.kind, r.rate)).collect();
    let want = [RateKind::ReadBytes, RateKind::WriteBytes, RateKind::ReadRequests, RateKind::WriteRequests];
    assert_eq!(rates, want.into_iter().zip(1..).collect::<Vec<_>>());
    assert_eq!((resources.cpu_rt_period_us, resources.cpu_rt_runtime_us), (Some(1000), Some(900)));
    assert_eq!(resources.memory_swappiness, Some(60));
    assert_eq!(resources.memory_swap_bytes, Some(128 << 20), "twice the memory, and inspect says so");
    let mut shown = wire::HostConfig::default();
    show(&resources, &mut shown);
    let shown = serde_json::to_value(&shown).unwrap();
    for key in ["BlkioDeviceReadBps", "BlkioDeviceWriteIOps", "CpuRealtimeRuntime", "MemorySwappiness"] {
        assert_eq!(shown[key], sent[key], "{key}");
    }
    assert_eq!(shown["BlkioWeightDevice"], json!([{"Path": "/dev/sda", "Weight": 10}]));
    for (value, words) in [
        (json!({"MemorySwappiness": 101}), "Invalid value: 101, valid memory swappiness range is 0-100"),
        (
            json!({"CpuRealtimePeriod": 1, "CpuRealtimeRuntime": 2}),
            "cpu real-time runtime cannot be higher than cpu real-time period",
        ),
        (
            json!({"BlkioWeightDevice": [{"Path": "/dev/a", "Weight": 9}]}),
            "Range of blkio weight is from 10 to 1000",
        ),
        (json!({"BlkioDeviceReadBps": [{"Path": "a", "Rate": 9}]}), "invalid device path \"a\""),
    ] {
        assert!(parsed(value.clone()).unwrap_err().to_string().starts_with(words), "{value}");
    }
}

/// What a kernel has not is left out, and said in Docker's words; who asks for nothing is told nothing.
#[test]
fn what_the_kernel_has_not_is_discarded_with_a_warning() {
    let none = Support {
        memory: false,
        swap: false,
        memory_reservation: false,
        swappiness: false,
        oom_kill_disable: false,
        cpu_shares: false,
        cpu_quota: false,
        cpu_realtime: false,
        cpuset: false,
        pids: false,
        io_weight: false,
        io_weight_device: false,
        io_rates: false,
    };
    let with = |support: &Support, value: Value| {
        let host: wire::HostConfig = serde_json::from_value(value).unwrap();
        let mut warnings = Vec::new();
        let machine = Machine { support: support.clone(), ..machine() };
        parse(&host, &machine, &mut warnings).map(|resources| (resources, warnings))
    };
    let rate = json!([{"Path": "/dev/sda", "Rate": 1}]);
    let (resources, warnings) = with(
        &none,
        json!({
            "Memory": 64 << 20, "MemoryReservation": 32 << 20, "MemorySwappiness": 1, "OomKillDisable": true,
            "PidsLimit": 5, "CpuShares": 512, "CpuPeriod": 1000, "CpusetCpus": "0", "BlkioWeight": 500,
            "BlkioWeightDevice": [{"Path": "/dev/sda", "Weight": 500}], "BlkioDeviceReadBps": rate,
            "BlkioDeviceWriteBps": rate, "BlkioDeviceReadIOps": rate, "BlkioDeviceWriteIOps": rate,
        }),
    )
    .unwrap();
    assert_eq!(resources, Resources { memory_swap_bytes: Some(-1), ..Resources::default() });
    let want = [
        NO_PIDS,
        NO_MEMORY,
        NO_SWAPPINESS,
        NO_RESERVATION,
        NO_OOM_KILL_DISABLE,
        NO_QUOTA,
        NO_SHARES,
        NO_CPUSET,
        NO_WEIGHT,
        NO_WEIGHT_DEVICE,
        NO_READ_BPS,
        NO_WRITE_BPS,
        NO_READ_IOPS,
        NO_WRITE_IOPS,
    ];
    let sorted = |list: &mut Vec<String>| list.sort();
    let (mut warnings, mut want) = (warnings, want.map(str::to_owned).to_vec());
    sorted(&mut warnings);
    sorted(&mut want);
    assert_eq!(warnings, want);
    assert_eq!(with(&none, json!({"MemorySwappiness": -1, "OomKillDisable": false})).unwrap().1.len(), 0);
    let error = |value| with(&none, value).unwrap_err().to_string();
    assert_eq!(
        error(json!({"CpuRealtimeRuntime": 1})),
        "Your kernel does not support CPU real-time scheduler"
    );
    assert!(error(json!({"NanoCpus": 1})).starts_with("NanoCPUs can not be set, as your kernel does not"));
    let no_swap = Support { swap: false, ..Support::all() };
    let (resources, warnings) = with(&no_swap, json!({"Memory": 64 << 20})).unwrap();
    assert_eq!((resources.memory_bytes, resources.memory_swap_bytes), (Some(64 << 20), Some(-1)));
    assert_eq!(warnings, [NO_SWAP]);
}
