//! crun, runc, podman and docker, each with its own store below the scratch directory.
//!
//! Runs inside the agent's namespaces: mounts made here are seen by nobody else, and daemons started here
//! end with the agent.

use super::engine::Network;
use super::output::{LOG_FILES, LOG_MIB};
use super::{Absent, Contender, Workload, rootfs, wire};
use crate::{Result, process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The peers, ready to be measured.
pub(super) struct Peers {
    pub(super) contenders: Vec<Contender>,
    pub(super) absent: Vec<Absent>,
    docker: Option<Child>,
    /// What each cgroup hierarchy held before any peer ran.
    cgroups_before: Vec<PathBuf>,
    /// Kept while it is measured.
    wired: Option<wire::Wired>,
}

/// Where cgroup hierarchies are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";
/// The top-level cgroups that the peers make and leave behind.
const PEERS_CGROUPS: [&str; 5] = ["docker", "libpod_parent", "machine", "bench-crun", "bench-runc"];
/// dockerd starts a containerd first, and both open databases; on a busy machine that takes seconds.
const DOCKER_START: Duration = Duration::from_secs(30);

/// Prepares every peer that is installed. One that cannot be prepared is absent with the reason.
pub(super) fn prepare(scratch: &Path, workload: Workload) -> Result<Peers> {
    let Workload { output, network, .. } = workload;
    let rootfs = rootfs::make(scratch, output)?;
    own_cgroup_mounts(&scratch.join("cgroup"))?;
    if network == Network::Bridge {
        // This namespace is new: only what comes up here is there.
        process::run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    }
    let mut peers = Peers {
        contenders: Vec::new(),
        absent: Vec::new(),
        docker: None,
        cgroups_before: top_level_cgroups(),
        wired: None,
    };
    let mut prepared = Vec::new();
    // Those have neither logs nor clients nor networks.
    if output.is_none() && network == Network::None {
        for (name, program) in [("crun run", "crun"), ("runc run", "runc")] {
            prepared.push((name, low_level(program, scratch, &rootfs)));
        }
    }
    prepared.push(("podman run", podman(scratch, &rootfs, network)));
    prepared.push(("docker run", docker(scratch, &rootfs, network, &mut peers.docker)));
    for (name, contender) in prepared {
        let contender = contender.map(|c| super::output::with_short_warm_up(c, output));
        match contender.and_then(|c| c.warm_up().map(|()| c)) {
            Ok(contender) => peers.contenders.push(contender),
            Err(error) => {
                peers
                    .absent
                    .push(Absent { name: name.to_owned(), reason: error.to_string().replace('\n', " ") });
            }
        }
    }
    Ok(peers)
}

impl Peers {
    /// One side of a network in place of all.
    pub(super) fn wired(side: wire::Side, prepare: impl FnOnce() -> Result<wire::Wired>) -> Self {
        let cgroups_before = top_level_cgroups();
        let (mut wired, mut absent) = (None, Vec::new());
        match prepare() {
            Ok(found) => wired = Some(found),
            Err(error) => absent
                .push(Absent { name: side.word().to_owned(), reason: error.to_string().replace('\n', " ") }),
        }
        let contenders = wired.as_ref().map(|w| w.contenders.clone()).unwrap_or_default();
        let docker = wired.as_mut().and_then(|w| w.docker.take());
        Self { contenders, absent, docker, cgroups_before, wired }
    }

    /// Ends the daemon, then removes the cgroups that the peers left.
    pub(super) fn remove(&mut self) -> Result {
        drop(self.wired.take());
        if let Some(mut docker) = self.docker.take() {
            // TERM, so that it stops its containerd in order; the namespace's end is the last word.
            let _ = Command::new("kill").arg(docker.id().to_string()).status();
            docker.wait()?;
        }
        for cgroup in top_level_cgroups() {
            let ours = cgroup.file_name().is_some_and(|n| PEERS_CGROUPS.iter().any(|p| n == *p));
            if ours && !self.cgroups_before.contains(&cgroup) {
                remove_cgroup(&cgroup);
            }
        }
        Ok(())
    }
}

/// All cgroups directly below every hierarchy.
fn top_level_cgroups() -> Vec<PathBuf> {
    let list = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path());
    list(Path::new(CGROUPS)).flat_map(|hierarchy| list(&hierarchy)).filter(|p| p.is_dir()).collect()
}

/// Removes an empty cgroup and those below it. One that still holds a process stays: it is not ours to end.
fn remove_cgroup(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}

/// On v1, mounts the hierarchies on a tmpfs of our own, and adds the hugetlb one, without which crun and
/// podman refuse to run: on the host's tmpfs its mount point would be seen, and stay.
fn own_cgroup_mounts(at: &Path) -> Result {
    let mount = |arguments: &[&str], to: &Path| process::run(Command::new("mount").args(arguments).arg(to));
    if Path::new(CGROUPS).join("cgroup.controllers").exists() {
        return Ok(());
    }
    fs::create_dir_all(at)?;
    mount(&["-t", "tmpfs", "-o", "mode=755", "cgroups"], at)?;
    for entry in fs::read_dir(CGROUPS)? {
        let (from, to) = {
            let e = entry?;
            (e.path(), at.join(e.file_name()))
        };
        if from.is_dir() {
            fs::create_dir(&to)?;
            mount(&["--bind", &from.to_string_lossy()], &to)?;
        }
    }
    let hugetlb = at.join("hugetlb");
    if !hugetlb.join("cgroup.procs").exists() {
        fs::create_dir_all(&hugetlb)?;
        // A kernel without it: then crun and podman say themselves what they miss.
        let _ = mount(&["-t", "cgroup", "-o", "hugetlb", "hugetlb"], &hugetlb);
    }
    mount(&["--move", &at.to_string_lossy()], Path::new(CGROUPS))
}

/// What a program says of its version: the last word of the first line that `--version` prints.
fn version(program: &str) -> Result<String> {
    let path = process::find_program(program).ok_or("not installed")?;
    let text = process::output(Command::new(path).arg("--version"))?;
    let words = text.lines().next().unwrap_or_default().split_whitespace();
    let word = words.map(|w| w.trim_end_matches(',')).find(|w| w.starts_with(|c: char| c.is_ascii_digit()));
    Ok(word.unwrap_or("unknown").to_owned())
}

/// crun or runc: a prepared bundle with the configuration that `spec` writes, but no terminal.
fn low_level(program: &str, scratch: &Path, rootfs: &rootfs::Rootfs) -> Result<Contender> {
    let version = version(program)?;
    let bundle = scratch.join(format!("bundle-{program}"));
    fs::create_dir_all(&bundle)?;
    process::run(Command::new(program).arg("spec").current_dir(&bundle))?;
    let file = bundle.join("config.json");
    let mut config: serde_json::Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = rootfs.command.clone().into();
    config["root"]["path"] = rootfs.directory.to_string_lossy().into();
    config["linux"]["cgroupsPath"] = format!("/bench-{program}/container").into();
    fs::write(&file, config.to_string())?;
    let state = super::run_time_directory(scratch).join(format!("state-{program}"));
    fs::create_dir_all(&state)?;
    let words =
        [program, "--root", &state.to_string_lossy(), "run", "--bundle", &bundle.to_string_lossy(), "bench"];
    Ok(Contender::new(&format!("{program} run"), version, words))
}

/// podman as root, with stores of its own.
fn podman(scratch: &Path, rootfs: &rootfs::Rootfs, network: Network) -> Result<Contender> {
    let version = version("podman")?;
    let below = |name: &str| scratch.join("podman").join(name).to_string_lossy().into_owned();
    let mut words: Vec<String> = ["podman", "--root", &below("root"), "--runroot", &below("run"), "--tmpdir"]
        .into_iter()
        .chain([below("tmp").as_str(), "--cgroup-manager", "cgroupfs"])
        .chain(["--network-config-dir", below("networks").as_str()])
        .map(str::to_owned)
        .collect();
    process::output(Command::new(&words[0]).args(&words[1..]).arg("import").arg(&rootfs.tar).arg("bench"))?;
    let run = ["run", "--rm", "--network", network.word()];
    // Its default raises limits, for which this process may lack the capability.
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
    words.extend(run.into_iter().chain(limits).map(str::to_owned));
    words.extend(["--log-opt".to_owned(), format!("max-size={LOG_MIB}mb"), "localhost/bench".to_owned()]);
    words.extend(rootfs.command.iter().cloned());
    Ok(Contender::new("podman run", version, words))
}

/// docker, with a daemon of our own.
fn docker(
    scratch: &Path,
    rootfs: &rootfs::Rootfs,
    network: Network,
    daemon: &mut Option<Child>,
) -> Result<Contender> {
    let version = version("dockerd")?;
    let client = start_docker(scratch, network, daemon)?;
    process::output(client.command(&["import"]).arg(&rootfs.tar).arg("bench"))?;
    let log = [format!("max-size={LOG_MIB}m"), format!("max-file={LOG_FILES}")];
    let words =
        ["docker", "--host", &client.0, "run", "--rm", "--network", network.word()].map(str::to_owned);
    let log = log.into_iter().flat_map(|option| ["--log-opt".to_owned(), option]);
    let words =
        words.into_iter().chain(log).chain(["bench".to_owned()]).chain(rootfs.command.iter().cloned());
    Ok(Contender::new("docker run", version, words))
}

/// The client of a daemon of ours, by its socket.
pub(super) struct DockerClient(String);

impl DockerClient {
    pub(super) fn words(&self, words: &[&str]) -> Vec<String> {
        ["docker", "--host", &self.0].iter().chain(words).map(|w| (*w).to_owned()).collect()
    }

    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(["--host", &self.0]).args(words);
        command
    }
}

/// A dockerd with its directories in `scratch`; it ends with this process's namespaces.
pub(super) fn start_docker(
    scratch: &Path,
    network: Network,
    daemon: &mut Option<Child>,
) -> Result<DockerClient> {
    process::find_program("docker").ok_or("not installed")?;
    let below = |name: &str| scratch.join("docker").join(name).to_string_lossy().into_owned();
    fs::create_dir_all(below(""))?;
    let socket = format!("unix://{}", below("socket"));
    let log = fs::File::create(below("log"))?;
    let without: &[&str] = match network {
        Network::None => &["--bridge=none", "--iptables=false", "--ip6tables=false"],
        Network::Bridge => &[],
    };
    let process = Command::new("dockerd")
        .args(["--data-root", &below("data"), "--exec-root", &below("exec"), "--pidfile", &below("pid")])
        .args(["--host", &socket])
        .args(without)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .map_err(|e| format!("cannot run dockerd: {e}"))?;
    let process = daemon.insert(process);
    let client = DockerClient(socket);
    let deadline = Instant::now() + DOCKER_START;
    while let Err(error) = process::output(&mut client.command(&["version"])) {
        if process.try_wait()?.is_some() || Instant::now() > deadline {
            let log = fs::read_to_string(below("log")).unwrap_or_default();
            let last = log.lines().last().unwrap_or_default();
            return Err(format!("dockerd did not start: {error}; its last line: {last}").into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(client)
}
