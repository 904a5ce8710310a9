//! What the tests compile against: the library, installed below a prefix by `ffi/install.sh`, as a packager would.

use crate::sandbox::{Sandbox, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Debian's busybox-static.
const BUSYBOX: &str = "/bin/busybox";

/// What a stage's directory is called, before the number of its process.
const PREFIX: &str = "dhow-ffi-stage-";

/// How a program is compiled and run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    C11,
    Cxx17,
    /// Address and undefined behaviour.
    Sanitized,
    /// With `valgrind.c`, which says why.
    Valgrind,
    /// With libdhow.a.
    Static,
}

/// Built and installed once for all tests of this process.
pub(crate) struct Stage {
    directory: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn get() -> &'static Stage {
        static STAGE: OnceLock<Stage> = OnceLock::new();
        STAGE.get_or_init(Stage::make)
    }

    fn make() -> Stage {
        let build = build();
        remove_abandoned();
        let directory = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{}-", std::process::id()))
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a directory below cargo's own");
        let stage = Stage { directory };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("install.sh");
        run(Command::new(script).arg(build).arg(stage.prefix()));
        stage.make_images();
        stage
    }

    pub(crate) fn prefix(&self) -> PathBuf {
        self.directory.path().join("prefix")
    }

    pub(crate) fn helper(&self) -> PathBuf {
        self.prefix().join("bin/dhow")
    }

    /// A root filesystem of busybox and its applets, as a tar.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.directory.path().join("bb.tar")
    }

    /// The same as an image archive that calls it `loaded:1`.
    pub(crate) fn archive(&self) -> PathBuf {
        self.directory.path().join("image.tar")
    }

    fn make_images(&self) {
        let tree = self.directory.path().join("tree");
        for name in ["bin", "dev", "etc", "proc", "root", "sys", "tmp"] {
            fs::create_dir_all(tree.join(name)).unwrap();
        }
        fs::copy(BUSYBOX, tree.join("bin/busybox")).expect("busybox-static: run `cargo xtask setup`");
        for applet in run(Command::new(BUSYBOX).arg("--list")).lines().filter(|name| *name != "busybox") {
            std::os::unix::fs::symlink("busybox", tree.join("bin").join(applet)).unwrap();
        }
        fs::write(tree.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
        fs::write(tree.join("etc/group"), "root:x:0:\n").unwrap();
        run(Command::new("tar").arg("-C").arg(&tree).arg("-cf").arg(self.rootfs()).arg("."));
        let engine = Sandbox::new();
        let dhow = |words: &[&str], path: &Path| {
            let mut command = Command::new(self.helper());
            command.args(["--root".as_ref(), engine.root().as_os_str()]);
            command.args(["--state".as_ref(), engine.state().as_os_str()]);
            run(command.args(words).arg(path))
        };
        run(Command::new(self.helper())
            .args(["--root".as_ref(), engine.root().as_os_str()])
            .args(["--state".as_ref(), engine.state().as_os_str()])
            .arg("import")
            .arg(self.rootfs())
            .arg("loaded:1"));
        dhow(&["save", "loaded:1", "-o"], &self.archive());
    }

    /// Where pkg-config and the linker find it.
    pub(crate) fn environment(&self, command: &mut Command) {
        let lib = self.prefix().join("lib");
        command.env("PKG_CONFIG_PATH", lib.join("pkgconfig")).env("LD_LIBRARY_PATH", lib);
    }

    /// Compiles one of `tests/c`.
    pub(crate) fn compile(&self, sandbox: &Sandbox, name: &str, kind: Kind) -> PathBuf {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c");
        let program = sandbox.path().join(format!("{name}-{kind:?}"));
        let mut words: Vec<PathBuf> = vec![sources.join(format!("{name}.c"))];
        if kind == Kind::Valgrind {
            words.push(sources.join("valgrind.c"));
        }
        self.compiler(kind, &words, &program);
        program
    }

    /// Compiles one of `examples`.
    pub(crate) fn compile_example(&self, sandbox: &Sandbox, name: &str) -> PathBuf {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/{name}.c"));
        let program = sandbox.path().join(format!("example-{name}"));
        self.compiler(Kind::C11, &[source], &program);
        program
    }

    /// The agent of `valgrind.c`.
    pub(crate) fn agent(&self, sandbox: &Sandbox) -> PathBuf {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/valgrind.c");
        let program = sandbox.path().join("agent");
        run(Command::new("cc")
            .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-DAGENT", "-o"])
            .args([program.as_path(), &source]));
        program
    }

    fn compiler(&self, kind: Kind, sources: &[PathBuf], program: &Path) {
        let mut flags = Command::new("pkg-config");
        self.environment(&mut flags);
        flags.arg("--cflags").arg("--libs");
        if kind == Kind::Static {
            flags.arg("--static");
        }
        let flags = run(flags.arg("dhow"));
        let archive = self.prefix().join("lib/libdhow.a");
        let flags = flags.split_whitespace().map(|flag| match (kind, flag) {
            (Kind::Static, "-ldhow") => archive.to_string_lossy().into_owned(),
            _ => flag.to_owned(),
        });
        let mut command = match kind {
            Kind::Cxx17 => {
                let mut command = Command::new("c++");
                command.args(["-x", "c++", "-std=c++17"]);
                command
            }
            _ => {
                let mut command = Command::new("cc");
                command.arg("-std=c11");
                command
            }
        };
        if kind == Kind::Sanitized {
            command.args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
        }
        command.args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-g", "-pthread"]).args(sources);
        if kind == Kind::Cxx17 {
            // What follows is for the linker again.
            command.args(["-x", "none"]);
        }
        command.args(flags).arg(format!("-Wl,-rpath,{}/lib", self.prefix().display()));
        run(command.arg("-o").arg(program));
    }
}

/// Where cargo puts what it builds with the profile that the tests were built with.
pub(crate) fn profile() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    // TARGET/PROFILE/deps/it-HASH
    exe.parent().and_then(Path::parent).unwrap().to_owned()
}

/// A static is never dropped: the stages of earlier runs go now.
fn remove_abandoned() {
    for entry in fs::read_dir(env!("CARGO_TARGET_TMPDIR")).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let owner = rest.split('-').next().unwrap_or_default();
        if !Path::new("/proc").join(owner).join("fd").exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Builds library and helper; returns where they are. Cargo does not do so by itself: a shared library is nothing
/// that a test could be linked with.
fn build() -> PathBuf {
    let profile = profile();
    let target = profile.parent().unwrap();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--locked", "--quiet", "-p", "dhow-ffi", "-p", "dhow", "--bin", "dhow", "--lib"]);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    run(cargo.arg("--target-dir").arg(target).current_dir(env!("CARGO_MANIFEST_DIR")));
    profile
}
