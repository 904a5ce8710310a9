//! Clients come and go as they like.

use super::*;

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn ten_thousand_attachments_leave_nothing() {
    let mut setup = Setup::new("while read x; do echo $x; done");
    let mut stays = setup.client(ALL);
    let running = setup.run();
    let mut before = 0;
    for n in 0..10_000 {
        let mut peer = running.attach(OUT);
        if n % 100 == 0 {
            // Now and then, one is there while something happens. It may see it, or have come too late.
            stays.say(format!("{n}.\n").as_bytes());
            stays.hear_until(&format!("{n}.\n"));
        }
        if n % 3 == 0 {
            peer.send(&attach::resize_frame(1, 2));
        }
        if n == 1000 {
            before = resident_kib();
        }
    }
    let grown = resident_kib().saturating_sub(before);
    // Other tests run in this process too; ten thousand leaked clients would be far more.
    assert!(grown < 32 << 10, "{grown} KiB");
    stays.send(&attach::close_stdin_frame());
    assert_eq!(stays.finish().2, Some(0));
    running.join();
}

#[test]
fn clients_that_die_in_the_middle_hurt_nobody() {
    let mut setup = Setup::new("read x; seq 1 200000");
    let mut stays = setup.client(ALL);
    let running = setup.run();
    let doomed: Vec<Peer> = (0..20).map(|_| running.attach(ALL)).collect();
    let killer = std::thread::spawn(move || {
        for (index, mut peer) in doomed.into_iter().enumerate() {
            for _ in 0..index {
                peer.hear();
            }
        }
    });
    stays.say(b"go\n");
    let (out, _, code) = stays.finish();
    assert!(out == numbers(200_000));
    assert_eq!(code, Some(0));
    killer.join().unwrap();
    assert!(running.join().1 == out);
}

#[test]
fn strangers_are_thrown_out() {
    let mut setup = Setup::new("read x");
    let mut stays = setup.client(ALL);
    let running = setup.run();
    running.pid();
    let mut stranger = attach::connect(&running.socket).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stranger.read_to_end(&mut answer);
    assert!(answer.is_empty());
    stays.say(b"\n");
    stays.finish();
    running.join();
}

#[test]
fn who_does_not_want_a_stream_does_not_get_it() {
    let mut setup = Setup::new("echo out; echo err >&2");
    let out = setup.client(Hello { stdout: true, ..Hello::default() });
    let err = setup.client(Hello { stderr: true, ..Hello::default() });
    let none = setup.client(Hello::CONTROL);
    let running = setup.run();
    assert_eq!(out.finish(), ("out\n".into(), String::new(), Some(0)));
    assert_eq!(err.finish(), (String::new(), "err\n".into(), Some(0)));
    assert_eq!(none.finish(), (String::new(), String::new(), Some(0)));
    running.join();
}
