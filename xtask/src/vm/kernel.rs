//! Debian's cloud kernel: fetched by apt, unpacked beside it, never installed.

use crate::{Result, process};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Always depends on the newest kernel of the release.
const METAPACKAGE: &str = "linux-image-cloud-amd64";

/// What a machine boots.
pub(crate) struct Kernel {
    /// `6.1.0-56-cloud-amd64`
    pub(crate) release: String,
    /// The bootable file.
    pub(crate) image: PathBuf,
    /// Where its modules lie.
    modules: PathBuf,
}

/// The kernel, from the directory where the last call left it or from Debian's mirror.
pub(crate) fn ensure(cache: &Path) -> Result<Kernel> {
    fs::create_dir_all(cache).map_err(|e| format!("cannot create {}: {e}", cache.display()))?;
    let (package, version) = match concrete_package() {
        Ok(found) => found,
        Err(_) => {
            update_lists()?;
            concrete_package()?
        }
    };
    let tree = cache.join(format!("{package}_{}", version.replace([':', '~'], "_")));
    if !tree.is_dir() {
        println!("vm: fetching {package} {version}");
        fetch(cache, &package, &tree)?;
    }
    let release = package.trim_start_matches("linux-image-").to_owned();
    let image = tree.join(format!("boot/vmlinuz-{release}"));
    let modules = tree.join(format!("lib/modules/{release}/kernel"));
    for path in [&image, &modules] {
        if !path.exists() {
            return Err(format!("{package} has no {}: has Debian moved it?", path.display()).into());
        }
    }
    Ok(Kernel { release, image, modules })
}

/// Name and version of the package that the metapackage stands for.
fn concrete_package() -> Result<(String, String)> {
    let text = process::output(Command::new("apt-cache").args(["show", "--no-all-versions", METAPACKAGE]))?;
    parse_dependency(&text)
        .ok_or_else(|| format!("apt knows no {METAPACKAGE} that depends on a kernel: is this Debian?").into())
}

/// From `Depends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)`.
fn parse_dependency(text: &str) -> Option<(String, String)> {
    let line = text.lines().find_map(|l| l.strip_prefix("Depends: "))?;
    let first = line.split(',').next()?;
    let (package, rest) = first.trim().split_once(' ')?;
    let version = rest.trim().strip_prefix("(= ")?.strip_suffix(')')?;
    package.starts_with("linux-image-").then(|| (package.to_owned(), version.to_owned()))
}

fn update_lists() -> Result {
    process::run(Command::new("apt-get").args(["-qq", "update"]))
        .map_err(|e| format!("cannot learn which kernel Debian has: {e}").into())
}

/// Downloads and unpacks into a directory that appears only when all of it is there.
fn fetch(cache: &Path, package: &str, tree: &Path) -> Result {
    let scratch = cache.join(format!("fetching-{}", std::process::id()));
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(&scratch)?;
    let result = fetch_into(&scratch, package, tree);
    let _ = fs::remove_dir_all(&scratch);
    result.map_err(|e| format!("cannot fetch the kernel: {e}").into())
}

fn fetch_into(scratch: &Path, package: &str, tree: &Path) -> Result {
    let download = || {
        // apt's own user could not write into our directory.
        let mut command = Command::new("apt-get");
        command.args(["-qq", "-o", "APT::Sandbox::User=root", "download", package]).current_dir(scratch);
        process::output(&mut command)
    };
    // Lists that are older than the mirror name a file that is gone.
    if download().is_err() {
        update_lists()?;
        download()?;
    }
    let file = fs::read_dir(scratch)?
        .flatten()
        .map(|e| e.path())
        .find(|p| p.extension().is_some_and(|e| e == "deb"))
        .ok_or("apt-get download succeeded, but left no package")?;
    let unpacked = scratch.join("tree");
    process::output(Command::new("dpkg-deb").arg("-x").arg(&file).arg(&unpacked))?;
    fs::rename(&unpacked, tree)?;
    Ok(())
}

impl Kernel {
    /// The files of these modules and of all that they need, in an order in which they can be loaded.
    pub(crate) fn modules(&self, names: &[&str]) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        walk(&self.modules, &mut files)?;
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in names {
            load_after_needs(name, &files, &mut seen, &mut order)?;
        }
        Ok(order)
    }
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) -> Result {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), files)?;
        } else if entry.path().extension().is_some_and(|e| e == "ko") {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn load_after_needs(
    name: &str,
    files: &[PathBuf],
    seen: &mut BTreeSet<String>,
    order: &mut Vec<PathBuf>,
) -> Result {
    // Dashes and underscores mean the same in module names.
    let name = name.replace('-', "_");
    if !seen.insert(name.clone()) {
        return Ok(());
    }
    let is_it = |p: &&PathBuf| p.file_stem().is_some_and(|s| s.to_string_lossy().replace('-', "_") == name);
    let file = files.iter().find(is_it).ok_or_else(|| format!("this kernel has no module {name}"))?;
    let bytes = fs::read(file)?;
    for need in needs(&bytes) {
        load_after_needs(&need, files, seen, order)?;
    }
    order.push(file.clone());
    Ok(())
}

/// What a module's `.modinfo` section names in `depends=a,b`.
fn needs(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|w| w == KEY) else { return Vec::new() };
    let value = module[at + KEY.len()..].split(|b| *b == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(value);
    text.split(',').filter(|n| !n.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_behind_the_metapackage() {
        let text = "Package: linux-image-cloud-amd64\nVersion: 6.1.192-2\n\
                    Depends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)\nDescription: x\n";
        let (package, version) = parse_dependency(text).unwrap();
        assert_eq!((package.as_str(), version.as_str()), ("linux-image-6.1.0-56-cloud-amd64", "6.1.192-2"));
        assert_eq!(parse_dependency("Package: x\nDepends: libc6 (>= 2)\n"), None);
        assert_eq!(parse_dependency(""), None);
    }

    #[test]
    fn what_a_module_needs() {
        assert_eq!(needs(b"ELF\0license=GPL\0depends=stp,llc\0retpoline=Y\0"), ["stp", "llc"]);
        assert!(needs(b"\0depends=\0name=overlay\0").is_empty());
        assert!(needs(b"").is_empty());
    }
}
