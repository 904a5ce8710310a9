//! What concerns the engine as a whole.

pub mod check;
pub mod df;
pub(crate) mod disk;
pub mod info;
pub mod version;
