//! Logs, one entry at a time, from a descriptor that polls.

use crate::boundary::{call, handle, known_flags, optional_text, place, quietly, text};
use crate::engine_handle::dhow_engine;
use crate::error::{dhow_error, dhow_status};
use crate::options::{self, Sized};
use crate::process::{DHOW_STREAM_STDERR, DHOW_STREAM_STDOUT};
use engine::embed::{LogEntry, LogPoller, LogsOptions, Next, Stream, container};
use std::ffi::c_char;
use std::os::fd::AsRawFd;
use std::sync::{Mutex, PoisonError};

/// `dhow_logs_options.flags`: go on until the container stops.
pub const DHOW_LOGS_FOLLOW: u32 = 1;

/// An open log.
pub struct dhow_logs(Mutex<Open>);

struct Open {
    poller: LogPoller,
    /// What the last entry that was handed out points to.
    last: Option<LogEntry>,
}

/// Which entries of a log.
#[repr(C)]
pub struct dhow_logs_options {
    /// `sizeof(dhow_logs_options)`.
    pub struct_size: usize,
    /// `DHOW_LOGS_FOLLOW`, or 0.
    pub flags: u32,
    /// `DHOW_STREAM_STDOUT`, `DHOW_STREAM_STDERR` or both; 0 means both.
    pub streams: u32,
    /// Only the last so many; 0 means all.
    pub tail: u64,
    /// Only those of that time or later: RFC 3339, or seconds since 1970 with a fraction. NULL: no bound.
    pub since: *const c_char,
    /// Only those of that time or earlier. NULL: no bound.
    pub until: *const c_char,
}

// SAFETY: numbers and pointers are any bytes, and NULL is zeros.
unsafe impl Sized for dhow_logs_options {
    const FIRST_SIZE: usize = size_of::<Self>();
    const NAME: &'static str = "dhow_logs_options";
}

/// One entry: a line with its newline, or a piece of one that is longer than 16 KiB.
#[repr(C)]
pub struct dhow_log_entry {
    /// `sizeof(dhow_log_entry)`, set by the caller.
    pub struct_size: usize,
    /// When it was read from the container, in nanoseconds since 1970.
    pub time_ns: i64,
    /// Its bytes. They belong to the log, and stay until the next call on it.
    pub data: *const u8,
    /// How many bytes.
    pub length: usize,
    /// `DHOW_STREAM_STDOUT` or `DHOW_STREAM_STDERR`.
    pub stream: u32,
}

// SAFETY: numbers and a pointer.
unsafe impl Sized for dhow_log_entry {
    const FIRST_SIZE: usize = size_of::<Self>();
    const NAME: &'static str = "dhow_log_entry";
}

/// Opens a container's log.
///
/// Ownership: `options` may be NULL: then all that is there. `*logs` is the caller's, to be closed with
/// `dhow_logs_close`; NULL on failure. Threads: any. Errors: `NOT_FOUND`; `UNSUPPORTED` when the container's log driver
/// keeps nothing; `INVALID_ARGUMENT` for a time. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_container_logs(
    engine: *const dhow_engine,
    container: *const c_char,
    options: *const dhow_logs_options,
    logs: *mut *mut dhow_logs,
    error: *mut *mut dhow_error,
) -> dhow_status {
    call(error, || {
        let logs = place(logs, "logs")?;
        // SAFETY: as the header tells.
        unsafe {
            logs.write(std::ptr::null_mut());
            let (engine, who) = (handle(engine, "engine")?, text(container, "container")?);
            let options = options::read(options)?;
            let both = DHOW_STREAM_STDOUT | DHOW_STREAM_STDERR;
            let streams = match known_flags(options.streams, both, "streams")? {
                0 => both,
                some => some,
            };
            let time = |pointer, name| -> Result<_, dhow_error> {
                Ok(optional_text(pointer, name)?.map(container::time).transpose()?)
            };
            let wanted = LogsOptions {
                follow: known_flags(options.flags, DHOW_LOGS_FOLLOW, "flags")? != 0,
                stdout: streams & DHOW_STREAM_STDOUT != 0,
                stderr: streams & DHOW_STREAM_STDERR != 0,
                since: time(options.since, "since")?,
                until: time(options.until, "until")?,
                tail: Some(options.tail).filter(|tail| *tail > 0),
            };
            let poller = container::logs(&engine.0, who, wanted)?;
            logs.write(Box::into_raw(Box::new(dhow_logs(Mutex::new(Open { poller, last: None })))));
        }
        Ok(dhow_status::DHOW_OK)
    })
}

/// A descriptor to poll for input when `dhow_logs_next` has said `DHOW_AGAIN`; -1 for a log that is not followed.
///
/// Ownership: it belongs to `logs`; only poll it. Threads: any. Errors: -1 for NULL. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_logs_fd(logs: *const dhow_logs) -> i32 {
    // SAFETY: NULL, or an open log.
    let Some(logs) = (unsafe { logs.as_ref() }) else { return -1 };
    let open = logs.0.lock().unwrap_or_else(PoisonError::into_inner);
    open.poller.descriptor().map_or(-1, |fd| fd.as_raw_fd())
}

/// The next entry. Never waits: `DHOW_AGAIN` when there is none yet (only when following), `DHOW_END` when none will
/// come.
///
/// Ownership: fills in `entry`; its bytes stay the log's, until the next call on it. Threads: one at a time. Errors:
/// `UNAVAILABLE`, `INTERNAL` when it cannot be read. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_logs_next(
    logs: *mut dhow_logs,
    entry: *mut dhow_log_entry,
    error: *mut *mut dhow_error,
) -> dhow_status {
    call(error, || {
        // SAFETY: as the header tells.
        let logs = unsafe {
            options::check(entry)?;
            handle(logs, "logs")?
        };
        let mut open = logs.0.lock().unwrap_or_else(PoisonError::into_inner);
        match open.poller.next()? {
            Next::Pending => Ok(dhow_status::DHOW_AGAIN),
            Next::End => Ok(dhow_status::DHOW_END),
            Next::Entry(next) => {
                let next = open.last.insert(next);
                let stream = match next.stream {
                    Stream::Stdout => DHOW_STREAM_STDOUT,
                    Stream::Stderr => DHOW_STREAM_STDERR,
                };
                let shown = dhow_log_entry {
                    struct_size: size_of::<dhow_log_entry>(),
                    time_ns: next.time.0,
                    data: next.line.as_ptr(),
                    length: next.line.len(),
                    stream,
                };
                // SAFETY: checked above.
                unsafe { options::write(entry, shown) };
                Ok(dhow_status::DHOW_OK)
            }
        }
    })
}

/// Closes a log. NULL is fine.
///
/// Ownership: takes `logs`. Threads: any, but no other call on it may be under way. Errors: none. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_logs_close(logs: *mut dhow_logs) {
    if !logs.is_null() {
        // SAFETY: made by `dhow_container_logs`, and by its contract closed once.
        quietly(|| drop(unsafe { Box::from_raw(logs) }));
    }
}
