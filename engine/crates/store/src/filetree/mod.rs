//! File trees that somebody else may be changing: a container's, seen from outside.
//!
//! ```text
//!   a root's descriptor ─► pack.rs ─► tar          export, cp out of a container, cp into one (the local side)
//!   tar ─► extract.rs ─► below a root              cp into a container, cp out of one (the local side)
//!   upper and lower directory ─► changes.rs ─► pack.rs     diff, commit
//! ```
//!
//! A process in the container may swap any name for a symbolic link at any moment. So no path is ever resolved
//! but below its root (`openat2`), no name but by the descriptor of its directory, and what was looked at is the
//! very file that is opened afterwards ([`dhow_sys::fsat::reopen`]): a device that takes the place of a file is
//! never opened.

mod changes;
mod extract;
mod pack;
mod place;

pub use changes::{Change, ChangeKind, changes, pack_changes};
pub use extract::{Extraction, Owners, extract};
pub use pack::Packer;
pub use place::{follow, open_directory, open_parent, open_place};
