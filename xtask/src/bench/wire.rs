//! `cargo xtask bench net`: how fast bytes pass between containers and through a published port, beside docker and
//! beside a pair of interfaces with nothing around it.
//!
//! ```text
//!   each side in namespaces of its own (agent.rs): its engine's firewall is the only one there
//!
//!     neighbour ──veth── host ──┬── published port ──► server's container
//!     (a namespace)       │     └──── bridge ── client's container ──► server's container
//!                         └── 127.0.0.1: the engine's own forwarder
//! ```
//! The bare side has the first wire alone: what the kernel takes for a pair of interfaces.

use super::agent::Agent;
use super::engine::{Engine, Network};
use super::peers::{self, DockerClient};
use super::report::{Measured, median, save_json};
use super::rootfs::{self, Rootfs};
use super::{Absent, Contender, Scratch, Workload};
use crate::{Result, process};
use std::path::Path;
use std::process::{Child, Command, Stdio};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often each way is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Fail when dhow is over its budget, or was not measured
    #[arg(long)]
    enforce: bool,
}

/// Nowhere slower than docker. The tenth is what the same measurement differs by when it is repeated on a machine of
/// two cores.
const BUDGET_TO_DOCKER: f64 = 1.1;

/// Bytes of a stream: half a second or so.
const STREAM: u64 = 2 << 30;
/// Round trips.
const ECHOES: u32 = 20_000;
/// Where servers listen.
const PORT: u16 = 9000;
/// The port of the host's that it is published at.
const PUBLISHED: u16 = 9001;
/// The wire between host and neighbour; documentation's addresses (RFC 5737).
const HOST: &str = "192.0.2.1";
const NEIGHBOUR: &str = "192.0.2.2";

/// Who makes the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Side {
    /// Nobody
    Bare,
    /// dhow
    Dhow,
    /// docker
    Docker,
}

impl Side {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Dhow => "dhow",
            Self::Docker => "docker",
        }
    }
}

/// What a side has prepared, inside its namespaces; all of it ends with them, but dhow's containers, whose cgroups
/// would stay.
#[derive(Default)]
pub(super) struct Wired {
    pub(super) contenders: Vec<Contender>,
    pub(super) docker: Option<Child>,
    _engine: Option<Engine>,
    _neighbour: Option<Neighbour>,
}

/// A namespace with the other end of a wire, held by a process that sleeps.
struct Neighbour(Child);

impl Neighbour {
    fn new() -> Result<Self> {
        let ip = |words: &[&str]| process::output(Command::new("ip").args(words)).map(drop);
        let child = Command::new("unshare")
            .args(["--net", "sleep", "infinity"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|e| format!("cannot run unshare: {e}"))?;
        let neighbour = Self(child);
        let pid = neighbour.0.id().to_string();
        // Until it has left our namespace, its end of the wire would be made here.
        let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net"));
        while of(&pid)? == of("self")? {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        ip(&["link", "set", "lo", "up"])?;
        ip(&["link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", &pid])?;
        ip(&["addr", "add", &format!("{HOST}/24"), "dev", "wire"])?;
        ip(&["link", "set", "wire", "up"])?;
        for words in [
            vec!["addr", "add", &format!("{NEIGHBOUR}/24"), "dev", "wire"],
            vec!["link", "set", "wire", "up"],
            vec!["route", "add", "default", "via", HOST],
        ] {
            process::output(neighbour.command("ip").args(words))?;
        }
        Ok(neighbour)
    }

    /// A command that runs in its place.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(self.words()).arg(program);
        command
    }

    fn words(&self) -> [String; 1] {
        [format!("--net=/proc/{}/ns/net", self.0.id())]
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Prepares a side. Runs in its namespaces.
pub(super) fn prepare(scratch: &Path, side: Side) -> Result<Wired> {
    let rootfs = rootfs::make(scratch, None)?;
    let wire = rootfs::add_program(&rootfs, "wire")?;
    let neighbour = Neighbour::new()?;
    let mut wired = Wired::default();
    let near = vec![wire.to_string_lossy().into_owned()];
    let far: Vec<String> =
        std::iter::once("nsenter".to_owned()).chain(neighbour.words()).chain(near.clone()).collect();
    match side {
        Side::Bare => {
            // It ends with this namespace.
            Command::new(&wire).args(["serve", &PORT.to_string()]).stdin(Stdio::null()).spawn()?;
            wired.ways(side, "between two", &far, &format!("{HOST}:{PORT}"));
        }
        Side::Dhow => {
            let engine = Engine::open(scratch)?;
            engine.import(&rootfs)?;
            let client = engine.contender("", &["exec", "client", "wire"])?.argv;
            let address = serve(&|words| Ok(engine.command(words)))?;
            wired.engine_ways(side, &client, &address, &far, &near);
            wired._engine = Some(engine);
        }
        Side::Docker => {
            let docker = peers::start_docker(scratch, Network::Bridge, &mut wired.docker)?;
            import(&docker, &rootfs)?;
            let client = docker.words(&["exec", "client", "wire"]);
            let address = serve(&|words| Ok(docker.command(words)))?;
            wired.engine_ways(side, &client, &address, &far, &near);
        }
    }
    for contender in &wired.contenders {
        contender.measure()?;
    }
    wired._neighbour = Some(neighbour);
    Ok(wired)
}

fn import(docker: &DockerClient, rootfs: &Rootfs) -> Result {
    process::output(docker.command(&["import"]).arg(&rootfs.tar).arg("bench")).map(drop)
}

/// Starts a server and a client that waits; returns the server's address on its bridge.
fn serve(engine: &dyn Fn(&[&str]) -> Result<Command>) -> Result<String> {
    let ok = |words: &[&str]| {
        Ok::<_, Box<dyn std::error::Error>>(process::output(&mut engine(words)?)?.trim().to_owned())
    };
    let (port, published) = (PORT.to_string(), format!("{PUBLISHED}:{PORT}"));
    ok(&["run", "-d", "--name", "server", "-p", &published, "bench", "wire", "serve", &port])?;
    ok(&["run", "-d", "--name", "client", "bench", "sleep", "100000"])?;
    let address = ok(&["inspect", "--format", "{{.NetworkSettings.IPAddress}}", "server"])?;
    if address.is_empty() { Err("the server has no address".into()) } else { Ok(address) }
}

impl Wired {
    /// Both measures of a way.
    fn ways(&mut self, side: Side, way: &str, client: &[String], server: &str) {
        for (what, amount) in [("stream", STREAM), ("echo", u64::from(ECHOES))] {
            let words =
                client.iter().cloned().chain([what.to_owned(), server.to_owned(), amount.to_string()]);
            let name = format!("{} {way} {what}", side.word());
            self.contenders.push(Contender { printed: true, ..Contender::new(&name, String::new(), words) });
        }
    }

    fn engine_ways(&mut self, side: Side, client: &[String], server: &str, far: &[String], near: &[String]) {
        self.ways(side, WAYS[0], client, &format!("{server}:{PORT}"));
        self.ways(side, WAYS[1], far, &format!("{HOST}:{PUBLISHED}"));
        self.ways(side, WAYS[2], near, &format!("127.0.0.1:{PUBLISHED}"));
    }
}

/// The ways that engines make.
const WAYS: [&str; 3] = ["between two", "by a port, from outside", "by a port, from loopback"];

/// Measures in rounds: each way of each side once a round, so that noise falls on all alike.
pub(super) fn run(arguments: &Arguments) -> Result {
    if !process::is_root() {
        return Err("containers, namespaces and daemons: run this as root".into());
    }
    process::run(&mut process::cargo(&["build", "--release", "--locked", "-p", "dhow", "--bins"]))?;
    let scratch = Scratch(std::env::temp_dir().join(format!("dhow-bench-{}", std::process::id())));
    std::fs::create_dir_all(&scratch.0)?;
    let run_time = Scratch(super::run_time_directory(&scratch.0));
    std::fs::create_dir_all(&run_time.0)?;
    let mut absent: Vec<Absent> = Vec::new();
    let mut agents = Vec::new();
    for side in [Side::Bare, Side::Dhow, Side::Docker] {
        let workload = Workload { network: Network::Bridge, output: None, wire: Some(side) };
        let agent = Agent::start(&scratch.0.join(side.word()), workload)?;
        absent.extend(agent.absent.iter().cloned());
        agents.push(agent);
    }
    let mut measured: Vec<(usize, usize, Measured)> = Vec::new();
    for (at, agent) in agents.iter().enumerate() {
        let all = agent.contenders.iter().cloned().enumerate();
        measured.extend(all.map(|(way, contender)| (at, way, Measured { contender, samples: Vec::new() })));
    }
    for _ in 0..arguments.runs {
        for (agent, way, one) in &mut measured {
            one.samples.push(agents[*agent].measure(*way)?);
        }
    }
    drop(agents);
    let measured: Vec<Measured> = measured.into_iter().map(|(_, _, one)| one).collect();
    print(&measured, &absent);
    save_json(&measured, &process::target_dir().join("bench/net.json"))?;
    judge(&measured, arguments.enforce)
}

fn print(measured: &[Measured], absent: &[Absent]) {
    println!("| way | GiB/s, median | round trip µs, median |\n|---|--:|--:|");
    let bare = [(Side::Bare, WAYS[0])];
    let engines = WAYS.iter().flat_map(|way| [(Side::Dhow, *way), (Side::Docker, *way)]);
    for (side, way) in bare.into_iter().chain(engines) {
        let time = |what: &str| median(measured, &format!("{} {way} {what}", side.word()));
        if let (Some(stream), Some(echo)) = (time("stream"), time("echo")) {
            let rate = STREAM as f64 / (1u64 << 30) as f64 / (stream / 1e3);
            println!("| {}: {way} | {rate:.2} | {:.1} |", side.word(), echo * 1e3);
        }
    }
    for Absent { name, reason } in absent {
        println!("\nnot measured: {name}: {reason}");
    }
}

fn judge(measured: &[Measured], enforce: bool) -> Result {
    let mut kept = true;
    for way in WAYS {
        for what in ["stream", "echo"] {
            let time = |side: Side| median(measured, &format!("{} {way} {what}", side.word()));
            let (Some(ours), Some(theirs)) = (time(Side::Dhow), time(Side::Docker)) else {
                println!("budget unknown: {way}, {what}: not measured beside docker");
                kept = false;
                continue;
            };
            let ratio = ours / theirs;
            let word = if ratio <= BUDGET_TO_DOCKER { "kept" } else { "missed" };
            println!(
                "budget {word}: {way}, {what}: takes {ratio:.2} × docker, and may take {BUDGET_TO_DOCKER:.2}"
            );
            kept &= ratio <= BUDGET_TO_DOCKER;
        }
    }
    if kept || !enforce { Ok(()) } else { Err("the network is slower than its budget".into()) }
}
