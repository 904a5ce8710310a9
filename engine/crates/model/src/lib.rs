//! What dhow talks about, as types: ids, digests, references, lifecycle states, validated configurations.
//!
//! Nothing here touches a file, a socket or the clock: every function is pure, so every rule that can be
//! tested without a kernel lives in this crate. Text from outside becomes a type here once, with one clear
//! error; everything after that may rely on the type.

#![forbid(unsafe_code)]

pub mod container;
pub mod digest;
pub mod endpoint;
pub mod error;
pub mod event;
pub mod health;
pub mod id;
pub mod image;
pub mod layer;
pub mod layout;
pub mod life;
pub mod limits;
pub mod log;
pub mod members;
pub mod mount;
pub mod name;
pub mod network;
pub mod reference;
pub mod resources;
pub mod security;
pub mod signal;
pub mod state;
pub mod time;
pub mod units;

pub use digest::Digest;
pub use error::{Error, ErrorKind, Result, ResultExt};
pub use id::ContainerId;
pub use layer::{IndexedLayer, LowerLayer};
pub use layout::Layout;
pub use reference::Reference;
pub use time::Timestamp;
