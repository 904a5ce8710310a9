//! Loads the probes, says what they shall record, and reads what they recorded.
//!
//! Every program is loaded by itself: one that the kernel refuses is missing, with the reason, and the others
//! work. Nothing is left behind: maps, programs and attachments are descriptors of this process.

use crate::bindings::{TRACE_NAME_BYTES, trace_scope};
use crate::kind::{Kind, Kinds};
use crate::record::Record;
use aya::maps::{Array, HashMap, Map, MapData, MapError, RingBuf};
use aya::programs::{BtfTracePoint, ProgramError};
use aya::{Btf, Ebpf, EbpfLoader, include_bytes_aligned};
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::error::Error as StdError;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

static OBJECT: &[u8] = include_bytes_aligned!("../objects/trace.o");

/// Room for records that nobody has read yet. At 500,000 events a second it carries over a stall of 100 ms
/// without loss; smaller rings lost up to 7 % (measured).
pub const DEFAULT_RING_BYTES: u32 = 8 << 20;
/// The smallest ring: one page, as the kernel wants it.
const MIN_RING_BYTES: u32 = 4 << 10;
/// A larger one takes more of the kernel's memory than tracing is worth.
const MAX_RING_BYTES: u32 = 1 << 30;
/// The reader is woken when that much is pending: waking it for every record costs more than the record.
const WAKE_BYTES: u32 = 64 << 10;

/// A name that a container's cgroup has: its id.
pub type Name = [u8; TRACE_NAME_BYTES as usize];

/// A program of the object.
#[derive(Debug, Clone, Copy)]
struct Probe {
    /// The function in the object.
    program: &'static str,
    /// The kernel's tracepoint.
    tracepoint: &'static str,
    /// What it is good for.
    purpose: &'static str,
    /// The kinds that need it; empty: all of them.
    kinds: Kinds,
}

const PROBES: [Probe; 6] = [
    Probe {
        program: "cgroup_made",
        tracepoint: "cgroup_mkdir",
        purpose: "containers that start",
        kinds: Kinds::NONE,
    },
    Probe {
        program: "cgroup_removed",
        tracepoint: "cgroup_rmdir",
        purpose: "containers that end",
        kinds: Kinds::NONE,
    },
    Probe {
        program: "process_forked",
        tracepoint: "sched_process_fork",
        purpose: "fork events",
        // Opened files are recorded from a process's exec on, which takes both.
        kinds: Kinds::NONE.with(Kind::Fork).with(Kind::Open),
    },
    Probe {
        program: "process_executed",
        tracepoint: "sched_process_exec",
        purpose: "exec events",
        kinds: Kinds::NONE.with(Kind::Exec).with(Kind::Open),
    },
    Probe {
        program: "process_ended",
        tracepoint: "sched_process_exit",
        purpose: "exit and oom events",
        kinds: Kinds::NONE.with(Kind::Exit).with(Kind::Oom),
    },
    Probe {
        program: "call_returned",
        tracepoint: "sys_exit",
        purpose: "open events",
        kinds: Kinds::NONE.with(Kind::Open),
    },
];

impl Probe {
    fn is_needed_for(&self, kinds: Kinds) -> bool {
        let shared = Kind::ALL.into_iter().any(|kind| kinds.has(kind) && self.kinds.has(kind));
        !kinds.is_empty() && (self.kinds.is_empty() || shared)
    }
}

/// A traced cgroup, as the kernel's side has it.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    /// Its id.
    pub cgroup: u64,
    /// Its name.
    pub name: Name,
    /// Records for which there was no room, by kind, since it is traced.
    pub lost: [(Kind, u64); 5],
    /// It was removed: [`Probes::forget`] it when the ring has been read.
    pub gone: bool,
}

/// The loaded probes.
pub struct Probes {
    ebpf: Ebpf,
    attached: Vec<(&'static str, aya::programs::tp_btf::BtfTracePointLinkId)>,
    ring: RingBuf<MapData>,
    traced: HashMap<MapData, u64, u32>,
    scopes: HashMap<MapData, u64, trace_scope>,
    wanted: HashMap<MapData, Name, u32>,
    everyone: Array<MapData, u32>,
    depths: Array<MapData, u32>,
    overflow: Array<MapData, u64>,
    ring_bytes: u32,
    /// The kernel's types, until the first programs are loaded: 20 ms to parse, and as many megabytes to keep.
    btf: Option<Btf>,
}

impl Probes {
    /// Parses the kernel's types, makes the maps, and loads no program yet.
    ///
    /// # Errors
    /// `Forbidden` without the privilege, `Unsupported` when the kernel lacks something, naming it;
    /// `InvalidArgument` for a ring that is no power of two or out of range.
    pub fn load(ring_bytes: u32) -> Result<Self> {
        if !ring_bytes.is_power_of_two() || !(MIN_RING_BYTES..=MAX_RING_BYTES).contains(&ring_bytes) {
            return Err(Error::invalid(format!(
                "invalid trace buffer of {ring_bytes} bytes: want a power of two from 4096 to {MAX_RING_BYTES}"
            )));
        }
        let btf = kernel_types()?;
        // A ring that is smaller than the batch would never wake anybody.
        let wake_bytes = WAKE_BYTES.min(ring_bytes / 4);
        let mut ebpf = EbpfLoader::new()
            .btf(Some(&btf))
            .map_max_entries("ring", ring_bytes)
            .override_global("wake_bytes", &wake_bytes, true)
            .load(OBJECT)
            .map_err(|error| refused("load the probes", error))?;
        let mut map = |name: &str| {
            ebpf.take_map(name).ok_or_else(|| Error::internal(format!("the probes have no map {name}")))
        };
        Ok(Self {
            ring: typed("ring", map("ring")?)?,
            traced: typed("traced", map("traced")?)?,
            scopes: typed("scopes", map("scopes")?)?,
            wanted: typed("wanted", map("wanted")?)?,
            everyone: typed("everyone", map("everyone")?)?,
            depths: typed("depths", map("depths")?)?,
            overflow: typed("overflow", map("overflow")?)?,
            attached: Vec::new(),
            ebpf,
            ring_bytes,
            btf: Some(btf),
        })
    }

    /// The size of the ring.
    pub fn ring_bytes(&self) -> u32 {
        self.ring_bytes
    }

    /// Attaches exactly the programs that these kinds need, and detaches the others. A program that was loaded
    /// once stays loaded.
    ///
    /// # Errors
    /// `Forbidden` or `Unsupported`, naming the program and the kernel's reason. What was attached stays so.
    pub fn attach(&mut self, kinds: Kinds) -> Result<()> {
        let mut btf = self.btf.take();
        for probe in PROBES {
            let at = self.attached.iter().position(|(program, _)| *program == probe.program);
            match (at, probe.is_needed_for(kinds)) {
                (None, true) => {
                    let link = attach(&mut self.ebpf, &probe, &mut btf)?;
                    self.attached.push((probe.program, link));
                }
                (Some(at), false) => {
                    let (_, link) = self.attached.swap_remove(at);
                    let what = || format!("detach the probe {}", probe.program);
                    program(&mut self.ebpf, &probe)?.detach(link).context(what)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Records these kinds of the container of that name, whenever its cgroup is made.
    ///
    /// # Errors
    /// When the map is full or the kernel refuses.
    pub fn want(&mut self, name: &Name, kinds: Kinds) -> Result<()> {
        if kinds.is_empty() {
            return absent_is_fine(self.wanted.remove(name)).context(|| "update the map wanted".to_owned());
        }
        self.wanted.insert(name, kinds.bits(), 0).map_err(|error| full("wanted", error))
    }

    /// Records these kinds of every cgroup whose name is as long as a container's.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn want_everyone(&mut self, kinds: Kinds) -> Result<()> {
        self.everyone.set(0, kinds.bits(), 0).context(|| "update the map everyone".to_owned())
    }

    /// Records these kinds of a cgroup that exists already; with none of them, no more.
    ///
    /// # Errors
    /// `Unsupported` when it lies too deep; when a map is full.
    pub fn trace(&mut self, cgroup: u64, depth: u32, name: &Name, kinds: Kinds) -> Result<()> {
        if depth >= self.depths.len() {
            return Err(Error::unsupported(format!(
                "cannot trace a cgroup at depth {depth}: the probes look {} deep",
                self.depths.len()
            )));
        }
        self.depths.set(depth, 1, 0).context(|| "update the map depths".to_owned())?;
        let scope = trace_scope { name: *name, lost: [0; 5], gone: 0, unused: 0 };
        match self.scopes.insert(cgroup, scope, BPF_NOEXIST) {
            Err(error) if errno(&error) != Some(EEXIST) => return Err(full("scopes", error)),
            _ => {}
        }
        self.set_kinds(cgroup, kinds)
    }

    /// Changes what is recorded of a traced cgroup; with no kinds, nothing.
    ///
    /// # Errors
    /// When a map is full.
    pub fn set_kinds(&mut self, cgroup: u64, kinds: Kinds) -> Result<()> {
        if kinds.is_empty() {
            return absent_is_fine(self.traced.remove(&cgroup))
                .context(|| "update the map traced".to_owned());
        }
        self.traced.insert(cgroup, kinds.bits(), 0).map_err(|error| full("traced", error))
    }

    /// Every traced cgroup.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn scopes(&self) -> Result<Vec<Scope>> {
        let mut scopes = Vec::new();
        for cgroup in self.scopes.keys() {
            let cgroup = cgroup.context(|| "read the map scopes".to_owned())?;
            scopes.extend(self.scope(cgroup)?);
        }
        Ok(scopes)
    }

    /// One traced cgroup.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn scope(&self, cgroup: u64) -> Result<Option<Scope>> {
        let found = match self.scopes.get(&cgroup, 0) {
            Ok(found) => found,
            Err(MapError::KeyNotFound) => return Ok(None),
            Err(error) => return Err(error).context(|| "read the map scopes".to_owned()),
        };
        let lost =
            Kind::ALL.map(|kind| (kind, found.lost.get(kind.number() as usize).copied().unwrap_or_default()));
        Ok(Some(Scope { cgroup, name: found.name, lost, gone: found.gone != 0 }))
    }

    /// Ends the tracing of a cgroup and drops what was counted of it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn forget(&mut self, cgroup: u64) -> Result<()> {
        absent_is_fine(self.traced.remove(&cgroup)).context(|| "update the map traced".to_owned())?;
        absent_is_fine(self.scopes.remove(&cgroup)).context(|| "update the map scopes".to_owned())
    }

    /// How many cgroups could not be traced because a map was full.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn overflow(&self) -> Result<u64> {
        self.overflow.get(&0, 0).context(|| "read the map overflow".to_owned())
    }

    /// What to wait on for records.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn waiter(&self) -> Result<Waiter> {
        let what = || "watch the ring of the probes".to_owned();
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context(what)?;
        // Edge-triggered: woken when the kernel's side says so, not whenever there is a record.
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
        let ring = self.ring.as_fd().try_clone_to_owned().context(what)?;
        epoll.add(&ring, event).context(what)?;
        Ok(Waiter { epoll, _ring: ring })
    }

    /// Hands out what is in the ring, at most `limit` records; says how many.
    pub fn drain(&mut self, limit: usize, mut each: impl FnMut(Record<'_>, &Names<'_>)) -> usize {
        let names = Names(&self.scopes);
        let mut count = 0;
        while count < limit
            && let Some(bytes) = self.ring.next()
        {
            if let Some(record) = Record::parse(&bytes) {
                each(record, &names);
            }
            count += 1;
        }
        count
    }
}

/// The names of traced cgroups, while records are handed out.
pub struct Names<'p>(&'p HashMap<MapData, u64, trace_scope>);

impl Names<'_> {
    /// The name of a cgroup that is traced.
    pub fn name_of(&self, cgroup: u64) -> Option<Name> {
        self.0.get(&cgroup, 0).ok().map(|scope| scope.name)
    }
}

/// Waits for records without holding the probes.
#[derive(Debug)]
pub struct Waiter {
    epoll: Epoll,
    _ring: std::os::fd::OwnedFd,
}

impl Waiter {
    /// Returns when a batch of records is there, or after `patience`. A signal also ends it.
    pub fn wait(&self, patience: Duration) {
        let timeout = EpollTimeout::try_from(patience).unwrap_or(EpollTimeout::MAX);
        // Whatever woke us, the ring is looked at next; an error cannot be told from a time-out there.
        let _ = self.epoll.wait(&mut [EpollEvent::empty()], timeout);
    }
}

/// What the kernel says to one program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramReport {
    /// The program.
    pub name: &'static str,
    /// Where it is attached.
    pub attaches_to: String,
    /// What it is good for.
    pub purpose: &'static str,
    /// Why it does not work here.
    pub refused: Option<String>,
}

/// Loads and attaches every program, one by one, and takes them away again: what this kernel offers.
///
/// # Errors
/// As [`Probes::load`], when not even the maps can be made.
pub fn probe() -> Result<Vec<ProgramReport>> {
    let mut probes = Probes::load(MIN_RING_BYTES)?;
    let mut btf = probes.btf.take();
    Ok(PROBES
        .iter()
        .map(|probe| ProgramReport {
            name: probe.program,
            attaches_to: format!("tp_btf/{}", probe.tracepoint),
            purpose: probe.purpose,
            refused: attach(&mut probes.ebpf, probe, &mut btf).err().map(|error| error.to_string()),
        })
        .collect())
}

fn program<'e>(ebpf: &'e mut Ebpf, probe: &Probe) -> Result<&'e mut BtfTracePoint> {
    let program = ebpf.program_mut(probe.program);
    let program = program.ok_or_else(|| Error::internal(format!("there is no probe {}", probe.program)))?;
    program.try_into().context(|| format!("use the probe {}", probe.program))
}

/// Loads a program if that was not done, and attaches it. `btf` is parsed when it is missing.
fn attach(
    ebpf: &mut Ebpf,
    probe: &Probe,
    btf: &mut Option<Btf>,
) -> Result<aya::programs::tp_btf::BtfTracePointLinkId> {
    let what = format!("attach the probe {} to {}", probe.program, probe.tracepoint);
    let program = program(ebpf, probe)?;
    if program.fd().is_err() {
        let btf = match btf {
            Some(btf) => btf,
            None => btf.insert(kernel_types()?),
        };
        program.load(probe.tracepoint, btf).map_err(|error| refused(&what, shortened(error)))?;
    }
    program.attach().map_err(|error| refused(&what, error))
}

/// The verifier's log is pages long; its last lines say why.
fn shortened(error: ProgramError) -> ProgramRefused {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let reason = log.lines().rev().find(|line| !line.starts_with("processed ") && !line.is_empty());
            ProgramRefused { reason: reason.map(str::to_owned), cause: Box::new(io_error) }
        }
        other => ProgramRefused { reason: None, cause: Box::new(other) },
    }
}

/// A program that the kernel did not take.
#[derive(Debug)]
struct ProgramRefused {
    reason: Option<String>,
    cause: Box<dyn StdError + Send + Sync>,
}

impl std::fmt::Display for ProgramRefused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.reason.as_deref().unwrap_or("the kernel refused it"))
    }
}

impl StdError for ProgramRefused {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.cause.as_ref())
    }
}

const TYPES: &str = "/sys/kernel/btf/vmlinux";

/// The running kernel's types.
fn kernel_types() -> Result<Btf> {
    if !std::path::Path::new(TYPES).exists() {
        return Err(Error::unsupported(format!(
            "tracing needs the kernel's type information, and there is no {TYPES}: the kernel was built without \
             CONFIG_DEBUG_INFO_BTF, or /sys is not mounted"
        )));
    }
    Btf::from_sys_fs().context_kind(ErrorKind::Unsupported, || format!("read {TYPES}"))
}

/// A map in its Rust type.
fn typed<T>(name: &str, map: Map) -> Result<T>
where
    T: TryFrom<Map, Error = MapError>,
{
    T::try_from(map).context(|| format!("use the map {name} of the probes"))
}

fn full(map: &str, error: MapError) -> Error {
    match errno(&error) {
        Some(E2BIG) => Error::new(ErrorKind::Unavailable, "too many containers are traced already"),
        _ => Error::caused(ErrorKind::Internal, format!("update the map {map}"), error),
    }
}

fn absent_is_fine(result: std::result::Result<(), MapError>) -> std::result::Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(error) if errno(&error) == Some(ENOENT) => Ok(()),
        other => other,
    }
}

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const E2BIG: i32 = 7;
const EACCES: i32 = 13;
const EEXIST: i32 = 17;
/// `bpf(2)`: only if the key is not there.
const BPF_NOEXIST: u64 = 1;

/// The error number at the bottom of a chain of causes.
fn errno(error: &(dyn StdError + 'static)) -> Option<i32> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(errno) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(errno);
        }
        cause = error.source();
    }
    None
}

/// The kernel said no: for want of privilege, or of a feature.
fn refused(what: &str, error: impl StdError + Send + Sync + 'static) -> Error {
    match errno(&error) {
        Some(EPERM | EACCES) if !may_use_bpf() => Error::new(
            ErrorKind::Forbidden,
            format!(
                "{what}: operation not permitted: tracing needs CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN"
            ),
        ),
        _ => Error::caused(ErrorKind::Unsupported, what, error),
    }
}

/// Whether this thread has what bpf(2) asks for. A program that is refused all the same is refused for another
/// reason, which must not be hidden.
fn may_use_bpf() -> bool {
    const CAP_SYS_ADMIN: u64 = 1 << 21;
    const CAP_PERFMON: u64 = 1 << 38;
    const CAP_BPF: u64 = 1 << 39;
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or_default();
    effective & CAP_SYS_ADMIN != 0 || effective & (CAP_BPF | CAP_PERFMON) == CAP_BPF | CAP_PERFMON
}
