//! Making a container's cgroup: directories, limits, device rules. Undone on failure by [`Cgroup::remove`].

use super::device_rules::{self, DevicePlan, DeviceRule};
use super::limits::{CgroupPlan, LimitWrite};
use super::{Cgroup, CgroupPaths, V1Path, write_control};
use crate::devices;
use dhow_model::{Error, ErrorKind, Result, ResultExt};
use dhow_sys::{Errno, OnErrno};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// What a launch needs of a cgroup that is ready.
#[derive(Debug)]
pub(crate) struct Ready {
    pub cgroup: Cgroup,
    pub joining: Joining,
}

/// Descriptors through which a child enters a cgroup.
#[derive(Debug, Default)]
pub(crate) struct Joining {
    /// `tasks` files of the v1 hierarchies. Writing `0` to `tasks` (not `cgroup.procs`) moves the writing
    /// thread alone, for which the kernel takes no global lock and waits for no RCU grace period.
    pub tasks: Vec<OwnedFd>,
    /// The v2 directory, for clone3.
    pub unified: Option<OwnedFd>,
}

/// Makes the directories, writes the limits.
///
/// # Errors
/// `Conflict` when a directory has processes already; else names file and reason. Nothing is left then.
pub(crate) fn make(plan: &CgroupPlan) -> Result<Ready> {
    let mut made = CgroupPaths::default();
    match make_in(plan, &mut made) {
        Ok(joining) => Ok(Ready { cgroup: Cgroup::from_paths(plan.paths.clone()), joining }),
        Err(error) => {
            // Only what was made here: a directory in use belongs to someone. The first error is the one to show.
            let _ = Cgroup::from_paths(made).remove();
            Err(error)
        }
    }
}

fn make_in(plan: &CgroupPlan, made: &mut CgroupPaths) -> Result<Joining> {
    for v1 in &plan.paths.v1 {
        make_directory(&v1.path, plan.depth, &mut |parent| prepare_v1_parent(v1, parent))?;
        made.v1.push(v1.clone());
        fill_cpuset(v1, plan.depth)?;
    }
    if let Some(path) = &plan.paths.unified {
        make_directory(path, plan.depth, &mut |_| Ok(()))?;
        made.unified = Some(path.clone());
        enable_controllers(path, plan)?;
    }
    if plan.writes.iter().any(is_realtime) {
        share_realtime(plan)?;
    }
    for write in &plan.writes {
        write_limit(&plan.paths, write)?;
    }
    restrict_devices(plan)?;
    open_joining(&plan.paths)
}

/// Writes the limits of a cgroup that exists once more.
///
/// # Errors
/// Names file and reason.
pub(crate) fn relimit(plan: &CgroupPlan) -> Result<()> {
    for write in &plan.writes {
        write_limit(&plan.paths, write)?;
    }
    restrict_devices(plan)
}

/// Opens what a child needs to enter existing directories.
pub(crate) fn open_joining(paths: &CgroupPaths) -> Result<Joining> {
    let mut joining = Joining::default();
    for v1 in &paths.v1 {
        let path = v1.path.join("tasks");
        let file =
            OpenOptions::new().write(true).open(&path).context(|| format!("open {}", path.display()))?;
        joining.tasks.push(file.into());
    }
    if let Some(path) = &paths.unified {
        joining.unified = Some(File::open(path).context(|| format!("open {}", path.display()))?.into());
    }
    Ok(joining)
}

/// mkdir of the leaf; parents only when they are missing. A leaf that exists is taken over if it is empty: a
/// crash left it.
fn make_directory(
    leaf: &Path,
    depth: usize,
    parent_ready: &mut dyn FnMut(&Path) -> Result<()>,
) -> Result<()> {
    match fs::create_dir(leaf) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let procs = fs::read_to_string(leaf.join("cgroup.procs")).unwrap_or_default();
            if procs.is_empty() {
                thaw_leftover(leaf);
                return Ok(());
            }
            return Err(Error::conflict(format!("cgroup {} has processes already", leaf.display())));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).context(|| format!("make cgroup {}", leaf.display())),
    }
    let mut parents: Vec<&Path> = leaf.ancestors().skip(1).take(depth.saturating_sub(1)).collect();
    parents.reverse();
    for parent in parents {
        ignore_existing(fs::create_dir(parent)).context(|| format!("make cgroup {}", parent.display()))?;
        parent_ready(parent)?;
    }
    // Another launch may have been as fast.
    ignore_existing(fs::create_dir(leaf)).context(|| format!("make cgroup {}", leaf.display()))
}

/// What a paused container leaves would freeze whoever comes next. Each file is there in one hierarchy only.
fn thaw_leftover(leaf: &Path) {
    for (name, value) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
        let _ = write_control(&leaf.join(name), value);
    }
}

pub(super) fn ignore_existing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// A v1 cpuset is born empty, and an empty one takes no process. With `clone_children` the container's
/// copies this one's, so this one copies its own parent's.
pub(super) fn prepare_v1_parent(v1: &V1Path, parent: &Path) -> Result<()> {
    if !v1.controllers.iter().any(|c| c == "cpuset") {
        return Ok(());
    }
    copy_cpuset_from_above(parent)?;
    let path = parent.join("cgroup.clone_children");
    write_control(&path, "1").context(|| format!("write {}", path.display()))
}

fn copy_cpuset_from_above(directory: &Path) -> Result<()> {
    let above = directory.parent().unwrap_or(directory);
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let own = directory.join(name);
        if fs::read_to_string(&own).context(|| format!("read {}", own.display()))?.trim().is_empty() {
            let value = fs::read_to_string(above.join(name)).context(|| format!("read {name} above"))?;
            write_control(&own, value.trim()).context(|| format!("write {}", own.display()))?;
        }
    }
    Ok(())
}

/// The container's cpuset is empty when another launch had made the parent but not filled it yet.
fn fill_cpuset(v1: &V1Path, depth: usize) -> Result<()> {
    if !v1.controllers.iter().any(|c| c == "cpuset") {
        return Ok(());
    }
    let path = v1.path.join("cpuset.mems");
    if !fs::read_to_string(&path).context(|| format!("read {}", path.display()))?.trim().is_empty() {
        return Ok(());
    }
    let mut parents: Vec<&Path> = v1.path.ancestors().skip(1).take(depth.saturating_sub(1)).collect();
    parents.reverse();
    parents.into_iter().try_for_each(|parent| prepare_v1_parent(v1, parent))?;
    copy_cpuset_from_above(&v1.path)
}

/// Switches controllers on, from the top, if the leaf does not have them yet.
fn enable_controllers(leaf: &Path, plan: &CgroupPlan) -> Result<()> {
    if plan.controllers.is_empty() {
        return Ok(());
    }
    let path = leaf.join("cgroup.controllers");
    let present = fs::read_to_string(&path).context(|| format!("read {}", path.display()))?;
    let missing: Vec<String> = plan
        .controllers
        .iter()
        .filter(|c| !present.split_whitespace().any(|p| p == c.as_str()))
        .map(|c| format!("+{c}"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut above: Vec<&Path> = leaf.ancestors().skip(1).take(plan.depth).collect();
    above.reverse();
    for directory in above {
        let path = directory.join("cgroup.subtree_control");
        write_control(&path, &missing.join(" "))
            .map_err(|error| explain_refusal(directory, &missing, error))?;
    }
    Ok(())
}

fn explain_refusal(directory: &Path, missing: &[String], error: io::Error) -> Error {
    let what = format!("switch on {} in cgroup {}", missing.join(" "), directory.display());
    if error.kind() == io::ErrorKind::ResourceBusy {
        // The rule of "no internal processes" (Documentation/admin-guide/cgroup-v2.rst).
        return Error::conflict(format!(
            "{what}: it has processes of its own, so on cgroup v2 it cannot hand controllers to containers below it"
        ));
    }
    Error::caused(ErrorKind::StartFailed, what, error)
}

impl Cgroup {
    /// Writes limits while processes are in it: all or none. Some hold each other back (on v1 the limit of memory must
    /// not be above that of memory and swap, whichever is raised first): what is refused at first is tried again
    /// after the others.
    ///
    /// # Errors
    /// The first that is refused for good; what the files held before is written back then.
    pub fn change(&self, writes: &[LimitWrite]) -> Result<()> {
        let before: Vec<LimitWrite> = writes.iter().filter_map(|write| self.held(write)).collect();
        let written = self.write_twice(writes);
        if written.is_err() {
            // The first error is the one to show.
            let _ = self.write_twice(&before);
        }
        written
    }

    fn write_twice(&self, writes: &[LimitWrite]) -> Result<()> {
        let refused = writes.iter().filter(|write| write_limit(self.paths(), write).is_err());
        let refused: Vec<&LimitWrite> = refused.collect();
        refused.into_iter().try_for_each(|write| write_limit(self.paths(), write))
    }

    /// What a limit's file holds now, as a write.
    fn held(&self, write: &LimitWrite) -> Option<LimitWrite> {
        let directory = limit_directory(self.paths(), write)?;
        let others = write.otherwise.as_ref().map(|(file, _)| file);
        write.files.iter().chain(others).find_map(|file| {
            let text = fs::read_to_string(directory.join(file)).ok()?;
            // Lines for single devices follow.
            let value = text.lines().next()?.trim_start_matches("default ").to_owned();
            Some(LimitWrite { files: vec![file.clone()], value, otherwise: None, ..write.clone() })
        })
    }
}

fn is_realtime(write: &LimitWrite) -> bool {
    write.files.iter().any(|file| file == "cpu.rt_runtime_us")
}

/// Real-time runtime is handed down: a v1 cgroup has none to give before it was given some. The cgroups above the
/// container's get what the root has.
fn share_realtime(plan: &CgroupPlan) -> Result<()> {
    let Some(v1) = plan.paths.v1.iter().find(|v1| v1.controllers.iter().any(|c| c == "cpu")) else {
        return Ok(());
    };
    let mut above: Vec<&Path> = v1.path.ancestors().skip(1).take(plan.depth).collect();
    above.reverse();
    let Some((root, parents)) = above.split_first() else { return Ok(()) };
    for file in ["cpu.rt_period_us", "cpu.rt_runtime_us"] {
        let all = root.join(file);
        let all = fs::read_to_string(&all).context(|| format!("read {}", all.display()))?;
        for parent in parents {
            let own = parent.join(file);
            let now = fs::read_to_string(&own).context(|| format!("read {}", own.display()))?;
            if now.trim() == "0" || file == "cpu.rt_period_us" && now != all {
                write_control(&own, all.trim())
                    .context(|| format!("write {:?} to {}", all.trim(), own.display()))?;
            }
        }
    }
    Ok(())
}

fn limit_directory<'a>(paths: &'a CgroupPaths, write: &LimitWrite) -> Option<&'a Path> {
    match &write.v1_controller {
        Some(controller) => {
            paths.v1.iter().find(|v1| v1.controllers.contains(controller)).map(|v1| v1.path.as_path())
        }
        None => paths.unified.as_deref(),
    }
}

fn write_limit(paths: &CgroupPaths, write: &LimitWrite) -> Result<()> {
    let device = write.device.as_deref().map(device_numbers).transpose()?.unwrap_or_default();
    let directory = limit_directory(paths, write)
        .ok_or_else(|| Error::internal(format!("{} was planned without its hierarchy", write.what)))?;
    let own = write.files.iter().map(|file| (file, &write.value));
    for (file, value) in own.chain(write.otherwise.as_ref().map(|(file, value)| (file, value))) {
        let path = directory.join(file);
        let value = format!("{device}{value}");
        match write_control(&path, &value) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                // The kernel refuses values that it cannot hold: a CPU that is not there, a weight out of range.
                let kind = match error.raw_os_error() {
                    Some(libc_codes::EINVAL | libc_codes::ERANGE) => ErrorKind::InvalidArgument,
                    _ => ErrorKind::StartFailed,
                };
                return Err(error).context_kind(kind, || {
                    format!("set {}: write {value:?} to {}", write.what, path.display())
                });
            }
        }
    }
    if write.optional {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "{} cannot be set: this kernel has no {} in {}",
        write.what,
        write.files.join(" or "),
        directory.display()
    )))
}

/// `8:16 `, of a block device's node. Docker's words for one that is not there.
fn device_numbers(path: &Path) -> Result<String> {
    let status = fs::metadata(path).map_err(|error| {
        let why = io_reason(&error);
        Error::invalid(format!("stat {}: {why}", path.display()))
    })?;
    if !status.file_type().is_block_device() {
        return Err(Error::invalid(format!("{}: not a block device", path.display())));
    }
    let number = status.rdev();
    Ok(format!("{}:{} ", nix::sys::stat::major(number), nix::sys::stat::minor(number)))
}

fn io_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        _ => error.to_string(),
    }
}

/// The two error numbers told apart above.
mod libc_codes {
    pub(super) const EINVAL: i32 = 22;
    pub(super) const ERANGE: i32 = 34;
}

fn restrict_devices(plan: &CgroupPlan) -> Result<()> {
    let DevicePlan::Only { rules, nodes } = &plan.devices else { return Ok(()) };
    let mut rules = rules.clone();
    for (path, permissions) in nodes {
        let template = DeviceRule::permitting(permissions).ok_or_else(|| {
            Error::invalid(format!("invalid device mode {permissions:?}: want a subset of rwm"))
        })?;
        for node in devices::host_nodes(path)? {
            rules.push(DeviceRule {
                block: Some(node.is_block()),
                major: Some(node.major()),
                minor: Some(node.minor()),
                ..template
            });
        }
    }
    if let Some(v1) = plan.paths.v1.iter().find(|v1| v1.controllers.iter().any(|c| c == "devices")) {
        let path = v1.path.join("devices.deny");
        write_control(&path, "a").context(|| format!("write {}", path.display()))?;
        let path = v1.path.join("devices.allow");
        let file =
            OpenOptions::new().write(true).open(&path).context(|| format!("open {}", path.display()))?;
        for rule in rules {
            (&file)
                .write_all(rule.to_string().as_bytes())
                .context(|| format!("write {rule:?} to {}", path.display()))?;
        }
        return Ok(());
    }
    // Without a v1 hierarchy the v2 directory carries a program of ours. Nothing is skipped: a kernel that
    // refuses it gets no container, because every container could open every disk.
    let Some(path) = &plan.paths.unified else {
        return Err(Error::unsupported("devices cannot be restricted: no cgroup hierarchy can do it"));
    };
    let directory = File::open(path).context(|| format!("open {}", path.display()))?;
    let attach = || -> std::result::Result<(), Errno> {
        let program = dhow_sys::bpf::load_device_program(&device_rules::program(&rules))?;
        dhow_sys::bpf::attach_device_program(directory.as_fd(), program.as_fd())
    };
    attach().on("bpf", path.display()).context_kind(ErrorKind::Unsupported, || "restrict devices".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The program for v2 is accepted by this kernel's verifier and attached, also on a hybrid machine.
    #[test]
    fn the_kernel_takes_the_device_program() {
        let layout = super::super::layout::CgroupLayout::probe().unwrap();
        let unified = layout.unified.expect("a v2 hierarchy is mounted");
        let directory = unified.join(format!("dhow-test-{}", std::process::id()));
        fs::create_dir(&directory).expect("this test needs root");
        let rules = [DeviceRule::parse("c 1:3 rwm").unwrap(), DeviceRule::parse("b *:* m").unwrap()];
        let attached =
            dhow_sys::bpf::load_device_program(&device_rules::program(&rules)).and_then(|program| {
                let cgroup = File::open(&directory).unwrap();
                dhow_sys::bpf::attach_device_program(cgroup.as_fd(), program.as_fd())
            });
        fs::remove_dir(&directory).unwrap();
        attached.unwrap();
    }
}
