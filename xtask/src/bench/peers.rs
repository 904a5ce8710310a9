//! crun, runc, podman and docker, each with its own store below the scratch directory.
//!
//! Runs inside the agent's namespaces: mounts made here are seen by nobody else, and daemons started here
//! end with the agent.

use super::output::{LOG_FILES, LOG_MIB};
use super::{Absent, Contender, rootfs};
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
}

/// Where cgroup hierarchies are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";
/// The top-level cgroups that the peers make and leave behind.
const PEERS_CGROUPS: [&str; 5] = ["docker", "libpod_parent", "machine", "bench-crun", "bench-runc"];
/// dockerd starts a containerd first, and both open databases; on a busy machine that takes seconds.
const DOCKER_START: Duration = Duration::from_secs(30);

/// Prepares every peer that is installed. One that cannot be prepared is absent with the reason.
pub(super) fn prepare(scratch: &Path, output: Option<u64>) -> Result<Peers> {
    let rootfs = rootfs::make(scratch, output)?;
    own_cgroup_mounts(&scratch.join("cgroup"))?;
    let mut peers = Peers {
        contenders: Vec::new(),
        absent: Vec::new(),
        docker: None,
        cgroups_before: top_level_cgroups(),
    };
    let mut prepared = Vec::new();
    // Those have neither logs nor clients.
    if output.is_none() {
        for (name, program) in [("crun run", "crun"), ("runc run", "runc")] {
            prepared.push((name, low_level(program, scratch, &rootfs)));
        }
    }
    prepared.push(("podman run", podman(scratch, &rootfs)));
    prepared.push(("docker run", docker(scratch, &rootfs, &mut peers.docker)));
    for (name, contender) in prepared {
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
    /// Ends the daemon, then removes the cgroups that the peers left.
    pub(super) fn remove(&mut self) -> Result {
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
fn podman(scratch: &Path, rootfs: &rootfs::Rootfs) -> Result<Contender> {
    let version = version("podman")?;
    let below = |name: &str| scratch.join("podman").join(name).to_string_lossy().into_owned();
    let mut words: Vec<String> = ["podman", "--root", &below("root"), "--runroot", &below("run"), "--tmpdir"]
        .into_iter()
        .chain([below("tmp").as_str(), "--cgroup-manager", "cgroupfs"])
        .map(str::to_owned)
        .collect();
    process::output(Command::new(&words[0]).args(&words[1..]).arg("import").arg(&rootfs.tar).arg("bench"))?;
    let run = ["run", "--rm", "--network", "none"];
    // Its default raises limits, for which this process may lack the capability.
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
    words.extend(run.into_iter().chain(limits).map(str::to_owned));
    words.extend(["--log-opt".to_owned(), format!("max-size={LOG_MIB}mb"), "localhost/bench".to_owned()]);
    words.extend(rootfs.command.iter().cloned());
    Ok(Contender::new("podman run", version, words))
}

/// A dockerd of our own, without a bridge.
fn docker(scratch: &Path, rootfs: &rootfs::Rootfs, daemon: &mut Option<Child>) -> Result<Contender> {
    process::find_program("docker").ok_or("not installed")?;
    let version = version("dockerd")?;
    let below = |name: &str| scratch.join("docker").join(name).to_string_lossy().into_owned();
    fs::create_dir_all(below(""))?;
    let socket = format!("unix://{}", below("socket"));
    let log = fs::File::create(below("log"))?;
    let process = Command::new("dockerd")
        .args(["--data-root", &below("data"), "--exec-root", &below("exec"), "--pidfile", &below("pid")])
        .args(["--host", &socket, "--bridge=none", "--iptables=false", "--ip6tables=false"])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .map_err(|e| format!("cannot run dockerd: {e}"))?;
    let process = daemon.insert(process);
    let client = |arguments: &[&str]| {
        process::output(Command::new("docker").args(["--host", &socket]).args(arguments))
    };
    let deadline = Instant::now() + DOCKER_START;
    while let Err(error) = client(&["version"]) {
        if process.try_wait()?.is_some() || Instant::now() > deadline {
            let log = fs::read_to_string(below("log")).unwrap_or_default();
            let last = log.lines().last().unwrap_or_default();
            return Err(format!("dockerd did not start: {error}; its last line: {last}").into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    client(&["import", &rootfs.tar.to_string_lossy(), "bench"])?;
    let log = [format!("max-size={LOG_MIB}m"), format!("max-file={LOG_FILES}")];
    let words = ["docker", "--host", &socket, "run", "--rm", "--network", "none"].map(str::to_owned);
    let log = log.into_iter().flat_map(|option| ["--log-opt".to_owned(), option]);
    let words =
        words.into_iter().chain(log).chain(["bench".to_owned()]).chain(rootfs.command.iter().cloned());
    Ok(Contender::new("docker run", version, words))
}
