//! What this machine offers: read once by the engine, then plain data for the planner.

use crate::cgroup::layout::CgroupLayout;
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use dhow_sys::Errno;
use dhow_sys::mount::FsContext;
use serde::{Deserialize, Serialize};
use std::ffi::CStr;

/// The host, as far as launching a container depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Which kernel.
    pub kernel: KernelVersion,
    /// Which cgroup hierarchies are mounted where.
    pub cgroup: CgroupLayout,
    /// Capabilities that this process may give to others.
    pub bounding_capabilities: u64,
    /// Capabilities that this process has itself.
    pub effective_capabilities: u64,
    /// This process's own resource limits, as far as a monitor of its has them.
    pub rlimits: Vec<RlimitFact>,
}

/// `major.minor` of a kernel release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KernelVersion {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
}

impl KernelVersion {
    /// Reads the beginning of a release such as `6.12.9-amd64`.
    pub fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        Some(Self { major, minor })
    }
}

/// One resource limit of this process, no higher than a monitor's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RlimitFact {
    /// Lower-case without `RLIMIT_`.
    pub name: String,
    /// `u64::MAX`: no limit.
    pub soft: u64,
    /// `u64::MAX`: no limit.
    pub hard: u64,
}

/// `CAP_SYS_RESOURCE` (include/uapi/linux/capability.h): raises hard resource limits.
const CAP_SYS_RESOURCE: u64 = 1 << 24;

impl HostFacts {
    /// The part of a capability set that we can hand on.
    pub(crate) fn grantable(&self, mask: u64) -> u64 {
        mask & self.bounding_capabilities & self.effective_capabilities
    }

    /// Whether a child may be given a higher hard limit than our own.
    pub fn may_raise_rlimits(&self) -> bool {
        self.effective_capabilities & CAP_SYS_RESOURCE != 0
    }
}

/// Reads the facts. A handful of small files; the engine does it once.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn probe() -> Result<HostFacts> {
    let release = read("/proc/sys/kernel/osrelease")?;
    let kernel = KernelVersion::parse(&release)
        .ok_or_else(|| Error::internal(format!("kernel release {release:?} is not understood")))?;
    let status = read("/proc/thread-self/status")?;
    let rlimits = dhow_sys::rlimit::NAMES
        .iter()
        .filter_map(|(name, resource)| {
            let (soft, hard) = dhow_sys::rlimit::get(*resource).ok()?;
            let hard = dhow_sys::birth::hard_limit(*resource, hard);
            Some(RlimitFact { name: (*name).to_owned(), soft, hard })
        })
        .collect();
    Ok(HostFacts {
        kernel,
        cgroup: CgroupLayout::probe()?,
        bounding_capabilities: status_mask(&status, "CapBnd:")?,
        effective_capabilities: status_mask(&status, "CapEff:")?,
        rlimits,
    })
}

/// Whether an overlay's layers can be given one by one (`lowerdir+`, Linux 6.7): as many as it takes, with
/// paths of any length. Asked with one of them.
///
/// # Errors
/// `Unsupported` when this kernel has no overlayfs.
pub(crate) fn overlay_takes_layers_one_by_one(layer: &CStr) -> Result<bool> {
    let context = FsContext::open(c"overlay").map_err(|errno| match errno {
        Errno::ENODEV => Error::unsupported("this kernel has no overlayfs, which images with layers need"),
        errno => Error::caused(ErrorKind::StartFailed, "fsopen overlay", errno),
    })?;
    // Before 6.5 options are not read until the mount: what no kernel knows is taken, too.
    if context.set_flag(c"no_such_option").is_ok() {
        return Ok(false);
    }
    // Linux 6.5 and 6.6 read at once, and do not know it. Any other trouble is told when the layer is used.
    Ok(context.set(c"lowerdir+", layer) != Err(Errno::EINVAL))
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(path).context(|| format!("read {path}"))
}

fn status_mask(status: &str, field: &str) -> Result<u64> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .ok_or_else(|| Error::internal(format!("/proc/thread-self/status has no usable {field}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases() {
        assert_eq!(KernelVersion::parse("6.12.9-amd64"), Some(KernelVersion { major: 6, minor: 12 }));
        assert_eq!(KernelVersion::parse("5.4"), Some(KernelVersion { major: 5, minor: 4 }));
        assert_eq!(KernelVersion::parse("six"), None);
        assert!(KernelVersion { major: 6, minor: 7 } > KernelVersion { major: 5, minor: 19 });
    }

    #[test]
    fn masks() {
        assert_eq!(status_mask("CapEff:\t00000000a80425fb\n", "CapEff:").unwrap(), 0xa804_25fb);
        assert!(status_mask("", "CapEff:").is_err());
    }
}
