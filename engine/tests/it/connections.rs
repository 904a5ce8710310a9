//! What containers' connections live through, and what containers may not pretend to be.

use crate::ports::{host_address, published};
use crate::sandbox::{Sandbox, eventually};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::Duration;

/// Sends back what comes, at two ports: `nc` has one connection at a time.
const ECHO: &str = "while true; do nc -l -p 81 -e cat; done & while true; do nc -l -p 80 -e cat; done";

/// A connection to an echo, with the first word said.
fn open(ip: IpAddr, port: u16) -> TcpStream {
    let mut found = None;
    eventually(&format!("{ip}:{port} echoes"), || {
        found = TcpStream::connect_timeout(&(ip, port).into(), Duration::from_secs(2)).ok();
        found.as_mut().is_some_and(|stream| {
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            echoes(stream)
        })
    });
    found.unwrap()
}

fn echoes(stream: &mut TcpStream) -> bool {
    let mut back = [0; 4];
    stream.write_all(b"word").is_ok() && stream.read_exact(&mut back).is_ok() && &back == b"word"
}

#[test]
fn open_connections_outlive_other_networks() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["network", "create", "home"]);
    let words = ["run", "-d", "--init", "--name", "web", "--network", "home", "-p", "81", "busybox"];
    sandbox.ok([&words[..], &["sh", "-c", ECHO]].concat());
    let own: IpAddr = sandbox.inspect("web")["NetworkSettings"]["Networks"]["home"]["IPAddress"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let mut direct = open(own, 80);
    let mut translated = open(host_address(), published(&sandbox, "web", "81"));
    let mut both = |when: &str| {
        assert!(echoes(&mut direct), "{when}: by the container's address");
        assert!(echoes(&mut translated), "{when}: by the published port");
    };
    both("at first");
    // Each writes the firewall's table anew.
    sandbox.ok(["network", "create", "other"]);
    both("another network was made");
    sandbox.ok(["network", "connect", "other", "web"]);
    both("joined");
    sandbox.ok(["run", "--rm", "--network", "other", "busybox", "true"]);
    sandbox.ok(["network", "disconnect", "other", "web"]);
    both("left");
    sandbox.ok(["network", "rm", "other"]);
    both("removed");
    sandbox.ok(["system", "check"]);
    // Its own network takes them along.
    sandbox.ok(["network", "disconnect", "home", "web"]);
    assert!(!echoes(&mut direct) && !echoes(&mut translated));
}

#[test]
fn an_address_of_another_network_opens_nothing() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["network", "create", "--subnet", "10.127.31.0/24", "mine"]);
    sandbox.ok(["network", "create", "--subnet", "10.127.32.0/24", "other"]);
    let words =
        ["run", "-d", "--init", "--name", "web", "--network", "mine", "--ip", "10.127.31.80", "busybox"];
    sandbox.ok([&words[..], &["sh", "-c", "while true; do nc -l -p 80 -e echo web; done"]].concat());
    let ask = "nc -w 2 10.127.31.80 80 </dev/null; true";
    let inside = |network: &str, script: &str| {
        let head = ["run", "--rm", "--cap-add", "NET_ADMIN", "--network", network, "busybox", "sh", "-c"];
        sandbox.ok([&head[..], &[script]].concat())
    };
    eventually("it answers on its network", || inside("mine", ask) == "web");
    // A neighbour's address and its link-layer address, on the wrong bridge.
    let mac = sandbox.inspect("web")["NetworkSettings"]["Networks"]["mine"]["MacAddress"].clone();
    let pretend = format!(
        "ip link set eth0 down; ip link set eth0 address {}; ip link set eth0 up; \
         ip addr add 10.127.31.99/24 dev eth0; ip route add default via 10.127.32.1; {ask}; \
         ip addr del 10.127.31.99/24 dev eth0; ip addr add 10.127.31.99/32 dev eth0; \
         ip route add 10.127.31.80/32 via 10.127.32.1 src 10.127.31.99; {ask}",
        mac.as_str().unwrap()
    );
    assert_eq!(inside("other", &pretend), "");
    eventually("the other is not disturbed", || inside("mine", ask) == "web");
}

#[test]
fn raw_packets_need_their_capability() {
    let sandbox = Sandbox::with_busybox();
    let run = |flags: &[&str]| {
        let script = "arping -c 1 -w 3 -I eth0 $(ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p')";
        sandbox.dhow([&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat())
    };
    let allowed = run(&[]);
    assert!(allowed.code == 0 && allowed.stdout.contains("reply from"), "{allowed:?}");
    let refused = run(&["--cap-drop", "NET_RAW"]);
    assert!(refused.code != 0 && refused.stderr.contains("not permitted"), "{refused:?}");
}
