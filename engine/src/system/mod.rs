//! What concerns the engine as a whole.

pub(crate) mod disk;
pub mod info;
pub mod version;
