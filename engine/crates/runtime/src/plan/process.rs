//! The process part of a plan: program, environment, user, privileges.

use crate::facts::HostFacts;
use crate::spec::LaunchSpec;
use crate::step::Step;
use dhow_model::security::SeccompProfile;
use dhow_model::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where programs are looked for when the environment has no PATH.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program and what it runs as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessPlan {
    /// Program as typed, then its arguments.
    pub argv: Vec<String>,
    /// The files that the program may be, in order.
    pub candidates: Vec<String>,
    /// Whether the candidates come from PATH.
    pub searched: bool,
    /// `NAME=value`; `HOME` is added from the passwd file when it is missing.
    pub env: Vec<String>,
    /// `user[:group]`; empty: root.
    pub user: String,
    /// Supplementary groups by name or number.
    pub group_add: Vec<String>,
    /// Absolute.
    pub working_dir: String,
    /// Run below the small pid 1 at [`super::INIT_PATH`], which is given the file to execute, then `argv`.
    pub init: bool,
    /// A terminal.
    pub tty: bool,
    /// What it may do, within the bounding set of this machine.
    pub capabilities: u64,
    /// No process gains privileges by exec.
    pub no_new_privileges: bool,
    /// A compiled filter.
    pub seccomp: Option<Vec<u8>>,
}

pub(super) fn of_container(spec: &LaunchSpec, facts: &HostFacts) -> Result<ProcessPlan> {
    let config = &spec.config;
    let security = &config.host.security;
    let argv: Vec<String> = config.argv().cloned().collect();
    if argv.first().is_none_or(String::is_empty) {
        return Err(Error::invalid("no command specified"));
    }
    let mut env = base_environment(&config.hostname, config.tty, &config.env);
    env.extend(config.env.iter().cloned());
    ProcessPlan {
        candidates: Vec::new(),
        searched: false,
        argv,
        env,
        user: config.user.clone(),
        group_add: config.host.group_add.clone(),
        working_dir: working_dir(&config.working_dir)?,
        init: spec.init_binary.is_some(),
        tty: config.tty,
        capabilities: facts.grantable(security.capability_mask()),
        no_new_privileges: security.no_new_privileges,
        // Privileged means unconfined, unless the user gave a profile of their own.
        seccomp: spec
            .seccomp
            .clone()
            .filter(|_| !security.privileged || matches!(security.seccomp, SeccompProfile::Custom(_))),
    }
    .checked()
}

impl ProcessPlan {
    /// Fills the candidates in and refuses text that the kernel cannot take.
    pub(crate) fn checked(mut self) -> Result<Self> {
        for text in self.argv.iter().chain(&self.env).chain([&self.user, &self.working_dir]) {
            check_text("argument", text)?;
        }
        (self.candidates, self.searched) = path_candidates(&self.argv[0], &self.env);
        Ok(self)
    }
}

/// PATH, HOSTNAME and TERM as Docker presets them, unless `env` has them.
fn base_environment(hostname: &str, tty: bool, env: &[String]) -> Vec<String> {
    let mut base = vec![format!("PATH={DEFAULT_PATH}"), format!("HOSTNAME={hostname}")];
    if tty {
        base.push("TERM=xterm".to_owned());
    }
    base.retain(|preset| {
        let name = preset.split('=').next().unwrap_or_default();
        !env.iter().any(|e| e.split('=').next() == Some(name))
    });
    base
}

/// Refuses text with a NUL byte, which would be cut short.
pub(crate) fn check_text<'a>(what: &str, text: &'a str) -> Result<&'a str> {
    if text.contains('\0') {
        Err(Error::invalid(format!("{what} {text:?} contains a NUL byte")))
    } else {
        Ok(text)
    }
}

/// The files that a command may mean, and whether they come from PATH.
pub(crate) fn path_candidates(command: &str, env: &[String]) -> (Vec<String>, bool) {
    if command.contains('/') {
        return (vec![command.to_owned()], false);
    }
    let path = env.iter().rev().find_map(|e| e.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    // Relative elements would mean "wherever the working directory is": Go's LookPath, and so Docker, refuses
    // what it finds there.
    let in_dir = |dir: &str| format!("{}/{command}", dir.trim_end_matches('/'));
    (path.split(':').filter(|dir| dir.starts_with('/')).map(in_dir).collect(), true)
}

/// Normalised and absolute.
pub(crate) fn working_dir(text: &str) -> Result<String> {
    if text.is_empty() || text == "/" {
        return Ok("/".to_owned());
    }
    if !text.starts_with('/') {
        return Err(Error::invalid(format!(
            "the working directory '{text}' is invalid, it needs to be an absolute path"
        )));
    }
    check_text("working directory", text)?;
    // Not normalised as text: `..` after a symbolic link means what the kernel says it means.
    Ok(text.to_owned())
}

/// From the standard streams to exec: the same for a container's first process and for a further one.
///
/// The filter is installed as late as possible. Without no-new-privileges it needs CAP_SYS_ADMIN, so it comes
/// between the user change (which keeps permitted capabilities) and the final capability sets; the calls
/// after it must then be allowed by the profile: capset and execve.
pub(crate) fn final_steps(process: &ProcessPlan, steps: &mut Vec<Step>) {
    steps.push(Step::Stdio);
    steps.push(Step::CloseDescriptors);
    steps.push(Step::BoundingSet(process.capabilities));
    steps.push(Step::WorkingDirectory(process.working_dir.clone()));
    steps.push(Step::BecomeUser);
    // A change of credentials clears it, so it follows the change.
    steps.push(Step::DieWithMonitor);
    if process.no_new_privileges {
        steps.push(Step::Capabilities(process.capabilities));
        steps.push(Step::NoNewPrivileges);
        if process.seccomp.is_some() {
            steps.push(Step::Seccomp);
        }
    } else {
        if process.seccomp.is_some() {
            steps.push(Step::Seccomp);
        }
        steps.push(Step::Capabilities(process.capabilities));
    }
    steps.push(Step::Execute);
}

impl fmt::Display for ProcessPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "argv {:?}{}", self.argv, if self.init { " below init" } else { "" })?;
        writeln!(f, "from {}", self.candidates.join(" "))?;
        writeln!(f, "env {:?}", self.env)?;
        writeln!(f, "user {:?} groups {:?} tty {}", self.user, self.group_add, self.tty)?;
        let filter = self.seccomp.as_ref().map_or(0, |s| s.len() / dhow_sys::seccomp::INSTRUCTION_BYTES);
        writeln!(f, "filter of {filter} instructions")
    }
}
