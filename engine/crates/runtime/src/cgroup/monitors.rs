//! Where monitors live: a cgroup of the engine's, in every hierarchy that is mounted.
//!
//! ```text
//!   dhow/monitors    all monitors; no limits
//!   dhow/ID          a container
//! ```
//! What ends or limits the caller's cgroup (`systemctl stop` of the service that started a container, the end of an ssh
//! session or of a CI job) must reach neither the monitor nor what it starts. Like `dhow` itself, the directory stays
//! when it is empty: the next start finds it ready.

use super::V1Path;
use super::apply::{ignore_existing, prepare_v1_parent};
use super::layout::CgroupLayout;
use dhow_model::{Result, ResultExt};
use dhow_sys::spawn::Place;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// Below each mount point.
const PARENT: &str = "dhow";
const NAME: &str = "monitors";

/// The place for a new monitor; made if it is missing.
///
/// # Errors
/// Names the cgroup that cannot be made. Hierarchies without controllers hold no container, so there the monitor stays
/// where its caller is when nothing can be made.
pub fn place(layout: &CgroupLayout) -> Result<Place> {
    let mut place = Place::default();
    for hierarchy in &layout.v1 {
        place.tasks.push(open_tasks(&hierarchy.mount_point, &hierarchy.controllers)?.into());
    }
    for mount_point in &layout.named {
        place.tasks.extend(open_tasks(mount_point, &[]).ok().map(Into::into));
    }
    if let Some(mount_point) = &layout.unified {
        place.unified = Some(open_or_make(mount_point, &[], &|path| File::open(path))?.into());
    }
    Ok(place)
}

fn open_tasks(mount_point: &Path, controllers: &[String]) -> Result<File> {
    open_or_make(mount_point, controllers, &|path| OpenOptions::new().write(true).open(path.join("tasks")))
}

/// One call where the directory is there, as it nearly always is.
fn open_or_make(
    mount_point: &Path,
    controllers: &[String],
    open: &dyn Fn(&Path) -> io::Result<File>,
) -> Result<File> {
    let parent = mount_point.join(PARENT);
    let path = parent.join(NAME);
    let what = || format!("open cgroup {}", path.display());
    match open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other.context(what),
    }
    let v1 = V1Path { controllers: controllers.to_vec(), path: path.clone() };
    for directory in [&parent, &path] {
        ignore_existing(fs::create_dir(directory))
            .context(|| format!("make cgroup {}", directory.display()))?;
        // An empty cpuset takes no process. It does nothing in other hierarchies.
        prepare_v1_parent(&v1, directory)?;
    }
    open(&path).context(what)
}
