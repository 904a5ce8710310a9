//! The C ABI as programs in C, C++ and Go use it: compiled with the system's compilers against an installed copy,
//! with warnings as errors; run against the real kernel; under the address sanitizer and valgrind.
//!
//! | what | where |
//! |---|---|
//! | the programs | `../c/*.c`; `../../examples/*.c`; `../../go` |
//! | `ffi/install.sh`, the compilers | `stage.rs` |
//! | directories of a test's own, and what must not be left in them | `sandbox.rs` |
//!
//! As root, like everything that runs containers. A missing compiler is a failure, never a pass.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

mod sandbox;
mod stage;

use sandbox::{Sandbox, run};
use stage::{Kind, Stage};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Runs one of the programs that walk through everything.
fn walk(kind: Kind, name: &str, wanted: &str) {
    let stage = Stage::get();
    let sandbox = Sandbox::new();
    let program = stage.compile(&sandbox, name, kind);
    let mut command = sandbox.command(&program, kind);
    command.args([stage.rootfs(), stage.archive()]);
    assert_eq!(run(&mut command).trim(), wanted);
    sandbox.check_nothing_is_left();
}

#[test]
fn every_function_from_c11() {
    walk(Kind::C11, "walk", "walked");
}

#[test]
fn every_function_from_cxx17() {
    walk(Kind::Cxx17, "walk", "walked");
}

#[test]
fn every_function_under_the_address_sanitizer() {
    walk(Kind::Sanitized, "walk", "walked");
}

#[test]
fn every_function_under_valgrind() {
    walk(Kind::Valgrind, "walk", "walked");
}

#[test]
fn every_function_linked_statically() {
    walk(Kind::Static, "walk", "walked");
}

#[test]
fn every_error_from_c11() {
    walk(Kind::C11, "errors", "erred");
}

#[test]
fn every_error_from_cxx17() {
    walk(Kind::Cxx17, "errors", "erred");
}

#[test]
fn every_error_under_the_address_sanitizer() {
    walk(Kind::Sanitized, "errors", "erred");
}

#[test]
fn a_trace_from_c11_and_under_the_address_sanitizer() {
    let stage = Stage::get();
    for kind in [Kind::C11, Kind::Sanitized] {
        let sandbox = Sandbox::new();
        let program = stage.compile(&sandbox, "trace", kind);
        assert_eq!(run(sandbox.command(&program, kind).arg(stage.rootfs())).trim(), "traced");
        sandbox.check_nothing_is_left();
    }
}

#[test]
fn a_host_with_threads_children_and_signals_is_undisturbed() {
    let stage = Stage::get();
    for (kind, threads, rounds) in [(Kind::C11, "8", "4"), (Kind::Sanitized, "4", "2")] {
        let sandbox = Sandbox::new();
        let program = stage.compile(&sandbox, "host", kind);
        run(sandbox.command(&program, kind).arg(stage.rootfs()).args([threads, rounds]));
        sandbox.check_nothing_is_left();
    }
}

#[test]
fn the_examples_do_what_they_say() {
    let stage = Stage::get();
    let sandbox = Sandbox::new();
    let dhow = |arguments: &[&str]| {
        let mut command = Command::new(stage.helper());
        command.args(["--root".as_ref(), sandbox.root().as_os_str()]);
        command.args(["--state".as_ref(), sandbox.state().as_os_str()]).args(arguments);
        run(&mut command)
    };
    dhow(&["import", &stage.rootfs().to_string_lossy(), "bb"]);
    let example = |name: &str| {
        let mut command = Command::new(stage.compile_example(&sandbox, name));
        command.env("DHOW_ROOT", sandbox.root()).env("DHOW_STATE", sandbox.state());
        command
    };
    let said = run(example("run").args(["bb", "sh", "-c", "echo \"a 'b' \\\"c\\\"\""]));
    assert_eq!(said, "a 'b' \"c\"\n");
    let output = example("run").args(["bb", "sh", "-c", "exit 5"]).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let output = example("run").args(["bb", "nonesuch"]).output().unwrap();
    assert_eq!(output.status.code(), Some(127));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nonesuch"));

    let said = run(example("poll").arg("bb"));
    let lines: Vec<&str> = said.lines().filter(|l| !l.starts_with("event: ")).collect();
    for wanted in ["output: 1", "the process has ended", "exit code: 3"] {
        assert!(lines.contains(&wanted), "{said}");
    }
    assert!(said.contains("\"Action\":\"create\"") && said.contains("\"Action\":\"start\""), "{said}");
    sandbox.check_nothing_is_left();
}

#[test]
fn the_go_package_walks_too() {
    let stage = Stage::get();
    let sandbox = Sandbox::new();
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("go");
    let mut formatted = Command::new("gofmt");
    assert_eq!(run(formatted.arg("-l").arg(&package)), "", "gofmt would change these");
    let go = |words: &[&str]| {
        let mut command = Command::new("go");
        stage.environment(&mut command);
        command.args(words).current_dir(&package);
        // Nothing of ours but the cache outlives the test, and nothing is asked of the network.
        command.env("GOFLAGS", "-mod=mod").env("GOPROXY", "off").env("GOTOOLCHAIN", "local");
        command.env("DHOW_TEST_ROOT", sandbox.root()).env("DHOW_TEST_STATE", sandbox.state());
        command.env("DHOW_TEST_ROOTFS", stage.rootfs());
        // Go's cache does not know what pkg-config answers, only this: without it, what was compiled against the
        // stage of an earlier run, which is gone, would be linked.
        command.env("CGO_LDFLAGS", format!("-L{}", stage.prefix().join("lib").display()));
        run(&mut command)
    };
    go(&["vet", "./..."]);
    go(&["test", "-count=1", "./..."]);
    sandbox.check_nothing_is_left();
}

/// A host whose umask, limits, niceness and all else that fork and exec hand on are as odd as can be: its containers have
/// what those of any host have. The engine's own tests have the table (`engine/tests/it/inherited.rs`).
#[test]
fn a_container_inherits_nothing_of_its_host() {
    let stage = Stage::get();
    let sandbox = Sandbox::new();
    let tree = sandbox.path().join("tree");
    fs::create_dir_all(tree.join("bin")).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/programs/inherited.c");
    let program = tree.join("bin/inherited");
    run(Command::new("cc").args(["-static", "-O1", "-o"]).args([&program, &source]));
    let tar = sandbox.path().join("tree.tar");
    run(Command::new("tar").arg("-C").arg(&tree).arg("-cf").arg(&tar).arg("."));
    let mut import = Command::new(stage.helper());
    import.args(["--root".as_ref(), sandbox.root().as_os_str()]);
    import.args(["--state".as_ref(), sandbox.state().as_os_str(), "import".as_ref()]);
    run(import.arg(&tar).arg("program"));
    let host = stage.compile_example(&sandbox, "run");
    let show = |mut command: Command| {
        command.args(["program", "/bin/inherited", "show"]);
        run(command.env("DHOW_ROOT", sandbox.root()).env("DHOW_STATE", sandbox.state()))
    };
    let usual = show(Command::new(&host));
    for row in ["umask: 022", "nice: 0", "root: 755 0:0", "hosts: 644 0:0", "oom_score_adj: 0"] {
        assert!(usual.lines().any(|line| line == row), "{row}: {usual}");
    }
    let mut odd = Command::new(&program);
    odd.arg("set").arg(&host);
    assert_eq!(show(odd), usual);
    sandbox.check_nothing_is_left();
}

/// The functions that the header declares.
fn declared() -> BTreeSet<String> {
    let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("../include/dhow.h");
    let header = fs::read_to_string(header).unwrap();
    let code = header.lines().filter(|l| !l.trim_start().starts_with(['*', '/']));
    code.filter_map(|line| {
        let (before, _) = line.split_once('(')?;
        let name = before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?;
        name.starts_with("dhow_").then(|| name.to_owned())
    })
    .collect()
}

#[test]
fn the_shared_library_exports_what_the_header_declares_and_nothing_else() {
    let stage = Stage::get();
    let library = stage.prefix().join("lib/libdhow.so.0");
    let list = run(Command::new("nm").args(["-D", "--defined-only", "--format=posix"]).arg(&library));
    let exported: BTreeSet<String> =
        list.lines().filter_map(|l| l.split(' ').next()).map(str::to_owned).collect();
    assert!(exported.len() > 30, "{exported:?}");
    assert_eq!(exported, declared());
    let dynamic = run(Command::new("readelf").arg("--dynamic").arg(&library));
    assert!(dynamic.contains("Library soname: [libdhow.so.0]"), "{dynamic}");
    assert!(!dynamic.contains("TEXTREL"), "position-independent throughout");
}

#[test]
fn pkg_config_knows_it() {
    let stage = Stage::get();
    let mut command = Command::new("pkg-config");
    stage.environment(&mut command);
    let version = run(command.args(["--modversion", "dhow"]));
    assert_eq!(version.trim(), env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_helper_is_found_by_the_documented_rule() {
    let stage = Stage::get();
    let sandbox = Sandbox::new();
    let program = stage.compile(&sandbox, "trace", Kind::C11);
    // The environment's goes before the one beside the library, and is not taken for more than it is.
    let output = sandbox
        .command(&program, Kind::C11)
        .arg(stage.rootfs())
        .env("DHOW_HELPER", "/bin/true")
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && complaint.contains("the helper /bin/true is not dhow"),
        "{complaint}"
    );

    // With more rights than its user's, a program takes nothing from the environment: it finds the one beside.
    let nobody = "65534";
    let secure = sandbox.path().join("secure");
    fs::copy(&program, &secure).unwrap();
    run(Command::new("chmod").arg("u+s").arg(&secure));
    let mut setpriv = Command::new("setpriv");
    setpriv.args(["--reuid", nobody, "--regid", nobody, "--clear-groups"]).arg(&secure);
    setpriv.args([sandbox.root(), sandbox.state(), stage.rootfs()]).env("DHOW_HELPER", "/bin/true");
    assert_eq!(run(&mut setpriv).trim(), "traced");
    sandbox.check_nothing_is_left();
}
