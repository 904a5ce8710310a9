//! What is measured of a network: `wire serve PORT` answers, `wire stream ADDRESS BYTES` sends so many bytes one way,
//! `wire echo ADDRESS COUNT` sends so many short messages and waits for each to come back. Both print nanoseconds: of
//! the whole way, and of the middle one of all round trips. A program of its own, because it runs in containers that
//! have no library.

use std::io::{Error, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// What a client asks for with its first byte.
const SWALLOW: u8 = b's';
const ECHO: u8 = b'e';
/// One write of a stream.
const PIECE: usize = 128 << 10;
/// A short message.
const MESSAGE: usize = 64;
/// A server that is not there yet.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let bad = |_| Error::other("not a number");
    match words.as_slice() {
        ["serve", port] => serve(port.parse().map_err(bad)?),
        ["stream", address, bytes] => {
            println!("{}", stream(address, bytes.parse().map_err(bad)?)?.as_nanos());
            Ok(())
        }
        ["echo", address, count] => {
            println!("{}", echo(address, count.parse().map_err(bad)?)?.as_nanos());
            Ok(())
        }
        _ => Err(Error::other("serve PORT, stream ADDRESS BYTES or echo ADDRESS COUNT")),
    }
}

fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    for client in listener.incoming() {
        let client = client?;
        // A client that breaks off is its own affair.
        std::thread::spawn(move || answer(client));
    }
    Ok(())
}

fn answer(mut client: TcpStream) -> Result<()> {
    client.set_nodelay(true)?;
    let mut wish = [0];
    client.read_exact(&mut wish)?;
    let mut buffer = vec![0; PIECE];
    loop {
        let count = client.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        if wish[0] == ECHO {
            client.write_all(&buffer[..count])?;
        }
    }
    // All has come: a stream is over when the other side hears so.
    if wish[0] == SWALLOW {
        client.write_all(b".")?;
    }
    Ok(())
}

fn open(address: &str, wish: u8) -> Result<TcpStream> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // A forwarder accepts before its server is there, and closes then.
        let opened = TcpStream::connect(address).and_then(|mut stream| {
            stream.set_nodelay(true)?;
            stream.write_all(&[wish])?;
            Ok(stream)
        });
        match opened {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            other => return other,
        }
    }
}

fn stream(address: &str, bytes: u64) -> Result<Duration> {
    let mut stream = open(address, SWALLOW)?;
    let piece = vec![7; PIECE];
    let before = Instant::now();
    let mut left = bytes;
    while left > 0 {
        let count = left.min(PIECE as u64);
        stream.write_all(&piece[..count as usize])?;
        left -= count;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.read_exact(&mut [0])?;
    Ok(before.elapsed())
}

fn echo(address: &str, count: usize) -> Result<Duration> {
    let mut stream = open(address, ECHO)?;
    let (message, mut back) = ([7; MESSAGE], [0; MESSAGE]);
    let mut times = Vec::with_capacity(count);
    for _ in 0..count.max(1) {
        let before = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut back)?;
        times.push(before.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}
