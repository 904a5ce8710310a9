//! The C ABI: every function, type and constant of `include/dhow.h`, and nothing else.
//!
//! ```text
//!   C, C++, Go, …
//!      │ dhow.h (made of these files by cbindgen: `cargo xtask header`)
//!      ▼
//!   <noun>.rs ─ boundary.rs ─ engine::embed ─ the verbs
//!   pointers    no panic       text in,
//!   checked     gets out       text and descriptors out
//! ```
//!
//! Nothing is decided here: a function turns pointers into references and text, calls one function of
//! `engine::embed`, and turns what it gets back into memory that C can own. The rules that hold for all of them
//! stand at the top of the header (`cbindgen.toml`); `boundary.rs` keeps most of them.
//!
//! Names are the header's own, so that a reader finds the same word on both sides.

#![allow(non_camel_case_types, reason = "the names are those of the C header")]
#![allow(unsafe_code, reason = "this is where pointers come in from C")]
#![allow(
    clippy::missing_safety_doc,
    reason = "the comments are for C, where ownership and threads are told in the words of C"
)]

pub mod boundary;
pub mod container;
pub mod engine_handle;
pub mod error;
pub mod events;
pub mod exec;
mod helper;
pub mod image;
pub mod logs;
mod options;
pub mod process;
pub mod run;
pub mod trace;
pub mod version;

#[cfg(test)]
mod layout_tests;
