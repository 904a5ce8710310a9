//! The filesystem that every contender runs: Debian's static busybox with its applets.

use crate::{Result, process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The same tree in the two forms that engines take.
pub(super) struct Rootfs {
    pub(super) directory: PathBuf,
    pub(super) tar: PathBuf,
    /// What is run in it.
    pub(super) command: Vec<String>,
}

/// Programs that run in containers and need no library: `numbers` writes lines, `wire` sends and answers.
const PROGRAMS: &str = "bench/programs";

/// Where Debian's busybox-static puts it.
const BUSYBOX: &str = "/bin/busybox";

/// Makes both forms below `scratch`, for a program that does nothing, or one that writes `output` bytes.
pub(super) fn make(scratch: &Path, output: Option<u64>) -> Result<Rootfs> {
    let command = match output {
        None => vec!["true".to_owned()],
        Some(bytes) => vec!["numbers".to_owned(), bytes.to_string()],
    };
    let rootfs = Rootfs { directory: scratch.join("rootfs"), tar: scratch.join("rootfs.tar"), command };
    for name in ["bin", "dev", "etc", "proc", "root", "sys", "tmp"] {
        fs::create_dir_all(rootfs.directory.join(name))?;
    }
    let bin = rootfs.directory.join("bin");
    fs::copy(BUSYBOX, bin.join("busybox")).map_err(|e| format!("cannot copy {BUSYBOX}: {e}"))?;
    for applet in process::output(Command::new(BUSYBOX).arg("--list"))?.lines().filter(|a| *a != "busybox") {
        std::os::unix::fs::symlink("busybox", bin.join(applet))?;
    }
    if output.is_some() {
        compile("numbers", &bin.join("numbers"))?;
    }
    fs::write(rootfs.directory.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    fs::write(rootfs.directory.join("etc/group"), "root:x:0:\n")?;
    process::run(Command::new("tar").arg("-C").arg(&rootfs.directory).arg("-cf").arg(&rootfs.tar).arg("."))?;
    Ok(rootfs)
}

fn compile(program: &str, to: &Path) -> Result {
    let flags = ["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-o"];
    let source = process::workspace().join(PROGRAMS).join(format!("{program}.rs"));
    process::output(Command::new("rustc").args(flags).arg(to).arg(source)).map(drop)
}

/// Puts a further program into both forms; returns where it lies.
pub(super) fn add_program(rootfs: &Rootfs, program: &str) -> Result<PathBuf> {
    let path = format!("bin/{program}");
    let to = rootfs.directory.join(&path);
    compile(program, &to)?;
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(&rootfs.directory).arg("-rf").arg(&rootfs.tar).arg(&path);
    process::run(&mut tar)?;
    Ok(to)
}
