//! Terminals: size, resize, keys, detaching, exit codes.

use crate::live::Terminal;
use crate::sandbox::Sandbox;
use std::time::Duration;

/// Long enough for a key to reach the foreground process of the container.
const KEYSTROKE: Duration = Duration::from_millis(400);

#[test]
fn a_terminal_has_the_size_of_ours_and_follows_it() {
    let sandbox = Sandbox::with_busybox();
    let mut terminal = Terminal::spawn(&sandbox.command(["run", "-it", "--rm", "busybox", "sh"]), 33, 99);
    terminal.expect("# ");
    terminal
        .send("stty size; test -t 0 && test -t 1 && test -t 2 && echo is-a-$((1))-tty; echo term=$TERM\n");
    terminal.expect("33 99");
    terminal.expect("is-a-1-tty");
    terminal.expect("term=xterm");
    // In a program of its own: the shell's line editor keeps the signal to itself.
    terminal.send(
        "sh -c 'trap \"echo changed; exit\" WINCH; echo waiting-$((1)); while :; do sleep 0.1; done'\n",
    );
    terminal.expect("waiting-1\r\n");
    terminal.resize(25, 81);
    terminal.expect("changed\r\n");
    terminal.send("stty size\n");
    terminal.expect("25 81");
    assert!(!terminal.text().contains("job control turned off"), "{}", terminal.text());
    terminal.send("exit 7\n");
    assert_eq!(terminal.wait(), 7);
}

#[test]
fn a_terminal_has_its_size_from_the_first_instant() {
    let sandbox = Sandbox::with_busybox();
    let command = ["run", "-it", "--rm", "--network", "none", "busybox", "stty", "size"];
    for (rows, columns) in [(28, 113), (50, 200), (24, 80)] {
        let mut terminal = Terminal::spawn(&sandbox.command(command), rows, columns);
        terminal.expect(&format!("{rows} {columns}"));
        assert_eq!(terminal.wait(), 0);
    }
    let body = r#"{"Image":"busybox","Cmd":["stty","size"],"Tty":true,"HostConfig":{"ConsoleSize":[31,77]}}"#;
    let server = sandbox.serve();
    let mut api = crate::http::Api::new(&sandbox.path("api.sock"));
    assert_eq!(api.ask("POST", "/containers/create?name=sized", body.as_bytes()).0, 201);
    assert_eq!(sandbox.inspect("sized")["HostConfig"]["ConsoleSize"], serde_json::json!([31, 77]));
    assert_eq!(sandbox.ok(["start", "-a", "sized"]), "31 77\r");
    drop(server);
}

#[test]
fn control_c_interrupts_the_program_and_not_the_client() {
    let sandbox = Sandbox::with_busybox();
    let mut terminal = Terminal::spawn(&sandbox.command(["run", "-it", "--rm", "busybox", "sh"]), 24, 80);
    terminal.expect("# ");
    terminal.send("sleep 1000\n");
    std::thread::sleep(KEYSTROKE);
    terminal.send("\u{3}");
    std::thread::sleep(KEYSTROKE);
    terminal.send("echo code-$?\n");
    terminal.expect("code-130");
    terminal.send("\u{4}");
    assert_eq!(terminal.wait(), 0, "Ctrl-D ends the shell with the code of its last command");
}

#[test]
fn control_p_control_q_detaches_and_attach_comes_back() {
    let sandbox = Sandbox::with_busybox();
    let mut terminal =
        Terminal::spawn(&sandbox.command(["run", "-it", "--name", "box", "busybox", "sh"]), 24, 80);
    terminal.expect("# ");
    // The shell drops what is typed while it draws its prompt.
    std::thread::sleep(KEYSTROKE);
    terminal.send("kept=here\n");
    std::thread::sleep(KEYSTROKE);
    terminal.send("\u{10}\u{11}");
    assert_eq!(terminal.wait(), 0, "{}", terminal.text());
    assert_eq!(sandbox.container_state("box")["Status"], "running");

    let mut terminal = Terminal::spawn(&sandbox.command(["attach", "box"]), 24, 80);
    // The shell drops what is typed before it has drawn its prompt anew.
    terminal.expect("# ");
    std::thread::sleep(KEYSTROKE);
    terminal.send("echo is-$kept\n");
    terminal.expect("is-here");
    // Ctrl-P alone is a key like any other, a moment later.
    terminal.send("\u{10}x\n");
    terminal.send("exit 3\n");
    assert_eq!(terminal.wait(), 3);

    sandbox.ok(["start", "box"]);
    let keys = ["attach", "--detach-keys", "ctrl-a,d", "box"];
    let mut terminal = Terminal::spawn(&sandbox.command(keys), 24, 80);
    terminal.send("\n");
    terminal.expect("# ");
    terminal.send("\u{1}d");
    // As `docker attach` ends, other than `docker run`.
    assert_eq!(terminal.wait(), 1);
    assert!(terminal.text().contains("read escape sequence"), "{}", terminal.text());
    assert_eq!(sandbox.container_state("box")["Status"], "running");
}

/// What was typed before the keys arrives, however fast everything came.
#[test]
fn nothing_typed_before_the_detach_keys_is_lost() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok([
        "run",
        "-dit",
        "--name",
        "box",
        "busybox",
        "sh",
        "-c",
        "stty -echo; while read x; do echo $x > /got; echo got-$x; done",
    ]);
    for round in 0..20 {
        let mut terminal = Terminal::spawn(&sandbox.command(["attach", "box"]), 24, 80);
        // Once this comes back, the terminal is raw: no key is taken out of the stream on the way.
        terminal.send("first\n");
        terminal.expect("got-first");
        terminal.send(&format!("line-{round}\n\u{10}\u{11}"));
        assert_eq!(terminal.wait(), 1, "{}", terminal.text());
        let read = format!("until [ \"$(cat /got)\" = line-{round} ]; do sleep 0.01; done");
        let arrived = sandbox.dhow(["exec", "box", "timeout", "10", "sh", "-c", &read]);
        assert_eq!(arrived.code, 0, "round {round}: {arrived:?}");
    }
}

#[test]
fn exec_with_a_terminal() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let mut terminal = Terminal::spawn(&sandbox.command(["exec", "-it", "box", "sh"]), 21, 71);
    terminal.expect("# ");
    terminal.send("stty size\n");
    terminal.expect("21 71");
    terminal.resize(22, 72);
    std::thread::sleep(KEYSTROKE);
    terminal.send("stty size; exit 12\n");
    terminal.expect("22 72");
    assert_eq!(terminal.wait(), 12);
}

#[test]
fn a_terminal_without_one_is_refused_and_the_client_restores_its_own() {
    let sandbox = Sandbox::with_busybox();
    let ended = sandbox.dhow_with_input(["run", "-it", "--rm", "busybox", "true"], b"x");
    assert!(
        ended.code != 0 && ended.stderr.to_lowercase().contains("not a tty")
            || ended.stderr.contains("not a terminal"),
        "{ended:?}"
    );
    sandbox.assert_no_containers();

    let mut shell = std::process::Command::new("sh");
    let run = format!("{:?}", sandbox.command(["run", "-it", "--rm", "busybox", "true"]));
    // Debug prints a command as a shell would read it, with its changes of the environment before it.
    shell.args([
        "-c",
        &format!("before=$(stty -g); env {run}; test \"$before\" = \"$(stty -g)\" && echo same-$((1))"),
    ]);
    sandbox.isolate(&mut shell);
    let mut terminal = Terminal::spawn(&shell, 24, 80);
    assert_eq!(terminal.wait(), 0, "{}", terminal.text());
    assert!(terminal.text().contains("same-1"), "{}", terminal.text());
}

#[test]
fn signals_are_passed_on_without_a_terminal() {
    let sandbox = Sandbox::with_busybox();
    let script =
        "trap 'echo term; exit 21' TERM; trap 'echo hup' HUP; echo ready; while :; do sleep 0.1; done";
    let mut client = sandbox.live(["run", "--rm", "busybox", "sh", "-c", script]);
    client.expect("ready");
    client.signal(nix::sys::signal::Signal::SIGHUP);
    client.expect("hup");
    client.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(client.wait(), 21);
    assert_eq!(client.stdout(), "ready\nhup\nterm\n");
}
