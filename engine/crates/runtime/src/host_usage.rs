//! What the whole machine uses, and what one network namespace has carried: from `/proc` alone.

use crate::cgroup::NANOS_PER_TICK;
use dhow_model::{Result, ResultExt};
use dhow_sys::process;
use std::collections::BTreeMap;
use std::fs;

/// The machine, as far as a container's share is counted against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostUsage {
    /// Time of all CPUs since boot, idle included.
    pub cpu_ns: u64,
    /// CPUs that are online.
    pub online_cpus: u32,
    /// All memory.
    pub memory_bytes: u64,
}

/// Counters of a network interface since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NetworkUsage {
    /// Received.
    pub received: Traffic,
    /// Sent.
    pub sent: Traffic,
}

/// One direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Packets with errors.
    pub errors: u64,
    /// Packets that were dropped.
    pub dropped: u64,
}

/// Reads what the machine uses.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn host_usage() -> Result<HostUsage> {
    let read = |path: &str| fs::read_to_string(path).context(|| format!("read {path}"));
    let (cpu_ns, online_cpus) = parse_stat(&read("/proc/stat")?);
    Ok(HostUsage { cpu_ns, online_cpus, memory_bytes: parse_memory(&read("/proc/meminfo")?) })
}

/// Reads the interfaces of a process's network namespace, but for its loopback.
///
/// # Errors
/// When the process is gone, or is another one than that which started at `start_ticks`.
pub fn network_usage(pid: i32, start_ticks: u64) -> Result<BTreeMap<String, NetworkUsage>> {
    let path = format!("/proc/{pid}/net/dev");
    let text = fs::read_to_string(&path).context(|| format!("read {path}"))?;
    // Asked afterwards: it was that process all the while.
    match process::start_ticks(pid) {
        Ok(ticks) if ticks == start_ticks => Ok(parse_interfaces(&text)),
        _ => Err(dhow_model::Error::not_found(format!("process {pid} is gone"))),
    }
}

/// The first line of `/proc/stat` sums up all CPUs: user, nice, system, idle, iowait, irq, softirq. What follows
/// (time stolen, and guests', which is user time) is not counted, as Docker does not.
fn parse_stat(text: &str) -> (u64, u32) {
    let mut ticks: u64 = 0;
    let mut cpus = 0;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("cpu") => {
                ticks = words.take(7).filter_map(|n| n.parse::<u64>().ok()).fold(0, u64::saturating_add);
            }
            Some(name) if name.starts_with("cpu") => cpus += 1,
            _ => {}
        }
    }
    (ticks.saturating_mul(NANOS_PER_TICK), cpus)
}

fn parse_memory(text: &str) -> u64 {
    text.lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
        })
        .map_or(0, |kib| kib.saturating_mul(1024))
}

/// Two lines of heads, then `eth0: 16 numbers`.
fn parse_interfaces(text: &str) -> BTreeMap<String, NetworkUsage> {
    let interface = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let numbers: Vec<u64> = rest.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let direction = |at: usize| {
            let [bytes, packets, errors, dropped] = *numbers.get(at..at + 4)? else { return None };
            Some(Traffic { bytes, packets, errors, dropped })
        };
        Some((name.trim().to_owned(), NetworkUsage { received: direction(0)?, sent: direction(8)? }))
    };
    text.lines().skip(2).filter_map(interface).filter(|(name, _)| name != "lo").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_cpus() {
        let text = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 0 0 0\ncpu1 0 0 0 0\nintr 5\n";
        assert_eq!(parse_stat(text), (28 * NANOS_PER_TICK, 2));
        assert_eq!(parse_memory("MemTotal:       16 kB\nMemFree: 1 kB\n"), 16 << 10);
    }

    #[test]
    fn interfaces() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes ...\n\
                    \u{20}   lo: 9 9 9 9 0 0 0 0 9 9 9 9 0 0 0 0\n\
                    \u{20} eth0:1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n";
        let found = parse_interfaces(text);
        let traffic = |bytes, packets, errors, dropped| Traffic { bytes, packets, errors, dropped };
        assert_eq!(found.len(), 1);
        assert_eq!(found["eth0"], NetworkUsage { received: traffic(1, 2, 3, 4), sent: traffic(5, 6, 7, 8) });
    }

    #[test]
    fn this_machine() {
        let usage = host_usage().unwrap();
        assert!(usage.cpu_ns > 0 && usage.online_cpus > 0 && usage.memory_bytes > 0, "{usage:?}");
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(network_usage(own, process::start_ticks(own).unwrap()).is_ok());
        assert!(network_usage(own, 1).is_err());
    }
}
