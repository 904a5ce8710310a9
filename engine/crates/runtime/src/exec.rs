//! Plans a further process in a running container.

use crate::facts::HostFacts;
use crate::plan::{LaunchPlan, ProcessPlan, Scene};
use crate::plan::{final_steps, rlimit_steps, working_dir};
use crate::spec::ExecSpec;
use crate::step::Step;
use dhow_model::security::CAPABILITIES;
use dhow_model::{Error, Result};

/// Turns an exec request into a plan. Pure.
///
/// # Errors
/// `InvalidArgument` for an empty command or text with NUL bytes.
pub fn plan_exec(spec: &ExecSpec, facts: &HostFacts) -> Result<LaunchPlan> {
    if spec.argv.first().is_none_or(String::is_empty) {
        return Err(Error::invalid("no exec command specified"));
    }
    let all = (1 << CAPABILITIES.len()) - 1;
    let wanted = if spec.privileged { all } else { spec.capability_mask };
    let mut env = spec.env.clone();
    if spec.tty && !env.iter().any(|e| e.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    let process = ProcessPlan {
        argv: spec.argv.clone(),
        candidates: Vec::new(),
        searched: false,
        env,
        user: spec.user.clone(),
        group_add: spec.group_add.clone(),
        working_dir: working_dir(&spec.working_dir)?,
        init: false,
        tty: spec.tty,
        capabilities: facts.grantable(wanted),
        no_new_privileges: spec.no_new_privileges,
        seccomp: if spec.privileged { None } else { spec.seccomp.clone() },
    }
    .checked()?;
    let mut steps = Vec::new();
    if !spec.cgroup.v1.is_empty() {
        steps.push(Step::JoinCgroups);
    }
    steps.push(Step::NewSession);
    // With the host's privilege, which ends when a user namespace is entered.
    if spec.oom_score_adj != 0 {
        steps.push(Step::OomScore(spec.oom_score_adj));
    }
    rlimit_steps(&spec.ulimits, facts, &mut steps)?;
    steps.push(Step::JoinNamespaces);
    final_steps(&process, &mut steps);
    let scene = Scene::Exec {
        pid: spec.container_pid,
        start_ticks: spec.container_start_ticks,
        cgroup: spec.cgroup.clone(),
    };
    Ok(LaunchPlan { scene, process, steps, volume_filesystems: Vec::new() })
}
