//! Failed calls: [`Errno`] where nothing may be allocated, [`Error`] where someone will read it.

pub use nix::errno::Errno;
use std::fmt;

/// Result of a call that reports only the number.
pub type Result<T, E = Errno> = std::result::Result<T, E>;

/// A failed call: which one, on what, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Name of the call as in the manual.
    pub call: &'static str,
    /// What it was called on: a path, a pid, an option.
    pub object: String,
    /// Why it failed.
    pub errno: Errno,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.call)?;
        if !self.object.is_empty() {
            write!(f, " {}", self.object)?;
        }
        write!(f, ": {}", reason(self.errno))
    }
}

impl std::error::Error for Error {}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        std::io::Error::from_raw_os_error(error.errno as i32)
    }
}

/// The kernel's word for an error, as users know it from other tools: `no such file or directory`.
pub fn reason(errno: Errno) -> String {
    let text = errno.desc();
    let mut letters = text.chars();
    match letters.next() {
        // "No such file" reads as "no such file" in the middle of a line; "I/O error" and "RFS…" stay.
        Some(first) if letters.clone().next().is_some_and(char::is_lowercase) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

/// Adds call and object to a bare error number.
pub trait OnErrno<T> {
    /// `call` is the manual's name, `object` what it was called on.
    fn on(self, call: &'static str, object: impl fmt::Display) -> std::result::Result<T, Error>;
}

impl<T> OnErrno<T> for Result<T> {
    fn on(self, call: &'static str, object: impl fmt::Display) -> std::result::Result<T, Error> {
        self.map_err(|errno| Error { call, object: object.to_string(), errno })
    }
}

/// Turns the kernel's `-1 and errno` into a result.
pub(crate) fn check(value: libc::c_long) -> Result<libc::c_long> {
    if value == -1 { Err(Errno::last()) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_call_object_and_reason() {
        let failed: Result<()> = Err(Errno::ENOENT);
        let error = failed.on("openat2", "/etc/passwd").unwrap_err();
        assert_eq!(error.to_string(), "openat2 /etc/passwd: no such file or directory");
        assert_eq!(reason(Errno::EIO), "I/O error");
    }
}
