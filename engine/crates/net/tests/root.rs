//! The kernel takes what is sent to it. Each test has a network namespace of its own, on a thread that ends with it;
//! run as root.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use dhow_model::ContainerId;
use dhow_model::network::{Mac, Protocol, Published};
use dhow_net::link::{BRIDGE_GROUP, BridgeSpec, Links};
use dhow_net::nft::{self, Bridge, Families, Table};
use dhow_net::wire::{Carrier, Interface};
use dhow_net::{namespace, wire};
use dhow_sys::{clone, process};
use std::os::fd::AsFd;

/// Runs `f` in a fresh network namespace.
fn in_new_namespace(f: impl FnOnce() + Send + 'static) {
    assert!(nix::unistd::geteuid().is_root(), "these tests make network namespaces: run them as root");
    std::thread::spawn(move || {
        process::unshare(clone::NEWNET).unwrap();
        f();
    })
    .join()
    .unwrap();
}

fn port(host_ip: &str, host_port: u16, protocol: Protocol, target: &str) -> Published {
    Published {
        container: ContainerId::from_random([1; 32]),
        port: 80,
        protocol,
        host_ip: host_ip.parse().unwrap(),
        host_port,
        target: Some(target.parse().unwrap()),
    }
}

#[test]
fn the_table_is_written_changed_and_deleted() {
    in_new_namespace(|| {
        let table = Table::open("dhowtest").unwrap();
        assert!(!table.exists().unwrap());
        table.delete().unwrap();
        let bridge =
            |name: &str, internal| Bridge { name: name.into(), internal, masquerade: true, icc: true };
        let ports = [
            port("0.0.0.0", 8080, Protocol::Tcp, "10.0.0.2"),
            port("10.1.2.3", 8080, Protocol::Udp, "10.0.0.2"),
            port("::", 8080, Protocol::Tcp, "fd00::2"),
            port("fd01::1", 53, Protocol::Sctp, "fd00::2"),
        ];
        table
            .replace(&[bridge("br-a", false), bridge("br-b", true)], &ports[..1], Families::default())
            .unwrap();
        let both = Families { v4: true, v6: true };
        assert!(!table.has_elements(&[], &[], both).unwrap());
        assert!(table.exists().unwrap() && table.stands().unwrap());
        table.publish(&ports[1..]).unwrap();
        table.withdraw(&ports).unwrap();
        table.withdraw(&ports).unwrap();
        // Thousands of ports do not fit into one message.
        let many: Vec<Published> = (1..3000).map(|n| port("0.0.0.0", n, Protocol::Tcp, "10.0.0.2")).collect();
        table.replace(&[bridge("br-a", false)], &many, both).unwrap();
        assert!(
            table.is_whole().unwrap() && table.has_elements(&[bridge("br-a", false)], &many, both).unwrap()
        );
        table.withdraw(&many[..3]).unwrap();
        table.publish(&many[..3]).unwrap();
        // What only the forwarder serves is no element: nothing is sent, and nothing waited for.
        table.publish(&[port("127.0.0.1", 9, Protocol::Tcp, "10.0.0.2")]).unwrap();
        table.delete().unwrap();
        assert!(!table.exists().unwrap() && !table.stands().unwrap());
        nft::redirect_names("127.0.0.11".parse().unwrap(), 40000, 40001).unwrap();
    });
}

#[test]
fn a_container_is_connected_to_a_bridge() {
    in_new_namespace(|| {
        let host = Links::open().unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let container = std::thread::spawn(move || {
            process::unshare(clone::NEWNET).unwrap();
            sender.send(namespace::own().unwrap()).unwrap();
            let _ = stopped.recv();
        });
        let inside = receiver.recv().unwrap();
        let spec = BridgeSpec {
            name: "br-test",
            addresses: vec![("10.9.0.1".parse().unwrap(), 24), ("fd09::1".parse().unwrap(), 64)],
            mac: Mac::of_v4("10.9.0.1".parse().unwrap()),
            mtu: Some(1400),
            owner: "test".into(),
        };
        assert_eq!(host.index("br-test").unwrap(), None);
        let bridge = host.make_bridge(&spec).unwrap();
        let found = host.find("br-test").unwrap().unwrap();
        assert_eq!((found.index, found.group, found.alias.as_str()), (bridge, BRIDGE_GROUP, "test"));
        assert!(found.is_bridge() && !host.find("lo").unwrap().unwrap().is_bridge());
        host.complete_bridge(&found, &spec).unwrap();
        let routes =
            |except| host.routed_subnets(except).unwrap().iter().any(|s| s.to_string() == "10.9.0.0/24");
        assert!(routes(None) && !routes(Some(bridge)));
        assert!(host.make_bridge(&spec).is_err());
        let interface = |name: &str, port: &str, last: u8, isolated| Interface {
            name: name.into(),
            carrier: Carrier::Bridge { index: bridge, port: port.into(), isolated, hairpin: false },
            mac: Mac([2, 0, 0, 0, 0, last]),
            mtu: Some(1400),
            addresses: vec![
                (std::net::IpAddr::from([10, 9, 0, last]), 24),
                (format!("fd09::{last}").parse().unwrap(), 64),
            ],
            sysctls: Vec::new(),
            gateways: vec!["10.9.0.1".parse().unwrap(), "fd09::1".parse().unwrap()],
        };
        wire::connect(&host, inside.as_fd(), &[interface("eth0", "vetha", 2, false)]).unwrap();
        assert!(host.index("vetha").unwrap().is_some());
        assert!(host.index("eth0").unwrap().is_none(), "it is in the container's namespace");
        let routed = |list: &[&str]| {
            let found = namespace::on_thread_within(inside.as_fd(), || Links::open()?.routed_subnets(None));
            let found: Vec<String> = found.unwrap().iter().map(ToString::to_string).collect();
            list.iter().for_each(|s| assert!(found.iter().any(|f| f == s), "{s} in {found:?}"));
        };
        routed(&["10.9.0.0/24", "fd09::/64"]);
        // A further one takes the routes over, and goes again.
        wire::connect_running(&host, inside.as_fd(), &interface("eth1", "vethb", 3, true)).unwrap();
        wire::route_running(inside.as_fd(), "eth0", &["10.9.0.1".parse().unwrap()]).unwrap();
        wire::disconnect(inside.as_fd(), "eth1").unwrap();
        assert!(host.index("vethb").unwrap().is_none());
        host.delete_index(bridge, "br-test").unwrap();
        host.delete_index(bridge, "br-test").unwrap();
        drop(stop);
        container.join().unwrap();
    });
}
