//! `Healthcheck` in an image configuration: durations are nanoseconds, and numbers that make no sense are none.

use super::{lax, words};
use dhow_model::health::HealthCheck;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// As it is written in JSON.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct HealthPart {
    #[serde(deserialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    test: Vec<String>,
    #[serde(deserialize_with = "lax", skip_serializing_if = "is_zero")]
    interval: i64,
    #[serde(deserialize_with = "lax", skip_serializing_if = "is_zero")]
    timeout: i64,
    #[serde(deserialize_with = "lax", skip_serializing_if = "is_zero")]
    start_period: i64,
    #[serde(deserialize_with = "lax", skip_serializing_if = "is_zero")]
    start_interval: i64,
    #[serde(deserialize_with = "lax", skip_serializing_if = "is_zero")]
    retries: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl HealthPart {
    pub(super) fn into_check(self) -> HealthCheck {
        let time = |nanos: i64| Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
        HealthCheck {
            test: self.test,
            interval: time(self.interval),
            timeout: time(self.timeout),
            start_period: time(self.start_period),
            start_interval: time(self.start_interval),
            retries: u32::try_from(self.retries.max(0)).unwrap_or(u32::MAX),
        }
    }
}

impl From<&HealthCheck> for HealthPart {
    fn from(check: &HealthCheck) -> Self {
        let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        Self {
            test: check.test.clone(),
            interval: nanos(check.interval),
            timeout: nanos(check.timeout),
            start_period: nanos(check.start_period),
            start_interval: nanos(check.start_interval),
            retries: i64::from(check.retries),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_and_written() {
        let json = r#"{"Test":["CMD-SHELL","x"],"Interval":5000000000,"Retries":-1,"Timeout":null}"#;
        let part: HealthPart = serde_json::from_str(json).unwrap();
        let check = part.into_check();
        assert_eq!((check.interval, check.retries), (Duration::from_secs(5), 0));
        let again = serde_json::to_string(&HealthPart::from(&check)).unwrap();
        assert_eq!(again, r#"{"Test":["CMD-SHELL","x"],"Interval":5000000000}"#);
    }
}
