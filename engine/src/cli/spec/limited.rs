//! Flags of `run` and `create` that are read, but whose values the engine refuses, all or most of them. They stand
//! here so that the table of what works can tell it; a test gives each of them its value and expects the refusal.

/// A flag, a value that is refused, and why.
pub(crate) struct Limit {
    pub(crate) flag: &'static str,
    /// `None` for a switch.
    pub(crate) value: Option<&'static str>,
    pub(crate) reason: &'static str,
}

const fn limit(flag: &'static str, value: &'static str, reason: &'static str) -> Limit {
    Limit { flag, value: Some(value), reason }
}

/// All of them.
pub(crate) const LIMITED: &[Limit] = &[
    limit("--log-driver", "gelf", "the drivers are json-file, local, syslog, journald and none"),
    limit("--volume-driver", "other", "the driver is local"),
];
