//! Images for the tests. All are made here, from programs of the machine and packages of Debian; the slow
//! ones are kept in cargo's directory for tests, under a name that changes with how they are made.

use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Debian's busybox-static.
const BUSYBOX: &str = "/bin/busybox";

/// What the tests run in a real Debian beside the minimum: `ps`, and a server.
const DEBIAN_PACKAGES: &str = "procps,redis-server";
/// The release that the tests know.
const DEBIAN_SUITE: &str = "bookworm";

/// A web application's programs, on top of that.
const SERVICE_PACKAGES: [&str; 3] = ["nginx-light", "postgresql-15", "python3-psycopg2"];
/// Installs them; see its head.
const SERVICES_SCRIPT: &str = include_str!("../programs/services-image.sh");

/// Makes archives of one image in many forms; see its head.
const NESTED_SCRIPT: &str = include_str!("../programs/nested-image.sh");
/// Lists a tree with all that a layer must keep.
const TREE_SOURCE: &str = include_str!("../programs/tree.rs");

/// Where fixtures are kept.
fn directory() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fixtures");
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// A name that changes with the recipe, so that an old fixture is never taken for a new one.
fn name(stem: &str, recipe: &[&str], ending: &str) -> String {
    let mut hash = Sha256::new();
    for part in recipe {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let digits: String = hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{stem}-{digits}{ending}")
}

/// Runs a tool that makes a fixture.
fn run(command: &mut Command) {
    let output =
        command.output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}: run `cargo xtask setup`"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?} failed: {complaint}{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

/// Entries of a tar archive, written one by one.
pub(crate) struct Tar(tar::Builder<File>);

impl Tar {
    /// A new archive.
    pub(crate) fn create(path: &Path) -> Self {
        Self(tar::Builder::new(File::create(path).unwrap()))
    }

    /// An archive with a directory tree in which busybox runs.
    pub(crate) fn with_busybox(path: &Path) -> Self {
        let mut tar = Self::create(path);
        for name in ["bin", "dev", "etc", "mnt", "proc", "root", "sys"] {
            tar.directory(name);
        }
        tar.busybox();
        tar
    }

    fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header
    }

    pub(crate) fn directory(&mut self, name: &str) {
        let mut header = Self::header(tar::EntryType::Directory, 0o755, 0);
        self.0.append_data(&mut header, format!("{name}/"), &[][..]).unwrap();
    }

    pub(crate) fn file(&mut self, name: &str, mode: u32, content: &[u8]) {
        let mut header = Self::header(tar::EntryType::Regular, mode, content.len());
        self.0.append_data(&mut header, name, content).unwrap();
    }

    pub(crate) fn link(&mut self, name: &str, target: &str) {
        let mut header = Self::header(tar::EntryType::Symlink, 0o777, 0);
        self.0.append_link(&mut header, name, target).unwrap();
    }

    pub(crate) fn fifo(&mut self, name: &str) {
        let mut header = Self::header(tar::EntryType::Fifo, 0o644, 0);
        self.0.append_data(&mut header, name, &[][..]).unwrap();
    }

    /// busybox and its applets.
    pub(crate) fn busybox(&mut self) {
        let program = fs::read(BUSYBOX).unwrap_or_else(|e| panic!("{BUSYBOX}: {e}: run `cargo xtask setup`"));
        self.file("bin/busybox", 0o755, &program);
        let list = Command::new(BUSYBOX).arg("--list").output().unwrap();
        for applet in String::from_utf8(list.stdout).unwrap().lines().filter(|a| *a != "busybox") {
            self.link(&format!("bin/{applet}"), "busybox");
        }
    }

    pub(crate) fn finish(mut self) {
        self.0.finish().unwrap();
    }
}

/// A small image's tree: busybox, users, groups.
pub(crate) fn busybox_tar() -> &'static Path {
    static TAR: OnceLock<PathBuf> = OnceLock::new();
    TAR.get_or_init(|| {
        let path = directory().join(format!("busybox-{}.tar", std::process::id()));
        let mut tar = Tar::with_busybox(&path);
        tar.directory("home/app");
        let mut tmp = Tar::header(tar::EntryType::Directory, 0o1777, 0);
        tar.0.append_data(&mut tmp, "tmp/", &[][..]).unwrap();
        tar.file(
            "etc/passwd",
            0o644,
            b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n1234:x:0:0::/:/bin/sh\n",
        );
        tar.file("etc/group", 0o644, b"root:x:0:\napp:x:1000:\nstaff:x:50:app\n77:x:0:\n");
        tar.file("etc/not-a-program", 0o644, b"text\n");
        tar.file("bin/script-without-interpreter", 0o755, b"just text\n");
        tar.finish();
        // One name for all runs would let two of them write it at once.
        let shared = directory().join("busybox.tar");
        fs::rename(&path, &shared).unwrap();
        shared
    })
}

/// A real Debian. Takes about a minute the first time, and the network.
pub(crate) fn debian_tar() -> &'static Path {
    static TAR: OnceLock<PathBuf> = OnceLock::new();
    TAR.get_or_init(|| {
        let path = directory().join(name("debian", &[DEBIAN_SUITE, DEBIAN_PACKAGES], ".tar"));
        if !path.exists() {
            let scratch = tempfile::tempdir_in(directory()).unwrap();
            let part = scratch.path().join("debian.tar");
            // In a mount namespace of its own: debootstrap mounts, and may leave mounts when it fails.
            // `.` is excluded from nothing: the archive is what a user would pipe into `dhow import`.
            let script = "debootstrap --variant=minbase --include=\"$2\" \"$1\" \"$3/tree\" >&2 \
                          && rm -rf \"$3\"/tree/var/cache/apt/archives/*.deb \
                          && umount -R \"$3/tree/proc\" \"$3/tree/sys\" 2>/dev/null; \
                          tar -C \"$3/tree\" --one-file-system --numeric-owner --xattrs -cf \"$4\" .";
            run(Command::new("unshare")
                .args(["--mount", "--propagation", "private", "bash", "-c", script, "make-debian"])
                .args([DEBIAN_SUITE, DEBIAN_PACKAGES])
                .arg(scratch.path())
                .arg(&part));
            let tree = scratch.path().join("tree/usr/bin/redis-server");
            assert!(tree.exists(), "debootstrap did not install everything");
            fs::rename(&part, &path).unwrap();
        }
        path
    })
}

/// The same Debian with nginx, PostgreSQL and Python. Takes about a minute the first time, and the network.
pub(crate) fn services_tar() -> &'static Path {
    static TAR: OnceLock<PathBuf> = OnceLock::new();
    TAR.get_or_init(|| {
        let packages = SERVICE_PACKAGES.join(" ");
        let recipe = [DEBIAN_SUITE, DEBIAN_PACKAGES, &packages, SERVICES_SCRIPT];
        let path = directory().join(name("services", &recipe, ".tar"));
        if !path.exists() {
            let scratch = tempfile::tempdir_in(directory()).unwrap();
            let [script, part, conf] =
                ["make.sh", "services.tar", "apt.conf"].map(|n| scratch.path().join(n));
            fs::write(&script, SERVICES_SCRIPT).unwrap();
            fs::write(&conf, apt_conf()).unwrap();
            run(Command::new("unshare")
                .args(["--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "bash"])
                .arg(&script)
                .arg(debian_tar())
                .arg(scratch.path())
                .args([&part, &conf])
                .args(SERVICE_PACKAGES));
            fs::rename(&part, &path).unwrap();
        }
        path
    })
}

/// How this machine reaches its packages, in apt's words: proxies above all. Empty on most machines.
pub(crate) fn apt_conf() -> String {
    let told = Command::new("apt-config").args(["dump", "Acquire"]).output().unwrap();
    let ways = ["Acquire::http::", "Acquire::https::", "Acquire::ForceIPv4 ", "Acquire::Retries "];
    let is_way = |line: &&str| ways.iter().any(|way| line.starts_with(way)) && !line.contains("Auto-Detect");
    let text = String::from_utf8(told.stdout).unwrap();
    text.lines().filter(is_way).flat_map(|line| [line, "\n"]).collect()
}

/// One image in every form, and its tree as its maker shows it.
pub(crate) struct Nested {
    pub(crate) directory: PathBuf,
    /// What `tree` prints of the mounted image.
    pub(crate) listing: String,
}

/// Made by buildah, podman and skopeo in stores of their own.
pub(crate) fn nested() -> &'static Nested {
    static NESTED: OnceLock<Nested> = OnceLock::new();
    NESTED.get_or_init(|| {
        let path = directory().join(name("nested", &[NESTED_SCRIPT, TREE_SOURCE], ""));
        if !path.exists() {
            let scratch = tempfile::tempdir_in(directory()).unwrap();
            let script = scratch.path().join("nested-image.sh");
            fs::write(&script, NESTED_SCRIPT).unwrap();
            let out = scratch.path().join("out");
            fs::create_dir(&out).unwrap();
            // podman refuses paths of more than 50 bytes.
            let stores = tempfile::Builder::new().prefix("dh").tempdir_in("/tmp").unwrap();
            run(Command::new("unshare")
                .args(["--mount", "--propagation", "private", "bash"])
                .args([&script, &out, &tree_program().to_owned()])
                .arg(BUSYBOX)
                .arg(stores.path()));
            fs::rename(&out, &path).unwrap();
        }
        let listing = fs::read_to_string(path.join("tree.txt")).unwrap();
        Nested { directory: path, listing }
    })
}

/// The program that lists a tree: static, so that it runs in any image.
pub(crate) fn tree_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        // In a directory of its own, which containers mount.
        let bin = directory().join(name("tree", &[TREE_SOURCE], ""));
        let program = bin.join("tree");
        if !program.exists() {
            let scratch = tempfile::tempdir_in(directory()).unwrap();
            let source = scratch.path().join("tree.rs");
            fs::write(&source, TREE_SOURCE).unwrap();
            let out = scratch.path().join("bin");
            fs::create_dir(&out).unwrap();
            run(Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
                .args(["--edition", "2024", "-O", "-D", "warnings", "-C", "target-feature=+crt-static", "-o"])
                .args([&out.join("tree"), &source]));
            let _ = fs::remove_dir_all(&bin);
            fs::rename(&out, &bin).unwrap();
        }
        program
    })
}

/// A C program, static, so that it runs in any image; in a directory of its own, which containers mount.
pub(crate) fn c_program(stem: &str, source: &str) -> PathBuf {
    let bin = directory().join(name(stem, &[source], ""));
    let program = bin.join(stem);
    if !program.exists() {
        let scratch = tempfile::tempdir_in(directory()).unwrap();
        let text = scratch.path().join("program.c");
        fs::write(&text, source).unwrap();
        let out = scratch.path().join("bin");
        fs::create_dir(&out).unwrap();
        run(Command::new("cc")
            .args(["-static", "-O1", "-Wall", "-Werror", "-o"])
            .args([&out.join(stem), &text]));
        // Another test may have been quicker; both made the same.
        if fs::rename(&out, &bin).is_err() {
            assert!(program.exists(), "{} was not made", program.display());
        }
    }
    program
}

/// The SDKs that the tests use, and their versions.
const PYTHON_SDK: &str = "docker==7.1.0";
const NODE_SDK: &str = "dockerode@4.0.9";

/// A Python that has PyPI's docker. Takes the network the first time.
pub(crate) fn python_sdk() -> PathBuf {
    let made = directory().join(name("python-sdk", &[PYTHON_SDK], ""));
    if !made.join("done").exists() {
        // A Python's environment knows where it lies: it is made in its place.
        let _ = fs::remove_dir_all(&made);
        run(Command::new("/usr/bin/python3").args(["-m", "venv"]).arg(&made));
        run(Command::new(made.join("bin/pip")).args([
            "install",
            "-q",
            "--disable-pip-version-check",
            PYTHON_SDK,
        ]));
        fs::write(made.join("done"), "").unwrap();
    }
    made.join("bin/python")
}

/// A directory of modules with npm's dockerode. Takes the network the first time.
pub(crate) fn node_sdk() -> PathBuf {
    let made = directory().join(name("node-sdk", &[NODE_SDK], ""));
    if !made.exists() {
        let scratch = tempfile::tempdir_in(directory()).unwrap();
        let out = scratch.path().join("out");
        fs::create_dir(&out).unwrap();
        run(Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
            .arg(&out)
            .arg(NODE_SDK));
        fs::rename(&out, &made).unwrap();
    }
    made.join("node_modules")
}

/// A directory of a docker-archive by hand, with one layer: for archives that no tool would write.
pub(crate) fn docker_archive(directory: &Path, layer: &Path, diff_id: &str) -> PathBuf {
    let tree = directory.join("archive");
    fs::create_dir_all(&tree).unwrap();
    fs::copy(layer, tree.join("layer.tar")).unwrap();
    let config = format!(
        r#"{{"architecture":"{}","os":"linux","config":{{"Cmd":["true"]}},"rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#,
        if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
    );
    fs::write(tree.join("config.json"), config).unwrap();
    let manifest = r#"[{"Config":"config.json","RepoTags":["made:by-hand"],"Layers":["layer.tar"]}]"#;
    fs::write(tree.join("manifest.json"), manifest).unwrap();
    let archive = directory.join("archive.tar");
    run(Command::new("tar").arg("-C").arg(&tree).arg("-cf").arg(&archive).args([
        "manifest.json",
        "config.json",
        "layer.tar",
    ]));
    archive
}

/// `sha256:…` of a file.
pub(crate) fn sha256_of(path: &Path) -> String {
    digest_of(&fs::read(path).unwrap())
}

/// The digest of some bytes.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    let digits: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{digits}")
}

/// A script that containers mount and run.
pub(crate) fn script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}
