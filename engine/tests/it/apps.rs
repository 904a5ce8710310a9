//! Applications from Debian's packages, as people run them: apt through NAT, nginx and a commit of it, UDP and SCTP, and
//! three tiers on two networks with a database in a volume.

use crate::fixtures;
use crate::neighbour::{Neighbour, at};
use crate::sandbox::{Sandbox, eventually};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

/// Says who asks.
const NGINX: &str = "error_log /dev/stderr; events {} http { access_log /dev/stdout; \
    server { listen 80; listen 81; listen 82; listen [::]:80; location / { return 200 \"seen\"; } } }";

/// The front of three tiers: looks the application up by name for each request.
const FRONT: &str = "error_log /dev/stderr; events {} http { access_log /dev/stdout; \
    server { listen 80; resolver 127.0.0.11 valid=1s; set $app http://app:8000; \
    location / { proxy_pass $app; proxy_connect_timeout 3s; } } }";

/// Makes the database at the first start.
const DATABASE: &str = "bin=/usr/lib/postgresql/15/bin; data=/var/lib/postgresql/data; \
    test -e $data/PG_VERSION || $bin/initdb -D $data --no-sync --auth-host=trust >/dev/null || exit; \
    grep -q '^host all all samenet' $data/pg_hba.conf || echo 'host all all samenet trust' >> $data/pg_hba.conf; \
    exec $bin/postgres -D $data -c listen_addresses='*'";

fn import(sandbox: &Sandbox, tar: &std::path::Path, name: &str) {
    sandbox.ok(["import", tar.to_str().unwrap(), name]);
}

/// What a web server answers; `None` without an answer.
fn get(ip: IpAddr, port: u16) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ip, port), PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}

/// As [`get`], with whatever the server said in its place.
fn answers(ip: impl Into<IpAddr>, port: u16) -> bool {
    get(ip.into(), port).is_some_and(|body| body == "seen")
}

/// The first of so many neighbouring ports that are free.
fn free_ports(count: u16) -> u16 {
    for _ in 0..100 {
        let first = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
        let is_free = |port: u16| TcpListener::bind(("0.0.0.0", port)).is_ok();
        if first.checked_add(count).is_some_and(|end| (first..end).all(is_free)) {
            return first;
        }
    }
    panic!("there are no {count} free ports in a row");
}

/// What passes this machine's knowledge of proxies on to apt in a container.
fn ways_of_the_host(sandbox: &Sandbox) -> Vec<String> {
    let conf = sandbox.path("apt.conf");
    std::fs::write(&conf, fixtures::apt_conf()).unwrap();
    let mut flags = vec!["-v".to_owned(), format!("{}:/etc/apt/apt.conf.d/99host:ro", conf.display())];
    for name in ["http_proxy", "https_proxy", "no_proxy"] {
        if let Ok(value) = std::env::var(name) {
            flags.extend(["-e".to_owned(), format!("{name}={value}")]);
        }
    }
    flags
}

/// The addresses that an access log names, with what follows on the first line of each.
fn logged(sandbox: &Sandbox, who: &str, client: &str) -> bool {
    let log = sandbox.dhow(["logs", who]).stdout;
    log.lines().any(|line| line.split(' ').next() == Some(client))
}

#[test]
fn apt_installs_through_nat_and_the_committed_nginx_serves_everybody() {
    let sandbox = Sandbox::new();
    import(&sandbox, fixtures::debian_tar(), "debian:12");
    let ways = ways_of_the_host(&sandbox);
    let script = "apt-get -qq update && apt-get -qq install -y --no-install-recommends nginx-light >/dev/null && \
                  rm -rf /var/lib/apt/lists && nginx -v";
    let mut install = vec!["run", "--name", "make", "-e", "DEBIAN_FRONTEND=noninteractive"];
    install.extend(ways.iter().map(String::as_str));
    install.extend(["debian:12", "sh", "-c", script]);
    let installed = sandbox.dhow(&install);
    assert!(installed.code == 0 && installed.stderr.contains("nginx version"), "{installed:?}");
    sandbox.ok(["commit", "--change", "CMD [\"nginx\", \"-g\", \"daemon off;\"]", "make", "nginx"]);
    sandbox.ok(["rm", "make"]);

    let conf = sandbox.path("nginx.conf");
    std::fs::write(&conf, NGINX).unwrap();
    let mount = format!("{}:/etc/nginx/nginx.conf:ro", conf.display());
    let neighbour = Neighbour::new(88);
    sandbox.ok(["network", "create", "--ipv6", "mine"]);
    sandbox.ok(["network", "create", "--ipv6", "other"]);
    let first = free_ports(3);
    let range = format!("{first}-{}:80-82", first + 2);
    sandbox.ok(["run", "-d", "--name", "web", "--network", "mine", "-v", &mount, "-p", &range, "nginx"]);
    sandbox.ok(["run", "-d", "--name", "near", "--network", "mine", "nginx", "sleep", "1000"]);
    sandbox.ok(["run", "-d", "--name", "far", "--network", "other", "nginx", "sleep", "1000"]);
    eventually("nginx serves", || answers(Ipv4Addr::LOCALHOST, first));
    // From the host: its loopback, its own addresses.
    for port in [first, first + 1, first + 2] {
        assert!(answers(Ipv4Addr::LOCALHOST, port), "{port} of the range");
    }
    assert!(answers(Ipv6Addr::LOCALHOST, first));
    assert!(answers(neighbour.host(), first) && answers(neighbour.host_v6(), first));
    assert!(logged(&sandbox, "web", &neighbour.host().to_string()), "the host by its own address");
    // From another machine.
    assert!(neighbour.there(|| answers(neighbour.host(), first) && answers(neighbour.host(), first + 2)));
    assert!(neighbour.there(|| answers(neighbour.host_v6(), first)));
    for client in [neighbour.address().to_string(), neighbour.address_v6().to_string()] {
        assert!(logged(&sandbox, "web", &client), "{client}: {:?}", sandbox.dhow(["logs", "web"]));
    }
    // From containers, by the host's address: of the same network and of another one.
    for who in ["near", "far"] {
        let pid = sandbox.pid(who);
        assert!(at(pid, || answers(neighbour.host(), first)), "{who}");
        assert!(at(pid, || answers(neighbour.host_v6(), first)), "{who}");
    }
    let far = sandbox.inspect("far")["NetworkSettings"]["Networks"]["other"].clone();
    for field in ["IPAddress", "GlobalIPv6Address"] {
        let client = far[field].as_str().unwrap();
        assert!(logged(&sandbox, "web", client), "{client}: {:?}", sandbox.dhow(["logs", "web"]));
    }
    sandbox.ok(["rm", "-f", "web"]);
    assert!(!answers(Ipv4Addr::LOCALHOST, first) && !neighbour.there(|| answers(neighbour.host(), first)));
}

/// Asks a server that sends back what it gets, after the address that it got it from; returns that address.
fn echo(ip: impl Into<IpAddr>, port: u16, text: &str) -> Option<String> {
    let to = SocketAddr::new(ip.into(), port);
    let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any).unwrap();
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut seen = None;
    // Several from one socket: the way back stays open.
    for _ in 0..3 {
        socket.send(text.as_bytes()).ok()?;
        let mut buffer = vec![0; 70_000];
        let length = socket.recv(&mut buffer).ok()?;
        let answer = String::from_utf8(buffer[..length].to_vec()).unwrap();
        let (from, rest) = answer.split_once(' ').unwrap();
        assert_eq!(rest, text);
        seen = Some(from.to_owned());
    }
    seen
}

/// A container that runs one of the Python programs.
fn python(sandbox: &Sandbox, name: &str, flags: &[&str], program: &str, arguments: &[&str]) {
    let text = match program {
        "udp-echo.py" => include_str!("../programs/udp-echo.py"),
        "sctp.py" => include_str!("../programs/sctp.py"),
        _ => include_str!("../programs/visits.py"),
    };
    let path = sandbox.path(program);
    std::fs::write(&path, text).unwrap();
    let mount = format!("{}:/{program}:ro", path.display());
    let at = format!("/{program}");
    let head = ["run", "-d", "--init", "--name", name, "-v", &mount];
    sandbox.ok([&head, flags, &["services", "python3", &at], arguments].concat());
}

#[test]
fn udp_and_sctp_are_published() {
    let sandbox = Sandbox::new();
    import(&sandbox, fixtures::services_tar(), "services");
    let neighbour = Neighbour::new(89);
    sandbox.ok(["network", "create", "other"]);
    sandbox.ok(["run", "-d", "--name", "far", "--network", "other", "services", "sleep", "1000"]);
    python(&sandbox, "echo", &["-p", "7/udp"], "udp-echo.py", &["7"]);
    let ready = |who: &str| sandbox.dhow(["logs", who]).stdout.contains("ready");
    eventually("the echo server is ready", || ready("echo"));
    let line = sandbox.ok(["port", "echo", "7/udp"]);
    let port = line.lines().next().and_then(|l| l.rsplit(':').next()).and_then(|p| p.parse().ok()).unwrap();
    let long = "long ".repeat(1600);
    for text in ["short", &long] {
        assert!(echo(Ipv4Addr::LOCALHOST, port, text).is_some());
        assert!(echo(Ipv6Addr::LOCALHOST, port, text).is_some());
        let own = echo(neighbour.host(), port, text);
        assert_eq!(own, Some(neighbour.host().to_string()), "the host by its own address");
        let seen = neighbour.there(|| echo(neighbour.host(), port, text));
        assert_eq!(seen, Some(neighbour.address().to_string()), "another machine");
        let client = sandbox.inspect("far")["NetworkSettings"]["Networks"]["other"]["IPAddress"].clone();
        let seen = at(sandbox.pid("far"), || echo(neighbour.host(), port, text));
        assert_eq!(seen.as_deref(), client.as_str(), "a container of another network");
        // Itself, by the host's address.
        assert!(at(sandbox.pid("echo"), || echo(neighbour.host(), port, text)).is_some());
    }
    sandbox.ok(["rm", "-f", "echo"]);
    assert!(neighbour.there(|| echo(neighbour.host(), port, "gone")).is_none());

    python(&sandbox, "sctp", &["-p", "9/sctp"], "sctp.py", &["serve", "9"]);
    eventually("the SCTP server is ready", || ready("sctp"));
    let line = sandbox.ok(["port", "sctp", "9/sctp"]);
    let port = line.lines().next().and_then(|l| l.rsplit(':').next()).unwrap().to_owned();
    let program = format!("{}:/sctp.py:ro", sandbox.path("sctp.py").display());
    let host = neighbour.host().to_string();
    let ask = ["services", "python3", "/sctp.py", "ask", &host, &port];
    let client = ["run", "--name", "client", "--network", "other", "-v", &program];
    assert_eq!(sandbox.ok([&client[..], &ask].concat()), "answered");
    // The same port again is refused, by the record alone: this kernel may have no sockets for it.
    let again = ["run", "--rm", "-p", &format!("{port}:9/sctp"), "services", "true"];
    sandbox.dhow(again).fails(125, "port is already allocated (by container sctp)");
    let log = sandbox.ok(["logs", "sctp"]);
    assert!(log.contains("from 10."), "{log}");
}

/// The process that keeps a container.
fn monitor(sandbox: &Sandbox, who: &str) -> nix::unistd::Pid {
    let status = std::fs::read_to_string(format!("/proc/{}/status", sandbox.pid(who))).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    nix::unistd::Pid::from_raw(parent.trim().parse().unwrap())
}

#[test]
fn three_tiers_come_up_and_keep_their_data() {
    let sandbox = Sandbox::new();
    import(&sandbox, fixtures::services_tar(), "services");
    let conf = sandbox.path("front.conf");
    std::fs::write(&conf, FRONT).unwrap();
    sandbox.ok(["network", "create", "front"]);
    sandbox.ok(["network", "create", "--internal", "back"]);
    sandbox.ok(["volume", "create", "pages"]);
    // The volume takes its owner from the image's directory.
    let database = ["run", "-d", "--name", "db", "--network", "back", "-v", "pages:/var/lib/postgresql"];
    let rest = ["-u", "postgres", "--stop-signal", "INT", "services", "sh", "-c", DATABASE];
    sandbox.ok([&database[..], &rest].concat());
    python(&sandbox, "app", &["--network", "back", "--network", "front"], "visits.py", &[]);
    let mount = format!("{}:/etc/nginx/nginx.conf:ro", conf.display());
    let port = free_ports(1);
    let publish = format!("{port}:80");
    let web = ["run", "-d", "--name", "web", "--network", "front", "-p", &publish, "-v", &mount];
    sandbox.ok([&web[..], &["services", "nginx", "-g", "daemon off;"]].concat());

    let mut visits = 0;
    let mut visit = |what: &str| {
        let mut page = None;
        eventually(what, || {
            page = get(Ipv4Addr::LOCALHOST.into(), port);
            page.is_some()
        });
        let text = page.unwrap_or_default();
        let number = text.strip_prefix("visit ").and_then(|n| n.trim().parse::<u32>().ok());
        // A visit may have been counted whose answer got lost with its tier.
        assert!(number.is_some_and(|n| n > visits), "{what}: {text:?} after {visits}");
        visits = number.unwrap_or_default();
        visits
    };
    assert_eq!(visit("three tiers are up"), 1);
    // Only who has to reaches the database.
    let name = sandbox.dhow(["exec", "web", "getent", "hosts", "db"]);
    assert_eq!(name.code, 2, "{name:?}");
    let address = sandbox.inspect("db")["NetworkSettings"]["Networks"]["back"]["IPAddress"].clone();
    let address: IpAddr = address.as_str().unwrap().parse().unwrap();
    let reach =
        || TcpStream::connect_timeout(&SocketAddr::new(address, 5432), Duration::from_secs(1)).is_ok();
    assert!(at(sandbox.pid("app"), reach) && !at(sandbox.pid("web"), reach));

    sandbox.ok(["restart", "db", "app", "web"]);
    visit("after a restart");
    let all = ["db", "app", "web"];
    for pid in all.map(|who| monitor(&sandbox, who)) {
        nix::sys::signal::kill(pid, nix::sys::signal::SIGKILL).unwrap();
    }
    all.iter().for_each(|who| sandbox.wait_for_status(who, "exited"));
    sandbox.ok(["start", "db", "app", "web"]);
    visit("after kill -9 of the monitors");
    // Another container with the same volume has the same data.
    sandbox.ok(["rm", "-f", "db"]);
    sandbox.ok([&database[..], &rest].concat());
    visit("after the database's container was made anew");
}
