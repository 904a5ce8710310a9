//! Verbs that only the group `system` has.

pub(crate) mod prune;
