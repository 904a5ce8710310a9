//! Threads that write the small files of a layer, beside the one that reads its tar.
//!
//! ```text
//!   the reader of the tar: every name, in order ── batches: descriptors, bytes, entries ──► workers
//!     makes files, directories, links; replaces      a queue of a few                         data, owner, mode,
//!     writes large files itself                    ◄── emptied batches ──                     xattrs, times, close
//! ```
//!
//! **Only the reader makes, links, replaces and removes names**, so what a member means depends on the members before
//! it alone, as without workers. What is left to do for a file is done through its descriptor, which no later member
//! can lead elsewhere: a file that gets a second name meanwhile is written all the same. Only who replaces something
//! waits until nothing is under way (a file that loses its name while it is open would be told of by another one,
//! and some filesystems keep such a name). Directories get their times when the workers are gone.
//!
//! **Only the first failure counts**, by place in the tar, as without workers: who fails says where, files after that
//! place are left out, those before it are still written, and the reader stops. Whatever the reader fails with itself
//! is behind all that the workers have.
//!
//! Memory and descriptors are bounded: at most 96 files and 5 MiB are handed over and not yet written. One layer of
//! the process at a time has workers, because several fill the cores by themselves. The threads end with the
//! [`Workers`], however those end.

use super::attributes::Warnings;
use super::{complete, no_room, of_member};
use crate::tarball::Entry;
use dhow_model::{Error, Result};
use dhow_sys::fsat::{self, Stat};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Larger files are written by the reader: what waits takes memory, and a large file costs its data, not its name.
const FILE_MAX: u64 = 256 << 10;
/// So much data and extended attributes make a batch, and one file may go beyond it.
const BATCH_BYTES: usize = 512 << 10;
/// As many files at most: each is a descriptor, and a process may have only 1024.
const BATCH_FILES: usize = 16;
/// As many batches may wait. Beside them, one is being filled, and each worker has one.
const WAITING: usize = 2;
/// More gain nothing: making the names is about half of the time that small files take on ext4.
const WORKERS_MAX: usize = 3;
/// When another layer has the workers, this one asks again after so many files.
const ASK_AGAIN: u64 = 256;

/// When a layer's small files are written by workers, and by how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkersPlan {
    /// So many are written without: most layers have few files, and do not pay for threads.
    pub after: u64,
    /// How many workers, each time. `None`: one less than there are cores, three at most, and none while another layer
    /// has some.
    pub count: Option<usize>,
}

impl Default for WorkersPlan {
    fn default() -> Self {
        Self { after: 500, count: None }
    }
}

impl WorkersPlan {
    /// Whether workers should be started for the `small`th file.
    pub(super) fn is_time(self, small: u64) -> bool {
        small.checked_sub(self.after).is_some_and(|more| more % ASK_AGAIN == 1)
    }
}

static SPARE_CORES: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from).saturating_sub(1));

/// Whether a layer has workers.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The right to have workers.
struct Turn;

impl Turn {
    fn take() -> Option<Self> {
        (!TAKEN.swap(true, Ordering::Acquire)).then(|| Self)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::Release);
    }
}

/// Whether that file is one for workers.
pub(super) fn takes(entry: &Entry) -> bool {
    !entry.is_sparse() && entry.stored().saturating_add(beside_data(entry) as u64) <= FILE_MAX
}

/// Memory that an entry takes.
fn beside_data(entry: &Entry) -> usize {
    entry.path.len() + entry.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
}

/// A file that has its name, but neither data nor attributes.
pub(super) struct Job {
    pub(super) file: OwnedFd,
    /// What it was when it was made.
    pub(super) stat: Stat,
    pub(super) entry: Entry,
}

#[derive(Default)]
struct Batch {
    /// The data of all files, one after the other.
    bytes: Vec<u8>,
    /// The files, and where the data of each ends.
    jobs: Vec<(Job, usize)>,
    /// What the entries take.
    beside_data: usize,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.jobs.len() >= BATCH_FILES || self.bytes.len() + self.beside_data >= BATCH_BYTES
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.jobs.clear();
        self.beside_data = 0;
    }
}

/// What writes one file.
type Write = dyn Fn(&Job, &[u8], &mut Warnings) -> Result<()> + Send + Sync;

/// The workers of one layer, as its reader sees them.
pub(super) struct Workers {
    batch: Batch,
    queue: Option<SyncSender<Batch>>,
    spent: Receiver<Batch>,
    /// Batches that were sent, and did not come back.
    out: usize,
    threads: Vec<JoinHandle<Done>>,
    failed: Arc<Failed>,
    _turn: Option<Turn>,
}

impl Workers {
    /// `None` when there are to be none, or the process can have no more threads: then the reader does it all.
    pub(super) fn start(plan: WorkersPlan, early_sync: bool) -> Option<Self> {
        let (count, turn) = match plan.count {
            Some(count) => (count, None),
            None => (WORKERS_MAX.min(*SPARE_CORES), Some(Turn::take()?)),
        };
        let write =
            move |job: &Job, data: &[u8], warnings: &mut Warnings| write(job, data, early_sync, warnings);
        Self::with(count, turn, Arc::new(write))
    }

    fn with(count: usize, turn: Option<Turn>, write: Arc<Write>) -> Option<Self> {
        let (queue, batches) = sync_channel(WAITING);
        let batches = Arc::new(Mutex::new(batches));
        let (emptied, spent) = channel();
        let failed = Arc::new(Failed::default());
        let mut threads = Vec::new();
        for _ in 0..count {
            let worker = Worker {
                batches: Arc::clone(&batches),
                emptied: emptied.clone(),
                failed: Arc::clone(&failed),
                write: Arc::clone(&write),
            };
            let thread = std::thread::Builder::new().name("layer-files".to_owned());
            match thread.spawn(move || worker.work()) {
                Ok(thread) => threads.push(thread),
                Err(_) => break,
            }
        }
        let (batch, queue) = (Batch::default(), Some(queue));
        (!threads.is_empty()).then(|| Self { batch, queue, spent, out: 0, threads, failed, _turn: turn })
    }

    /// More data of the file that is pushed next.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.batch.bytes.extend_from_slice(bytes);
    }

    pub(super) fn push(&mut self, job: Job) {
        self.batch.beside_data += beside_data(&job.entry);
        self.batch.jobs.push((job, self.batch.bytes.len()));
        if self.batch.is_full() {
            self.send();
        }
    }

    /// An error when a worker has failed: there is no use in going on. [`Self::finish`] has what it failed with.
    pub(super) fn check(&self) -> Result<()> {
        if self.failed.first() == Failed::NEVER { Ok(()) } else { Err(stopped()) }
    }

    /// Waits until all that was pushed is written.
    pub(super) fn settle(&mut self) -> Result<()> {
        self.send();
        while self.out > 0 {
            // Fails when all workers are gone, of which each would have to panic.
            self.spent.recv().map_err(|_| stopped())?;
            self.out -= 1;
        }
        self.check()
    }

    fn send(&mut self) {
        if self.batch.jobs.is_empty() {
            return;
        }
        let empty = self.spent.try_recv().inspect(|_| self.out -= 1).unwrap_or_default();
        let batch = std::mem::replace(&mut self.batch, empty);
        if let Some(queue) = &self.queue {
            self.out += 1;
            // Fails when all workers have panicked: joining them tells.
            let _ = queue.send(batch);
        }
    }

    /// Waits until all is written. Gives what each worker warns of, or else the first failure.
    pub(super) fn finish(mut self) -> Result<Vec<Warnings>> {
        self.send();
        let mut warnings = Vec::new();
        let mut first: Option<(u64, Error)> = None;
        for done in self.join() {
            // That of a panic is shown before every other: nobody knows at which place it was.
            let done =
                done.map_err(|_| Error::internal("a thread that writes the files of a layer panicked"))?;
            warnings.push(done.warnings);
            if let Some((place, error)) = done.error
                && first.as_ref().is_none_or(|(known, _)| place < *known)
            {
                first = Some((place, error));
            }
        }
        first.map_or(Ok(warnings), |(_, error)| Err(error))
    }

    fn join(&mut self) -> Vec<std::thread::Result<Done>> {
        self.queue = None;
        self.threads.drain(..).map(JoinHandle::join).collect()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // The layer is given up: what waits need not be written.
        self.failed.at(0);
        self.join();
    }
}

fn stopped() -> Error {
    Error::internal("a thread that writes the files of a layer has failed")
}

/// Where in the tar the first member is that failed so far.
struct Failed(AtomicU64);

impl Failed {
    const NEVER: u64 = u64::MAX;

    fn first(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn at(&self, place: u64) {
        self.0.fetch_min(place, Ordering::Relaxed);
    }
}

impl Default for Failed {
    fn default() -> Self {
        Self(AtomicU64::new(Self::NEVER))
    }
}

/// One thread.
struct Worker {
    batches: Arc<Mutex<Receiver<Batch>>>,
    emptied: Sender<Batch>,
    failed: Arc<Failed>,
    write: Arc<Write>,
}

/// What a worker says in the end.
#[derive(Default)]
struct Done {
    warnings: Warnings,
    error: Option<(u64, Error)>,
}

impl Worker {
    fn work(self) -> Done {
        let mut done = Done::default();
        loop {
            // A statement of its own: the lock is not held while files are written.
            let next = self.batches.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(batch) = next else { return done };
            self.write_all(&mut Held { batch, worker: &self }.batch, &mut done);
        }
    }

    fn write_all(&self, batch: &mut Batch, done: &mut Done) {
        let mut from = 0;
        for (job, end) in batch.jobs.drain(..) {
            let place = job.entry.header_at;
            if place < self.failed.first() {
                let data = batch.bytes.get(from..end).unwrap_or_default();
                if let Err(error) = (self.write)(&job, data, &mut done.warnings) {
                    self.failed.at(place);
                    done.error = Some((place, error));
                }
            }
            from = end;
        }
    }
}

/// A batch that goes back whatever happens: the reader may be waiting for it.
struct Held<'w> {
    batch: Batch,
    worker: &'w Worker,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.worker.failed.at(0);
        }
        self.batch.clear();
        // At the end nobody wants it any more.
        let _ = self.worker.emptied.send(std::mem::take(&mut self.batch));
    }
}

fn write(job: &Job, data: &[u8], early_sync: bool, warnings: &mut Warnings) -> Result<()> {
    let file = job.file.as_fd();
    fsat::write_all_at(file, data, 0)
        .map_err(no_room)
        .and_then(|()| complete(file, &job.stat, &job.entry, early_sync, warnings))
        .map_err(|error| of_member(&job.entry, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tarball::{Kind, Mtime};
    use std::sync::{Condvar, atomic::AtomicUsize};

    fn job(place: u64) -> Job {
        let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let stat = fsat::stat(file.as_fd()).unwrap();
        let entry = Entry {
            path: place.to_string().into_bytes(),
            link: Vec::new(),
            kind: Kind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: Mtime::default(),
            device: (0, 0),
            xattrs: Vec::new(),
            segments: Vec::new(),
            header_at: place,
            data_at: place + 512,
        };
        Job { file, stat, entry }
    }

    fn workers(
        count: usize,
        write: impl Fn(u64, &[u8]) -> Result<()> + Send + Sync + 'static,
    ) -> Option<Workers> {
        Workers::with(
            count,
            None,
            Arc::new(move |job: &Job, data: &[u8], _: &mut Warnings| write(job.entry.header_at, data)),
        )
    }

    #[test]
    fn each_file_gets_its_own_data() {
        for count in [1, 3] {
            let seen = Arc::new(Mutex::new(Vec::new()));
            let keep = Arc::clone(&seen);
            let mut crew = workers(count, move |place, data| {
                keep.lock().unwrap().push((place, data.to_vec()));
                Ok(())
            })
            .unwrap();
            let data =
                |place: u64| place.to_string().repeat(usize::try_from(place % 5).unwrap()).into_bytes();
            for place in 0..1000 {
                // In two pieces, as the reader may have it.
                let data = data(place);
                let (first, second) = data.split_at(data.len() / 2);
                crew.add(first);
                crew.add(second);
                crew.push(job(place));
                if place == 500 {
                    crew.settle().unwrap();
                    assert_eq!(seen.lock().unwrap().len(), 501);
                }
            }
            assert_eq!(crew.finish().unwrap().len(), count);
            let mut seen = std::mem::take(&mut *seen.lock().unwrap());
            seen.sort();
            assert_eq!(seen, (0..1000).map(|place| (place, data(place))).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_first_failure_by_place_is_told_and_later_files_are_left_out() {
        // 5 is in the first batch and 20 in the second; it fails when 20 has.
        let failed = Arc::new((Mutex::new(false), Condvar::new()));
        let mut crew = workers(2, move |place, _| {
            let (done, wake) = &*failed;
            match place {
                5 => drop(wake.wait_while(done.lock().unwrap(), |done| !*done).unwrap()),
                20 => {
                    *done.lock().unwrap() = true;
                    wake.notify_all();
                }
                _ => return Ok(()),
            }
            Err(Error::internal(format!("no {place}")))
        })
        .unwrap();
        for place in 0..32 {
            crew.push(job(place));
        }
        assert_eq!(crew.finish().unwrap_err().to_string(), "no 5");

        let calls = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&calls);
        let mut crew = workers(1, move |place, _| {
            count.fetch_add(1, Ordering::Relaxed);
            if place >= 10 { Err(Error::internal(format!("no {place}"))) } else { Ok(()) }
        })
        .unwrap();
        for place in 0..100 {
            crew.push(job(place));
        }
        assert!(crew.settle().is_err() && crew.check().is_err());
        assert_eq!(crew.finish().unwrap_err().to_string(), "no 10");
        assert_eq!(calls.load(Ordering::Relaxed), 11);
    }

    #[test]
    fn a_panic_is_an_error_and_nobody_waits_for_ever() {
        for count in [1, 3] {
            for last in [3, 300] {
                let mut crew =
                    workers(count, |place, _| if place == 2 { panic!("on purpose") } else { Ok(()) })
                        .unwrap();
                for place in 0..=last {
                    crew.push(job(place));
                }
                assert!(crew.settle().is_err(), "{count} {last}");
                let error = crew.finish().unwrap_err().to_string();
                assert!(error.contains("panicked"), "{error}");
            }
        }
    }

    #[test]
    fn the_threads_end_when_the_layer_is_given_up() {
        let write: Arc<Write> = Arc::new(|_: &Job, _: &[u8], _: &mut Warnings| Ok(()));
        let mut crew = Workers::with(3, None, Arc::clone(&write)).unwrap();
        for place in 0..40 {
            crew.push(job(place));
        }
        drop(crew);
        assert_eq!(Arc::strong_count(&write), 1);
    }

    #[test]
    fn one_layer_at_a_time_has_workers_and_small_ones_none() {
        let plan = WorkersPlan { after: 500, count: None };
        let times: Vec<u64> = (0..1300).filter(|&small| plan.is_time(small)).collect();
        assert_eq!(times, [501, 757, 1013, 1269]);
        assert!(Workers::start(WorkersPlan { after: 0, count: Some(0) }, false).is_none());
        let turn = Turn::take().unwrap();
        assert!(Workers::start(plan, false).is_none());
        drop(turn);
        assert_eq!(Workers::start(plan, false).is_some(), *SPARE_CORES > 0);
        // Given back, also by those that are gone.
        assert!(Turn::take().is_some());
    }
}
