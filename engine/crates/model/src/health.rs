//! Health checks: what is asked for, what a probe said, and what that makes of a container.
//!
//! ```text
//!            a probe succeeds                  `retries` failures in a row
//!   starting ───────────────► healthy ◄──────► unhealthy
//!      └── `retries` failures in a row, those of the start period not counted ──▲
//! ```
//! The rules and the defaults are Docker's (`daemon/health.go`).

use crate::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Probes whose results are kept.
pub const LOG_ENTRIES: usize = 5;
/// Bytes of a probe's output that are kept.
pub const OUTPUT_MAX: usize = 4096;
/// Docker takes no time below this but zero, which means the default.
const SHORTEST: Duration = Duration::from_millis(1);

/// A check as typed, or as an image has it: what is zero or empty is inherited, in the end from the defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthCheck {
    /// `NONE`; `CMD` and an argument vector; `CMD-SHELL` and a line for the shell. Empty: inherited.
    pub test: Vec<String>,
    /// Between the end of a probe and the next.
    pub interval: Duration,
    /// A probe that takes longer has failed, and is killed.
    pub timeout: Duration,
    /// Failures that do not count, after the start.
    pub start_period: Duration,
    /// `interval` within the start period.
    pub start_interval: Duration,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
}

impl HealthCheck {
    /// Checks what was typed.
    ///
    /// # Errors
    /// `InvalidArgument` in Docker's words.
    pub fn check(&self) -> Result<()> {
        for (name, value) in [
            ("Interval", self.interval),
            ("Timeout", self.timeout),
            ("StartPeriod", self.start_period),
            ("StartInterval", self.start_interval),
        ] {
            if !value.is_zero() && value < SHORTEST {
                return Err(Error::invalid(format!("{name} in Healthcheck cannot be less than 1ms")));
            }
        }
        match self.test.first().map(String::as_str) {
            None | Some("NONE" | "CMD-SHELL") => Ok(()),
            Some("CMD") if self.test.get(1).is_some_and(|program| !program.is_empty()) => Ok(()),
            Some("CMD") => Err(Error::invalid("Healthcheck.Test of type CMD has no command")),
            Some(other) => Err(Error::invalid(format!(
                "unknown type {other:?} in Healthcheck.Test: want NONE, CMD or CMD-SHELL"
            ))),
        }
    }

    /// This one over an image's.
    #[must_use]
    pub fn over(self, image: Option<&HealthCheck>) -> Self {
        let Some(image) = image else { return self };
        let or = |own: Duration, theirs: Duration| if own.is_zero() { theirs } else { own };
        Self {
            test: if self.test.is_empty() { image.test.clone() } else { self.test },
            interval: or(self.interval, image.interval),
            timeout: or(self.timeout, image.timeout),
            start_period: or(self.start_period, image.start_period),
            start_interval: or(self.start_interval, image.start_interval),
            retries: if self.retries == 0 { image.retries } else { self.retries },
        }
    }

    /// What a probe executes; `None` when there is nothing to check.
    pub fn argv(&self, shell: &[String]) -> Option<Vec<String>> {
        let (kind, words) = self.test.split_first()?;
        match kind.as_str() {
            "CMD" => Some(words.to_vec()),
            "CMD-SHELL" => {
                let shell = if shell.is_empty() { &default_shell()[..] } else { shell };
                Some(shell.iter().chain(words).cloned().collect())
            }
            _ => None,
        }
    }

    /// The times, with the defaults.
    pub fn times(&self) -> HealthTimes {
        let or = |own: Duration, default: u64| {
            if own.is_zero() { Duration::from_secs(default) } else { own }
        };
        HealthTimes {
            interval: or(self.interval, 30),
            timeout: or(self.timeout, 30),
            start_period: self.start_period,
            start_interval: or(self.start_interval, 5),
            retries: if self.retries == 0 { 3 } else { self.retries },
        }
    }
}

fn default_shell() -> [String; 2] {
    ["/bin/sh".to_owned(), "-c".to_owned()]
}

/// The numbers of a check, complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthTimes {
    /// See [`HealthCheck`].
    pub interval: Duration,
    /// See [`HealthCheck`].
    pub timeout: Duration,
    /// See [`HealthCheck`].
    pub start_period: Duration,
    /// See [`HealthCheck`].
    pub start_interval: Duration,
    /// See [`HealthCheck`].
    pub retries: u32,
}

impl HealthTimes {
    /// How long to wait for the next probe, so long after the start.
    pub fn wait(&self, running_for: Duration, status: HealthStatus) -> Duration {
        if running_for < self.start_period && status == HealthStatus::Starting {
            self.start_interval
        } else {
            self.interval
        }
    }
}

/// What is thought of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Not known yet.
    #[default]
    Starting,
    /// The last probe succeeded, or too few failed since.
    Healthy,
    /// Too many failed in a row, or it does not run.
    Unhealthy,
}

impl HealthStatus {
    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a container with a check stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Health {
    /// What is thought of it.
    pub status: HealthStatus,
    /// Failures in a row.
    pub failing_streak: u32,
}

impl Health {
    /// What a probe makes of it that began so long after the start.
    #[must_use]
    pub fn after(self, healthy: bool, times: &HealthTimes, running_for: Duration) -> Self {
        if healthy {
            return Self { status: HealthStatus::Healthy, failing_streak: 0 };
        }
        if self.status == HealthStatus::Starting && running_for < times.start_period {
            return self;
        }
        let failing_streak = self.failing_streak.saturating_add(1);
        let status = if failing_streak >= times.retries { HealthStatus::Unhealthy } else { self.status };
        Self { status, failing_streak }
    }
}

/// What one probe said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeResult {
    /// When it began.
    pub start: Timestamp,
    /// When it ended, or was given up.
    pub end: Timestamp,
    /// Its exit code; -1 when it could not be run or took too long.
    pub exit_code: i32,
    /// What it wrote, at most [`OUTPUT_MAX`] bytes and `...` if there was more; or why it could not be run.
    pub output: String,
}

/// A duration as Go prints it: `30s`, `1m0s`, `500ms`, `1.5s`.
pub fn go_duration(time: Duration) -> String {
    let decimals = |whole: u128, part: u128, digits: usize| {
        let text = format!("{whole}.{part:0digits$}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let nanos = time.as_nanos();
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", decimals(nanos / 1_000, nanos % 1_000, 3)),
        1_000_000..1_000_000_000 => format!("{}ms", decimals(nanos / 1_000_000, nanos % 1_000_000, 6)),
        _ => {
            let (minutes, rest) = (nanos / 60_000_000_000, nanos % 60_000_000_000);
            let seconds = decimals(rest / 1_000_000_000, rest % 1_000_000_000, 9);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|w| (*w).to_owned()).collect()
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (millis, text) in [
            (0, "0s"),
            (1, "1ms"),
            (1_500, "1.5s"),
            (30_000, "30s"),
            (60_000, "1m0s"),
            (3_661_020, "1h1m1.02s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(go_duration(Duration::from_nanos(1_500)), "1.5µs");
        assert_eq!(go_duration(Duration::from_nanos(999)), "999ns");
    }

    #[test]
    fn what_is_not_said_comes_from_the_image_and_then_from_the_defaults() {
        let image = HealthCheck {
            test: words(&["CMD", "x"]),
            interval: seconds(7),
            retries: 9,
            ..Default::default()
        };
        let own = HealthCheck { timeout: seconds(2), retries: 1, ..Default::default() }.over(Some(&image));
        assert_eq!(own.argv(&[]), Some(words(&["x"])));
        let times = own.times();
        assert_eq!((times.interval, times.timeout, times.retries), (seconds(7), seconds(2), 1));
        assert_eq!((times.start_period, times.start_interval), (seconds(0), seconds(5)));
        assert_eq!(HealthCheck::default().times().retries, 3);
    }

    #[test]
    fn tests_are_commands() {
        let check = |test: &[&str]| HealthCheck { test: words(test), ..Default::default() };
        assert_eq!(check(&["CMD-SHELL", "a b"]).argv(&[]), Some(words(&["/bin/sh", "-c", "a b"])));
        assert_eq!(check(&["CMD-SHELL", "a"]).argv(&words(&["bash"])), Some(words(&["bash", "a"])));
        assert_eq!(check(&["NONE"]).argv(&[]), None);
        assert_eq!(check(&[]).argv(&[]), None);
        for bad in [&["x"][..], &["CMD"], &["CMD", ""]] {
            assert!(check(bad).check().is_err(), "{bad:?}");
        }
        let short = HealthCheck { interval: Duration::from_nanos(1), ..Default::default() };
        assert_eq!(short.check().unwrap_err().to_string(), "Interval in Healthcheck cannot be less than 1ms");
    }

    #[test]
    fn failures_in_a_row_count_after_the_start_period() {
        let times = HealthCheck { retries: 2, start_period: seconds(10), ..Default::default() }.times();
        let mut health = Health::default();
        health = health.after(false, &times, seconds(9));
        assert_eq!(health, Health::default(), "still starting");
        health = health.after(false, &times, seconds(11));
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Starting, 1));
        health = health.after(false, &times, seconds(12));
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Unhealthy, 2));
        health = health.after(true, &times, seconds(13));
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Healthy, 0));
        // Once healthy, the start period is over.
        health = health.after(false, &times, seconds(5));
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Healthy, 1));
        assert_eq!(times.wait(seconds(1), HealthStatus::Starting), seconds(5));
        assert_eq!(times.wait(seconds(1), HealthStatus::Healthy), seconds(30));
        assert_eq!(times.wait(seconds(10), HealthStatus::Starting), seconds(30));
    }
}
