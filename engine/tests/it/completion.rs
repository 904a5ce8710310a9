//! Completion scripts and manual pages, made of the same declarations as the help.

use crate::sandbox::{DHOW, Sandbox, finish};
use std::path::Path;
use std::process::Command;

/// What bash would offer for the last of these words. The script is a file, too long for an argument.
fn offered(script: &Path, words: &[&str]) -> Vec<String> {
    let last = words.len() - 1;
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let previous = if last > 0 { words[last - 1] } else { "" };
    let program = format!(
        "source {}\nCOMP_WORDS=({}) COMP_CWORD={last}\n_dhow dhow '{}' '{previous}'\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        quoted.join(" "),
        words[last]
    );
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", &program]);
    finish(bash, b"").ok().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_verbs_and_flags() {
    let sandbox = Sandbox::new();
    let script = sandbox.path("completion.bash");
    std::fs::write(&script, sandbox.ok(["completion", "bash"])).unwrap();
    assert_eq!(offered(&script, &["dhow", "renam"]), ["rename"]);
    assert_eq!(offered(&script, &["dhow", "container", "pru"]), ["prune"]);
    assert_eq!(offered(&script, &["dhow", "run", "--memory-sw"]), ["--memory-swap", "--memory-swappiness"]);
    let groups = offered(&script, &["dhow", "vol"]);
    assert_eq!(groups, ["volume"]);
    let all = offered(&script, &["dhow", "volume", ""]);
    for verb in ["create", "inspect", "ls", "prune", "rm"] {
        assert!(all.iter().any(|offer| offer == verb), "{verb}: {all:?}");
    }
}

#[test]
fn every_shell_has_its_script() {
    let sandbox = Sandbox::new();
    assert!(sandbox.ok(["completion", "zsh"]).starts_with("#compdef dhow"));
    assert!(sandbox.ok(["completion", "fish"]).contains("complete -c dhow"));
    sandbox.dhow(["completion", "tcsh"]).fails(1, "no completion for \"tcsh\": want bash, zsh or fish");
    sandbox.dhow(["completion"]).fails(1, "'dhow completion' requires 1 argument");
}

#[test]
fn every_verb_has_a_manual_page() {
    let sandbox = Sandbox::new();
    let directory = sandbox.path("man1");
    sandbox.ok(["man", directory.to_str().unwrap()]);
    let page = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
    let tree: serde_json::Value = serde_json::from_str(&sandbox.ok(["help", "--json"])).unwrap();
    for verb in tree["verbs"].as_array().unwrap() {
        for (at, name) in verb["names"].as_array().unwrap().iter().enumerate() {
            let text = page(&format!("dhow-{}.1", name.as_str().unwrap().replace(' ', "-")));
            assert_eq!(text.starts_with(".so man1/dhow-"), at > 0, "{name}: {text}");
            if at == 0 {
                // A page says what the list of verbs says.
                assert!(text.contains(".TH ") && text.contains("SYNOPSIS"), "{name}: {text}");
            }
        }
    }
    assert!(page("dhow-run.1").contains("\\-\\-memory"));
    assert!(page("dhow.1").contains("dhow\\-rename"));
}

/// Help and errors are plain text, on a terminal too, whether colours are wanted or not.
#[test]
fn text_without_colours() {
    for (name, value) in [("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")] {
        for arguments in ["run --help", "--help", "run --nonsense", "container"] {
            let mut script = Command::new("script");
            script.args(["-qec", &format!("{DHOW} {arguments}"), "/dev/null"]).env(name, value);
            let shown = finish(script, b"");
            assert!(!shown.stdout.is_empty() && !shown.stdout.contains('\u{1b}'), "{arguments}: {shown:?}");
        }
    }
}

/// `dhow VERB` and `dhow GROUP VERB` are the same verb.
#[test]
fn every_name_of_a_verb_has_its_help() {
    let sandbox = Sandbox::new();
    let tree: serde_json::Value = serde_json::from_str(&sandbox.ok(["help", "--json"])).unwrap();
    for verb in tree["verbs"].as_array().unwrap() {
        let help = |name: &serde_json::Value| {
            sandbox
                .ok(name.as_str().unwrap().split(' ').chain(["--help"]))
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let names = verb["names"].as_array().unwrap();
        let first = help(&names[0]);
        assert!(first.iter().any(|line| line.starts_with("Usage: dhow ")), "{names:?}: {first:?}");
        for name in &names[1..] {
            assert_eq!(help(name), first, "{name}");
        }
    }
    for group in tree["groups"].as_array().unwrap() {
        let name = group["name"].as_str().unwrap();
        assert!(sandbox.ok([name, "--help"]).starts_with(&format!("Usage:  dhow {name} COMMAND\n")));
    }
}
