//! Words of an image or a container that would steer the terminal of whoever reads about them.

use crate::sandbox::{Ended, Sandbox, finish};
use std::process::Command;

const TITLE: &str = "\u{1b}]0;owned\u{7}";

/// The command on a terminal, which is what it shows.
fn on_terminal(sandbox: &Sandbox, arguments: &[&str]) -> Ended {
    let plain = sandbox.command(arguments);
    let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_str().unwrap().replace('\'', r"'\''"));
    let line: Vec<String> =
        std::iter::once(plain.get_program()).chain(plain.get_args()).map(quoted).collect();
    let mut script = Command::new("script");
    script.args(["-qec", &line.join(" "), "/dev/null"]);
    sandbox.isolate(&mut script);
    finish(script, b"")
}

#[test]
fn escape_sequences_of_an_image_or_a_container_reach_no_terminal() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["run", "--name", "box", "busybox", "touch", &format!("/{TITLE}")]);
    sandbox.ok(["commit", "-m", TITLE, "box", "steering"]);
    let name = format!("no{TITLE}such");
    for arguments in [&["history", "steering"][..], &["diff", "box"], &["rm", &name]] {
        let shown = on_terminal(&sandbox, arguments);
        assert!(shown.stdout.contains(r"\x1b]0;owned\x07"), "{arguments:?}: {shown:?}");
        assert!(!shown.stdout.contains('\u{1b}'), "{arguments:?}: {shown:?}");
        // In a pipe everything is as it is.
        let piped = sandbox.dhow(arguments);
        assert!(format!("{}{}", piped.stdout, piped.stderr).contains(TITLE), "{arguments:?}: {piped:?}");
    }
    // A template of one's own is printed as it is, and so is what a container says.
    let comment = on_terminal(&sandbox, &["history", "--format", "{{.Comment}}", "steering"]);
    assert!(comment.stdout.contains(TITLE), "{comment:?}");
    let said = on_terminal(&sandbox, &["run", "--rm", "busybox", "echo", TITLE]);
    assert!(said.stdout.contains(TITLE), "{said:?}");
}
