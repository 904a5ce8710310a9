//! `info`: what is installed, what runs, and on what.

use super::version::{Version, version};
use crate::{Engine, Settings};
use dhow_model::{Result, ResultExt};
use dhow_runtime::HostFacts;
use std::path::PathBuf;

/// The state of the engine and its machine.
#[derive(Debug, Clone)]
pub struct Info {
    /// Versions.
    pub version: Version,
    /// A stable name for this root: made once.
    pub id: String,
    /// Host name.
    pub name: String,
    /// Where things are kept.
    pub root: PathBuf,
    /// Containers that run.
    pub running: u64,
    /// Containers that are paused.
    pub paused: u64,
    /// All other containers.
    pub stopped: u64,
    /// Images.
    pub images: u64,
    /// CPUs that are online.
    pub cpus: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// `PRETTY_NAME` of `/etc/os-release`.
    pub operating_system: String,
    /// `VERSION_ID` of `/etc/os-release`.
    pub os_version: String,
    /// What the kernel offers.
    pub facts: HostFacts,
    /// Whether new layers are indexed; else they are unpacked.
    pub indexes_layers: bool,
    /// Whether the kernel forwards packets, as containers on a bridge need it. The first such network turns it on.
    pub ipv4_forwarding: bool,
    /// What holds unless a command says otherwise.
    pub settings: Settings,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Collects it.
///
/// # Errors
/// When the database or `/proc` cannot be read.
pub fn info(engine: &Engine) -> Result<Info> {
    let version = version(engine)?;
    let (counts, images, id) =
        engine.db()?.read(|txn| Ok((txn.count_containers()?, txn.count_images()?, txn.engine_id()?)))?;
    let os_release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let memory = std::fs::read_to_string("/proc/meminfo").context(|| "read /proc/meminfo".to_owned())?;
    Ok(Info {
        version,
        id,
        name: nix::unistd::gethostname().context(|| "gethostname".to_owned())?.to_string_lossy().into_owned(),
        root: engine.layout().root().to_owned(),
        running: counts.running,
        paused: counts.paused,
        stopped: counts.stopped,
        images,
        cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as u64),
        memory_bytes: memory_total(&memory),
        operating_system: os_release_field(&os_release, "PRETTY_NAME"),
        os_version: os_release_field(&os_release, "VERSION_ID"),
        facts: engine.facts()?.clone(),
        indexes_layers: engine.layer_store().indexes(),
        ipv4_forwarding: std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward")
            .is_ok_and(|text| text.trim() == "1"),
        settings: engine.settings().clone(),
        warnings: Vec::new(),
    })
}

/// `MemTotal` in bytes; the file counts in KiB.
fn memory_total(meminfo: &str) -> u64 {
    meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

fn os_release_field(text: &str, key: &str) -> String {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .map(|value| value.trim_matches('"').to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_host() {
        assert_eq!(memory_total("MemFree: 1 kB\nMemTotal:       2 kB\n"), 2048);
        assert_eq!(os_release_field("ID=debian\nPRETTY_NAME=\"Debian 12\"\n", "PRETTY_NAME"), "Debian 12");
    }
}
