//! Clients that ask for archives and read nothing, or send half of one: other requests are answered, a reader gets its
//! archive, and what the server held comes back.

use crate::http::Api;
use crate::sandbox::{Sandbox, eventually};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// More than there are places, fewer than there are descriptors.
const CLIENTS: usize = 300;

fn send(socket: &Path, request: &str) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(100))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn descriptors(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Resident memory that is no file's, in KiB.
fn memory(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn clients_that_do_not_read_starve_nobody_and_leave_nothing() {
    let sandbox = Sandbox::with_busybox();
    let server = sandbox.serve();
    let socket = sandbox.path("api.sock");
    sandbox.ok(["create", "--name", "box", "--network", "none", "busybox", "true"]);
    let file = sandbox.path("large");
    std::fs::write(&file, vec![7; 4 << 20]).unwrap();
    sandbox.ok(["cp", file.to_str().unwrap(), "box:/root/large"]);
    let pid = server.live.pid().as_raw();
    let mut api = Api::new(&socket);
    assert_eq!(api.ask("GET", "/containers/json", b"").0, 200);
    let (before, memory_before) = (descriptors(pid), memory(pid));

    let get = "GET /containers/box/archive?path=/root/large HTTP/1.1\r\nHost: d\r\n\r\n";
    let put =
        "PUT /containers/box/archive?path=/root HTTP/1.1\r\nHost: d\r\nContent-Length: 10240\r\n\r\nhalf";
    let idle: Vec<UnixStream> =
        (0..CLIENTS).map(|number| send(&socket, if number % 3 == 0 { put } else { get })).collect();
    for target in ["/_ping", "/containers/json?all=1", "/containers/box/json", "/images/json"] {
        assert_eq!(
            Api::new(&socket).ask("GET", target, b"").0,
            200,
            "{target} beside clients that do not read"
        );
    }
    assert!(descriptors(pid) < before + 5 * CLIENTS, "files were opened before there was a place");

    drop(idle);
    // Who reads gets all of it, soon.
    let mut reader = send(&socket, &get.replace("Host: d", "Host: d\r\nConnection: close"));
    let mut archive = Vec::new();
    reader.read_to_end(&mut archive).unwrap();
    assert!(archive.starts_with(b"HTTP/1.1 200 OK") && archive.len() > 4 << 20, "{} bytes", archive.len());
    drop(reader);
    drop(api);
    eventually("descriptors come back", || descriptors(pid) <= before + 8);
    eventually("memory comes back", || memory(pid) <= memory_before + (10 << 10));
}

/// A client that has stopped reading loses its place to one that waits, and is not told that the archive is whole.
#[test]
fn a_reader_gets_the_place_of_one_that_does_not_read() {
    let sandbox = Sandbox::with_busybox();
    let _server = sandbox.serve();
    let socket = sandbox.path("api.sock");
    sandbox.ok(["create", "--name", "box", "--network", "none", "busybox", "true"]);
    let file = sandbox.path("large");
    std::fs::write(&file, vec![7; 4 << 20]).unwrap();
    sandbox.ok(["cp", file.to_str().unwrap(), "box:/root/large"]);
    let get = "GET /containers/box/archive?path=/root/large HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n";
    let idle: Vec<UnixStream> = (0..64).map(|_| send(&socket, get)).collect();
    // All of them have their head, and with it their place.
    for mut stream in &idle {
        stream.read_exact(&mut [0; 12]).unwrap();
    }
    let mut archive = Vec::new();
    send(&socket, get).read_to_end(&mut archive).unwrap();
    assert!(archive.len() > 4 << 20, "{} bytes", archive.len());
    let mut cut = 0;
    for mut stream in idle {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        if rest.len() < 4 << 20 {
            assert!(!rest.ends_with(b"0\r\n\r\n"), "the end of a body that was cut");
            cut += 1;
        }
    }
    assert!(cut > 0, "nobody lost its place");
}

#[test]
fn memory_comes_back_after_a_load() {
    let sandbox = Sandbox::with_busybox();
    let server = sandbox.serve();
    let pid = server.live.pid().as_raw();
    let image = sandbox.path("image.tar");
    let tree = crate::fixtures::debian_tar();
    sandbox.ok(["import", tree.to_str().unwrap(), "large"]);
    sandbox.ok(["save", "-o", image.to_str().unwrap(), "large"]);
    sandbox.ok(["rmi", "large"]);
    server.docker(["images"]).ok();
    let before = memory(pid);
    for _ in 0..2 {
        server.docker(["load", "-i", image.to_str().unwrap()]).ok();
        server.docker(["rmi", "large"]).ok();
    }
    eventually("memory comes back", || memory(pid) <= before + (10 << 10));
}
