//! What can go wrong, with numbers that never change their meaning.

use engine::{Error, ErrorKind, embed};
use std::ffi::{CString, c_char};

/// What every call that can fail returns. `DHOW_OK` is success, `DHOW_AGAIN` and `DHOW_END` tell of a stream, and
/// everything else is an error. Numbers are never reused; a newer library may return numbers that this header
/// does not know: take them for `DHOW_ERROR_INTERNAL`.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::upper_case_acronyms, reason = "the names are those of the C header")]
pub enum dhow_status {
    /// It was done.
    DHOW_OK = 0,
    /// The request itself is wrong: a NULL where none may be, text that is not UTF-8, malformed JSON, a bad value.
    DHOW_ERROR_INVALID_ARGUMENT = 1,
    /// What was named does not exist.
    DHOW_ERROR_NOT_FOUND = 2,
    /// It exists, but its state or another object forbids the operation.
    DHOW_ERROR_CONFLICT = 3,
    /// It is in the wanted state already: a start of a running container.
    DHOW_ERROR_NOT_MODIFIED = 4,
    /// The caller, or this kernel, lacks the permission.
    DHOW_ERROR_FORBIDDEN = 5,
    /// Credentials are missing or wrong. No function of this version needs any.
    DHOW_ERROR_UNAUTHORIZED = 6,
    /// This build, kernel or machine does not offer what was asked for.
    DHOW_ERROR_UNSUPPORTED = 7,
    /// The command is not in the container's filesystem. A shell would say 127.
    DHOW_ERROR_COMMAND_NOT_FOUND = 8,
    /// The command is there but cannot be executed. A shell would say 126.
    DHOW_ERROR_COMMAND_NOT_EXECUTABLE = 9,
    /// The process could not be started for another reason.
    DHOW_ERROR_START_FAILED = 10,
    /// Data does not match its digest or its format.
    DHOW_ERROR_CORRUPT = 11,
    /// Something that is needed cannot be reached now.
    DHOW_ERROR_UNAVAILABLE = 12,
    /// A defect, or an unexpected refusal of the operating system.
    DHOW_ERROR_INTERNAL = 13,
    /// The time that the caller gave is over.
    DHOW_ERROR_TIMEOUT = 14,
    /// The caller's own callback ended it.
    DHOW_ERROR_CANCELLED = 15,
    /// The library met a defect of its own and broke the call off. The handles that were given to the call should
    /// be closed; the rest of the library, and what is on disk, is whole.
    DHOW_ERROR_PANIC = 16,
    /// Not an error: nothing is there now. Poll the descriptor, then ask again.
    DHOW_AGAIN = 1000,
    /// Not an error: nothing will come any more.
    DHOW_END = 1001,
}

/// An error: its status, one readable line, and what the operating system said if that is what failed.
pub struct dhow_error {
    pub(crate) status: dhow_status,
    message: CString,
    errno: i32,
}

impl dhow_error {
    /// An error of the library's own.
    pub(crate) fn new(status: dhow_status, message: impl Into<Vec<u8>>) -> Self {
        let mut bytes = message.into();
        bytes.retain(|byte| *byte != 0);
        Self { status, message: CString::new(bytes).unwrap_or_default(), errno: 0 }
    }

    pub(crate) fn invalid(message: impl Into<Vec<u8>>) -> Self {
        Self::new(dhow_status::DHOW_ERROR_INVALID_ARGUMENT, message)
    }
}

impl From<Error> for dhow_error {
    fn from(error: Error) -> Self {
        let errno = embed::errno(&error).unwrap_or(0);
        Self { errno, ..Self::new(status_of(error.kind()), error.to_string()) }
    }
}

/// The one table from the engine's kinds to numbers.
pub(crate) fn status_of(kind: ErrorKind) -> dhow_status {
    match kind {
        ErrorKind::InvalidArgument => dhow_status::DHOW_ERROR_INVALID_ARGUMENT,
        ErrorKind::NotFound => dhow_status::DHOW_ERROR_NOT_FOUND,
        ErrorKind::Conflict => dhow_status::DHOW_ERROR_CONFLICT,
        ErrorKind::NotModified => dhow_status::DHOW_ERROR_NOT_MODIFIED,
        ErrorKind::Forbidden => dhow_status::DHOW_ERROR_FORBIDDEN,
        ErrorKind::Unauthorized => dhow_status::DHOW_ERROR_UNAUTHORIZED,
        ErrorKind::Unsupported => dhow_status::DHOW_ERROR_UNSUPPORTED,
        ErrorKind::CommandNotFound => dhow_status::DHOW_ERROR_COMMAND_NOT_FOUND,
        ErrorKind::CommandNotExecutable => dhow_status::DHOW_ERROR_COMMAND_NOT_EXECUTABLE,
        ErrorKind::StartFailed => dhow_status::DHOW_ERROR_START_FAILED,
        ErrorKind::Corrupt => dhow_status::DHOW_ERROR_CORRUPT,
        ErrorKind::Unavailable => dhow_status::DHOW_ERROR_UNAVAILABLE,
        // `ErrorKind` is open for more kinds; `every_kind_has_a_number` keeps this from hiding one.
        ErrorKind::Internal | _ => dhow_status::DHOW_ERROR_INTERNAL,
    }
}

/// The number of a status, from 0 for `error` NULL.
///
/// Ownership: `error` stays the caller's. Threads: any. Errors: none. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_error_status(error: *const dhow_error) -> dhow_status {
    // SAFETY: NULL, or an error that this library made and that was not freed.
    unsafe { error.as_ref() }.map_or(dhow_status::DHOW_OK, |error| error.status)
}

/// What went wrong, on one line, in UTF-8: the operation, the object and the cause. "" for `error` NULL.
///
/// Ownership: the text belongs to `error` and goes with it. Threads: any. Errors: none. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_error_message(error: *const dhow_error) -> *const c_char {
    // SAFETY: as in `dhow_error_status`.
    unsafe { error.as_ref() }.map_or(c"".as_ptr(), |error| error.message.as_ptr())
}

/// The errno behind the error, as in <errno.h>; 0 when it was not the operating system that failed.
///
/// Ownership: `error` stays the caller's. Threads: any. Errors: none. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_error_errno(error: *const dhow_error) -> i32 {
    // SAFETY: as in `dhow_error_status`.
    unsafe { error.as_ref() }.map_or(0, |error| error.errno)
}

/// Frees an error. NULL is fine.
///
/// Ownership: takes `error`. Threads: any. Errors: none. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_error_free(error: *mut dhow_error) {
    if !error.is_null() {
        // SAFETY: made by `Box::into_raw` in `boundary.rs`, and by its contract freed once.
        drop(unsafe { Box::from_raw(error) });
    }
}

/// The name of a status as this header has it, `DHOW_ERROR_NOT_FOUND`; NULL for a number that it does not know.
///
/// Ownership: the text is constant. Threads: any. Errors: none. Since: ABI 1.
#[unsafe(no_mangle)]
pub extern "C" fn dhow_status_name(status: i32) -> *const c_char {
    let found = NAMES.iter().find(|(known, _)| *known as i32 == status);
    found.map_or(std::ptr::null(), |(_, name)| name.as_ptr())
}

/// Every status and its name, in the order of the numbers.
macro_rules! names {
    ($($name:ident),* $(,)?) => {
        pub(crate) const NAMES: &[(dhow_status, &std::ffi::CStr)] = &[$((
            dhow_status::$name,
            match std::ffi::CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => c"",
            },
        )),*];
    };
}
names![
    DHOW_OK,
    DHOW_ERROR_INVALID_ARGUMENT,
    DHOW_ERROR_NOT_FOUND,
    DHOW_ERROR_CONFLICT,
    DHOW_ERROR_NOT_MODIFIED,
    DHOW_ERROR_FORBIDDEN,
    DHOW_ERROR_UNAUTHORIZED,
    DHOW_ERROR_UNSUPPORTED,
    DHOW_ERROR_COMMAND_NOT_FOUND,
    DHOW_ERROR_COMMAND_NOT_EXECUTABLE,
    DHOW_ERROR_START_FAILED,
    DHOW_ERROR_CORRUPT,
    DHOW_ERROR_UNAVAILABLE,
    DHOW_ERROR_INTERNAL,
    DHOW_ERROR_TIMEOUT,
    DHOW_ERROR_CANCELLED,
    DHOW_ERROR_PANIC,
    DHOW_AGAIN,
    DHOW_END,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_number() {
        assert_eq!(ErrorKind::ALL.len(), 13, "a new kind needs a number, here and in the header");
        let mut seen = std::collections::BTreeSet::new();
        for kind in ErrorKind::ALL {
            assert!(seen.insert(status_of(*kind) as i32), "{kind:?} shares its number");
            assert_ne!(status_of(*kind), dhow_status::DHOW_OK);
        }
        assert_eq!(status_of(ErrorKind::Internal) as i32, 13);
    }

    #[test]
    fn messages_and_numbers_come_through() {
        let low = std::io::Error::from_raw_os_error(13);
        let error = dhow_error::from(Error::caused(ErrorKind::Forbidden, "open \0x", low));
        assert_eq!((error.status, error.errno), (dhow_status::DHOW_ERROR_FORBIDDEN, 13));
        assert_eq!(error.message.to_str().unwrap(), "open x: Permission denied (os error 13)");
    }
}
