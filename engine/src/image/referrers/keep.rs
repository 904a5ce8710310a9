//! Fetches what refers to an image, and keeps it. Whoever can write to a repository can attach things to what is in it,
//! so there is a bound for everything, and nothing that goes wrong here spoils a pull.

use crate::Engine;
use crate::image::gc;
use crate::image::transfer::{Announce, Message};
use dhow_model::{Digest, Error, ErrorKind, Result};
use dhow_registry::Repository;
use dhow_store::db::{KeptBlob, Referrer};
use dhow_store::manifest::{Descriptor, INDEX, parse};
use dhow_store::referrers::{self, PER_SUBJECT_MAX, Room};
use std::collections::BTreeSet;
use std::io::Read;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a pull waits for them when everything else is there.
const GRACE: Duration = Duration::from_secs(10);

/// Says how much time there is: plenty while the layers come, little afterwards.
#[derive(Debug, Default)]
pub(in crate::image) struct Haste {
    waited_for_since: OnceLock<Instant>,
    is_vain: AtomicBool,
}

impl Haste {
    /// Everything else is there.
    fn begin(&self) {
        self.waited_for_since.get_or_init(Instant::now);
    }

    /// The pull has failed.
    fn give_up(&self) {
        self.is_vain.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> Result<()> {
        let late = self.waited_for_since.get().is_some_and(|since| since.elapsed() > GRACE);
        if late || self.is_vain.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Unavailable, "it takes too long"));
        }
        Ok(())
    }
}

/// Keeps what refers to one image.
pub(in crate::image) struct Keeper<'a> {
    pub(in crate::image) engine: &'a Engine,
    pub(in crate::image) repository: &'a Repository,
    /// As references have it: `docker.io/library/debian`.
    pub(in crate::image) name: &'a str,
    /// The image's manifest, and the indexes on the way to it.
    pub(in crate::image) subjects: Vec<Digest>,
    /// What the indexes have beside images.
    pub(in crate::image) attestations: Vec<Descriptor>,
    pub(in crate::image) haste: Haste,
    pub(in crate::image) announce: &'a dyn Announce,
}

/// What was found, and what was not.
#[derive(Default)]
struct Found {
    kept: Vec<Referrer>,
    left_out: Vec<String>,
    room: Room,
}

/// Why something is not kept.
enum Why {
    /// Something is wrong with it.
    Odd(Error),
    /// Nothing more is to be had.
    Over(Error),
}

impl From<Error> for Why {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Unsupported => Self::Odd(error),
            _ => Self::Over(error),
        }
    }
}

impl Keeper<'_> {
    /// Does the main work, and meanwhile puts what refers to its result into the content store; the rows are for the
    /// caller to write.
    pub(in crate::image) fn beside<T>(self, work: impl FnOnce() -> Result<T>) -> (Result<T>, Vec<Referrer>) {
        std::thread::scope(|scope| {
            let referrers = scope.spawn(|| self.keep());
            let done = work();
            if done.is_err() {
                self.haste.give_up();
            }
            self.haste.begin();
            // A thread that panicked has nothing to give.
            (done, referrers.join().unwrap_or_default())
        })
    }

    fn keep(&self) -> Vec<Referrer> {
        let mut found = Found::default();
        if let Err(error) = self.subjects.iter().try_for_each(|subject| self.keep_of(subject, &mut found)) {
            found.left_out.insert(0, self.told(&error));
        }
        if !found.left_out.is_empty() {
            // Some of its blobs may be here. What cannot be said now, the next sweep finds.
            let _ = gc::want_sweep(self.engine);
        }
        for line in referrers::said_of(&found.left_out) {
            self.announce.say(&Message::status(line));
        }
        found.kept
    }

    fn keep_of(&self, subject: &Digest, found: &mut Found) -> Result<()> {
        let known = self.engine.db()?.read(|txn| txn.referrers_of(subject))?;
        found.room.hold(super::bytes(known.iter()));
        let known: BTreeSet<&str> = known.iter().map(|known| known.manifest.digest.as_str()).collect();
        let about_it = |entry: &&Descriptor| entry.attests() == Some(subject.as_str());
        let mut listed: Vec<Descriptor> = self.attestations.iter().filter(about_it).cloned().collect();
        // What an index ties to the image is kept also when its registry lists nothing.
        let list = self.list(subject);
        let failure = match list {
            Ok(more) => {
                listed.extend(more);
                None
            }
            Err(error) => Some(error),
        };
        let mut seen = BTreeSet::new();
        listed.retain(|entry| seen.insert(entry.digest.clone()));
        let room = PER_SUBJECT_MAX.saturating_sub(known.len());
        let (old, mut new): (Vec<_>, Vec<_>) =
            listed.into_iter().partition(|entry| known.contains(entry.digest.as_str()));
        if new.len() > room {
            let over = new.len() - room;
            found.left_out.push(format!("{over} of {subject}: at most {PER_SUBJECT_MAX} are kept"));
            new.truncate(room);
        }
        for entry in old.iter().chain(&new) {
            match self.referrer(subject, entry, found) {
                Ok(referrer) => found.kept.push(referrer),
                Err(Why::Odd(error)) => {
                    found.left_out.push(format!("{}: {}", referrers::shown(entry), self.told(&error)))
                }
                Err(Why::Over(error)) => return Err(error),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// What the registry lists.
    fn list(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.haste.check()?;
        let name = format!("registry {}: the list of referrers of {subject}", self.repository.host());
        let mut listed = Vec::new();
        for page in self.repository.referrers(subject)? {
            let entries = parse(&name, &page, Some(INDEX))?.manifests;
            listed.extend(entries.ok_or_else(|| Error::corrupt(format!("{name} is no index")))?);
        }
        Ok(listed)
    }

    /// One of them, verified and in place.
    fn referrer(&self, subject: &Digest, entry: &Descriptor, found: &mut Found) -> Result<Referrer, Why> {
        self.haste.check().map_err(Why::Over)?;
        let digest = referrers::check_entry(entry)?;
        let content = self.engine.content();
        let bytes = match content.contains(&digest) {
            true => content.read_small(&digest)?,
            false => self.repository.referrer_manifest(&digest, &entry.media_type)?,
        };
        let referrer = referrers::read(subject, entry, &bytes, self.name)?;
        found.room.take(content, &referrer)?;
        for blob in &referrer.blobs {
            self.blob(blob)?;
        }
        content.put_bytes(&bytes, Some(&digest))?;
        Ok(referrer)
    }

    /// Fetches a blob that is not here.
    fn blob(&self, blob: &KeptBlob) -> Result<()> {
        let content = self.engine.content();
        let wrong = || self.wrong(&format!("blob {} of it is not what its manifest says", blob.digest));
        if let Some(size) = content.size(&blob.digest) {
            return if size == blob.size_bytes { Ok(()) } else { Err(wrong()) };
        }
        let mut tries = 2;
        loop {
            tries -= 1;
            self.haste.check()?;
            let opened = self.repository.referrer_blob(&blob.digest)?;
            // One byte more than there should be is enough to know.
            let mut reader = Hurried {
                reader: opened.reader.take(blob.size_bytes.saturating_add(1)),
                haste: &self.haste,
                count: 0,
                broke: false,
            };
            let put = content.put(&mut reader, Some(&blob.digest));
            let (count, broke) = (reader.count, reader.broke);
            match put {
                Ok(_) if count == blob.size_bytes => return Ok(()),
                Ok(_) => return Err(wrong()),
                // A transfer that ends too early is worth another try; so is one that breaks.
                Err(_) if (broke || count < blob.size_bytes) && tries > 0 => {}
                Err(error) if broke => return Err(error.with_kind(ErrorKind::Unavailable)),
                Err(error) if error.kind() == ErrorKind::Corrupt => return Err(wrong()),
                Err(error) => return Err(error),
            }
        }
    }

    /// What went wrong, and with which registry.
    fn told(&self, error: &Error) -> String {
        let text = error.to_string();
        match text.starts_with("registry ") {
            true => text,
            false => format!("registry {}: {text}", self.repository.host()),
        }
    }

    fn wrong(&self, what: &str) -> Error {
        Error::corrupt(format!("registry {}: {what}", self.repository.host()))
    }
}

/// A transfer that ends when there is no more time.
struct Hurried<'a, R> {
    reader: R,
    haste: &'a Haste,
    count: u64,
    /// Whether it was the transfer that failed.
    broke: bool,
}

impl<R: Read> Read for Hurried<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = match self.haste.check() {
            Err(late) => Err(std::io::Error::other(late)),
            Ok(()) => self.reader.read(buffer),
        };
        match &read {
            Ok(more) => self.count += *more as u64,
            Err(error) => self.broke |= error.kind() != std::io::ErrorKind::Interrupted,
        }
        read
    }
}
