//! The header that tells what is at a path: JSON in base 64, with the mode as Go's `os.FileMode` has it.

use crate::container::copy::PathStat;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use nix::libc;
use serde_json::json;

/// Go's bits for the kernel's types and special permissions (`io/fs`).
const GO_KINDS: [(u32, u32); 6] = [
    (libc::S_IFDIR, 1 << 31),
    (libc::S_IFLNK, 1 << 27),
    (libc::S_IFBLK, 1 << 26),
    (libc::S_IFCHR, 1 << 26 | 1 << 21),
    (libc::S_IFIFO, 1 << 25),
    (libc::S_IFSOCK, 1 << 24),
];
const GO_SPECIAL: [(u32, u32); 3] =
    [(libc::S_ISUID, 1 << 23), (libc::S_ISGID, 1 << 22), (libc::S_ISVTX, 1 << 20)];

/// The header's value.
pub(in crate::api) fn encode(stat: &PathStat) -> String {
    let json = json!({
        "name": stat.name,
        "size": stat.size,
        "mode": go_mode(stat.mode),
        "mtime": stat.mtime.to_string(),
        "linkTarget": stat.link_target,
    });
    BASE64.encode(json.to_string())
}

fn go_mode(mode: u32) -> u32 {
    let kind = GO_KINDS.iter().find(|(ours, _)| mode & libc::S_IFMT == *ours).map_or(0, |(_, go)| *go);
    let special = GO_SPECIAL.iter().filter(|(ours, _)| mode & ours != 0).map(|(_, go)| go).sum::<u32>();
    mode & 0o777 | kind | special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_gos() {
        assert_eq!(go_mode(0o100_644), 0o644);
        assert_eq!(go_mode(0o041_777), 1 << 31 | 1 << 20 | 0o777);
        assert_eq!(go_mode(0o104_755), 1 << 23 | 0o755);
        assert_eq!(go_mode(0o020_666), 1 << 26 | 1 << 21 | 0o666);
    }
}
