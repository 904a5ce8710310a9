//! The verbs of the group `network`.

pub(crate) mod connect;
pub(crate) mod create;
pub(crate) mod disconnect;
pub(crate) mod inspect;
pub(crate) mod ls;
pub(crate) mod prune;
pub(crate) mod rm;

/// Why what is for networks of a cluster is refused.
const CLUSTER: &str = "dhow has no cluster mode";
