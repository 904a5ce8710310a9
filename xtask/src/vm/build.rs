//! Building the test programs, and asking each which tests it has.

use crate::{Result, process};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What cargo built.
pub(crate) struct Built {
    /// Every test program of the workspace.
    pub(crate) programs: Vec<Program>,
    /// The executable under test, where the tests look for it.
    pub(crate) dhow: PathBuf,
}

/// One test program.
pub(crate) struct Program {
    /// `dhow-runtime`
    package: String,
    /// `lib`, `test`, `bin`, …
    kind: String,
    /// `root`, or for `lib` the crate's name.
    target: String,
    pub(crate) executable: PathBuf,
}

/// A line of `cargo --message-format=json`, as far as it is looked at.
#[derive(Deserialize)]
struct Message {
    reason: String,
    package_id: Option<String>,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Builds exactly what `cargo xtask test` builds, so that one never undoes the other's work.
pub(crate) fn build() -> Result<Built> {
    let mut command = process::cargo(&["test", "--workspace", "--locked", "--no-run"]);
    command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = command.output().map_err(|e| format!("cannot run cargo: {e}"))?;
    if !output.status.success() {
        return Err(format!("building the tests failed: {}", output.status).into());
    }
    parse(&String::from_utf8(output.stdout)?)
}

fn parse(messages: &str) -> Result<Built> {
    let mut programs = Vec::new();
    let mut dhow = None;
    for line in messages.lines().filter(|l| l.starts_with('{')) {
        let message: Message = serde_json::from_str(line)?;
        let (Some(id), Some(target), Some(profile), Some(executable)) =
            (message.package_id, message.target, message.profile, message.executable)
        else {
            continue;
        };
        let kind = target.kind.first().cloned().unwrap_or_default();
        if message.reason != "compiler-artifact" {
            continue;
        }
        if profile.test {
            programs.push(Program { package: package_name(&id), kind, target: target.name, executable });
        } else if kind == "bin" && target.name == "dhow" {
            dhow = Some(executable);
        }
    }
    Ok(Built { programs, dhow: dhow.ok_or("cargo built no program `dhow`")? })
}

/// From `path+file:///w/engine/crates/sys#dhow-sys@0.1.0`, or `…/crates/sys#0.1.0` when the directory has the
/// package's name.
fn package_name(id: &str) -> String {
    let (path, rest) = id.rsplit_once('#').unwrap_or(("", id));
    match rest.split_once('@') {
        Some((name, _)) => name.to_owned(),
        None => path.rsplit('/').next().unwrap_or_default().to_owned(),
    }
}

impl Built {
    /// The program of a package: its `lib`, or the integration test of that name.
    pub(crate) fn program(&self, package: &str, target: &str) -> Result<&Program> {
        let is_it = |p: &&Program| {
            p.package == package
                && match target {
                    "lib" => p.kind == "lib" || p.kind == "rlib",
                    name => p.kind == "test" && p.target == name,
                }
        };
        self.programs.iter().find(is_it).ok_or_else(|| format!("no test program {package} {target}").into())
    }
}

impl Program {
    /// The names of its tests, but for those that only run when asked for.
    pub(crate) fn tests(&self) -> Result<Vec<String>> {
        let list = |more: &[&str]| -> Result<Vec<String>> {
            let mut command = Command::new(&self.executable);
            let text = process::output(command.args(["--list", "--format", "terse"]).args(more))?;
            Ok(parse_list(&text))
        };
        let ignored = list(&["--ignored"])?;
        Ok(list(&[])?.into_iter().filter(|name| !ignored.contains(name)).collect())
    }
}

/// `name: test` lines.
fn parse_list(text: &str) -> Vec<String> {
    text.lines().filter_map(|l| l.strip_suffix(": test")).map(str::to_owned).collect()
}

/// The shared libraries of a program, and the loader, by ldd. None for a static program.
pub(crate) fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().map_err(|e| format!("cannot run ldd: {e}"))?;
    // A static program is none of ldd's business, and it says so by failing.
    parse_ldd(&String::from_utf8(output.stdout)?)
        .map_err(|library| format!("{} needs {library}, which is not there", program.display()).into())
}

/// `libc.so.6 => /lib/… (0x…)`, `/lib64/ld-linux… (0x…)`, `linux-vdso.so.1 (0x…)`. The error is what is missing.
fn parse_ldd(text: &str) -> std::result::Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_suffix("=> not found") {
            return Err(name.trim().to_owned());
        }
        let path = line.split_once("=> ").map_or(line, |(_, path)| path);
        if let Some((path, _)) = path.split_once(" (")
            && path.starts_with('/')
        {
            found.push(path.into());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_cargo() {
        let built = parse(
            r#"{"reason":"compiler-artifact","package_id":"path+file:///w/engine/crates/sys#dhow-sys@0.1.0","target":{"kind":["lib"],"name":"dhow_sys"},"profile":{"test":true},"executable":"/t/dhow_sys-1"}
{"reason":"compiler-artifact","package_id":"path+file:///w/engine#dhow@0.1.0","target":{"kind":["bin"],"name":"dhow"},"profile":{"test":false},"executable":"/t/dhow"}
{"reason":"compiler-artifact","package_id":"path+file:///w/xtask#0.1.0","target":{"kind":["test"],"name":"it"},"profile":{"test":true},"executable":"/t/it-1"}
{"reason":"build-finished","success":true}
"#,
        )
        .unwrap();
        assert_eq!(built.dhow, Path::new("/t/dhow"));
        assert_eq!(built.program("dhow-sys", "lib").unwrap().executable, Path::new("/t/dhow_sys-1"));
        assert_eq!(built.program("xtask", "it").unwrap().executable, Path::new("/t/it-1"));
        assert!(built.program("dhow-sys", "it").is_err() && built.program("xtask", "lib").is_err());
    }

    #[test]
    fn lists_of_tests_and_of_libraries() {
        assert_eq!(parse_list("a::b: test\nc: benchmark\n"), ["a::b"]);
        let text = "\tlinux-vdso.so.1 (0x7)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x7)\n\t/lib64/ld.so.2 (0x7)\n";
        assert_eq!(parse_ldd(text).unwrap(), [Path::new("/lib/x/libc.so.6"), Path::new("/lib64/ld.so.2")]);
        assert_eq!(parse_ldd("\tnot a dynamic executable\n").unwrap(), [] as [PathBuf; 0]);
        assert_eq!(parse_ldd("\tlibx.so => not found\n").unwrap_err(), "libx.so");
    }
}
