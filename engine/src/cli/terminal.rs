//! The terminal of the person at the command line: raw mode, size, and the standard streams' kinds.

use crate::cli::exit::{Failure, Outcome};
use nix::sys::termios::{LocalFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use std::io::IsTerminal;
use terminal_size::{Height, Width, terminal_size_of};

/// Whether standard input is a terminal.
pub(crate) fn input_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// Whether standard output is a terminal.
pub(crate) fn output_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Rows and columns of the terminal on standard output; `None` when there is none.
pub(crate) fn size() -> Option<(u16, u16)> {
    terminal_size_of(std::io::stdout()).map(|(Width(columns), Height(rows))| (rows, columns))
}

/// A terminal that was asked for must exist when its input is attached.
pub(crate) fn require_terminal(attach_stdin: bool, tty: bool) -> Outcome<()> {
    if tty && attach_stdin && !input_is_terminal() {
        return Err(Failure::bare("the input device is not a TTY"));
    }
    Ok(())
}

/// Standard input in raw mode until dropped, also by a panic that unwinds.
pub(crate) struct RawModeGuard {
    before: Termios,
}

impl RawModeGuard {
    /// Switches standard input to raw mode; `None` when it is no terminal.
    pub(crate) fn enter() -> Outcome<Option<Self>> {
        if !input_is_terminal() {
            return Ok(None);
        }
        let stdin = std::io::stdin();
        let before =
            tcgetattr(&stdin).map_err(|e| Failure::new(format!("read the terminal's settings: {e}")))?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(&stdin, SetArg::TCSANOW, &raw)
            .map_err(|e| Failure::new(format!("set the terminal to raw mode: {e}")))?;
        Ok(Some(Self { before }))
    }
}

impl Drop for RawModeGuard {
    fn drop(&mut self) {
        // A terminal that is gone needs no settings.
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.before);
    }
}

/// Standard input without showing what is typed, until dropped.
pub(crate) struct NoEchoGuard {
    before: Option<Termios>,
}

impl NoEchoGuard {
    /// Hides what is typed; nothing happens when standard input is no terminal.
    pub(crate) fn enter() -> Outcome<Self> {
        if !input_is_terminal() {
            return Ok(Self { before: None });
        }
        let stdin = std::io::stdin();
        let before =
            tcgetattr(&stdin).map_err(|e| Failure::new(format!("read the terminal's settings: {e}")))?;
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&stdin, SetArg::TCSAFLUSH, &hidden)
            .map_err(|e| Failure::new(format!("hide what is typed: {e}")))?;
        Ok(Self { before: Some(before) })
    }
}

impl Drop for NoEchoGuard {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // A terminal that is gone needs no settings.
            let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, before);
        }
    }
}
