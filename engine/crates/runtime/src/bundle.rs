//! A plan as an OCI bundle's `config.json` (runtime-spec, config.md): for `--runtime`, where another program walks
//! the steps. Pure.
//!
//! Limits are not in it: the cgroup is made and limited by us, and the runtime told to use it.

use crate::plan::{LaunchPlan, Scene};
use crate::step::{MountFlags, MountStep, MountWhat, Step};
use crate::user::ResolvedUser;
use dhow_model::mount::Propagation;
use dhow_model::security::CAPABILITIES;
use dhow_model::{Error, Result};
use dhow_sys::clone;
use serde_json::{Map, Value, json};

/// The configuration. `seccomp` is the policy in OCI's form.
///
/// # Errors
/// `Unsupported` for what a runtime cannot be told.
pub(crate) fn config(
    plan: &LaunchPlan,
    user: &ResolvedUser,
    cgroups_path: &str,
    seccomp: Option<&str>,
) -> Result<Value> {
    let Scene::Container { namespaces, id_maps: None, .. } = &plan.scene else {
        return Err(Error::unsupported("an external runtime with a user namespace is not supported by dhow"));
    };
    let mut parts = Parts::default();
    for step in &plan.steps {
        parts.take(step)?;
    }
    let process = &plan.process;
    let mut env = process.env.clone();
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={}", user.home));
    }
    let permitted = names(if user.uid == 0 { process.capabilities } else { 0 });
    let cwd = if process.working_dir.is_empty() { "/" } else { &process.working_dir };
    let mut linux = json!({
        "namespaces": namespace_list(*namespaces, parts.cgroup_namespace),
        "cgroupsPath": cgroups_path,
        // The rules are ours, and written after the runtime's.
        "resources": {"devices": [{"allow": true, "access": "rwm"}]},
        "maskedPaths": parts.masked,
        "readonlyPaths": parts.readonly,
        "sysctl": parts.sysctl,
        "rootfsPropagation": "private",
    });
    if let Some(policy) = seccomp {
        linux["seccomp"] = serde_json::from_str(policy)
            .map_err(|error| Error::internal(format!("write the system call policy: {error}")))?;
    }
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": process.tty,
            "user": {"uid": user.uid, "gid": user.gid, "additionalGids": user.groups},
            "args": process.argv,
            "env": env,
            "cwd": cwd,
            "capabilities": {
                "bounding": names(process.capabilities),
                "effective": permitted,
                "permitted": permitted,
                "inheritable": [],
                "ambient": [],
            },
            "rlimits": parts.rlimits,
            "noNewPrivileges": process.no_new_privileges,
            "oomScoreAdj": parts.oom_score,
        },
        "root": {"path": "rootfs", "readonly": parts.readonly_root},
        "hostname": parts.hostname,
        "mounts": parts.mounts,
        "linux": linux,
    }))
}

/// What the steps say, in OCI's words.
#[derive(Default)]
struct Parts {
    mounts: Vec<Value>,
    masked: Vec<String>,
    readonly: Vec<String>,
    sysctl: Map<String, Value>,
    rlimits: Vec<Value>,
    hostname: String,
    oom_score: i32,
    readonly_root: bool,
    cgroup_namespace: bool,
}

impl Parts {
    fn take(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::NewCgroupNamespace => self.cgroup_namespace = true,
            Step::Mount(mount) => self.mounts.extend(mount_of(mount)?),
            Step::Sysctl { path, value } => {
                self.sysctl.insert(path.replace('/', "."), json!(value));
            }
            Step::Mask(path) => self.masked.push(path.clone()),
            Step::ReadOnlyPath(path) => self.readonly.push(path.clone()),
            Step::HostName(name) => self.hostname.clone_from(name),
            Step::DomainName(_) => {
                return Err(Error::unsupported(
                    "--domainname with an external runtime is not supported by dhow",
                ));
            }
            Step::ReadOnlyRoot => self.readonly_root = true,
            Step::OomScore(score) => self.oom_score = *score,
            Step::Rlimit { name, soft, hard } => self.rlimits.push(json!({
                "type": format!("RLIMIT_{}", name.to_uppercase()), "soft": soft, "hard": hard
            })),
            // What every runtime does of its own accord, and what the other parts of the plan say.
            _ => {}
        }
        Ok(())
    }
}

fn namespace_list(flags: u64, cgroup: bool) -> Vec<Value> {
    let mut list: Vec<Value> = [
        (clone::NEWNS, "mount"),
        (clone::NEWPID, "pid"),
        (clone::NEWIPC, "ipc"),
        (clone::NEWUTS, "uts"),
        (clone::NEWNET, "network"),
    ]
    .into_iter()
    .filter(|(flag, _)| flags & flag != 0)
    .map(|(_, name)| json!({"type": name}))
    .collect();
    if cgroup {
        list.push(json!({"type": "cgroup"}));
    }
    list
}

fn names(mask: u64) -> Vec<&'static str> {
    CAPABILITIES.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0).map(|(_, name)| *name).collect()
}

fn mount_of(mount: &MountStep) -> Result<Option<Value>> {
    let fixed = |options: &[&str]| options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>();
    let (kind, source, mut options) = match &mount.what {
        MountWhat::Proc => ("proc", "proc".to_owned(), Vec::new()),
        MountWhat::Sysfs => ("sysfs", "sysfs".to_owned(), Vec::new()),
        MountWhat::Mqueue => ("mqueue", "mqueue".to_owned(), Vec::new()),
        MountWhat::Dev(dev) if dev.all_of_host || !dev.from_host.is_empty() => {
            return Err(Error::unsupported(
                "--privileged and --device with an external runtime are not supported by dhow",
            ));
        }
        MountWhat::Dev(_) => {
            ("tmpfs", "tmpfs".to_owned(), fixed(&["strictatime", "mode=755", "size=65536k"]))
        }
        MountWhat::Devpts => {
            ("devpts", "devpts".to_owned(), fixed(&["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]))
        }
        MountWhat::Tmpfs { options } => ("tmpfs", "tmpfs".to_owned(), options.clone()),
        MountWhat::SharedMemory => {
            return Err(Error::unsupported(
                "another container's IPC namespace with an external runtime is not supported by dhow",
            ));
        }
        // One mount stands for all hierarchies.
        MountWhat::CgroupDirectory | MountWhat::CgroupV2 => ("cgroup", "cgroup".to_owned(), Vec::new()),
        MountWhat::CgroupV1(_) => return Ok(None),
        MountWhat::CgroupHost(path) => ("bind", path.display().to_string(), fixed(&["rbind"])),
        MountWhat::Bind(bind) => {
            let how = if bind.recursive { "rbind" } else { "bind" };
            ("bind", bind.path.display().to_string(), fixed(&[how, propagation(mount.propagation)]))
        }
    };
    options.extend(flags(mount.flags));
    Ok(Some(json!({"destination": mount.target, "type": kind, "source": source, "options": options})))
}

fn flags(flags: MountFlags) -> impl Iterator<Item = String> {
    let MountFlags { readonly, nosuid, nodev, noexec } = flags;
    [(readonly, "ro"), (nosuid, "nosuid"), (nodev, "nodev"), (noexec, "noexec")]
        .into_iter()
        .filter(|(on, _)| *on)
        .map(|(_, word)| word.to_owned())
}

fn propagation(propagation: Propagation) -> &'static str {
    match propagation {
        Propagation::Private => "private",
        Propagation::Rprivate => "rprivate",
        Propagation::Shared => "shared",
        Propagation::Rshared => "rshared",
        Propagation::Slave => "slave",
        Propagation::Rslave => "rslave",
    }
}
