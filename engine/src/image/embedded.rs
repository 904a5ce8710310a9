//! The `hello-world` image that travels inside the executable: a static program of a few kilobytes.
//!
//! It is installed through the same door as any other image: a docker-archive made in memory.

use crate::Engine;
use dhow_model::{Digest, Reference, Result, ResultExt};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::io::{Seek, SeekFrom, Write};

/// The program, made by `build.rs` from `hello/hello.rs`.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hello"));

/// Docker's architecture names differ from Rust's.
pub(crate) const ARCHITECTURE: &str = match std::env::consts::ARCH.as_bytes() {
    b"x86_64" => "amd64",
    b"aarch64" => "arm64",
    _ => std::env::consts::ARCH,
};

/// Whether a name means the embedded image: `hello-world` with any spelling of Docker Hub's library.
pub(crate) fn is_hello_world(name: &str) -> bool {
    Reference::parse(name)
        .map(Reference::with_default_tag)
        .is_ok_and(|r| r.to_string() == "docker.io/library/hello-world:latest")
}

/// Installs and tags it.
pub(crate) fn install(engine: &Engine) -> Result<()> {
    let archive = archive().context(|| "make the hello-world image".to_owned())?;
    let mut file = tempfile::tempfile().context(|| "make a temporary file".to_owned())?;
    file.write_all(&archive)
        .and_then(|()| file.seek(SeekFrom::Start(0)))
        .context(|| "write the hello-world image".to_owned())?;
    super::load::load(engine, file)?;
    Ok(())
}

/// A docker-archive with one layer that holds `/hello`.
fn archive() -> std::io::Result<Vec<u8>> {
    let layer = tar_of(&[("hello", PROGRAM, 0o755)])?;
    let diff_id = Digest::from_sha256(Sha256::digest(&layer).into());
    let config = json!({
        "architecture": ARCHITECTURE,
        "os": "linux",
        // Fixed, so that every build of one program gives one image id.
        "created": "2026-01-01T00:00:00Z",
        "config": { "Cmd": ["/hello"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "WorkingDir": "/" },
        "rootfs": { "type": "layers", "diff_ids": [diff_id.as_str()] },
        "history": [{ "created": "2026-01-01T00:00:00Z", "created_by": "dhow: the embedded hello-world" }],
    })
    .to_string();
    let config_name = format!("{}.json", Digest::from_sha256(Sha256::digest(&config).into()).hex());
    let manifest =
        json!([{ "Config": config_name, "RepoTags": ["hello-world:latest"], "Layers": ["layer.tar"] }]);
    tar_of(&[
        ("layer.tar", &layer, 0o644),
        (&config_name, config.as_bytes(), 0o644),
        ("manifest.json", manifest.to_string().as_bytes(), 0o644),
    ])
}

fn tar_of(files: &[(&str, &[u8], u32)]) -> std::io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, data, mode) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(data.len() as u64);
        header.set_mode(*mode);
        header.set_mtime(1_767_225_600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_entry_type(tar::EntryType::Regular);
        builder.append_data(&mut header, name, *data)?;
    }
    builder.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_official_name_is_embedded() {
        for yes in [
            "hello-world",
            "hello-world:latest",
            "library/hello-world",
            "docker.io/library/hello-world:latest",
        ] {
            assert!(is_hello_world(yes), "{yes}");
        }
        for no in ["hello-world:linux", "me/hello-world", "quay.io/hello-world", "hello", "HELLO-WORLD"] {
            assert!(!is_hello_world(no), "{no}");
        }
    }

    #[test]
    fn the_archive_is_reproducible() {
        assert_eq!(archive().unwrap(), archive().unwrap());
        assert!(PROGRAM.starts_with(b"\x7fELF"));
    }
}
