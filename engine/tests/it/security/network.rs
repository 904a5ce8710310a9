//! Attacks on the host's network, and by it. Each test has machines of its own (network namespaces).

use crate::lan::Lan;
use crate::sandbox::{Ended, Sandbox};

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
