//! Signals by name and number (signal(7)).

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A signal number, 1 to 64 on Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signal(i32);

/// x86 and arm numbering; 34 to 64 are real-time signals, named relative to RTMIN and RTMAX.
const NAMES: [(&str, i32); 35] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("RTMIN", 34),
];

const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

impl Signal {
    /// SIGKILL.
    pub const KILL: Signal = Signal(9);
    /// SIGTERM.
    pub const TERM: Signal = Signal(15);

    /// Parses `9`, `KILL`, `SIGKILL`, `rtmin+3`, in any case.
    ///
    /// # Errors
    /// `InvalidArgument` for an unknown name or a number outside 1 to 64.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = || Error::invalid(format!("invalid signal: {text}"));
        if let Ok(number) = text.parse::<i32>() {
            return if (1..=RTMAX).contains(&number) { Ok(Self(number)) } else { Err(invalid()) };
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some((_, number)) = NAMES.iter().find(|(n, _)| *n == name) {
            return Ok(Self(*number));
        }
        let offset = |rest: &str| rest.parse::<i32>().ok().filter(|n| (0..=RTMAX - RTMIN).contains(n));
        match (name.strip_prefix("RTMIN+"), name.strip_prefix("RTMAX")) {
            (Some(rest), _) => offset(rest).map(|n| Self(RTMIN + n)).ok_or_else(invalid),
            (_, Some("")) => Ok(Self(RTMAX)),
            (_, Some(rest)) => {
                rest.strip_prefix('-').and_then(offset).map(|n| Self(RTMAX - n)).ok_or_else(invalid)
            }
            _ => Err(invalid()),
        }
    }

    /// Its number.
    pub fn number(self) -> i32 {
        self.0
    }
}

impl Default for Signal {
    fn default() -> Self {
        Self::TERM
    }
}

/// `SIGTERM`, `SIGRTMIN+3`.
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, n)| *n == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None if self.0 > RTMIN => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("9", 9),
            ("kill", 9),
            ("SIGTERM", 15),
            ("SIGRTMIN", 34),
            ("RTMIN+3", 37),
            ("RTMAX-1", 63),
            ("RTMAX", 64),
        ] {
            assert_eq!(Signal::parse(text).unwrap().number(), number, "{text}");
        }
        for bad in ["", "0", "65", "-9", "SIG", "BOGUS", "RTMIN+99", "RTMAX+1"] {
            assert!(Signal::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Signal::TERM.to_string(), "SIGTERM");
        assert_eq!(Signal(37).to_string(), "SIGRTMIN+3");
    }
}
