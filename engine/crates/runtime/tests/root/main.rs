//! The runtime against the real kernel, as root, with busybox as the container's world.
//!
//! Needs root and Debian's `busybox-static`; without them these tests fail, they never pass silently.

mod fixture;
mod limits;
mod mounts;
mod process;
mod security;
mod speed;
