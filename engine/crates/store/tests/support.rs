//! A scratch root, commands that must succeed, tar archives by hand, and trees compared file by file.

use dhow_model::{Digest, IndexedLayer, Layout, LowerLayer, Result};
use dhow_store::content::{Content, digest_of};
use dhow_store::layer::{
    Durability, Expected, InstalledLayer, LayerForm, LayerSource, LayerStore, Layers, Mounter, WorkersPlan,
};
use dhow_sys::mount::{self, FsContext};
use dhow_sys::{fsat, xattr};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A store below a directory of its own.
pub(crate) struct Scratch {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) layout: Layout,
    pub(crate) content: Content,
    pub(crate) layers: Layers,
}

/// Mounts of indexed layers are these tests' own, and end with them.
pub(crate) struct NoMounts;

impl Mounter for NoMounts {
    fn works(&self, _layer: &IndexedLayer, _scratch: &Path) -> bool {
        true
    }

    fn release(&self, _layer: &IndexedLayer) -> Result<()> {
        Ok(())
    }
}

/// A tree that is looked at where it is, or through a mount that ends with this.
pub(crate) struct Shown {
    pub(crate) path: PathBuf,
    _mount: Option<OwnedFd>,
}

impl Shown {
    fn mounted(mount: OwnedFd) -> Self {
        Self { path: format!("/proc/self/fd/{}", mount.as_raw_fd()).into(), _mount: Some(mount) }
    }
}

/// A layer's own tree.
pub(crate) fn shown(layer: &LowerLayer) -> Shown {
    match layer {
        LowerLayer::Directory(path) => Shown { path: path.clone(), _mount: None },
        LowerLayer::Indexed(layer) => {
            let text = |path: &Path| std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
            let context = FsContext::of_source(c"erofs", &text(&layer.index)).unwrap();
            context.set(c"device", &text(&layer.tar)).unwrap();
            let mount = context.mount(mount::ATTR_RDONLY);
            Shown::mounted(mount.unwrap_or_else(|errno| panic!("{errno}: {:?}", context.message())))
        }
    }
}

impl Scratch {
    /// One for each form of layers.
    pub(crate) fn both() -> [Self; 2] {
        [Self::new(), Self::indexed()]
    }

    /// Layers are unpacked: by one thread, and with workers.
    pub(crate) fn unpacked() -> [Self; 2] {
        [Self::new(), Self::with_workers(3)]
    }

    /// One for each way in which layers are made.
    pub(crate) fn all() -> [Self; 3] {
        [Self::new(), Self::with_workers(3), Self::indexed()]
    }

    /// All small files of layers are written by so many workers.
    pub(crate) fn with_workers(count: usize) -> Self {
        let scratch = Self::new();
        let layers = scratch.layers.clone().with_workers(WorkersPlan { after: 0, count: Some(count) });
        Self { layers, ..scratch }
    }

    /// Layers are indexed where that is possible.
    pub(crate) fn indexed() -> Self {
        let scratch = Self::new();
        let layers = scratch.layers.clone().with_form(LayerForm::Indexed, std::sync::Arc::new(NoMounts));
        Self { layers, ..scratch }
    }

    pub(crate) fn is_indexed(&self, diff_id: &Digest) -> bool {
        matches!(self.layers.lower_dirs(std::slice::from_ref(diff_id)).unwrap()[..], [LowerLayer::Indexed(_)])
    }

    /// The tree of one layer.
    pub(crate) fn tree(&self, diff_id: &Digest) -> Shown {
        shown(&self.layers.lower_dirs(std::slice::from_ref(diff_id)).unwrap()[0])
    }

    /// What an overlay of these layers shows, base first.
    pub(crate) fn overlay(&self, layers: &[Digest]) -> Shown {
        let text = |path: &Path| std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
        let lower: Vec<Shown> = self.layers.lower_dirs(layers).unwrap().iter().map(shown).collect();
        let context = FsContext::open(c"overlay").unwrap();
        for layer in &lower {
            context.set(c"lowerdir+", &text(&layer.path)).unwrap();
        }
        let directory = tempfile::tempdir_in(self.dir.path()).unwrap().keep();
        for (key, name) in [(c"upperdir", "upper"), (c"workdir", "work")] {
            std::fs::create_dir(directory.join(name)).unwrap();
            context.set(key, &text(&directory.join(name))).unwrap();
        }
        context.set(c"xino", c"on").unwrap();
        let mount = context.mount(0);
        Shown::mounted(mount.unwrap_or_else(|errno| panic!("{errno}: {:?}", context.message())))
    }

    pub(crate) fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "these tests need root");
        let dir = tempfile::Builder::new().prefix("dhow-store-").tempdir().unwrap();
        let layout = Layout::new(dir.path().join("root"), dir.path().join("run"));
        let content = Content::open(&layout).unwrap();
        let layers = Layers::open(&layout).unwrap().with_durability(Durability::Memory);
        Self { dir, layout, content, layers }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn install(&self, tar: &[u8]) -> Result<InstalledLayer> {
        let diff_id = digest_of(tar);
        let expected = Expected { diff_id: Some(&diff_id), blob: None };
        self.layers.install(LayerSource::Bytes(tar), expected, &())
    }

    pub(crate) fn export(&self, diff_id: &Digest) -> Vec<u8> {
        let mut out = Vec::new();
        self.layers.export_tar(diff_id, &mut out).unwrap();
        out
    }

    /// What is in `layers/tmp` and `content/tmp`: nothing, when nobody works.
    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        let list = |dir: PathBuf| std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
        list(self.layout.layers().join("tmp")).chain(list(self.layout.content().join("tmp"))).collect()
    }
}

/// Runs a shell script in `dir`; gives what it printed.
pub(crate) fn sh(dir: &Path, script: &str) -> String {
    let out =
        Command::new("bash").args(["-euo", "pipefail", "-c", script]).current_dir(dir).output().unwrap();
    assert!(
        out.status.success(),
        "{script}\n{}\n{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

/// Everything about one file that an archive can carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) special: u64,
    pub(crate) mtime: (i64, u32),
    pub(crate) size: u64,
    /// The first path of the same inode, by name; empty for files with one name.
    pub(crate) same_as: Vec<u8>,
    pub(crate) target: Vec<u8>,
    pub(crate) xattrs: Vec<(String, Vec<u8>)>,
    pub(crate) content: String,
}

/// Paths without `/` at the start; the root is the empty path.
pub(crate) type Facted = BTreeMap<Vec<u8>, Facts>;

/// Reads a tree. `ignore_xattrs`: prefixes of names.
pub(crate) fn facts(root: &Path, ignore_xattrs: &[&str]) -> Facted {
    let mut all = Facted::new();
    let mut first_names: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let root = fsat::open_directory(root).unwrap();
    let mut todo = vec![(root.try_clone().unwrap(), Vec::new())];
    let mut roots = vec![(root, Vec::<u8>::new(), Vec::<u8>::new())];
    while let Some((dir, prefix)) = todo.pop() {
        let mut names: Vec<_> =
            fsat::list_directory(dir.as_fd()).unwrap().into_iter().map(|l| l.name).collect();
        names.sort();
        for name in names {
            // Overlayfs lists whiteouts of directories that it has nothing to merge with, but finds nothing there.
            if fsat::stat_at(dir.as_fd(), Path::new(&name)).is_err() {
                continue;
            }
            let mut path = prefix.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.as_bytes());
            roots.push((dir.try_clone().unwrap(), name.as_bytes().to_vec(), path.clone()));
            if fsat::stat_at(dir.as_fd(), Path::new(&name)).unwrap().is_dir() {
                let inner =
                    fsat::open_at(dir.as_fd(), Path::new(&name), libc::O_RDONLY | libc::O_DIRECTORY, 0);
                todo.push((inner.unwrap(), path));
            }
        }
        // Few descriptors at a time: facts of what is known so far.
        for (dir, name, path) in roots.drain(..) {
            let one = fact(
                dir.as_fd(),
                Path::new(OsStr::from_bytes(&name)),
                &path,
                &mut first_names,
                ignore_xattrs,
            );
            all.insert(path, one);
        }
    }
    // Through an overlay a file keeps the links that a layer above has deleted: one name is no group.
    let mut groups: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for one in all.values().filter(|one| !one.same_as.is_empty()) {
        *groups.entry(one.same_as.clone()).or_default() += 1;
    }
    for one in all.values_mut().filter(|one| groups.get(&one.same_as) == Some(&1)) {
        one.same_as.clear();
    }
    all
}

fn fact(
    dir: std::os::fd::BorrowedFd<'_>,
    name: &Path,
    path: &[u8],
    first_names: &mut BTreeMap<u64, Vec<u8>>,
    ignore_xattrs: &[&str],
) -> Facts {
    let stat = fsat::stat_at(dir, name).unwrap();
    let mut same_as = Vec::new();
    if stat.links > 1 && !stat.is_dir() {
        same_as.clone_from(first_names.entry(stat.inode).or_insert_with(|| path.to_vec()));
    }
    let target = if stat.is_symlink() { fsat::read_link_at(dir, name).unwrap() } else { "".into() };
    let content = if stat.is_file() {
        let fd = fsat::open_at(dir, name, libc::O_RDONLY, 0).unwrap();
        digest_of(&fsat::Mapping::of_file(&fd).unwrap()).to_string()
    } else {
        String::new()
    };
    let xattrs = xattr::list_at(dir, name)
        .unwrap()
        .into_iter()
        .filter(|n| !ignore_xattrs.iter().any(|prefix| n.as_bytes().starts_with(prefix.as_bytes())))
        .map(|n| (n.to_string_lossy().into_owned(), xattr::get_at(dir, name, &n).unwrap().unwrap()))
        .collect();
    Facts {
        mode: stat.mode,
        owner: (stat.uid, stat.gid),
        special: if matches!(stat.kind(), libc::S_IFCHR | libc::S_IFBLK) { stat.special } else { 0 },
        mtime: (stat.mtime.seconds, stat.mtime.nanos),
        size: if stat.is_dir() { 0 } else { stat.size },
        same_as,
        target: target.as_bytes().to_vec(),
        xattrs,
        content,
    }
}

/// Fails with the first differences.
pub(crate) fn assert_same(left: &Facted, right: &Facted, what: &str) {
    let mut differences = Vec::new();
    for path in left.keys().chain(right.keys()).collect::<std::collections::BTreeSet<_>>() {
        if left.get(path) != right.get(path) {
            let name = String::from_utf8_lossy(path);
            differences.push(format!("{name:?}\n  {:?}\n  {:?}", left.get(path), right.get(path)));
        }
    }
    let shown = differences.iter().take(8).cloned().collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{what}: {} differences\n{shown}", differences.len());
}

/// A tar by hand, for what no tool would write.
#[derive(Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

impl Tar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn dir(self, name: &str, mode: u32) -> Self {
        self.raw(name.as_bytes(), b'5', b"", mode, b"")
    }

    pub(crate) fn file(self, name: &str, data: &[u8]) -> Self {
        self.raw(name.as_bytes(), b'0', b"", 0o644, data)
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.raw(name.as_bytes(), b'2', target.as_bytes(), 0o777, b"")
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.raw(name.as_bytes(), b'1', target.as_bytes(), 0o644, b"")
    }

    /// Records for the next member.
    pub(crate) fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        let mut body = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length =
                (1..8).map(|digits| rest + digits).find(|l| l.to_string().len() + rest == *l).unwrap();
            body.extend_from_slice(format!("{length} {key}=").as_bytes());
            body.extend_from_slice(value);
            body.push(b'\n');
        }
        self.block(b"pax", b'x', b"", 0o644, body.len());
        self.data(&body);
        self
    }

    /// Any member; names of any length and bytes.
    pub(crate) fn raw(mut self, name: &[u8], flag: u8, link: &[u8], mode: u32, data: &[u8]) -> Self {
        let mut short_name = name;
        if name.len() > 100 {
            self = self.pax(&[("path", name)]);
            short_name = b"long";
        }
        self.block(short_name, flag, link, mode, data.len());
        self.data(data);
        self
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }

    fn block(&mut self, name: &[u8], flag: u8, link: &[u8], mode: u32, size: usize) {
        let mut block = [0u8; 512];
        block[..name.len()].copy_from_slice(name);
        block[100..107].copy_from_slice(format!("{mode:07o}").as_bytes());
        block[108..115].copy_from_slice(b"0000000");
        block[116..123].copy_from_slice(b"0000000");
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[136..147].copy_from_slice(format!("{:011o}", 1_600_000_000).as_bytes());
        block[156] = flag;
        assert!(link.len() <= 100, "a longer target needs a linkpath record");
        block[157..157 + link.len()].copy_from_slice(link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
    }

    fn data(&mut self, data: &[u8]) {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }
}
