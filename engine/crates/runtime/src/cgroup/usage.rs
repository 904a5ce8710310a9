//! What a container uses: read from its cgroup, in one shape for v1 and v2.
//!
//! A controller that the machine lacks leaves its part empty; a cgroup that vanishes meanwhile is an error. The
//! parsers are pure.

use super::Cgroup;
use dhow_model::{Result, ResultExt};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// The kernel counts times in `/proc` and `cpuacct.stat` in hundredths of a second for every user (`USER_HZ`).
pub(crate) const NANOS_PER_TICK: u64 = 10_000_000;
const NANOS_PER_MICRO: u64 = 1_000;

/// What all of a container's processes use together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// Time on CPUs.
    pub cpu: CpuUsage,
    /// Memory; `None` without the controller.
    pub memory: Option<MemoryUsage>,
    /// Processes and threads; `None` without the controller.
    pub pids: Option<PidsUsage>,
    /// Block I/O in bytes.
    pub io_bytes: Vec<IoEntry>,
    /// Block I/O in requests.
    pub io_requests: Vec<IoEntry>,
}

/// Time on CPUs, in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CpuUsage {
    /// All of it.
    pub total_ns: u64,
    /// In programs.
    pub user_ns: u64,
    /// In the kernel.
    pub kernel_ns: u64,
    /// By CPU; empty on v2, which does not tell.
    pub per_cpu_ns: Vec<u64>,
    /// Enforcement periods of the quota.
    pub periods: u64,
    /// Those in which it was used up.
    pub throttled_periods: u64,
    /// For how long processes were held back.
    pub throttled_ns: u64,
}

/// Memory, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemoryUsage {
    /// Now, page cache included.
    pub bytes: u64,
    /// At most so far (v1 only).
    pub max_bytes: Option<u64>,
    /// How often the limit was hit (v1 only).
    pub failures: Option<u64>,
    /// The limit; far above any machine's memory when there is none.
    pub limit_bytes: u64,
    /// `memory.stat`.
    pub details: BTreeMap<String, u64>,
}

/// Processes and threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PidsUsage {
    /// Now.
    pub current: u64,
    /// `None`: no limit.
    pub limit: Option<u64>,
}

/// A sum over one device and one kind of operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoEntry {
    /// The device's major number.
    pub major: u64,
    /// Its minor number.
    pub minor: u64,
    /// `Read`, `Write`, … on v1; `read` and `write` on v2.
    pub operation: String,
    /// Bytes or requests.
    pub value: u64,
}

impl Cgroup {
    /// What its processes use, and have used.
    ///
    /// # Errors
    /// When the cgroup is gone (`NotFound` as its cause), or a file cannot be read.
    pub fn usage(&self) -> Result<Usage> {
        if self.paths().v1.is_empty() { self.usage_v2() } else { self.usage_v1() }
    }

    fn usage_v1(&self) -> Result<Usage> {
        let mut usage = Usage::default();
        if let Some(directory) = self.directory("cpuacct") {
            usage.cpu.total_ns = number(&read(directory, "cpuacct.usage")?);
            usage.cpu.per_cpu_ns = numbers(&read(directory, "cpuacct.usage_percpu")?);
            let stat = table(&read(directory, "cpuacct.stat")?);
            let ticks = |key: &str| stat.get(key).map_or(0, |ticks| ticks.saturating_mul(NANOS_PER_TICK));
            (usage.cpu.user_ns, usage.cpu.kernel_ns) = (ticks("user"), ticks("system"));
        }
        if let Some(directory) = self.directory("cpu") {
            throttling(&table(&read(directory, "cpu.stat")?), "throttled_time", 1, &mut usage.cpu);
        }
        if let Some(directory) = self.directory("memory") {
            usage.memory = Some(MemoryUsage {
                bytes: number(&read(directory, "memory.usage_in_bytes")?),
                max_bytes: Some(number(&read(directory, "memory.max_usage_in_bytes")?)),
                failures: Some(number(&read(directory, "memory.failcnt")?)),
                limit_bytes: number(&read(directory, "memory.limit_in_bytes")?),
                details: table(&read(directory, "memory.stat")?),
            });
        }
        usage.pids = self.directory("pids").map(pids).transpose()?;
        if let Some(directory) = self.directory("blkio") {
            usage.io_bytes = blkio(directory, "io_service_bytes")?;
            usage.io_requests = blkio(directory, "io_serviced")?;
        }
        Ok(usage)
    }

    fn usage_v2(&self) -> Result<Usage> {
        let mut usage = Usage::default();
        let Some(directory) = self.paths().unified.as_deref() else { return Ok(usage) };
        // There without the controller, too, but for the quota.
        let stat = table(&read(directory, "cpu.stat")?);
        let micros = |key: &str| stat.get(key).map_or(0, |us| us.saturating_mul(NANOS_PER_MICRO));
        usage.cpu.total_ns = micros("usage_usec");
        (usage.cpu.user_ns, usage.cpu.kernel_ns) = (micros("user_usec"), micros("system_usec"));
        throttling(&stat, "throttled_usec", NANOS_PER_MICRO, &mut usage.cpu);
        if let Some(bytes) = read_if_there(directory, "memory.current")? {
            usage.memory = Some(MemoryUsage {
                bytes: number(&bytes),
                max_bytes: None,
                failures: None,
                limit_bytes: number(&read(directory, "memory.max")?),
                details: table(&read(directory, "memory.stat")?),
            });
        }
        if directory.join("pids.current").exists() {
            usage.pids = Some(pids(directory)?);
        }
        if let Some(text) = read_if_there(directory, "io.stat")? {
            (usage.io_bytes, usage.io_requests) = io_stat(&text);
        }
        Ok(usage)
    }
}

fn throttling(stat: &BTreeMap<String, u64>, time: &str, unit_ns: u64, into: &mut CpuUsage) {
    let count = |key: &str| stat.get(key).copied().unwrap_or(0);
    into.periods = count("nr_periods");
    into.throttled_periods = count("nr_throttled");
    into.throttled_ns = count(time).saturating_mul(unit_ns);
}

fn pids(directory: &Path) -> Result<PidsUsage> {
    let limit = read(directory, "pids.max")?;
    Ok(PidsUsage { current: number(&read(directory, "pids.current")?), limit: limit.trim().parse().ok() })
}

/// v1 counts in the scheduler (bfq) if the disk uses it, else where requests are throttled.
fn blkio(directory: &Path, what: &str) -> Result<Vec<IoEntry>> {
    for file in [
        format!("blkio.bfq.{what}_recursive"),
        format!("blkio.throttle.{what}_recursive"),
        format!("blkio.throttle.{what}"),
    ] {
        let entries = read_if_there(directory, &file)?.map(|text| blkio_entries(&text)).unwrap_or_default();
        if !entries.is_empty() {
            return Ok(entries);
        }
    }
    Ok(Vec::new())
}

fn read(directory: &Path, file: &str) -> Result<String> {
    let path = directory.join(file);
    fs::read_to_string(&path).context(|| format!("read {}", path.display()))
}

fn read_if_there(directory: &Path, file: &str) -> Result<Option<String>> {
    let path = directory.join(file);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // A scheduler that no disk uses.
        Err(error) if error.raw_os_error() == Some(EOPNOTSUPP) => Ok(None),
        Err(error) => Err(error).context(|| format!("read {}", path.display())),
    }
}

const EOPNOTSUPP: i32 = 95;

/// A lone number; `max` is the largest there is.
fn number(text: &str) -> u64 {
    match text.trim() {
        "max" => u64::MAX,
        digits => digits.parse().unwrap_or(0),
    }
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_whitespace().filter_map(|n| n.parse().ok()).collect()
}

/// Lines of `key value`.
pub(crate) fn table(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            let (key, value) = line.split_once(' ')?;
            Some((key.to_owned(), value.trim().parse().ok()?))
        })
        .collect()
}

/// Lines of `8:0 Read 4096`; the last, `Total 4096`, is the sum of all and has no device.
fn blkio_entries(text: &str) -> Vec<IoEntry> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = device(words.next()?)?;
        let operation = words.next()?.to_owned();
        Some(IoEntry { major, minor, operation, value: words.next()?.parse().ok()? })
    };
    text.lines().filter_map(entry).collect()
}

/// Lines of `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`: bytes, and requests.
fn io_stat(text: &str) -> (Vec<IoEntry>, Vec<IoEntry>) {
    let (mut bytes, mut requests) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        for word in words {
            let Some((key, Ok(value))) = word.split_once('=').map(|(k, v)| (k, v.parse())) else { continue };
            let (list, operation) = match key {
                "rbytes" => (&mut bytes, "read"),
                "wbytes" => (&mut bytes, "write"),
                "rios" => (&mut requests, "read"),
                "wios" => (&mut requests, "write"),
                _ => continue,
            };
            list.push(IoEntry { major, minor, operation: operation.to_owned(), value });
        }
    }
    (bytes, requests)
}

fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::{CgroupPaths, V1Path};

    fn entry(operation: &str, value: u64) -> IoEntry {
        IoEntry { major: 8, minor: 16, operation: operation.into(), value }
    }

    fn write(directory: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            fs::write(directory.join(name), text).unwrap();
        }
    }

    #[test]
    fn v2() {
        let directory = tempfile::tempdir().unwrap();
        let files = [
            (
                "cpu.stat",
                "usage_usec 50\nuser_usec 30\nsystem_usec 20\nnr_periods 9\nnr_throttled 4\nthrottled_usec 7\n",
            ),
            ("memory.current", "4096\n"),
            ("memory.max", "max\n"),
            ("memory.stat", "anon 1\ninactive_file 5\n"),
            ("pids.current", "3\n"),
            ("pids.max", "max\n"),
            ("io.stat", "8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n8:0 \n"),
        ];
        write(directory.path(), &files);
        let unified = Some(directory.path().to_owned());
        let usage = Cgroup::from_paths(CgroupPaths { v1: vec![], unified }).usage().unwrap();
        assert_eq!(usage.cpu.total_ns, 50_000);
        assert_eq!((usage.cpu.periods, usage.cpu.throttled_periods, usage.cpu.throttled_ns), (9, 4, 7_000));
        let memory = usage.memory.unwrap();
        assert_eq!((memory.bytes, memory.limit_bytes, memory.details["inactive_file"]), (4096, u64::MAX, 5));
        assert_eq!(usage.pids, Some(PidsUsage { current: 3, limit: None }));
        assert_eq!(usage.io_bytes, [entry("read", 1), entry("write", 2)]);
        assert_eq!(usage.io_requests, [entry("read", 3), entry("write", 4)]);
    }

    #[test]
    fn v1() {
        let directory = tempfile::tempdir().unwrap();
        let files = [
            ("cpuacct.usage", "500\n"),
            ("cpuacct.usage_percpu", "300 200 \n"),
            ("cpuacct.stat", "user 2\nsystem 1\n"),
            ("cpu.stat", "nr_periods 9\nnr_throttled 4\nthrottled_time 70\n"),
            ("memory.usage_in_bytes", "4096\n"),
            ("memory.max_usage_in_bytes", "8192\n"),
            ("memory.failcnt", "2\n"),
            ("memory.limit_in_bytes", "67108864\n"),
            ("memory.stat", "cache 1\ntotal_inactive_file 5\n"),
            ("pids.current", "3\n"),
            ("pids.max", "8\n"),
            ("blkio.bfq.io_service_bytes_recursive", "Total 0\n"),
            ("blkio.throttle.io_service_bytes", "8:16 Read 10\n8:16 Write 20\nTotal 30\n"),
        ];
        write(directory.path(), &files);
        let controllers = ["cpu", "cpuacct", "memory", "pids", "blkio"].map(str::to_owned).to_vec();
        let v1 = vec![V1Path { controllers, path: directory.path().to_owned() }];
        let usage = Cgroup::from_paths(CgroupPaths { v1, unified: None }).usage().unwrap();
        assert_eq!(usage.cpu.per_cpu_ns, [300, 200]);
        assert_eq!((usage.cpu.user_ns, usage.cpu.kernel_ns), (20_000_000, 10_000_000));
        assert_eq!(usage.cpu.throttled_ns, 70);
        let memory = usage.memory.unwrap();
        assert_eq!((memory.max_bytes, memory.failures, memory.limit_bytes), (Some(8192), Some(2), 64 << 20));
        assert_eq!(usage.pids, Some(PidsUsage { current: 3, limit: Some(8) }));
        assert_eq!(usage.io_bytes, [entry("Read", 10), entry("Write", 20)]);
    }
}
