//! Images: load, import, list, remove.

use crate::boundary::{call, handle, known_flags, optional_path, optional_text, owned_text, place, text};
use crate::engine_handle::dhow_engine;
use crate::error::{dhow_error, dhow_status};
use crate::options::{self, Sized};
use engine::embed::image::{self, Import};
use std::ffi::c_char;
use std::fs::File;
use std::os::fd::BorrowedFd;

/// `dhow_image_remove`: also an image with several tags, or one that stopped containers use.
pub const DHOW_IMAGE_REMOVE_FORCE: u32 = 1;

/// What an imported image is called and says.
#[repr(C)]
pub struct dhow_import_options {
    /// `sizeof(dhow_import_options)`.
    pub struct_size: usize,
    /// Its tag, "name:tag". NULL: none.
    pub reference: *const c_char,
    /// Dockerfile instructions, one each, that set its configuration: "CMD [\"sh\"]", "ENV A=1".
    pub changes: *const *const c_char,
    /// How many `changes` there are.
    pub changes_count: usize,
    /// The comment of its history entry. NULL: a usual one.
    pub message: *const c_char,
    /// "os[/architecture[/variant]]". NULL: this machine's.
    pub platform: *const c_char,
}

// SAFETY: pointers and a count are any bytes, and NULL is zeros.
unsafe impl Sized for dhow_import_options {
    const FIRST_SIZE: usize = size_of::<Self>();
    const NAME: &'static str = "dhow_import_options";
}

/// A file of our own for a descriptor that stays the caller's: they share the offset, as dup(2) has it.
fn file_of(fd: i32, name: &str) -> Result<File, dhow_error> {
    if fd < 0 {
        return Err(dhow_error::invalid(format!("{name} is {fd}, which is no descriptor")));
    }
    // SAFETY: not -1; if it is not open, duplicating it says so.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    fd.try_clone_to_owned()
        .map(File::from)
        .map_err(|error| dhow_error::invalid(format!("{name} cannot be read: {error}")))
}

/// Loads every image of an archive (docker-archive or OCI, plain, gzip or zstd), read from where `fd` stands to its
/// end: a file, a pipe or a socket.
///
/// Ownership: `fd` stays the caller's. `*json` is the caller's, to be freed with `dhow_string_free`:
/// `[{"Id":"sha256:…","RepoTags":["name:tag"]}]`. `json` may be NULL. Threads: any; blocks. Errors: `CORRUPT` when a
/// blob does not match its digest or the archive ends too early, `INVALID_ARGUMENT` when it is no image archive,
/// `UNAVAILABLE` when the disk is full. Nothing is tagged then. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_image_load_fd(
    engine: *const dhow_engine,
    fd: i32,
    json: *mut *mut c_char,
    error: *mut *mut dhow_error,
) -> dhow_status {
    call(error, || {
        // SAFETY: as the header tells.
        let engine = unsafe { handle(engine, "engine")? };
        give(json, || Ok(image::load(&engine.0, &file_of(fd, "fd")?)?))
    })
}

/// The same with a path.
///
/// Ownership, threads: as `dhow_image_load_fd`. Errors: also `NOT_FOUND` when there is no such file, `FORBIDDEN` when
/// it may not be read. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_image_load_path(
    engine: *const dhow_engine,
    path: *const c_char,
    json: *mut *mut c_char,
    error: *mut *mut dhow_error,
) -> dhow_status {
    call(error, || {
        // SAFETY: as the header tells.
        let (engine, path) = unsafe { (handle(engine, "engine")?, optional_path(path)) };
        let path = path.ok_or_else(|| dhow_error::invalid("path is NULL"))?;
        give(json, || Ok(image::load_path(&engine.0, path)?))
    })
}

/// Makes an image of one layer of the tar (plain, gzip or zstd) that is read from `fd`: a root filesystem.
///
/// Ownership: `fd` stays the caller's; `options` may be NULL. `*id` is the caller's, to be freed with
/// `dhow_string_free`: "sha256:…". `id` may be NULL. Threads: any; blocks. Errors: `INVALID_ARGUMENT` for a reference
/// or a change that is none, `CORRUPT` for a bad tar, `UNAVAILABLE` when the disk is full. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_image_import_fd(
    engine: *const dhow_engine,
    fd: i32,
    options: *const dhow_import_options,
    id: *mut *mut c_char,
    error: *mut *mut dhow_error,
) -> dhow_status {
    call(error, || {
        // SAFETY: as the header tells; the list has as many texts as its count says.
        unsafe {
            let engine = handle(engine, "engine")?;
            let options = options::read(options)?;
            if options.changes.is_null() && options.changes_count > 0 {
                return Err(dhow_error::invalid("changes is NULL, and changes_count is not 0"));
            }
            let changes = (0..options.changes_count)
                .map(|at| text(options.changes.add(at).read(), "one of changes"))
                .collect::<Result<Vec<&str>, dhow_error>>()?;
            let import = Import {
                reference: optional_text(options.reference, "reference")?,
                changes: &changes,
                message: optional_text(options.message, "message")?.unwrap_or_default(),
                platform: optional_text(options.platform, "platform")?.unwrap_or_default(),
            };
            give(id, || Ok(image::import(&engine.0, &mut file_of(fd, "fd")?, import)?))
        }
    })
}

/// Lists images: the body of Docker's `GET /images/json`.
///
/// Ownership: `filters`, Docker's (`{"label":["a=b"]}`), may be NULL. `*json` is the caller's, to be freed with
/// `dhow_string_free`. Threads: any. Errors: `INVALID_ARGUMENT` for a filter that is none. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_image_list(
    engine: *const dhow_engine,
    filters: *const c_char,
    json: *mut *mut c_char,
    error: *mut *mut dhow_error,
) -> dhow_status {
    call(error, || {
        // SAFETY: as the header tells.
        let (engine, filters) = unsafe { (handle(engine, "engine")?, optional_text(filters, "filters")?) };
        give(place(json, "json")?, || Ok(image::list(&engine.0, filters)?))
    })
}

/// Removes a tag, and the image with its last one; or an image by its id. The body of `DELETE /images/NAME`.
///
/// Ownership: `*json` is the caller's, to be freed with `dhow_string_free`; `json` may be NULL. `flags`:
/// `DHOW_IMAGE_REMOVE_FORCE`. Threads: any. Errors: `NOT_FOUND`; `CONFLICT` when a container uses it. Since: ABI 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dhow_image_remove(
    engine: *const dhow_engine,
    name: *const c_char,
    flags: u32,
    json: *mut *mut c_char,
    error: *mut *mut dhow_error,
) -> dhow_status {
    call(error, || {
        // SAFETY: as the header tells.
        let (engine, name) = unsafe { (handle(engine, "engine")?, text(name, "name")?) };
        let force = known_flags(flags, DHOW_IMAGE_REMOVE_FORCE, "flags")? != 0;
        give(json, || Ok(image::remove(&engine.0, name, force)?))
    })
}

/// Puts the text that `make` gives where the caller wants it, which may be nowhere.
pub(crate) fn give(
    place: *mut *mut c_char,
    make: impl FnOnce() -> Result<String, dhow_error>,
) -> Result<dhow_status, dhow_error> {
    if !place.is_null() {
        // SAFETY: a place for one pointer. Nothing is left there on failure.
        unsafe { place.write(std::ptr::null_mut()) };
    }
    let made = make()?;
    if !place.is_null() {
        // SAFETY: as above.
        unsafe { place.write(owned_text(&made)?) };
    }
    Ok(dhow_status::DHOW_OK)
}
