//! Every raw system call of dhow, and all of its `unsafe`.
//!
//! A function here does one call, names it after the manual page, takes borrowed descriptors and C strings,
//! returns [`Errno`], allocates nothing and takes no lock: so the child of a clone may use it too. Callers that
//! may allocate add what the call was about with [`OnErrno::on`], which makes an [`Error`] that names the call,
//! the object and the errno. No container words here: the crate knows mounts and processes, not images.

#![allow(unsafe_code, reason = "this is the crate that holds it, for all others")]

pub mod birth;
pub mod bpf;
pub mod caps;
pub mod clock;
pub mod clone;
pub mod error;
pub mod file_ids;
pub mod fsat;
pub mod futex;
pub mod inherited;
pub mod memfd;
pub mod memory;
pub mod mount;
pub mod mount_namespace;
pub mod openat2;
pub mod process;
pub mod pty;
pub mod quota;
pub mod rlimit;
pub mod roll;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod spawn;
pub mod user_namespace;
pub mod xattr;
pub mod xattr_ids;

pub use error::{Errno, Error, OnErrno, Result};
