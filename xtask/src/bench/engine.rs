//! An engine of a benchmark's own: built, with the image `bench`, and nothing left of it at its end.

use super::{Contender, Scratch, rootfs, run_time_directory};
use crate::{Result, process};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which network the containers that are measured are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Network {
    /// None at all
    None,
    /// The engine's default bridge
    Bridge,
}

impl Network {
    /// As engines take it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bridge => "bridge",
        }
    }
}

/// Everything removed with it: containers, bridges, the firewall's table, directories.
pub(super) struct Engine {
    pub(super) program: PathBuf,
    flags: Vec<String>,
    /// In memory.
    _state: Scratch,
}

impl Engine {
    /// The release build, with everything below `scratch`.
    pub(super) fn open(scratch: &Path) -> Result<Self> {
        let state = Scratch(run_time_directory(scratch));
        std::fs::create_dir_all(&state.0)?;
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let (root, run) = (text(scratch.join("dhow/root")), text(state.0.join("dhow")));
        let flags = ["--root", &root, "--state", &run].map(str::to_owned).to_vec();
        let program = process::target_dir().join("release/dhow");
        Ok(Self { program, flags, _state: state })
    }

    /// The image `bench`.
    pub(super) fn import(&self, rootfs: &rootfs::Rootfs) -> Result {
        process::output(self.command(&["import"]).arg(&rootfs.tar).arg("bench")).map(drop)
    }

    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.flags).args(words);
        command
    }

    /// Runs it to its end; returns what it printed.
    pub(super) fn ok(&self, words: &[&str]) -> Result<String> {
        Ok(process::output(&mut self.command(words))?.trim().to_owned())
    }

    /// Something to measure.
    pub(super) fn contender(&self, name: &str, words: &[&str]) -> Result<Contender> {
        let version = process::output(Command::new(&self.program).arg("--version"))?;
        let version = version.split_whitespace().find(|w| w.starts_with(|c: char| c.is_ascii_digit()));
        let version = version.unwrap_or("unknown").trim_end_matches(',').to_owned();
        let program = self.program.to_string_lossy().into_owned();
        let words = words.iter().map(|w| (*w).to_owned());
        Ok(Contender::new(name, version, std::iter::once(program).chain(self.flags.clone()).chain(words)))
    }

    /// A whole run from nothing to nothing.
    pub(super) fn run(&self, name: &str, network: Network, rootfs: &rootfs::Rootfs) -> Result<Contender> {
        let mut words = vec!["run", "--rm", "--network", network.word(), "bench"];
        words.extend(rootfs.command.iter().map(String::as_str));
        self.contender(name, &words)
    }

    /// Removes all containers, many at a time, what networks have made, and the image.
    pub(super) fn clear(&self) -> Result {
        let all = self.ok(&["ps", "-aq"])?;
        let ids: Vec<&str> = all.split_whitespace().collect();
        for some in ids.chunks(100) {
            self.ok(&[&["rm", "-f"], some].concat())?;
        }
        self.ok(&["network", "prune", "--all", "--force"])?;
        // With its layers go their mounts.
        let images = self.ok(&["images", "-aq", "--no-trunc"])?;
        images.lines().try_for_each(|id| self.ok(&["rmi", "-f", id]).map(drop))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            eprintln!("xtask: {error}");
        }
    }
}
