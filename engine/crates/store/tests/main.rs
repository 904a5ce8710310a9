//! Tests of the store against the real kernel and real tools. They need root: unpacking sets owners and makes
//! devices. Tools that a test names must be installed (`cargo xtask setup`).

#![allow(clippy::unwrap_used, reason = "a panic in a test or its helpers is the report")]

mod archives;
mod corpus;
mod hostile;
mod indexed;
mod merged;
mod statements;
mod store;
mod support;
mod workers;
