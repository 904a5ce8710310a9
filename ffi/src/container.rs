//! Containers: create, start, wait, signal, stop, resize, inspect, list, remove.

use crate::boundary::{call, handle, known_flags, optional_text, place, text, timeout};
use crate::engine_handle::dhow_engine;
use crate::error::{dhow_error, dhow_status};
use crate::image::give;
use crate::options;
use crate::process::{dhow_process, wanted};
use engine::embed::{WaitCondition, container};
use std::ffi::c_char;

/// `dhow_container_wait`: until it does not run; at once if it does not.
pub const DHOW_WAIT_NOT_RUNNING: u32 = 0;
/// `dhow_container_wait`: until the next exit from now on.
pub const DHOW_WAIT_NEXT_EXIT: u32 = 1;
/// `dhow_container_wait`: until it is removed.
pub const DHOW_WAIT_REMOVED: u32 = 2;

/// `dhow_container_remove`: kill it if it runs.
pub const DHOW_REMOVE_FORCE: u32 = 1;
/// `dhow_container_remove`: with its anonymous volumes.
pub const DHOW_REMOVE_VOLUMES: u32 = 2;

/// `dhow_container_list`: stopped ones too.
pub const DHOW_LIST_ALL: u32 = 1;

/// Makes a container. `config` is the body of Docker's `POST /containers/create`:
/// `{"Image":"debian:12","Cmd":["sh"],"HostConfig":{"NetworkMode":"none"}}`. What dhow does not do is refused by name,
/// never ignored.
///
/// Ownership: `name` may be NULL: then one is drawn. `*json` is the caller's, to be freed with `dhow_string_free`:
/// `{"Id":"…","Warnings":[]}`. Threads: any. Errors: `INVALID_ARGUMENT` for the body, `UNSUPPORTED` for what dhow does
/// not do, `NOT_FOUND` for the image, `CONFLICT` for the name. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_container_create(
    engine: *const dhow_engine,
    name: *const c_char,
    config: *const c_char,
    json: *mut *mut c_char,
    error: *mut *mut dhow_error,
) -> dhow_status {
    call(error, || {
        // SAFETY: as the header tells.
        let (engine, name, config) =
            unsafe { (handle(engine, "engine")?, optional_text(name, "name")?, text(config, "config")?) };
        give(place(json, "json")?, || Ok(container::create(&engine.0, name, config)?))
    })
}

/// Starts a container. Returns when its program runs, or could not be started.
///
/// `container`, here and below, is an id, the unambiguous beginning of one, or a name. `streams` are those to hold, of
/// `DHOW_STREAM_*`; standard input needs `OpenStdin` in the body that made the container.
///
/// Ownership: fills in `process`, whose descriptors are then the caller's; `process` may be NULL if `streams` is 0.
/// Threads: any; blocks for some milliseconds. No thread stays behind, and no child. Errors: `NOT_FOUND`,
/// `NOT_MODIFIED` when it runs already, `CONFLICT` when it is paused or being removed, `COMMAND_NOT_FOUND`,
/// `COMMAND_NOT_EXECUTABLE`, `START_FAILED`. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_container_start(
    engine: *const dhow_engine,
    container: *const c_char,
    streams: u32,
    process: *mut dhow_process,
    error: *mut *mut dhow_error,
) -> dhow_status {
    call(error, || {
        // SAFETY: as the header tells.
        unsafe {
            let (engine, who) = (handle(engine, "engine")?, text(container, "container")?);
            let wanted = wanted(streams)?;
            if process.is_null() && streams == 0 {
                drop(container::start(&engine.0, who, wanted)?);
                return Ok(dhow_status::DHOW_OK);
            }
            options::check(process)?;
            options::write(process, dhow_process::NONE);
            options::write(process, container::start(&engine.0, who, wanted)?.into());
        }
        Ok(dhow_status::DHOW_OK)
    })
}

/// Waits until a container stops (`condition` of `DHOW_WAIT_*`), for `timeout_ms` milliseconds at most; negative means
/// for ever. One that has removed itself meanwhile is known by its full id, as long as its end is among the newest
/// hundred thousand events.
///
/// Ownership: `exit_code` may be NULL; 128 + n means signal n. Threads: any; blocks. A thread that must not block polls
/// the pidfd first. Errors: `NOT_FOUND`, `TIMEOUT`. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_container_wait(
    engine: *const dhow_engine,
    container: *const c_char,
    condition: u32,
    timeout_ms: i64,
    exit_code: *mut i32,
    error: *mut *mut dhow_error,
) -> dhow_status {
    call(error, || {
        // SAFETY: as the header tells.
        let (engine, who) = unsafe { (handle(engine, "engine")?, text(container, "container")?) };
        let condition = match condition {
            DHOW_WAIT_NOT_RUNNING => WaitCondition::NotRunning,
            DHOW_WAIT_NEXT_EXIT => WaitCondition::NextExit,
            DHOW_WAIT_REMOVED => WaitCondition::Removed,
            other => return Err(dhow_error::invalid(format!("condition is {other}, which is none"))),
        };
        let waited = container::wait(&engine.0, who, condition, timeout(timeout_ms))?
            .ok_or_else(|| time_over("container", who, timeout_ms))?;
        if !exit_code.is_null() {
            // SAFETY: a place for one number.
            unsafe { exit_code.write(waited.exit_code) };
        }
        Ok(dhow_status::DHOW_OK)
    })
}

pub(crate) fn time_over(what: &str, who: &str, timeout_ms: i64) -> dhow_error {
    let message = format!("{what} {who} did not end within {timeout_ms} ms");
    dhow_error::new(dhow_status::DHOW_ERROR_TIMEOUT, message)
}

/// Sends signal number `signal`, as in <signal.h>, to a container's first process. A container that is ended by its
/// stop signal or by SIGKILL is not restarted by its policy.
///
/// Threads: any. Errors: `NOT_FOUND`, `INVALID_ARGUMENT` for a signal that is none, `CONFLICT` when it does not run.
/// Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_container_signal(
    engine: *const dhow_engine,
    container: *const c_char,
    signal: i32,
    error: *mut *mut dhow_error,
) -> dhow_status {
    call(error, || {
        // SAFETY: as the header tells.
        let (engine, who) = unsafe { (handle(engine, "engine")?, text(container, "container")?) };
        container::signal(&engine.0, who, &signal.to_string())?;
        Ok(dhow_status::DHOW_OK)
    })
}

/// Stops a container: its stop signal, and SIGKILL after `timeout_s` seconds; negative means as the container says,
/// or ten.
///
/// Threads: any; blocks. Errors: `NOT_FOUND`, `NOT_MODIFIED` when it does not run, `UNAVAILABLE` when it does not end.
/// Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_container_stop(
    engine: *const dhow_engine,
    container: *const c_char,
    timeout_s: i32,
    error: *mut *mut dhow_error,
) -> dhow_status {
    call(error, || {
        // SAFETY: as the header tells.
        let (engine, who) = unsafe { (handle(engine, "engine")?, text(container, "container")?) };
        container::stop(&engine.0, who, Some(i64::from(timeout_s)).filter(|t| *t >= 0))?;
        Ok(dhow_status::DHOW_OK)
    })
}

/// Sets the size of a container's terminal.
///
/// Threads: any. Errors: `NOT_FOUND`, `CONFLICT` when it does not run. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_container_resize(
    engine: *const dhow_engine,
    container: *const c_char,
    rows: u16,
    columns: u16,
    error: *mut *mut dhow_error,
) -> dhow_status {
    call(error, || {
        // SAFETY: as the header tells.
        let (engine, who) = unsafe { (handle(engine, "engine")?, text(container, "container")?) };
        container::resize(&engine.0, who, rows, columns)?;
        Ok(dhow_status::DHOW_OK)
    })
}

/// Everything about a container: the body of Docker's `GET /containers/ID/json`.
///
/// Ownership: `*json` is the caller's, to be freed with `dhow_string_free`. Threads: any. Errors: `NOT_FOUND`,
/// `INVALID_ARGUMENT` when the beginning of an id is that of several. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_container_inspect(
    engine: *const dhow_engine,
    container: *const c_char,
    json: *mut *mut c_char,
    error: *mut *mut dhow_error,
) -> dhow_status {
    call(error, || {
        // SAFETY: as the header tells.
        let (engine, who) = unsafe { (handle(engine, "engine")?, text(container, "container")?) };
        give(place(json, "json")?, || Ok(container::inspect(&engine.0, who)?))
    })
}

/// Lists containers: the body of Docker's `GET /containers/json`. `flags`: `DHOW_LIST_ALL`.
///
/// Ownership: `filters`, Docker's (`{"status":["exited"]}`), may be NULL. `*json` is the caller's, to be freed with
/// `dhow_string_free`. Threads: any. Errors: `INVALID_ARGUMENT` for a filter that is none. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_container_list(
    engine: *const dhow_engine,
    flags: u32,
    filters: *const c_char,
    json: *mut *mut c_char,
    error: *mut *mut dhow_error,
) -> dhow_status {
    call(error, || {
        // SAFETY: as the header tells.
        let (engine, filters) = unsafe { (handle(engine, "engine")?, optional_text(filters, "filters")?) };
        let all = known_flags(flags, DHOW_LIST_ALL, "flags")? != 0;
        give(place(json, "json")?, || Ok(container::list(&engine.0, all, filters)?))
    })
}

/// Removes a container: its writable layer, its log, its record. `flags`: `DHOW_REMOVE_*`.
///
/// Threads: any. Errors: `NOT_FOUND`, `CONFLICT` when it runs and `DHOW_REMOVE_FORCE` is not set. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_container_remove(
    engine: *const dhow_engine,
    container: *const c_char,
    flags: u32,
    error: *mut *mut dhow_error,
) -> dhow_status {
    call(error, || {
        // SAFETY: as the header tells.
        let (engine, who) = unsafe { (handle(engine, "engine")?, text(container, "container")?) };
        let flags = known_flags(flags, DHOW_REMOVE_FORCE | DHOW_REMOVE_VOLUMES, "flags")?;
        let (force, volumes) = (flags & DHOW_REMOVE_FORCE != 0, flags & DHOW_REMOVE_VOLUMES != 0);
        container::remove(&engine.0, who, force, volumes)?;
        Ok(dhow_status::DHOW_OK)
    })
}
