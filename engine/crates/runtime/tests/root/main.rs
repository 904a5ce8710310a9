//! The runtime against the real kernel, as root, with busybox as the container's world.
//!
//! Needs root and Debian's `busybox-static`; without them these tests fail, they never pass silently.

// Tests may unwrap: a panic there is the report.
#![allow(clippy::unwrap_used, reason = "tests: a panic is the report")]

mod fixture;
mod limits;
mod mounts;
mod process;
mod security;
mod speed;
mod user_namespace;
