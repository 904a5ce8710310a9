//! What a monitor gives up, so that whoever takes it over from inside a container has less of the host.
//!
//! | monitor of | before the first launch | once the program runs |
//! |---|---|---|
//! | a container | capabilities that neither a launch nor the container takes | nothing more: it may have to launch again |
//! | an exec session, a health probe | the same | all but three capabilities; no_new_privs; a filter of system calls |
//!
//! A filter and no_new_privs reach all that a process starts and cannot be undone, so a monitor that launches has none: a
//! container's restart policy can be changed while it runs.

use crate::facts::KernelVersion;
use crate::plan::{LaunchPlan, Scene};
use crate::seccomp;
use dhow_model::security::{SeccompProfile, capability_bit};
use dhow_model::{Error, Result, ResultExt};
use dhow_sys::{caps, process};

/// What mounts, namespaces, networks, cgroups, volumes, ids and limits of any container take, and its end.
const LAUNCHING: [&str; 20] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_ADMIN",
    "CAP_SYS_CHROOT",
    "CAP_SYS_NICE",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RESOURCE",
    // Copies into volumes keep SELinux labels that the host's policy does not know.
    "CAP_MAC_ADMIN",
];
/// What an engine's files below any directory, and signals to a process of any user, take.
const RECORDING: [&str; 3] = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL"];

/// Calls by which a process gets at others, at the kernel, or becomes another program.
const REFUSED: &str = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_ERRNO", "errnoRet": 1, "names": [
    "acct", "add_key", "bpf", "chroot", "clock_adjtime", "clock_settime", "delete_module", "execve", "execveat",
    "finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "init_module", "io_uring_enter", "io_uring_register",
    "io_uring_setup", "ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl", "mount", "mount_setattr",
    "move_mount", "name_to_handle_at", "open_by_handle_at", "open_tree", "perf_event_open", "personality", "pivot_root",
    "process_madvise", "process_vm_readv", "process_vm_writev", "ptrace", "quotactl", "quotactl_fd", "reboot",
    "request_key", "setdomainname", "sethostname", "setns", "settimeofday", "swapoff", "swapon", "syslog", "umount2",
    "unshare", "userfaultfd", "vhangup"
]}]}"#;

fn mask_of(names: &[&str]) -> u64 {
    names.iter().filter_map(|name| capability_bit(name)).fold(0, |mask, bit| mask | bit)
}

/// Before the first launch of `plan`.
///
/// # Errors
/// Never on a working kernel.
pub(super) fn before_launch(plan: &LaunchPlan) -> Result<()> {
    let mut mask = mask_of(&LAUNCHING) | plan.process.capabilities;
    if matches!(plan.scene, Scene::Container { clock_offsets: Some(_), .. }) {
        mask |= mask_of(&["CAP_SYS_TIME"]);
    }
    caps::keep_only(mask).context(|| "give up capabilities".to_owned())
}

/// When the program runs, in a monitor that launches nothing any more.
///
/// # Errors
/// Names what the kernel refuses. Then the monitor goes on with what it has.
pub(super) fn after_last_launch() -> Result<()> {
    caps::keep_only(mask_of(&RECORDING)).context(|| "give up capabilities".to_owned())?;
    process::set_no_new_privileges().context(|| "set no_new_privs".to_owned())?;
    let system = nix::sys::utsname::uname().context(|| "uname".to_owned())?;
    let kernel = KernelVersion::parse(&system.release().to_string_lossy())
        .ok_or_else(|| Error::internal("the kernel's release is not understood"))?;
    match seccomp::compile(&SeccompProfile::Custom(REFUSED.to_owned()), 0, kernel)? {
        Some(filter) => {
            dhow_sys::seccomp::install(&filter).context(|| "install the monitor's own filter".to_owned())
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_known_and_the_filter_compiles() {
        assert_eq!(mask_of(&LAUNCHING).count_ones(), 20);
        assert_eq!(mask_of(&RECORDING), 0b10_0011);
        let kernel = KernelVersion { major: 6, minor: 1 };
        let filter =
            seccomp::compile(&SeccompProfile::Custom(REFUSED.to_owned()), 0, kernel).unwrap().unwrap();
        assert!(filter.len() > 50 * dhow_sys::seccomp::INSTRUCTION_BYTES);
    }
}
