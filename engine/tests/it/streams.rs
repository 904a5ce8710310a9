//! Streams on a bare connection: whoever asks for one without `Upgrade` gets the connection itself, as from dockerd.
//! What follows the request is the program's input, never another request; the head of the answer comes alone.

use crate::http::Api;
use crate::sandbox::{Sandbox, Server};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

struct Engine {
    // Dropped first: it ends before the sandbox looks at what is left.
    _server: Server,
    sandbox: Sandbox,
    socket: PathBuf,
}

impl Engine {
    /// With a container `box` that sleeps.
    fn with_box() -> Self {
        let sandbox = Sandbox::with_busybox();
        let server = sandbox.serve();
        sandbox.ok(["run", "-d", "--name", "box", "--network", "none", "busybox", "sleep", "1000"]);
        let socket = sandbox.path("api.sock");
        Self { _server: server, sandbox, socket }
    }

    /// An exec session of `box`; its id.
    fn exec(&self, command: &[&str], tty: bool) -> String {
        let body = serde_json::json!({
            "AttachStdin": true, "AttachStdout": true, "AttachStderr": true, "Tty": tty, "Cmd": command,
        });
        let (status, answer) =
            Api::new(&self.socket).ask("POST", "/containers/box/exec", body.to_string().as_bytes());
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        answer["Id"].as_str().unwrap().to_owned()
    }
}

/// Sends one request on a connection of its own, with more headers, and what follows it at once.
fn send(socket: &Path, method: &str, target: &str, more: &str, body: &str, follows: &[u8]) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: d\r\n{more}{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), follows].concat()).unwrap();
    stream
}

/// What one read gives: the head, and nothing behind it.
fn head_alone(stream: &mut UnixStream) -> String {
    let mut buffer = vec![0; 1 << 16];
    let length = stream.read(&mut buffer).unwrap();
    let head = String::from_utf8_lossy(&buffer[..length]).into_owned();
    assert!(head.ends_with("\r\n\r\n"), "output came with the head: {head:?}");
    head
}

fn rest(mut stream: UnixStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    all
}

/// One frame of Docker's multiplexed stream.
fn frame(stream: u8, text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&[stream, 0, 0, 0], &length[..], text.as_bytes()].concat()
}

const START: &str = r#"{"Detach":false,"Tty":false}"#;

#[test]
fn exec_start_without_upgrade_takes_input_from_the_connection() {
    let engine = Engine::with_box();
    for follows_at_once in [false, true] {
        let id = engine.exec(&["wc", "-c"], false);
        let early: &[u8] = if follows_at_once { b"input\n" } else { b"" };
        let mut stream = send(&engine.socket, "POST", &format!("/v1.41/exec/{id}/start"), "", START, early);
        let head = head_alone(&mut stream);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("Content-Type: application/vnd.docker.raw-stream\r\n"), "{head}");
        assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
        if !follows_at_once {
            stream.write_all(b"input\n").unwrap();
        }
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(stream), frame(1, "6\n"), "at once: {follows_at_once}");
    }
}

/// Text for a program that looks like a request must not be one.
#[test]
fn input_is_never_another_request() {
    let engine = Engine::with_box();
    let body = r#"{"Image":"busybox","Cmd":["id"]}"#;
    let smuggled = format!(
        "POST /v1.41/containers/create?name=smuggled HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    engine.sandbox.ok(["run", "-di", "--name", "cat", "--network", "none", "busybox", "cat"]);
    let exec = format!("/exec/{}/start", engine.exec(&["cat"], false));
    let attach = "/containers/cat/attach?stream=1&stdin=1&stdout=1".to_owned();
    for (target, body) in [(exec, START), (attach, "")] {
        for upgrade in ["", "Connection: Upgrade\r\nUpgrade: tcp\r\n"] {
            if target.starts_with("/exec") && !upgrade.is_empty() {
                // A session starts once.
                continue;
            }
            let mut stream = send(&engine.socket, "POST", &target, upgrade, body, smuggled.as_bytes());
            head_alone(&mut stream);
            let echoed = smuggled.len() + 8;
            let mut got = vec![0; echoed];
            stream.read_exact(&mut got).unwrap();
            assert!(String::from_utf8_lossy(&got).contains("name=smuggled"), "the program reads it");
        }
    }
    assert_eq!(engine.sandbox.container_ids().len(), 2, "a container was made by text for a program");
}

#[test]
fn the_head_is_read_before_the_output_comes() {
    let engine = Engine::with_box();
    for round in 0..30 {
        let upgrade = if round % 2 == 0 { "" } else { "Connection: Upgrade\r\nUpgrade: tcp\r\n" };
        let id = engine.exec(&["echo", "hello"], false);
        let mut stream = send(&engine.socket, "POST", &format!("/exec/{id}/start"), upgrade, START, b"");
        // A client that is late finds the head alone, too.
        std::thread::sleep(Duration::from_millis(round));
        let head = head_alone(&mut stream);
        assert_eq!(head.starts_with("HTTP/1.1 101 UPGRADED\r\n"), !upgrade.is_empty(), "{head}");
        assert_eq!(rest(stream), frame(1, "hello\n"));
    }
}

/// The client says how it reads: the process may have a terminal or not.
#[test]
fn frames_follow_the_tty_of_the_start() {
    let engine = Engine::with_box();
    let start = |tty: bool| format!(r#"{{"Detach":false,"Tty":{tty}}}"#);
    for (has, says, wanted) in [
        (false, false, frame(1, "hi\n")),
        (true, true, b"hi\r\n".to_vec()),
        (true, false, frame(1, "hi\r\n")),
        (false, true, b"hi\n".to_vec()),
    ] {
        let id = engine.exec(&["echo", "hi"], has);
        let mut stream = send(&engine.socket, "POST", &format!("/exec/{id}/start"), "", &start(says), b"");
        let head = head_alone(&mut stream);
        let kind = if says { "raw-stream" } else { "multiplexed-stream" };
        assert!(head.contains(kind), "{head}");
        assert_eq!(rest(stream), wanted, "has {has}, says {says}");
    }
}

#[test]
fn attach_without_upgrade_carries_both_directions() {
    let engine = Engine::with_box();
    engine.sandbox.ok(["create", "-i", "--name", "cat", "--network", "none", "busybox", "cat"]);
    let target = "/containers/cat/attach?stream=1&stdin=1&stdout=1&stderr=1";
    let mut stream = send(&engine.socket, "POST", target, "", "", b"");
    assert!(head_alone(&mut stream).starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(Api::new(&engine.socket).ask("POST", "/containers/cat/start", b"").0, 204);
    stream.write_all(b"to and fro\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(stream), frame(1, "to and fro\n"));
}

/// A failure after the head was sent is told in the stream, and by the exit code; one before it is a status.
#[test]
fn failures_are_told_where_the_client_can_see_them() {
    let engine = Engine::with_box();
    let id = engine.exec(&["/no/such/program"], false);
    let mut stream = send(&engine.socket, "POST", &format!("/exec/{id}/start"), "", START, b"");
    head_alone(&mut stream);
    let told = String::from_utf8_lossy(&rest(stream)).into_owned();
    assert!(told.contains("/no/such/program") && told.ends_with("\r\n"), "{told:?}");
    let (_, shown) = Api::new(&engine.socket).ask("GET", &format!("/exec/{id}/json"), b"");
    let shown: serde_json::Value = serde_json::from_slice(&shown).unwrap();
    assert_eq!(shown["ExitCode"], 127, "{shown}");
    let mut api = Api::new(&engine.socket);
    let (status, _) = api.ask("POST", &format!("/exec/{id}/start"), START.as_bytes());
    assert_eq!(status, 409, "it has run");
    let (status, _) = api.ask("POST", "/exec/0123/start", START.as_bytes());
    assert_eq!(status, 404);
    let (status, _) = api.ask("POST", "/containers/nobody/attach?stream=1", b"");
    assert_eq!(status, 404);
}

/// Whoever is refused while it still sends reads the reason, not a broken connection.
#[test]
fn a_refusal_is_read_by_who_still_sends() {
    let engine = Engine::with_box();
    for target in ["/containers/create?name=big", "/no/such/route", "/containers/none/archive?path=/"] {
        let method = if target.contains("archive") { "PUT" } else { "POST" };
        let mut stream = UnixStream::connect(&engine.socket).unwrap();
        let length = 24 << 20;
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut sending = stream.try_clone().unwrap();
        let sender = std::thread::spawn(move || sending.write_all(&vec![b' '; length]));
        let mut answer = Vec::new();
        // To the end: a reset would be an error here.
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 4") && answer.contains("\"message\""), "{target}: {answer}");
        drop(stream);
        // Sent whole or not: that is the engine's choice.
        let _ = sender.join().unwrap();
    }
}

/// A masked message of a client (RFC 6455, 5.2); short ones only.
fn masked(opcode: u8, text: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut message = vec![0x80 | opcode, 0x80 | u8::try_from(text.len()).unwrap()];
    message.extend(mask);
    message.extend(text.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    message
}

#[test]
fn attach_speaks_websocket() {
    let engine = Engine::with_box();
    engine.sandbox.ok(["run", "-di", "--name", "cat", "--network", "none", "busybox", "cat"]);
    let handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let target = "/containers/cat/attach/ws?stream=1&stdin=1&stdout=1";
    let mut stream = send(&engine.socket, "GET", target, handshake, "", b"");
    let head = head_alone(&mut stream);
    // The example of RFC 6455, 1.3.
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    stream.write_all(&masked(2, b"hello\n")).unwrap();
    let mut message = [0; 8];
    stream.read_exact(&mut message).unwrap();
    assert_eq!(&message, b"\x82\x06hello\n", "a binary message without frames of Docker's");
    stream.write_all(&masked(8, b"")).unwrap();
    assert!(!rest(stream).is_empty(), "a close message is answered");
    assert_eq!(engine.sandbox.container_state("cat")["Status"], "running", "only the client has left");
    let mut plain = send(&engine.socket, "GET", target, "", "", b"");
    let mut answer = [0; 12];
    plain.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
}
