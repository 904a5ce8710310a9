//! Transfers that break, end early, or come in pieces.

use super::*;
use crate::content::digest_of;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

type Asked = (u64, Option<u64>);

/// Where a blob comes from.
#[derive(Default)]
struct Origin {
    blob: Vec<u8>,
    asked: Mutex<Vec<Asked>>,
    /// Bytes after which each transfer breaks.
    cut: usize,
    ranges: bool,
    /// Requests are answered when that many are there.
    together: usize,
    open: Mutex<usize>,
    came: Condvar,
    /// Requests that are refused, by where they start, and how often.
    refused: Mutex<BTreeMap<u64, usize>>,
}

fn origin(cut: usize, ranges: bool) -> Origin {
    let blob = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    Origin { blob, cut, ranges, ..Origin::default() }
}

impl Origin {
    fn size(&self) -> u64 {
        self.blob.len() as u64
    }

    fn fetch(self: &Arc<Self>) -> Fetch {
        let origin = Arc::clone(self);
        Arc::new(move |from, to| origin.answer(from, to))
    }

    fn answer(&self, from: u64, to: Option<u64>) -> Result<Opened> {
        self.asked.lock().unwrap().push((from, to));
        let mut open = self.open.lock().unwrap();
        *open += 1;
        self.came.notify_all();
        while *open < self.together {
            let (guard, waited) = self.came.wait_timeout(open, Duration::from_secs(20)).unwrap();
            assert!(!waited.timed_out(), "only {} came", *guard);
            open = guard;
        }
        drop(open);
        if let Some(times) = self.refused.lock().unwrap().get_mut(&from).filter(|times| **times > 0) {
            *times -= 1;
            return Err(Error::new(dhow_model::ErrorKind::Unavailable, "busy"));
        }
        let (start, end) = if self.ranges { (from, to.unwrap_or(self.size())) } else { (0, self.size()) };
        let (start_at, end) = (usize::try_from(start).unwrap(), usize::try_from(end).unwrap());
        let piece: Vec<u8> = self.blob[start_at..end].iter().copied().take(self.cut).collect();
        Ok(Opened { reader: Box::new(std::io::Cursor::new(piece)), start, is_range: self.ranges })
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn bytes_asked(&self) -> u64 {
        self.asked().iter().map(|(from, to)| to.unwrap_or(self.size()) - from).sum()
    }
}

fn read(partials: &Partials, origin: &Arc<Origin>, limit: usize) -> std::io::Result<Vec<u8>> {
    let digest = digest_of(&origin.blob);
    let reader = partials.reader(&digest, origin.size(), origin.fetch(), Box::new(|_| {}));
    let mut out = Vec::new();
    reader.take(limit as u64).read_to_end(&mut out)?;
    Ok(out)
}

fn fixture(cut: usize, ranges: bool) -> (tempfile::TempDir, Partials, Arc<Origin>) {
    let directory = tempfile::tempdir().unwrap();
    let partials = Partials::open(&Layout::new(directory.path(), directory.path().join("s"))).unwrap();
    (directory, partials, Arc::new(origin(cut, ranges)))
}

/// Four connections, for pieces of 50,000 bytes: eight of them.
fn ranged(partials: Partials) -> Partials {
    Partials { connections: Partials::connections(4, 100_000, 50_000), ..partials }
}

#[test]
fn a_transfer_that_breaks_goes_on_where_it_stopped() {
    let (_directory, partials, origin) = fixture(150_000, true);
    assert!(read(&partials, &origin, usize::MAX).unwrap() == origin.blob);
    assert_eq!(origin.asked(), [(0, None), (150_000, None), (300_000, None)]);
}

#[test]
fn another_process_goes_on_where_the_first_one_died() {
    let (_directory, partials, origin) = fixture(usize::MAX, true);
    assert_eq!(read(&partials, &origin, 70_000).unwrap(), origin.blob[..70_000]);
    let kept = partials.length(&digest_of(&origin.blob));
    assert!(kept >= 70_000, "{kept}");
    assert!(read(&partials, &origin, usize::MAX).unwrap() == origin.blob);
    assert_eq!(origin.asked(), [(0, None), (kept, None)]);
    // All of it is here: nobody is asked.
    assert!(read(&partials, &origin, usize::MAX).unwrap() == origin.blob);
    assert_eq!(origin.asked().len(), 2);
    assert!(partials.sweep().unwrap() > 0);
    assert_eq!(partials.length(&digest_of(&origin.blob)), 0);
}

#[test]
fn an_origin_without_ranges_is_read_from_its_start() {
    let (_directory, partials, origin) = fixture(usize::MAX, false);
    read(&partials, &origin, 70_000).unwrap();
    assert!(read(&partials, &origin, usize::MAX).unwrap() == origin.blob);
}

#[test]
fn an_origin_that_gives_nothing_is_an_error_and_more_than_was_said_is_not_taken() {
    let (_directory, partials, empty) = fixture(0, true);
    let error = read(&partials, &empty, usize::MAX).unwrap_err().to_string();
    assert!(error.contains("broke after 0 of 400000 bytes"), "{error}");
    let full = Arc::new(origin(usize::MAX, true));
    let mut out = Vec::new();
    let digest = digest_of(b"x");
    partials.reader(&digest, 1000, full.fetch(), Box::new(|_| {})).read_to_end(&mut out).unwrap();
    assert_eq!(out.len(), 1000);
}

#[test]
fn two_at_once_do_not_write_into_each_others_file() {
    let (_directory, partials, origin) = fixture(usize::MAX, true);
    for partials in [partials.clone(), ranged(partials)] {
        let digest = digest_of(&origin.blob);
        let mut first = partials.reader(&digest, origin.size(), origin.fetch(), Box::new(|_| {}));
        let mut byte = [0];
        first.read_exact(&mut byte).unwrap();
        assert!(read(&partials, &origin, usize::MAX).unwrap() == origin.blob);
        let mut rest = Vec::new();
        first.read_to_end(&mut rest).unwrap();
        assert!(rest == origin.blob[1..]);
        drop(first);
        partials.forget(&digest).unwrap();
    }
}

#[test]
fn a_large_blob_comes_in_pieces_over_several_connections() {
    let directory = tempfile::tempdir().unwrap();
    let partials = Partials::open(&Layout::new(directory.path(), directory.path().join("s"))).unwrap();
    let partials = ranged(partials);
    // No answer before four requests are there.
    let origin = Arc::new(Origin { together: 4, ..origin(usize::MAX, true) });
    let heard = Mutex::new(Vec::new());
    let digest = digest_of(&origin.blob);
    let mut reader = partials.reader(
        &digest,
        origin.size(),
        origin.fetch(),
        Box::new(|bytes| heard.lock().unwrap().push(bytes)),
    );
    let mut out = Vec::new();
    reader.read_to_end(&mut out).unwrap();
    drop(reader);
    assert!(out == origin.blob);
    let mut asked = origin.asked();
    asked.sort_unstable();
    let pieces: Vec<Asked> = (0..8).map(|n| (n * 50_000, Some((n + 1) * 50_000))).collect();
    assert_eq!(asked, pieces);
    let heard = heard.into_inner().unwrap();
    assert!(heard.is_sorted() && heard.last() == Some(&origin.size()), "{heard:?}");

    // What is there is one blob for those who list, forget and sweep.
    assert_eq!(partials.list().unwrap(), [(digest.clone(), origin.size())]);
    assert!(read(&partials, &origin, usize::MAX).unwrap() == origin.blob);
    assert_eq!(origin.asked().len(), 8, "all of it was there");
    assert!(partials.forget(&digest).unwrap());
    assert_eq!(partials.directory.read_dir().unwrap().count(), 0);
}

/// What a process that was killed has left: pieces of any length.
fn leave(partials: &Partials, origin: &Origin, spans: &[(usize, usize)]) {
    let path = partials.path(&digest_of(&origin.blob));
    for (start, end) in spans {
        let path = if *start == 0 { path.clone() } else { path.with_extension(start.to_string()) };
        std::fs::write(path, &origin.blob[*start..*end]).unwrap();
    }
}

#[test]
fn pieces_that_a_killed_process_left_are_not_fetched_again() {
    let (_directory, partials, origin) = fixture(usize::MAX, true);
    let spans = [(0, 30_000), (50_000, 100_000), (120_000, 120_000), (150_000, 151_000), (390_000, 400_000)];
    leave(&partials, &origin, &spans);
    let here: usize = spans.iter().map(|(start, end)| end - start).sum();
    assert_eq!(partials.length(&digest_of(&origin.blob)), here as u64);
    let partials = ranged(partials);
    assert!(read(&partials, &origin, usize::MAX).unwrap() == origin.blob);
    assert_eq!(origin.bytes_asked(), origin.size() - here as u64, "{:?}", origin.asked());
    partials.forget(&digest_of(&origin.blob)).unwrap();

    // The same over one connection: it asks for what is missing, too.
    leave(&partials, &origin, &spans);
    origin.asked.lock().unwrap().clear();
    let alone = Partials { connections: Partials::connections(1, 0, 1), ..partials };
    assert!(read(&alone, &origin, usize::MAX).unwrap() == origin.blob);
    let gaps = [(30_000, Some(50_000)), (100_000, Some(150_000)), (151_000, Some(390_000))];
    assert_eq!(origin.asked(), gaps);
    assert!(read(&alone, &origin, usize::MAX).unwrap() == origin.blob, "what it kept is right");
    assert_eq!(origin.asked().len(), 3);

    // Nobody's: pieces whose first file is gone, and names that nobody gave.
    let first = alone.path(&digest_of(&origin.blob));
    std::fs::remove_file(&first).unwrap();
    std::fs::write(first.with_extension("odd"), "x").unwrap();
    alone.sweep().unwrap();
    assert_eq!(alone.directory.read_dir().unwrap().count(), 0);
}

#[test]
fn pieces_that_cannot_be_are_thrown_away() {
    let (_directory, partials, origin) = fixture(usize::MAX, true);
    leave(&partials, &origin, &[(0, 60_000), (50_000, 60_000), (399_000, 400_000)]);
    let first = partials.path(&digest_of(&origin.blob));
    std::fs::write(first.with_extension("399500"), vec![0; 1000]).unwrap();
    std::fs::write(first.with_extension("070000"), vec![0; 1000]).unwrap();
    let partials = ranged(partials);
    assert!(read(&partials, &origin, usize::MAX).unwrap() == origin.blob);
    assert_eq!(origin.bytes_asked(), 339_000, "{:?}", origin.asked());
}

#[test]
fn pieces_that_break_go_on_where_they_stopped() {
    let (_directory, partials, origin) = fixture(20_000, true);
    let partials = ranged(partials);
    assert!(read(&partials, &origin, usize::MAX).unwrap() == origin.blob);
    let mut starts: Vec<u64> = origin.asked().iter().map(|(from, _)| *from).collect();
    starts.sort_unstable();
    let wanted: Vec<u64> = (0..8).flat_map(|n| [0, 20_000, 40_000].map(|at| n * 50_000 + at)).collect();
    assert_eq!(starts, wanted);
}

#[test]
fn an_origin_without_ranges_is_asked_for_the_whole() {
    let (_directory, partials, origin) = fixture(usize::MAX, false);
    let partials = ranged(partials);
    assert!(read(&partials, &origin, usize::MAX).unwrap() == origin.blob);
    assert!(origin.asked().len() <= 5, "{:?}", origin.asked());
}

#[test]
fn a_piece_that_is_refused_is_asked_for_again_and_then_by_fewer() {
    let (_directory, partials, origin) = fixture(usize::MAX, true);
    let partials = ranged(partials);
    // Once; for as long as a connection tries; and for ever.
    *origin.refused.lock().unwrap() = [(50_000, 1), (100_000, 3)].into();
    assert!(read(&partials, &origin, usize::MAX).unwrap() == origin.blob);
    assert_eq!(origin.asked().iter().filter(|(from, _)| *from == 100_000).count(), 4);

    partials.forget(&digest_of(&origin.blob)).unwrap();
    origin.asked.lock().unwrap().clear();
    *origin.refused.lock().unwrap() = [(200_000, usize::MAX)].into();
    let error = read(&partials, &origin, usize::MAX).unwrap_err().to_string();
    assert!(error.contains("busy"), "{error}");
    // All that could be had is kept for the next time.
    *origin.refused.lock().unwrap() = BTreeMap::new();
    origin.asked.lock().unwrap().clear();
    assert!(read(&partials, &origin, usize::MAX).unwrap() == origin.blob);
    assert_eq!(origin.bytes_asked(), 50_000, "{:?}", origin.asked());
}

#[test]
fn blobs_that_come_at_once_share_the_connections() {
    let (_directory, partials, origin) = fixture(usize::MAX, true);
    let partials = ranged(partials);
    let others: Vec<Connection> = (0..4).map(|_| partials.connections.take()).collect();
    // Alone, with nothing to spare: one request, as if there were no ranges.
    assert!(read(&partials, &origin, usize::MAX).unwrap() == origin.blob);
    assert_eq!(origin.asked(), [(0, Some(400_000))]);
    drop(others);
    assert!(partials.connections.has_spare());
    assert_eq!(partials.connections.busy.load(Ordering::Relaxed), 0);
}

#[test]
fn a_reader_that_is_dropped_ends_its_threads_and_gives_the_files_back() {
    let (_directory, partials, origin) = fixture(usize::MAX, true);
    let partials = ranged(partials);
    *origin.refused.lock().unwrap() = [(50_000, usize::MAX), (350_000, usize::MAX)].into();
    let digest = digest_of(&origin.blob);
    let mut reader = partials.reader(&digest, origin.size(), origin.fetch(), Box::new(|_| {}));
    reader.read_exact(&mut [0]).unwrap();
    drop(reader);
    assert_eq!(Arc::strong_count(&origin), 1, "no thread has it any more");
    assert!(partials.sweep().unwrap() > 0);
    assert_eq!(partials.directory.read_dir().unwrap().count(), 0);
}
