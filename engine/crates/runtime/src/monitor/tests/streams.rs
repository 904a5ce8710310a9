//! Bytes in, bytes out: complete, in order, bounded.

use super::*;

#[test]
fn everyone_gets_everything_however_slow() {
    let mut setup = Setup::new("read x; seq 1 300000; echo end >&2");
    setup.log = Some(LogConfig { max_size_bytes: 3 << 20, max_files: 1000, ..LogConfig::default() });
    let mut first = setup.client(ALL);
    let running = setup.run();
    let quick: Vec<Peer> = (0..3).map(|_| running.attach(OUT)).collect();
    let mut slow = running.attach(OUT);
    // Until all of them are in.
    std::thread::sleep(Duration::from_millis(100));
    first.say(b"go\n");
    let quick: Vec<_> = quick.into_iter().map(|peer| std::thread::spawn(move || peer.finish())).collect();
    let slow = std::thread::spawn(move || {
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(20));
            slow.hear();
        }
        slow.finish()
    });
    let want = numbers(300_000);
    for peer in quick.into_iter().chain([slow]).map(|p| p.join().unwrap()).chain([first.finish()]) {
        assert!(peer.0 == want, "{} bytes of {}", peer.0.len(), want.len());
        assert_eq!((peer.1.as_str(), peer.2), ("end\n", Some(0)));
    }
    let (_, out, err) = running.join();
    assert!(out == want, "{} bytes of {} in the log", out.len(), want.len());
    assert_eq!(err, "end\n");
}

#[test]
fn a_client_that_does_not_read_holds_the_process_and_nothing_is_lost() {
    let mut setup = Setup::new("head -c 8000000 /dev/zero | tr '\\0' x; echo done >&2");
    let mut peer = setup.client(OUT);
    let running = setup.run();
    running.pid();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(running.told().len(), 1, "the process waits for its client");
    while peer.hear() {}
    assert_eq!((peer.out.len(), peer.err.as_slice(), peer.exit), (8_000_000, &b"done\n"[..], Some(0)));
    assert_eq!(running.join().1.len(), 8_000_000);
}

#[test]
fn a_client_that_never_reads_does_not_hold_the_exit() {
    let mut setup = Setup::new("head -c 600000 /dev/zero");
    let peer = setup.client(OUT);
    let running = setup.run();
    let began = Instant::now();
    running.wait_told(1, |t| matches!(t, Told::Exited(..)));
    assert!(began.elapsed() < Duration::from_secs(2));
    wait_until(|| !running.socket.exists());
    assert!(!running.thread.is_finished(), "it still offers the rest");
    running.join();
    assert!(began.elapsed() < Duration::from_secs(15));
    // What was sent is there, what was not is not, and there is no exit code.
    assert_eq!(peer.finish().2, None);
}

#[test]
fn input_reaches_the_process_and_its_end_does_too() {
    let mut setup = Setup::new("cat; echo over >&2");
    let mut peer = setup.client(ALL);
    let running = setup.run();
    peer.say(b"one\n");
    peer.hear_until("one\n");
    peer.say(b"two\n");
    peer.send(&attach::close_stdin_frame());
    assert_eq!(peer.finish(), ("one\ntwo\n".into(), "over\n".into(), Some(0)));
    running.join();
}

#[test]
fn input_before_the_start_is_kept() {
    let mut setup = Setup::new("cat");
    let mut peer = setup.client(ALL);
    peer.say(b"early\n");
    peer.send(&attach::close_stdin_frame());
    let running = setup.run();
    assert_eq!(peer.finish(), ("early\n".into(), String::new(), Some(0)));
    running.join();
}

#[test]
fn input_that_nobody_reads_yet_is_bounded_and_complete() {
    let mut setup = Setup::new("sleep 0.5; wc -c");
    let mut peer = setup.client(ALL);
    let running = setup.run();
    let block = vec![b'x'; 1 << 20];
    let began = Instant::now();
    for _ in 0..20 {
        peer.say(&block);
    }
    assert!(began.elapsed() >= Duration::from_millis(300), "the client was held up");
    peer.send(&attach::close_stdin_frame());
    assert_eq!(peer.finish().0.trim(), (20 << 20).to_string());
    running.join();
}

#[test]
fn input_that_nobody_will_read() {
    let mut setup = Setup::new("exec <&-; sleep 0.3; echo fine");
    let mut peer = setup.client(ALL);
    let running = setup.run();
    running.pid();
    let block = vec![b'x'; 1 << 20];
    for _ in 0..4 {
        peer.say(&block);
    }
    assert_eq!(peer.finish(), ("fine\n".into(), String::new(), Some(0)));
    running.join();
    // And a process that never had a standard input.
    let mut setup = Setup::new("cat; echo fine");
    setup.settings.open_stdin = false;
    let mut peer = setup.client(ALL);
    let running = setup.run();
    for _ in 0..4 {
        peer.say(&block[..100_000]);
    }
    assert_eq!(peer.finish(), ("fine\n".into(), String::new(), Some(0)));
    running.join();
}

#[test]
fn stdin_once_ends_with_the_first_giver_whatever_way_it_goes() {
    for how in 0..3 {
        let mut setup = Setup::new("cat");
        let mut giver = setup.client(ALL);
        let listener = setup.client(OUT);
        let running = setup.run();
        // A client that gives nothing does not count.
        drop(running.attach(OUT));
        giver.say(b"bye\n");
        match how {
            0 => giver.send(&attach::close_stdin_frame()),
            1 => giver.socket.shutdown(std::net::Shutdown::Write).unwrap(),
            _ => drop(giver),
        }
        assert_eq!(listener.finish(), ("bye\n".into(), String::new(), Some(0)), "way {how}");
        running.join();
    }
}

#[test]
fn open_stdin_outlives_its_clients() {
    let mut setup = Setup::new("cat");
    setup.settings.stdin_once = false;
    let listener = setup.client(OUT);
    let running = setup.run();
    let pid = running.pid();
    for n in 0..3 {
        let mut peer = running.attach(ALL);
        peer.say(format!("{n}\n").as_bytes());
        peer.hear_until(&format!("{n}\n"));
        peer.send(&attach::close_stdin_frame());
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGTERM).unwrap();
    assert_eq!(listener.finish(), ("0\n1\n2\n".into(), String::new(), Some(143)));
    running.join();
}

#[test]
fn a_terminal_has_a_size_and_echoes() {
    let mut setup = Setup::new("stty size; read x; stty size; tty >&2; exit 4");
    setup.settings.tty = true;
    setup.size = (33, 77);
    let mut peer = setup.client(ALL);
    let running = setup.run();
    peer.hear_until("33 77\r\n");
    peer.send(&attach::resize_frame(10, 20));
    peer.say(b"hello\n");
    let (out, err, code) = peer.finish();
    assert!(out.starts_with("33 77\r\nhello\r\n10 20\r\n/dev/pts/"), "{out:?}");
    assert_eq!((err.as_str(), code), ("", Some(4)));
    assert_eq!(running.join().1, out);
}

#[test]
fn a_terminal_that_is_closed_and_opened_again() {
    let mut setup =
        Setup::new("t=$(tty); exec <&- >&- 2>&-; sleep 0.3; exec <$t >$t 2>$t; echo back; sleep 0.3");
    setup.settings.tty = true;
    let peer = setup.client(OUT);
    let running = setup.run();
    assert_eq!(peer.finish(), ("back\r\n".into(), String::new(), Some(0)));
    running.join();
}

#[test]
fn a_terminal_takes_much_output() {
    let mut setup = Setup::new("seq 1 50000");
    setup.settings.tty = true;
    let peer = setup.client(OUT);
    let running = setup.run();
    let (out, ..) = peer.finish();
    assert!(out.replace("\r\n", "\n") == numbers(50_000));
    assert!(running.join().1 == out);
}
