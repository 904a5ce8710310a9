//! The helper: the `dhow` executable that becomes a container's monitor. It must be of the library's version,
//! for what the two say to each other has no other.

use super::VERSION;
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use dhow_sys::spawn::{Place, spawn_detached};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a program may take to say its version. A cold disk needs a tenth of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// More than any version's line.
const ANSWER_MAX: usize = 256;

/// Asks a program for its version, and compares.
pub(super) fn check(helper: &Path) -> Result<()> {
    let what = || format!("run the helper {}", helper.display());
    let missing = |error: dhow_sys::Error| {
        let kind = match error.errno {
            Errno::ENOENT | Errno::ENOTDIR => ErrorKind::NotFound,
            Errno::EACCES | Errno::EPERM => ErrorKind::Forbidden,
            _ => ErrorKind::Unsupported,
        };
        Error::caused(kind, what(), error)
    };
    let (mut answer, theirs) = std::io::pipe().context(what)?;
    let nothing: [&str; 0] = [];
    // As a monitor is started: it is nobody's child, so a program that reaps its children never meets it.
    let (fds, place) = ([(OwnedFd::from(theirs), 1)], Place::default());
    spawn_detached(helper, &["dhow", "--version"], &nothing, &fds, &place).map_err(missing)?;
    drop(fds);
    let deadline = Instant::now() + PATIENCE;
    let mut text = Vec::new();
    let mut piece = [0; ANSWER_MAX];
    while text.len() < ANSWER_MAX {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(answer.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => return Err(Error::new(ErrorKind::Unsupported, format!("{}: no answer", what()))),
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno).context(what),
        }
        match answer.read(&mut piece).context(what)? {
            0 => break,
            count => text.extend_from_slice(&piece[..count]),
        }
    }
    compare(&String::from_utf8_lossy(&text)).map_err(|why| {
        Error::unsupported(format!("the helper {} {why}, and this library is {VERSION}", helper.display()))
    })
}

/// What is wrong with the line that a helper prints, if something is.
fn compare(line: &str) -> std::result::Result<(), String> {
    match line.trim_end().strip_prefix("dhow version ") {
        Some(VERSION) => Ok(()),
        Some(other) => Err(format!("is version {other}")),
        None => Err("is not dhow".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_version_will_do() {
        assert_eq!(compare(&format!("dhow version {VERSION}\n")), Ok(()));
        assert_eq!(compare("dhow version 0.0.0\n"), Err("is version 0.0.0".to_owned()));
        assert_eq!(compare("hello\n"), Err("is not dhow".to_owned()));
    }

    #[test]
    fn what_is_no_helper_is_told_apart() {
        let kind = |path: &str| check(Path::new(path)).unwrap_err().kind();
        assert_eq!(kind("/nowhere/dhow"), ErrorKind::NotFound);
        assert_eq!(kind("/etc/passwd"), ErrorKind::Forbidden);
        assert_eq!(kind("/bin/true"), ErrorKind::Unsupported);
    }
}
