//! What a container is on a network: `none` left for others, link-local addresses, names and settings of its interface.

use crate::sandbox::Sandbox;
use serde_json::{Value, json};

const SHARING: &str = "container sharing network namespace with another container or host cannot be connected to any other network";
const ALONE: &str =
    "container cannot be connected to multiple networks with one of the networks in private (none) mode";

fn run(sandbox: &Sandbox, name: &str, flags: &[&str]) {
    sandbox.ok([&["run", "-d", "--name", name], flags, &["busybox", "sleep", "1000"]].concat());
}

fn networks(sandbox: &Sandbox, who: &str) -> Value {
    sandbox.inspect(who)["NetworkSettings"]["Networks"].take()
}

/// Names of networks, sorted.
fn names(sandbox: &Sandbox, who: &str) -> Vec<String> {
    networks(sandbox, who).as_object().unwrap().keys().cloned().collect()
}

fn exec(sandbox: &Sandbox, who: &str, script: &str) -> String {
    sandbox.ok(["exec", who, "sh", "-c", script])
}

#[test]
fn who_leaves_none_may_join_others() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["network", "create", "mine"]);
    run(&sandbox, "other", &["--network", "mine"]);
    run(&sandbox, "box", &["--network", "none"]);
    for who in ["box", "other"] {
        let network = if who == "box" { "mine" } else { "none" };
        sandbox.dhow(["network", "connect", network, who]).fails(1, ALONE);
    }
    sandbox.ok(["network", "disconnect", "none", "box"]);
    assert_eq!(names(&sandbox, "box"), Vec::<String>::new());
    sandbox.ok(["network", "connect", "--alias", "joined", "mine", "box"]);
    assert_eq!(names(&sandbox, "box"), ["mine"]);
    assert_eq!(sandbox.inspect("box")["HostConfig"]["NetworkMode"], "none");
    // Both ways, by name.
    let reach = || {
        exec(&sandbox, "box", "ping -c 1 -W 3 other >/dev/null; ip route | grep -c default");
        exec(&sandbox, "other", "ping -c 1 -W 3 joined >/dev/null");
    };
    reach();
    sandbox.ok(["restart", "-t", "0", "box"]);
    reach();
    assert_eq!(names(&sandbox, "box"), ["mine"], "it stays where it has gone");
    // And back.
    sandbox.ok(["network", "disconnect", "mine", "box"]);
    assert_eq!(exec(&sandbox, "box", "ls /sys/class/net"), "lo");
    sandbox.ok(["network", "connect", "none", "box"]);
    assert_eq!(names(&sandbox, "box"), ["none"]);
    sandbox.ok(["restart", "-t", "0", "box"]);
    assert_eq!(exec(&sandbox, "box", "ls /sys/class/net"), "lo");
    // One that does not run, likewise.
    sandbox.ok([
        "create",
        "--name",
        "later",
        "--network",
        "none",
        "busybox",
        "ip",
        "-o",
        "addr",
        "show",
        "eth0",
    ]);
    sandbox.dhow(["network", "connect", "mine", "later"]).fails(1, ALONE);
    sandbox.ok(["network", "disconnect", "none", "later"]);
    sandbox.ok(["network", "connect", "mine", "later"]);
    assert!(sandbox.ok(["start", "-a", "later"]).contains("inet "));
}

#[test]
fn the_hosts_and_others_namespaces_stay_as_they_are() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["network", "create", "mine"]);
    run(&sandbox, "own", &[]);
    run(&sandbox, "guest", &["--network", "container:own"]);
    run(&sandbox, "host", &["--network", "host"]);
    for who in ["guest", "host"] {
        sandbox.dhow(["network", "connect", "mine", who]).fails(1, SHARING);
    }
    sandbox.dhow(["network", "connect", "host", "own"]).fails(1, "cannot connect container to host network");
    sandbox
        .dhow(["network", "disconnect", "host", "host"])
        .fails(1, "cannot disconnect container from host network");
    assert_eq!(names(&sandbox, "host"), ["host"]);
}

#[test]
fn link_local_addresses_are_there_beside_the_others() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["network", "create", "mine"]);
    let flags = ["--network", "mine", "--link-local-ip", "169.254.77.7", "--link-local-ip", "fe80::77:7"];
    run(&sandbox, "one", &flags);
    run(&sandbox, "two", &["--network", "name=mine,link-local-ip=169.254.77.8"]);
    let seen = exec(&sandbox, "one", "ip -o addr show eth0");
    assert!(seen.contains("169.254.77.7/16") && seen.contains("fe80::77:7/64"), "{seen}");
    exec(&sandbox, "two", "ping -c 1 -W 3 169.254.77.7");
    let wanted = json!(["169.254.77.7", "fe80::77:7"]);
    assert_eq!(networks(&sandbox, "one")["mine"]["IPAMConfig"]["LinkLocalIPs"], wanted);
    run(&sandbox, "three", &[]);
    sandbox.ok(["network", "connect", "--link-local-ip", "169.254.77.9", "mine", "three"]);
    exec(&sandbox, "two", "ping -c 1 -W 3 169.254.77.9");
    let both = ["--link-local-ip", "169.254.0.1", "--network", "name=mine,link-local-ip=169.254.0.2"];
    sandbox
        .dhow([&["run", "--rm"][..], &both, &["busybox", "true"]].concat())
        .fails(125, "cannot specify both --link-local-ip and per-network link-local-ip");
    sandbox
        .dhow(["run", "--rm", "--network", "name=mine,link-local-ip=0.0.0.0", "busybox", "true"])
        .fails(125, "invalid link-local IP address: 0.0.0.0");
}

#[test]
fn interfaces_have_the_names_and_settings_that_were_asked_for() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["network", "create", "--ipv6", "front"]);
    sandbox.ok(["network", "create", "back"]);
    let name = |network: &str, name: &str| {
        format!("name={network},driver-opt=com.docker.network.endpoint.ifname={name}")
    };
    let (front, back) = (name("front", "lan0"), name("back", "eth0"));
    // The default one gets the first number that nobody has claimed.
    run(&sandbox, "box", &["--network", "bridge", "--network", &front, "--network", &back]);
    let seen = exec(&sandbox, "box", "for i in lan0 eth0 eth1; do ip -o -4 addr show $i; done");
    for (network, interface) in [("front", "lan0"), ("back", "eth0"), ("bridge", "eth1")] {
        let address = networks(&sandbox, "box")[network]["IPAddress"].as_str().unwrap().to_owned();
        let line = seen.lines().find(|line| line.contains(&format!(" {address}/"))).unwrap();
        assert!(line.contains(interface), "{network}: {seen}");
    }
    let sysctls = "com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1,\
                   net.ipv6.conf.ifname.accept_ra=2";
    let quoted = format!("name=front,\"driver-opt={sysctls}\"");
    run(&sandbox, "set", &["--network", &quoted]);
    let values = "cat /proc/sys/net/ipv4/conf/eth0/log_martians /proc/sys/net/ipv6/conf/eth0/accept_ra";
    assert_eq!(exec(&sandbox, "set", values), "1\n2");
    let options = networks(&sandbox, "set")["front"]["DriverOpts"].clone();
    assert!(options["com.docker.network.endpoint.sysctls"].as_str().unwrap().contains("accept_ra=2"));
    // Without IPv6 on the interface there is no address of it.
    let without =
        "name=front,driver-opt=com.docker.network.endpoint.sysctls=net.ipv6.conf.IFNAME.disable_ipv6=1";
    run(&sandbox, "v4", &["--network", without]);
    assert_eq!(networks(&sandbox, "v4")["front"]["GlobalIPv6Address"], "");
    // On a running container, and through the API.
    let connect =
        ["network", "connect", "--driver-opt", "com.docker.network.endpoint.ifname=wan", "back", "set"];
    sandbox.ok(connect);
    exec(&sandbox, "set", "ip link show wan");
    let server = sandbox.serve();
    run(&sandbox, "late", &[]);
    server
        .docker([
            "network",
            "connect",
            "--driver-opt",
            "com.docker.network.endpoint.ifname=by0",
            "back",
            "late",
        ])
        .ok();
    exec(&sandbox, "late", "ip link show by0");

    let refuse = |network: &str, why: &str| {
        sandbox.dhow(["run", "--rm", "--network", network, "busybox", "true"]).fails(125, why);
    };
    refuse(&name("front", "lo"), "is no name for an interface");
    refuse("name=front,driver-opt=colour=red", "not supported by dhow: the endpoint option colour");
    refuse(
        "name=front,driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.eth0.log_martians=1",
        "unrecognised network interface sysctl 'net.ipv4.conf.eth0.log_martians=1'",
    );
    let twice = ["--network", &name("front", "x0"), "--network", &name("back", "x0")];
    sandbox
        .dhow([&["run", "--rm"][..], &twice, &["busybox", "true"]].concat())
        .fails(125, "the container has an interface x0 already");
}
