//! Limits: their fields of `HostConfig`, and [`Resources`]; both ways. The refusals are in Docker's words
//! (moby `daemon/daemon_unix.go`), which users search for.

use super::machine::{Machine, parse_list};
use super::{non_empty, refuse_list, refuse_number, signed, unsupported};
use bollard_stubs::models as wire;
use dhow_model::resources::{Device, Resources, Ulimit};
use dhow_model::resources::{DeviceRate, DeviceWeight, RateKind};
use dhow_model::{Error, Result};

/// Less than this and a container cannot even start: the process that becomes it does not fit.
const MEMORY_MIN_BYTES: u64 = 6 << 20;
/// Billionths of a CPU in a CPU.
const NANOS_PER_CPU: u64 = 1_000_000_000;

/// Reads all limits, and appends warnings about those that will not do what they look like.
pub(super) fn parse(
    host: &wire::HostConfig,
    machine: &Machine,
    warnings: &mut Vec<String>,
) -> Result<Resources> {
    refuse_list(&host.device_requests, "--gpus (HostConfig.DeviceRequests)")?;
    refuse_number(host.cpu_count, "--cpu-count (HostConfig.CpuCount), which is for Windows")?;
    refuse_number(host.cpu_percent, "--cpu-percent (HostConfig.CpuPercent), which is for Windows")?;
    refuse_number(host.io_maximum_iops, "--io-maxiops (HostConfig.IOMaximumIOps), which is for Windows")?;
    refuse_number(
        host.io_maximum_bandwidth,
        "--io-maxbandwidth (HostConfig.IOMaximumBandwidth), which is for Windows",
    )?;
    let mut resources = Resources::default();
    parse_memory(host, machine, &mut resources, warnings)?;
    // 0 and -1 both mean no limit.
    resources.pids_limit = host.pids_limit.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
    discard(&mut resources.pids_limit, machine.support.pids, NO_PIDS, warnings);
    parse_cpu(host, machine, &mut resources, warnings)?;
    parse_realtime(host, machine, &mut resources)?;
    resources.cpuset_cpus = parse_cpuset(&host.cpuset_cpus, &machine.cpus, "cpus", "CPUs")?;
    resources.cpuset_mems = parse_cpuset(&host.cpuset_mems, &machine.nodes, "mems", "memory nodes")?;
    let asks = !resources.cpuset_cpus.is_empty() || !resources.cpuset_mems.is_empty();
    if asks && !machine.support.cpuset {
        warnings.push(NO_CPUSET.to_owned());
        resources.cpuset_cpus.clear();
        resources.cpuset_mems.clear();
    }
    parse_io(host, machine, &mut resources, warnings)?;
    resources.oom_score_adj = match host.oom_score_adj.map_or(Ok(0), i32::try_from) {
        Ok(score @ -1000..=1000) => score,
        _ => {
            let score = host.oom_score_adj.unwrap_or(0);
            return Err(Error::invalid(format!(
                "Invalid value {score}, range for oom score adj is [-1000, 1000]"
            )));
        }
    };
    resources.ulimits = host.ulimits.iter().flatten().map(parse_ulimit).collect::<Result<_>>()?;
    resources.cgroup_parent = parse_cgroup_parent(non_empty(&host.cgroup_parent).unwrap_or(""))?;
    resources.devices = host.devices.iter().flatten().map(parse_device).collect::<Result<_>>()?;
    resources.device_cgroup_rules =
        host.device_cgroup_rules.iter().flatten().map(|r| parse_device_rule(r)).collect::<Result<_>>()?;
    Ok(resources)
}

const NO_MEMORY: &str = "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.";
const NO_SWAP: &str = "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.";
const NO_SWAPPINESS: &str = "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.";
const NO_RESERVATION: &str = "Your kernel does not support memory soft limit capabilities or the cgroup is not mounted. Limitation discarded.";
const NO_OOM_KILL_DISABLE: &str = "Your kernel does not support OomKillDisable. OomKillDisable discarded.";
const NO_PIDS: &str = "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.";
const NO_SHARES: &str =
    "Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.";
const NO_QUOTA: &str = "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.";
const NO_CPUSET: &str = "Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.";
const NO_WEIGHT: &str =
    "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.";
const NO_WEIGHT_DEVICE: &str = "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.";
const NO_READ_BPS: &str = "Your kernel does not support BPS Block I/O read limit or the cgroup is not mounted. Block I/O BPS read limit discarded.";
const NO_WRITE_BPS: &str = "Your kernel does not support BPS Block I/O write limit or the cgroup is not mounted. Block I/O BPS write limit discarded.";
const NO_READ_IOPS: &str = "Your kernel does not support IOPS Block read limit or the cgroup is not mounted. Block I/O IOPS read limit discarded.";
const NO_WRITE_IOPS: &str = "Your kernel does not support IOPS Block write limit or the cgroup is not mounted. Block I/O IOPS write limit discarded.";

/// Drops a limit that the kernel has not, and says so.
fn discard<T>(limit: &mut Option<T>, supported: bool, warning: &str, warnings: &mut Vec<String>) {
    if !supported && limit.take().is_some() {
        warnings.push(warning.to_owned());
    }
}

fn parse_memory(
    host: &wire::HostConfig,
    machine: &Machine,
    into: &mut Resources,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let support = &machine.support;
    let limit = |field: Option<i64>, too_small: &str| -> Result<Option<u64>> {
        match field {
            None | Some(0) => Ok(None),
            Some(bytes) => match u64::try_from(bytes) {
                Ok(bytes) if bytes >= MEMORY_MIN_BYTES => Ok(Some(bytes)),
                _ => Err(Error::invalid(too_small)),
            },
        }
    };
    into.memory_bytes = limit(host.memory, "Minimum memory limit allowed is 6MB")?;
    let mut swap = host.memory_swap.filter(|swap| *swap != 0);
    if into.memory_bytes.is_some() && !support.memory {
        discard(&mut into.memory_bytes, false, NO_MEMORY, warnings);
        swap = Some(-1);
    }
    if into.memory_bytes.is_some() && swap != Some(-1) && !support.swap {
        warnings.push(NO_SWAP.to_owned());
        swap = Some(-1);
    }
    match (into.memory_bytes, swap) {
        (_, Some(swap)) if swap < -1 => {
            return Err(Error::invalid(format!("invalid memory swap limit: {swap}")));
        }
        (Some(memory), Some(swap)) if swap > 0 && swap < signed(memory) => {
            return Err(Error::invalid(
                "Minimum memoryswap limit should be larger than memory limit, see usage",
            ));
        }
        (None, Some(swap)) if swap > 0 => {
            return Err(Error::invalid(
                "You should always set the Memory limit when using Memoryswap limit, see usage",
            ));
        }
        // As much swap as memory is what one gets who does not ask.
        (Some(memory), None) => into.memory_swap_bytes = Some(signed(memory.saturating_mul(2))),
        _ => into.memory_swap_bytes = swap,
    }
    into.memory_swappiness = parse_swappiness(host.memory_swappiness)?;
    discard(&mut into.memory_swappiness, support.swappiness, NO_SWAPPINESS, warnings);
    into.memory_reservation_bytes =
        limit(host.memory_reservation, "Minimum memory reservation allowed is 6MB")?;
    discard(&mut into.memory_reservation_bytes, support.memory_reservation, NO_RESERVATION, warnings);
    if let (Some(memory), Some(reservation)) = (into.memory_bytes, into.memory_reservation_bytes)
        && memory < reservation
    {
        return Err(Error::invalid(
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ));
    }
    into.oom_kill_disable = host.oom_kill_disable.unwrap_or(false);
    if into.oom_kill_disable && !support.oom_kill_disable {
        warnings.push(NO_OOM_KILL_DISABLE.to_owned());
        into.oom_kill_disable = false;
    }
    if into.oom_kill_disable && into.memory_bytes.is_none() {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system \
             running out of resources."
                .to_owned(),
        );
    }
    Ok(())
}

fn parse_swappiness(field: Option<i64>) -> Result<Option<u8>> {
    match field {
        // What the docker CLI sends when the flag is not given.
        None | Some(-1) => Ok(None),
        Some(value) => match u8::try_from(value) {
            Ok(value @ 0..=100) => Ok(Some(value)),
            _ => {
                Err(Error::invalid(format!("Invalid value: {value}, valid memory swappiness range is 0-100")))
            }
        },
    }
}

fn parse_realtime(host: &wire::HostConfig, machine: &Machine, into: &mut Resources) -> Result<()> {
    let set = |field: Option<i64>, what: &str| match field {
        None | Some(0) => Ok(None),
        Some(us) => u64::try_from(us)
            .map(Some)
            .map_err(|_| Error::invalid(format!("cpu real-time {what} cannot be negative: {us}"))),
    };
    into.cpu_rt_period_us = set(host.cpu_realtime_period, "period")?;
    into.cpu_rt_runtime_us = set(host.cpu_realtime_runtime, "runtime")?;
    match (into.cpu_rt_runtime_us, into.cpu_rt_period_us) {
        (None, None) => Ok(()),
        _ if !machine.support.cpu_realtime => {
            Err(Error::invalid("Your kernel does not support CPU real-time scheduler"))
        }
        (Some(runtime), Some(period)) if runtime > period => {
            Err(Error::invalid("cpu real-time runtime cannot be higher than cpu real-time period"))
        }
        _ => Ok(()),
    }
}

/// Weights and rates of block devices. A rate of 0 is none.
fn parse_io(
    host: &wire::HostConfig,
    machine: &Machine,
    into: &mut Resources,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let support = &machine.support;
    let in_range = |weight: u16| match weight {
        0 => Ok(None),
        10..=1000 => Ok(Some(weight)),
        _ => Err(Error::invalid("Range of blkio weight is from 10 to 1000")),
    };
    into.blkio_weight = host.blkio_weight.map_or(Ok(None), in_range)?;
    discard(&mut into.blkio_weight, support.io_weight, NO_WEIGHT, warnings);
    for device in host.blkio_weight_device.iter().flatten() {
        let path = device_path(&device.path)?;
        if let Some(weight) = in_range(u16::try_from(device.weight.unwrap_or(0)).unwrap_or(u16::MAX))? {
            into.blkio_weight_devices.push(DeviceWeight { path, weight });
        }
    }
    if !support.io_weight_device && !into.blkio_weight_devices.is_empty() {
        warnings.push(NO_WEIGHT_DEVICE.to_owned());
        into.blkio_weight_devices.clear();
    }
    for (list, kind, warning) in [
        (&host.blkio_device_read_bps, RateKind::ReadBytes, NO_READ_BPS),
        (&host.blkio_device_write_bps, RateKind::WriteBytes, NO_WRITE_BPS),
        (&host.blkio_device_read_iops, RateKind::ReadRequests, NO_READ_IOPS),
        (&host.blkio_device_write_iops, RateKind::WriteRequests, NO_WRITE_IOPS),
    ] {
        let mut rates = Vec::new();
        for device in list.iter().flatten() {
            let (path, rate) = (device_path(&device.path)?, device.rate.unwrap_or(0));
            let rate = u64::try_from(rate)
                .map_err(|_| Error::invalid(format!("invalid rate for device {path}: {rate}")))?;
            if rate > 0 {
                rates.push(DeviceRate { path, kind, rate });
            }
        }
        if !support.io_rates && !rates.is_empty() {
            warnings.push(warning.to_owned());
        } else {
            into.blkio_rates.append(&mut rates);
        }
    }
    Ok(())
}

fn device_path(field: &Option<String>) -> Result<String> {
    let path = non_empty(field).unwrap_or("");
    if !path.starts_with('/') || path.contains('\0') {
        return Err(Error::invalid(format!("invalid device path {path:?}: must be absolute")));
    }
    Ok(path.to_owned())
}

fn parse_cpu(
    host: &wire::HostConfig,
    machine: &Machine,
    into: &mut Resources,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let support = &machine.support;
    let set = |field: Option<i64>| field.filter(|n| *n != 0);
    let (nanos, period, quota) = (set(host.nano_cpus), set(host.cpu_period), set(host.cpu_quota));
    if nanos.is_some() && period.is_some() {
        return Err(Error::invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set"));
    }
    if nanos.is_some() && quota.is_some() {
        return Err(Error::invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set"));
    }
    if nanos.is_some_and(|n| n > 0) && !support.cpu_quota {
        return Err(Error::invalid(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted",
        ));
    }
    let count = machine.cpu_count();
    let most = u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(NANOS_PER_CPU);
    into.nano_cpus = match nanos {
        None => None,
        Some(nanos) => Some(u64::try_from(nanos).ok().filter(|n| *n <= most).ok_or_else(|| {
            Error::invalid(format!(
                "range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available"
            ))
        })?),
    };
    let (period, quota) = match (period, quota) {
        (None, None) => (None, None),
        _ if !support.cpu_quota => {
            warnings.push(NO_QUOTA.to_owned());
            (None, None)
        }
        both => both,
    };
    into.cpu_period_us = match period {
        None => None,
        Some(period @ 1_000..=1_000_000) => u64::try_from(period).ok(),
        Some(_) => {
            return Err(Error::invalid(
                "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
            ));
        }
    };
    into.cpu_quota_us = match quota {
        Some(1..=999) => return Err(Error::invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)")),
        // Any negative quota means no limit to the kernel.
        Some(quota) if quota < 0 => None,
        quota => quota,
    };
    into.cpu_shares = match set(host.cpu_shares) {
        None => None,
        Some(shares) => Some(u64::try_from(shares).map_err(|_| {
            Error::invalid(format!("invalid CPU shares ({shares}): value must be a positive integer"))
        })?),
    };
    discard(&mut into.cpu_shares, support.cpu_shares, NO_SHARES, warnings);
    Ok(())
}

/// Checks a list of CPUs or memory nodes against what is online. Kept as typed.
fn parse_cpuset(field: &Option<String>, online: &str, word: &str, what: &str) -> Result<String> {
    let Some(text) = non_empty(field) else { return Ok(String::new()) };
    let asked =
        parse_list(text).ok_or_else(|| Error::invalid(format!("Invalid value {text} for cpuset {word}")))?;
    let available = parse_list(online).unwrap_or_default();
    if asked.is_subset(&available) {
        Ok(text.to_owned())
    } else {
        Err(Error::invalid(format!(
            "Requested {what} are not available - requested {text}, available: {online}"
        )))
    }
}

/// getrlimit(2), in Docker's lower case.
const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

fn parse_ulimit(limit: &wire::ResourcesUlimits) -> Result<Ulimit> {
    check_ulimit(non_empty(&limit.name).unwrap_or(""), limit.soft.unwrap_or(0), limit.hard.unwrap_or(0))
}

/// A resource limit by name and numbers.
pub(in crate::api) fn check_ulimit(name: &str, soft: i64, hard: i64) -> Result<Ulimit> {
    if !ULIMITS.contains(&name) {
        return Err(Error::invalid(format!("invalid ulimit type: {name}")));
    }
    // -1 is no limit, the highest of all.
    let height = |limit: i64| if limit == -1 { i64::MAX } else { limit };
    if soft < -1 || hard < -1 {
        return Err(Error::invalid(format!("invalid ulimit {name}: {soft}:{hard}: a limit is -1 or more")));
    }
    if height(soft) > height(hard) {
        return Err(Error::invalid(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        )));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

/// A path below the cgroup root, without steps out of it.
fn parse_cgroup_parent(text: &str) -> Result<String> {
    if text.contains('\0') || text.split('/').any(|part| part == "..") {
        return Err(Error::invalid(format!("invalid cgroup-parent: {text:?}")));
    }
    if text.ends_with(".slice") {
        return unsupported(format!("--cgroup-parent {text:?}: systemd slices; a cgroup path is wanted"));
    }
    Ok(text.to_owned())
}

fn parse_device(device: &wire::DeviceMapping) -> Result<Device> {
    let host_path = non_empty(&device.path_on_host).unwrap_or("");
    let container_path = non_empty(&device.path_in_container).unwrap_or(host_path);
    let permissions = non_empty(&device.cgroup_permissions).unwrap_or("rwm");
    for path in [host_path, container_path] {
        let steps_out = path.split('/').any(|part| part == "..");
        if !path.starts_with('/') || path.contains('\0') || steps_out {
            return Err(Error::invalid(format!(
                "invalid device path {path:?}: must be absolute, without '..'"
            )));
        }
    }
    check_permissions(permissions)
        .ok_or_else(|| Error::invalid(format!("bad mode specified: {permissions} (device {host_path:?})")))?;
    Ok(Device {
        host_path: host_path.to_owned(),
        container_path: container_path.to_owned(),
        permissions: permissions.to_owned(),
    })
}

/// One to three of `rwm`, each once.
fn check_permissions(text: &str) -> Option<()> {
    let once = |letter: char| text.chars().filter(|c| *c == letter).count() <= 1;
    let fits = !text.is_empty() && text.chars().all(|c| "rwm".contains(c)) && "rwm".chars().all(once);
    fits.then_some(())
}

/// `c 1:3 rwm`.
fn parse_device_rule(text: &str) -> Result<String> {
    let number = |part: &str| part == "*" || (!part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    let fits = || {
        let [kind, numbers, permissions] = text.split(' ').collect::<Vec<_>>()[..] else { return None };
        let (major, minor) = numbers.split_once(':')?;
        (matches!(kind, "a" | "b" | "c") && number(major) && number(minor)).then_some(())?;
        check_permissions(permissions)
    };
    fits().ok_or_else(|| Error::invalid(format!("invalid device cgroup rule format: '{text}'")))?;
    Ok(text.to_owned())
}

/// Fills the limits of an `inspect` answer.
pub(super) fn show(resources: &Resources, host: &mut wire::HostConfig) {
    let bytes = |limit: Option<u64>| Some(limit.map_or(0, signed));
    let some = |text: &str| Some(text.to_owned());
    host.memory = bytes(resources.memory_bytes);
    host.memory_swap = Some(resources.memory_swap_bytes.unwrap_or(0));
    host.memory_reservation = bytes(resources.memory_reservation_bytes);
    host.oom_kill_disable = Some(resources.oom_kill_disable);
    host.oom_score_adj = Some(i64::from(resources.oom_score_adj));
    host.nano_cpus = bytes(resources.nano_cpus);
    host.cpu_quota = Some(resources.cpu_quota_us.unwrap_or(0));
    host.cpu_period = bytes(resources.cpu_period_us);
    host.cpu_shares = bytes(resources.cpu_shares);
    host.cpuset_cpus = some(&resources.cpuset_cpus);
    host.cpuset_mems = some(&resources.cpuset_mems);
    host.pids_limit = resources.pids_limit.map(signed);
    host.blkio_weight = Some(resources.blkio_weight.unwrap_or(0));
    host.cgroup_parent = some(&resources.cgroup_parent);
    host.memory_swappiness = resources.memory_swappiness.map(i64::from);
    host.cpu_realtime_period = bytes(resources.cpu_rt_period_us);
    host.cpu_realtime_runtime = bytes(resources.cpu_rt_runtime_us);
    host.blkio_weight_device = Some(
        resources
            .blkio_weight_devices
            .iter()
            .map(|d| wire::ResourcesBlkioWeightDevice {
                path: some(&d.path),
                weight: Some(usize::from(d.weight)),
            })
            .collect(),
    );
    let rates = |kind: RateKind| {
        let of_kind = resources.blkio_rates.iter().filter(|d| d.kind == kind);
        Some(
            of_kind
                .map(|d| wire::ThrottleDevice { path: some(&d.path), rate: Some(signed(d.rate)) })
                .collect::<Vec<_>>(),
        )
    };
    host.blkio_device_read_bps = rates(RateKind::ReadBytes);
    host.blkio_device_write_bps = rates(RateKind::WriteBytes);
    host.blkio_device_read_iops = rates(RateKind::ReadRequests);
    host.blkio_device_write_iops = rates(RateKind::WriteRequests);
    host.cpu_count = Some(0);
    host.cpu_percent = Some(0);
    host.io_maximum_iops = Some(0);
    host.io_maximum_bandwidth = Some(0);
    host.ulimits = Some(
        resources
            .ulimits
            .iter()
            .map(|u| wire::ResourcesUlimits { name: some(&u.name), soft: Some(u.soft), hard: Some(u.hard) })
            .collect(),
    );
    host.devices = Some(
        resources
            .devices
            .iter()
            .map(|d| wire::DeviceMapping {
                path_on_host: some(&d.host_path),
                path_in_container: some(&d.container_path),
                cgroup_permissions: some(&d.permissions),
            })
            .collect(),
    );
    let rules = resources.device_cgroup_rules.clone();
    host.device_cgroup_rules = (!rules.is_empty()).then_some(rules);
}

#[cfg(test)]
mod tests;
