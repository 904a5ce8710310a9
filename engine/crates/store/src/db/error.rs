//! From SQLite's result codes to the engine's error kinds.

use dhow_model::{Error, ErrorKind, Result};
use rusqlite::ErrorCode;

/// Adds the operation to a database error and finds its kind.
pub(super) trait DbResult<T> {
    /// `what` says the operation and its object.
    fn on(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> DbResult<T> for rusqlite::Result<T> {
    fn on(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::caused(kind(&error), what(), error))
    }
}

fn kind(error: &rusqlite::Error) -> ErrorKind {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ErrorKind::Unavailable,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => ErrorKind::Corrupt,
        Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => ErrorKind::Forbidden,
        Some(ErrorCode::ConstraintViolation) => ErrorKind::Conflict,
        _ => ErrorKind::Internal,
    }
}

/// Whether another process is in the way, and trying again may help.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Whether the error, or its cause, is a row that something refers to, or that refers to nothing.
pub(super) fn is_foreign_key(error: &Error) -> bool {
    constraint(error) == Some(rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY)
}

/// Whether the error, or its cause, is a row that is there already.
pub(super) fn is_unique(error: &Error) -> bool {
    let found = constraint(error);
    found == Some(rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE)
        || found == Some(rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY)
}

fn constraint(error: &Error) -> Option<i32> {
    std::error::Error::source(error)?
        .downcast_ref::<rusqlite::Error>()?
        .sqlite_error()
        .map(|e| e.extended_code)
}
