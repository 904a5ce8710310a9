//! The child: from the clone to exec.
//!
//! Everything here runs in a copy of the monitor's memory, in which nothing may be allocated and no lock taken.
//! So there are only system calls on what `prepare.rs` made ready. Each operation is one step of the plan; the
//! first that fails is reported to the parent as {step, errno, detail} and ends the child.

mod place;

use crate::rootfs::Target;
use crate::step::Place;
use dhow_sys::memory::SharedNumbers;
use dhow_sys::mount::{self, FsContext, OPEN_TREE_CLONE, RECURSIVE};
use dhow_sys::process::{self, ExecStrings};
use dhow_sys::{Errno, Result, caps, clock, openat2, pty, rlimit, seccomp, signal};
use nix::libc;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

/// One step, ready to be carried out.
#[derive(Debug)]
pub(crate) enum Op {
    JoinCgroups(Vec<OwnedFd>),
    JoinNamespaces {
        process: OwnedFd,
        kinds: u64,
    },
    /// What needs the host's privilege, which a child in a user namespace does not have.
    AskMonitor,
    BecomeRoot,
    NewSession,
    NewCgroupNamespace,
    LoopbackUp,
    /// Its counter becomes more than zero when the network is connected.
    AwaitNetwork(OwnedFd),
    PrivateMounts,
    AttachRoot,
    Mount(MountOp),
    Symlink {
        directory: CString,
        name: CString,
        target: CString,
    },
    /// `/.dockerenv`.
    MarkContainer,
    Console {
        number: CString,
        target: Target,
    },
    Sysctl {
        path: CString,
        value: Vec<u8>,
    },
    Mask(HiddenPath),
    ReadOnlyPath(HiddenPath),
    HostName(Vec<u8>),
    DomainName(Vec<u8>),
    EnsureDirectory(Target),
    ReadOnlyRoot,
    PivotRoot,
    OomScore(Vec<u8>),
    Rlimit {
        resource: u32,
        soft: u64,
        hard: u64,
    },
    Stdio,
    CloseDescriptors,
    WorkingDirectory(CString),
    BoundingSet(u64),
    BecomeUser {
        uid: u32,
        gid: u32,
        groups: Vec<u32>,
        keep: u64,
    },
    DieWithMonitor,
    NoNewPrivileges,
    Seccomp(Vec<u8>),
    Capabilities(u64),
    Execute,
}

/// A mount and its place.
#[derive(Debug)]
pub(crate) struct MountOp {
    pub source: Source,
    pub attributes: u64,
    pub target: Target,
    pub is_directory: bool,
    pub place: Place,
}

/// Where a mount comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// Made before the clone.
    Ready(OwnedFd),
    /// Made here, because it shows a namespace of the child's.
    Proc,
    /// The same.
    Sysfs,
    /// The same.
    Mqueue,
}

/// A path below `/proc` or `/sys`, relative to it, and as a whole.
#[derive(Debug)]
pub(crate) struct HiddenPath {
    pub below: Base,
    pub relative: CString,
    pub whole: CString,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    Proc,
    Sys,
}

/// The standard streams of the new process.
#[derive(Debug)]
pub(crate) struct Streams {
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
    /// They are one terminal, which becomes the controlling one.
    pub terminal: bool,
}

/// The program.
#[derive(Debug)]
pub(crate) struct Program {
    pub candidates: Vec<CString>,
    /// With an init as pid 1: its arguments for each candidate; else empty.
    pub init: Vec<ExecStrings>,
    pub argv: ExecStrings,
    pub env: ExecStrings,
}

/// Everything that the child uses.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub ops: Vec<Op>,
    /// The root filesystem, detached until [`Op::AttachRoot`]. None for exec.
    pub root: Option<OwnedFd>,
    pub streams: Streams,
    pub program: Program,
    /// The pipe that failures go to.
    pub failure: OwnedFd,
    /// With a timeline: when each step was done, and before them when the first began.
    pub times: Option<SharedNumbers>,
    /// The socket that [`Op::AskMonitor`] asks through; only in a user namespace.
    pub monitor: Option<OwnedFd>,
}

/// What the child tells of a failure: three native-endian words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    pub step: u32,
    pub errno: i32,
    pub detail: u32,
}

/// Nothing more to say than the errno.
pub(crate) const NO_DETAIL: u32 = 0;
/// chdir led outside the root directory.
pub(crate) const OUTSIDE_ROOT: u32 = 1;
/// A user's mount would have covered a part of procfs.
pub(crate) const ON_PROC: u32 = 2;
/// The program is a directory.
pub(crate) const IS_DIRECTORY: u32 = 3;
/// The file exists, but exec said that something does not: its interpreter.
pub(crate) const NO_INTERPRETER: u32 = 4;

/// It was not the program but `--init`'s own that failed.
pub(crate) const INIT_FAILED: u32 = 5;
/// [`crate::plan::INIT_PATH`].
const INIT: &CStr = c"/sbin/dhow-init";

impl Failure {
    pub(crate) const BYTES: usize = 12;

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&self.step.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.errno.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.detail.to_ne_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| -> Option<[u8; 4]> { bytes.get(at..at + 4)?.try_into().ok() };
        Some(Self {
            step: u32::from_ne_bytes(word(0)?),
            errno: i32::from_ne_bytes(word(4)?),
            detail: u32::from_ne_bytes(word(8)?),
        })
    }
}

/// An errno with a detail.
struct Failed(Errno, u32);

impl From<Errno> for Failed {
    fn from(errno: Errno) -> Self {
        Self(errno, NO_DETAIL)
    }
}

/// What the child itself opens on its way.
struct State<'a> {
    prepared: &'a Prepared,
    proc: Option<OwnedFd>,
    sys: Option<OwnedFd>,
    dev: Option<BorrowedFd<'a>>,
    devpts: Option<BorrowedFd<'a>>,
    /// An empty read-only tmpfs that covers a masked directory; attached once, then copied.
    mask: Option<OwnedFd>,
    failure: Option<OwnedFd>,
}

/// Walks the steps. Never returns: ends in the program, or in a report and exit.
pub(crate) fn run(prepared: &Prepared) -> ! {
    let mut state =
        State { prepared, proc: None, sys: None, dev: None, devpts: None, mask: None, failure: None };
    // The monitor blocks every signal, and Rust ignores SIGPIPE; both would stay over exec.
    signal::reset_handlers();
    signal::unblock_all();
    // Nobody in the container may look into this copy of the monitor before it has become the program.
    let _ = process::set_dumpable(false);
    state.note_time(0);
    for (step, op) in prepared.ops.iter().enumerate() {
        let number = u32::try_from(step).unwrap_or(u32::MAX);
        if let Err(Failed(errno, detail)) = state.carry_out(number, op) {
            let failure = Failure { step: number, errno: errno as i32, detail };
            let _ = process::write_once(state.failure_pipe(), &failure.to_bytes());
            break;
        }
        state.note_time(step + 1);
    }
    process::exit_now(127)
}

impl<'a> State<'a> {
    fn note_time(&self, slot: usize) {
        if let Some(slot) = self.prepared.times.as_ref().and_then(|times| times.as_slice().get(slot)) {
            slot.store(clock::monotonic_ns(), Ordering::Relaxed);
        }
    }

    fn failure_pipe(&self) -> BorrowedFd<'_> {
        self.failure.as_ref().unwrap_or(&self.prepared.failure).as_fd()
    }

    fn root(&self) -> Result<BorrowedFd<'a>> {
        self.prepared.root.as_ref().map(AsFd::as_fd).ok_or(Errno::EBADF)
    }

    fn carry_out(&mut self, step: u32, op: &'a Op) -> Result<(), Failed> {
        match op {
            Op::JoinCgroups(tasks) => tasks.iter().try_for_each(|t| process::write_once(t.as_fd(), b"0"))?,
            Op::JoinNamespaces { process, kinds } => process::setns(process.as_fd(), *kinds)?,
            Op::AskMonitor => self.ask_monitor(step)?,
            Op::BecomeRoot => {
                self.ask_monitor(step)?;
                process::become_user(0, 0, &[])?;
            }
            Op::NewSession => process::setsid()?,
            Op::NewCgroupNamespace => process::unshare(dhow_sys::clone::NEWCGROUP)?,
            Op::LoopbackUp => process::loopback_up()?,
            Op::AwaitNetwork(connected) => {
                // If it cannot be connected, the monitor kills this process.
                process::read_once(connected.as_fd(), &mut [0; 8])?;
            }
            Op::PrivateMounts => mount::set_root_propagation(mount::PRIVATE)?,
            Op::AttachRoot => mount::attach(self.root()?, mount::open_path(c"/")?.as_fd())?,
            Op::Mount(mount) => self.mount(mount)?,
            Op::Symlink { directory, name, target } => self.symlink(directory, name, target)?,
            Op::MarkContainer => match openat2::create_at(self.root()?, c".dockerenv", 0o755) {
                // The image's own, or a root filesystem that cannot be written to.
                Ok(()) | Err(Errno::EEXIST | Errno::EROFS) => {}
                Err(errno) => return Err(errno.into()),
            },
            Op::Console { number, target } => self.console(number, target)?,
            Op::Sysctl { path, value } => self.write_below_proc(path, value)?,
            Op::Mask(path) => self.mask(path)?,
            Op::ReadOnlyPath(path) => self.make_read_only(path)?,
            Op::HostName(name) => process::sethostname(name)?,
            Op::DomainName(name) => process::setdomainname(name)?,
            Op::EnsureDirectory(target) => drop(place::of_user(self.root()?, target, true)?),
            Op::ReadOnlyRoot => mount::set_attributes(self.root()?, mount::ATTR_RDONLY, 0, 0, false)?,
            Op::PivotRoot => self.pivot()?,
            Op::OomScore(score) => self.write_below_proc(c"self/oom_score_adj", score)?,
            Op::Rlimit { resource, soft, hard } => rlimit::set(*resource, *soft, *hard)?,
            Op::Stdio => self.connect_streams()?,
            Op::CloseDescriptors => self.close_descriptors()?,
            Op::WorkingDirectory(path) => change_directory(path)?,
            Op::BoundingSet(mask) => {
                caps::limit_bounding(*mask)?;
                caps::clear_ambient()?;
            }
            Op::BecomeUser { uid, gid, groups, keep } => {
                process::set_keep_capabilities(true)?;
                process::become_user(*uid, *gid, groups)?;
                caps::set(*keep)?;
            }
            Op::DieWithMonitor => self.die_with_monitor()?,
            Op::NoNewPrivileges => process::set_no_new_privileges()?,
            Op::Seccomp(program) => seccomp::install(program)?,
            Op::Capabilities(mask) => caps::set(*mask)?,
            Op::Execute => return Err(self.execute()),
        }
        Ok(())
    }

    /// Has the monitor carry a step out on this process, and waits for its answer: 0 or the errno.
    fn ask_monitor(&self, step: u32) -> Result<()> {
        let monitor = self.prepared.monitor.as_ref().ok_or(Errno::EBADF)?;
        process::write_once(monitor.as_fd(), &step.to_ne_bytes())?;
        let mut answer = [0; 4];
        match process::read_once(monitor.as_fd(), &mut answer)? {
            4 => match i32::from_ne_bytes(answer) {
                0 => Ok(()),
                errno => Err(Errno::from_raw(errno)),
            },
            _ => Err(Errno::EOWNERDEAD),
        }
    }

    fn mount(&mut self, op: &'a MountOp) -> Result<(), Failed> {
        let root = self.root()?;
        let place = match op.place {
            // A link here would put the container's own view somewhere else (CVE-2019-19921 and others).
            Place::Own => place::own(root, &op.target)?,
            Place::OwnFile => place::own_file(root, &op.target)?,
            Place::User | Place::UserOnProc => place::of_user(root, &op.target, op.is_directory)?,
        };
        if op.place == Place::User && mount::filesystem_magic(place.as_fd())? == libc::PROC_SUPER_MAGIC {
            return Err(Failed(Errno::EPERM, ON_PROC));
        }
        match &op.source {
            Source::Ready(source) => {
                mount::attach(source.as_fd(), place.as_fd())?;
                match op.target.path.to_bytes() {
                    b"/dev" => self.dev = Some(source.as_fd()),
                    b"/dev/pts" => self.devpts = Some(source.as_fd()),
                    _ => {}
                }
            }
            Source::Proc => self.proc = Some(fresh(c"proc", op.attributes, place.as_fd())?),
            Source::Sysfs => self.sys = Some(fresh(c"sysfs", op.attributes, place.as_fd())?),
            Source::Mqueue => drop(fresh(c"mqueue", op.attributes, place.as_fd())?),
        }
        Ok(())
    }

    fn symlink(&self, directory: &CStr, name: &CStr, target: &CStr) -> Result<()> {
        let directory =
            match openat2::open_in_root(self.root()?, directory, libc::O_PATH | libc::O_DIRECTORY, 0) {
                Ok(directory) => directory,
                // An image without /etc gets one: the name goes to the root's own descriptor, one level deep.
                Err(Errno::ENOENT) if directory.to_bytes() == b"/etc" => {
                    openat2::mkdir_at(self.root()?, c"etc", 0o755)?;
                    openat2::open_in_root(self.root()?, directory, libc::O_PATH | libc::O_DIRECTORY, 0)?
                }
                Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
                Err(errno) => return Err(errno),
            };
        match openat2::symlink_at(target, directory.as_fd(), name) {
            Err(Errno::EEXIST | Errno::EROFS) => Ok(()),
            other => other,
        }
    }

    /// The terminal is found by its number in our own devpts, and the place is opened below the root: no path
    /// of the image's is trusted (CVE-2025-52565).
    fn console(&self, number: &CStr, target: &Target) -> Result<()> {
        let devpts = self.devpts.ok_or(Errno::ENXIO)?;
        let resolve = openat2::IN_ROOT | openat2::NO_SYMLINKS;
        let place = place::with(self.root()?, target, false, libc::O_NOFOLLOW, resolve)?;
        let terminal = mount::open_tree(Some(devpts), number, OPEN_TREE_CLONE)?;
        mount::attach(terminal.as_fd(), place.as_fd())
    }

    fn write_below_proc(&self, path: &CStr, value: &[u8]) -> Result<()> {
        let opened;
        let proc = match &self.proc {
            Some(proc) => proc.as_fd(),
            // A further process in a container: /proc is the container's own. Never written through anything else.
            None => {
                opened = mount::open_path(c"/proc")?;
                if mount::filesystem_magic(opened.as_fd())? != libc::PROC_SUPER_MAGIC {
                    return Err(Errno::ENXIO);
                }
                opened.as_fd()
            }
        };
        let flags = libc::O_WRONLY | libc::O_NOFOLLOW;
        // `self` is a symbolic link of procfs itself, which nobody can replace; mounts below are not crossed.
        let file = openat2::open(
            proc,
            path,
            flags,
            0,
            openat2::BENEATH | openat2::NO_XDEV | openat2::NO_MAGICLINKS,
        )?;
        process::write_once(file.as_fd(), value)
    }

    /// A path below our own procfs or sysfs, or below what the user mounted in its place.
    fn hidden_place(&self, path: &HiddenPath) -> Result<Option<OwnedFd>> {
        let own = match path.below {
            Base::Proc => &self.proc,
            Base::Sys => &self.sys,
        };
        let opened = match own {
            Some(own) => openat2::open(
                own.as_fd(),
                &path.relative,
                libc::O_PATH | libc::O_NOFOLLOW,
                0,
                openat2::BENEATH | openat2::NO_SYMLINKS | openat2::NO_XDEV,
            ),
            None => openat2::open(
                self.root()?,
                &path.whole,
                libc::O_PATH | libc::O_NOFOLLOW,
                0,
                openat2::IN_ROOT | openat2::NO_SYMLINKS,
            ),
        };
        match opened {
            Ok(place) => Ok(Some(place)),
            // This kernel has no such thing to hide.
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn mask(&mut self, path: &HiddenPath) -> Result<()> {
        let Some(place) = self.hidden_place(path)? else { return Ok(()) };
        let is_directory = openat2::stat(place.as_fd())?.st_mode & libc::S_IFMT == libc::S_IFDIR;
        if !is_directory {
            let null = match self.dev {
                Some(dev) => mount::open_tree(Some(dev), c"null", OPEN_TREE_CLONE)?,
                // The user brings the whole /dev; until the pivot the host's is at hand.
                None => mount::open_tree(None, c"/dev/null", OPEN_TREE_CLONE)?,
            };
            return mount::attach(null.as_fd(), place.as_fd());
        }
        match &self.mask {
            Some(attached) => {
                let copy = mount::open_tree(Some(attached.as_fd()), c"", OPEN_TREE_CLONE)?;
                mount::attach(copy.as_fd(), place.as_fd())
            }
            None => {
                self.mask = Some(fresh(c"tmpfs", mount::ATTR_RDONLY, place.as_fd())?);
                Ok(())
            }
        }
    }

    fn make_read_only(&self, path: &HiddenPath) -> Result<()> {
        let Some(place) = self.hidden_place(path)? else { return Ok(()) };
        let copy = mount::open_tree(Some(place.as_fd()), c"", OPEN_TREE_CLONE | RECURSIVE)?;
        let flags = mount::ATTR_RDONLY | mount::ATTR_NOSUID | mount::ATTR_NODEV | mount::ATTR_NOEXEC;
        mount::set_attributes(copy.as_fd(), flags, 0, 0, true)?;
        mount::attach(copy.as_fd(), place.as_fd())
    }

    fn pivot(&self) -> Result<()> {
        process::fchdir(self.root()?)?;
        mount::pivot_here()?;
        // The old root lies on top of the new one: pivot_root(2), "pivot_root(".", ".")".
        mount::detach(c".")?;
        process::chdir(c"/")
    }

    fn connect_streams(&self) -> Result<()> {
        let streams = &self.prepared.streams;
        process::dup_onto(streams.stdin.as_fd(), 0, false)?;
        process::dup_onto(streams.stdout.as_fd(), 1, false)?;
        process::dup_onto(streams.stderr.as_fd(), 2, false)?;
        if streams.terminal {
            pty::take_control(streams.stdin.as_fd())?;
        }
        process::umask(0o022);
        Ok(())
    }

    fn close_descriptors(&mut self) -> Result<()> {
        // Dropping these after the call would close numbers that are void by then.
        self.proc = None;
        self.sys = None;
        self.mask = None;
        self.failure = Some(process::keep_only(self.prepared.failure.as_fd())?);
        Ok(())
    }

    fn die_with_monitor(&self) -> Result<()> {
        process::set_parent_death_signal(libc::SIGKILL)?;
        // If the monitor was gone before, no signal comes: its end of the pipe tells.
        if process::peer_is_gone(self.failure_pipe()) { Err(Errno::EOWNERDEAD) } else { Ok(()) }
    }

    /// Tries the candidates as execvp(3) does. The first error that says more than "not here" wins.
    fn execute(&self) -> Failed {
        let program = &self.prepared.program;
        let mut worst = Failed(Errno::ENOENT, NO_DETAIL);
        for (index, candidate) in program.candidates.iter().enumerate() {
            let errno = match program.init.get(index) {
                None => process::execve(candidate, &program.argv, &program.env),
                // Asked before, because init could only say it to the container's output.
                Some(argv) => match process::may_execute(candidate) {
                    Ok(()) => return Failed(process::execve(INIT, argv, &program.env), INIT_FAILED),
                    Err(errno) => errno,
                },
            };
            let status = openat2::stat_path(candidate);
            let is_directory = status.is_ok_and(|s| s.st_mode & libc::S_IFMT == libc::S_IFDIR);
            match (errno, status) {
                (Errno::ENOENT, Ok(_)) => return Failed(Errno::ENOENT, NO_INTERPRETER),
                (Errno::ENOENT | Errno::ENOTDIR, _) if program.candidates.len() > 1 => {}
                (Errno::EACCES, _) if is_directory => worst = Failed(Errno::EISDIR, IS_DIRECTORY),
                (Errno::EACCES, _) => worst = Failed(errno, NO_DETAIL),
                (errno, _) => return Failed(errno, NO_DETAIL),
            }
        }
        worst
    }
}

/// Makes a filesystem and attaches it.
fn fresh(kind: &CStr, attributes: u64, place: BorrowedFd<'_>) -> Result<OwnedFd> {
    let mount = FsContext::open(kind)?.mount(attributes)?;
    mount::attach(mount.as_fd(), place)?;
    Ok(mount)
}

/// chdir, and proof that it did not lead out of the root (CVE-2024-21626).
fn change_directory(path: &CStr) -> Result<(), Failed> {
    process::chdir(path)?;
    if process::cwd_is_inside_root()? { Ok(()) } else { Err(Failed(Errno::EXDEV, OUTSIDE_ROOT)) }
}
