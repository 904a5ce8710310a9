//! Attacks on the host's network, and by it. Each test has machines of its own (network namespaces).

use crate::lan::Lan;
use crate::sandbox::{Ended, Sandbox, eventually};

/// A `dhow` command on the first machine.
#[track_caller]
fn on_host(lan: &Lan, sandbox: &Sandbox, arguments: &[&str]) -> Ended {
    lan.host.run(&sandbox.command(arguments))
}

/// Whether the first machine has an interface.
fn has_link(lan: &Lan, name: &str) -> bool {
    lan.host.sh(&format!("ip link show {name}")).code == 0
}

#[test]
fn a_network_deletes_no_interface_that_it_did_not_make() {
    let lan = Lan::new();
    let sandbox = Sandbox::with_busybox();
    let dhow = |arguments: &[&str]| on_host(&lan, &sandbox, arguments);
    lan.host.sh("ip link add br7 type bridge && ip addr add 10.77.0.1/24 dev br7").ok();
    // What is no bridge carries no network, and stays as it is.
    let named = |name: &str| format!("com.docker.network.bridge.name={name}");
    let refused = dhow(&["network", "create", "-o", &named("wire"), "wired"]);
    assert!(
        refused.code == 1 && refused.stderr.contains("existing interface wire is not a bridge"),
        "{refused:?}"
    );
    assert!(has_link(&lan, "wire"));
    assert!(!dhow(&["network", "ls"]).ok().contains("wired"));
    // One of the user's is used, with the subnet that it has or with another, and stays.
    let ranges: [&[&str]; 2] =
        [&["--subnet", "10.77.0.0/24", "--gateway", "10.77.0.1"], &["--subnet", "10.78.0.0/24"]];
    for (range, gateway) in ranges.iter().zip(["10.77.0.1", "10.78.0.1"]) {
        dhow(&[&["network", "create", "-o", &named("br7")], *range, &["mine"]].concat()).ok();
        dhow(&["run", "--rm", "--network", "mine", "busybox", "ping", "-c", "1", "-W", "3", gateway]).ok();
        let table = lan.host.sh("nft list ruleset").ok();
        assert!(table.contains("\"br7\""), "the firewall knows it: {table}");
        dhow(&["network", "rm", "mine"]).ok();
        assert!(has_link(&lan, "br7"));
        assert!(!lan.host.sh("nft list ruleset").ok().contains("\"br7\""));
    }
    dhow(&["network", "create", "-o", &named("br7"), "mine"]).ok();
    dhow(&["network", "prune", "-f"]).ok();
    assert!(!dhow(&["network", "ls"]).ok().contains("mine") && has_link(&lan, "br7"));
    assert!(lan.host.sh("ip addr show br7").ok().contains("10.77.0.1/24"));
    // One of that name which came after ours had gone is not ours, either.
    dhow(&["network", "create", "-o", &named("br8"), "own"]).ok();
    assert!(has_link(&lan, "br8"));
    lan.host.sh("ip link delete br8 && ip link add br8 type bridge").ok();
    dhow(&["network", "rm", "own"]).ok();
    assert!(has_link(&lan, "br8"));
    // And what we made goes.
    dhow(&["network", "create", "-o", &named("br9"), "own"]).ok();
    assert!(lan.host.sh("ip link show br9").ok().contains("alias dhow:"));
    dhow(&["network", "rm", "own"]).ok();
    assert!(!has_link(&lan, "br9"));
}

/// A third machine on a second wire of the first one's. Each routes to the other by it.
fn with_second_wire(lan: &Lan) -> Lan {
    let second = Lan::new();
    let path = second.neighbour.path();
    let pid = path.split('/').nth(2).unwrap();
    lan.host
        .sh(&format!(
            "ip link add dmz type veth peer name dmz netns {pid} && ip link set dmz up && \
             ip addr add 198.51.100.1/24 dev dmz && ip addr add 2001:db8:2::1/64 dev dmz nodad && \
             ip addr add 2001:db8:1::1/64 dev wire nodad"
        ))
        .ok();
    second
        .neighbour
        .sh("ip addr del 192.0.2.2/24 dev wire && ip link set dmz up && \
             ip addr add 198.51.100.2/24 dev dmz && ip addr add 2001:db8:2::2/64 dev dmz nodad && \
             ip route add 192.0.2.0/24 via 198.51.100.1 && ip route add 2001:db8:1::/64 via 2001:db8:2::1")
        .ok();
    lan.neighbour
        .sh("ip addr add 2001:db8:1::2/64 dev wire nodad && ip route add 198.51.100.0/24 via 192.0.2.1 && \
             ip route add 2001:db8:2::/64 via 2001:db8:1::1")
        .ok();
    second
}

const SWITCHES: &str = "/proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding";

/// Whether the neighbour reaches the third machine through the first one: by IPv4, and by IPv6.
fn passes(lan: &Lan) -> (bool, bool) {
    let ping = |to: &str| lan.neighbour.sh(&format!("busybox ping -c 1 -W 2 {to}")).code == 0;
    (ping("198.51.100.2"), ping("2001:db8:2::2"))
}

#[test]
fn a_host_that_passes_packets_on_for_containers_is_no_router_between_its_networks() {
    let lan = Lan::new();
    let sandbox = Sandbox::with_busybox();
    let _second = with_second_wire(&lan);
    let dhow = |arguments: &[&str]| on_host(&lan, &sandbox, arguments);
    lan.host.sh(&format!("for switch in {SWITCHES}; do echo 0 >$switch; done")).ok();
    assert_eq!(passes(&lan), (false, false));
    let run = ["run", "-d", "--init", "--name", "web", "-p", "8080:80", "busybox", "httpd", "-f", "-p", "80"];
    dhow(&run).ok();
    dhow(&["network", "create", "--ipv6", "six"]).ok();
    assert_eq!(lan.host.sh(&format!("cat {SWITCHES}")).ok(), "1\n1");
    assert_eq!(passes(&lan), (false, false), "between networks of the host's");
    let get = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 2 192.0.2.1 8080";
    eventually("a published port answers", || lan.neighbour.sh(get).stdout.contains("HTTP/1."));
    dhow(&["exec", "web", "ping", "-c", "1", "-W", "3", "198.51.100.2"]).ok();
    // Another engine's containers reach the world, too.
    let other = Sandbox::with_busybox();
    on_host(&lan, &other, &["run", "--rm", "busybox", "ping", "-c", "1", "-W", "3", "198.51.100.2"]).ok();
    on_host(&lan, &other, &["network", "prune", "--all", "-f"]).ok();
    // The switch stays on when the networks have gone, and so does this.
    dhow(&["rm", "-f", "web"]).ok();
    dhow(&["network", "prune", "--all", "-f"]).ok();
    assert_eq!(passes(&lan), (false, false), "without networks of ours");
    let flushed = lan.host.sh("nft delete table inet $(nft list tables | sed -n 's/.* \\(dhow.*\\)/\\1/p')");
    flushed.ok();
    assert_eq!(dhow(&["system", "check"]).code, 1, "the loss of the table is told");
    dhow(&["system", "check", "--repair"]).ok();
    assert_eq!(passes(&lan), (false, false), "and mended");
}

#[test]
fn a_host_that_was_a_router_stays_one() {
    let lan = Lan::new();
    let sandbox = Sandbox::with_busybox();
    let _second = with_second_wire(&lan);
    lan.host.sh(&format!("for switch in {SWITCHES}; do echo 1 >$switch; done")).ok();
    // IPv6 takes a moment to find that nobody else has its addresses.
    eventually("it passes packets on", || passes(&lan) == (true, true));
    on_host(&lan, &sandbox, &["run", "--rm", "busybox", "true"]).ok();
    on_host(&lan, &sandbox, &["network", "create", "--ipv6", "six"]).ok();
    assert_eq!(passes(&lan), (true, true));
}

#[test]
fn a_container_on_an_internal_network_reaches_no_service_of_the_host() {
    let lan = Lan::new();
    let sandbox = Sandbox::with_busybox();
    let dhow = |arguments: &[&str]| on_host(&lan, &sandbox, arguments);
    let (ready, is_ready) = std::sync::mpsc::channel();
    // Ends with its third client.
    let service = lan.host.within(move || {
        let listener = std::net::TcpListener::bind("[::]:8081").unwrap();
        ready.send(()).unwrap();
        for _ in 0..3 {
            std::io::Write::write_all(&mut listener.accept().unwrap().0, b"a service of the host").unwrap();
        }
    });
    is_ready.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
    let ranges = ["--ipv6", "--subnet", "10.127.77.0/24", "--subnet", "fd00:77::/64"];
    dhow(&[&["network", "create", "--internal"], &ranges[..], &["closed"]].concat()).ok();
    dhow(&["network", "create", "--ipv6", "--subnet", "10.127.78.0/24", "--subnet", "fd00:78::/64", "open"])
        .ok();
    for network in ["closed", "open"] {
        let run =
            ["run", "-d", "--init", "--name", network, "--network", network, "busybox", "sleep", "1000"];
        dhow(&run).ok();
    }
    let asks = |from: &str, to: &str| {
        dhow(&["exec", from, "sh", "-c", &format!("nc -w 3 {to} 8081 </dev/null")]).stdout
    };
    for gateway in ["10.127.78.1", "fd00:78::1"] {
        assert_eq!(asks("open", gateway), "a service of the host");
    }
    for gateway in ["10.127.77.1", "fd00:77::1"] {
        assert_eq!(asks("closed", gateway), "", "{gateway}");
    }
    // By frames to the gateway, to any other address of the host's.
    dhow(&[
        "run",
        "--rm",
        "--network",
        "closed",
        "--cap-add",
        "NET_ADMIN",
        "busybox",
        "sh",
        "-c",
        "ip route add default via 10.127.77.1; nc -w 3 192.0.2.1 8081 </dev/null | grep . && exit 1; exit 0",
    ])
    .ok();
    // The host reaches its containers.
    for own in ["IPAddress", "GlobalIPv6Address"] {
        let own =
            dhow(&["inspect", "-f", &format!("{{{{.NetworkSettings.Networks.closed.{own}}}}}"), "closed"])
                .ok();
        lan.host.sh(&format!("busybox ping -c 1 -W 3 {own}")).ok();
    }
    assert_eq!(lan.host.sh("busybox nc -w 3 127.0.0.1 8081 </dev/null").ok(), "a service of the host");
    service.join().unwrap();
}
