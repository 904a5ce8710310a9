//! The attach protocol: what a monitor and its clients say to each other over a unix stream socket.
//!
//! Both directions carry frames with Docker's 8-byte multiplex header, `{kind, 0, 0, 0, length as big-endian
//! u32}`, followed by `length` bytes:
//!
//! ```text
//! client → monitor                            monitor → client
//!   0x13 hello {flags}      first, once         1 standard output, 2 standard error: bytes
//!   0    standard input     bytes                 (with a tty everything is 1)
//!   0x11 resize {rows, cols as u16}             0x10 exit {code as i32}: the last frame; the socket
//!   0x12 close standard input                        is closed after it
//!   0x14 wake: ask now whether to restart
//! ```
//!
//! Everything here is pure, save for [`connect`]: encoders fill small arrays, decoders take bytes as they
//! come and hand out frames without copying. The monitor uses them over epoll, the engine over tokio.
//! A data frame may come out of a decoder in several pieces; frame boundaries of data mean nothing.

use crate::log::Stream;
use dhow_model::{Error, ErrorKind, Result};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Bytes of a frame header.
pub const HEADER_LENGTH: usize = 8;

/// Longest control payload that this version sends or accepts.
const CONTROL_MAX: usize = 8;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const EXIT: u8 = 0x10;
const RESIZE: u8 = 0x11;
const CLOSE_STDIN: u8 = 0x12;
const HELLO: u8 = 0x13;
const WAKE: u8 = 0x14;

const WANTS_STDOUT: u8 = 1;
const WANTS_STDERR: u8 = 2;
const GIVES_STDIN: u8 = 4;
const CONTROL_ONLY: u8 = 8;

/// What a client says about itself, first of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hello {
    /// It wants standard output (with a tty: all output).
    pub stdout: bool,
    /// It wants standard error.
    pub stderr: bool,
    /// It gives standard input.
    pub stdin: bool,
    /// It only resizes or wakes: it gets no output and its leaving means nothing.
    pub control_only: bool,
}

impl Hello {
    /// A client that sends control frames only.
    pub const CONTROL: Hello = Hello { stdout: false, stderr: false, stdin: false, control_only: true };

    /// The hello frame.
    pub fn encode(self) -> [u8; HEADER_LENGTH + 1] {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let flags = flag(self.stdout, WANTS_STDOUT)
            | flag(self.stderr, WANTS_STDERR)
            | flag(self.stdin, GIVES_STDIN)
            | flag(self.control_only, CONTROL_ONLY);
        control(HELLO, [flags])
    }

    fn from_flags(flags: u8) -> Self {
        let control_only = flags & CONTROL_ONLY != 0;
        Self {
            stdout: !control_only && flags & WANTS_STDOUT != 0,
            stderr: !control_only && flags & WANTS_STDERR != 0,
            stdin: !control_only && flags & GIVES_STDIN != 0,
            control_only,
        }
    }

    /// Whether output of `stream` goes to this client.
    pub fn wants(self, stream: Stream) -> bool {
        match stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        }
    }
}

/// The header of a frame with `length` bytes of output from `stream`: also exactly Docker's multiplex header.
pub fn output_header(stream: Stream, length: u32) -> [u8; HEADER_LENGTH] {
    header(if stream == Stream::Stdout { STDOUT } else { STDERR }, length)
}

/// The header of a frame with `length` bytes of standard input.
pub fn stdin_header(length: u32) -> [u8; HEADER_LENGTH] {
    header(STDIN, length)
}

/// The frame that ends a client's stream: the process is gone, with this code.
pub fn exit_frame(code: i32) -> [u8; HEADER_LENGTH + 4] {
    control(EXIT, code.to_be_bytes())
}

/// The frame that sets the size of the terminal.
pub fn resize_frame(rows: u16, cols: u16) -> [u8; HEADER_LENGTH + 4] {
    let ([r0, r1], [c0, c1]) = (rows.to_be_bytes(), cols.to_be_bytes());
    control(RESIZE, [r0, r1, c0, c1])
}

/// The frame that says that the client has no more standard input to give.
pub fn close_stdin_frame() -> [u8; HEADER_LENGTH] {
    header(CLOSE_STDIN, 0)
}

/// The frame that makes a monitor which waits before a restart ask now whether it still may.
pub fn wake_frame() -> [u8; HEADER_LENGTH] {
    header(WAKE, 0)
}

fn header(kind: u8, length: u32) -> [u8; HEADER_LENGTH] {
    let [a, b, c, d] = length.to_be_bytes();
    [kind, 0, 0, 0, a, b, c, d]
}

/// `N` bytes of payload after a header; `M` is `N + 8`, which the callers' return types fix.
fn control<const N: usize, const M: usize>(kind: u8, payload: [u8; N]) -> [u8; M] {
    let mut frame = [0; M];
    // All payloads here are at most `CONTROL_MAX` bytes.
    frame[..HEADER_LENGTH].copy_from_slice(&header(kind, u32::try_from(N).unwrap_or(0)));
    frame[HEADER_LENGTH..].copy_from_slice(&payload);
    frame
}

/// What a client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientFrame<'a> {
    /// Who it is.
    Hello(Hello),
    /// A piece of standard input, never empty.
    Stdin(&'a [u8]),
    /// It has no more standard input.
    CloseStdin,
    /// Set the terminal's size.
    Resize {
        /// Lines.
        rows: u16,
        /// Columns.
        cols: u16,
    },
    /// Ask now whether to restart.
    Wake,
}

/// What a monitor says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerFrame<'a> {
    /// A piece of output, never empty.
    Output(Stream, &'a [u8]),
    /// The process ended with this code. Nothing follows.
    Exit(i32),
}

/// Decodes what clients send.
#[derive(Debug, Default)]
pub struct ClientDecoder(Decoder);

impl ClientDecoder {
    /// The next frame or piece of one in `input`, which is advanced past what was used. `None`: more bytes
    /// are needed, and `input` is empty.
    ///
    /// # Errors
    /// `InvalidArgument` when the bytes are not this protocol; the connection is then useless.
    pub fn decode<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<ClientFrame<'a>>> {
        Ok(Some(match self.0.next(input, |kind| kind == STDIN)? {
            None => return Ok(None),
            Some(Piece::Data(_, bytes)) => ClientFrame::Stdin(bytes),
            Some(Piece::Control(HELLO, &[flags])) => ClientFrame::Hello(Hello::from_flags(flags)),
            Some(Piece::Control(RESIZE, &[r0, r1, c0, c1])) => {
                ClientFrame::Resize { rows: u16::from_be_bytes([r0, r1]), cols: u16::from_be_bytes([c0, c1]) }
            }
            Some(Piece::Control(CLOSE_STDIN, [])) => ClientFrame::CloseStdin,
            Some(Piece::Control(WAKE, [])) => ClientFrame::Wake,
            Some(Piece::Control(kind, payload)) => return Err(unknown(kind, payload.len())),
        }))
    }
}

/// Decodes what a monitor sends.
#[derive(Debug, Default)]
pub struct ServerDecoder(Decoder);

impl ServerDecoder {
    /// As [`ClientDecoder::decode`].
    ///
    /// # Errors
    /// As [`ClientDecoder::decode`].
    pub fn decode<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<ServerFrame<'a>>> {
        Ok(Some(match self.0.next(input, |kind| kind == STDOUT || kind == STDERR)? {
            None => return Ok(None),
            Some(Piece::Data(STDOUT, bytes)) => ServerFrame::Output(Stream::Stdout, bytes),
            Some(Piece::Data(_, bytes)) => ServerFrame::Output(Stream::Stderr, bytes),
            Some(Piece::Control(EXIT, &[a, b, c, d])) => ServerFrame::Exit(i32::from_be_bytes([a, b, c, d])),
            Some(Piece::Control(kind, payload)) => return Err(unknown(kind, payload.len())),
        }))
    }
}

fn unknown(kind: u8, length: usize) -> Error {
    Error::invalid(format!("attach protocol: unexpected frame of kind {kind:#04x} with {length} bytes"))
}

/// The state between two reads: at most a header and a control payload, whatever the frames' sizes.
#[derive(Debug, Default)]
struct Decoder {
    /// Header, then payload of a control frame, as far as they came.
    small: [u8; HEADER_LENGTH + CONTROL_MAX],
    filled: usize,
    /// Bytes of the current data frame that are still to come.
    data_left: u32,
}

enum Piece<'d, 'a> {
    Data(u8, &'a [u8]),
    Control(u8, &'d [u8]),
}

impl Decoder {
    fn next<'d, 'a>(
        &'d mut self,
        input: &mut &'a [u8],
        is_data: impl Fn(u8) -> bool,
    ) -> Result<Option<Piece<'d, 'a>>> {
        loop {
            if self.data_left > 0 {
                let here = input.len().min(usize::try_from(self.data_left).unwrap_or(usize::MAX));
                if here == 0 {
                    return Ok(None);
                }
                let (piece, rest) = input.split_at(here);
                *input = rest;
                self.data_left -= u32::try_from(here).unwrap_or(self.data_left);
                return Ok(Some(Piece::Data(self.small[0], piece)));
            }
            if !self.fill(HEADER_LENGTH, input) {
                return Ok(None);
            }
            let [kind, .., a, b, c, d] = self.header();
            let length = u32::from_be_bytes([a, b, c, d]);
            if is_data(kind) {
                self.filled = 0;
                self.data_left = length;
                continue;
            }
            let control = usize::try_from(length).unwrap_or(usize::MAX);
            if control > CONTROL_MAX {
                return Err(unknown(kind, control));
            }
            if !self.fill(HEADER_LENGTH + control, input) {
                return Ok(None);
            }
            self.filled = 0;
            return Ok(Some(Piece::Control(kind, &self.small[HEADER_LENGTH..HEADER_LENGTH + control])));
        }
    }

    fn header(&self) -> [u8; HEADER_LENGTH] {
        let mut header = [0; HEADER_LENGTH];
        header.copy_from_slice(&self.small[..HEADER_LENGTH]);
        header
    }

    /// Takes bytes until `small` holds `wanted` of them; says whether it does.
    fn fill(&mut self, wanted: usize, input: &mut &[u8]) -> bool {
        let take = wanted.saturating_sub(self.filled).min(input.len());
        let (now, rest) = input.split_at(take);
        self.small[self.filled..self.filled + take].copy_from_slice(now);
        self.filled += take;
        *input = rest;
        self.filled >= wanted
    }
}

/// Connects to a monitor's socket. The stream is blocking, and nothing was sent yet: say [`Hello`] first.
///
/// # Errors
/// `Unavailable` when nobody listens there (any more).
pub fn connect(path: &Path) -> Result<UnixStream> {
    let what = |error| {
        Error::caused(ErrorKind::Unavailable, format!("connect to monitor at {}", path.display()), error)
    };
    if fits_sun_path(path) {
        return UnixStream::connect(path).map_err(what);
    }
    let (directory, name) = split(path)?;
    let directory = std::fs::File::open(directory).map_err(what)?;
    UnixStream::connect(through_descriptor(&directory, name)).map_err(what)
}

/// unix(7): `sun_path` has 108 bytes, the terminating zero included.
pub(crate) fn fits_sun_path(path: &Path) -> bool {
    path.as_os_str().as_bytes().len() < 108
}

/// A name for `name` in the open `directory` that always fits `sun_path`.
pub(crate) fn through_descriptor(directory: &impl AsRawFd, name: &std::ffi::OsStr) -> PathBuf {
    Path::new(&format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name)
}

/// Directory and file name of a socket's path.
pub(crate) fn split(path: &Path) -> Result<(&Path, &std::ffi::OsStr)> {
    match (path.parent(), path.file_name()) {
        (Some(directory), Some(name)) if path.is_absolute() => Ok((directory, name)),
        _ => Err(Error::invalid(format!("{}: want the absolute path of a socket", path.display()))),
    }
}

#[cfg(test)]
mod tests;
