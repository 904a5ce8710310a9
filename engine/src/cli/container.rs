//! Verbs that only the group `container` has.

pub(crate) mod prune;
