//! What passes from other machines, what the host's own firewall says to it, and who mends ours.

use crate::lan::{HOST, Lan, Machine};
use crate::sandbox::{Sandbox, eventually, finish};
use dhow_net::nft::Table;
use std::net::{TcpListener, UdpSocket};
use std::process::Command;
use std::time::Duration;

/// Answers every connection to port 80, several at a time.
const SERVER: [&str; 4] = ["httpd", "-f", "-p", "80"];

/// Whether the server says anything; busybox's `nc` gives up after two seconds.
fn answers(from: &Machine, to: &str, port: u16) -> bool {
    let ask = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 2 {to} {port}");
    from.sh(&ask).stdout.contains("HTTP/1.")
}

/// A server in a container of the machine's, at a port of its.
fn serve(sandbox: &Sandbox, lan: &Lan, publish: &str) {
    let run = ["run", "-d", "--init", "--name", "web", "-p", publish, "busybox"];
    lan.host.run(&sandbox.command([&run[..], &SERVER].concat())).ok();
}

fn table_of(sandbox: &Sandbox) -> Table {
    let format = "{{index .Options \"com.docker.network.bridge.name\"}}";
    let name = sandbox.ok(["network", "inspect", "--format", format, "bridge"]);
    Table::open(name.trim_matches('"')).unwrap()
}

#[test]
fn what_the_host_drops_stays_dropped() {
    let lan = Lan::new();
    let sandbox = Sandbox::with_busybox();
    serve(&sandbox, &lan, "8080:80");
    eventually("the port answers", || answers(&lan.neighbour, HOST, 8080));
    assert!(answers(&lan.host, "127.0.0.1", 8080) && answers(&lan.host, HOST, 8080));
    // Rules of the administrator's, in his own tables: where packets come in, and where they pass on.
    for rule in ["-t raw -I PREROUTING -p tcp --dport 8080 -j DROP", "-I FORWARD -p tcp --dport 80 -j DROP"] {
        lan.host.sh(&format!("iptables {rule}")).ok();
        assert!(!answers(&lan.neighbour, HOST, 8080), "{rule}");
        lan.host.sh(&format!("iptables {}", rule.replace("-I", "-D"))).ok();
        eventually("it answers again", || answers(&lan.neighbour, HOST, 8080));
    }
    // Loopback's way is by a process of the host's.
    lan.host.sh("iptables -I INPUT -i lo -p tcp --dport 8080 -j DROP").ok();
    assert!(!answers(&lan.host, "127.0.0.1", 8080));
    // A policy, too: ours accepts, and that is not the last word.
    lan.host.sh("iptables -P FORWARD DROP").ok();
    assert!(!answers(&lan.neighbour, HOST, 8080));
}

#[test]
fn a_port_of_loopback_is_for_this_machine_alone() {
    let lan = Lan::new();
    let sandbox = Sandbox::with_busybox();
    serve(&sandbox, &lan, "127.0.0.1:8080:80");
    eventually("the port answers", || answers(&lan.host, "127.0.0.1", 8080));
    assert!(!answers(&lan.neighbour, HOST, 8080));
    // A neighbour that sends what is for 127.0.0.1 over the wire, to a machine that takes it (CVE-2020-8558).
    let localnet = "echo 1 >/proc/sys/net/ipv4/conf/wire/route_localnet";
    assert_eq!(lan.host.sh("cat /proc/sys/net/ipv4/conf/wire/route_localnet").ok(), "0");
    lan.host.sh(localnet).ok();
    lan.neighbour
        .sh(&format!("{localnet} && ip route add 127.0.0.1/32 via {HOST} dev wire src 192.0.2.2"))
        .ok();
    let own = lan.host.within(|| {
        let listener = TcpListener::bind("127.0.0.1:8081").unwrap();
        std::io::Write::write_all(&mut listener.accept().unwrap().0, b"HTTP/1.").unwrap();
    });
    eventually("what else listens there is reached", || answers(&lan.neighbour, "127.0.0.1", 8081));
    own.join().unwrap();
    assert!(!answers(&lan.neighbour, "127.0.0.1", 8080));
    assert!(answers(&lan.host, "127.0.0.1", 8080), "and it still answers here");
}

#[test]
fn nothing_is_routed_to_what_is_not_published() {
    let lan = Lan::new();
    let sandbox = Sandbox::with_busybox();
    serve(&sandbox, &lan, "8080:80");
    eventually("the port answers", || answers(&lan.neighbour, HOST, 8080));
    let own = sandbox.inspect("web")["NetworkSettings"]["IPAddress"].as_str().unwrap().to_owned();
    assert!(answers(&lan.host, &own, 80), "the machine itself reaches its containers");
    lan.neighbour.sh(&format!("ip route add {own}/32 via {HOST}")).ok();
    assert!(!answers(&lan.neighbour, &own, 80), "by the container's own address, not even a published port");
    assert_ne!(lan.neighbour.sh(&format!("busybox ping -c 1 -W 2 {own}")).code, 0);
}

#[test]
fn an_internal_network_asks_nobody_outside_for_names() {
    let lan = Lan::new();
    let sandbox = Sandbox::with_busybox();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let (seen, questions) = std::sync::mpsc::channel();
    let server = lan.host.within(move || {
        let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
        ready.send(()).unwrap();
        let mut buffer = [0; 512];
        while let Ok(count) = socket.recv(&mut buffer) {
            if count == 0 || seen.send(String::from_utf8_lossy(&buffer[..count]).into_owned()).is_err() {
                break;
            }
        }
    });
    is_ready.recv_timeout(Duration::from_secs(10)).unwrap();
    let ask = |network: &str, name: &str| {
        let script = format!("nslookup {name}; true");
        let head = ["run", "--rm", "--network", network, "--dns", "127.0.0.1"];
        lan.host.run(&sandbox.command([&head[..], &["busybox", "sh", "-c", &script]].concat())).ok()
    };
    lan.host.run(&sandbox.command(["network", "create", "--internal", "closed"])).ok();
    lan.host.run(&sandbox.command(["network", "create", "open"])).ok();
    assert!(ask("closed", "secret.example.org").contains("SERVFAIL"));
    ask("open", "public.example.org");
    let mut seen: Vec<String> = questions.try_iter().collect();
    seen.retain(|question| question.contains("example"));
    assert!(seen.iter().any(|question| question.contains("public")), "{seen:?}");
    assert!(
        !seen.iter().any(|question| question.contains("secret")),
        "none is seen (CVE-2024-29018): {seen:?}"
    );
    drop(questions);
    lan.host.within(|| UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"", "127.0.0.1:53").unwrap());
    server.join().unwrap();
}

#[test]
fn a_server_mends_the_table_by_itself() {
    let sandbox = Sandbox::with_busybox();
    sandbox.ok(["run", "-d", "--name", "box", "-p", "80", "busybox", "sleep", "1000"]);
    let table = table_of(&sandbox);
    let rules = table.rules().unwrap();
    let ports = table.redirections().unwrap();
    assert!(rules > 10 && ports == 1 && table.is_whole().unwrap(), "{rules} rules, {ports} ports");
    table.delete().unwrap();
    let server = sandbox.serve();
    eventually("what was lost before is mended", || table.is_whole().unwrap());
    // A reload of another program's: all tables go.
    for _ in 0..3 {
        table.delete().unwrap();
        eventually("and what is lost later", || table.is_whole().unwrap());
        assert_eq!((table.rules().unwrap(), table.redirections().unwrap()), (rules, ports));
    }
    sandbox.ok(["system", "check"]);
    drop(server);
    table.delete().unwrap();
    assert_eq!(sandbox.dhow(["system", "check"]).code, 1, "without a server, the check tells");
    sandbox.ok(["system", "check", "--repair"]);
    assert!(table.is_whole().unwrap());
}

#[test]
fn an_emptied_set_is_noticed_and_repaired() {
    let sandbox = Sandbox::with_busybox();
    let run = ["run", "-d", "--name", "box", "-p", "80", "-p", "127.0.0.1::81", "busybox", "sleep", "1000"];
    sandbox.ok(run);
    let table = table_of(&sandbox);
    let nft = |words: String| {
        let mut nft = Command::new("nft");
        nft.args(words.split(' '));
        finish(nft, b"").ok()
    };
    let elements = |set: &str| {
        let listed = nft(format!("list {} inet {} {set}", kind_of(set), table.name()));
        listed
            .split_once("elements = {")
            .map(|(_, list)| list.trim_end_matches(['}', '\n', '\t', ' ']).to_owned())
    };
    let flush = |set: &str| nft(format!("flush {} inet {} {set}", kind_of(set), table.name()));
    // Whatever an element is for: the sets of bridges, and the maps of ports.
    let all = ["bridges", "masqueraded", "within", "loopback", "ports4"];
    let whole: Vec<_> = all.iter().map(|set| elements(set).unwrap()).collect();
    assert!(whole[0].contains(table.name()), "in words that nft understands: {whole:?}");
    let saved = nft(format!("list table inet {}", table.name()));
    let mut read = Command::new("nft");
    read.args(["--check", "--file", "-"]);
    finish(read, saved.as_bytes()).ok();
    for set in all {
        sandbox.ok(["system", "check"]);
        flush(set);
        assert_eq!(elements(set), None, "{set}");
        let found = sandbox.dhow(["system", "check"]);
        assert!(
            found.code == 1 && found.stdout.contains("elements of the firewall's sets are gone"),
            "{found:?}"
        );
        sandbox.ok(["system", "check", "--repair"]);
        assert_eq!(all.map(|set| elements(set).unwrap()).to_vec(), whole, "{set}");
    }
    let server = sandbox.serve();
    for set in all {
        flush(set);
        eventually("a server mends it by itself", || elements(set).is_some());
    }
    assert_eq!(all.map(|set| elements(set).unwrap()).to_vec(), whole);
    // What is withdrawn does not come back, whoever looks meanwhile.
    for _ in 0..5 {
        sandbox.ok(["stop", "-t", "0", "box"]);
        sandbox.ok(["system", "check"]);
        assert_eq!((elements("ports4"), elements("loopback")), (None, None));
        sandbox.ok(["start", "box"]);
        sandbox.ok(["system", "check"]);
    }
    drop(server);
}

/// What nft calls one of the table's sets.
fn kind_of(set: &str) -> &'static str {
    if set.starts_with("ports") { "map" } else { "set" }
}

#[test]
fn an_emptied_table_is_written_anew_by_the_next_start() {
    let lan = Lan::new();
    let sandbox = Sandbox::with_busybox();
    serve(&sandbox, &lan, "8080:80");
    let rules = || lan.host.sh("nft list ruleset").ok().matches("drop").count();
    let whole = rules();
    for loss in ["flush table", "delete table"] {
        lan.host.sh(&format!("nft {loss} inet {}", table_of(&sandbox).name())).ok();
        assert_eq!(rules(), 0, "{loss}");
        lan.host.run(&sandbox.command(["run", "--rm", "busybox", "true"])).ok();
        assert_eq!(rules(), whole, "{loss}");
        eventually("the port answers", || answers(&lan.neighbour, HOST, 8080));
    }
}

#[test]
fn ports_of_a_running_container_are_published_when_it_joins_a_network_that_leads_outside() {
    let lan = Lan::new();
    let sandbox = Sandbox::with_busybox();
    let dhow = |arguments: &[&str]| lan.host.run(&sandbox.command(arguments)).ok();
    dhow(&["network", "create", "--internal", "closed"]);
    let run = ["run", "-d", "--init", "--name", "web", "--network", "closed", "-p", "8080:80", "busybox"];
    dhow(&[&run[..], &SERVER].concat());
    assert_eq!(dhow(&["port", "web"]), "");
    dhow(&["network", "connect", "bridge", "web"]);
    eventually("the port answers", || answers(&lan.neighbour, HOST, 8080));
    eventually("by loopback, too", || answers(&lan.host, "127.0.0.1", 8080));
    assert!(dhow(&["port", "web"]).contains("80/tcp -> 0.0.0.0:8080"));
}
