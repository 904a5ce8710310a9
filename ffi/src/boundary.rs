//! Both directions across the border: what comes in is checked, what goes out can be owned by C, and no panic
//! passes.

use crate::error::{dhow_error, dhow_status};
use std::cell::RefCell;
use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Once;

/// What the inside of a call gives: a status that is no error, or an error.
pub(crate) type Outcome = Result<dhow_status, dhow_error>;

/// The whole of every call that can fail: nothing unwinds out of it, and an error goes to `error`.
pub(crate) fn call(error: *mut *mut dhow_error, body: impl FnOnce() -> Outcome) -> dhow_status {
    keep_panics_quiet();
    if !error.is_null() {
        // SAFETY: not NULL, so by the header's rules a place for one pointer.
        unsafe { error.write(std::ptr::null_mut()) };
    }
    // What a panic leaves half-done is inside the engine, whose locks bear it (`PoisonError::into_inner`), or in
    // the handle, which the status tells to close.
    let failed = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(status)) => return status,
        Ok(Err(failed)) => failed,
        Err(_) => {
            let why = PANIC.with(|slot| slot.borrow_mut().take()).unwrap_or_default();
            dhow_error::new(dhow_status::DHOW_ERROR_PANIC, format!("a defect of libdhow: {why}"))
        }
    };
    let status = failed.status;
    if !error.is_null() {
        // SAFETY: as above.
        unsafe { error.write(Box::into_raw(Box::new(failed))) };
    }
    status
}

/// The same for what can free and close only: it has nobody to tell.
pub(crate) fn quietly(body: impl FnOnce()) {
    keep_panics_quiet();
    let _ = catch_unwind(AssertUnwindSafe(body));
}

thread_local! {
    /// What the last panic of this thread said.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic writes to standard error unless told otherwise, and that is the host's. The hook belongs to the copy
/// of Rust's library inside this one, so a host in Rust keeps its own.
fn keep_panics_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANIC.with(|slot| *slot.borrow_mut() = Some(info.to_string().replace('\n', " ")));
            // A failed test says why.
            if cfg!(test) {
                usual(info);
            }
        }));
    });
}

/// A handle that must be there.
pub(crate) unsafe fn handle<'a, T>(pointer: *const T, name: &str) -> Result<&'a T, dhow_error> {
    // SAFETY: NULL, or by the caller's contract a handle of this library that was not closed.
    unsafe { pointer.as_ref() }.ok_or_else(|| dhow_error::invalid(format!("{name} is NULL")))
}

/// A place to write to that must be there.
pub(crate) fn place<T>(pointer: *mut T, name: &str) -> Result<*mut T, dhow_error> {
    if pointer.is_null() { Err(dhow_error::invalid(format!("{name} is NULL"))) } else { Ok(pointer) }
}

/// Text that may be NULL.
pub(crate) unsafe fn optional_text<'a>(
    pointer: *const c_char,
    name: &str,
) -> Result<Option<&'a str>, dhow_error> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, so by the header's rules a text that ends with a zero byte and outlives the call.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map(Some).map_err(|_| dhow_error::invalid(format!("{name} is not UTF-8")))
}

/// Text that must be there.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<&'a str, dhow_error> {
    // SAFETY: as for the caller.
    unsafe { optional_text(pointer, name) }?.ok_or_else(|| dhow_error::invalid(format!("{name} is NULL")))
}

/// A path that may be NULL. Paths need not be UTF-8.
pub(crate) unsafe fn optional_path<'a>(pointer: *const c_char) -> Option<&'a Path> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: as in `optional_text`.
    Some(Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(pointer) }.to_bytes())))
}

/// A copy for C to own, with a zero byte after it: `dhow_string_free` gives it back.
pub(crate) fn owned_bytes(bytes: &[u8]) -> Result<*mut u8, dhow_error> {
    // SAFETY: a size that is not zero; the result is checked.
    let copy: *mut u8 = unsafe { libc::malloc(bytes.len() + 1) }.cast();
    if copy.is_null() {
        return Err(dhow_error::new(dhow_status::DHOW_ERROR_UNAVAILABLE, "out of memory"));
    }
    // SAFETY: a fresh allocation of one byte more than `bytes`.
    unsafe {
        copy.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        copy.add(bytes.len()).write(0);
    }
    Ok(copy)
}

/// A text for C to own.
pub(crate) fn owned_text(text: &str) -> Result<*mut c_char, dhow_error> {
    // JSON escapes zero bytes, and ids have none.
    owned_bytes(text.as_bytes()).map(<*mut u8>::cast)
}

/// Frees a text that a function of this library handed out. NULL is fine.
///
/// Ownership: takes `text`. Threads: any. Errors: none. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_string_free(text: *mut c_char) {
    // SAFETY: NULL, or made by `owned_bytes` and by its contract freed once.
    unsafe { libc::free(text.cast()) };
}

/// Refuses bits that this version does not know.
pub(crate) fn known_flags(flags: u32, known: u32, name: &str) -> Result<u32, dhow_error> {
    match flags & !known {
        0 => Ok(flags),
        unknown => Err(dhow_error::invalid(format!("{name} has unknown bits: {unknown:#x}"))),
    }
}

/// A time limit: negative means none.
pub(crate) fn timeout(milliseconds: i64) -> Option<std::time::Duration> {
    u64::try_from(milliseconds).ok().map(std::time::Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{dhow_error_free, dhow_error_message};

    #[test]
    fn a_panic_becomes_a_status_and_a_message() {
        let mut error = std::ptr::null_mut();
        let status = call(&raw mut error, || panic!("seven\nlines"));
        assert_eq!(status, dhow_status::DHOW_ERROR_PANIC);
        // SAFETY: `call` has just made it.
        let message = unsafe { CStr::from_ptr(dhow_error_message(error)) }.to_str().unwrap().to_owned();
        assert!(message.contains("boundary.rs") && message.contains("seven lines"), "{message}");
        // SAFETY: made above, freed once.
        unsafe { dhow_error_free(error) };
        assert_eq!(call(std::ptr::null_mut(), || panic!("unheard")), dhow_status::DHOW_ERROR_PANIC);
        quietly(|| panic!("unheard"));
    }

    #[test]
    fn an_old_error_is_not_left_in_its_place() {
        let mut error = std::ptr::dangling_mut();
        assert_eq!(call(&raw mut error, || Ok(dhow_status::DHOW_OK)), dhow_status::DHOW_OK);
        assert!(error.is_null());
    }

    #[test]
    fn text_is_checked() {
        // SAFETY: constants that end with a zero byte, or NULL.
        unsafe {
            assert!(text(std::ptr::null(), "name").is_err());
            assert!(text(c"\xff".as_ptr(), "name").is_err());
            assert_eq!(text(c"a".as_ptr(), "name").ok(), Some("a"));
            assert_eq!(optional_text(std::ptr::null(), "name").ok(), Some(None));
        }
    }
}
