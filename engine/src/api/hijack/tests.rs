//! A client on one side, a monitor played by the test on the other.

use super::*;
use crate::container::logs::LogsStream;
use dhow_model::Timestamp;
use dhow_runtime::attach::{ClientDecoder, ClientFrame};
use http::HeaderValue;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::DuplexStream;

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        // A test that hangs fails.
        tokio::time::timeout(Duration::from_secs(10), work).await.unwrap()
    })
}

fn input(given: bool, closes: bool) -> KeyedInput {
    KeyedInput { given, closes, keys: vec![16, 17] }
}

/// Joins a client to a monitor; returns the client's and the monitor's ends.
fn start(tty: bool, input: KeyedInput, replay: Option<LogsStream>) -> (DuplexStream, UnixStream) {
    let (client, server) = tokio::io::duplex(1 << 20);
    let (stream, monitor) = UnixStream::pair().unwrap();
    tokio::spawn(async move {
        let (mut reader, mut writer) = tokio::io::split(server);
        let attached = Attached { tty, stream: Some(stream), replay };
        let _ = join(attached, input, &mut false, &mut reader, &mut writer).await;
        let _ = writer.shutdown().await;
    });
    (client, monitor)
}

async fn say(monitor: &mut UnixStream, stream: Stream, bytes: &[u8]) {
    let header = protocol::output_header(stream, u32::try_from(bytes.len()).unwrap());
    monitor.write_all(&header).await.unwrap();
    monitor.write_all(bytes).await.unwrap();
}

/// What the monitor hears until the client's side is closed.
async fn heard(mut monitor: UnixStream) -> (Vec<u8>, bool) {
    let mut all = Vec::new();
    monitor.read_to_end(&mut all).await.unwrap();
    let (mut decoder, mut bytes, mut typed, mut closed) =
        (ClientDecoder::default(), &all[..], Vec::new(), false);
    while let Some(frame) = decoder.decode(&mut bytes).unwrap() {
        match frame {
            ClientFrame::Stdin(piece) => typed.extend_from_slice(piece),
            ClientFrame::CloseStdin => closed = true,
            other => panic!("{other:?}"),
        }
    }
    (typed, closed)
}

async fn read_all(mut client: DuplexStream) -> Vec<u8> {
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    all
}

#[test]
fn a_terminals_output_is_raw_and_whole() {
    block_on(async {
        let (client, mut monitor) = start(true, input(false, false), None);
        let long = vec![b'x'; 300_000];
        say(&mut monitor, Stream::Stdout, b"begin ").await;
        say(&mut monitor, Stream::Stdout, &long).await;
        monitor.write_all(&protocol::exit_frame(0)).await.unwrap();
        let got = read_all(client).await;
        assert_eq!(got.len(), 6 + long.len());
        assert!(got.starts_with(b"begin x"));
    });
}

#[test]
fn without_a_terminal_streams_stay_apart() {
    block_on(async {
        let (client, mut monitor) = start(false, input(false, false), None);
        say(&mut monitor, Stream::Stdout, b"out").await;
        say(&mut monitor, Stream::Stderr, b"err").await;
        // A monitor that dies without an exit frame ends the stream too.
        drop(monitor);
        assert_eq!(read_all(client).await, b"\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x03err");
    });
}

#[test]
fn the_end_of_input_is_not_the_end_of_output() {
    block_on(async {
        let (client, mut monitor) = start(false, input(true, true), None);
        let (mut from, mut to) = tokio::io::split(client);
        to.write_all(b"typed").await.unwrap();
        to.shutdown().await.unwrap();
        // The monitor hears the end of the input on an open connection.
        let mut header = [0; 8];
        monitor.read_exact(&mut header).await.unwrap();
        let mut text = [0; 5];
        monitor.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"typed");
        monitor.read_exact(&mut header).await.unwrap();
        assert_eq!(header, protocol::close_stdin_frame());
        tokio::time::sleep(Duration::from_millis(20)).await;
        say(&mut monitor, Stream::Stdout, b"later").await;
        monitor.write_all(&protocol::exit_frame(0)).await.unwrap();
        let mut got = Vec::new();
        from.read_to_end(&mut got).await.unwrap();
        assert!(got.ends_with(b"later"));
    });
}

#[test]
fn input_that_must_stay_open_ends_the_attachment() {
    block_on(async {
        let (client, monitor) = start(true, input(true, false), None);
        let (mut from, mut to) = tokio::io::split(client);
        to.write_all(b"bye").await.unwrap();
        to.shutdown().await.unwrap();
        assert_eq!(heard(monitor).await, (b"bye".to_vec(), false));
        let mut got = Vec::new();
        from.read_to_end(&mut got).await.unwrap();
        assert!(got.is_empty());
    });
}

#[test]
fn detach_keys_leave_the_process_alone() {
    block_on(async {
        let (mut client, monitor) = start(true, input(true, true), None);
        client.write_all(b"ls\x10").await.unwrap();
        client.write_all(b"\x11never").await.unwrap();
        assert_eq!(heard(monitor).await, (b"ls".to_vec(), false));
        assert!(read_all(client).await.is_empty());
    });
}

#[test]
fn a_client_without_input_is_not_listened_to() {
    block_on(async {
        let (client, mut monitor) = start(false, input(false, true), None);
        let (mut from, mut to) = tokio::io::split(client);
        to.write_all(b"ignored").await.unwrap();
        to.shutdown().await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        say(&mut monitor, Stream::Stdout, b"still here").await;
        monitor.write_all(&protocol::exit_frame(3)).await.unwrap();
        let mut got = Vec::new();
        from.read_to_end(&mut got).await.unwrap();
        assert!(got.ends_with(b"still here"));
        assert_eq!(heard(monitor).await, (Vec::new(), false));
    });
}

#[test]
fn the_log_comes_before_the_stream() {
    block_on(async {
        let entry = LogEntry {
            stream: Stream::Stdout,
            time: Timestamp(0),
            line: b"old\n".to_vec(),
            attributes: BTreeMap::new(),
        };
        let replay = LogsStream { tty: true, stream: futures_util::stream::iter([Ok(entry)]).boxed() };
        let (client, mut monitor) = start(true, input(false, false), Some(replay));
        say(&mut monitor, Stream::Stdout, b"new\n").await;
        drop(monitor);
        assert_eq!(read_all(client).await, b"old\nnew\n");
    });
}

#[test]
fn upgrades_are_asked_for_with_two_headers() {
    let headers = |pairs: &[(&'static str, &'static str)]| {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_static(value));
        }
        wants_upgrade(&map)
    };
    assert!(headers(&[("connection", "Upgrade"), ("upgrade", "tcp")]));
    assert!(headers(&[("connection", "keep-alive, upgrade"), ("upgrade", "tcp")]));
    assert!(!headers(&[("connection", "Upgrade")]));
    assert!(!headers(&[("upgrade", "tcp")]));
    assert!(!headers(&[("connection", "close"), ("upgrade", "tcp")]));
}

#[test]
fn content_types_follow_the_version() {
    let old = Version { major: 1, minor: 41 };
    let new = Version { major: 1, minor: 42 };
    assert_eq!(content_type(false, old), RAW);
    assert_eq!(content_type(false, new), MULTIPLEXED);
    assert_eq!(content_type(true, new), RAW);
}

#[test]
fn timestamps_go_before_lines() {
    block_on(async {
        let entry = LogEntry {
            stream: Stream::Stderr,
            time: Timestamp(1),
            line: b"x\n".to_vec(),
            attributes: BTreeMap::new(),
        };
        let body = entries_body(
            futures_util::stream::iter([Ok(entry)]),
            false,
            LinePrefix { timestamps: true, details: false },
        );
        let bytes = axum::body::to_bytes(body, 1000).await.unwrap();
        assert_eq!(&bytes[..], b"\x02\0\0\0\0\0\0\x211970-01-01T00:00:00.000000001Z x\n");
    });
}
