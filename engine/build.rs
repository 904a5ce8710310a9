//! Compiles the two programs that run inside containers: `hello/hello.rs` (of the embedded `hello-world` image)
//! and `init/init.rs` (pid 1 with `--init`), to `OUT_DIR/hello` and `OUT_DIR/init`: static executables of a few
//! kilobytes without a libc, by the same rustc that compiles everything else.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    for name in ["hello", "init"] {
        compile(name)?;
    }
    link_for_a_quick_start()
}

/// Every command executes `dhow` twice, as command line and as monitor. At a fixed address nothing has to be
/// relocated: that saves 2 ms of page faults each time, and the memory of the relocated pages in every monitor.
/// What is given up is the random address of the executable's own code; libraries, heap and stack keep theirs.
fn link_for_a_quick_start() -> Result<(), Box<dyn std::error::Error>> {
    if env::var("CARGO_CFG_TARGET_ENV")? == "gnu" {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
    Ok(())
}

fn compile(name: &str) -> Result<(), Box<dyn std::error::Error>> {
    let source = format!("{name}/{name}.rs");
    println!("cargo::rerun-if-changed={source}");
    let target = env::var("TARGET")?;
    let output = PathBuf::from(env::var("OUT_DIR")?).join(name);

    let mut rustc = Command::new(env::var("RUSTC")?);
    rustc
        .args(["--crate-name", name, "--crate-type", "bin", "--edition", "2024", "--target", &target])
        .args(["-C", "opt-level=s", "-C", "panic=abort", "-C", "strip=symbols", "-C", "codegen-units=1"])
        .args(["-C", "relocation-model=static", "-C", "target-feature=+crt-static"])
        .args(["-C", "link-arg=-nostartfiles", "-C", "link-arg=-nostdlib", "-C", "link-arg=-static"])
        // Padding every segment to pages of its own would make a small program mostly holes.
        .args(["-C", "link-arg=-Wl,--build-id=none,-z,norelro,-z,noseparate-code,--gc-sections"])
        .args(["-D", "warnings"]);
    if target.contains("musl") {
        // Else rustc adds musl's own start files, which define `_start` too.
        rustc.args(["-C", "link-self-contained=no"]);
    }
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg("-C").arg(format!("linker={linker}"));
    }
    rustc.arg("-o").arg(&output).arg(&source);

    let status = rustc.status()?;
    if !status.success() {
        return Err(format!("{rustc:?} ended with {status}").into());
    }
    Ok(())
}
