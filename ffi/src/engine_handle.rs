//! Opening and closing an engine.

use crate::boundary::{call, optional_path, place, quietly};
use crate::error::{dhow_error, dhow_status};
use crate::helper;
use crate::options::{self, Sized};
use engine::{Config, Engine, Settings, embed};
use std::ffi::c_char;

/// An engine over one root directory. As many as one likes may be open, over the same root too, in this and in
/// other processes: the truth is on disk.
pub struct dhow_engine(pub(crate) Engine);

// Any thread may use a handle, several at the same time.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<dhow_engine>();
};

/// Where an engine keeps its things.
#[repr(C)]
pub struct dhow_engine_options {
    /// `sizeof(dhow_engine_options)`.
    pub struct_size: usize,
    /// What survives a reboot: images, containers, the database. NULL: `/var/lib/dhow`.
    pub root: *const c_char,
    /// What does not: sockets and locks. NULL: `/run/dhow`.
    pub state: *const c_char,
    /// The `dhow` executable that becomes the monitor of each container; it must be of this library's version.
    /// NULL: the environment's `DHOW_HELPER` (not when the program runs with more rights than its user); else
    /// beside libdhow: from its directory `../bin/dhow`, `../libexec/dhow/dhow`, the same two from one level higher,
    /// `dhow`; else `dhow` in `PATH`.
    pub helper: *const c_char,
}

// SAFETY: pointers are any bytes, and NULL is zeros.
unsafe impl Sized for dhow_engine_options {
    const FIRST_SIZE: usize = size_of::<Self>();
    const NAME: &'static str = "dhow_engine_options";
}

/// Opens an engine. Makes its directories when they are missing, and settles what a crash left behind. No other
/// process needs to run.
///
/// Ownership: `*engine` is the caller's, to be closed with `dhow_engine_close`; NULL on failure. `options` may be
/// NULL. Threads: any. Errors: `NOT_FOUND` when there is no helper, `UNSUPPORTED` when it is of another version or
/// a newer dhow wrote the root, `FORBIDDEN` without the permission, `CORRUPT` for a damaged database. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_engine_open(
    options: *const dhow_engine_options,
    engine: *mut *mut dhow_engine,
    error: *mut *mut dhow_error,
) -> dhow_status {
    call(error, || {
        let engine = place(engine, "engine")?;
        // SAFETY: a place for one pointer; options as the header tells.
        let options = unsafe {
            engine.write(std::ptr::null_mut());
            options::read(options)?
        };
        let default = Config::default();
        // The same for every door: /etc/dhow/dhow.json, if it is there.
        let settings = Settings::load(None)?;
        let root = settings.data_root.clone().unwrap_or(default.root);
        let state = settings.exec_root.clone().unwrap_or(default.state);
        // SAFETY: NULL or text, as the header tells.
        let config = unsafe {
            Config {
                root: optional_path(options.root).map_or(root, Into::into),
                state: optional_path(options.state).map_or(state, Into::into),
                helper: helper::find(optional_path(options.helper))?,
                settings,
            }
        };
        let opened = embed::open(config)?;
        // SAFETY: as above.
        unsafe { engine.write(Box::into_raw(Box::new(dhow_engine(opened)))) };
        Ok(dhow_status::DHOW_OK)
    })
}

/// Closes an engine. NULL is fine. Containers live on; streams of events and logs that were opened through it stay
/// open.
///
/// Ownership: takes `engine`. Threads: any, but no other call on it may be under way. Errors: none. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_engine_close(engine: *mut dhow_engine) {
    if !engine.is_null() {
        // SAFETY: made by `dhow_engine_open`, and by its contract closed once.
        quietly(|| drop(unsafe { Box::from_raw(engine) }));
    }
}
