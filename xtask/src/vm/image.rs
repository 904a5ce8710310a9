//! What the machine boots from: a disk with everything that it has, and a small initramfs that finds it.

use super::build::{self, Built};
use super::kernel::Kernel;
use super::suites::Chosen;
use crate::{Result, process};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The first program of the initramfs.
const BOOT: &str = include_str!("boot.sh");
/// The first program of the disk.
const INIT: &str = include_str!("init.sh");
/// Debian's busybox-static: the machine's shell and tools, and what the tests' images are made of.
const BUSYBOX: &str = "/bin/busybox";
/// Tools of this machine that tests run and busybox does not have, or has otherwise.
const TOOLS: [&str; 10] =
    ["bash", "docker", "ip", "losetup", "mkfs.ext4", "mkfs.xfs", "setpriv", "setsid", "stty", "tar"];
/// What the disk, dhow, and the disks of tests need and this kernel has as a module.
const MODULES: [&str; 21] = [
    "virtio_pci",
    "virtio_blk",
    "overlay",
    "loop",
    "bfq",
    "quota_v2",
    "xfs",
    "nfsv4",
    "nfsd",
    "bridge",
    "veth",
    "macvlan",
    "ipvlan",
    "nf_tables",
    "nft_chain_nat",
    "nft_ct",
    "nft_nat",
    "nft_masq",
    "nft_fib",
    "nft_fib_inet",
    "nft_reject",
];
/// Sparse: it takes what is written.
const DISK_SIZE: &str = "4G";

/// Files for qemu.
pub(crate) struct Image {
    pub(crate) initramfs: PathBuf,
    pub(crate) disk: PathBuf,
}

/// Makes both.
pub(crate) fn make(directory: &Path, kernel: &Kernel, built: &Built, chosen: &[Chosen]) -> Result<Image> {
    Ok(Image { initramfs: initramfs(directory, kernel)?, disk: disk(directory, built, chosen)? })
}

/// busybox, modules, and the script that mounts the disk.
fn initramfs(directory: &Path, kernel: &Kernel) -> Result<PathBuf> {
    let tree = Tree::new(directory.join("boot"))?;
    for name in ["dev", "proc", "disk", "modules"] {
        tree.directory(name)?;
    }
    tree.busybox()?;
    for (number, module) in kernel.modules(&MODULES)?.iter().enumerate() {
        let name = module.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Loaded in the order of their names.
        fs::copy(module, tree.at(&format!("modules/{number:02}-{name}")))?;
    }
    tree.script("init", BOOT)?;
    tree.pack(&directory.join("initramfs"))
}

/// A usual filesystem: a container's upper directory, xattrs and file locks are to meet what users have.
fn disk(directory: &Path, built: &Built, chosen: &[Chosen]) -> Result<PathBuf> {
    let tree = Tree::new(directory.join("root"))?;
    for name in ["dev", "etc", "mnt", "proc", "root", "run", "sys", "tmp", "var", "vm"] {
        tree.directory(name)?;
    }
    fs::set_permissions(tree.at("tmp"), PermissionsExt::from_mode(0o1777))?;
    fs::write(tree.at("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")?;
    fs::write(tree.at("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
    tree.busybox()?;
    for name in TOOLS {
        let program = process::find_program(name).ok_or_else(|| format!("no program {name}"))?;
        tree.program(&program, &Path::new("/bin").join(name))?;
    }
    tree.program(&built.dhow, &built.dhow)?;
    let mut suites = String::new();
    for (number, suite) in chosen.iter().enumerate() {
        let program = format!("/vm/tests/{number}");
        tree.program(&suite.executable, Path::new(&program))?;
        // Names of tests are paths of Rust: no shell finds anything in them.
        let (label, threads, tests) = (&suite.label, suite.threads, suite.tests.join(" "));
        writeln!(suites, "suite '{label}' {program} --test-threads {threads} --exact {tests}")?;
    }
    fs::write(tree.at("vm/suites"), suites)?;
    tree.script("vm/init", INIT)?;
    let disk = directory.join("disk");
    let _ = fs::remove_file(&disk);
    let mut make = Command::new("mkfs.ext4");
    make.args(["-q", "-F", "-d"]).arg(&tree.root).arg(&disk).arg(DISK_SIZE);
    process::output(&mut make)?;
    Ok(disk)
}

struct Tree {
    root: PathBuf,
}

impl Tree {
    /// An empty one.
    fn new(root: PathBuf) -> Result<Self> {
        match fs::remove_dir_all(&root) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("cannot remove {}: {e}", root.display()).into())
            }
            _ => Ok(Self { root }),
        }
    }

    fn script(&self, path: &str, text: &str) -> Result {
        fs::write(self.at(path), text)?;
        Ok(fs::set_permissions(self.at(path), PermissionsExt::from_mode(0o755))?)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn directory(&self, path: &str) -> Result {
        fs::create_dir_all(self.at(path)).map_err(|e| format!("cannot create {path}: {e}").into())
    }

    fn copy(&self, from: &Path, to: &Path) -> Result<PathBuf> {
        let to = self.root.join(to.strip_prefix("/").unwrap_or(to));
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(from, &to).map_err(|e| format!("cannot copy {}: {e}", from.display()))?;
        Ok(to)
    }

    /// A program without its debugging information, and its libraries where it looks for them.
    fn program(&self, from: &Path, to: &Path) -> Result {
        for library in build::libraries(from)?.into_iter().collect::<BTreeSet<_>>() {
            self.copy(&library, &library)?;
        }
        let copy = self.copy(from, to)?;
        process::output(Command::new("strip").arg("--strip-debug").arg(&copy)).map(|_| ())
    }

    fn busybox(&self) -> Result {
        let to = self.copy(Path::new(BUSYBOX), Path::new(BUSYBOX))?;
        let list = process::output(Command::new(&to).arg("--list"))?;
        for applet in list.lines().filter(|a| *a != "busybox" && !TOOLS.contains(a)) {
            symlink("busybox", self.at("bin").join(applet))?;
        }
        Ok(())
    }

    /// Not compressed: the emulator would take longer over it than the kernel takes to copy it.
    fn pack(&self, to: &Path) -> Result<PathBuf> {
        let file = fs::File::create(to).map_err(|e| format!("cannot create {}: {e}", to.display()))?;
        let mut find = Command::new("find")
            .arg(".")
            .current_dir(&self.root)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot run find: {e}"))?;
        let names = find.stdout.take().ok_or("find has no output")?;
        let mut cpio = Command::new(BUSYBOX);
        cpio.args(["cpio", "-o", "-H", "newc"]).current_dir(&self.root).stdin(names).stdout(file);
        let packed = cpio.stderr(Stdio::null()).status().map_err(|e| format!("cannot run cpio: {e}"))?;
        let found = find.wait()?;
        if packed.success() && found.success() {
            Ok(to.to_owned())
        } else {
            Err(format!("packing the initramfs failed: find {found}, cpio {packed}").into())
        }
    }
}
