//! Networks on an interface of the host's: macvlan and ipvlan, with one subnet or several.

use crate::sandbox::Sandbox;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// What a container's shell prints.
fn inside(sandbox: &Sandbox, flags: &[&str], script: &str) -> String {
    sandbox.ok([&["run", "--rm", "--network", "wire"], flags, &["busybox", "sh", "-c", script]].concat())
}

fn hold(sandbox: &Sandbox, name: &str, flags: &[&str]) {
    let head = ["run", "-d", "--name", name, "--network", "wire"];
    sandbox.ok([&head, flags, &["busybox", "sleep", "1000"]].concat());
}

/// Two ends of a wire on the host: a parent, and what is on the wire.
struct Pair(String);

impl Pair {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("mv{}x{number}", std::process::id() % 1_000_000);
        let run = |arguments: &[&str]| {
            let done = Command::new("ip").args(arguments).status().unwrap();
            assert!(done.success(), "ip {arguments:?}");
        };
        run(&["link", "add", &name, "type", "veth", "peer", "name", &format!("{name}p")]);
        let pair = Self(name);
        run(&["link", "set", &pair.0, "up"]);
        run(&["link", "set", &format!("{}p", pair.0), "up"]);
        pair
    }

    /// Makes the network `wire` on it.
    fn network(&self, sandbox: &Sandbox, driver: &str, flags: &[&str]) {
        let parent = format!("parent={}", self.0);
        let head = ["network", "create", "-d", driver, "-o", &parent];
        sandbox.ok([&head, flags, &["wire"]].concat());
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", &self.0]).status();
    }
}

/// Whether this kernel makes interfaces of a kind: asked with a link that nothing else has.
fn kernel_has(kind: &str, parent: &Pair) -> bool {
    let name = format!("{}k", parent.0);
    let made =
        Command::new("ip").args(["link", "add", "link", &parent.0, "name", &name, "type", kind]).output();
    let made = made.unwrap();
    let _ = Command::new("ip").args(["link", "del", &name]).output();
    if !made.status.success() {
        let complaint = String::from_utf8_lossy(&made.stderr);
        assert!(complaint.contains("Unknown device type"), "{complaint}");
    }
    made.status.success()
}

#[test]
fn a_macvlan_is_on_its_parents_wire() {
    let sandbox = Sandbox::with_busybox();
    let pair = Pair::new();
    pair.network(&sandbox, "macvlan", &["--subnet", "10.127.77.0/24", "--gateway", "10.127.77.1"]);
    hold(&sandbox, "one", &[]);
    let own = sandbox.inspect("one")["NetworkSettings"]["Networks"]["wire"]["IPAddress"].clone();
    let script = format!("ip route; ping -c 1 -W 3 {}", own.as_str().unwrap());
    let seen = inside(&sandbox, &[], &script);
    assert!(seen.contains("default via 10.127.77.1 dev eth0") && seen.contains(" 0% packet loss"), "{seen}");
    sandbox.dhow(["network", "create", "-d", "macvlan", "x"]).fails(1, "-o parent=eth0");
    sandbox
        .dhow(["network", "create", "-d", "macvlan", "-o", "parent=nothere", "x"])
        .fails(1, "nothere is not there");
    sandbox.dhow(["network", "inspect", "x"]).fails(1, "not found");
}

/// Two subnets of each family; the first of IPv4 has room for two.
const SUBNETS: [&str; 14] = [
    "--subnet",
    "10.127.78.0/24",
    "--ip-range",
    "10.127.78.4/31",
    "--gateway",
    "10.127.78.254",
    "--subnet",
    "10.127.79.0/24",
    "--ipv6",
    "--subnet",
    "fd7e:78::/64",
    "--subnet",
    "fd7e:79::/64",
    "--aux-address=router=10.127.79.2",
];

#[test]
fn several_subnets_on_one_parent() {
    let sandbox = Sandbox::with_busybox();
    let pair = Pair::new();
    pair.network(&sandbox, "macvlan", &SUBNETS);
    let pools = "{{range .IPAM.Config}}{{.Subnet}} {{.Gateway}};{{end}}";
    assert_eq!(
        sandbox.ok(["network", "inspect", "--format", pools, "wire"]),
        "10.127.78.0/24 10.127.78.254;10.127.79.0/24 10.127.79.1;fd7e:78::/64 fd7e:78::1;fd7e:79::/64 fd7e:79::1;"
    );
    let format = "{{with .NetworkSettings.Networks.wire}}{{.IPAddress}}/{{.IPPrefixLen}} {{.Gateway}} \
                  {{.GlobalIPv6Address}} {{.IPv6Gateway}}{{end}}";
    let has = |who: &str| sandbox.ok(["inspect", "--format", format, who]);
    for (name, wanted) in [
        ("one", "10.127.78.4/24 10.127.78.254 fd7e:78::2 fd7e:78::1"),
        ("two", "10.127.78.5/24 10.127.78.254 fd7e:78::3 fd7e:78::1"),
        // The first is full, and another has the second address of the second.
        ("three", "10.127.79.3/24 10.127.79.1 fd7e:78::4 fd7e:78::1"),
    ] {
        hold(&sandbox, name, &[]);
        assert_eq!(has(name), wanted, "{name}");
    }
    let routes = sandbox.ok(["exec", "three", "ip", "route"]);
    assert!(routes.contains("default via 10.127.79.1 dev eth0"), "{routes}");
    assert!(!routes.contains("10.127.78."), "{routes}");
    // An address says which subnet it is of; those of one subnet reach each other.
    let asked = ["--ip", "10.127.79.77", "--ip6", "fd7e:79::77"];
    let seen =
        inside(&sandbox, &asked, "ip addr show eth0; ip route; ip -6 route; ping -c 1 -W 3 10.127.79.3");
    for part in [
        "10.127.79.77/24",
        "fd7e:79::77/64",
        "default via 10.127.79.1 dev eth0",
        "default via fd7e:79::1 dev eth0",
        " 0% packet loss",
    ] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    let members = "{{range .Containers}}{{.IPv4Address}} {{end}}";
    let members = sandbox.ok(["network", "inspect", "--format", members, "wire"]);
    let mut members: Vec<&str> = members.split_whitespace().collect();
    members.sort();
    assert_eq!(members, ["10.127.78.4/24", "10.127.78.5/24", "10.127.79.3/24"]);
    let refused = ["run", "--rm", "--network", "wire", "--ip", "10.127.80.2", "busybox", "true"];
    sandbox.dhow(refused).fails(125, "no configured subnet contains IP address 10.127.80.2");
    // What comes back is given away again, after the others.
    sandbox.ok(["rm", "-f", "one"]);
    hold(&sandbox, "again", &[]);
    assert!(has("again").starts_with("10.127.78.4/24 "), "{}", has("again"));
    let overlap = ["--subnet", "10.127.79.128/25", "other"];
    let parent = format!("parent={}", pair.0);
    let create = ["network", "create", "-d", "macvlan", "-o", &parent];
    sandbox.dhow([&create[..], &overlap].concat()).fails(1, "Pool overlaps with other one");
}

#[test]
fn a_bridge_has_one_subnet_of_each_family() {
    let sandbox = Sandbox::new();
    let create = ["network", "create", "--subnet", "10.127.80.0/24", "--subnet", "10.127.81.0/24", "two"];
    sandbox.dhow(create).fails(1, "bridge driver doesn't support multiple subnets");
    sandbox.dhow(["network", "inspect", "two"]).fails(1, "network two not found");
}

#[test]
fn an_ipvlan_shares_its_parents_link_layer_address() {
    let sandbox = Sandbox::with_busybox();
    let pair = Pair::new();
    if !kernel_has("ipvlan", &pair) {
        // Then it says so, and nothing is left of the container.
        pair.network(&sandbox, "ipvlan", &SUBNETS);
        let run = ["run", "--rm", "--network", "wire", "busybox", "true"];
        sandbox.dhow(run).fails(125, "make ipvlan interface eth0: Operation not supported");
        sandbox.assert_no_containers();
        return;
    }
    pair.network(&sandbox, "ipvlan", &SUBNETS);
    let address = |path: String| std::fs::read_to_string(path).unwrap().trim().to_owned();
    let parent = address(format!("/sys/class/net/{}/address", pair.0));
    hold(&sandbox, "one", &[]);
    assert_eq!(sandbox.ok(["exec", "one", "cat", "/sys/class/net/eth0/address"]), parent);
    let seen = inside(&sandbox, &[], "ip addr show eth0; ip route; ping -c 1 -W 3 10.127.78.4");
    for part in ["10.127.78.5/24", "default via 10.127.78.254 dev eth0", " 0% packet loss"] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    hold(&sandbox, "far", &["--ip", "10.127.79.9", "--ip6", "fd7e:79::9"]);
    let seen = inside(&sandbox, &["--ip", "10.127.79.10"], "ping -c 1 -W 3 10.127.79.9");
    assert!(seen.contains(" 0% packet loss"), "{seen}");
}
