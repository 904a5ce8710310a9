//! Docker's API by hand, over one kept connection: for tests that ask thousands of times.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// One keep-alive connection to the API.
pub(crate) struct Api {
    socket: PathBuf,
    stream: Option<BufReader<UnixStream>>,
}

impl Api {
    /// To a server that listens.
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), stream: None }
    }

    /// The head of a request with a JSON body, or none.
    fn head(method: &str, target: &str, body: &[u8], more: &str) -> String {
        let kind = if body.starts_with(b"{") { "Content-Type: application/json\r\n" } else { "" };
        format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{kind}{more}Content-Length: {}\r\n\r\n", body.len())
    }

    /// Turns a new connection into a stream; gives it when the engine has agreed.
    pub(crate) fn hijack(&self, target: &str, body: &[u8]) -> UnixStream {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        let head = Self::head("POST", target, body, "Connection: Upgrade\r\nUpgrade: tcp\r\n");
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        // Byte by byte: what follows the head belongs to the stream.
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        stream
    }

    /// Status and body; an answer that breaks off is given as far as it came.
    pub(crate) fn ask(&mut self, method: &str, target: &str, body: &[u8]) -> (u32, Vec<u8>) {
        let mut stream =
            self.stream.take().unwrap_or_else(|| BufReader::new(UnixStream::connect(&self.socket).unwrap()));
        let head = Self::head(method, target, body, "");
        stream.get_mut().write_all(head.as_bytes()).unwrap();
        stream.get_mut().write_all(body).unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let status =
            line.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("{line:?}"));
        let (mut length, mut chunked) = (0, false);
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            chunked |= line == "transfer-encoding: chunked";
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
        }
        let mut answer = Vec::new();
        if !chunked {
            answer.resize(length, 0);
            stream.read_exact(&mut answer).unwrap();
            self.stream = Some(stream);
            return (status, answer);
        }
        loop {
            let mut size = String::new();
            if stream.read_line(&mut size).unwrap() == 0 {
                return (status, answer);
            }
            let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
            let start = answer.len();
            answer.resize(start + size + 2, 0);
            if stream.read_exact(&mut answer[start..]).is_err() {
                return (status, answer);
            }
            answer.truncate(start + size);
            if size == 0 {
                self.stream = Some(stream);
                return (status, answer);
            }
        }
    }
}
