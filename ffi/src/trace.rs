//! Traces: what the processes of containers do, as the kernel sees it, one event at a time.

use crate::boundary::{call, handle, known_flags, optional_text, place, quietly, text};
use crate::engine_handle::dhow_engine;
use crate::error::{dhow_error, dhow_status};
use crate::image::give;
use crate::options::{self, Sized};
use engine::embed::trace::{Trace, TraceNext, Wanted};
use std::ffi::c_char;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Mutex, PoisonError};

/// `dhow_trace_options.flags`: end when each of the containers has ended once.
pub const DHOW_TRACE_UNTIL_EXIT: u32 = 1;

/// A running trace.
pub struct dhow_trace(Mutex<Trace>);

/// What to trace.
#[repr(C)]
pub struct dhow_trace_options {
    /// `sizeof(dhow_trace_options)`.
    pub struct_size: usize,
    /// Containers. NULL: all of the engine, those to come included.
    pub containers: *const *const c_char,
    /// How many.
    pub containers_count: usize,
    /// Kinds of events: "fork,exec,exit,oom,open". NULL: all but "open", which slows every system call of the machine
    /// while it is wanted.
    pub kinds: *const c_char,
    /// `DHOW_TRACE_UNTIL_EXIT`, or 0.
    pub flags: u32,
}

// SAFETY: numbers and pointers are any bytes, and NULL is zeros.
unsafe impl Sized for dhow_trace_options {
    const FIRST_SIZE: usize = size_of::<Self>();
    const NAME: &'static str = "dhow_trace_options";
}

/// Begins to trace. When this returns, the probes are attached: what starts now is told from its beginning.
///
/// While traces of an engine are open, one thread of the library, with all signals blocked, reads what the kernel gives
/// for all of them; it ends with the last.
///
/// Ownership: `options` may be NULL. `*trace` is the caller's, to be closed with `dhow_trace_close`; NULL on failure.
/// Threads: any. Errors: `NOT_FOUND`; `INVALID_ARGUMENT` for a kind; `FORBIDDEN` without CAP_BPF and CAP_PERFMON;
/// `UNSUPPORTED` when this kernel lacks something, naming it. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_trace_open(
    engine: *const dhow_engine,
    options: *const dhow_trace_options,
    trace: *mut *mut dhow_trace,
    error: *mut *mut dhow_error,
) -> dhow_status {
    call(error, || {
        let trace = place(trace, "trace")?;
        // SAFETY: as the header tells; the list has as many texts as its count says.
        unsafe {
            trace.write(std::ptr::null_mut());
            let engine = handle(engine, "engine")?;
            let options = options::read(options)?;
            if options.containers.is_null() && options.containers_count > 0 {
                return Err(dhow_error::invalid("containers is NULL, and containers_count is not 0"));
            }
            let containers = (0..options.containers_count)
                .map(|at| text(options.containers.add(at).read(), "one of containers"))
                .collect::<Result<Vec<&str>, dhow_error>>()?;
            let wanted = Wanted {
                containers: &containers,
                kinds: optional_text(options.kinds, "kinds")?,
                until_exit: known_flags(options.flags, DHOW_TRACE_UNTIL_EXIT, "flags")? != 0,
            };
            let opened = Trace::open(&engine.0, wanted)?;
            trace.write(Box::into_raw(Box::new(dhow_trace(Mutex::new(opened)))));
        }
        Ok(dhow_status::DHOW_OK)
    })
}

/// A descriptor to poll for input when `dhow_trace_next` has said `DHOW_AGAIN`.
///
/// Ownership: it belongs to `trace`; only poll it. Threads: any. Errors: -1 for NULL. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_trace_fd(trace: *const dhow_trace) -> i32 {
    // SAFETY: NULL, or a running trace.
    let Some(trace) = (unsafe { trace.as_ref() }) else { return -1 };
    trace.0.lock().unwrap_or_else(PoisonError::into_inner).as_fd().as_raw_fd()
}

/// The next event, as `dhow trace --format json` prints it. Never waits: `DHOW_AGAIN` when there is none now, `DHOW_END`
/// when the trace has ended by itself. What was lost is told, as an event of its own, and counted.
///
/// Ownership: `*json` is the caller's, to be freed with `dhow_string_free`; NULL unless `DHOW_OK`. Threads: any, taking
/// turns. Errors: `INTERNAL` when the trace broke off. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_trace_next(
    trace: *mut dhow_trace,
    json: *mut *mut c_char,
    error: *mut *mut dhow_error,
) -> dhow_status {
    call(error, || {
        let json = place(json, "json")?;
        // SAFETY: as the header tells.
        let trace = unsafe {
            json.write(std::ptr::null_mut());
            handle(trace, "trace")?
        };
        match trace.0.lock().unwrap_or_else(PoisonError::into_inner).next()? {
            TraceNext::Pending => Ok(dhow_status::DHOW_AGAIN),
            TraceNext::End => Ok(dhow_status::DHOW_END),
            TraceNext::Event(event) => give(json, || Ok(event)),
        }
    })
}

/// Ends a trace. NULL is fine.
///
/// Ownership: takes `trace`. Threads: any, but no other call on it may be under way. Errors: none. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_trace_close(trace: *mut dhow_trace) {
    if !trace.is_null() {
        // SAFETY: made by `dhow_trace_open`, and by its contract closed once.
        quietly(|| drop(unsafe { Box::from_raw(trace) }));
    }
}
