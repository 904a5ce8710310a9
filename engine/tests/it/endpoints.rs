//! What a container is on a network: `none` left for others, link-local addresses, names and settings of its interface.

use crate::http::Api;
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

/// What compose does: networks by labels, a container on several of them from its creation, more joined later.
#[test]
fn as_compose_uses_the_api() {
    let sandbox = Sandbox::with_busybox();
    let server = sandbox.serve();
    let mut api = Api::new(&sandbox.path("api.sock"));
    let mut ask = |method: &str, target: &str, body: Value| {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let (status, answer) = api.ask(method, &format!("/v1.44{target}"), &body);
        let answer = String::from_utf8(answer).unwrap();
        (status, serde_json::from_str::<Value>(&answer).unwrap_or(Value::String(answer)))
    };
    for (name, more) in [
        ("shop_front", json!({})),
        (
            "shop_back",
            json!({"Internal": true, "IPAM": {"Config": [{"Subnet": "10.127.91.0/24", "Gateway": "10.127.91.1"}]}}),
        ),
    ] {
        let mut body = json!({
            "Name": name, "Driver": "bridge", "CheckDuplicate": true, "Attachable": false,
            "Labels": {"com.docker.compose.project": "shop", "com.docker.compose.network": name},
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, made) = ask("POST", "/networks/create", body);
        assert!(status == 201 && made["Id"].is_string(), "{status} {made}");
    }
    let (status, listed) = ask(
        "GET",
        "/networks?filters=%7B%22label%22%3A%5B%22com.docker.compose.project%3Dshop%22%5D%7D",
        Value::Null,
    );
    assert_eq!((status, listed.as_array().unwrap().len()), (200, 2));
    let create = |name: &str, endpoints: Value| {
        json!({
            "Image": "busybox", "Cmd": ["sleep", "1000"],
            "Labels": {"com.docker.compose.project": "shop", "com.docker.compose.service": name},
            "HostConfig": {"NetworkMode": "shop_front"},
            "NetworkingConfig": {"EndpointsConfig": endpoints},
        })
    };
    let both = json!({
        "shop_front": {"Aliases": ["shop-web-1", "web"], "GwPriority": 1},
        "shop_back": {"Aliases": ["web"], "IPAMConfig": {"IPv4Address": "10.127.91.9"},
                      "MacAddress": "02:42:0a:7f:5b:09"},
    });
    for (name, endpoints) in [("shop-web-1", both), ("shop-db-1", json!({"shop_front": {}}))] {
        let (status, made) = ask("POST", &format!("/containers/create?name={name}"), create(name, endpoints));
        assert_eq!(status, 201, "{made}");
    }
    let connect = json!({"Container": "shop-db-1", "EndpointConfig": {"Aliases": ["db", "sql"]}});
    assert_eq!(ask("POST", "/networks/shop_back/connect", connect).0, 200);
    for name in ["shop-web-1", "shop-db-1"] {
        assert_eq!(ask("POST", &format!("/containers/{name}/start"), Value::Null).0, 204);
    }
    exec(&sandbox, "shop-web-1", "ping -c 1 -W 3 db >/dev/null && ping -c 1 -W 3 sql.shop_back >/dev/null");
    exec(&sandbox, "shop-db-1", "ping -c 1 -W 3 web >/dev/null");
    let (status, web) = ask("GET", "/containers/shop-web-1/json", Value::Null);
    let back = &web["NetworkSettings"]["Networks"]["shop_back"];
    assert_eq!(status, 200);
    assert_eq!(back["IPAddress"], "10.127.91.9");
    assert_eq!(back["MacAddress"], "02:42:0a:7f:5b:09");
    assert_eq!(web["NetworkSettings"]["Networks"]["shop_front"]["GwPriority"], 1);
    assert!(back["DNSNames"].as_array().unwrap().contains(&"web".into()), "{back}");
    let (status, network) = ask("GET", "/networks/shop_back", Value::Null);
    assert_eq!((status, network["Containers"].as_object().unwrap().len()), (200, 2));
    let bad = json!({"shop_front": {}, "nowhere": {}});
    let (status, why) = ask("POST", "/containers/create?name=bad", create("bad", bad));
    assert_eq!((status, why["message"].as_str()), (400, Some("network nowhere not found")));
    let (status, why) = ask("DELETE", "/networks/shop_back", Value::Null);
    assert!(
        status == 403 && why["message"].as_str().unwrap().contains("has active endpoints"),
        "{status} {why}"
    );
    let leave = json!({"Container": "shop-db-1", "Force": true});
    assert_eq!(ask("POST", "/networks/shop_back/disconnect", leave).0, 200);
    server.docker(["rm", "-f", "shop-web-1", "shop-db-1"]).ok();
    for name in ["shop_front", "shop_back"] {
        assert_eq!(ask("DELETE", &format!("/networks/{name}"), Value::Null).0, 204);
    }
}
