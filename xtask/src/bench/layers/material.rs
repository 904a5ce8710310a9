//! The layers that are installed: files made of pieces of this machine's own programs, so that they compress as well
//! as those of a distribution; the same in every run.

use crate::{Result, process};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A layer's tree as a tar.
pub(super) struct Material {
    name: &'static str,
    directory: PathBuf,
}

/// The same as an image that every engine takes.
pub(super) struct Archive {
    /// `small gzip`.
    pub(super) name: String,
    /// What it is tagged with.
    pub(super) image: &'static str,
    /// The docker-archive.
    pub(super) path: PathBuf,
    /// The compressed layer in it.
    pub(super) layer: PathBuf,
}

/// Enough that no compressor finds a file's bytes again in one before it.
const POOL_BYTES: usize = 64 << 20;

impl Material {
    /// Two layers: few files and large ones, and 50,000.
    pub(super) fn all(scratch: &Path) -> Result<Vec<Self>> {
        let pool = pool()?;
        let kinds = [("small", 3000, 70_000), ("many", 50_000, 8000)];
        kinds.into_iter().map(|(name, files, bytes)| Self::make(name, files, bytes, &pool, scratch)).collect()
    }

    /// `files` files of `bytes` on average, in directories of a hundred, and a busybox to read them with.
    fn make(name: &'static str, files: usize, bytes: usize, pool: &[u8], scratch: &Path) -> Result<Self> {
        let directory = scratch.join(name);
        let tree = directory.join("tree");
        std::fs::create_dir_all(tree.join("bin"))?;
        for place in ["dev", "proc", "sys", "etc", "tmp"] {
            std::fs::create_dir_all(tree.join(place))?;
        }
        std::fs::copy("/bin/busybox", tree.join("bin/busybox"))?;
        let mut random = Random(1);
        for number in 0..files {
            let place = tree.join(format!("data/{}", number / 100));
            if number % 100 == 0 {
                std::fs::create_dir_all(&place)?;
            }
            // From a quarter to seven quarters of the average.
            let length = bytes / 4 + random.below(bytes * 3 / 2);
            let start = random.below(pool.len() - length);
            std::fs::write(place.join(format!("file-{number}")), &pool[start..start + length])?;
        }
        let tar = directory.join("layer.tar");
        let options = ["--format=posix", "--sort=name", "--mtime=@1700000000", "--numeric-owner", "-cf"];
        process::run(Command::new("tar").args(options).arg(&tar).arg("-C").arg(&tree).arg("."))?;
        std::fs::remove_dir_all(&tree)?;
        Ok(Self { name, directory })
    }

    /// Its archives, with gzip and with zstd.
    pub(super) fn archives(&self) -> Result<Vec<Archive>> {
        let tar = self.directory.join("layer.tar");
        let sum = process::output(Command::new("sha256sum").arg(&tar))?;
        let diff_id = sum.split_whitespace().next().unwrap_or_default().to_owned();
        let kinds = [("gzip", &["gzip", "-6", "-c"][..]), ("zstd", &["zstd", "-q", "-3", "-c"])];
        kinds.iter().map(|(kind, command)| self.archive(kind, command, &diff_id)).collect()
    }

    fn archive(&self, kind: &str, command: &[&str], diff_id: &str) -> Result<Archive> {
        let directory = self.directory.join(kind);
        std::fs::create_dir_all(&directory)?;
        let layer = directory.join("layer.tar");
        let image = "bench:layers";
        if !layer.exists() {
            process::run(
                Command::new(command[0])
                    .args(&command[1..])
                    .arg(self.directory.join("layer.tar"))
                    .stdout(File::create(&layer)?),
            )?;
            let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
            let config = serde_json::json!({"architecture": architecture, "os": "linux", "config": {},
                "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{diff_id}")]}});
            std::fs::write(directory.join("config.json"), config.to_string())?;
            let manifest =
                serde_json::json!([{"Config": "config.json", "RepoTags": [image], "Layers": ["layer.tar"]}]);
            std::fs::write(directory.join("manifest.json"), manifest.to_string())?;
            let files = ["config.json", "manifest.json", "layer.tar"];
            let archive = self.directory.join(format!("{kind}.tar"));
            process::run(Command::new("tar").arg("-cf").arg(archive).arg("-C").arg(&directory).args(files))?;
        }
        Ok(Archive {
            name: format!("{} {kind}", self.name),
            image,
            path: self.directory.join(format!("{kind}.tar")),
            layer,
        })
    }
}

/// Bytes of programs, in the order of their names.
fn pool() -> Result<Vec<u8>> {
    let mut names: Vec<PathBuf> =
        std::fs::read_dir("/usr/bin")?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    names.sort();
    let mut pool = Vec::new();
    for name in names.iter().filter(|name| name.is_file()) {
        pool.extend(std::fs::read(name)?);
        if pool.len() >= POOL_BYTES {
            break;
        }
    }
    if pool.len() < 1 << 20 { Err("/usr/bin has too little in it".into()) } else { Ok(pool) }
}

/// A small generator of numbers (xorshift64*), so that each run has the same files.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or_default() % limit.max(1)
    }
}
