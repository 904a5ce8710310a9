//! Real SDKs against `dhow serve`: PyPI's docker and npm's dockerode, as their users use them.

use crate::fixtures;
use crate::sandbox::{Sandbox, finish};
use std::process::Command;

const PYTHON: &str = include_str!("../sdk/python.py");
const NODE: &str = include_str!("../sdk/node.js");

/// Runs the Python program with so many rounds of exec, and of kill and rm.
fn python(rounds: u32) {
    let sandbox = Sandbox::with_busybox();
    let server = sandbox.serve();
    let script = sandbox.path("python.py");
    std::fs::write(&script, PYTHON).unwrap();
    let mut command = Command::new(fixtures::python_sdk());
    command.arg(&script).arg(rounds.to_string()).env("DOCKER_HOST", &server.address);
    sandbox.isolate(&mut command);
    command.env("DOCKER_HOST", &server.address);
    assert_eq!(finish(command, b"").ok(), "done");
}

#[test]
fn pythons_docker_works() {
    python(50);
}

#[test]
#[ignore = "a thousand rounds take minutes"]
fn pythons_docker_loses_no_output_in_scale_rounds() {
    let sandbox_rounds = 300;
    // Each command of a test has two minutes: three times and some.
    for _ in 0..4 {
        python(sandbox_rounds);
    }
}

#[test]
fn nodes_dockerode_works() {
    let sandbox = Sandbox::with_busybox();
    let _server = sandbox.serve();
    let script = sandbox.path("node.js");
    std::fs::write(&script, NODE).unwrap();
    let mut command = Command::new("node");
    command.arg(&script).arg(sandbox.path("api.sock")).env("NODE_PATH", fixtures::node_sdk());
    sandbox.isolate(&mut command);
    assert_eq!(finish(command, b"").ok(), "done");
}
