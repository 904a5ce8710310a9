//! Benchmarks of dhow.
//!
//! - `src/bin/floor.rs`: a raw program that does only what the kernel must do to run one container. What
//!   `dhow run` costs is told as a multiple of it.
//! - `benches/`: criterion, for pure functions on hot paths: `cargo bench -p dhow-bench`.
//! - Whole commands beside other engines: `cargo xtask bench`.
