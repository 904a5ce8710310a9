//! Events, one at a time, from a descriptor that polls.

use crate::boundary::{call, handle, optional_text, place, quietly};
use crate::engine_handle::dhow_engine;
use crate::error::{dhow_error, dhow_status};
use crate::image::give;
use crate::options::{self, Sized};
use engine::embed::events::{Events, From};
use std::ffi::c_char;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Mutex, PoisonError};

/// A stream of events. They are durable: nothing that happens between two calls, or between two streams of which the
/// second resumes where the first ended, is missed.
pub struct dhow_events(Mutex<Events>);

/// Which events.
#[repr(C)]
pub struct dhow_events_options {
    /// `sizeof(dhow_events_options)`.
    pub struct_size: usize,
    /// Also what was recorded from that time on: RFC 3339, or seconds since 1970 with a fraction. NULL: from now on.
    pub since: *const c_char,
    /// Resume after the event with this "seq", which each event tells; 0: no. Not together with `since`.
    pub cursor: i64,
    /// Docker's: `{"type":["container"],"event":["die"]}`. NULL: all.
    pub filters: *const c_char,
}

// SAFETY: a number and pointers are any bytes, and NULL is zeros.
unsafe impl Sized for dhow_events_options {
    const FIRST_SIZE: usize = size_of::<Self>();
    const NAME: &'static str = "dhow_events_options";
}

/// Begins to follow events. What happens after this returns will be told.
///
/// Ownership: `options` may be NULL. `*events` is the caller's, to be closed with `dhow_events_close`; NULL on failure.
/// Each stream takes one of the user's inotify instances. Threads: any. Errors: `INVALID_ARGUMENT` for a filter or a
/// time. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_events_open(
    engine: *const dhow_engine,
    options: *const dhow_events_options,
    events: *mut *mut dhow_events,
    error: *mut *mut dhow_error,
) -> dhow_status {
    call(error, || {
        let events = place(events, "events")?;
        // SAFETY: as the header tells.
        unsafe {
            events.write(std::ptr::null_mut());
            let engine = handle(engine, "engine")?;
            let options = options::read(options)?;
            if options.cursor < 0 {
                return Err(dhow_error::invalid(format!("cursor is {}", options.cursor)));
            }
            let from = From {
                since: optional_text(options.since, "since")?,
                cursor: Some(options.cursor).filter(|cursor| *cursor > 0),
                filters: optional_text(options.filters, "filters")?,
            };
            let opened = Events::open(&engine.0, from)?;
            events.write(Box::into_raw(Box::new(dhow_events(Mutex::new(opened)))));
        }
        Ok(dhow_status::DHOW_OK)
    })
}

/// A descriptor to poll for input when `dhow_events_next` has said `DHOW_AGAIN`.
///
/// Ownership: it belongs to `events`; only poll it. Threads: any. Errors: -1 for NULL. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_events_fd(events: *const dhow_events) -> i32 {
    // SAFETY: NULL, or an open stream.
    let Some(events) = (unsafe { events.as_ref() }) else { return -1 };
    events.0.lock().unwrap_or_else(PoisonError::into_inner).as_fd().as_raw_fd()
}

/// The next event: one line of Docker's `GET /events`, with its "seq". Never waits: `DHOW_AGAIN` when there is none
/// now. Ask until it says so, then poll: the descriptor tells that something came, not how much.
///
/// Ownership: `*json` is the caller's, to be freed with `dhow_string_free`; NULL unless `DHOW_OK`. Threads: any, taking
/// turns. Errors: `NOT_FOUND` once when events after the cursor are no longer kept; the next call goes on with the
/// oldest that are. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_events_next(
    events: *mut dhow_events,
    json: *mut *mut c_char,
    error: *mut *mut dhow_error,
) -> dhow_status {
    call(error, || {
        let json = place(json, "json")?;
        // SAFETY: as the header tells.
        let events = unsafe {
            json.write(std::ptr::null_mut());
            handle(events, "events")?
        };
        match events.0.lock().unwrap_or_else(PoisonError::into_inner).next()? {
            None => Ok(dhow_status::DHOW_AGAIN),
            Some(event) => give(json, || Ok(event)),
        }
    })
}

/// Closes a stream of events. NULL is fine. Takes some milliseconds: the kernel's, for a watch.
///
/// Ownership: takes `events`. Threads: any, but no other call on it may be under way. Errors: none. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_events_close(events: *mut dhow_events) {
    if !events.is_null() {
        // SAFETY: made by `dhow_events_open`, and by its contract closed once.
        quietly(|| drop(unsafe { Box::from_raw(events) }));
    }
}
