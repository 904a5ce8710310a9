//! Structures that may grow: each begins with `struct_size`, which the caller sets to `sizeof` of the structure
//! that it was compiled with. An older, shorter one gets zeros for what it does not know; a newer, longer one is
//! taken as long as what this library does not know is zero.

use crate::error::dhow_error;

/// A structure that begins with its size, and for which all bytes zero is a value.
///
/// # Safety
/// `repr(C)`, first field `struct_size: usize`, and every field valid for any bytes that C may put there.
pub(crate) unsafe trait Sized {
    /// Bytes of the first version: a shorter one is no such structure.
    const FIRST_SIZE: usize;
    /// Its name, for messages.
    const NAME: &'static str;
}

fn checked_size<T: Sized>(pointer: *const T) -> Result<usize, dhow_error> {
    // SAFETY: by the header's rules it points to a structure that begins with its size.
    let size = unsafe { pointer.cast::<usize>().read() };
    if size < T::FIRST_SIZE {
        return Err(dhow_error::invalid(format!(
            "{}.struct_size is {size}: set it to sizeof({})",
            T::NAME,
            T::NAME
        )));
    }
    Ok(size)
}

/// Reads options; NULL means all zeros.
pub(crate) unsafe fn read<T: Sized>(pointer: *const T) -> Result<T, dhow_error> {
    // SAFETY: the trait promises that zeros are a value.
    let mut value: T = unsafe { std::mem::zeroed() };
    if pointer.is_null() {
        return Ok(value);
    }
    let (size, known) = (checked_size(pointer)?, size_of::<T>());
    let bytes = pointer.cast::<u8>();
    for at in known..size {
        // SAFETY: the caller says that the structure is `size` bytes long.
        if unsafe { bytes.add(at).read() } != 0 {
            return Err(dhow_error::new(
                crate::error::dhow_status::DHOW_ERROR_UNSUPPORTED,
                format!("{} has an option that this version of libdhow does not know", T::NAME),
            ));
        }
    }
    // SAFETY: at most what both have; the trait promises that any bytes are a value.
    unsafe { (&raw mut value).cast::<u8>().copy_from_nonoverlapping(bytes, size.min(known)) };
    Ok(value)
}

/// Checks a structure to be filled in; [`write`] does so.
pub(crate) unsafe fn check<T: Sized>(pointer: *mut T) -> Result<(), dhow_error> {
    if pointer.is_null() {
        return Err(dhow_error::invalid(format!("the {} to fill in is NULL", T::NAME)));
    }
    checked_size(pointer).map(|_| ())
}

/// Fills in a structure that [`check`] accepted, as far as the caller knows it.
pub(crate) unsafe fn write<T: Sized>(pointer: *mut T, value: T) {
    // SAFETY: `check` accepted it, so it begins with its size, and that many bytes are the caller's.
    unsafe {
        let size = pointer.cast::<usize>().read();
        let known = size.min(size_of::<T>());
        let skip = size_of::<usize>();
        let from = (&raw const value).cast::<u8>().add(skip);
        pointer.cast::<u8>().add(skip).copy_from_nonoverlapping(from, known - skip);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::dhow_status;

    #[repr(C)]
    #[derive(Debug, PartialEq)]
    struct Grown {
        struct_size: usize,
        first: u64,
        second: u64,
    }

    // SAFETY: numbers only.
    unsafe impl Sized for Grown {
        const FIRST_SIZE: usize = 16;
        const NAME: &'static str = "grown";
    }

    fn status(words: &[usize]) -> Result<Grown, dhow_status> {
        // SAFETY: the first word tells the size of what follows, as every test here sees to.
        unsafe { read(words.as_ptr().cast::<Grown>()) }.map_err(|error| error.status)
    }

    #[test]
    fn shorter_and_longer_ones_are_taken() {
        assert_eq!(status(&[16, 7, 99]), Ok(Grown { struct_size: 16, first: 7, second: 0 }));
        assert_eq!(status(&[24, 7, 8]), Ok(Grown { struct_size: 24, first: 7, second: 8 }));
        assert_eq!(status(&[32, 7, 8, 0]), Ok(Grown { struct_size: 32, first: 7, second: 8 }));
        assert_eq!(status(&[32, 7, 8, 1]), Err(dhow_status::DHOW_ERROR_UNSUPPORTED));
        assert_eq!(status(&[0, 7, 8]), Err(dhow_status::DHOW_ERROR_INVALID_ARGUMENT));
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { read::<Grown>(std::ptr::null()) }.ok().map(|g| g.first), Some(0));
    }

    #[test]
    fn nothing_is_written_beyond_what_the_caller_has() {
        let mut words = [16_usize, 1, 2];
        // SAFETY: three words, of which the first says that two of them are the structure.
        unsafe {
            let place = words.as_mut_ptr().cast::<Grown>();
            check(place).ok().unwrap();
            write(place, Grown { struct_size: 24, first: 8, second: 9 });
        }
        assert_eq!(words, [16, 8, 2]);
    }
}
