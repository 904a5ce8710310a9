//! dhow, the engine as a library.
//!
//! [`Engine::open`] is all there is: no process must be running for a container to live, be listed, stopped
//! or removed. Three doors lead to the verbs in [`container`], [`image`], [`system`] and [`events`]:
//!
//! ```text
//!   dhow CLI ──in-process──┐
//!   docker CLI, SDKs ─HTTP─┤→ api ─→ container/, image/, … ─→ store (state.db, content, layers)
//!   embedders ─────────────┘                              └─→ runtime (dhow monitor, one per container)
//! ```
//!
//! A verb is one file and one function over `&Engine`; it takes validated types of `dhow-model`, blocks, and
//! knows nothing of HTTP or of terminals. `api/` and `cli/` hold no logic.

#![forbid(unsafe_code)]

pub mod api;
#[doc(hidden)]
pub mod cli;
pub mod container;
#[doc(hidden)]
pub mod doors;
mod engine;
pub mod events;
pub mod filters;
mod handed;
pub mod image;
mod local_time;
mod moment;
pub mod network;
mod random;
pub mod recover;
#[doc(hidden)]
pub mod serve;
pub mod settings;
mod structs;
pub mod system;
mod tidy;
pub mod trace;
mod visible;
pub mod volume;

pub use api::embed;
pub use dhow_model::{Error, ErrorKind, Result};
pub use engine::{Config, Engine};
pub use settings::Settings;
