//! Which library, and which header.

use engine::embed;
use std::ffi::{CStr, c_char};

/// The version of this header. It grows by one with every addition; what programs rely on is only ever taken away
/// or changed together with the name of the library (`libdhow.so.0`).
pub const DHOW_ABI_VERSION: u32 = 1;

/// The version of dhow, "0.1.0".
const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => c"",
};

/// The version of the library that is linked, as text: "0.1.0".
///
/// Ownership: the text is constant. Threads: any. Errors: none. Since: ABI 1.
#[unsafe(no_mangle)]
pub extern "C" fn dhow_version() -> *const c_char {
    VERSION.as_ptr()
}

/// The `DHOW_ABI_VERSION` of the library that is linked. A program that was compiled with a higher one uses
/// functions, or options, that this library may not have.
///
/// Threads: any. Errors: none. Since: ABI 1.
#[unsafe(no_mangle)]
pub extern "C" fn dhow_abi_version() -> u32 {
    DHOW_ABI_VERSION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn library_and_engine_are_of_one_version() {
        assert_eq!(VERSION.to_str(), Ok(embed::VERSION));
    }
}

#[cfg(not(test))]
const _: () = assert!(!embed::VERSION.is_empty());
