//! What must not be left after a test: processes, mounts, cgroups, namespaces, files.

use crate::sandbox::names_in;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A monitor records the end of its container, then ends itself: that may take a moment on a busy machine.
const GRACE: Duration = Duration::from_secs(5);

/// Where cgroup hierarchies are mounted.
pub(crate) const CGROUPS: &str = "/sys/fs/cgroup";

/// Ids of all containers that events speak of, one JSON object a line.
pub(crate) fn containers_of_events(text: &str) -> Vec<String> {
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut ids: Vec<String> = events
        .filter(|e| e["Type"] == "container")
        .filter_map(|e| e["Actor"]["ID"].as_str().map(str::to_owned))
        // A prune is of no one container.
        .filter(|id| !id.is_empty())
        .collect();
    ids.sort();
    ids.dedup();
    ids
}

/// Everything that is left of an engine whose containers and images were removed, one line each.
pub(crate) fn find(directory: &Path, root: &Path, state: &Path, ids: &[String]) -> Vec<String> {
    let deadline = Instant::now() + GRACE;
    loop {
        let mut left: Vec<String> = processes(directory).into_iter().map(|p| p.told).collect();
        left.extend(mounts("self", directory).into_iter().map(|m| format!("mount: {m}")));
        left.extend(cgroups(ids).into_iter().map(|p| format!("cgroup: {}", p.display())));
        left.extend(files(root, state));
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the machine has an interface of this name.
pub(crate) fn link_exists(name: &str) -> bool {
    !name.is_empty() && Path::new("/sys/class/net").join(name).exists()
}

/// Ends what still runs and removes what is still there, so that the next test finds a clean machine.
pub(crate) fn clean_up_by_force(directory: &Path) {
    let processes = processes(directory);
    for process in &processes {
        let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
    }
    let deadline = Instant::now() + GRACE;
    while processes.iter().any(|p| Path::new(&format!("/proc/{}", p.pid)).exists())
        && Instant::now() < deadline
    {
        std::thread::sleep(Duration::from_millis(20));
    }
    for cgroup in processes.iter().flat_map(|p| &p.cgroups) {
        remove_cgroup(cgroup);
    }
}

/// Removes a cgroup that is below an engine's, and nothing above it.
fn remove_cgroup(path: &Path) {
    if path.components().any(|c| c.as_os_str() == "dhow") && path.file_name().is_some_and(|n| n != "dhow") {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            remove_cgroup(&entry.path());
        }
        let _ = fs::remove_dir(path);
    }
}

struct Process {
    pid: i32,
    told: String,
    cgroups: Vec<PathBuf>,
}

/// Processes that have anything to do with a sandbox: by what they hold open, where they are, what their
/// mount namespace shows. That finds monitors, containers, and whoever keeps a namespace alive.
fn processes(directory: &Path) -> Vec<Process> {
    let own = std::process::id().to_string();
    // A mount that is left in the machine's own table is seen by every process in it: those are not this test's.
    let namespace = |process: &Path| fs::read_link(process.join("ns/mnt")).ok();
    let machines = [namespace(Path::new("/proc/self")), namespace(Path::new("/proc/1"))];
    let mut found = Vec::new();
    for name in names_in(Path::new("/proc")) {
        let Ok(pid) = name.parse::<i32>() else { continue };
        if name == own {
            continue;
        }
        let at = Path::new("/proc").join(&name);
        let links = ["cwd", "root"].map(|l| at.join(l));
        let open = names_in(&at.join("fd")).into_iter().map(|fd| at.join("fd").join(fd));
        let holds =
            links.into_iter().chain(open).any(|l| fs::read_link(l).is_ok_and(|t| t.starts_with(directory)));
        // Whoever makes a mount namespace for itself has a copy of the directory where layers are mounted.
        let copied = format!(" {}/s/layers ", directory.display());
        let alone = !machines.contains(&namespace(&at));
        let shows = alone && mounts(&name, directory).iter().any(|line| !line.contains(&copied));
        if holds || shows {
            let command = fs::read(at.join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            let told = format!("process {pid}: {}", command.trim());
            found.push(Process { pid, told, cgroups: cgroups_of(&at) });
        }
    }
    found
}

/// The directories of a process's cgroups.
fn cgroups_of(process: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
    let paths =
        text.lines().filter_map(|l| l.splitn(3, ':').nth(2)).map(|p| p.trim_start_matches('/').to_owned());
    let paths: Vec<String> = paths.filter(|p| !p.is_empty()).collect();
    hierarchies().iter().flat_map(|h| paths.iter().map(|p| h.join(p))).filter(|p| p.is_dir()).collect()
}

/// Lines of a process's mount table that mention a directory.
fn mounts(process: &str, directory: &Path) -> Vec<String> {
    let needle = directory.to_string_lossy().into_owned();
    let table = fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap_or_default();
    table.lines().filter(|l| l.contains(&needle)).map(str::to_owned).collect()
}

/// Every mounted hierarchy, and on pure v2 the one there is.
pub(crate) fn hierarchies() -> Vec<PathBuf> {
    let top = Path::new(CGROUPS);
    if top.join("cgroup.controllers").exists() {
        return vec![top.to_owned()];
    }
    names_in(top).into_iter().map(|n| top.join(n)).filter(|p| p.is_dir()).collect()
}

/// Cgroups below an engine's that bear a container's id.
fn cgroups(ids: &[String]) -> Vec<PathBuf> {
    let parents = hierarchies().into_iter().map(|h| h.join("dhow"));
    parents.flat_map(|p| ids.iter().map(move |id| p.join(id))).filter(|p| p.exists()).collect()
}

/// Files that belong to containers, images and sessions, none of which exist any more.
fn files(root: &Path, state: &Path) -> Vec<String> {
    let places = [
        root.join("containers"),
        root.join("layers/tmp"),
        root.join("content/tmp"),
        root.join("content/sha256"),
        state.join("containers"),
        state.join("execs"),
    ];
    let left =
        places.iter().flat_map(|p| names_in(p).into_iter().map(|n| format!("file: {}", p.join(n).display())));
    // These two belong to all layers, and stay.
    let layers =
        names_in(&root.join("layers")).into_iter().filter(|n| !["tmp", "lock"].contains(&n.as_str()));
    left.chain(layers.map(|n| format!("file: {}", root.join("layers").join(n).display()))).collect()
}
