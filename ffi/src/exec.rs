//! Further processes in a running container.

use crate::boundary::{call, handle, owned_text, place, text, timeout};
use crate::container::time_over;
use crate::engine_handle::dhow_engine;
use crate::error::{dhow_error, dhow_status};
use crate::image::give;
use crate::options;
use crate::process::{dhow_process, wanted};
use engine::embed::exec;
use std::ffi::c_char;

/// Runs another process in a running container. `config` is the body of Docker's `POST /containers/ID/exec`:
/// `{"Cmd":["ls","-l"],"User":"1000","Tty":false}`. Returns when its program runs, or could not be started.
///
/// `streams` are those to hold, of `DHOW_STREAM_*`; each of them is attached whatever the body says.
///
/// Ownership: fills in `process`, whose descriptors are then the caller's. `*exec_id` is the caller's, to be freed with
/// `dhow_string_free`; `exec_id` may be NULL. Threads: any; blocks for some milliseconds. Errors: `NOT_FOUND`,
/// `CONFLICT` when the container does not run or is paused, `INVALID_ARGUMENT` for the body, `COMMAND_NOT_FOUND`,
/// `COMMAND_NOT_EXECUTABLE`, `START_FAILED`. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_container_exec(
    engine: *const dhow_engine,
    container: *const c_char,
    config: *const c_char,
    streams: u32,
    process: *mut dhow_process,
    exec_id: *mut *mut c_char,
    error: *mut *mut dhow_error,
) -> dhow_status {
    call(error, || {
        // SAFETY: as the header tells.
        unsafe {
            if !exec_id.is_null() {
                exec_id.write(std::ptr::null_mut());
            }
            let engine = handle(engine, "engine")?;
            let (who, config) = (text(container, "container")?, text(config, "config")?);
            options::check(process)?;
            options::write(process, dhow_process::NONE);
            let (id, started) = exec::start(&engine.0, who, config, wanted(streams)?)?;
            if !exec_id.is_null() {
                exec_id.write(owned_text(&id)?);
            }
            options::write(process, started.into());
        }
        Ok(dhow_status::DHOW_OK)
    })
}

/// Waits for an exec session's end, for `timeout_ms` milliseconds at most; negative means for ever.
///
/// Ownership: `exit_code` may be NULL. Threads: any; blocks. A thread that must not block polls the pidfd first.
/// Errors: `NOT_FOUND`, also when its container is removed meanwhile; `TIMEOUT`; `UNAVAILABLE` when its monitor was
/// killed. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_exec_wait(
    engine: *const dhow_engine,
    exec_id: *const c_char,
    timeout_ms: i64,
    exit_code: *mut i32,
    error: *mut *mut dhow_error,
) -> dhow_status {
    call(error, || {
        // SAFETY: as the header tells.
        let (engine, id) = unsafe { (handle(engine, "engine")?, text(exec_id, "exec_id")?) };
        let code = exec::wait(&engine.0, id, timeout(timeout_ms))?
            .ok_or_else(|| time_over("exec session", id, timeout_ms))?;
        if !exit_code.is_null() {
            // SAFETY: a place for one number.
            unsafe { exit_code.write(code) };
        }
        Ok(dhow_status::DHOW_OK)
    })
}

/// Sets the size of an exec session's terminal.
///
/// Threads: any. Errors: `NOT_FOUND`, `CONFLICT` when it does not run. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_exec_resize(
    engine: *const dhow_engine,
    exec_id: *const c_char,
    rows: u16,
    columns: u16,
    error: *mut *mut dhow_error,
) -> dhow_status {
    call(error, || {
        // SAFETY: as the header tells.
        let (engine, id) = unsafe { (handle(engine, "engine")?, text(exec_id, "exec_id")?) };
        exec::resize(&engine.0, id, rows, columns)?;
        Ok(dhow_status::DHOW_OK)
    })
}

/// What is known of an exec session: the body of Docker's `GET /exec/ID/json`.
///
/// Ownership: `*json` is the caller's, to be freed with `dhow_string_free`. Threads: any. Errors: `NOT_FOUND`.
/// Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_exec_inspect(
    engine: *const dhow_engine,
    exec_id: *const c_char,
    json: *mut *mut c_char,
    error: *mut *mut dhow_error,
) -> dhow_status {
    call(error, || {
        // SAFETY: as the header tells.
        let (engine, id) = unsafe { (handle(engine, "engine")?, text(exec_id, "exec_id")?) };
        give(place(json, "json")?, || Ok(exec::inspect(&engine.0, id)?))
    })
}
