//! What a container uses, in the shape of `GET /containers/{id}/stats`.

use super::inspect::NEVER;
use crate::container::stats::{Reading, Sample};
use bollard_stubs::models as wire;
use dhow_runtime::cgroup::usage::{CpuUsage, IoEntry, MemoryUsage};
use dhow_runtime::host_usage::NetworkUsage;

/// Shows one moment. A container that does not run has zeros.
pub(in crate::api) fn show(sample: &Sample) -> wire::ContainerStatsResponse {
    let when =
        |reading: Option<&Reading>| Some(reading.map_or_else(|| NEVER.to_owned(), |r| r.at.to_string()));
    let (now, before) = (sample.now.as_ref(), sample.before.as_ref());
    wire::ContainerStatsResponse {
        id: Some(sample.id.to_string()),
        name: Some(format!("/{}", sample.name)),
        os_type: Some("linux".to_owned()),
        read: when(now),
        preread: when(before),
        cpu_stats: Some(cpu(now)),
        precpu_stats: Some(cpu(before)),
        memory_stats: Some(now.map(memory).unwrap_or_default()),
        pids_stats: Some(now.map(pids).unwrap_or_default()),
        blkio_stats: Some(blkio(now)),
        networks: now
            .filter(|r| !r.networks.is_empty())
            .map(|r| r.networks.iter().map(|(name, usage)| (name.clone(), network(usage))).collect()),
        num_procs: Some(0),
        storage_stats: Some(wire::ContainerStorageStats::default()),
    }
}

fn cpu(reading: Option<&Reading>) -> wire::ContainerCpuStats {
    let nothing = CpuUsage::default();
    let usage = reading.map_or(&nothing, |r| &r.usage.cpu);
    wire::ContainerCpuStats {
        cpu_usage: Some(wire::ContainerCpuUsage {
            total_usage: Some(usage.total_ns),
            percpu_usage: (!usage.per_cpu_ns.is_empty()).then(|| usage.per_cpu_ns.clone()),
            usage_in_kernelmode: Some(usage.kernel_ns),
            usage_in_usermode: Some(usage.user_ns),
        }),
        system_cpu_usage: reading.map(|r| r.host.cpu_ns),
        online_cpus: reading.map(|r| r.host.online_cpus),
        throttling_data: Some(wire::ContainerThrottlingData {
            periods: Some(usage.periods),
            throttled_periods: Some(usage.throttled_periods),
            throttled_time: Some(usage.throttled_ns),
        }),
    }
}

/// A limit above the machine's memory is none: the machine's memory is what limits.
fn memory(reading: &Reading) -> wire::ContainerMemoryStats {
    let Some(MemoryUsage { bytes, max_bytes, failures, limit_bytes, details }) = &reading.usage.memory else {
        return wire::ContainerMemoryStats::default();
    };
    wire::ContainerMemoryStats {
        usage: Some(*bytes),
        max_usage: *max_bytes,
        failcnt: *failures,
        limit: Some((*limit_bytes).min(reading.host.memory_bytes)),
        stats: Some(details.iter().map(|(key, value)| (key.clone(), *value)).collect()),
        ..wire::ContainerMemoryStats::default()
    }
}

fn pids(reading: &Reading) -> wire::ContainerPidsStats {
    let pids = reading.usage.pids;
    wire::ContainerPidsStats { current: pids.map(|p| p.current), limit: pids.and_then(|p| p.limit) }
}

fn blkio(reading: Option<&Reading>) -> wire::ContainerBlkioStats {
    let entries = |list: &[IoEntry]| {
        list.iter()
            .map(|entry| wire::ContainerBlkioStatEntry {
                major: Some(entry.major),
                minor: Some(entry.minor),
                op: Some(entry.operation.clone()),
                value: Some(entry.value),
            })
            .collect::<Vec<_>>()
    };
    let none = || Some(Vec::new());
    wire::ContainerBlkioStats {
        io_service_bytes_recursive: reading.map(|r| entries(&r.usage.io_bytes)).or_else(none),
        io_serviced_recursive: reading.map(|r| entries(&r.usage.io_requests)).or_else(none),
        // Kept by schedulers that kernels have no more.
        io_queue_recursive: none(),
        io_service_time_recursive: none(),
        io_wait_time_recursive: none(),
        io_merged_recursive: none(),
        io_time_recursive: none(),
        sectors_recursive: none(),
    }
}

fn network(usage: &NetworkUsage) -> wire::ContainerNetworkStats {
    wire::ContainerNetworkStats {
        rx_bytes: Some(usage.received.bytes),
        rx_packets: Some(usage.received.packets),
        rx_errors: Some(usage.received.errors),
        rx_dropped: Some(usage.received.dropped),
        tx_bytes: Some(usage.sent.bytes),
        tx_packets: Some(usage.sent.packets),
        tx_errors: Some(usage.sent.errors),
        tx_dropped: Some(usage.sent.dropped),
        ..wire::ContainerNetworkStats::default()
    }
}
