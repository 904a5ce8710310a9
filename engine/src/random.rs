//! Random ids, from the kernel's generator (random(4)).

use dhow_model::{ContainerId, Result, ResultExt};
use std::fs::File;
use std::io::Read;

fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut buffer = [0; N];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut buffer))
        .context(|| "read /dev/urandom".to_owned())?;
    Ok(buffer)
}

/// A fresh id that does not look like a number.
pub(crate) fn id() -> Result<ContainerId> {
    loop {
        let id = ContainerId::from_random(bytes()?);
        if !id.looks_numeric() {
            return Ok(id);
        }
    }
}

/// A seed for a random name.
pub(crate) fn seed() -> Result<u64> {
    Ok(u64::from_ne_bytes(bytes()?))
}
