//! Health checks and health, wire ↔ model.

use bollard_stubs::models as wire;
use dhow_model::health::{Health, HealthCheck, ProbeResult};
use dhow_model::{Error, Result};
use std::time::Duration;

/// `Config.Healthcheck`, as sent.
///
/// # Errors
/// `InvalidArgument` in Docker's words.
pub(in crate::api) fn parse(check: &wire::HealthConfig) -> Result<HealthCheck> {
    // What is negative is below Docker's shortest time, like a nanosecond.
    let time = |nanos: Option<i64>| Duration::from_nanos(nanos.map_or(0, |n| u64::try_from(n).unwrap_or(1)));
    let retries = u32::try_from(check.retries.unwrap_or(0))
        .map_err(|_| Error::invalid("Retries in Healthcheck cannot be negative"))?;
    let parsed = HealthCheck {
        test: check.test.clone().unwrap_or_default(),
        interval: time(check.interval),
        timeout: time(check.timeout),
        start_period: time(check.start_period),
        start_interval: time(check.start_interval),
        retries,
    };
    parsed.check()?;
    Ok(parsed)
}

/// `Config.Healthcheck`, as shown: what is not set is absent.
pub(in crate::api) fn show(check: &HealthCheck) -> wire::HealthConfig {
    let nanos = |time: Duration| Some(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)).filter(|n| *n > 0);
    wire::HealthConfig {
        test: Some(check.test.clone()).filter(|test| !test.is_empty()),
        interval: nanos(check.interval),
        timeout: nanos(check.timeout),
        retries: Some(i64::from(check.retries)).filter(|n| *n > 0),
        start_period: nanos(check.start_period),
        start_interval: nanos(check.start_interval),
    }
}

/// `State.Health`.
pub(in crate::api) fn state(health: &Health, log: &[ProbeResult]) -> wire::Health {
    let result = |probe: &ProbeResult| wire::HealthcheckResult {
        start: Some(probe.start.to_string()),
        end: Some(probe.end.to_string()),
        exit_code: Some(i64::from(probe.exit_code)),
        output: Some(probe.output.clone()),
    };
    wire::Health {
        status: health.status.as_str().parse().ok(),
        failing_streak: Some(i64::from(health.failing_streak)),
        log: Some(log.iter().map(result).collect()),
    }
}
