//! What every Rust source file must have, and which ones have grown too long.

use crate::{Result, process};
use std::path::{Path, PathBuf};

/// Above it a file wants splitting by meaning. Told, not enforced: a length alone is no defect.
const LONG_LINES: usize = 600;

/// Every file starts with a `//!` that says what it is for; long ones are listed.
pub(crate) fn check() -> Result {
    let root = process::workspace();
    let mut files = Vec::new();
    for part in ["engine", "ebpf", "ffi", "bench", "xtask"] {
        collect(&root.join(part), &mut files)?;
    }
    let mut silent = Vec::new();
    for file in &files {
        let text =
            std::fs::read_to_string(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
        let shown = file.strip_prefix(&root).unwrap_or(file).display().to_string();
        if !text.starts_with("//!") {
            silent.push(shown.clone());
        }
        let lines = lines_without_tests(&text);
        if lines > LONG_LINES {
            println!("check: {shown} has {lines} lines beside its tests: can it be split by meaning?");
        }
    }
    if silent.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "these files do not start with a `//!` that says what they are for: {}",
            silent.join(", ")
        )
        .into())
    }
}

/// Every `.rs` file below a directory, but for what cargo built.
fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result {
    let entries =
        std::fs::read_dir(directory).map_err(|e| format!("cannot list {}: {e}", directory.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if entry.file_name() != "target" {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// Lines up to the tests at the end of a file.
fn lines_without_tests(text: &str) -> usize {
    text.lines().take_while(|line| *line != "#[cfg(test)]").count()
}
