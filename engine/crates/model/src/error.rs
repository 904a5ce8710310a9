//! The one error type of the engine.
//!
//! An [`Error`] says what was tried, on what, and why it failed, and carries an [`ErrorKind`]. Two tables
//! read the kind, one at each edge: `api/status.rs` maps it to an HTTP status, `cli/exit.rs` to an exit code.
//! Nothing between the place of failure and the edge logs it.

use std::fmt;

/// What sort of failure it is, as far as a caller can act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request itself is wrong: a bad flag value, a malformed reference.
    InvalidArgument,
    /// The named object does not exist.
    NotFound,
    /// The object exists, but its state or another object forbids the operation.
    Conflict,
    /// The object is already in the wanted state (`start` of a running container).
    NotModified,
    /// The caller or this kernel lacks the permission.
    Forbidden,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// This build, kernel or machine does not offer what was asked for.
    Unsupported,
    /// The container's command was not found in its filesystem. Exit code 127.
    CommandNotFound,
    /// The container's command exists but cannot be executed. Exit code 126.
    CommandNotExecutable,
    /// The container could not be started for another reason. Exit code 125 or 128.
    StartFailed,
    /// Data on disk or from outside does not match its digest or its format.
    Corrupt,
    /// Something needed is not reachable now: a peer, a socket, a lock.
    Unavailable,
    /// A defect or an unexpected refusal of the operating system.
    Internal,
}

impl ErrorKind {
    /// Every kind: for the tables at the edges, whose tests walk it.
    pub const ALL: &[ErrorKind] = &[
        ErrorKind::InvalidArgument,
        ErrorKind::NotFound,
        ErrorKind::Conflict,
        ErrorKind::NotModified,
        ErrorKind::Forbidden,
        ErrorKind::Unauthorized,
        ErrorKind::Unsupported,
        ErrorKind::CommandNotFound,
        ErrorKind::CommandNotExecutable,
        ErrorKind::StartFailed,
        ErrorKind::Corrupt,
        ErrorKind::Unavailable,
        ErrorKind::Internal,
    ];
}

/// A failure: kind, one readable line, and the cause below it.
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error without a deeper cause.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// An error caused by another one. `message` says the operation and the object, not the cause.
    pub fn caused(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, message: message.into(), source: Some(source.into()) }
    }

    /// [`ErrorKind::InvalidArgument`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// [`ErrorKind::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// [`ErrorKind::Conflict`].
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    /// [`ErrorKind::Unsupported`].
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// [`ErrorKind::Corrupt`].
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// [`ErrorKind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The same error, said to be of another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// The message alone, without its causes.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    /// The whole chain on one line: `message: cause: cause of the cause`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause: Option<&(dyn std::error::Error + 'static)> =
            self.source.as_deref().map(|e| e as &(dyn std::error::Error + 'static));
        while let Some(error) = cause {
            // One of our own errors already prints its causes.
            let ours = error.downcast_ref::<Error>().is_some();
            write!(f, ": {error}")?;
            cause = if ours { None } else { error.source() };
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}

/// Adds the operation and the object to a lower error.
pub trait ResultExt<T> {
    /// Wraps the error as [`ErrorKind::Internal`], or keeps its kind if it is already ours.
    fn context(self, message: impl FnOnce() -> String) -> Result<T>;
    /// Wraps the error with a kind of the caller's choice.
    fn context_kind(self, kind: ErrorKind, message: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E> ResultExt<T> for std::result::Result<T, E>
where
    E: std::error::Error + Send + Sync + 'static,
{
    fn context(self, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| {
            let kind = (&error as &dyn std::any::Any)
                .downcast_ref::<Error>()
                .map_or(ErrorKind::Internal, |ours| ours.kind());
            Error::caused(kind, message(), error)
        })
    }

    fn context_kind(self, kind: ErrorKind, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::caused(kind, message(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_are_listed() {
        // A new kind does not compile here until it has a place, and the list must have it too.
        let place = |kind: &ErrorKind| match kind {
            ErrorKind::InvalidArgument => 0,
            ErrorKind::NotFound => 1,
            ErrorKind::Conflict => 2,
            ErrorKind::NotModified => 3,
            ErrorKind::Forbidden => 4,
            ErrorKind::Unauthorized => 5,
            ErrorKind::Unsupported => 6,
            ErrorKind::CommandNotFound => 7,
            ErrorKind::CommandNotExecutable => 8,
            ErrorKind::StartFailed => 9,
            ErrorKind::Corrupt => 10,
            ErrorKind::Unavailable => 11,
            ErrorKind::Internal => 12,
        };
        assert_eq!(ErrorKind::ALL.iter().map(place).collect::<Vec<_>>(), (0..13).collect::<Vec<_>>());
    }

    #[test]
    fn the_chain_is_printed_once_on_one_line() {
        let io = std::io::Error::from_raw_os_error(2);
        let low: Result<()> = Err(io).context(|| "open /etc/passwd".to_owned());
        let high =
            low.map_err(|e| e.with_kind(ErrorKind::NotFound)).context(|| "resolve user \"bob\"".to_owned());
        let error = high.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(
            error.to_string(),
            "resolve user \"bob\": open /etc/passwd: No such file or directory (os error 2)"
        );
    }
}
