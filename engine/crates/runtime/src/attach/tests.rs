//! The protocol survives every way of cutting its bytes, and nonsense never panics.

use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone, PartialEq)]
enum Sent {
    Hello(Hello),
    Stdin(Vec<u8>),
    CloseStdin,
    Resize(u16, u16),
    Wake,
}

fn encode(frames: &[Sent]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        match frame {
            Sent::Hello(hello) => bytes.extend(hello.encode()),
            Sent::Stdin(data) => {
                bytes.extend(stdin_header(u32::try_from(data.len()).unwrap()));
                bytes.extend(data);
            }
            Sent::CloseStdin => bytes.extend(close_stdin_frame()),
            Sent::Resize(rows, cols) => bytes.extend(resize_frame(*rows, *cols)),
            Sent::Wake => bytes.extend(wake_frame()),
        }
    }
    bytes
}

/// Decodes `bytes` cut into pieces of the given sizes, joining neighbouring data.
fn decode(bytes: &[u8], cuts: &[usize]) -> Result<Vec<Sent>> {
    let mut decoder = ClientDecoder::default();
    let mut got = Vec::new();
    let mut rest = bytes;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let (mut now, later) = rest.split_at((*cuts.next().unwrap()).clamp(1, rest.len()));
        rest = later;
        while let Some(frame) = decoder.decode(&mut now)? {
            match frame {
                ClientFrame::Hello(hello) => got.push(Sent::Hello(hello)),
                ClientFrame::Stdin(data) => match got.last_mut() {
                    Some(Sent::Stdin(before)) => before.extend(data),
                    _ => got.push(Sent::Stdin(data.to_vec())),
                },
                ClientFrame::CloseStdin => got.push(Sent::CloseStdin),
                ClientFrame::Resize { rows, cols } => got.push(Sent::Resize(rows, cols)),
                ClientFrame::Wake => got.push(Sent::Wake),
            }
        }
        assert!(now.is_empty(), "None means that everything was used");
    }
    Ok(got)
}

fn any_frame() -> impl Strategy<Value = Sent> {
    prop_oneof![
        (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(stdout, stderr, stdin)| Sent::Hello(
            Hello { stdout, stderr, stdin, control_only: false }
        )),
        Just(Sent::Hello(Hello::CONTROL)),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Sent::Stdin),
        Just(Sent::CloseStdin),
        (any::<u16>(), any::<u16>()).prop_map(|(rows, cols)| Sent::Resize(rows, cols)),
        Just(Sent::Wake),
    ]
}

/// What `decode` can know: empty data vanishes, neighbouring data is joined.
fn normal(frames: Vec<Sent>) -> Vec<Sent> {
    let mut out: Vec<Sent> = Vec::new();
    for frame in frames {
        match (out.last_mut(), frame) {
            (_, Sent::Stdin(data)) if data.is_empty() => {}
            (Some(Sent::Stdin(before)), Sent::Stdin(data)) => before.extend(data),
            (_, other) => out.push(other),
        }
    }
    out
}

proptest! {
    #[test]
    fn cuts_do_not_matter(
        frames in prop::collection::vec(any_frame(), 0..20),
        cuts in prop::collection::vec(1usize..40, 1..20),
    ) {
        let bytes = encode(&frames);
        prop_assert_eq!(decode(&bytes, &cuts).unwrap(), normal(frames));
    }

    #[test]
    fn nonsense_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 1usize..20) {
        let _ = decode(&bytes, &[cut]);
        let mut server = ServerDecoder::default();
        let mut input = &bytes[..];
        while let Ok(Some(_)) = server.decode(&mut input) {}
    }

    #[test]
    fn output_and_exit(data in prop::collection::vec(any::<u8>(), 1..100), code in any::<i32>()) {
        let mut bytes = output_header(Stream::Stderr, u32::try_from(data.len()).unwrap()).to_vec();
        bytes.extend(&data);
        bytes.extend(exit_frame(code));
        let mut decoder = ServerDecoder::default();
        let mut input = &bytes[..];
        prop_assert_eq!(decoder.decode(&mut input).unwrap(), Some(ServerFrame::Output(Stream::Stderr, &data)));
        prop_assert_eq!(decoder.decode(&mut input).unwrap(), Some(ServerFrame::Exit(code)));
        prop_assert_eq!(decoder.decode(&mut input).unwrap(), None);
    }
}

#[test]
fn the_bytes_on_the_wire() {
    assert_eq!(output_header(Stream::Stdout, 258), [1, 0, 0, 0, 0, 0, 1, 2]);
    assert_eq!(exit_frame(137), [0x10, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 137]);
    assert_eq!(resize_frame(24, 80), [0x11, 0, 0, 0, 0, 0, 0, 4, 0, 24, 0, 80]);
    let hello = Hello { stdout: true, stderr: true, stdin: true, control_only: false };
    assert_eq!(hello.encode(), [0x13, 0, 0, 0, 0, 0, 0, 1, 7]);
    assert_eq!(close_stdin_frame(), [0x12, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_foreign_peer_is_refused() {
    let mut decoder = ClientDecoder::default();
    let error = decoder.decode(&mut &b"GET / HTTP/1.1\r\n"[..]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_path_longer_than_an_address() {
    use std::os::unix::net::UnixListener;
    let scratch = tempfile::tempdir().unwrap();
    let deep = scratch.path().join("d".repeat(100)).join("e".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    let path = deep.join("attach.sock");
    assert_eq!(connect(&path).unwrap_err().kind(), ErrorKind::Unavailable);
    let directory = std::fs::File::open(&deep).unwrap();
    let _listener = UnixListener::bind(through_descriptor(&directory, "attach.sock".as_ref())).unwrap();
    connect(&path).unwrap();
}
