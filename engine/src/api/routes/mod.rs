//! One file per noun: read the parameters, call one verb, reply.

pub(super) mod attach;
pub(super) mod commit;
pub(super) mod containers;
pub(super) mod events;
pub(super) mod exec;
pub(super) mod files;
pub(super) mod images;
pub(super) mod logs;
pub(super) mod missing;
pub(super) mod networks;
pub(super) mod registry;
pub(super) mod stats;
pub(super) mod system;
pub(super) mod trace;
pub(super) mod volumes;
