//! Tests of the store against the real kernel and real tools. They need root: unpacking sets owners and makes
//! devices. Tools that a test names must be installed (`cargo xtask setup`).

mod archives;
mod corpus;
mod hostile;
mod merged;
mod store;
mod support;
