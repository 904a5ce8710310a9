//! The body of `POST /containers/{id}/update`: what is set in it replaces what the container has.

use super::host;
use super::machine::Machine;
use bollard_stubs::models as wire;
use dhow_model::container::{HostConfig, RestartPolicy};
use dhow_model::{Error, Result};

/// Puts a request over a configuration, and checks the result as that of a new container is checked. Also returns
/// what its user should be warned of.
///
/// # Errors
/// `Conflict` where Docker has one, `InvalidArgument` and `Unsupported` as for a new container.
pub(in crate::api) fn apply(
    body: &wire::ContainerUpdateBody,
    config: &HostConfig,
    machine: &Machine,
) -> Result<(HostConfig, Vec<String>)> {
    let mut wanted = wire::HostConfig::default();
    super::resources::show(&config.resources, &mut wanted);
    refuse_others(body)?;
    check_conflicts(body, &wanted)?;
    let before = resources(&wanted, machine)?.1;
    put(body, &mut wanted);
    let (parsed, mut warnings) = resources(&wanted, machine)?;
    // What was warned of when the container was made is known.
    warnings.retain(|warning| !before.contains(warning));
    let mut changed = config.clone();
    changed.resources = parsed;
    if let Some(policy) = &body.restart_policy
        && policy.name.is_some_and(|name| name != wire::RestartPolicyNameEnum::EMPTY)
    {
        changed.restart = host::parse_restart(Some(policy))?;
        if config.auto_remove && changed.restart != RestartPolicy::No {
            return Err(Error::conflict(
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
            ));
        }
    }
    Ok((changed, warnings))
}

fn resources(
    host: &wire::HostConfig,
    machine: &Machine,
) -> Result<(dhow_model::resources::Resources, Vec<String>)> {
    let mut warnings = Vec::new();
    let parsed = super::resources::parse(host, machine, &mut warnings)?;
    Ok((parsed, warnings))
}

/// What is given once, when a container is made. Docker takes these in silence, and does nothing.
fn refuse_others(body: &wire::ContainerUpdateBody) -> Result<()> {
    let some = |text: &Option<String>| text.as_ref().is_some_and(|t| !t.is_empty());
    fn list<T>(list: &Option<Vec<T>>) -> bool {
        list.as_ref().is_some_and(|l| !l.is_empty())
    }
    for (given, field) in [
        (some(&body.cgroup_parent), "CgroupParent"),
        (list(&body.blkio_weight_device), "BlkioWeightDevice"),
        (list(&body.blkio_device_read_bps), "BlkioDeviceReadBps"),
        (list(&body.blkio_device_write_bps), "BlkioDeviceWriteBps"),
        (list(&body.blkio_device_read_iops), "BlkioDeviceReadIOps"),
        (list(&body.blkio_device_write_iops), "BlkioDeviceWriteIOps"),
        (list(&body.devices), "Devices"),
        (list(&body.device_cgroup_rules), "DeviceCgroupRules"),
        (list(&body.device_requests), "DeviceRequests"),
        (list(&body.ulimits), "Ulimits"),
        (body.memory_swappiness.is_some_and(|s| s != -1), "MemorySwappiness"),
        (body.oom_kill_disable == Some(true), "OomKillDisable"),
        (body.init == Some(true), "Init"),
    ] {
        if given {
            return super::unsupported(format!("changing {field} of a container"));
        }
    }
    Ok(())
}

/// Two ways to say the same cannot be mixed, not even one after the other.
fn check_conflicts(body: &wire::ContainerUpdateBody, own: &wire::HostConfig) -> Result<()> {
    let set = |field: Option<i64>| field.is_some_and(|value| value > 0);
    for (clash, words) in [
        (
            set(body.nano_cpus) && set(own.cpu_period),
            "Nano CPUs cannot be updated as CPU Period has already been set",
        ),
        (
            set(body.nano_cpus) && set(own.cpu_quota),
            "Nano CPUs cannot be updated as CPU Quota has already been set",
        ),
        (
            set(body.cpu_period) && set(own.nano_cpus),
            "CPU Period cannot be updated as NanoCPUs has already been set",
        ),
        (
            set(body.cpu_quota) && set(own.nano_cpus),
            "CPU Quota cannot be updated as NanoCPUs has already been set",
        ),
    ] {
        if clash {
            return Err(Error::conflict(format!("Conflicting options: {words}")));
        }
    }
    let (memory, swap) = (body.memory.unwrap_or(0), own.memory_swap.unwrap_or(0));
    // -1 is swap without limit, and 0 that of a container without a limit of memory.
    if memory > 0 && swap > 0 && memory > swap && body.memory_swap.unwrap_or(0) == 0 {
        return Err(Error::conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        ));
    }
    Ok(())
}

/// Zero, the empty text and the empty list say nothing.
fn put(body: &wire::ContainerUpdateBody, into: &mut wire::HostConfig) {
    macro_rules! put {
        ($is_nothing:expr; $($field:ident),* $(,)?) => {
            $(if let Some(value) = &body.$field && !$is_nothing(value) {
                into.$field = Some(value.clone());
            })*
        };
    }
    put!(|value: &i64| *value == 0; cpu_shares, memory, memory_reservation, memory_swap, nano_cpus, cpu_period,
        cpu_quota, cpu_realtime_period, cpu_realtime_runtime, cpu_count, cpu_percent, io_maximum_iops,
        io_maximum_bandwidth);
    put!(|value: &u16| *value == 0; blkio_weight);
    put!(|value: &String| value.is_empty(); cpuset_cpus, cpuset_mems);
    // 0 and -1 are no limit here, and the docker CLI leaves it out when its flag is not given.
    put!(|_: &i64| false; pids_limit);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::convert::machine::Caller;
    use dhow_model::resources::Resources;
    use dhow_runtime::cgroup::support::Support;
    use serde_json::{Value, json};

    fn updated(own: Resources, body: Value) -> Result<(HostConfig, Vec<String>)> {
        let machine = Machine {
            cpus: "0-1".into(),
            nodes: "0".into(),
            support: Support::all(),
            caller: Caller::default(),
        };
        let config = HostConfig { resources: own, auto_remove: true, ..HostConfig::default() };
        apply(&serde_json::from_value(body).unwrap(), &config, &machine)
    }

    #[test]
    fn what_is_set_replaces_what_was() {
        let own = Resources {
            memory_bytes: Some(64 << 20),
            memory_swap_bytes: Some(128 << 20),
            pids_limit: Some(5),
            cpu_quota_us: Some(5000),
            cpu_shares: Some(7),
            ..Resources::default()
        };
        let change =
            json!({"Memory": 32 << 20, "CpuQuota": -1, "PidsLimit": 0, "CpuShares": 0, "CpusetCpus": ""});
        let (host, warnings) = updated(own.clone(), change).unwrap();
        let want =
            Resources { memory_bytes: Some(32 << 20), pids_limit: None, cpu_quota_us: None, ..own.clone() };
        assert_eq!((host.resources, warnings.len()), (want, 0));
        assert_eq!(updated(own.clone(), json!({})).unwrap().0.resources, own);
        let (host, _) = updated(own.clone(), json!({"Memory": 256 << 20, "MemorySwap": -1})).unwrap();
        assert_eq!(host.resources.memory_swap_bytes, Some(-1));
        for (body, words) in [
            (
                json!({"Memory": 256 << 20}),
                "Memory limit should be smaller than already set memoryswap limit",
            ),
            (
                json!({"NanoCpus": 1_000_000_000}),
                "Conflicting options: Nano CPUs cannot be updated as CPU Quota",
            ),
            (json!({"Memory": 1}), "Minimum memory limit allowed is 6MB"),
            (
                json!({"Devices": [{"PathOnHost": "/dev/x"}]}),
                "not supported by dhow: changing Devices of a container",
            ),
            (json!({"BlkioWeight": 5}), "Range of blkio weight"),
            (
                json!({"RestartPolicy": {"Name": "always"}}),
                "Restart policy cannot be updated because AutoRemove",
            ),
        ] {
            let error = updated(own.clone(), body.clone()).unwrap_err().to_string();
            assert!(error.starts_with(words), "{body}: {error}");
        }
        let own = Resources { nano_cpus: Some(1), ..Resources::default() };
        assert!(
            updated(own.clone(), json!({"CpuPeriod": 1000}))
                .unwrap_err()
                .to_string()
                .contains("CPU Period cannot")
        );
        assert!(updated(own, json!({"RestartPolicy": {"Name": "no"}})).is_ok());
    }
}
