//! System call filters: Docker's JSON policy form compiled to a classic BPF program.
//!
//! ```text
//! JSON ── profile.rs ──► rules for these capabilities, this kernel, this architecture
//!                              │ table.rs: names to numbers, per architecture of the machine
//!                              ▼
//!                   program.rs: binary search by number, argument tests at the leaves
//! ```
//!
//! The default policy is `default.json`, Docker's own but for one thing: 32-bit `socketcall` cannot open
//! sockets (it answers ENOSYS, as on a kernel without it), because a filter cannot see the address family
//! there, and AF_ALG and AF_VSOCK must stay closed.
//!
//! Two things go beyond what a profile says, as in runc: arguments that the kernel reads as 32 bits are compared in
//! 32 bits (`narrow.rs`), and a call newer than every call that the profile names answers ENOSYS, so that a C library
//! falls back to an older call.

mod narrow;
mod profile;
mod program;
mod table;
#[cfg(test)]
mod tests;

use crate::facts::KernelVersion;
use dhow_model::security::SeccompProfile;
use dhow_model::{Error, Result, ResultExt};

const DEFAULT: &str = include_str!("default.json");

/// Compiles a profile for a process with these capabilities, on this machine's architecture and kernel.
/// The program is an array of `sock_filter` in native byte order; `None` means unconfined.
///
/// # Errors
/// `InvalidArgument` for a malformed custom profile; `Unsupported` for an action or an architecture that we
/// cannot offer.
pub fn compile(
    profile: &SeccompProfile,
    capability_mask: u64,
    kernel: KernelVersion,
) -> Result<Option<Vec<u8>>> {
    let json = match profile {
        SeccompProfile::Unconfined => return Ok(None),
        SeccompProfile::Default => DEFAULT,
        SeccompProfile::Custom(json) => json,
    };
    compile_json(json, capability_mask, kernel)
        .map(Some)
        .context(|| "decoding seccomp profile failed".to_owned())
}

/// A profile in OCI's form (runtime-spec, config-linux.md), as JSON: for runtimes that compile it themselves.
///
/// # Errors
/// As [`compile`].
pub fn to_oci(
    profile: &SeccompProfile,
    capability_mask: u64,
    kernel: KernelVersion,
) -> Result<Option<String>> {
    let json = match profile {
        SeccompProfile::Unconfined => return Ok(None),
        SeccompProfile::Default => DEFAULT,
        SeccompProfile::Custom(json) => json,
    };
    let profile = profile::parse(json).context(|| "decoding seccomp profile failed".to_owned())?;
    Ok(Some(profile.to_oci(capability_mask, kernel).to_string()))
}

fn compile_json(json: &str, capability_mask: u64, kernel: KernelVersion) -> Result<Vec<u8>> {
    let policy = profile::parse(json)?.select(capability_mask, kernel)?;
    let instructions = program::assemble(&policy)?;
    if instructions.len() > dhow_sys::seccomp::MAX_INSTRUCTIONS {
        return Err(Error::invalid(format!(
            "the profile needs {} instructions, the kernel takes {}",
            instructions.len(),
            dhow_sys::seccomp::MAX_INSTRUCTIONS
        )));
    }
    Ok(instructions.iter().flat_map(|i| i.to_bytes()).collect())
}
