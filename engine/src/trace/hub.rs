//! One reader of the ring for all clients of an engine.
//!
//! ```text
//!   first client ─► load, attach, thread ─┬─► wait for a batch (20 ms at most) ─► read ─► hand out ─┐
//!                                         └───────────────◄─── sweep, four times a second ◄─────────┘
//!   last client goes ─► detach, the thread ends; programs and maps stay loaded for the next one
//! ```
//!
//! What must stay true:
//! - **The filter is in the kernel.** A container's name is put in before the client is answered; when its cgroup
//!   is made, the probes themselves begin to record it. Nobody here has to be quick.
//! - **Losses are counted where they happen**, in the kernel by container and kind, and told to every client
//!   that would have got the events.
//! - **The end is told after everything else.** A cgroup that was removed can send nothing any more; what it sent
//!   is in the ring before the record of its removal, and that record is read in its turn. When the ring had no
//!   room for it, the sweep finds the mark that it left, reads the ring to its end, and settles it then.

use super::TraceOptions;
use super::event::{ContainerName, TraceEvent, losses};
use super::queue::{Entry, Queue};
use crate::{Engine, container};
use dhow_ebpf::{DEFAULT_RING_BYTES, DEPTHS, Kind, Kinds, NAME_BYTES, Name, Probes, Record, Scope, What};
use dhow_model::{ContainerId, Error, Result, ResultExt, Timestamp};
use dhow_store::db::ContainerRecord;
use nix::time::{ClockId, clock_gettime};
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How late an event may be: the kernel's side wakes us for a batch only.
const PATIENCE: Duration = Duration::from_millis(20);
/// How often losses are looked up and containers that are gone are settled.
const SWEEP_PERIOD: Duration = Duration::from_millis(250);
/// Records that are handed out at once, so that a client that comes or goes does not wait for long.
const BATCH: usize = 16 << 10;
/// A clock that was set is followed when it is that far off; less is the jitter of two readings.
const CLOCK_TOLERANCE_NS: i64 = 1_000_000;

/// The tracing of one engine.
#[derive(Default)]
pub(crate) struct Hub(Mutex<State>);

#[derive(Default)]
struct State {
    /// Loaded with the first client, and kept.
    probes: Option<Probes>,
    clients: Vec<Client>,
    next_number: u64,
    has_thread: bool,
    /// What the kernel was told.
    wanted: HashMap<Name, Kinds>,
    everyone: Kinds,
    /// Containers by cgroup; none for one that is not this engine's.
    known: HashMap<u64, Option<Arc<ContainerName>>>,
    /// Losses that were told already.
    told: HashMap<u64, [u64; Kind::ALL.len()]>,
    told_overflow: u64,
    clock: Clock,
}

struct Client {
    number: u64,
    kinds: Kinds,
    until_exit: bool,
    /// None: all containers.
    members: Option<Vec<Member>>,
    queue: Arc<Queue>,
    pending: Vec<Entry>,
}

/// A container that a client named.
struct Member {
    id: ContainerId,
    name: Name,
    finished: bool,
}

impl Client {
    fn wants(&self, container: &ContainerName, kind: Kind) -> bool {
        self.kinds.has(kind) && self.follows(container)
    }

    fn follows(&self, container: &ContainerName) -> bool {
        let Some(members) = &self.members else { return true };
        members.iter().any(|member| member.id.as_str() == container.container)
    }

    fn flush(&mut self) {
        if !self.pending.is_empty() {
            self.queue.push(self.pending.drain(..));
        }
    }

    fn is_finished(&self) -> bool {
        self.members.as_ref().is_some_and(|members| members.iter().all(|member| member.finished))
    }
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it was held is a defect; what is there is still what the kernel was told.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a client: when this returns, what it wants is recorded.
    pub(super) fn subscribe(&self, engine: &Engine, options: &TraceOptions) -> Result<(u64, Arc<Queue>)> {
        let records = find(engine, &options.containers)?;
        let queue = Arc::new(Queue::new()?);
        let mut state = self.lock();
        state.load(options.buffer_bytes)?;
        let number = state.next_number;
        state.next_number += 1;
        let member = |record: &ContainerRecord| Member {
            id: record.id.clone(),
            name: name_of(&record.id),
            finished: false,
        };
        state.clients.push(Client {
            number,
            kinds: options.kinds,
            until_exit: options.until_exit,
            members: (!options.containers.is_empty()).then(|| records.iter().map(member).collect()),
            queue: Arc::clone(&queue),
            pending: Vec::new(),
        });
        let placed = state.apply_wishes(engine).and_then(|()| {
            // After the names: a start in between is seen by one of the two.
            records.iter().try_for_each(|record| state.trace_existing(engine, record))?;
            self.ensure_thread(&mut state, engine)
        });
        if let Err(error) = placed {
            state.remove(engine, number);
            return Err(error);
        }
        Ok((number, queue))
    }

    /// Takes a client away; unknown ones are gone already.
    pub(super) fn unsubscribe(&self, engine: &Engine, number: u64) {
        self.lock().remove(engine, number);
    }

    fn ensure_thread(&self, state: &mut State, engine: &Engine) -> Result<()> {
        if state.has_thread {
            return Ok(());
        }
        let waiter = state.probes()?.waiter()?;
        let engine = engine.clone();
        std::thread::Builder::new()
            .name("dhow-trace".to_owned())
            .spawn(move || {
                let mut swept = Instant::now();
                loop {
                    let full = match engine.trace_hub().turn(&engine, &mut swept) {
                        Some(full) => full,
                        None => return,
                    };
                    if !full {
                        waiter.wait(PATIENCE);
                    }
                }
            })
            .context(|| "start the thread that reads the trace".to_owned())?;
        state.has_thread = true;
        Ok(())
    }

    /// One turn of the thread: true when there is more to read, `None` when nobody listens any more.
    fn turn(&self, engine: &Engine, swept: &mut Instant) -> Option<bool> {
        let mut state = self.lock();
        if state.clients.is_empty() {
            state.has_thread = false;
            return None;
        }
        let turned = state.read(engine, BATCH).and_then(|count| {
            if swept.elapsed() >= SWEEP_PERIOD {
                *swept = Instant::now();
                state.sweep(engine)?;
            }
            Ok(count == BATCH)
        });
        match turned {
            Ok(full) => Some(full),
            Err(error) => {
                for client in std::mem::take(&mut state.clients) {
                    client.queue.end(Some(&error));
                }
                // Half of it may be in place: the next client begins anew.
                state.forget_kernel();
                state.has_thread = false;
                None
            }
        }
    }
}

/// The records of the containers that were named, or of all.
fn find(engine: &Engine, names: &[String]) -> Result<Vec<ContainerRecord>> {
    if names.is_empty() {
        return engine.db()?.read(|txn| txn.containers());
    }
    let mut records: Vec<ContainerRecord> = Vec::new();
    for name in names {
        let record = container::find_settled(engine, name)?;
        if records.iter().all(|known| known.id != record.id) {
            records.push(record);
        }
    }
    Ok(records)
}

/// The name of a container's cgroup.
fn name_of(id: &ContainerId) -> Name {
    // Ids have exactly as many digits.
    let mut name = [0; NAME_BYTES as usize];
    for (to, from) in name.iter_mut().zip(id.as_str().bytes()) {
        *to = from;
    }
    name
}

impl State {
    fn probes(&mut self) -> Result<&mut Probes> {
        self.probes.as_mut().ok_or_else(|| Error::internal("the probes are not loaded"))
    }

    /// Loads the probes, or loads them anew when nobody uses those with another ring.
    fn load(&mut self, ring_bytes: Option<u32>) -> Result<()> {
        let wanted = ring_bytes.unwrap_or(DEFAULT_RING_BYTES);
        match &self.probes {
            Some(probes) if probes.ring_bytes() == wanted => return Ok(()),
            Some(probes) if !self.clients.is_empty() => {
                return match ring_bytes {
                    None => Ok(()),
                    Some(_) => Err(Error::conflict(format!(
                        "other clients trace with a buffer of {} bytes",
                        probes.ring_bytes()
                    ))),
                };
            }
            _ => {}
        }
        self.forget_kernel();
        self.probes = Some(Probes::load(wanted)?);
        Ok(())
    }

    /// Drops the probes and what they were told.
    fn forget_kernel(&mut self) {
        self.probes = None;
        self.wanted.clear();
        self.everyone = Kinds::NONE;
        self.known.clear();
        self.told.clear();
        self.told_overflow = 0;
    }

    /// Takes a client away, and tells the kernel what is still wanted.
    fn remove(&mut self, engine: &Engine, number: u64) {
        let Some(at) = self.clients.iter().position(|client| client.number == number) else { return };
        drop(self.clients.swap_remove(at));
        // What the kernel records too much is handed to nobody; what it cannot be told now, it is told next time.
        if self.apply_wishes(engine).is_err() {
            self.forget_kernel();
        }
    }

    /// Tells the kernel what all clients together want.
    fn apply_wishes(&mut self, engine: &Engine) -> Result<()> {
        let mut wanted: HashMap<Name, Kinds> = HashMap::new();
        let mut everyone = Kinds::NONE;
        let mut all = Kinds::NONE;
        for client in &self.clients {
            all = all.union(client.kinds);
            match &client.members {
                None => everyone = everyone.union(client.kinds),
                Some(members) => {
                    for member in members {
                        let kinds = wanted.entry(member.name).or_default();
                        *kinds = kinds.union(client.kinds);
                    }
                }
            }
        }
        let gone: Vec<Name> =
            self.wanted.keys().filter(|name| !wanted.contains_key(*name)).copied().collect();
        let changed: Vec<(Name, Kinds)> = wanted
            .iter()
            .filter(|(name, kinds)| self.wanted.get(*name) != Some(kinds))
            .map(|(name, kinds)| (*name, *kinds))
            .collect();
        let Some(probes) = &mut self.probes else { return Ok(()) };
        // Attached first: what follows is then seen by them.
        probes.attach(all)?;
        for name in gone {
            probes.want(&name, Kinds::NONE)?;
        }
        for (name, kinds) in changed {
            probes.want(&name, kinds)?;
        }
        probes.want_everyone(everyone)?;
        (self.wanted, self.everyone) = (wanted, everyone);
        self.revise_scopes(engine)
    }

    /// Brings the cgroups that are traced already in line with the wishes.
    fn revise_scopes(&mut self, engine: &Engine) -> Result<()> {
        for scope in self.probes()?.scopes()? {
            if scope.gone {
                continue;
            }
            let named = self.wanted.get(&scope.name).copied().unwrap_or_default();
            let ours =
                !self.everyone.is_empty() && self.container(engine, scope.cgroup, &scope.name).is_some();
            let kinds = if ours { named.union(self.everyone) } else { named };
            if kinds.is_empty() {
                self.probes()?.forget(scope.cgroup)?;
                self.told.remove(&scope.cgroup);
                self.known.remove(&scope.cgroup);
            } else {
                self.probes()?.set_kinds(scope.cgroup, kinds)?;
            }
        }
        Ok(())
    }

    /// Traces the cgroup that a container has now, if it has one.
    fn trace_existing(&mut self, engine: &Engine, record: &ContainerRecord) -> Result<()> {
        let paths = container::cgroup(engine, record)?;
        let Some(directory) = &paths.paths().unified else { return Ok(()) };
        let Some(root) = &engine.facts()?.cgroup.unified else { return Ok(()) };
        let Ok(cgroup) = std::fs::metadata(directory).map(|metadata| metadata.ino()) else { return Ok(()) };
        let depth = directory.strip_prefix(root).map_or(0, |below| below.components().count());
        let depth = u32::try_from(depth).unwrap_or(DEPTHS);
        let name = name_of(&record.id);
        let kinds = self.wanted.get(&name).copied().unwrap_or_default().union(self.everyone);
        let container = ContainerName { container: record.id.to_string(), name: record.name.clone() };
        self.known.insert(cgroup, Some(Arc::new(container)));
        let probes = self.probes()?;
        probes.trace(cgroup, depth, &name, kinds)?;
        // Removed before it was traced: the probe that tells of removals has not seen it.
        if !std::fs::metadata(directory).is_ok_and(|metadata| metadata.ino() == cgroup) {
            probes.forget(cgroup)?;
            self.known.remove(&cgroup);
        }
        Ok(())
    }

    /// Which container a cgroup is of. A container that is removed already is found by its creation.
    fn container(&mut self, engine: &Engine, cgroup: u64, name: &Name) -> Option<Arc<ContainerName>> {
        self.known.entry(cgroup).or_insert_with(|| look_up(engine, name)).clone()
    }

    /// Hands out what is in the ring, at most `limit` records; says how many there were.
    fn read(&mut self, engine: &Engine, limit: usize) -> Result<usize> {
        let mut left = Vec::new();
        let mut foreign = Vec::new();
        self.clock.follow();
        let Self { probes, clients, known, clock, .. } = self;
        let Some(probes) = probes else { return Ok(0) };
        let count = probes.drain(limit, |record, names| {
            if record.what == What::Left {
                left.push(record.cgroup);
                return;
            }
            let container = known.entry(record.cgroup).or_insert_with(|| {
                let found = names.name_of(record.cgroup).and_then(|name| look_up(engine, &name));
                if found.is_none() {
                    foreign.push(record.cgroup);
                }
                found
            });
            if let Some(container) = container {
                hand_out(clients, &record, clock, container);
            }
        });
        for cgroup in foreign {
            // Another engine's, seen because all were wanted: it is recorded no more.
            self.probes()?.forget(cgroup)?;
        }
        for cgroup in left {
            self.settle(engine, cgroup)?;
        }
        self.clients.iter_mut().for_each(Client::flush);
        Ok(count)
    }

    /// A cgroup is gone and what it sent was handed out: tells its losses, and the end to whom it is the end.
    fn settle(&mut self, engine: &Engine, cgroup: u64) -> Result<()> {
        let Some(scope) = self.probes()?.scope(cgroup)? else { return Ok(()) };
        self.tell_losses(engine, &scope);
        self.probes()?.forget(cgroup)?;
        self.told.remove(&cgroup);
        if let Some(Some(container)) = self.known.remove(&cgroup) {
            self.finish(engine, |client, member| {
                client.until_exit && member.id.as_str() == container.container
            });
        }
        Ok(())
    }

    /// Marks members as finished, and ends the clients that have no others.
    fn finish(&mut self, engine: &Engine, is_finished: impl Fn(&ClientRule, &Member) -> bool) {
        for client in &mut self.clients {
            let rule = ClientRule { until_exit: client.until_exit };
            for member in client.members.iter_mut().flatten() {
                member.finished |= is_finished(&rule, member);
            }
        }
        let finished: Vec<u64> =
            self.clients.iter().filter(|client| client.is_finished()).map(|client| client.number).collect();
        for number in finished {
            if let Some(client) = self.clients.iter_mut().find(|client| client.number == number) {
                client.flush();
                client.queue.end(None);
            }
            self.remove(engine, number);
        }
    }

    /// Tells clients what the ring had no room for, since they were told last.
    fn tell_losses(&mut self, engine: &Engine, scope: &Scope) {
        let told = self.told.entry(scope.cgroup).or_default();
        let mut news = [0; Kind::ALL.len()];
        for (at, (_, lost)) in scope.lost.iter().enumerate() {
            news[at] = lost.saturating_sub(told[at]);
            told[at] = *lost;
        }
        if news.iter().all(|lost| *lost == 0) {
            return;
        }
        let Some(container) = self.container(engine, scope.cgroup, &scope.name) else { return };
        let time = crate::events::now();
        for client in &mut self.clients {
            let counts = Kind::ALL.into_iter().zip(news).filter(|(kind, _)| client.wants(&container, *kind));
            let lost = losses(counts);
            if !lost.is_empty() {
                let event =
                    TraceEvent::Lost { time, container: Some(Arc::clone(&container)), lost, place: "ring" };
                client.pending.push(Entry { event: Arc::new(event), counts_as: None });
            }
        }
    }

    /// What is looked up now and then: losses, cgroups whose removal found no room in the ring, containers that
    /// were removed while they did not run.
    fn sweep(&mut self, engine: &Engine) -> Result<()> {
        let scopes = self.probes()?.scopes()?;
        if scopes.iter().any(|scope| scope.gone) {
            // Everything that they sent is in the ring by now: it is read to the end of what it can hold.
            let most = self.probes()?.ring_bytes() as usize / SMALLEST_RECORD_BYTES;
            let mut count = 0;
            while count < most {
                match self.read(engine, BATCH)? {
                    0 => break,
                    read => count += read,
                }
            }
        }
        for scope in &scopes {
            self.tell_losses(engine, scope);
            if scope.gone {
                self.settle(engine, scope.cgroup)?;
            }
        }
        self.tell_overflow()?;
        let traced: Vec<Name> = scopes.iter().filter(|scope| !scope.gone).map(|scope| scope.name).collect();
        let mut removed = Vec::new();
        for member in self.clients.iter().flat_map(|client| client.members.iter().flatten()) {
            if !traced.contains(&member.name)
                && engine.db()?.read(|txn| txn.container_name(&member.id))?.is_none()
            {
                removed.push(member.id.clone());
            }
        }
        if !removed.is_empty() {
            self.finish(engine, |_, member| removed.contains(&member.id));
        }
        self.clients.iter_mut().for_each(Client::flush);
        Ok(())
    }

    /// Containers for which the kernel's maps had no room: it cannot say which.
    fn tell_overflow(&mut self) -> Result<()> {
        let count = self.probes()?.overflow()?;
        let news = count.saturating_sub(self.told_overflow);
        self.told_overflow = count;
        if news > 0 {
            let lost = [("container", news)].into_iter().collect();
            let event = TraceEvent::Lost { time: crate::events::now(), container: None, lost, place: "ring" };
            let event = Arc::new(event);
            for client in &mut self.clients {
                client.pending.push(Entry { event: Arc::clone(&event), counts_as: None });
            }
        }
        Ok(())
    }
}

/// What decides whether a container's end is a client's.
struct ClientRule {
    until_exit: bool,
}

/// No record takes less of the ring.
const SMALLEST_RECORD_BYTES: usize = 72;

/// The container of a cgroup's name, if it is one of this engine's.
fn look_up(engine: &Engine, name: &Name) -> Option<Arc<ContainerName>> {
    let id = ContainerId::parse(std::str::from_utf8(name).ok()?).ok()?;
    let read = |mut db: crate::engine::Connection<'_>| {
        db.read(|txn| match txn.container_name(&id)? {
            Some(name) => Ok(Some(name)),
            None => Ok(txn
                .last_event(id.as_str(), "create")?
                .and_then(|event| event.event.attributes.get("name").cloned())),
        })
    };
    // A database that cannot be read now is an unknown container, not the end of every trace.
    let found = engine.db().and_then(read).ok().flatten();
    found.map(|name| Arc::new(ContainerName { container: id.to_string(), name }))
}

/// Gives an event to every client that wants it.
fn hand_out(clients: &mut [Client], record: &Record<'_>, clock: &Clock, container: &Arc<ContainerName>) {
    let Some(kind) = record.what.kind() else { return };
    let mut event: Option<Arc<TraceEvent>> = None;
    for client in clients.iter_mut().filter(|client| client.wants(container, kind)) {
        let event = match &event {
            Some(event) => Arc::clone(event),
            None => {
                let Some(made) = TraceEvent::of(record, clock.wall_time(record.boot_ns), container) else {
                    return;
                };
                Arc::clone(event.insert(Arc::new(made)))
            }
        };
        client.pending.push(Entry { event, counts_as: Some((Arc::clone(container), kind)) });
    }
}

/// From the kernel's clock, which never jumps, to the time of day.
#[derive(Debug, Default)]
struct Clock {
    offset_ns: i64,
}

impl Clock {
    /// Follows a time of day that was set.
    fn follow(&mut self) {
        let read = |clock: ClockId| {
            let time = clock_gettime(clock).ok()?;
            time.tv_sec().checked_mul(1_000_000_000)?.checked_add(time.tv_nsec())
        };
        if let (Some(wall), Some(boot)) = (read(ClockId::CLOCK_REALTIME), read(ClockId::CLOCK_BOOTTIME)) {
            let offset = wall - boot;
            if (offset - self.offset_ns).abs() > CLOCK_TOLERANCE_NS {
                self.offset_ns = offset;
            }
        }
    }

    fn wall_time(&self, boot_ns: u64) -> Timestamp {
        Timestamp(i64::try_from(boot_ns).unwrap_or(i64::MAX).saturating_add(self.offset_ns))
    }
}
