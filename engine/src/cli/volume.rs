//! The verbs of the group `volume`.

pub(crate) mod create;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod ls;
pub(crate) mod prune;
pub(crate) mod rm;
pub(crate) mod snapshot;

/// Why what is for volumes of a cluster is refused.
const CLUSTER: &str = "dhow has no cluster mode";
