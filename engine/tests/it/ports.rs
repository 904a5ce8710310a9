//! Published ports: reached from everywhere they should be, by everybody's real address, and taken only once.

use crate::sandbox::{Sandbox, eventually};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

/// Tells every client its address as the server sees it.
const ECHO_CLIENT: &str =
    "while true; do nc -l -p 80 -e sh -c 'echo from; netstat -tn | grep :80; cat >/dev/null' ; done";

/// What a server says to a connection.
fn hear(to: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

pub(crate) fn hear_from(ip: &str, port: u16) -> Option<String> {
    hear(SocketAddr::new(ip.parse().unwrap(), port))
}

/// The host's first address that is not on loopback and none of a bridge of ours.
pub(crate) fn host_address() -> IpAddr {
    // No packet is sent: this only asks which address a packet to the outside would have.
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("198.51.100.1:9").unwrap();
    socket.local_addr().unwrap().ip()
}

fn server(sandbox: &Sandbox, name: &str, flags: &[&str]) {
    let head = ["run", "-d", "--init", "--name", name];
    sandbox.ok([&head, flags, &["busybox", "sh", "-c", ECHO_CLIENT]].concat());
}

/// Where a container's port is published, on all addresses.
pub(crate) fn published(sandbox: &Sandbox, who: &str, port: &str) -> u16 {
    let line = sandbox.ok(["port", who, port]);
    line.lines().next().and_then(|l| l.rsplit(':').next()).and_then(|p| p.parse().ok()).unwrap()
}

#[test]
fn a_port_follows_its_container_from_network_to_network() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["network", "create", "one"]);
    sandbox.ok(["network", "create", "two"]);
    server(&sandbox, "web", &["-p", "80", "--network", "one"]);
    let port = published(&sandbox, "web", "80");
    let outside = host_address().to_string();
    let heard = || {
        eventually("it answers on loopback", || {
            hear_from("127.0.0.1", port).is_some_and(|t| t.contains("from"))
        });
        eventually("it answers", || hear_from(&outside, port).is_some_and(|t| t.contains("from")));
    };
    heard();
    sandbox.ok(["network", "connect", "two", "web"]);
    sandbox.ok(["network", "disconnect", "one", "web"]);
    heard();
    assert_eq!(published(&sandbox, "web", "80"), port);
    sandbox.ok(["network", "connect", "one", "web"]);
    heard();
}

#[test]
fn a_port_is_reached_from_everywhere() {
    let sandbox = Sandbox::with_busybox();
    server(&sandbox, "web", &["-p", "80"]);
    let port = published(&sandbox, "web", "80");
    eventually("the server listens", || hear_from("127.0.0.1", port).is_some_and(|t| t.contains("from")));
    let own = host_address();
    for ip in ["127.0.0.1", "::1", &own.to_string()] {
        eventually(&format!("{ip} answers"), || hear_from(ip, port).is_some_and(|t| t.contains("from")));
    }
    // Another container, by the host's address: on the same bridge, and on another one.
    sandbox.ok(["network", "create", "other"]);
    for network in ["bridge", "other"] {
        let script = format!("nc -w 3 {own} {port} </dev/null");
        let ask =
            || sandbox.dhow(["run", "--rm", "--network", network, "busybox", "sh", "-c", &script]).stdout;
        eventually(&format!("from {network}"), || ask().contains("from"));
    }
    // From another network, a client is seen by its own address.
    let script = format!("ip -o -4 addr show eth0; nc -w 3 {own} {port} </dev/null");
    let seen = sandbox.ok(["run", "--rm", "--network", "other", "busybox", "sh", "-c", &script]);
    let client = seen.split("inet ").nth(1).and_then(|rest| rest.split('/').next()).unwrap().to_owned();
    assert!(seen.matches(&client).count() > 1, "{client} is not among what the server saw: {seen}");
    // What is not published is reached from nowhere but its own network.
    let direct = sandbox.inspect("web")["NetworkSettings"]["IPAddress"].as_str().unwrap().to_owned();
    let script = format!("nc -w 2 {direct} 80 </dev/null; true");
    let refused = sandbox.ok(["run", "--rm", "--network", "other", "busybox", "sh", "-c", &script]);
    assert!(!refused.contains("from"), "{refused}");
    sandbox.ok(["rm", "-f", "web"]);
    assert!(hear_from("127.0.0.1", port).is_none() && hear_from(&own.to_string(), port).is_none());
}

#[test]
fn large_transfers_pass_the_forwarder_whole() {
    let sandbox = Sandbox::with_busybox();
    let script = "while true; do nc -l -p 80 -e sh -c 'head -c 3000000 /dev/zero; cat | wc -c >&2' ; done";
    sandbox.ok(["run", "-d", "--init", "--name", "web", "-p", "80", "busybox", "sh", "-c", script]);
    let port = published(&sandbox, "web", "80");
    let mut stream = None;
    eventually("it listens", || {
        stream =
            TcpStream::connect(("127.0.0.1", port)).ok().filter(|s| s.peek(&mut [0]).is_ok_and(|n| n == 1));
        stream.is_some()
    });
    let mut stream = stream.unwrap();
    let sent = vec![7; 2_000_000];
    let mut writer = stream.try_clone().unwrap();
    let thread = std::thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    thread.join().unwrap();
    assert_eq!(received.len(), 3_000_000);
    eventually("all came", || sandbox.dhow(["logs", "web"]).stderr.contains("2000000"));
}

#[test]
fn a_taken_port_is_told_with_its_holder() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["run", "-d", "--name", "first", "-p", "80", "busybox", "sleep", "1000"]);
    let port = published(&sandbox, "first", "80").to_string();
    let binding = format!("{port}:80");
    let again =
        |binding: &str| sandbox.dhow(["run", "--rm", "--name", "second", "-p", binding, "busybox", "true"]);
    again(&binding).fails(
        125,
        &format!("Bind for 0.0.0.0:{port} failed: port is already allocated (by container first)"),
    );
    again(&format!("127.0.0.1:{port}:80")).fails(125, "by container first");
    sandbox.ok(["rm", "-f", "first"]);
    assert_eq!(again(&binding).code, 0, "it is free again");
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let me = std::process::id().to_string();
    let refused = again(&format!("{port}:80"));
    refused.fails(125, "address already in use");
    refused.fails(125, &format!("by process {me}"));
    // A range goes on to the next.
    let range = format!("{port}-{}:80", port.saturating_add(20));
    let chosen = sandbox.ok(["run", "-d", "--name", "third", "-p", &range, "busybox", "sleep", "1000"]);
    assert!(!chosen.is_empty() && published(&sandbox, "third", "80") > port);
}

#[test]
fn all_exposed_ports_and_what_is_shown() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok([
        "run", "-d", "--name", "web", "-P", "--expose", "80", "--expose", "81/udp", "busybox", "sleep",
        "1000",
    ]);
    sandbox.ok(["run", "-d", "--name", "quiet", "--expose", "82", "busybox", "sleep", "1000"]);
    let (tcp, udp) = (published(&sandbox, "web", "80"), published(&sandbox, "web", "81/udp"));
    let shown = sandbox.ok(["ps", "--filter", "name=web", "--format", "{{.Ports}}"]);
    for part in
        [format!("0.0.0.0:{tcp}->80/tcp"), format!("[::]:{tcp}->80/tcp"), format!("0.0.0.0:{udp}->81/udp")]
    {
        assert!(shown.contains(&part), "{part}: {shown}");
    }
    assert_eq!(sandbox.ok(["ps", "--filter", "name=quiet", "--format", "{{.Ports}}"]), "82/tcp");
    assert_eq!(sandbox.ok(["ps", "--filter", &format!("publish={tcp}"), "--format", "{{.Names}}"]), "web");
    let ports = sandbox.inspect("web")["NetworkSettings"]["Ports"].clone();
    assert_eq!(ports["80/tcp"][0]["HostPort"], tcp.to_string());
    let server = sandbox.serve();
    assert!(server.docker(["port", "web", "80"]).ok().contains(&format!("0.0.0.0:{tcp}")));
    sandbox.ok(["stop", "-t", "0", "web"]);
    assert_eq!(sandbox.ok(["ps", "-a", "--filter", "name=web", "--format", "{{.Ports}}"]), "");
    // An address of its own is taken alone.
    sandbox.ok(["run", "-d", "--name", "local", "-p", "127.0.0.1::80", "busybox", "sleep", "1000"]);
    assert!(sandbox.ok(["port", "local"]).starts_with("80/tcp -> 127.0.0.1:"));
    sandbox.dhow(["run", "--rm", "-p", "203.0.113.9:80:80", "busybox", "true"]).fails(125, "203.0.113.9");
}
