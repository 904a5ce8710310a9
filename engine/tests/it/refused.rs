//! What Docker's command line has and dhow refuses: every such flag and verb, as `dhow help --json` lists them, gets
//! one clear line and its code, and nothing is left of it.

use crate::sandbox::{Sandbox, assert_none};
use serde_json::Value;

/// Exit code of a flag that cannot be used.
const BAD_FLAG: i32 = 125;

fn tree(sandbox: &Sandbox) -> Value {
    serde_json::from_str(&sandbox.ok(["help", "--json"])).unwrap()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().unwrap().iter()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn every_refused_flag_says_so() {
    let sandbox = Sandbox::new();
    let tree = tree(&sandbox);
    let mut complaints = Vec::new();
    let mut tried = 0;
    let mut refuse = |before: &[&str], refused: &Value| {
        let (flag, reason) = (text(&refused["flag"]), text(&refused["reason"]));
        let wanted = format!("{flag} is not supported by dhow: {reason}");
        // Both ways of writing it; what would follow is not looked at.
        for written in [flag.to_owned(), format!("{flag}=value")] {
            let ended = sandbox.dhow(before.iter().copied().chain([written.as_str(), "busybox"]));
            complaints.extend(
                ended.why_not_failed(BAD_FLAG, &wanted).map(|why| format!("{before:?} {written}: {why}")),
            );
            tried += 1;
        }
    };
    for verb in list(&tree["verbs"]) {
        for name in list(&verb["names"]) {
            let words: Vec<&str> = text(name).split(' ').collect();
            list(&verb["refused"]).for_each(|refused| refuse(&words, refused));
        }
    }
    list(&tree["globals"]["refused"]).for_each(|refused| refuse(&[], refused));
    assert!(tried > 100, "only {tried} were tried");
    assert_none(&complaints);
    sandbox.assert_no_containers();
}

#[test]
fn every_limited_flag_refuses_what_it_cannot_do() {
    let sandbox = Sandbox::with_busybox();
    let tree = tree(&sandbox);
    let mut complaints = Vec::new();
    for verb in list(&tree["verbs"]) {
        for limit in verb["limited"].as_array().into_iter().flatten() {
            let (name, flag) = (text(&verb["names"][0]), text(&limit["flag"]));
            let mut words = vec![name, flag];
            words.extend(limit["value"].as_str());
            // An exposed port, so that there is something to publish.
            words.extend(["--expose", "80", "busybox", "true"]);
            let code = if name == "run" { BAD_FLAG } else { 1 };
            let ended = sandbox.dhow(&words);
            let subject =
                if flag.starts_with("--publish") { "published ports" } else { flag.trim_start_matches('-') };
            // `--volume-driver` is named as the API names it.
            let subject = subject.replace("volume-driver", "volume driver");
            complaints.extend(ended.why_not_failed(code, &subject).map(|why| format!("{words:?}: {why}")));
        }
    }
    assert_none(&complaints);
    sandbox.assert_no_containers();
}

#[test]
fn every_refused_verb_says_so() {
    let sandbox = Sandbox::new();
    let tree = tree(&sandbox);
    let mut complaints = Vec::new();
    for refused in list(&tree["refused"]) {
        let (name, reason) = (text(&refused["name"]), text(&refused["reason"]));
        let ended = sandbox.dhow(name.split(' ').chain(["x"]));
        complaints.extend(ended.why_not_failed(1, reason).map(|why| format!("{name}: {why}")));
    }
    assert_none(&complaints);
}
