//! `cargo xtask setup`: the Debian packages that tests and benchmarks use, each with its reason.

use crate::{Result, process};
use std::process::Command;

/// Package, and what it is for. dhow itself needs none of them.
const PACKAGES: [(&str, &str); 34] = [
    ("busybox-static", "the small image of most tests is made of it"),
    ("debootstrap", "makes the real Debian of the tests"),
    ("buildah", "makes images that dhow must load"),
    ("skopeo", "makes images that dhow must load"),
    ("util-linux-extra", "fincore, which says what of a file is in memory"),
    ("zstd", "compresses archives that dhow must load"),
    ("xz-utils", "compresses archives that dhow must load"),
    ("bzip2", "compresses archives that dhow must load"),
    ("podman", "makes images that dhow must load; a peer in the benchmark"),
    ("docker.io", "its command line talks to `dhow serve` in the tests; a peer in the benchmark"),
    ("attr", "its setfattr makes files whose attributes must survive"),
    ("libcap2-bin", "its setcap makes programs whose capabilities must survive"),
    ("docker-registry", "the registry that the tests push to and pull from"),
    ("openssl", "makes the authorities and certificates of that registry"),
    ("curl", "asks `dhow serve` as a plain client of HTTP"),
    ("iproute2", "its ip makes the hosts of the network tests"),
    ("crun", "a peer in the benchmark"),
    ("runc", "a peer in the benchmark"),
    ("xfsprogs", "makes a disk of the tests that has quotas"),
    ("nftables", "its nft flushes what a server must write anew"),
    ("clang-14", "compiles the eBPF probes to the committed object, byte for byte"),
    ("llvm-14", "strips that object"),
    ("bindgen", "makes the Rust side of the probes' records"),
    ("qemu-system-x86", "the virtual machine of `cargo xtask vm`"),
    ("e2fsprogs", "makes that machine's disk"),
    ("gcc", "compiles the C programs of the C ABI's tests"),
    ("g++", "compiles them as C++"),
    ("pkgconf", "tells them where libdhow is"),
    ("binutils", "lists what libdhow.so exports"),
    ("golang-go", "compiles and tests the Go package"),
    ("python3-venv", "holds PyPI's docker, a client of `dhow serve` in the tests"),
    ("nodejs", "runs npm's dockerode, another client"),
    ("npm", "installs it"),
    ("valgrind", "runs them and looks at every access"),
];

/// Installs what is missing. Asks the network for nothing when nothing is.
pub(crate) fn run() -> Result {
    let missing: Vec<&str> = missing()?;
    if missing.is_empty() {
        println!("setup: all {} Debian packages are installed", PACKAGES.len());
        return Ok(());
    }
    for (name, reason) in PACKAGES.iter().filter(|(name, _)| missing.contains(name)) {
        println!("setup: {name} is missing: {reason}");
    }
    if !process::is_root() {
        return Err(
            format!("only root can install packages: run `apt-get install {}`", missing.join(" ")).into()
        );
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .args(["-qq", "-o", "Dpkg::Use-Pty=0"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    process::run(&mut apt(&["update"]))?;
    process::run(apt(&["install", "-y", "--no-install-recommends"]).args(&missing))?;
    match self::missing()?.as_slice() {
        [] => Ok(()),
        still => Err(format!("apt-get succeeded, but these are still missing: {}", still.join(" ")).into()),
    }
}

/// The packages that are not installed.
fn missing() -> Result<Vec<&'static str>> {
    let names = PACKAGES.map(|(name, _)| name);
    // Fails when it does not know one of the names, and lists the others all the same.
    let known = Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status} ${Package}\n"])
        .args(names)
        .output()
        .map_err(|e| format!("cannot run dpkg-query: {e}: tests run on Debian and its like only"))?;
    let known = String::from_utf8(known.stdout)?;
    let mut missing = not_installed(&names, &known);
    // Other makers' packages of Node.js hold npm, and exclude Debian's.
    missing.retain(|name| *name != "npm" || !process::is_on_path("npm"));
    Ok(missing)
}

/// Those of `names` without a line `installed NAME`.
fn not_installed<'n>(names: &[&'n str], known: &str) -> Vec<&'n str> {
    names.iter().copied().filter(|name| !known.lines().any(|l| l == format!("installed {name}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_really_installed_counts() {
        let known = "installed zstd\nconfig-files crun\n";
        assert_eq!(not_installed(&["zstd", "crun", "runc"], known), ["crun", "runc"]);
    }
}
