//! `dhow_run`: a container from nothing to nothing in one call.

use crate::boundary::{call, handle, known_flags, optional_text, owned_bytes, owned_text, text, timeout};
use crate::engine_handle::dhow_engine;
use crate::error::{dhow_error, dhow_status};
use crate::options::{self, Sized};
use crate::process::{DHOW_STREAM_STDERR, DHOW_STREAM_STDOUT};
use engine::embed::{self, RunEnd, RunRequest, Stream};
use std::ffi::{c_char, c_void};
use std::ops::ControlFlow;

/// `dhow_run_options.flags`: do not remove the container at its end.
pub const DHOW_RUN_KEEP: u32 = 1;

/// Takes output as it comes: `length` bytes of `stream`, `DHOW_STREAM_STDOUT` or `DHOW_STREAM_STDERR`, that stay valid
/// until it returns. Returns 0 to go on; anything else ends the container. It is called on the thread that called
/// `dhow_run`, and must return: no longjmp, no C++ exception.
pub type dhow_output_function = Option<
    unsafe extern "C" fn(user_data: *mut c_void, stream: u32, data: *const c_void, length: usize) -> i32,
>;

/// How to run.
#[repr(C)]
pub struct dhow_run_options {
    /// `sizeof(dhow_run_options)`.
    pub struct_size: usize,
    /// The container's name. NULL: one is drawn.
    pub name: *const c_char,
    /// `DHOW_RUN_KEEP`, or 0.
    pub flags: u32,
    /// After so many milliseconds it is killed; 0: never.
    pub timeout_ms: u32,
    /// Its whole standard input. NULL: it has none.
    pub stdin_data: *const c_void,
    /// How many bytes.
    pub stdin_length: usize,
    /// Takes the output. NULL: it is gathered in the result, in memory.
    pub on_output: dhow_output_function,
    /// Handed to `on_output`.
    pub user_data: *mut c_void,
}

// SAFETY: numbers, pointers and an optional function are any bytes that C may put there; NULL is zeros.
unsafe impl Sized for dhow_run_options {
    const FIRST_SIZE: usize = size_of::<Self>();
    const NAME: &'static str = "dhow_run_options";
}

/// What became of it. What it points to is freed with `dhow_run_result_clear`.
#[repr(C)]
pub struct dhow_run_result {
    /// `sizeof(dhow_run_result)`, set by the caller.
    pub struct_size: usize,
    /// The container's id.
    pub id: *mut c_char,
    /// Standard output, with a zero byte after it; NULL with `on_output`.
    pub stdout_data: *mut u8,
    /// How many bytes, without the zero byte.
    pub stdout_length: usize,
    /// Standard error, the same.
    pub stderr_data: *mut u8,
    /// How many bytes.
    pub stderr_length: usize,
    /// The exit code; 128 + n means signal n.
    pub exit_code: i32,
}

// SAFETY: numbers and pointers.
unsafe impl Sized for dhow_run_result {
    const FIRST_SIZE: usize = size_of::<Self>();
    const NAME: &'static str = "dhow_run_result";
}

const EMPTY: dhow_run_result = dhow_run_result {
    struct_size: size_of::<dhow_run_result>(),
    id: std::ptr::null_mut(),
    stdout_data: std::ptr::null_mut(),
    stdout_length: 0,
    stderr_data: std::ptr::null_mut(),
    stderr_length: 0,
    exit_code: 0,
};

/// Creates, starts, feeds, reads and waits for a container, and removes it unless it is to be kept. `config` is as for
/// `dhow_container_create`; what it says of `AutoRemove` comes before `flags`. An exit code other than 0 is no error.
///
/// Ownership: `options` may be NULL. Fills in `result`, also after `TIMEOUT` and `CANCELLED`; to be cleared with
/// `dhow_run_result_clear`. Threads: any; blocks. Errors: those of create and start; `TIMEOUT`; `CANCELLED` when
/// `on_output` ended it. Nothing is left behind then, unless it was to be kept. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_run(
    engine: *const dhow_engine,
    config: *const c_char,
    options: *const dhow_run_options,
    result: *mut dhow_run_result,
    error: *mut *mut dhow_error,
) -> dhow_status {
    call(error, || {
        // SAFETY: as the header tells.
        let (engine, config, options, name) = unsafe {
            options::check(result)?;
            options::write(result, EMPTY);
            let options = options::read(options)?;
            let name = optional_text(options.name, "name")?;
            (handle(engine, "engine")?, text(config, "config")?, options, name)
        };
        let stdin = match (options.stdin_data.is_null(), options.stdin_length) {
            (true, 0) => None,
            (true, _) => return Err(dhow_error::invalid("stdin_data is NULL, and stdin_length is not 0")),
            // SAFETY: the caller's bytes, as many as it says, for as long as the call lasts.
            (false, length) => Some(unsafe { std::slice::from_raw_parts(options.stdin_data.cast(), length) }),
        };
        let request = RunRequest {
            name,
            config,
            stdin,
            keep: known_flags(options.flags, DHOW_RUN_KEEP, "flags")? != 0,
            timeout: Some(i64::from(options.timeout_ms)).filter(|t| *t > 0).and_then(timeout),
        };
        let (mut gathered_out, mut gathered_err) = (Vec::new(), Vec::new());
        let run = embed::run(&engine.0, request, |stream, bytes| match options.on_output {
            None => {
                match stream {
                    Stream::Stdout => gathered_out.extend_from_slice(bytes),
                    Stream::Stderr => gathered_err.extend_from_slice(bytes),
                }
                ControlFlow::Continue(())
            }
            Some(take) => {
                let number = match stream {
                    Stream::Stdout => DHOW_STREAM_STDOUT,
                    Stream::Stderr => DHOW_STREAM_STDERR,
                };
                // SAFETY: the caller's own function, called as its type tells.
                match unsafe { take(options.user_data, number, bytes.as_ptr().cast(), bytes.len()) } {
                    0 => ControlFlow::Continue(()),
                    _ => ControlFlow::Break(()),
                }
            }
        })?;
        let mut filled = dhow_run_result { exit_code: run.exit_code, id: owned_text(&run.id)?, ..EMPTY };
        if options.on_output.is_none() {
            filled.stdout_data = owned_bytes(&gathered_out)?;
            filled.stdout_length = gathered_out.len();
            filled.stderr_data = owned_bytes(&gathered_err)?;
            filled.stderr_length = gathered_err.len();
        }
        // SAFETY: checked above.
        unsafe { options::write(result, filled) };
        let failed = |status, why: &str| Err(dhow_error::new(status, format!("container {} {why}", run.id)));
        match run.end {
            RunEnd::Exited => Ok(dhow_status::DHOW_OK),
            RunEnd::TimedOut => failed(dhow_status::DHOW_ERROR_TIMEOUT, "was killed: its time was over"),
            RunEnd::Stopped => {
                failed(dhow_status::DHOW_ERROR_CANCELLED, "was killed: its output was refused")
            }
        }
    })
}

/// Frees what a result points to. NULL is fine.
///
/// Ownership: takes what is inside, not the structure. Threads: any. Errors: none. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_run_result_clear(result: *mut dhow_run_result) {
    // SAFETY: NULL, or filled in by `dhow_run` and by its contract not cleared since.
    let Ok(inside) = (unsafe { options::read(result.cast_const()) }) else { return };
    for pointer in [inside.id.cast::<u8>(), inside.stdout_data, inside.stderr_data] {
        // SAFETY: NULL, or made by `owned_bytes`.
        unsafe { libc::free(pointer.cast()) };
    }
    if !result.is_null() {
        // SAFETY: its size was good enough for `read`.
        unsafe { options::write(result, EMPTY) };
    }
}
