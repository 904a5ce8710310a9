//! What a launch costs. Not a test of anything; run it alone:
//! `cargo test -p dhow-runtime --release --test root -- --ignored --nocapture speed`.

use crate::fixture::{Box, finish};
use dhow_runtime::Rootfs;
use std::fs;
use std::time::{Duration, Instant};

/// Least, median, ninth decile: on a busy machine the least tells most.
fn summary(mut times: Vec<Duration>) -> String {
    times.sort();
    format!("min {:?} median {:?} p90 {:?}", times[0], times[times.len() / 2], times[times.len() * 9 / 10])
}

#[test]
#[ignore = "a measurement"]
fn launch_of_true() {
    let mut b = Box::new("");
    b.cmd(&["/bin/true"]);
    let (upper, work) = (b.dir.path().join("upper"), b.dir.path().join("work"));
    fs::create_dir(&upper).unwrap();
    fs::create_dir(&work).unwrap();
    b.spec.rootfs = Rootfs::Overlay { lower: vec![b.root().into()], upper, work, volatile: false };
    let mut launches = Vec::new();
    let mut whole = Vec::new();
    for _ in 0..200 {
        let start = Instant::now();
        let launched = b.start().unwrap();
        launches.push(start.elapsed());
        finish(launched);
        whole.push(start.elapsed());
    }
    println!("launch: {}", summary(launches));
    println!("with exit and cgroup removal: {}", summary(whole));
}
