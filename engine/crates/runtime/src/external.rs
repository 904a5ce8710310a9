//! `--runtime`: another OCI runtime (runc, crun) starts the container, under our monitor.
//!
//! ```text
//!   cgroup made and limited ─ root filesystem mounted in a mount namespace of the monitor's own
//!     ─ config.json ─ RUNTIME create ─ limits once more ─ RUNTIME start ─► runs; RUNTIME delete at its end
//! ```
//! The first process is the runtime's child and becomes the monitor's when `create` ends, because the monitor is a
//! subreaper then. The host's mount table stays as it is: what the monitor mounts is in its own namespace.

use crate::bundle::{self, Told};
use crate::cgroup::{self, Cgroup};
use crate::future_root::FutureRoot;
use crate::launch::ChildStdio;
use crate::monitor::spec::ExternalSpec;
use crate::plan::{LaunchPlan, Scene};
use crate::prepare::{bind_source, is_directory, open_donor, shared_memory, tmpfs};
use crate::rootfs::{self, Mapping, c_path, c_string};
use crate::spec::{Donor, Donors, Rootfs};
use crate::step::{MountStep, MountWhat, SourceIds, Step};
use crate::view::Shifted;
use crate::{Launched, copyup, user};
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use dhow_sys::{clone, mount, process, pty, socket};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is mounted for the runtime to find has this name and a number, beside the bundle.
const MADE: &str = "source-";
/// Directories of every system that anybody may pass, and that hold nothing which a runtime needs, mostly.
const STAGES: [&str; 4] = ["/mnt", "/media", "/srv", "/opt"];
/// MS_PRIVATE (linux/mount.h).
const PRIVATE: u64 = 1 << 18;

/// A runtime that has a container in hand.
#[derive(Debug)]
pub(crate) struct External {
    spec: ExternalSpec,
    id: String,
    /// What the root filesystem is mounted below, if not beside the bundle.
    stage: Option<PathBuf>,
}

/// Once in a monitor's life: a mount namespace of its own, and the right to reap what the runtime leaves.
pub(crate) fn settle_in() -> Result<()> {
    let what = || "prepare for an external runtime".to_owned();
    process::unshare(clone::NEWNS).context(what)?;
    mount::set_root_propagation(PRIVATE).context(what)?;
    process::set_child_subreaper(true).context(what)
}

/// Has the runtime start the container.
///
/// # Errors
/// `CommandNotFound` and `CommandNotExecutable` as the runtime says it; `StartFailed` with its message.
pub(crate) fn launch(
    plan: &LaunchPlan,
    spec: ExternalSpec,
    id: &str,
    stdio: ChildStdio,
    meanwhile: &mut dyn FnMut(i32) -> Result<()>,
) -> Result<(Launched, External)> {
    let Scene::Container { cgroup: cgroup_plan, .. } = &plan.scene else {
        return Err(Error::internal("an external runtime only starts containers"));
    };
    let mut external = External { spec, id: id.to_owned(), stage: None };
    let group = cgroup::make(cgroup_plan)?.cgroup;
    let started = external.create(plan, stdio).and_then(|launched| {
        // Its namespaces are there, and its program does not run yet.
        meanwhile(launched.pid)?;
        // The runtime has written limits of its own: ours are the ones that hold.
        cgroup::relimit(cgroup_plan)?;
        external.run(&["start", id], Streams::None, None)?;
        Ok(launched)
    });
    match started {
        Ok(launched) => Ok((Launched { cgroup: Some(group), ..launched }, external)),
        Err(error) => {
            group.kill_all();
            external.delete();
            // The first error is the one to show.
            let _ = group.remove();
            Err(error)
        }
    }
}

enum Streams {
    None,
    Three(OwnedFd, OwnedFd, OwnedFd),
}

impl External {
    fn path(&self, name: &str) -> PathBuf {
        self.spec.bundle.join(name)
    }

    fn create(&mut self, plan: &LaunchPlan, stdio: ChildStdio) -> Result<Launched> {
        let bundle = self.spec.bundle.display().to_string();
        let what = || format!("prepare the bundle at {bundle}");
        DirBuilder::new().recursive(true).mode(0o700).create(&self.spec.bundle).context(what)?;
        // The last run's monitor was killed before it could say so to the runtime.
        if self.path("state").join(&self.id).exists() {
            self.delete();
        }
        let root_path = self.root_place(plan)?;
        DirBuilder::new().recursive(true).mode(0o755).create(&root_path).context(what)?;
        // Open until the runtime has entered them.
        let _namespaces = self.mount_root(plan, &root_path)?;
        let _ = std::fs::remove_file(self.path("console.sock"));
        // A socket's path has 107 bytes: through a descriptor of ours it always fits.
        let directory = File::open(&self.spec.bundle).context(what)?;
        let console =
            PathBuf::from(format!("/proc/{}/fd/{}/console.sock", std::process::id(), directory.as_raw_fd()));
        let listener = match stdio {
            ChildStdio::Pty { .. } => Some(UnixListener::bind(&console).context(what)?),
            ChildStdio::Pipes { .. } => None,
        };
        let (theirs, ours) = streams(stdio).context(what)?;
        let pid_file = self.path("pid");
        let pid_text = pid_file.display().to_string();
        let mut arguments = vec!["create", "--bundle", &bundle, "--pid-file", &pid_text];
        let console_text = console.display().to_string();
        if listener.is_some() {
            arguments.extend(["--console-socket", &console_text]);
        }
        arguments.push(&self.id);
        self.run(&arguments, theirs, Some(&plan.process.argv))?;
        let pid: i32 = std::fs::read_to_string(&pid_file)
            .context(what)?
            .trim()
            .parse()
            .map_err(|_| Error::new(ErrorKind::StartFailed, "the runtime wrote no process id"))?;
        let pidfd = process::pidfd_open(pid).context(|| format!("open process {pid}"))?;
        let start_ticks = process::start_ticks(pid).context(|| format!("look at process {pid}"))?;
        let terminal = match (&listener, stdio) {
            (Some(listener), ChildStdio::Pty { rows, cols }) => Some(take_terminal(listener, rows, cols)?),
            _ => None,
        };
        let [stdin, stdout, stderr] = ours;
        Ok(Launched { pid, pidfd, start_ticks, stdin, stdout, stderr, pty: terminal, cgroup: None })
    }

    /// Where the root filesystem is mounted. A runtime enters it as the container's root, whom with a user namespace of
    /// its own the engine's directories keep out: then on a small filesystem over a directory that all pass. It is
    /// seen in this mount namespace alone.
    fn root_place(&mut self, plan: &LaunchPlan) -> Result<PathBuf> {
        let Scene::Container { id_maps: Some(_), rootfs, .. } = &plan.scene else {
            return Ok(self.path("rootfs"));
        };
        let binds = plan.steps.iter().filter_map(|step| match step {
            Step::Mount(MountStep { what: MountWhat::Bind(bind), .. }) => Some(bind.path.as_path()),
            _ => None,
        });
        // The engine's own directories, too: this process goes on to need them.
        let own = match rootfs {
            Rootfs::Overlay { upper, .. } => upper,
            Rootfs::Directory(path) => path,
        };
        let needed: Vec<PathBuf> = binds
            .chain([self.spec.program.as_path(), self.spec.bundle.as_path(), own])
            .map(|path| path.canonicalize().unwrap_or_else(|_| path.to_owned()))
            .collect();
        let is_free = |place: &&Path| place.is_dir() && !needed.iter().any(|path| path.starts_with(place));
        let place = STAGES.map(Path::new).into_iter().find(is_free).ok_or_else(|| {
            Error::unsupported(format!(
                "--userns with a runtime needs one of {STAGES:?} for itself: mounts come from below all of them"
            ))
        })?;
        let what = || format!("mount a filesystem over {}", place.display());
        let tree = tmpfs("tmpfs", &["mode=0711".to_owned()], 0, &place.display().to_string())?;
        let over = mount::open_path(&c_path(place)?).context(what)?;
        mount::attach(tree.as_fd(), over.as_fd()).context_kind(ErrorKind::StartFailed, what)?;
        self.stage = Some(place.to_owned());
        Ok(place.join("rootfs"))
    }

    /// Mounts the root filesystem, fills volumes, writes the configuration.
    fn mount_root(&self, plan: &LaunchPlan, at: &Path) -> Result<Vec<Joined>> {
        let Scene::Container { rootfs, donors, id_maps, .. } = &plan.scene else { return Ok(Vec::new()) };
        // The last run's.
        let _ = mount::detach(&c_path(at)?);
        let ids = id_maps.as_ref().map(Shifted::new).transpose()?;
        let root = rootfs::mount(rootfs, ids.as_ref().map(Shifted::mapping))?;
        for step in &plan.steps {
            if let Step::Mount(MountStep { what: MountWhat::Bind(bind), target, .. }) = step
                && bind.copy_up
            {
                copyup::fill(root.as_fd(), &c_string(target.as_str())?, &bind.path, id_maps.as_ref())?;
            }
        }
        let process = &plan.process;
        let future = FutureRoot::of(plan, root.as_fd());
        let joined = join(donors)?;
        let shared = self.path("shm");
        if let Some(donor) = donors.ipc {
            self.share_memory(donor, &shared)?;
        }
        let told = Told {
            user: user::resolve(&future, &process.user, &process.group_add)?,
            cgroups_path: &self.spec.cgroups_path,
            seccomp: self.spec.seccomp.as_deref(),
            program: program(plan, &future)?,
            joined: joined.iter().map(Joined::told).collect(),
            shared_memory: shared,
            root: at.to_owned(),
            made: self.make_sources(plan, ids.as_ref().map(Shifted::mapping))?,
        };
        let config = bundle::config(plan, &told)?;
        let what = || format!("write {}", self.path("config.json").display());
        let file = File::create(self.path("config.json")).context(what)?;
        serde_json::to_writer(file, &config).context(what)?;
        let place = mount::open_path(&c_path(at)?).context(|| format!("open {}", at.display()))?;
        mount::attach(root.as_fd(), place.as_fd()).context_kind(ErrorKind::StartFailed, || {
            format!("mount the root filesystem at {}", at.display())
        })?;
        Ok(joined)
    }

    /// Mounts a copy of another container's `/dev/shm`: no path of ours leads to where that is.
    fn share_memory(&self, donor: Donor, at: &Path) -> Result<()> {
        let what = || format!("mount the other container's /dev/shm at {}", at.display());
        DirBuilder::new().recursive(true).mode(0o700).create(at).context(what)?;
        // The last run's.
        let _ = mount::detach(&c_path(at)?);
        let tree = shared_memory(open_donor(donor)?.as_fd(), 0)?;
        let place = mount::open_path(&c_path(at)?).context(what)?;
        mount::attach(tree.as_fd(), place.as_fd()).context_kind(ErrorKind::StartFailed, what)
    }

    /// Mounts the sources that no path of the host's leads to: parts of volumes, which are looked up once, images, and
    /// whatever has the ids of a user namespace.
    fn make_sources(&self, plan: &LaunchPlan, ids: Option<Mapping<'_>>) -> Result<BTreeMap<String, PathBuf>> {
        let mut made = BTreeMap::new();
        for step in &plan.steps {
            let Step::Mount(step) = step else { continue };
            let tree = match &step.what {
                MountWhat::Bind(bind) => {
                    if let (SourceIds::Given, Some(Mapping { root: (uid, gid), .. })) = (bind.ids, ids) {
                        std::os::unix::fs::chown(&bind.path, Some(uid), Some(gid))
                            .context(|| format!("chown {}", bind.path.display()))?;
                    }
                    match ids.filter(|_| bind.ids == SourceIds::Container) {
                        None if bind.subpath.is_empty() => continue,
                        None => bind_source(bind, step)?,
                        Some(ids) => {
                            let tree = bind_source(bind, step)?;
                            ids.apply(tree.as_fd(), &bind.path)?;
                            tree
                        }
                    }
                }
                MountWhat::Image(image) => {
                    rootfs::of_image(&image.lower, &image.subpath, ids, &image.scratch)?
                }
                _ => continue,
            };
            let at = self.path(&format!("{MADE}{}", made.len()));
            let what = || format!("mount at {}", at.display());
            // The last run's, which may have been of another kind.
            let _ = mount::detach(&c_path(&at)?);
            let _ = std::fs::remove_dir(&at).or_else(|_| std::fs::remove_file(&at));
            if is_directory(&tree, step)? {
                DirBuilder::new().mode(0o700).create(&at).context(what)?;
            } else {
                File::create_new(&at).context(what)?;
            }
            let place = mount::open_path(&c_path(&at)?).context(what)?;
            mount::attach(tree.as_fd(), place.as_fd()).context_kind(ErrorKind::StartFailed, what)?;
            made.insert(step.target.clone(), at);
        }
        Ok(made)
    }

    /// Runs the runtime to its end.
    fn run(&self, arguments: &[&str], streams: Streams, argv: Option<&[String]>) -> Result<()> {
        let log = self.path("log.json");
        let _ = std::fs::remove_file(&log);
        let mut command = Command::new(&self.spec.program);
        command.args(&self.spec.args).arg("--root").arg(self.path("state")).arg("--log").arg(&log);
        command.args(["--log-format", "json"]).args(arguments).current_dir("/").env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        match streams {
            Streams::None => command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()),
            Streams::Three(stdin, stdout, stderr) => command.stdin(stdin).stdout(stdout).stderr(stderr),
        };
        let name = self.spec.program.display();
        let status = command.status().context_kind(ErrorKind::StartFailed, || format!("run {name}"))?;
        if status.success() {
            return Ok(());
        }
        let said = last_error(&std::fs::read_to_string(&log).unwrap_or_default());
        let message = if said.is_empty() { status.to_string() } else { said };
        let (kind, words) = argv.map_or((ErrorKind::StartFailed, ""), |_| kind_of(&message));
        // Clients know what happened by Docker's words alone.
        let command = argv.and_then(<[String]>::first).filter(|_| !message.contains(words));
        let words = command.map(|command| format!("exec: {command:?}: {words}: ")).unwrap_or_default();
        Err(Error::new(kind, format!("{name} {}: {words}{message}", arguments[0])))
    }

    /// Takes away what the runtime and the launch have made, the cgroup excepted.
    pub(crate) fn delete(&self) {
        // It knows nothing of the container if its creation failed early.
        let _ = self.run(&["delete", "--force", &self.id], Streams::None, None);
        self.remove_foreign_cgroups();
        let made =
            (0..).map(|number: u32| self.path(&format!("{MADE}{number}"))).take_while(|at| at.exists());
        for at in ["rootfs", "shm"].map(|name| self.path(name)).into_iter().chain(made) {
            if let Ok(path) = c_path(&at) {
                let _ = mount::detach(&path);
            }
        }
        // With all that is mounted on it.
        if let Some(Ok(path)) = self.stage.as_deref().map(c_path) {
            let _ = mount::detach(&path);
        }
    }
}

impl External {
    /// A runtime makes directories in hierarchies that the engine has no use for, and crun leaves them.
    fn remove_foreign_cgroups(&self) {
        let relative = self.spec.cgroups_path.trim_start_matches('/');
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            // Those of the engine's hierarchies are removed with all that is in them, and with patience.
            let _ = std::fs::remove_dir(hierarchy.path().join(relative));
        }
    }
}

/// A namespace of another container, held open: its process may end, and its number be another's.
struct Joined {
    kind: &'static str,
    namespace: File,
}

impl Joined {
    /// For the runtime, which is another process.
    fn told(&self) -> (&'static str, String) {
        (self.kind, format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd()))
    }
}

fn join(donors: &Donors) -> Result<Vec<Joined>> {
    let mut joined = Vec::new();
    for (donor, file, kind) in
        [(donors.pid, "pid", "pid"), (donors.ipc, "ipc", "ipc"), (donors.network, "net", "network")]
    {
        let Some(donor) = donor else { continue };
        let path = format!("/proc/{}/ns/{file}", donor.pid);
        let namespace = File::open(&path).context(|| format!("open {path}"))?;
        // If it is the process now, it was then.
        open_donor(donor)?;
        joined.push(Joined { kind, namespace });
    }
    Ok(joined)
}

/// The file that the command means, for an init that executes it; the runtime looks for itself where there is none.
fn program(plan: &LaunchPlan, root: &FutureRoot<'_>) -> Result<String> {
    let process = &plan.process;
    let command = &process.argv[0];
    if !process.init || !process.searched {
        return Ok(command.clone());
    }
    process.candidates.iter().find(|path| root.has_program(path)).cloned().ok_or_else(|| {
        Error::new(
            ErrorKind::CommandNotFound,
            format!("exec: {command:?}: executable file not found in $PATH"),
        )
    })
}

/// The message of the last error in a runtime's log.
fn last_error(log: &str) -> String {
    let lines = log.lines().rev().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut errors = lines.filter(|line| line["level"] == "error");
    errors.next().and_then(|line| line["msg"].as_str().map(str::to_owned)).unwrap_or_default()
}

/// What a message says of the command, and how Docker says it.
fn kind_of(message: &str) -> (ErrorKind, &'static str) {
    let text = message.to_lowercase();
    let of_command = text.contains("exec") && !text.contains("mount");
    if of_command && (text.contains("not found") || text.contains("no such file")) {
        let words = if text.contains("$path") {
            "executable file not found in $PATH"
        } else {
            "no such file or directory"
        };
        (ErrorKind::CommandNotFound, words)
    } else if of_command
        && (["permission denied", "not permitted"].iter().any(|words| text.contains(words))
            || text.contains("is a directory"))
    {
        let words = if text.contains("is a directory") { "is a directory" } else { "permission denied" };
        (ErrorKind::CommandNotExecutable, words)
    } else {
        (ErrorKind::StartFailed, "")
    }
}

/// The runtime's ends of the streams, and ours.
fn streams(stdio: ChildStdio) -> std::io::Result<(Streams, [Option<OwnedFd>; 3])> {
    let ChildStdio::Pipes { stdin } = stdio else { return Ok((Streams::None, [None, None, None])) };
    let pipe = || nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(std::io::Error::from);
    let nonblocking = |fd: OwnedFd| -> std::io::Result<OwnedFd> {
        fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(fd)
    };
    let (input, our_input) = if stdin {
        let (read, write) = pipe()?;
        (read, Some(nonblocking(write)?))
    } else {
        (File::open("/dev/null")?.into(), None)
    };
    let (our_output, output) = pipe()?;
    let (our_errors, errors) = pipe()?;
    let ours = [our_input, Some(nonblocking(our_output)?), Some(nonblocking(our_errors)?)];
    Ok((Streams::Three(input, output, errors), ours))
}

/// The terminal that the runtime has sent.
fn take_terminal(listener: &UnixListener, rows: u16, cols: u16) -> Result<OwnedFd> {
    let what = || "receive the terminal from the runtime".to_owned();
    // It has connected: it does so before `create` ends.
    listener.set_nonblocking(true).context(what)?;
    let (stream, _) = listener.accept().context_kind(ErrorKind::StartFailed, what)?;
    stream.set_nonblocking(false).context(what)?;
    let (_, fds) = socket::receive_with_fds(stream.as_fd(), &mut [0; 4096]).context(what)?;
    let terminal = fds
        .into_iter()
        .next()
        .ok_or_else(|| Error::new(ErrorKind::StartFailed, "the runtime sent no terminal"))?;
    fcntl(&terminal, FcntlArg::F_SETFL(OFlag::O_NONBLOCK | OFlag::O_RDWR)).context(what)?;
    if rows > 0 && cols > 0 {
        pty::resize(terminal.as_fd(), rows, cols).context(what)?;
    }
    Ok(terminal)
}

/// A container's cgroup, and the runtime that has to hear of its end.
pub(crate) struct ExternalGroup {
    pub(crate) cgroup: Cgroup,
    pub(crate) external: External,
}
