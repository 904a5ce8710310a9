//! A real registry (Debian's docker-registry), and a server in front of it that spoils what passes.

use crate::sandbox::eventually;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A port that was free a moment ago.
pub(crate) fn free_port(address: IpAddr) -> u16 {
    TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port()
}

pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// docker-registry with a directory of its own. Ends with the test.
pub(crate) struct Registry {
    process: Child,
    address: IpAddr,
    port: u16,
}

impl Registry {
    /// Open to all, without TLS.
    pub(crate) fn start(directory: &Path) -> Self {
        Self::with(directory, LOOPBACK, "")
    }

    /// On an address of this machine, with more lines for its configuration.
    pub(crate) fn with(directory: &Path, address: IpAddr, more: &str) -> Self {
        let port = free_port(address);
        std::fs::create_dir_all(directory).unwrap();
        let config = directory.join("config.yml");
        let data = directory.join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http:\n  addr: {address}:{port}\n{more}",
            data.display()
        );
        std::fs::write(&config, text).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(directory.join("log")).unwrap())
            .spawn()
            .expect("docker-registry: run `cargo xtask setup`");
        let registry = Self { process, address, port };
        eventually("the registry listens", || TcpStream::connect((address, port)).is_ok());
        registry
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn host(&self) -> String {
        format!("{}:{}", self.address, self.port)
    }

    /// `127.0.0.1:PORT/NAME`
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.host())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One request that came to the front.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Asked {
    /// Whether it wants a layer or another blob.
    pub(crate) fn is_blob(&self) -> bool {
        self.method == "GET" && self.path.contains("/blobs/sha256:")
    }

    /// Where the wanted bytes start.
    pub(crate) fn from(&self) -> u64 {
        self.range().and_then(|(from, _)| from.parse().ok()).unwrap_or(0)
    }

    /// Where they end; `None` where the blob does.
    pub(crate) fn to(&self) -> Option<u64> {
        self.range().and_then(|(_, last)| last.parse::<u64>().ok()).map(|last| last + 1)
    }

    fn range(&self) -> Option<(&str, &str)> {
        self.headers.get("range").and_then(|r| r.strip_prefix("bytes=")).and_then(|r| r.split_once('-'))
    }
}

/// What happens to an answer.
pub(crate) enum Fault {
    /// It passes.
    None,
    /// The connection breaks after so many bytes of the body.
    Cut(usize),
    /// The byte at this place is another.
    Flip(usize),
    /// After so many bytes of the body nothing more comes, and the connection stays.
    Stall(usize),
    /// So many bytes every ten milliseconds.
    Throttle(usize),
    /// All of the blob, whatever range was asked for.
    Whole,
    /// The range that was asked for, under the name of another one.
    OtherRange,
    /// It passes, with one more header.
    Header(&'static str, String),
    /// Another answer: status, headers, body.
    Answer(&'static str, Vec<(&'static str, String)>, String),
}

type Rule = dyn Fn(&Asked, usize) -> Fault + Send + Sync;

/// A server in front of a registry. Its rule decides about each answer; the second argument of the rule counts the
/// requests of the same path.
pub(crate) struct Front {
    port: u16,
    seen: Arc<Seen>,
}

/// What a front has seen.
#[derive(Default)]
struct Seen {
    asked: Mutex<Vec<Asked>>,
    /// Blobs that are being answered now, and how many they were at most.
    blobs: Mutex<(usize, usize)>,
    /// Bytes of answers to requests for blobs.
    blob_bytes: AtomicU64,
}

impl Front {
    pub(crate) fn of(
        registry: &Registry,
        rule: impl Fn(&Asked, usize) -> Fault + Send + Sync + 'static,
    ) -> Self {
        Self::serve(Some(registry.port()), rule)
    }

    /// Without anybody behind it: the rule answers everything.
    pub(crate) fn alone(rule: impl Fn(&Asked, usize) -> Fault + Send + Sync + 'static) -> Self {
        Self::serve(None, rule)
    }

    fn serve(upstream: Option<u16>, rule: impl Fn(&Asked, usize) -> Fault + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((LOOPBACK, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Seen> = Arc::default();
        let (log, rule): (_, Arc<Rule>) = (Arc::clone(&seen), Arc::new(rule));
        // It ends with the process: nobody connects when its test is over.
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (log, rule) = (Arc::clone(&log), Arc::clone(&rule));
                std::thread::spawn(move || {
                    // A client that goes away is part of the game.
                    let _ = answer(connection, upstream, &log, &*rule);
                });
            }
        });
        Self { port, seen }
    }

    pub(crate) fn name(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.seen.asked.lock().unwrap().clone()
    }

    /// How many blobs, or pieces of them, were on their way at once at most.
    pub(crate) fn most_at_once(&self) -> usize {
        self.seen.blobs.lock().unwrap().1
    }

    /// How many bytes of blobs were given, so far.
    pub(crate) fn blob_bytes(&self) -> u64 {
        self.seen.blob_bytes.load(Ordering::Relaxed)
    }
}

/// One request for each connection.
fn answer(client: TcpStream, upstream: Option<u16>, seen: &Seen, rule: &Rule) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
    let mut asked = Asked { method: method.into(), path: path.into(), ..Asked::default() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        asked.headers.insert(name.to_lowercase(), value.to_owned());
    }
    let count = {
        let mut log = seen.asked.lock().unwrap();
        log.push(asked.clone());
        log.iter().filter(|a| a.path == asked.path && a.method == asked.method).count()
    };
    let length = asked.headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let fault = rule(&asked, count);
    let mut client = client;
    if let Fault::Answer(status, headers, text) = &fault {
        let mut head =
            format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n", text.len());
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        return client.write_all(format!("{head}\r\n{text}").as_bytes());
    }
    let Some(upstream) = upstream else { return Ok(()) };
    let mut server = TcpStream::connect((LOOPBACK, upstream))?;
    let mut head = format!("{} {} HTTP/1.1\r\nConnection: close\r\n", asked.method, asked.path);
    let kept = |name: &str| name != "connection" && !(name == "range" && matches!(fault, Fault::Whole));
    for (name, value) in asked.headers.iter().filter(|(name, _)| kept(name)) {
        head += &format!("{name}: {value}\r\n");
    }
    server.write_all(format!("{head}\r\n").as_bytes())?;
    server.write_all(&body)?;
    let mut whole = Vec::new();
    server.read_to_end(&mut whole)?;
    let start = whole.windows(4).position(|w| w == b"\r\n\r\n").map_or(whole.len(), |at| at + 4);
    let (head, body) = whole.split_at_mut(start);
    if let Fault::Header(name, value) = &fault {
        let end = head.len().saturating_sub(2);
        client.write_all(&head[..end])?;
        client.write_all(format!("{name}: {value}\r\n\r\n").as_bytes())?;
    } else if matches!(fault, Fault::OtherRange) {
        let head = String::from_utf8_lossy(head);
        let right = format!("bytes {}-", asked.from());
        assert!(head.contains(&right), "{head}");
        client.write_all(head.replace(&right, &format!("bytes {}-", asked.from() + 1)).as_bytes())?;
    } else {
        client.write_all(head)?;
    }
    if !asked.is_blob() {
        return spoil(&mut client, fault, body);
    }
    {
        let mut blobs = seen.blobs.lock().unwrap();
        blobs.0 += 1;
        blobs.1 = blobs.1.max(blobs.0);
    }
    let mut counted = Counted { client: &client, bytes: &seen.blob_bytes };
    let given = spoil(&mut counted, fault, body);
    seen.blobs.lock().unwrap().0 -= 1;
    given
}

/// Counts what is taken.
struct Counted<'a> {
    client: &'a TcpStream,
    bytes: &'a AtomicU64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.client.write(bytes)?;
        self.bytes.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.client.flush()
    }
}

impl Read for Counted<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.client.read(bytes)
    }
}

/// Gives a body, as the fault has it.
fn spoil(client: &mut (impl Read + Write), fault: Fault, body: &mut [u8]) -> std::io::Result<()> {
    match fault {
        Fault::Cut(bytes) => client.write_all(&body[..bytes.min(body.len())]),
        Fault::Stall(bytes) => {
            client.write_all(&body[..bytes.min(body.len())])?;
            // Until the client has had enough.
            client.read_to_end(&mut Vec::new()).map(|_| ())
        }
        Fault::Flip(at) => {
            if let Some(byte) = body.get_mut(at) {
                *byte ^= 1;
            }
            client.write_all(body)
        }
        Fault::Throttle(bytes) => body.chunks(bytes).try_for_each(|piece| {
            std::thread::sleep(Duration::from_millis(10));
            client.write_all(piece)
        }),
        Fault::None | Fault::Whole | Fault::OtherRange | Fault::Header(..) | Fault::Answer(..) => {
            client.write_all(body)
        }
    }
}

/// A request of our own to a registry without TLS: status and body.
pub(crate) fn request(
    registry: &Registry,
    method: &str,
    path: &str,
    kind: &str,
    body: &[u8],
) -> (u16, String) {
    let (status, _, body) = exchange(registry, method, path, kind, body);
    (status, body)
}

/// The same, with the head of the answer.
fn exchange(registry: &Registry, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, String, String) {
    let mut stream = TcpStream::connect((LOOPBACK, registry.port())).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {kind}\r\nAccept: {kind}\r\n\
         Content-Length: {}\r\n\r\n",
        registry.host(),
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (status, head.to_owned(), body.to_owned())
}

/// Something that a registry has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) digest: String,
    pub(crate) size: usize,
}

impl Stored {
    fn of(bytes: &[u8]) -> Self {
        Self { digest: crate::fixtures::digest_of(bytes), size: bytes.len() }
    }

    /// What points at it.
    pub(crate) fn descriptor(&self, kind: &str) -> serde_json::Value {
        serde_json::json!({ "mediaType": kind, "digest": self.digest, "size": self.size })
    }
}

/// Gives a registry a blob.
pub(crate) fn put_blob(registry: &Registry, repository: &str, bytes: &[u8]) -> Stored {
    let stored = Stored::of(bytes);
    let (status, head, body) =
        exchange(registry, "POST", &format!("/v2/{repository}/blobs/uploads/"), "text/plain", b"");
    assert_eq!(status, 202, "{body}");
    let location = head.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap();
    let location = location.trim_start_matches("http://").trim_start_matches(&registry.host());
    let (status, _, body) = exchange(
        registry,
        "PUT",
        &format!("{location}&digest={}", stored.digest),
        "application/octet-stream",
        bytes,
    );
    assert_eq!(status, 201, "{body}");
    stored
}

/// Gives a registry a manifest or an index under a tag, or under its digest.
pub(crate) fn put_manifest(
    registry: &Registry,
    repository: &str,
    tag: Option<&str>,
    manifest: &serde_json::Value,
) -> Stored {
    let bytes = manifest.to_string();
    let stored = Stored::of(bytes.as_bytes());
    let path = format!("/v2/{repository}/manifests/{}", tag.unwrap_or(&stored.digest));
    let (status, body) =
        request(registry, "PUT", &path, manifest["mediaType"].as_str().unwrap(), bytes.as_bytes());
    assert_eq!(status, 201, "{body}");
    stored
}
