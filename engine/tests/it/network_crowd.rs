//! Many containers with published ports on one bridge: the firewall does not grow with them, and nothing of them stays.

use crate::ports::hear_from;
use crate::sandbox::{Sandbox, eventually, names_in};
use dhow_net::nft::Table;
use std::path::Path;
use std::time::{Duration, Instant};

/// As many as are started, one after another; each start's time.
fn start(sandbox: &Sandbox, count: usize) -> Vec<Duration> {
    let one = |number: usize| {
        let name = format!("c{number}");
        let words =
            ["run", "-d", "--init", "--name", &name, "--network", "crowd", "-p", "80", "busybox", "sh", "-c"];
        let before = Instant::now();
        sandbox.ok([&words[..], &["while true; do nc -l -p 80 -e hostname; done"]].concat());
        before.elapsed()
    };
    (0..count).map(one).collect()
}

fn table_of(sandbox: &Sandbox) -> Table {
    let format = "{{index .Options \"com.docker.network.bridge.name\"}}";
    let name = sandbox.ok(["network", "inspect", "--format", format, "bridge"]);
    Table::open(name.trim_matches('"')).unwrap()
}

fn crowd(subnet: &str, count: usize) -> Vec<Duration> {
    let sandbox = Sandbox::with_busybox();
    // The default bridge, too: the table is named after it.
    sandbox.ok(["run", "--rm", "busybox", "true"]);
    let bridge = format!("br-{}", &sandbox.ok(["network", "create", "--subnet", subnet, "crowd"])[..12]);
    let ports = || names_in(&Path::new("/sys/class/net").join(&bridge).join("brif"));
    let members = || {
        let format = "{{range .Containers}}{{.IPv4Address}} {{end}}";
        let text = sandbox.ok(["network", "inspect", "--format", format, "crowd"]);
        let mut addresses: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        addresses.sort();
        addresses.dedup();
        addresses.len()
    };
    let table = table_of(&sandbox);
    let rules = table.rules().unwrap();
    assert_eq!((table.redirections().unwrap(), ports().len(), members()), (0, 0, 0));
    let took = start(&sandbox, count);
    assert_eq!(table.rules().unwrap(), rules, "starts add elements, never rules");
    assert!(table.is_whole().unwrap());
    assert_eq!(table.redirections().unwrap(), count);
    assert_eq!((ports().len(), members()), (count, count), "each has an address of its own");
    for who in [0, count / 2, count - 1].map(|number| format!("c{number}")) {
        let at = sandbox.ok(["port", &who, "80"]);
        let port = at.lines().next().and_then(|l| l.rsplit(':').next()).and_then(|p| p.parse().ok()).unwrap();
        let id = sandbox.inspect(&who)["Config"]["Hostname"].as_str().unwrap().to_owned();
        eventually(&format!("{who} answers"), || {
            hear_from("127.0.0.1", port).is_some_and(|t| t.trim() == id)
        });
    }
    let ids = sandbox.container_ids();
    for some in ids.chunks(50) {
        let words = ["rm", "-f"].into_iter().chain(some.iter().map(String::as_str));
        sandbox.ok(words);
    }
    assert_eq!((table.redirections().unwrap(), members()), (0, 0), "elements and leases have come back");
    assert_eq!(table.rules().unwrap(), rules);
    // The kernel takes namespaces down in the background, and interfaces with them.
    eventually("no port of the bridge is left", || ports().is_empty());
    took
}

#[test]
fn forty_with_ports() {
    assert_eq!(crowd("10.126.0.0/24", 40).len(), 40);
}

/// Some minutes. How long each start takes is `cargo xtask bench start --crowd 500`'s to judge.
#[test]
#[ignore = "long: run by name"]
fn five_hundred_with_ports() {
    let took = crowd("10.126.16.0/20", 500);
    let median = |some: &[Duration]| {
        let mut sorted = some.to_vec();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    };
    let (first, last) = (median(&took[..25]), median(&took[475..]));
    println!("median of the first 25 starts: {first:?}; of the last 25: {last:?}");
}
