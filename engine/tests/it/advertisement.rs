//! A container that says it is a router (CVE-2020-13401): the packet arrives, and nobody follows it.

use crate::lan::Lan;
use crate::neighbour::at;
use crate::sandbox::{Sandbox, eventually, finish};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, sendto, setsockopt, socket,
    sockopt,
};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::process::Command;

/// What the forged router gives away: of documentation (RFC 3849).
const PREFIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 0);
/// How it shows in addresses and routes.
const TRACE: &str = "2001:db8:bad:";
/// Every node of a link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Seconds for which it would hold.
const LIFETIME: u16 = 1800;

/// A router's advertisement (RFC 4861, 4.2 and 4.6.2): "I am a router, and this prefix is on the link". The kernel
/// fills in the checksum.
fn advertisement() -> Vec<u8> {
    let mut packet = vec![134, 0, 0, 0, 64, 0];
    packet.extend_from_slice(&LIFETIME.to_be_bytes());
    packet.extend_from_slice(&[0; 8]);
    // Option 3, of 32 bytes: 64 bits of prefix, on this link, and for making an address of.
    packet.extend_from_slice(&[3, 4, 64, 0xc0]);
    packet.extend_from_slice(&u32::from(LIFETIME).to_be_bytes().repeat(2));
    packet.extend_from_slice(&[0; 4]);
    packet.extend_from_slice(&PREFIX.octets());
    packet
}

/// Sends one from a container's own namespace, as its root may with `NET_RAW`.
fn advertise(from: i32) {
    at(from, || {
        let index = dhow_net::link::Links::open().unwrap().index("eth0").unwrap().unwrap();
        let raw = socket(AddressFamily::Inet6, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::IcmpV6)
            .unwrap();
        // Anything less has passed a router, and is not believed.
        setsockopt(&raw, sockopt::Ipv6MulticastHops, &255).unwrap();
        let to = SockaddrIn6::from(SocketAddrV6::new(ALL_NODES, 0, 0, index));
        let sent = sendto(raw.as_raw_fd(), &advertisement(), &to, MsgFlags::empty()).unwrap();
        assert_eq!(sent, 48);
    });
}

/// What the machine's own `ip` tells of a container: busybox's says less.
fn told(sandbox: &Sandbox, who: &str, script: &str) -> String {
    let pid = sandbox.pid(who).to_string();
    let mut there = Command::new("nsenter");
    there.args(["--target", &pid, "--net", "bash", "-c", script]);
    finish(there, b"").ok()
}

/// Addresses and routes of IPv6.
const STATE: &str = "ip -6 addr; ip -6 route show table all";

/// How many advertisements an interface has received.
fn counted(counters: &str) -> u64 {
    let line = counters.lines().find(|line| line.starts_with("Icmp6InType134"));
    line.and_then(|line| line.split_whitespace().nth(1)).map_or(0, |count| count.parse().unwrap())
}

#[test]
fn a_forged_router_has_no_followers() {
    // Machines of the test's own: the host must not follow it, either, and this one should not be tried.
    let lan = Lan::new();
    let sandbox = Sandbox::with_busybox();
    let dhow = |arguments: &[&str]| lan.host.run(&sandbox.command(arguments)).ok();
    let exec = |who: &str, script: &str| sandbox.ok(["exec", who, "sh", "-c", script]);
    dhow(&["network", "create", "--ipv6", "--subnet", "fd7e:134::/64", "-o", NAME_OPTION, "mine"]);
    let run = |name: &str, network: &str| {
        dhow(&["run", "-d", "--name", name, "--network", network, "busybox", "sleep", "1000"]);
    };
    run("victim", "mine");
    // Its user wants to follow: what shows that the packet is one that would be followed.
    run(
        "follower",
        "\"name=mine\",\"driver-opt=com.docker.network.endpoint.sysctls=net.ipv6.conf.IFNAME.accept_ra=2\"",
    );
    run("attacker", "mine");
    let of_container = |who: &str| counted(&exec(who, "cat /proc/net/dev_snmp6/eth0"));
    let of_bridge = || counted(&lan.host.sh(&format!("cat /proc/net/dev_snmp6/{BRIDGE}")).ok());
    eventually("its own link-local address is usable", || {
        let own = exec("attacker", "ip -6 addr show dev eth0");
        own.contains("fe80::") && !own.contains("tentative")
    });
    let attacker = sandbox.pid("attacker");
    eventually("the advertisement has arrived everywhere, and one container follows it", || {
        advertise(attacker);
        of_container("victim") > 0
            && of_bridge() > 0
            && told(&sandbox, "follower", "ip -6 addr").contains(TRACE)
            && told(&sandbox, "follower", "ip -6 route").contains("default via fe80::")
    });
    let victim = told(&sandbox, "victim", STATE);
    assert!(victim.contains("fd7e:134::"), "{victim}");
    assert!(!victim.contains(TRACE) && !victim.contains("proto ra"), "{victim}");
    let host = lan.host.sh(STATE).ok();
    assert!(host.contains("fd7e:134::1/64"), "{host}");
    assert!(!host.contains(TRACE) && !host.contains("proto ra"), "{host}");
}

/// The name of the network's bridge on the host.
const BRIDGE: &str = "ra-test";
const NAME_OPTION: &str = "com.docker.network.bridge.name=ra-test";

#[test]
fn a_network_without_ipv6_has_none_for_a_forged_router() {
    let lan = Lan::new();
    let sandbox = Sandbox::with_busybox();
    let dhow = |arguments: &[&str]| lan.host.run(&sandbox.command(arguments)).ok();
    let exec = |who: &str, script: &str| sandbox.ok(["exec", who, "sh", "-c", script]);
    dhow(&["network", "create", "-o", NAME_OPTION, "mine"]);
    dhow(&["run", "-d", "--name", "victim", "--network", "mine", "busybox", "sleep", "1000"]);
    // It has IPv6 nevertheless, by its user's will: so that it can send at all.
    let network = "\"name=mine\",\"driver-opt=com.docker.network.endpoint.sysctls=net.ipv6.conf.IFNAME.disable_ipv6=0\"";
    dhow(&["run", "-d", "--name", "attacker", "--network", network, "busybox", "sleep", "1000"]);
    eventually("its own link-local address is usable", || {
        let own = exec("attacker", "ip -6 addr show dev eth0");
        own.contains("fe80::") && !own.contains("tentative")
    });
    let received = || exec("victim", "cat /sys/class/net/eth0/statistics/rx_packets").parse::<u64>().unwrap();
    let discarded = || {
        let counters = exec("victim", "cat /proc/net/dev_snmp6/eth0");
        let line = counters.lines().find(|line| line.starts_with("Ip6InDiscards")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = received();
    let attacker = sandbox.pid("attacker");
    eventually("the packet has arrived, and was thrown away", || {
        advertise(attacker);
        received() > before && discarded() > 0
    });
    let seen = told(&sandbox, "victim", "ip -6 addr show dev eth0; ip -6 route show table all dev eth0");
    assert_eq!(seen, "", "no IPv6 at all on its interface");
    let host = lan.host.sh(STATE).ok();
    assert!(!host.contains(TRACE) && !host.contains("proto ra"), "{host}");
}
