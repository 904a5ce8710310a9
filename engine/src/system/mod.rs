//! What concerns the engine as a whole.

pub mod df;
pub(crate) mod disk;
pub mod info;
pub mod version;
