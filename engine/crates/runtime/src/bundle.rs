//! A plan as an OCI bundle's `config.json` (runtime-spec, config.md): for `--runtime`, where another program walks
//! the steps. Pure but for a look at the host's devices.
//!
//! Limits are not in it: the cgroup is made and limited by us, and the runtime told to use it.

use crate::devices;
use crate::idmap::IdRange;
use crate::plan::{INIT_PATH, LaunchPlan, Scene};
use crate::step::{DevPlan, MountFlags, MountStep, MountWhat, Step};
use crate::user::ResolvedUser;
use dhow_model::mount::Propagation;
use dhow_model::security::CAPABILITIES;
use dhow_model::{Error, Result};
use dhow_sys::clone;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What a configuration says beside the plan.
pub(crate) struct Told<'a> {
    /// In numbers.
    pub user: ResolvedUser,
    /// The container's cgroup, from the top of the hierarchies.
    pub cgroups_path: &'a str,
    /// The policy in OCI's form.
    pub seccomp: Option<&'a str>,
    /// The file that the command is: an init is told where it lies.
    pub program: String,
    /// Namespaces to join, by their names in OCI, and where they are.
    pub joined: Vec<(&'static str, String)>,
    /// Where the root filesystem is mounted.
    pub root: PathBuf,
    /// Where another container's `/dev/shm` is mounted.
    pub shared_memory: PathBuf,
    /// Where sources are mounted that no path of the host's leads to, by their targets.
    pub made: BTreeMap<String, PathBuf>,
}

/// The configuration.
///
/// # Errors
/// `Unsupported` for what a runtime cannot be told; `InvalidArgument` for a device that is not there.
pub(crate) fn config(plan: &LaunchPlan, told: &Told<'_>) -> Result<Value> {
    let Scene::Container { namespaces, id_maps, .. } = &plan.scene else {
        return Err(Error::internal("an external runtime only starts containers"));
    };
    let mut parts = Parts { without_nodes: id_maps.is_some(), ..Parts::default() };
    for step in &plan.steps {
        parts.take(step, told)?;
    }
    let user = &told.user;
    let process = &plan.process;
    let mut env = process.env.clone();
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={}", user.home));
    }
    let permitted = names(if user.uid == 0 { process.capabilities } else { 0 });
    let cwd = if process.working_dir.is_empty() { "/" } else { &process.working_dir };
    let mut linux = json!({
        "namespaces": namespace_list(*namespaces, parts.cgroup_namespace, &told.joined),
        "cgroupsPath": told.cgroups_path,
        "devices": parts.devices,
        // The rules are ours, and written after the runtime's.
        "resources": {"devices": [{"allow": true, "access": "rwm"}]},
        "maskedPaths": parts.masked,
        "readonlyPaths": parts.readonly,
        "sysctl": parts.sysctl,
        "rootfsPropagation": "private",
    });
    if let Some(maps) = id_maps {
        let list = |ranges: &[IdRange]| {
            let one = |r: &IdRange| json!({"containerID": r.inside, "hostID": r.outside, "size": r.count});
            ranges.iter().map(one).collect::<Vec<_>>()
        };
        linux["uidMappings"] = list(&maps.uids).into();
        linux["gidMappings"] = list(&maps.gids).into();
    }
    if let Some(policy) = told.seccomp {
        linux["seccomp"] = serde_json::from_str(policy)
            .map_err(|error| Error::internal(format!("write the system call policy: {error}")))?;
    }
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": process.tty,
            "user": {"uid": user.uid, "gid": user.gid, "additionalGids": user.groups},
            "args": argv(plan, &told.program),
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
        "root": {"path": told.root, "readonly": parts.readonly_root},
        "hostname": parts.hostname,
        "mounts": parts.mounts,
        "linux": linux,
    }))
}

/// What the steps say, in OCI's words.
#[derive(Default)]
struct Parts {
    mounts: Vec<Value>,
    devices: Vec<Value>,
    masked: Vec<String>,
    readonly: Vec<String>,
    sysctl: Map<String, Value>,
    rlimits: Vec<Value>,
    hostname: String,
    oom_score: i32,
    readonly_root: bool,
    cgroup_namespace: bool,
    /// In a user namespace nobody makes device nodes: the host's are mounted.
    without_nodes: bool,
}

impl Parts {
    fn take(&mut self, step: &Step, told: &Told<'_>) -> Result<()> {
        match step {
            Step::NewCgroupNamespace => self.cgroup_namespace = true,
            Step::Mount(mount) => {
                self.mounts.extend(mount_of(mount, told));
                match &mount.what {
                    MountWhat::Dev(dev) if self.without_nodes => self.mounts.extend(device_mounts(dev)),
                    MountWhat::Dev(dev) => self.devices = device_list(dev)?,
                    _ => {}
                }
            }
            Step::Sysctl { path, value } => {
                self.sysctl.insert(path.replace('/', "."), json!(value));
            }
            Step::Mask(path) => self.masked.push(path.clone()),
            Step::ReadOnlyPath(path) => self.readonly.push(path.clone()),
            Step::HostName(name) => self.hostname.clone_from(name),
            // The word `domainname` came with version 1.1 of the specification; this is as old as namespaces.
            Step::DomainName(name) => {
                self.sysctl.insert("kernel.domainname".to_owned(), json!(name));
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

/// The command, or the init with the command.
fn argv<'a>(plan: &'a LaunchPlan, program: &'a str) -> Vec<&'a str> {
    let command = plan.process.argv.iter().map(String::as_str);
    let init = if plan.process.init { &[INIT_PATH, program][..] } else { &[] };
    init.iter().copied().chain(command).collect()
}

fn device_list(plan: &DevPlan) -> Result<Vec<Value>> {
    const TYPE_MASK: u32 = 0o170_000;
    let device = |(node, target): (devices::HostNode, PathBuf)| {
        json!({
            "path": format!("/dev/{}", target.display()),
            "type": if node.is_block() { "b" } else { "c" },
            "major": node.major(),
            "minor": node.minor(),
            "fileMode": node.mode & !TYPE_MASK,
            "uid": node.uid,
            "gid": node.gid,
        })
    };
    Ok(devices::wanted(plan)?.into_iter().map(device).collect())
}

/// The host's nodes where the container is to see them.
fn device_mounts(plan: &DevPlan) -> impl Iterator<Item = Value> {
    plan.from_host.iter().map(|(host, name)| {
        json!({"destination": format!("/dev/{name}"), "type": "bind", "source": host, "options": ["bind"]})
    })
}

fn namespace_list(flags: u64, cgroup: bool, joined: &[(&'static str, String)]) -> Vec<Value> {
    let mut list: Vec<Value> = [
        (clone::NEWNS, "mount"),
        (clone::NEWPID, "pid"),
        (clone::NEWIPC, "ipc"),
        (clone::NEWUTS, "uts"),
        (clone::NEWNET, "network"),
        (clone::NEWUSER, "user"),
    ]
    .into_iter()
    .filter(|(flag, _)| flags & flag != 0)
    .map(|(_, name)| json!({"type": name}))
    .collect();
    if cgroup {
        list.push(json!({"type": "cgroup"}));
    }
    list.extend(joined.iter().map(|(kind, path)| json!({"type": kind, "path": path})));
    list
}

fn names(mask: u64) -> Vec<&'static str> {
    CAPABILITIES.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0).map(|(_, name)| *name).collect()
}

/// `None` for what another mount stands for.
fn mount_of(mount: &MountStep, told: &Told<'_>) -> Option<Value> {
    let fixed = |options: &[&str]| options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>();
    let made = told.made.get(&mount.target).map(|path| path.display().to_string());
    let (kind, source, mut options) = match &mount.what {
        MountWhat::Proc => ("proc", "proc".to_owned(), Vec::new()),
        MountWhat::Sysfs => ("sysfs", "sysfs".to_owned(), Vec::new()),
        MountWhat::Mqueue => ("mqueue", "mqueue".to_owned(), Vec::new()),
        MountWhat::Dev(_) => {
            ("tmpfs", "tmpfs".to_owned(), fixed(&["strictatime", "mode=755", "size=65536k"]))
        }
        MountWhat::Devpts => {
            ("devpts", "devpts".to_owned(), fixed(&["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]))
        }
        MountWhat::Tmpfs { name, options } => ("tmpfs", name.clone(), options.clone()),
        MountWhat::SharedMemory => ("bind", told.shared_memory.display().to_string(), fixed(&["bind"])),
        // One mount stands for all hierarchies.
        MountWhat::CgroupDirectory | MountWhat::CgroupV2 => ("cgroup", "cgroup".to_owned(), Vec::new()),
        MountWhat::CgroupV1(_) => return None,
        MountWhat::CgroupHost(path) => ("bind", path.display().to_string(), fixed(&["rbind"])),
        MountWhat::Image(_) => ("bind", made.unwrap_or_default(), fixed(&["bind", "rprivate", "ro"])),
        MountWhat::Bind(bind) => {
            let how = if bind.recursive { "rbind" } else { "bind" };
            let path = made.unwrap_or_else(|| bind.path.display().to_string());
            ("bind", path, fixed(&[how, propagation(mount.propagation)]))
        }
    };
    options.extend(flags(mount.flags));
    Some(json!({"destination": mount.target, "type": kind, "source": source, "options": options}))
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
