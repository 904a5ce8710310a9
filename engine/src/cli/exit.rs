//! How a command ends: its exit code, and the one line on standard error when it failed.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | a verb failed, or was given the wrong number of arguments |
//! | 64 | a `--format` template that cannot be parsed |
//! | 125 | a flag that cannot be parsed; `run`: the container could not be made or started |
//! | 126, 127 | `run`, `exec`: the command cannot be executed; is not there |
//! | 128+n | the container's process died of signal n |
//! | other | the container's own |
//!
//! The engine's errors arrive as an HTTP status and a message, local or remote alike, so the table from kind
//! to exit code is read here from the status and the message, as Docker's client does.

use crate::cli::output::for_stderr;
use dhow_model::Error;
use std::fmt;
use std::io::Write;

/// What a verb returns: the exit code, or why it failed.
pub(crate) type Outcome<T = i32> = Result<T, Failure>;

/// Exit code of a flag that cannot be parsed, and of `run` when the container never started.
pub(crate) const NOT_STARTED: i32 = 125;
/// Exit code of a command that exists but cannot be executed.
pub(crate) const NOT_EXECUTABLE: i32 = 126;
/// Exit code of a command that is not in the container.
pub(crate) const NOT_FOUND: i32 = 127;

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// One line for the user; empty when everything was said already.
    pub(crate) message: String,
    /// The process's exit code.
    pub(crate) code: i32,
    /// The HTTP status, when the engine answered.
    pub(crate) status: Option<u16>,
    /// A second line that says where to look further.
    pub(crate) hint: Option<String>,
    /// The message is printed as it is, without the program's name.
    bare: bool,
}

impl Failure {
    /// A failure with exit code 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1, status: None, hint: None, bare: false }
    }

    /// A wrong flag, argument or combination of them: exit code 125.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(message).with_code(NOT_STARTED)
    }

    /// Everything has been said already: only the exit code is left.
    pub(crate) fn silent(code: i32) -> Self {
        Self::new("").with_code(code)
    }

    /// A message that scripts know word for word, printed without the program's name before it.
    pub(crate) fn bare(message: impl Into<String>) -> Self {
        Self { bare: true, ..Self::new(message) }
    }

    /// The engine answered with an error.
    pub(crate) fn answered(status: u16, message: impl Into<String>) -> Self {
        Self { status: Some(status), ..Self::new(message) }
    }

    /// The same failure with another exit code.
    #[must_use]
    pub(crate) fn with_code(mut self, code: i32) -> Self {
        self.code = code;
        self
    }

    /// The same failure with a pointer to the verb's help.
    #[must_use]
    pub(crate) fn with_help_of(mut self, verb: &str) -> Self {
        self.hint = Some(format!("See '{verb} --help'."));
        self
    }

    /// Whether the engine said that the object does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        self.status == Some(404)
    }

    /// A failure of `run` or `start -a`: 127, 126 or 125 by what kept the container from starting.
    #[must_use]
    pub(crate) fn of_start(self) -> Self {
        let code = start_code(&self.message);
        self.with_code(code)
    }

    /// Writes the line, or lines, to standard error.
    pub(crate) fn report(&self) {
        let mut error = std::io::stderr().lock();
        // Nobody is left to tell when standard error is gone.
        if !self.message.is_empty() {
            let name = if self.bare { "" } else { "dhow: " };
            let _ = writeln!(error, "{name}{}", for_stderr(self.message.trim_end()));
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(error, "{}", for_stderr(hint));
        }
    }
}

/// Docker's own reading of a failed start (`cli/command/container/run.go`, `toStatusError`): the API has one
/// status for all of them, the message tells them apart.
fn start_code(message: &str) -> i32 {
    let has = |text: &str| message.contains(text);
    if has("executable file not found")
        || has("no such file or directory")
        || has("system cannot find the file specified")
    {
        NOT_FOUND
    } else if has("permission denied") || has("is a directory") || has("exec format error") {
        NOT_EXECUTABLE
    } else {
        NOT_STARTED
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<bollard::errors::Error> for Failure {
    fn from(error: bollard::errors::Error) -> Self {
        use bollard::errors::Error as Wire;
        match error {
            Wire::DockerResponseServerError { status_code, message } => Self::answered(status_code, message),
            Wire::DockerStreamError { error } => Self::new(error),
            // Our transport says what it could not reach.
            Wire::IOError { err } => Self::new(err.to_string()),
            other => Self::new(other.to_string()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_that_failed() {
        for (message, code) in [
            ("exec: \"foo\": executable file not found in $PATH", 127),
            ("exec: \"/foo\": stat /foo: no such file or directory", 127),
            ("exec: \"/etc\": permission denied", 126),
            ("exec: \"/etc\": is a directory", 126),
            ("exec /bin/x: exec format error", 126),
            ("invalid restart policy 'foo'", 125),
        ] {
            assert_eq!(Failure::answered(400, message).of_start().code, code, "{message}");
        }
    }
}
