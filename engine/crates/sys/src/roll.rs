//! A roll of living processes: a file in which the kernel itself strikes out who dies.
//!
//! Who wants to know which of a thousand processes live, and asks for the lock of each, makes three thousand calls.
//! The roll answers for all with one read. It rests on robust futexes (set_robust_list(2), and the kernel's
//! Documentation/locking/robust-futex-ABI.rst): a thread tells the kernel of a word in memory; when the thread ends,
//! however it ends, the kernel sets `FUTEX_OWNER_DIED` in that word, if its id is there. The word lies in a mapped
//! file, so that every process can read it.
//!
//! ```text
//! place of 128 bytes: │ word: u32 │ boot id: 36 bytes │ 24 bytes 0 │ name: 64 bytes │
//!
//! word   0                      free
//!        tid | WAITERS          being taken: the name is not to be read
//!        tid                    taken by who lives
//!        OWNER_DIED [| WAITERS] free: who had it has died
//! ```
//!
//! A place with another boot's id is free, whatever its word says: the file may lie on a disk.
//!
//! Absence from the roll says nothing: a process may have found no room. Presence says that it lives.

use crate::error::{Error, OnErrno, Result, check};
use nix::errno::Errno;
use std::collections::HashSet;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes of a name.
pub const NAME_BYTES: usize = 64;
/// Bytes of a boot id: /proc/sys/kernel/random/boot_id.
pub const BOOT_BYTES: usize = 36;

const PLACE: usize = 128;
const BOOT_AT: usize = 4;
const NAME_AT: usize = PLACE - NAME_BYTES;
/// The file grows by so much. Also what is mapped: no place lies across two pages.
const PAGE: usize = 4096;
/// Places for 32,768: a reader takes no more than 4 MiB, whatever the file says.
const BYTES_MAX: u64 = 4 << 20;

// futex(2), in the words of <linux/futex.h>.
const WAITERS: u32 = 0x8000_0000;
const OWNER_DIED: u32 = 0x4000_0000;
const TID: u32 = 0x3fff_ffff;

/// `struct robust_list_head` of <linux/futex.h>.
#[repr(C)]
struct Head {
    /// Points to itself: the list is empty.
    list: *const Head,
    futex_offset: libc::c_long,
    /// The one word that the kernel shall look at. This field is for a lock that is just being taken, and a word
    /// needs no neighbours for it.
    pending: *const AtomicU32,
}

/// A place on the roll, for as long as this lives or the thread that took it.
#[derive(Debug)]
pub struct Place {
    page: NonNull<u8>,
    word: NonNull<AtomicU32>,
    head: NonNull<Head>,
    /// The C library's list, which the thread had before.
    before: (*mut libc::c_void, usize),
}

impl Place {
    /// Takes a place for the calling thread, which must live as long as its process is to be taken for alive: the
    /// first thread of a process with one. The thread has one place at a time, and must not hold a robust mutex of
    /// the C library (`PTHREAD_MUTEX_ROBUST`) meanwhile.
    ///
    /// `Ok(None)` when the file has no room, and must not grow any more. Nobody may shorten the file while it is
    /// mapped: the next access would end the process (SIGBUS, mmap(2)).
    ///
    /// # Errors
    /// As pread(2), fallocate(2), mmap(2), set_robust_list(2); `EINVAL` for a file with a wrong length.
    pub fn take(
        file: &File,
        boot: &[u8; BOOT_BYTES],
        name: &[u8; NAME_BYTES],
    ) -> std::result::Result<Option<Self>, Error> {
        // Again when another process was quicker at that place; the bound is for a file that makes no sense.
        for _ in 0..1024 {
            let all = read(file)?;
            let free = all.chunks_exact(PLACE).position(|place| is_free(place, boot));
            let offset = free.map_or(all.len(), |index| index * PLACE);
            let page_at = offset / PAGE * PAGE;
            if free.is_none() {
                if page_at as u64 >= BYTES_MAX {
                    return Ok(None);
                }
                // Reserved, not only made longer: writing to a hole of a full disk through a mapping is SIGBUS.
                reserve(file, page_at).on("fallocate", "roll")?;
            }
            let expected = all.get(offset..).and_then(word_of).unwrap_or(0);
            let page = map(file, page_at).on("mmap", "roll")?;
            match Self::claim(page, offset - page_at, expected, boot, name) {
                Ok(Some(place)) => return Ok(Some(place)),
                Ok(None) => unmap(page),
                Err(errno) => {
                    unmap(page);
                    return Err(errno).on("set_robust_list", "roll");
                }
            }
        }
        Ok(None)
    }

    /// `Ok(None)`: another process took it.
    fn claim(page: NonNull<u8>, at: usize, expected: u32, boot: &[u8], name: &[u8]) -> Result<Option<Self>> {
        // SAFETY: `at` is a multiple of PLACE below PAGE, so all of the place lies in the mapped page, aligned.
        let (word, boot_at, name_at) = unsafe {
            let place = page.add(at);
            (place.cast::<AtomicU32>(), place.add(BOOT_AT), place.add(NAME_AT))
        };
        let mut before = (std::ptr::null_mut(), 0_usize);
        // SAFETY: asks for the calling thread's own list, and writes to two variables of this frame.
        check(unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut before.0, &raw mut before.1) })?;
        let head =
            Box::leak(Box::new(Head { list: std::ptr::null(), futex_offset: 0, pending: word.as_ptr() }));
        head.list = std::ptr::from_ref(head);
        let head = NonNull::from(head);
        // From here on the word is looked at, whatever happens: so nobody is taken for alive for ever.
        // SAFETY: the head is never freed but by `drop`, which takes it out of the kernel's hands first.
        let told =
            check(unsafe { libc::syscall(libc::SYS_set_robust_list, head.as_ptr(), size_of::<Head>()) });
        if let Err(errno) = told {
            // SAFETY: leaked above, and nobody else has it.
            drop(unsafe { Box::from_raw(head.as_ptr()) });
            return Err(errno);
        }
        // SAFETY: mapped and aligned; others touch it through atomics too.
        let futex = unsafe { word.as_ref() };
        let tid = own_tid();
        if futex.compare_exchange(expected, tid | WAITERS, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            withdraw(head, before);
            return Ok(None);
        }
        // SAFETY: within the mapped place, whose word says that nobody else writes or reads these bytes.
        unsafe {
            std::ptr::copy_nonoverlapping(boot.as_ptr(), boot_at.as_ptr(), boot.len());
            std::ptr::copy_nonoverlapping(name.as_ptr(), name_at.as_ptr(), name.len());
        }
        futex.store(tid, Ordering::Release);
        Ok(Some(Self { page, word, head, before }))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // SAFETY: mapped until the end of this function.
        unsafe { self.word.as_ref() }.store(0, Ordering::Release);
        withdraw(self.head, self.before);
        unmap(self.page);
    }
}

/// Gives the thread the list back that it had before, and frees ours.
fn withdraw(head: NonNull<Head>, before: (*mut libc::c_void, usize)) {
    // SAFETY: the C library's own list, as it was.
    let told = check(unsafe { libc::syscall(libc::SYS_set_robust_list, before.0, before.1) });
    if told.is_ok() {
        // SAFETY: made by `Box`, and the kernel has forgotten it. Otherwise it stays, for the kernel to look at.
        drop(unsafe { Box::from_raw(head.as_ptr()) });
    }
}

/// The names on the roll, of those who live.
///
/// # Errors
/// As pread(2).
pub fn living(file: &File, boot: &[u8; BOOT_BYTES]) -> std::result::Result<HashSet<[u8; NAME_BYTES]>, Error> {
    let all = read(file)?;
    let lives = |place: &[u8]| {
        let word = word_of(place)?;
        let theirs = place.get(BOOT_AT..BOOT_AT + BOOT_BYTES)?;
        if word & TID == 0 || word & (OWNER_DIED | WAITERS) != 0 || theirs != boot {
            return None;
        }
        place.get(NAME_AT..)?.try_into().ok()
    };
    Ok(all.chunks_exact(PLACE).filter_map(lives).collect())
}

/// This boot's id, as the roll has it.
///
/// # Errors
/// When /proc cannot be read; `EINVAL` when it says something else.
pub fn boot_id() -> std::result::Result<[u8; BOOT_BYTES], Error> {
    let path = "/proc/sys/kernel/random/boot_id";
    let mut id = [0; BOOT_BYTES];
    File::open(path)
        .and_then(|file| file.read_exact_at(&mut id, 0))
        .map_err(|e| errno(&e))
        .on("read", path)?;
    Ok(id)
}

fn is_free(place: &[u8], boot: &[u8; BOOT_BYTES]) -> bool {
    let word = word_of(place).unwrap_or(0);
    let taken = word & TID != 0 && word & OWNER_DIED == 0;
    // While it is being taken, the boot's id may still be the old one.
    !taken || (word & WAITERS == 0 && place.get(BOOT_AT..BOOT_AT + BOOT_BYTES) != Some(boot.as_slice()))
}

fn word_of(place: &[u8]) -> Option<u32> {
    place.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// All that there is, in whole places.
fn read(file: &File) -> std::result::Result<Vec<u8>, Error> {
    let bytes = file.metadata().map_err(|e| errno(&e)).on("fstat", "roll")?.len().min(BYTES_MAX);
    let mut all = vec![0; usize::try_from(bytes).unwrap_or(0) / PAGE * PAGE];
    file.read_exact_at(&mut all, 0).map_err(|e| errno(&e)).on("pread", "roll")?;
    Ok(all)
}

fn reserve(file: &File, at: usize) -> Result<()> {
    let signed = |number: usize| libc::off_t::try_from(number).map_err(|_| Errno::EFBIG);
    let (offset, length) = (signed(at)?, signed(PAGE)?);
    loop {
        // SAFETY: numbers and a descriptor. Two processes may reserve the same page: it stays as it is.
        match check(unsafe { libc::fallocate(file.as_raw_fd(), 0, offset, length) }.into()) {
            Err(Errno::EINTR) => {}
            done => return done.map(drop),
        }
    }
}

fn map(file: &File, at: usize) -> Result<NonNull<u8>> {
    let offset = libc::off_t::try_from(at).map_err(|_| Errno::EFBIG)?;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping of one page that the file has, at an address that the kernel chooses.
    let address =
        unsafe { libc::mmap(std::ptr::null_mut(), PAGE, access, libc::MAP_SHARED, file.as_raw_fd(), offset) };
    if address == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    NonNull::new(address.cast()).ok_or(Errno::EFAULT)
}

fn unmap(page: NonNull<u8>) {
    // SAFETY: mapped by `map` with this length, and nobody holds a reference any more. It cannot fail for a valid range.
    unsafe { libc::munmap(page.as_ptr().cast(), PAGE) };
}

/// As the kernel compares it: in the thread's own pid namespace, and never 0.
fn own_tid() -> u32 {
    u32::try_from(nix::unistd::gettid().as_raw()).unwrap_or(0) & TID
}

fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clone, process};
    use std::os::fd::AsFd;

    fn name(n: u8) -> [u8; NAME_BYTES] {
        [b'0' + n; NAME_BYTES]
    }

    /// A child that takes a place, says so, and lives until it is killed.
    fn child(file: &File, boot: &[u8; BOOT_BYTES], n: u8) -> clone::Child {
        let (mut told, tell) = std::io::pipe().unwrap();
        let child = clone::fork_with(0, None, || {
            let _place = Place::take(file, boot, &name(n)).unwrap().unwrap();
            std::io::Write::write_all(&mut &tell, b"x").unwrap();
            loop {
                std::thread::park();
            }
        })
        .unwrap();
        drop(tell);
        std::io::Read::read_exact(&mut told, &mut [0]).unwrap();
        child
    }

    fn kill(child: &clone::Child) {
        process::pidfd_send_signal(child.pidfd.as_fd(), libc::SIGKILL).unwrap();
        process::wait_pidfd(child.pidfd.as_fd(), true).unwrap();
    }

    fn sorted(file: &File, boot: &[u8; BOOT_BYTES]) -> Vec<u8> {
        let mut all: Vec<u8> = living(file, boot).unwrap().into_iter().map(|name| name[0] - b'0').collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn the_kernel_strikes_out_who_is_killed() {
        let file = tempfile::tempfile().unwrap();
        let boot = boot_id().unwrap();
        assert!(living(&file, &boot).unwrap().is_empty(), "an empty file has no places");
        let children: Vec<_> = (1..=3).map(|n| child(&file, &boot, n)).collect();
        assert_eq!(sorted(&file, &boot), [1, 2, 3]);
        kill(&children[1]);
        assert_eq!(sorted(&file, &boot), [1, 3]);
        // The free place is taken again, before the file grows.
        let another = child(&file, &boot, 4);
        assert_eq!(sorted(&file, &boot), [1, 3, 4]);
        assert_eq!(file.metadata().unwrap().len(), PAGE as u64);
        for child in [&children[0], &children[2], &another] {
            kill(child);
        }
        assert!(living(&file, &boot).unwrap().is_empty());
    }

    #[test]
    fn a_place_that_is_given_back_is_free_and_the_thread_has_its_own_list_again() {
        let file = tempfile::tempfile().unwrap();
        let boot = boot_id().unwrap();
        let list = || {
            let mut list = (std::ptr::null_mut::<libc::c_void>(), 0_usize);
            // SAFETY: writes to this frame.
            check(unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut list.0, &raw mut list.1) })
                .unwrap();
            list
        };
        let before = list();
        for n in 1..=3 {
            let place = Place::take(&file, &boot, &name(n)).unwrap().unwrap();
            assert_eq!(sorted(&file, &boot), [n]);
            assert_ne!(list(), before);
            drop(place);
            assert!(living(&file, &boot).unwrap().is_empty());
            assert_eq!(list(), before);
        }
        assert_eq!(file.metadata().unwrap().len(), PAGE as u64);
    }

    #[test]
    fn another_boots_places_are_free() {
        let file = tempfile::tempfile().unwrap();
        let (old, boot) = ([b'o'; BOOT_BYTES], boot_id().unwrap());
        let mut page = vec![0; PAGE];
        for place in page.chunks_exact_mut(PLACE) {
            place[..4].copy_from_slice(&1234_u32.to_ne_bytes());
            place[BOOT_AT..BOOT_AT + BOOT_BYTES].copy_from_slice(&old);
            place[NAME_AT..].copy_from_slice(&name(7));
        }
        file.write_all_at(&page, 0).unwrap();
        assert!(living(&file, &boot).unwrap().is_empty());
        let _place = Place::take(&file, &boot, &name(1)).unwrap().unwrap();
        assert_eq!(sorted(&file, &boot), [1]);
        assert_eq!(file.metadata().unwrap().len(), PAGE as u64, "no new place");
    }

    #[test]
    fn a_full_page_makes_the_file_grow_and_many_at_once_share_no_place() {
        let file = tempfile::tempfile().unwrap();
        let boot = boot_id().unwrap();
        // Threads are to the kernel what processes are: each has a list of its own.
        let all_in = std::sync::Barrier::new(81);
        std::thread::scope(|scope| {
            for n in 0..80_u8 {
                let (file, boot, all_in) = (&file, &boot, &all_in);
                scope.spawn(move || {
                    let mut own = name(0);
                    own[1] = n;
                    let place = Place::take(file, boot, &own).unwrap();
                    all_in.wait();
                    all_in.wait();
                    assert!(place.is_some());
                });
            }
            all_in.wait();
            let names = living(&file, &boot).unwrap();
            let bytes = file.metadata().unwrap().len();
            all_in.wait();
            assert_eq!(names.len(), 80);
            assert_eq!(bytes, 3 * PAGE as u64);
        });
        assert!(living(&file, &boot).unwrap().is_empty());
    }

    #[test]
    fn a_thread_that_ends_with_its_place_is_struck_out() {
        let file = std::sync::Arc::new(tempfile::tempfile().unwrap());
        let boot = boot_id().unwrap();
        let its_own = file.clone();
        // Not a scope's: those are waited for before the kernel has seen their end.
        std::thread::spawn(move || std::mem::forget(Place::take(&its_own, &boot, &name(1)).unwrap()))
            .join()
            .unwrap();
        assert!(living(&file, &boot).unwrap().is_empty());
        assert_eq!(word_of(&read(&file).unwrap()), Some(OWNER_DIED));
    }

    #[test]
    fn what_is_being_taken_is_neither_free_nor_alive() {
        let file = tempfile::tempfile().unwrap();
        let boot = boot_id().unwrap();
        let mut page = vec![0; PAGE];
        page[..4].copy_from_slice(&(4321 | WAITERS).to_ne_bytes());
        file.write_all_at(&page, 0).unwrap();
        let _place = Place::take(&file, &boot, &name(2)).unwrap().unwrap();
        assert_eq!(sorted(&file, &boot), [2]);
        assert_eq!(word_of(&read(&file).unwrap()), Some(4321 | WAITERS));
    }
}
