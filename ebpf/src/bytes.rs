//! Structures that the kernel's side and ours share as bytes: the only `unsafe` of this crate.

#![allow(unsafe_code, reason = "bytes become structures here, and nowhere else")]

use crate::bindings::{trace_exec, trace_exit, trace_head, trace_oom, trace_open, trace_scope};
use aya::Pod;

// SAFETY: these are `repr(C)` structures of integers and arrays of integers, made by bindgen from the header
// that the probes are compiled with. Every bit pattern is a value of them.
unsafe impl Pod for trace_head {}
// SAFETY: as above.
unsafe impl Pod for trace_exec {}
// SAFETY: as above.
unsafe impl Pod for trace_exit {}
// SAFETY: as above.
unsafe impl Pod for trace_oom {}
// SAFETY: as above.
unsafe impl Pod for trace_open {}
// SAFETY: as above; it has no padding, so that it is also initialised memory when it goes to the kernel.
unsafe impl Pod for trace_scope {}

/// The structure at the beginning of `bytes`, and what follows it. `None` when there are too few.
pub(crate) fn split<T: Pod>(bytes: &[u8]) -> Option<(T, &[u8])> {
    let (head, rest) = bytes.split_at_checked(size_of::<T>())?;
    // SAFETY: `head` has exactly the size of `T`, of which every bit pattern is a value (`Pod`); the read makes
    // no demand on alignment.
    Some((unsafe { head.as_ptr().cast::<T>().read_unaligned() }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_bytes_are_no_structure() {
        assert!(split::<trace_exit>(&[0; size_of::<trace_exit>() - 1]).is_none());
        let mut bytes = vec![0; size_of::<trace_head>()];
        bytes[8] = 7;
        bytes.push(1);
        let (head, rest) = split::<trace_head>(&bytes).unwrap();
        assert_eq!((head.cgroup, rest), (7, &[1][..]));
    }

    #[test]
    fn what_goes_to_the_kernel_has_no_padding() {
        assert_eq!(size_of::<trace_scope>(), 64 + 5 * 8 + 8);
    }
}
