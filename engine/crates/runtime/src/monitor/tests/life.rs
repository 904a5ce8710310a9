//! Starts, exits, restarts, removal, and what is recorded when.

use super::*;

#[test]
fn the_first_byte_the_exit_code_and_the_record() {
    let mut setup = Setup::new("echo out; echo err >&2; printf rest; exit 3");
    let group = FakeGroup::default();
    setup.group = Some(group.clone());
    let peer = setup.client(OUT);
    let running = setup.run();
    let pid = running.pid();
    assert_eq!(peer.finish(), ("out\nrest".into(), "err\n".into(), Some(3)));
    let (told, out, err) = running.join();
    assert_eq!(told, [Told::Started(pid), Told::Exited(3, None, false)]);
    assert_eq!((out.as_str(), err.as_str()), ("out\nrest", "err\n"));
    assert_eq!(group.0.lock().unwrap().1, ["kill_all", "remove"]);
}

#[test]
fn a_signal_and_the_oom_killer() {
    let mut setup = Setup::new("kill -9 $$");
    let group = FakeGroup::default();
    setup.group = Some(group.clone());
    setup.settings.open_stdin = false;
    let counter = group.0.clone();
    // Killed once before this run, which does not count, and once in it.
    setup.script = "read x; kill -9 $$".into();
    setup.settings.open_stdin = true;
    group.0.lock().unwrap().0 = 1;
    let mut peer = setup.client(ALL);
    let running = setup.run();
    let pid = running.pid();
    counter.lock().unwrap().0 = 2;
    peer.say(b"go\n");
    assert_eq!(peer.finish().2, Some(137));
    let (told, ..) = running.join();
    assert_eq!(told, [Told::Started(pid), Told::Oom, Told::Exited(137, Some(9), true)]);
}

#[test]
fn a_start_that_fails() {
    let mut setup = Setup::new("missing");
    let peer = setup.client(OUT);
    let running = setup.run();
    match running.report() {
        Report::Failed { kind: ErrorKind::CommandNotFound, message, exit_code: 127 } => {
            assert!(message.contains("not found in $PATH"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(peer.finish().2, Some(127));
    assert_eq!(running.join().0, [Told::StartFailed(127)]);
}

#[test]
fn a_start_that_cannot_be_recorded_is_undone() {
    let mut setup = Setup::new("sleep 1000");
    let group = FakeGroup::default();
    setup.group = Some(group.clone());
    setup.refuse_start = true;
    let running = setup.run();
    assert!(matches!(running.report(), Report::Failed { kind: ErrorKind::Internal, .. }));
    assert_eq!(running.join().0, [Told::StartFailed(128)]);
    assert_eq!(group.0.lock().unwrap().1, ["kill_all", "remove"]);
}

#[test]
fn restarts_with_back_off_then_removes() {
    let mut setup = Setup::new("echo run; exit 1");
    let mut backoff = Backoff::default();
    let mut runs = 0;
    setup.policy = Box::new(move |exit| {
        runs += 1;
        assert_eq!(exit.code, 1);
        if runs == 4 { AfterExit::Remove } else { AfterExit::Restart { delay: backoff.next(exit.ran_for) } }
    });
    let peer = setup.client(OUT);
    let began = Instant::now();
    let running = setup.run();
    assert_eq!(
        peer.finish(),
        ("run\n".into(), String::new(), Some(1)),
        "a client's stream ends with the first run"
    );
    let (told, out, _) = running.join();
    assert!(began.elapsed() >= Duration::from_millis(100 + 200 + 400));
    assert_eq!(out, "run\n".repeat(4));
    let kinds: Vec<&Told> = told.iter().filter(|t| !matches!(t, Told::Started(_))).collect();
    let (exit, asked) = (&Told::Exited(1, None, false), &Told::Asked);
    assert_eq!(kinds, [exit, asked, exit, asked, exit, asked, exit, &Told::Removed]);
}

#[test]
fn a_client_that_comes_between_runs_sees_the_next_one() {
    let mut setup = Setup::new("echo run");
    let mut runs = 0;
    setup.policy = Box::new(move |_| {
        runs += 1;
        if runs == 2 { AfterExit::Stay } else { AfterExit::Restart { delay: Duration::from_millis(500) } }
    });
    let running = setup.run();
    running.wait_told(1, |t| matches!(t, Told::Exited(..)));
    assert_eq!(running.attach(OUT).finish(), ("run\n".into(), String::new(), Some(0)));
    running.join();
}

#[test]
fn waking_asks_and_may_cancel() {
    let mut setup = Setup::new("exit 5");
    setup.policy = Box::new(|_| AfterExit::Restart { delay: Duration::from_secs(1000) });
    let running = setup.run();
    running.wait_told(1, |t| matches!(t, Told::Exited(..)));
    let mut control = running.attach(Hello::CONTROL);
    control.send(&attach::wake_frame());
    running.wait_told(1, |t| *t == Told::Asked);
    assert!(!running.thread.is_finished(), "it may restart, but not before its time");
    *running.may.lock().unwrap() = false;
    control.send(&attach::wake_frame());
    assert_eq!(control.finish().2, Some(5));
    running.join();
}

#[test]
fn only_one_is_in_charge_and_the_door_is_private() {
    let running = Setup::new("read x").run();
    running.pid();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&running.socket), 0o600);
    assert_eq!(mode(running.socket.parent().unwrap()), 0o700);
    let lock = std::fs::File::open(running.socket.with_file_name("monitor.lock")).unwrap();
    assert!(nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusiveNonblock).is_err());
    drop(running.attach(ALL));
    running.join();
}

#[test]
fn nobody_listens_and_nothing_is_logged() {
    let mut setup = Setup::new("seq 1 100000; exit 7");
    setup.log = None;
    let running = setup.run();
    let pid = running.pid();
    assert_eq!(running.join().0, [Told::Started(pid), Told::Exited(7, None, false)]);
}

#[test]
fn what_an_exec_session_leaves_behind_does_not_hold_it() {
    let mut setup = Setup::new("sleep 30 & echo $!");
    setup.settings.is_container = false;
    let peer = setup.client(OUT);
    let running = setup.run();
    let began = Instant::now();
    let (out, _, code) = peer.finish();
    assert_eq!(code, Some(0));
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(1) && waited < Duration::from_secs(10), "{waited:?}");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(out.trim().parse().unwrap()),
        nix::sys::signal::SIGKILL,
    )
    .unwrap();
    running.join();
}
