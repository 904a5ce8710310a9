//! `cargo xtask bpf`: compiles the eBPF probes and makes the Rust side of their records.
//!
//! Both results are committed, so that building dhow needs neither clang nor libclang. `--check` makes them
//! anew beside the committed ones and compares byte for byte: with the compiler of [`CLANG`] the object is the
//! same in whatever directory it is made.

use crate::{Result, process, setup};
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Change nothing; fail when a committed file is not what its sources make
    #[arg(long)]
    check: bool,
}

/// Another version makes other bytes.
const CLANG: &str = "clang-14";
const STRIP: &str = "llvm-strip-14";
/// Debian 12's.
const BINDGEN: &str = "bindgen";
const BINDGEN_VERSION: &str = "0.60.1";

/// What bindgen writes before the bindings.
const BINDINGS_HEAD: &str = "\
//! The records of the probes, made from `probes/events.h` by `cargo xtask bpf`. Do not edit.

#![allow(
    dead_code,
    missing_docs,
    non_camel_case_types,
    unreachable_pub,
    reason = \"names, comments and visibility are those of the C header\"
)]

";

/// Compares the committed files with what their sources make; installs the tools for it.
pub(crate) fn check() -> Result {
    if [CLANG, STRIP, BINDGEN].iter().any(|tool| process::find_program(tool).is_none()) {
        setup::run()?;
    }
    run(&Arguments { check: true })
}

/// Makes both files, or compares them.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let package = process::workspace().join("ebpf");
    let scratch = process::target_dir().join("bpf");
    std::fs::create_dir_all(&scratch)?;
    let made = [
        (package.join("objects/trace.o"), compile(&package, &scratch)?),
        (package.join("src/bindings.rs"), bindings(&package, &scratch)?),
    ];
    for (committed, fresh) in made {
        let shown = committed.strip_prefix(process::workspace()).unwrap_or(&committed).display().to_string();
        let fresh_bytes = read(&fresh)?;
        let same = std::fs::read(&committed).is_ok_and(|bytes| bytes == fresh_bytes);
        match (same, arguments.check) {
            (true, _) => println!("bpf: {shown} is what its sources make"),
            (false, true) => {
                return Err(format!("{shown} is not what its sources make: run `cargo xtask bpf`").into());
            }
            (false, false) => {
                if let Some(directory) = committed.parent() {
                    std::fs::create_dir_all(directory)?;
                }
                std::fs::write(&committed, fresh_bytes)?;
                println!("bpf: {shown} is made anew");
            }
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()).into())
}

fn tool(name: &str) -> Result<Command> {
    let path = process::find_program(name)
        .ok_or_else(|| format!("{name} is not installed: run `cargo xtask setup`"))?;
    Ok(Command::new(path))
}

/// The object, without debug sections but with the types (BTF) that relocation needs.
fn compile(package: &Path, scratch: &Path) -> Result<PathBuf> {
    let probes = package.join("probes");
    let object = scratch.join("trace.o");
    let prefix = format!("-ffile-prefix-map={}=.", probes.display());
    // The target is named for the helpers' headers; the probes hold both architectures' registers, and ask the
    // running kernel's types which it has.
    let arguments = ["-target", "bpf", "-D__TARGET_ARCH_x86", "-ffreestanding", "-O2", "-g", "-mcpu=v3"];
    let warnings = ["-Wall", "-Wextra", "-Werror"];
    process::run(
        tool(CLANG)?
            .current_dir(&probes)
            .args(arguments)
            .args(warnings)
            .args([prefix.as_str(), "-fdebug-compilation-dir=.", "-c", "trace.bpf.c", "-o"])
            .arg(&object),
    )?;
    process::run(tool(STRIP)?.arg("-g").arg(&object))?;
    Ok(object)
}

/// The structures and constants of events.h.
fn bindings(package: &Path, scratch: &Path) -> Result<PathBuf> {
    let version = process::output(tool(BINDGEN)?.arg("--version"))?;
    if !version.trim().ends_with(BINDGEN_VERSION) {
        return Err(format!("{} is not the bindgen {BINDGEN_VERSION} of Debian 12", version.trim()).into());
    }
    let raw = process::output(
        tool(BINDGEN)?
            .current_dir(package.join("probes"))
            .args(["events.h", "--no-layout-tests", "--no-default", "trace_scope", "--no-rustfmt-bindings"])
            .args(["--disable-header-comment", "--allowlist-type", "trace_.*", "--allowlist-var", "TRACE_.*"])
            .args(["--", "-ffreestanding"]),
    )?;
    let file = scratch.join("bindings.rs");
    std::fs::write(&file, format!("{BINDINGS_HEAD}{raw}"))?;
    let configuration = process::workspace().join("rustfmt.toml");
    process::run(
        tool("rustfmt")?.args(["--edition", "2024", "--config-path"]).arg(configuration).arg(&file),
    )?;
    Ok(file)
}
