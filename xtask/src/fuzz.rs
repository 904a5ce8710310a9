//! `cargo xtask fuzz TARGET`: libFuzzer over what reads bytes from strangers (`engine/crates/store/fuzz`).
//!
//! The installed toolchain does it: coverage comes from LLVM's own pass, which stable rustc takes as a code generation
//! flag. No sanitizer is needed: the code that is fuzzed has no `unsafe`, but for the hot loop of `inflate`, whose writes beyond
//! its room the target sees for itself.

use crate::{Result, process};
use std::path::Path;
use std::process::Command;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What is fuzzed; all of them by default
    targets: Vec<String>,
    /// How long, for each
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

const TARGETS: [&str; 5] = ["tar", "index", "inflate", "manifest", "reference"];

/// As cargo-fuzz has them, without its sanitizer.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

pub(crate) fn run(arguments: &Arguments) -> Result {
    let named = arguments.targets.iter().map(String::as_str);
    let targets: Vec<&str> = if arguments.targets.is_empty() { TARGETS.to_vec() } else { named.collect() };
    if let Some(odd) = targets.iter().find(|target| !TARGETS.contains(target)) {
        return Err(format!("there is no target {odd:?}: there are {}", TARGETS.join(", ")).into());
    }
    let directory = process::workspace().join("engine/crates/store/fuzz");
    let place = process::target_dir().join("fuzz");
    // A --target of its own keeps the flags away from build scripts.
    let host = process::output(Command::new("rustc").arg("-vV"))?;
    let host =
        host.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc does not say its host")?;
    let mut build = process::cargo(&["build", "--release", "--bins", "--target", host]);
    process::run(build.current_dir(&directory).env("RUSTFLAGS", FLAGS).env("CARGO_TARGET_DIR", &place))?;
    for target in targets {
        let corpus = place.join("corpus").join(target);
        std::fs::create_dir_all(&corpus)?;
        seed(target, &corpus)?;
        println!("fuzz: {target} for {} seconds", arguments.seconds);
        let mut command = Command::new(place.join(host).join("release").join(target));
        command.arg(&corpus).arg(format!("-max_total_time={}", arguments.seconds));
        command.args(["-max_len=65536", "-timeout=20", "-rss_limit_mb=1024", "-print_final_stats=1"]);
        command.arg(format!("-artifact_prefix={}/", place.display()));
        process::run(&mut command)?;
    }
    Ok(())
}

/// Something to begin with: what real tools write.
fn seed(target: &str, corpus: &Path) -> Result {
    match target {
        "tar" | "index" => {
            let script = r#"
                set -e; work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"; mkdir -p tree/dir/deep
                echo hello > tree/dir/file; ln tree/dir/file tree/hard; ln -s dir/file tree/soft
                : > tree/.wh.gone; : > tree/dir/.wh..wh..opq; echo x > "tree/$(printf 'n%.0s' $(seq 1 150))"
                truncate -s 100K tree/sparse; printf data | dd of=tree/sparse bs=1 seek=50000 conv=notrunc status=none
                for format in posix gnu oldgnu ustar v7; do
                    tar --format=$format -cf "$1/$format.tar" -C tree . 2> /dev/null || true
                done
                tar --format=posix --sparse -cf "$1/sparse-1.0.tar" -C tree .
                tar --format=posix --sparse --sparse-version=0.1 -cf "$1/sparse-0.1.tar" -C tree .
                tar --format=gnu --sparse -cf "$1/sparse-gnu.tar" -C tree .
            "#;
            process::run(Command::new("bash").args(["-c", script, "seed"]).arg(corpus))
        }
        "inflate" => {
            let script = r#"
                cd "$1"; for level in 1 6 9; do
                    head -c 30000 /bin/bash | gzip -$level > program-$level
                    seq 5000 | gzip -$level > numbers-$level
                    head -c 20000 /dev/zero | gzip -$level > zeros-$level
                done
                head -c 3000 /dev/urandom | gzip -1 > noise; cat noise zeros-6 numbers-1 > members
            "#;
            process::run(Command::new("bash").args(["-ec", script, "seed"]).arg(corpus))
        }
        "manifest" => {
            let digest = format!("sha256:{}", "a".repeat(64));
            let descriptor = |kind: &str| serde_json::json!({"mediaType": kind, "digest": digest, "size": 7});
            let manifest = serde_json::json!({"schemaVersion": 2,
                "config": descriptor("application/vnd.oci.image.config.v1+json"),
                "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip")]});
            let index = serde_json::json!({"schemaVersion": 2,
                "manifests": [descriptor("application/vnd.oci.image.manifest.v1+json")]});
            let config = serde_json::json!({"architecture": "amd64", "os": "linux",
                "config": {"Env": ["A=b"], "Cmd": ["sh"], "Healthcheck": {"Test": ["CMD", "true"]}},
                "rootfs": {"type": "layers", "diff_ids": [digest]}});
            for (name, value) in [("manifest", manifest), ("index", index), ("config", config)] {
                std::fs::write(corpus.join(name), value.to_string())?;
            }
            Ok(())
        }
        _ => {
            let digest = format!("a/b@sha256:{}", "0".repeat(64));
            for (number, text) in ["busybox", "host:5000/a/b:tag", "localhost/x", &digest].iter().enumerate()
            {
                std::fs::write(corpus.join(number.to_string()), text)?;
            }
            Ok(())
        }
    }
}
