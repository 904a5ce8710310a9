//! What sorts of events there are, and sets of them.

use crate::bindings::{TRACE_EXEC, TRACE_EXIT, TRACE_FORK, TRACE_OOM, TRACE_OPEN};
use dhow_model::{Error, Result};

/// A sort of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A new process.
    Fork,
    /// A process runs another program.
    Exec,
    /// A process has ended.
    Exit,
    /// The OOM killer struck.
    Oom,
    /// A file was opened, or could not be.
    Open,
}

impl Kind {
    /// Every kind, in the order of their numbers in the kernel.
    pub const ALL: [Kind; 5] = [Kind::Fork, Kind::Exec, Kind::Exit, Kind::Oom, Kind::Open];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Fork => "fork",
            Kind::Exec => "exec",
            Kind::Exit => "exit",
            Kind::Oom => "oom",
            Kind::Open => "open",
        }
    }

    /// Its number in the kernel.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Kind::Fork => TRACE_FORK,
            Kind::Exec => TRACE_EXEC,
            Kind::Exit => TRACE_EXIT,
            Kind::Oom => TRACE_OOM,
            Kind::Open => TRACE_OPEN,
        }
    }
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kinds(u32);

impl Kinds {
    /// None of them.
    pub const NONE: Kinds = Kinds(0);
    /// The life of processes: everything but `open`, which slows every system call of the machine.
    pub const LIFECYCLE: Kinds =
        Kinds::NONE.with(Kind::Fork).with(Kind::Exec).with(Kind::Exit).with(Kind::Oom);

    /// The set and one more.
    #[must_use]
    pub const fn with(self, kind: Kind) -> Self {
        Self(self.0 | 1 << kind.number())
    }

    /// Both sets.
    #[must_use]
    pub const fn union(self, other: Kinds) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the kind is in the set.
    pub fn has(self, kind: Kind) -> bool {
        self.0 & 1 << kind.number() != 0
    }

    /// Whether nothing is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// One bit for each kind, as the probes have them.
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    /// Parses `exec,exit,open`.
    ///
    /// # Errors
    /// `InvalidArgument` for an unknown word or none.
    pub fn parse(text: &str) -> Result<Self> {
        let mut kinds = Self::NONE;
        for word in text.split(',') {
            let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == word.trim());
            let kind = kind.ok_or_else(|| {
                Error::invalid(format!("invalid kind of event {word:?}: want fork, exec, exit, oom or open"))
            })?;
            kinds = kinds.with(kind);
        }
        Ok(kinds)
    }
}

/// The words that [`Kinds::parse`] takes.
impl std::fmt::Display for Kinds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<&str> =
            Kind::ALL.into_iter().filter(|kind| self.has(*kind)).map(Kind::as_str).collect();
        f.write_str(&words.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_sets() {
        let kinds = Kinds::parse("open, exec").unwrap();
        assert!(kinds.has(Kind::Exec) && kinds.has(Kind::Open) && !kinds.has(Kind::Fork));
        assert_eq!(kinds.to_string(), "exec,open");
        assert_eq!(Kinds::parse(&Kinds::LIFECYCLE.to_string()).unwrap(), Kinds::LIFECYCLE);
        for bad in ["", "exec,", "close"] {
            assert!(Kinds::parse(bad).is_err(), "{bad:?}");
        }
    }
}
