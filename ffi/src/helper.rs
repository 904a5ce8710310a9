//! Where the helper is found: the `dhow` executable that becomes the monitor of a container.
//!
//! The first that applies:
//! 1. `dhow_engine_options.helper`;
//! 2. the environment's `DHOW_HELPER`, unless the program runs with more rights than its user (AT_SECURE);
//! 3. beside this library (or, linked statically, beside the program): from its directory, `../bin/dhow`,
//!    `../libexec/dhow/dhow`, the same one level higher (for `lib/x86_64-linux-gnu`), `dhow`;
//! 4. `dhow` in `PATH`, or, with more rights than the user's, in the system's own directories.

use crate::error::{dhow_error, dhow_status};
use std::ffi::{CStr, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// From the directory of the library.
const BESIDE: [&str; 5] =
    ["../bin/dhow", "../libexec/dhow/dhow", "../../bin/dhow", "../../libexec/dhow/dhow", "dhow"];

/// Where programs are when the environment may not say.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Finds it.
pub(crate) fn find(asked: Option<&Path>) -> Result<PathBuf, dhow_error> {
    if let Some(path) = asked {
        return Ok(path.to_owned());
    }
    if let Some(path) = environment("DHOW_HELPER").filter(|p| !p.is_empty()) {
        return Ok(path.into());
    }
    let beside = directory_of_this_library();
    let beside = beside.iter().flat_map(|directory| BESIDE.iter().map(|name| directory.join(name)));
    let path = environment("PATH").unwrap_or_else(|| SYSTEM_PATH.into());
    let in_path = std::env::split_paths(&path).filter(|d| d.is_absolute()).map(|d| d.join("dhow"));
    beside.chain(in_path).find(|candidate| is_executable(candidate)).ok_or_else(|| {
        dhow_error::new(
            dhow_status::DHOW_ERROR_NOT_FOUND,
            "the helper `dhow` is neither beside libdhow nor in PATH: set dhow_engine_options.helper or DHOW_HELPER",
        )
    })
}

/// A variable, unless the environment is somebody's with fewer rights.
fn environment(name: &str) -> Option<OsString> {
    // SAFETY: reads what the kernel told at exec.
    let secure = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
    if secure { None } else { std::env::var_os(name) }
}

fn directory_of_this_library() -> Option<PathBuf> {
    let ours = directory_of_this_library as fn() -> Option<PathBuf> as *const libc::c_void;
    // SAFETY: plain data, filled in by the call below.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: an address of this library, and a place for the answer.
    let known = unsafe { libc::dladdr(ours, &raw mut info) } != 0;
    if !known || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: not NULL, so the linker's text for the file, which lives as long as we are loaded.
    let file = OsStr::from_bytes(unsafe { CStr::from_ptr(info.dli_fname) }.to_bytes());
    let file = if file.as_bytes().contains(&b'/') { PathBuf::from(file) } else { "/proc/self/exe".into() };
    // Through links: `libdhow.so.0` may lie elsewhere than what it points to.
    Some(std::fs::canonicalize(file).ok()?.parent()?.to_owned())
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_taken_as_it_is() {
        assert_eq!(find(Some(Path::new("/no/such"))).ok(), Some(PathBuf::from("/no/such")));
    }

    #[test]
    fn this_program_is_found() {
        let exe = std::env::current_exe().unwrap();
        assert_eq!(directory_of_this_library().as_deref(), exe.parent());
    }

    #[test]
    fn directories_are_no_programs() {
        assert!(is_executable(Path::new("/bin/sh")));
        assert!(!is_executable(Path::new("/bin")));
        assert!(!is_executable(Path::new("/etc/passwd")));
    }
}
