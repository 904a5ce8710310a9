//! dhow.json: what it makes of new containers, and what it is refused for.

use crate::leaks::hierarchies;
use crate::live::Terminal;
use crate::sandbox::{Ended, Sandbox, finish};
use std::process::Command;
use std::time::Duration;

/// `dhow` with a configuration file, and the directories of the sandbox.
fn command(sandbox: &Sandbox, text: &str, arguments: &[&str]) -> Command {
    let file = sandbox.path("dhow.json");
    std::fs::write(&file, text).unwrap();
    sandbox.command([&["--config-file", file.to_str().unwrap()][..], arguments].concat())
}

fn dhow(sandbox: &Sandbox, text: &str, arguments: &[&str]) -> Ended {
    finish(command(sandbox, text, arguments), b"")
}

#[test]
fn new_containers_follow_the_file() {
    let sandbox = Sandbox::with_busybox();
    let text = r#"{
        "cgroup-parent": "dhow/of-the-file",
        "log-driver": "local", "log-opts": {"max-file": "2"},
        "default-ulimits": {"nofile": {"Soft": 123, "Hard": 456}}
    }"#;
    let limits = ["sh", "-c", "ulimit -Sn; ulimit -Hn"];
    let run = |more: &[&str]| {
        dhow(&sandbox, text, &[&["run", "--rm"][..], more, &["busybox"], &limits].concat()).ok()
    };
    assert_eq!(run(&[]), "123\n456");
    assert_eq!(run(&["--ulimit", "nofile=200:300"]), "200\n300");

    let id = dhow(&sandbox, text, &["run", "-d", "--name", "box", "busybox", "sleep", "1000"]).ok();
    let config = sandbox.inspect("box")["HostConfig"].take();
    assert_eq!(config["LogConfig"], serde_json::json!({"Type": "local", "Config": {"max-file": "2"}}));
    let at = |group: &std::path::PathBuf| group.join("dhow/of-the-file").join(&id).exists();
    assert!(hierarchies().iter().any(at), "it is not below the file's cgroup");
    // Whoever comes without the file finds the container where it is.
    sandbox.ok(["pause", "box"]);
    sandbox.ok(["unpause", "box"]);
    sandbox.ok(["rm", "-f", "box"]);
    assert!(!hierarchies().iter().any(at));
    for group in hierarchies() {
        let _ = std::fs::remove_dir(group.join("dhow/of-the-file"));
    }
}

#[test]
fn directories_and_detach_keys_are_the_files() {
    let sandbox = Sandbox::with_busybox();
    let text = format!(
        r#"{{"data-root": {:?}, "exec-root": {:?}, "detach-keys": "ctrl-a,x"}}"#,
        sandbox.root(),
        sandbox.state()
    );
    let file = sandbox.path("dhow.json");
    std::fs::write(&file, &text).unwrap();
    let mut bare = Command::new(crate::sandbox::DHOW);
    bare.arg("--config-file").arg(&file).args(["images", "--format", "{{.Repository}}"]);
    sandbox.isolate(&mut bare);
    assert_eq!(finish(bare, b"").ok(), "busybox", "the file says where the engine lives");

    let arguments = ["run", "-it", "--name", "box", "busybox", "sh"];
    let mut terminal = Terminal::spawn(&command(&sandbox, &text, &arguments), 24, 80);
    terminal.expect("# ");
    std::thread::sleep(Duration::from_millis(400));
    terminal.send("\u{1}x");
    assert_eq!(terminal.wait(), 0, "{}", terminal.text());
    assert_eq!(sandbox.container_state("box")["Status"], "running");
}

#[test]
fn info_tells_what_is_in_force_and_mistakes_have_a_line() {
    let sandbox = Sandbox::new();
    let text = "{\n  \"log-driver\": \"local\"\n}";
    let shown = dhow(&sandbox, text, &["info"]).ok();
    let offered =
        " Plugins:\n  Volume: local\n  Network: bridge host ipvlan macvlan null\n  Log: json-file local none";
    assert!(shown.contains(offered) && shown.contains("\n Swarm: inactive\n Runtimes: "), "{shown}");
    for line in ["Logging Driver: local", "Cgroup Parent: dhow", "Detach Keys: ctrl-p,ctrl-q"] {
        assert!(shown.contains(line), "{shown}");
    }
    let file = sandbox.path("dhow.json");
    assert!(shown.contains(&format!("Config File: {}", file.display())), "{shown}");

    let refused = |text: &str, words: &str| {
        dhow(&sandbox, text, &["ps"]).fails(1, &format!("{}: {words}", file.display()));
    };
    refused("{\n\"odd\": 1}", "line 2: \"odd\": unknown key");
    refused(
        "{\n\n\"hosts\": []}",
        "line 3: \"hosts\": Docker has this key, but nothing in dhow acts on it yet",
    );
    refused("{\n\"log-opts\": {\"x\": \"1\"}}", "line 2: \"log-opts\": unknown log opt 'x'");
    let missing = sandbox.path("missing.json");
    sandbox.dhow(["--config-file", missing.to_str().unwrap(), "ps"]).fails(1, "missing.json");
}
