//! Verbs that only the group `image` has.

pub(crate) mod prune;
