//! Probes in the kernel that tell what the processes of containers do.
//!
//! ```text
//!   probes/*.h, trace.bpf.c ── clang ──► objects/trace.o ── loader.rs (aya) ──► kernel
//!   probes/events.h ────── bindgen ────► bindings.rs ── record.rs ◄── ring ◄────┘
//! ```
//!
//! The object is committed, so that building dhow needs no clang; `cargo xtask bpf` makes it, and
//! `cargo xtask bpf --check` proves that it is what the sources say. Where the kernel's structures lie is read
//! from the running kernel's type information (BTF) when the object is loaded.
//!
//! Containers are told apart by the id of their cgroup in the version 2 hierarchy, which is never used twice;
//! `probes/scope.h` says how. Nothing here knows an engine: names go in, records come out.

mod bindings;
mod bytes;
mod kind;
mod loader;
mod record;

pub use bindings::{TRACE_DEPTHS as DEPTHS, TRACE_NAME_BYTES as NAME_BYTES};
pub use kind::{Kind, Kinds};
pub use loader::{DEFAULT_RING_BYTES, Name, Names, Probes, ProgramReport, Scope, Waiter, probe};
pub use record::{Record, What};
