//! From a validated configuration to a running process.
//!
//! ```text
//! LaunchSpec + HostFacts ── plan_launch (pure) ──► LaunchPlan: ordered steps, plain data
//!        │ (travels to the monitor in a sealed memfd)
//!        ▼
//! launch():  prepare (ordinary Rust: cgroups, detached mounts, users, pty) ── clone3 ──┐
//!        ▲                                                                          ▼
//!        └────────── {step, errno} on a close-on-exec pipe ◄──────── child walks the steps, execs
//! ```
//!
//! The child allocates nothing, locks nothing and logs nothing. All `unsafe` is in `dhow-sys`.

#![forbid(unsafe_code)]

pub mod attach;
mod bind_tree;
mod bundle;
pub mod cgroup;
mod child;
mod copyup;
mod devices;
pub mod exec;
mod external;
pub mod facts;
mod future_root;
pub mod host_usage;
pub mod idmap;
pub mod launch;
pub mod layers;
pub mod log;
pub mod monitor;
pub mod plan;
mod prepare;
mod rootfs;
pub mod seccomp;
pub mod spec;
pub mod step;
pub mod timeline;
pub mod user;
pub mod view;
mod volume_fs;

pub use cgroup::{Cgroup, CgroupPaths};
pub use copyup::copy_tree;
pub use exec::plan_exec;
pub use facts::HostFacts;
pub use idmap::{IdMaps, IdRange};
pub use launch::{ChildStdio, Launched, launch};
pub use plan::{LaunchPlan, check_user_namespace, plan_launch};
pub use spec::{Donor, Donors, ExecSpec, LaunchSpec, ResolvedMount, Rootfs};
pub use volume_fs::VolumeFilesystem;
