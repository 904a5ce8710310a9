//! Networks as containers see them: addresses, names, routes, what passes and what does not.

use crate::sandbox::{Sandbox, eventually};
use serde_json::json;

/// What a container's shell prints.
fn inside(sandbox: &Sandbox, flags: &[&str], script: &str) -> String {
    sandbox.ok([&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat())
}

/// An address of a running container on a network.
fn address(sandbox: &Sandbox, who: &str, network: &str, field: &str) -> String {
    sandbox.inspect(who)["NetworkSettings"]["Networks"][network][field].as_str().unwrap().to_owned()
}

/// A server that says its name to whoever connects.
fn server(sandbox: &Sandbox, name: &str, flags: &[&str]) {
    let script = "while true; do echo $NAME | nc -l -p 80 >/dev/null; done";
    let variable = format!("NAME={name}");
    let head = ["run", "-d", "--init", "--name", name, "-e", &variable];
    sandbox.ok([&head, flags, &["busybox", "sh", "-c", script]].concat());
}

const ASK: &str = "nc -w 3 $TO 80 </dev/null";

fn ask(sandbox: &Sandbox, network: &str, to: &str) -> String {
    let variable = format!("TO={to}");
    let script = format!("{ASK}; true");
    inside(sandbox, &["--network", network, "-e", &variable], &script)
}

#[test]
fn the_default_bridge_gives_address_route_and_files() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["run", "-d", "--name", "box", "--hostname", "anna", "busybox", "sleep", "1000"]);
    let (own, gateway) =
        (address(&sandbox, "box", "bridge", "IPAddress"), address(&sandbox, "box", "bridge", "Gateway"));
    let mac = address(&sandbox, "box", "bridge", "MacAddress");
    let seen =
        sandbox.ok(["exec", "box", "sh", "-c", "ip -o addr; ip route; ip link show eth0; cat /etc/hosts"]);
    for part in
        [format!("inet {own}/"), format!("default via {gateway} dev eth0"), mac, format!("{own}\tanna")]
    {
        assert!(seen.contains(&part), "{part}: {seen}");
    }
    assert!(!seen.contains("fe80"), "no IPv6 where none was asked for (CVE-2024-32473): {seen}");
    sandbox.ok(["exec", "box", "ping", "-c", "1", "-W", "3", &gateway]);
    assert!(inside(&sandbox, &[], &format!("ping -c 1 -W 3 {own}")).contains(" 0% packet loss"));
    // The older fields, which templates still ask for.
    let all = sandbox.inspect("box");
    assert_eq!(all["NetworkSettings"]["IPAddress"], own.as_str());
    assert_eq!(all["HostConfig"]["NetworkMode"], "bridge");
    assert_eq!(sandbox.ok(["ps", "--format", "{{.Networks}}"]), "bridge");
    let found = sandbox.ok(["ps", "-q", "--filter", "network=bridge"]);
    assert!(!found.is_empty() && sandbox.ok(["ps", "-q", "--filter", "network=none"]).is_empty());
    sandbox.ok(["stop", "-t", "0", "box"]);
    assert_eq!(address(&sandbox, "box", "bridge", "IPAddress"), "", "the lease has come back");
    let told: Vec<String> = sandbox
        .events()
        .iter()
        .filter(|e| e["Type"] == "network")
        .map(|e| e["Action"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(told, ["connect", "connect", "disconnect", "disconnect"]);
}

#[test]
fn addresses_come_back_and_are_given_in_turn() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["network", "create", "--subnet", "10.127.9.0/29", "--gateway", "10.127.9.1", "small"]);
    let mut seen = Vec::new();
    for _ in 0..6 {
        let text = inside(&sandbox, &["--network", "small"], "ip -o -4 addr show eth0");
        let at = text.find("10.127.9.").map(|at| text[at..].split('/').next().unwrap().to_owned()).unwrap();
        seen.push(at);
    }
    let want = ["10.127.9.2", "10.127.9.3", "10.127.9.4", "10.127.9.5", "10.127.9.6", "10.127.9.2"];
    assert_eq!(seen, want, "an address that has just come back is the last to be given away");
    for n in 2..7 {
        sandbox.ok([
            "run",
            "-d",
            "--name",
            &format!("c{n}"),
            "--network",
            "small",
            "busybox",
            "sleep",
            "1000",
        ]);
    }
    sandbox
        .dhow(["run", "--rm", "--network", "small", "busybox", "true"])
        .fails(125, "no available IPv4 addresses");
    sandbox.ok(["rm", "-f", "c4"]);
    inside(&sandbox, &["--network", "small"], "true");
}

#[test]
fn containers_of_a_network_find_each_other() {
    let sandbox = Sandbox::with_busybox();
    let create =
        ["network", "create", "--ipv6", "--subnet", "10.127.10.0/24", "--subnet", "fd7e:10::/64", "mine"];
    sandbox.ok(create);
    sandbox.ok(["network", "create", "other"]);
    server(&sandbox, "web", &["--network", "mine", "--network-alias", "www"]);
    let (v4, v6) = (
        address(&sandbox, "web", "mine", "IPAddress"),
        address(&sandbox, "web", "mine", "GlobalIPv6Address"),
    );
    for to in ["web", "www", "WEB", "web.mine", &v4, &v6] {
        assert_eq!(ask(&sandbox, "mine", to), "web", "{to}");
    }
    for to in [&v4, &v6, "web"] {
        assert_eq!(ask(&sandbox, "other", to), "", "{to} is out of reach from another network");
        assert_eq!(ask(&sandbox, "bridge", to), "", "{to} is out of reach from the default one");
    }
    // Addresses have names, too.
    let back = inside(&sandbox, &["--network", "mine"], &format!("nslookup {v4}; nslookup {v6}"));
    assert_eq!(back.matches("name = web.mine").count(), 2, "{back}");
    let files =
        inside(&sandbox, &["--network", "mine", "--dns-search", "example.org"], "cat /etc/resolv.conf");
    assert_eq!(files, "nameserver 127.0.0.11\nsearch example.org\noptions ndots:0");
    // What is asked for is what one gets.
    let flags =
        ["--network", "name=mine,ip=10.127.10.77,mac-address=02:42:00:00:00:77", "--ip6", "fd7e:10::77"];
    let asked = inside(&sandbox, &flags, "ip addr show eth0");
    for part in ["10.127.10.77/24", "fd7e:10::77/64", "02:42:00:00:00:77"] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
    let refused = ["run", "--rm", "--network", "mine", "--ip", &v4, "busybox", "true"];
    sandbox.dhow(refused).fails(125, "Address already in use");
    sandbox
        .dhow(["run", "--rm", "--network", "mine", "--ip", "10.1.1.1", "busybox", "true"])
        .fails(125, "no configured subnet contains IP address 10.1.1.1");
    sandbox
        .dhow(["run", "--rm", "--network", "nope", "busybox", "true"])
        .fails(125, "network nope not found");
}

#[test]
fn round_robin_over_an_alias() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["network", "create", "mine"]);
    for name in ["aa", "bb", "cc"] {
        sandbox.ok([
            "run",
            "-d",
            "--name",
            name,
            "--network",
            "mine",
            "--net-alias",
            "all",
            "busybox",
            "sleep",
            "1000",
        ]);
    }
    let looked = inside(
        &sandbox,
        &["--network", "mine"],
        "for i in 1 2 3; do nslookup all | grep -A1 '^Name' | grep -m1 Address; done",
    );
    let mut first: Vec<&str> = looked.lines().collect();
    first.sort_unstable();
    first.dedup();
    assert_eq!(first.len(), 3, "each is the first once: {looked}");
    sandbox.ok(["rm", "-f", "bb"]);
    let looked = inside(&sandbox, &["--network", "mine"], "nslookup all");
    assert_eq!(looked.matches("Name:").count(), 2, "{looked}");
}

#[test]
fn an_internal_network_leads_nowhere() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["network", "create", "--internal", "closed"]);
    server(&sandbox, "web", &["--network", "closed"]);
    server(&sandbox, "open", &[]);
    assert_eq!(ask(&sandbox, "closed", "web"), "web");
    let outside = address(&sandbox, "open", "bridge", "IPAddress");
    let seen = inside(&sandbox, &["--network", "closed"], "ip route; nslookup deb.debian.org; true");
    assert!(!seen.contains("default"), "{seen}");
    assert!(seen.contains("SERVFAIL"), "not even by DNS (CVE-2024-29018): {seen}");
    assert_eq!(ask(&sandbox, "closed", &outside), "");
    // A route of the container's own making does not help it.
    let gateway = sandbox.inspect("web")["NetworkSettings"]["Networks"]["closed"]["NetworkID"].clone();
    assert!(gateway.is_string());
    let script = "ip route add default via $(ip -o route | head -1 | sed 's/\\.0\\/.*/.1/'); nc -w 2 $TO 80 </dev/null; true";
    let to = format!("TO={outside}");
    let flags = ["--network", "closed", "--cap-add", "NET_ADMIN", "-e", &to];
    assert_eq!(inside(&sandbox, &flags, script), "");
}

#[test]
fn networks_are_listed_inspected_and_removed() {
    let sandbox = Sandbox::with_busybox();
    let id = sandbox.ok([
        "network",
        "create",
        "--label",
        "a=b",
        "--opt",
        "com.docker.network.driver.mtu=1400",
        "mine",
    ]);
    assert_eq!(
        sandbox.ok(["network", "ls", "--format", "{{.Name}} {{.Driver}}"]),
        "bridge bridge\nhost host\nmine bridge\nnone null"
    );
    assert_eq!(sandbox.ok(["network", "ls", "-q", "--no-trunc", "--filter", "label=a=b"]), id);
    assert_eq!(sandbox.ok(["network", "ls", "--filter", "type=custom", "--format", "{{.Name}}"]), "mine");
    for (filter, found) in [("name=^mine$", &*id), ("name=min", &id), ("name=^in", ""), ("name=m.*e", &id)] {
        let listed = sandbox.ok(["network", "ls", "-q", "--no-trunc", "--filter", filter]);
        assert_eq!(listed, found, "{filter}");
    }
    assert!(inside(&sandbox, &["--network", "mine"], "ip link show eth0").contains("mtu 1400"));
    sandbox.ok(["run", "-d", "--name", "box", "--network", "mine", "busybox", "sleep", "1000"]);
    assert_eq!(
        sandbox.ok(["network", "inspect", "--format", "{{range .Containers}}{{.Name}}{{end}}", "mine"]),
        "box"
    );
    sandbox.dhow(["network", "rm", "mine"]).fails(1, "has active endpoints (name:\"box\"");
    sandbox
        .dhow(["network", "rm", "bridge"])
        .fails(1, "bridge is a pre-defined network and cannot be removed");
    sandbox.dhow(["network", "create", "mine"]).fails(1, "network with name mine already exists");
    sandbox.dhow(["network", "create", "-d", "overlay", "x"]).fails(1, "swarm");
    sandbox.dhow(["network", "create", "--subnet", "10.1.2.3/8", "x"]).fails(1, "it should be 10.0.0.0/8");
    let subnet = sandbox.ok(["network", "inspect", "--format", "{{(index .IPAM.Config 0).Subnet}}", "mine"]);
    sandbox.dhow(["network", "create", "--subnet", &subnet, "x"]).fails(1, "Pool overlaps with other one");
    assert_eq!(sandbox.ok(["network", "prune", "-f"]), "");
    sandbox.ok(["rm", "-f", "box"]);
    assert_eq!(sandbox.ok(["network", "prune", "-f"]).trim(), "Deleted Networks:\nmine");
    sandbox.dhow(["network", "inspect", "mine"]).fails(1, "network mine not found");
    let told = sandbox.events();
    let actions =
        |action: &str| told.iter().filter(|e| e["Type"] == "network" && e["Action"] == action).count();
    assert_eq!((actions("create"), actions("destroy")), (1, 1));
}

#[test]
fn a_running_container_joins_and_leaves() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["network", "create", "mine"]);
    server(&sandbox, "web", &["--network", "mine"]);
    sandbox.ok(["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let ask = |to: &str| {
        let script = format!("nc -w 3 {to} 80 </dev/null");
        sandbox.dhow(["exec", "box", "sh", "-c", &script]).stdout.trim().to_owned()
    };
    assert_eq!(ask("web"), "");
    sandbox.ok(["network", "connect", "--alias", "friend", "mine", "box"]);
    assert_eq!(ask("web"), "web", "by name, in a container that had no name server before");
    let links = sandbox.ok(["exec", "box", "ip", "-o", "link"]);
    assert!(links.contains("eth0") && links.contains("eth1"), "{links}");
    assert_eq!(
        inside(&sandbox, &["--network", "mine"], "ping -c 1 -W 3 friend").matches(" 0% packet loss").count(),
        1
    );
    sandbox.dhow(["network", "connect", "mine", "box"]).fails(1, "already exists in network mine");
    // The first network goes: the default route is now the other's.
    sandbox.ok(["network", "disconnect", "bridge", "box"]);
    let routes = sandbox.ok(["exec", "box", "ip", "route"]);
    let gateway = address(&sandbox, "box", "mine", "Gateway");
    assert!(routes.contains(&format!("default via {gateway} dev eth1")), "{routes}");
    assert_eq!(ask("web"), "web");
    sandbox.ok(["network", "disconnect", "mine", "box"]);
    assert_eq!(ask("web"), "");
    sandbox.dhow(["network", "disconnect", "mine", "box"]).fails(1, "is not connected to network mine");
    // One that does not run joins with its next start.
    sandbox.ok(["create", "--name", "later", "--network", "mine", "busybox", "ip", "-o", "-4", "addr"]);
    sandbox.ok(["network", "connect", "bridge", "later"]);
    sandbox.ok(["start", "-a", "later"]);
    let seen = sandbox.ok(["logs", "later"]);
    assert!(seen.contains("eth0") && seen.contains("eth1"), "{seen}");
    // What went away while it stood still can be taken from it, and it starts again.
    sandbox.ok(["rm", "-f", "web"]);
    sandbox.ok(["network", "rm", "mine"]);
    sandbox.dhow(["start", "later"]).fails(1, "network mine not found");
    sandbox.ok(["network", "disconnect", "mine", "later"]);
    assert!(!sandbox.ok(["start", "-a", "later"]).contains("eth1"));
    sandbox.dhow(["network", "disconnect", "mine", "later"]).fails(1, "network mine not found");
}

#[test]
fn a_restart_by_policy_is_connected_again() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["network", "create", "mine"]);
    let script = "ip -o -4 addr show eth0; exit 1";
    let head = ["run", "-d", "--name", "again", "--network", "mine", "--restart", "on-failure:2"];
    sandbox.ok([&head[..], &["busybox", "sh", "-c", script]].concat());
    sandbox.wait_for_status("again", "exited");
    let seen = sandbox.ok(["logs", "again"]);
    assert_eq!(seen.matches("inet ").count(), 3, "{seen}");
}

#[test]
fn leases_of_a_killed_monitor_come_back() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["network", "create", "--subnet", "10.127.11.0/30", "tiny"]);
    sandbox.ok(["run", "-d", "--name", "box", "--network", "tiny", "-p", "0:80", "busybox", "sleep", "1000"]);
    let pid = sandbox.pid("box");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let monitor = status.lines().find_map(|l| l.strip_prefix("PPid:")).unwrap().trim().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(monitor), nix::sys::signal::SIGKILL).unwrap();
    eventually("the container has ended", || sandbox.container_state("box")["Status"] == "exited");
    // The only address that there is.
    inside(&sandbox, &["--network", "tiny"], "ip addr show eth0");
    sandbox.ok(["start", "box"]);
}

#[test]
fn links_and_host_gateway() {
    let sandbox = Sandbox::with_busybox();
    let head = ["run", "-d", "--name", "db", "--expose", "5432", "-e", "SECRET=s"];
    sandbox.ok([&head[..], &["busybox", "sleep", "1000"]].concat());
    let own = address(&sandbox, "db", "bridge", "IPAddress");
    let gateway = address(&sandbox, "db", "bridge", "Gateway");
    let flags = ["--link", "db:sql", "--add-host", "outer:host-gateway"];
    let seen = inside(&sandbox, &flags, "env; cat /etc/hosts; ping -c 1 -W 3 sql");
    for part in [
        format!("SQL_PORT=tcp://{own}:5432"),
        format!("SQL_PORT_5432_TCP_ADDR={own}"),
        "SQL_ENV_SECRET=s".to_owned(),
        format!("{own}\tsql"),
        format!("{gateway}\touter"),
        " 0% packet loss".to_owned(),
    ] {
        assert!(seen.contains(&part), "{part}: {seen}");
    }
    // Who runs learns the address of one that is started again.
    sandbox.ok(["run", "-d", "--name", "client", "--link", "db:sql", "busybox", "sleep", "1000"]);
    sandbox.ok(["restart", "-t", "0", "db"]);
    let next = address(&sandbox, "db", "bridge", "IPAddress");
    assert_ne!(next, own);
    let hosts = sandbox.ok(["exec", "client", "cat", "/etc/hosts"]);
    assert!(hosts.contains(&format!("{next}\tsql")) && !hosts.contains(&format!("{own}\t")), "{hosts}");
    sandbox.ok(["exec", "client", "ping", "-c", "1", "-W", "3", "sql"]);
    sandbox.ok(["rm", "-f", "client"]);
    // A link is taken away by either command line; both containers stay.
    let server = sandbox.serve();
    let links = ["run", "-d", "--name", "web", "--link", "db:one", "--link", "db:two"];
    sandbox.ok([&links[..], &["busybox", "sleep", "1000"]].concat());
    let links = || sandbox.inspect("web")["HostConfig"]["Links"].clone();
    assert_eq!(links(), json!(["/db:/web/one", "/db:/web/two"]));
    assert_eq!(sandbox.ok(["rm", "--link", "web/one"]), "web/one");
    assert_eq!(links(), json!(["/db:/web/two"]));
    assert_eq!(server.docker(["rm", "-l", "/web/two"]).ok(), "/web/two");
    assert_eq!(links(), json!(null));
    sandbox.ok(["restart", "-t", "0", "web"]);
    let hosts = sandbox.ok(["exec", "web", "cat", "/etc/hosts"]);
    assert!(!hosts.contains("one") && !hosts.contains("two"), "{hosts}");
    for (name, words) in [
        ("web/two", "No such link: /web/two"),
        ("web", "cannot remove the default link name of the container"),
        ("none/x", "Cannot get parent /none for link name /none/x"),
    ] {
        sandbox.dhow(["rm", "--link", name]).fails(1, words);
        assert!(server.docker(["rm", "--link", name]).stderr.contains(words), "{name}");
    }
    assert!(server.docker(["rm", "web/db"]).stderr.contains("No such container: web/db"));
    sandbox.ok(["rm", "-f", "web"]);
    sandbox.ok(["stop", "-t", "0", "db"]);
    sandbox
        .dhow(["run", "--rm", "--link", "db", "busybox", "true"])
        .fails(125, "Cannot link to a non running container");
}

#[test]
fn the_docker_cli_manages_networks() {
    let sandbox = Sandbox::with_busybox();
    let server = sandbox.serve();
    server.docker(["network", "create", "--internal", "--label", "x=y", "mine"]).ok();
    let ls = server.docker(["network", "ls", "--format", "{{.Name}}:{{.Internal}}"]).ok();
    assert!(ls.contains("mine:true") && ls.contains("bridge:false"), "{ls}");
    server.docker(["run", "-d", "--name", "box", "--network", "mine", "busybox", "sleep", "1000"]).ok();
    server.docker(["network", "create", "second"]).ok();
    server.docker(["network", "connect", "--alias", "b", "second", "box"]).ok();
    let format = "{{range $n, $e := .NetworkSettings.Networks}}{{$n}} {{end}}";
    assert_eq!(server.docker(["inspect", "--format", format, "box"]).ok().trim(), "mine second");
    server.docker(["network", "disconnect", "second", "box"]).ok();
    server.docker(["network", "rm", "second"]).ok();
    let refused = server.docker(["network", "rm", "mine"]);
    assert!(refused.code == 1 && refused.stderr.contains("active endpoints"), "{refused:?}");
    server.docker(["rm", "-f", "box"]).ok();
    server.docker(["network", "prune", "-f"]).ok();
}

#[test]
fn no_router_but_the_host_is_listened_to() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["network", "create", "--ipv6", "mine"]);
    let of = |network: &str| {
        inside(
            &sandbox,
            &["--network", network],
            "cd /proc/sys/net/ipv6/conf/eth0; cat accept_ra disable_ipv6",
        )
    };
    assert_eq!(of("mine"), "0\n0", "advertisements are not taken (CVE-2020-13401)");
    assert!(of("bridge").ends_with('1'), "without an address there is no IPv6 at all");
    let bridge = sandbox.ok(["network", "ls", "-q", "--filter", "name=mine"]);
    let host = std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/br-{bridge}/accept_ra")).unwrap();
    assert_eq!(host.trim(), "0", "nor by the host, from a container");
}

#[test]
fn icc_may_be_off() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["network", "create", "-o", "com.docker.network.bridge.enable_icc=false", "apart"]);
    server(&sandbox, "web", &["--network", "apart"]);
    assert_eq!(ask(&sandbox, "apart", "web"), "", "by name it is found, and not reached");
    let gateway = address(&sandbox, "web", "apart", "Gateway");
    assert!(
        inside(&sandbox, &["--network", "apart"], &format!("ping -c 1 -W 3 {gateway}"))
            .contains(" 0% packet loss")
    );
}

#[test]
fn a_lost_table_is_noticed_and_repaired() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["run", "-d", "--name", "box", "-p", "80", "busybox", "sleep", "1000"]);
    let name = sandbox.ok([
        "network",
        "inspect",
        "--format",
        "{{index .Options \"com.docker.network.bridge.name\"}}",
        "bridge",
    ]);
    let table = dhow_net::nft::Table::open(name.trim_matches('"')).unwrap();
    assert!(table.exists().unwrap());
    sandbox.ok(["system", "check"]);
    table.delete().unwrap();
    let found = sandbox.dhow(["system", "check"]);
    assert!(found.code == 1 && found.stdout.contains("the firewall's table is gone"), "{found:?}");
    sandbox.ok(["system", "check", "--repair"]);
    assert!(table.exists().unwrap());
    sandbox.ok(["system", "check"]);
    // A start mends it, too.
    table.delete().unwrap();
    sandbox.ok(["run", "--rm", "busybox", "true"]);
    assert!(table.exists().unwrap());
}
