//! The mount part of a plan: the engine's own mounts, then the user's.

use super::INIT_PATH;
use crate::facts::HostFacts;
use crate::spec::{LaunchSpec, ResolvedMount, Rootfs};
use crate::step::{BindPlan, DevPlan, ImagePlan, MountFlags, MountStep, MountWhat, Place, SourceIds, Step};
use dhow_model::mount::{MountSource, Propagation, ReadonlyBelow};
use dhow_model::security::{Ipc, Namespace};
use dhow_model::{Error, Result};
use std::path::{Path, PathBuf};

/// Docker's default size of `/dev/shm`.
const SHM_BYTES: u64 = 64 << 20;

/// Files below `/proc` that a mount may cover (runc's list; lxcfs and the like need them).
const PROC_FILES: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// Whether the user mounts something in place of one of our own mounts.
pub(super) fn is_replaced(spec: &LaunchSpec, target: &str) -> bool {
    spec.volumes.iter().any(|v| v.mount.target == target)
}

/// `/proc`, `/dev`, `/sys` and what is below them, but for what the user mounts in their place.
///
/// Returned are those that lie in a directory of the user's: they come after it.
pub(super) fn own(spec: &LaunchSpec, facts: &HostFacts, steps: &mut Vec<Step>) -> Result<Vec<MountStep>> {
    let host = &spec.config.host;
    let security = &host.security;
    let privileged = security.privileged;
    let mut late = Vec::new();
    let mut add = |what: MountWhat, target: &str, flags: MountFlags| {
        if is_replaced(spec, target) {
            return;
        }
        let propagation = Propagation::Rprivate;
        let mount = MountStep { what, target: target.to_owned(), flags, propagation, place: Place::Own };
        if ["/dev", "/sys"].iter().any(|top| target.starts_with(top) && is_replaced(spec, top)) {
            late.push(mount);
        } else {
            steps.push(Step::Mount(mount));
        }
    };
    let harmless = MountFlags::HARMLESS;
    let kernel_view = MountFlags { readonly: !privileged, ..harmless };

    add(MountWhat::Proc, "/proc", harmless);
    let dev = DevPlan { all_of_host: privileged, from_host: dev_nodes(spec)?, console: spec.config.tty };
    add(MountWhat::Dev(dev), "/dev", MountFlags { nosuid: true, ..MountFlags::default() });
    add(MountWhat::Devpts, "/dev/pts", MountFlags { nosuid: true, noexec: true, ..MountFlags::default() });
    add(MountWhat::Sysfs, "/sys", kernel_view);
    cgroups(spec, facts, kernel_view, &mut add);
    add(MountWhat::Mqueue, "/dev/mqueue", harmless);
    match &security.ipc {
        Ipc::Host => {
            let shm = BindPlan {
                path: "/dev/shm".into(),
                recursive: false,
                create: false,
                copy_up: false,
                subpath: String::new(),
                writable_below: false,
                ids: SourceIds::Host,
            };
            add(MountWhat::Bind(shm), "/dev/shm", harmless);
        }
        Ipc::Private | Ipc::Shareable => {
            let size = host.shm_size_bytes.unwrap_or(SHM_BYTES);
            let options = vec!["mode=1777".to_owned(), format!("size={size}")];
            add(MountWhat::Tmpfs { name: "shm".to_owned(), options }, "/dev/shm", harmless);
        }
        Ipc::Container(_) => add(MountWhat::SharedMemory, "/dev/shm", harmless),
        Ipc::None => {}
    }
    steps.push(Step::MarkContainer);
    steps.push(Step::Symlink { path: "/etc/mtab".to_owned(), target: "/proc/mounts".to_owned() });
    Ok(late)
}

fn cgroups(
    spec: &LaunchSpec,
    facts: &HostFacts,
    flags: MountFlags,
    add: &mut impl FnMut(MountWhat, &str, MountFlags),
) {
    const ROOT: &str = "/sys/fs/cgroup";
    if is_replaced(spec, ROOT) {
        // The user's own view, whole.
        return;
    }
    let layout = &facts.cgroup;
    match (&layout.unified, layout.is_v2()) {
        (Some(mount_point), true) if spec.config.host.security.cgroup == Namespace::Host => {
            add(MountWhat::CgroupHost(mount_point.clone()), ROOT, flags);
        }
        (_, true) => add(MountWhat::CgroupV2, ROOT, flags),
        _ if layout.v1.is_empty() => {}
        _ => {
            add(MountWhat::CgroupDirectory, ROOT, flags);
            for (index, hierarchy) in layout.v1.iter().enumerate() {
                let name = hierarchy.controllers.join(",");
                add(MountWhat::CgroupV1(index), &format!("{ROOT}/{name}"), flags);
            }
        }
    }
}

/// `--device` below `/dev`. Elsewhere it is refused: device nodes do not belong into layers.
fn dev_nodes(spec: &LaunchSpec) -> Result<Vec<(PathBuf, String)>> {
    let all_of_host = spec.config.host.security.privileged;
    spec.config
        .host
        .resources
        .devices
        .iter()
        // With all devices of the host a device is where it was, already.
        .filter(|device| !(all_of_host && device.container_path == device.host_path))
        .map(|device| match device.container_path.strip_prefix("/dev/") {
            Some(name) if !name.is_empty() && !name.split('/').any(|part| part == "..") => {
                Ok((PathBuf::from(&device.host_path), name.trim_end_matches('/').to_owned()))
            }
            _ => Err(Error::unsupported(format!(
                "device {} at {}: a device can only appear below /dev",
                device.host_path, device.container_path
            ))),
        })
        .collect()
}

/// The user's mounts, our own in directories of the user's, and the files of `/etc`: parents before children.
pub(super) fn user(spec: &LaunchSpec, late: Vec<MountStep>, steps: &mut Vec<Step>) -> Result<()> {
    let mut mounts = late;
    let scratch = match &spec.rootfs {
        Rootfs::Overlay { work, .. } => work,
        Rootfs::Directory(path) => path,
    };
    for volume in &spec.volumes {
        mounts.push(user_mount(volume, scratch)?);
    }
    for (source, target) in [
        (&spec.resolv_conf_file, "/etc/resolv.conf"),
        (&spec.hostname_file, "/etc/hostname"),
        (&spec.hosts_file, "/etc/hosts"),
    ] {
        if !is_replaced(spec, target) {
            let file = file(source, target, spec.config.host.readonly_rootfs, SourceIds::Given);
            mounts.push(MountStep { place: Place::OwnFile, ..file });
        }
    }
    if let Some(program) = &spec.init_binary {
        mounts.push(file(program, INIT_PATH, true, SourceIds::Host));
    }
    // Stable, so that mounts at one depth keep the order in which they were written.
    mounts.sort_by_key(|m| m.target.split('/').count());
    steps.extend(mounts.into_iter().map(Step::Mount));
    Ok(())
}

fn file(source: &Path, target: &str, readonly: bool, ids: SourceIds) -> MountStep {
    MountStep {
        what: MountWhat::Bind(BindPlan {
            path: source.to_owned(),
            recursive: false,
            create: false,
            copy_up: false,
            subpath: String::new(),
            writable_below: false,
            ids,
        }),
        target: target.to_owned(),
        flags: MountFlags { readonly, ..MountFlags::default() },
        propagation: Propagation::Rprivate,
        place: Place::User,
    }
}

fn user_mount(volume: &ResolvedMount, scratch: &Path) -> Result<MountStep> {
    let mount = &volume.mount;
    let target = &mount.target;
    let path = || {
        volume.host_path.clone().ok_or_else(|| {
            Error::internal(format!("the mount at {target} was planned without its host path"))
        })
    };
    let (what, flags, propagation) = match &mount.source {
        MountSource::Bind { create, recursive, propagation, readonly_below, .. } => {
            let bind = BindPlan {
                path: path()?,
                recursive: *recursive,
                create: *create,
                copy_up: false,
                subpath: String::new(),
                writable_below: *readonly_below == ReadonlyBelow::Never,
                ids: SourceIds::Host,
            };
            (MountWhat::Bind(bind), MountFlags::default(), *propagation)
        }
        MountSource::Volume { .. } => {
            let bind = BindPlan {
                path: path()?,
                recursive: true,
                create: false,
                copy_up: volume.copy_up,
                subpath: volume.subpath().to_owned(),
                writable_below: false,
                ids: SourceIds::Container,
            };
            (MountWhat::Bind(bind), MountFlags::default(), Propagation::Rprivate)
        }
        MountSource::Image { .. } => {
            let image = ImagePlan {
                lower: volume.layers.clone(),
                subpath: volume.subpath().to_owned(),
                scratch: scratch.to_owned(),
            };
            (MountWhat::Image(image), MountFlags::default(), Propagation::Rprivate)
        }
        MountSource::Tmpfs { size_bytes, mode, exec, options } => {
            let mut options = options.clone();
            options.push(format!("mode={:o}", mode.unwrap_or(0o1777)));
            options.extend(size_bytes.map(|bytes| format!("size={bytes}")));
            (
                MountWhat::Tmpfs { name: "tmpfs".to_owned(), options },
                MountFlags { noexec: !exec, ..MountFlags::HARMLESS },
                Propagation::Rprivate,
            )
        }
    };
    let flags = MountFlags { readonly: mount.readonly, ..flags };
    Ok(MountStep { what, target: target.clone(), flags, propagation, place: place(target)? })
}

fn place(target: &str) -> Result<Place> {
    if target != "/proc" && !target.starts_with("/proc/") {
        return Ok(Place::User);
    }
    if PROC_FILES.contains(&target) {
        return Ok(Place::UserOnProc);
    }
    Err(Error::invalid(format!("{target:?} cannot be mounted because it is inside /proc")))
}
