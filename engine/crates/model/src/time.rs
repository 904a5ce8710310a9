//! Points in time as nanoseconds since 1970 UTC, and their RFC 3339 text, as Docker prints them.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970-01-01T00:00:00Z. Good until 2262.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

const NANOS: i64 = 1_000_000_000;
const DAY: i64 = 86_400;

impl Timestamp {
    /// Whole seconds since the epoch, rounded down.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(NANOS)
    }

    /// Nanoseconds within the second, 0 to 999,999,999.
    pub fn subsec_nanos(self) -> i64 {
        self.0.rem_euclid(NANOS)
    }

    /// From seconds since the epoch.
    pub fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(NANOS))
    }

    /// How long after `earlier` this is; zero if before.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// RFC 3339 in UTC with nine decimals: the form of Docker's json-file log, which sorts as text.
    pub fn rfc3339_fixed(self) -> String {
        let (year, month, day) = civil_from_days(self.seconds().div_euclid(DAY));
        let clock = self.seconds().rem_euclid(DAY);
        format!(
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
            clock / 3600,
            clock / 60 % 60,
            clock % 60,
            self.subsec_nanos()
        )
    }

    /// Reads RFC 3339 (`2026-01-02T03:04:05.6Z`, offsets, `T` or a blank), a bare date, a date without
    /// zone (taken as UTC), or seconds since the epoch with decimals.
    ///
    /// # Errors
    /// `InvalidArgument` for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        parse_epoch(text).or_else(|| parse_rfc3339(text)).ok_or_else(|| {
            Error::invalid(format!("invalid time {text:?}: want RFC 3339 or seconds since 1970"))
        })
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(i64::try_from(after.as_nanos()).unwrap_or(i64::MAX)),
            Err(before) => Self(-i64::try_from(before.duration().as_nanos()).unwrap_or(i64::MAX)),
        }
    }
}

/// RFC 3339 in UTC with as many decimals as needed (Go's `RFC3339Nano`, the form of `inspect`).
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fixed = self.rfc3339_fixed();
        let trimmed = fixed.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
        write!(f, "{trimmed}Z")
    }
}

/// Proleptic Gregorian date of a day number (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = year - i64::from(month <= 2);
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn parse_fraction(digits: &str) -> Option<i64> {
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    format!("{digits:0<9}").parse().ok()
}

fn parse_epoch(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if !whole.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    Some(Timestamp(seconds.checked_mul(NANOS)?.checked_add(parse_fraction(fraction)?)?))
}

fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let number = |from: usize, to: usize| -> Option<i64> {
        let part = text.get(from..to)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let separator = |at: usize, allowed: &[u8]| text.as_bytes().get(at).is_some_and(|b| allowed.contains(b));
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    if !separator(4, b"-") || !separator(7, b"-") || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let midnight = days_from_civil(year, month, day) * DAY;
    if text.len() == 10 {
        return midnight.checked_mul(NANOS).map(Timestamp);
    }
    let (hour, minute) = (number(11, 13)?, number(14, 16)?);
    if !separator(10, b"Tt ") || !separator(13, b":") || hour > 23 || minute > 59 {
        return None;
    }
    let mut rest = text.get(16..)?;
    let mut second = 0;
    if rest.starts_with(':') {
        second = number(17, 19)?;
        rest = text.get(19..)?;
    }
    if second > 60 {
        return None;
    }
    let mut nanos = 0;
    if let Some(after) = rest.strip_prefix('.') {
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        nanos = parse_fraction(&after[..end])?;
        rest = &after[end..];
    }
    let offset = match rest {
        "" | "Z" | "z" => 0,
        _ => {
            let sign = if rest.starts_with('+') { 1 } else { rest.strip_prefix('-').map(|_| -1)? };
            let (h, m) = (rest.get(1..3)?.parse::<i64>().ok()?, rest.get(4..6)?.parse::<i64>().ok()?);
            if rest.len() != 6 || rest.as_bytes()[3] != b':' || h > 23 || m > 59 {
                return None;
            }
            sign * (h * 3600 + m * 60)
        }
    };
    let seconds = midnight + hour * 3600 + minute * 60 + second - offset;
    Some(Timestamp(seconds.checked_mul(NANOS)?.checked_add(nanos)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let t = Timestamp::parse("2026-11-21T09:12:40.0125Z").unwrap();
        assert_eq!(t.to_string(), "2026-11-21T09:12:40.0125Z");
        assert_eq!(t.rfc3339_fixed(), "2026-11-21T09:12:40.012500000Z");
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(Timestamp::parse("1969-12-31T23:59:59Z").unwrap(), Timestamp(-NANOS));
        assert_eq!(Timestamp::parse("2024-02-29").unwrap().to_string(), "2024-02-29T00:00:00Z");
        assert_eq!(
            Timestamp::parse("2026-01-01T01:30:00+01:30").unwrap().to_string(),
            "2026-01-01T00:00:00Z"
        );
        assert_eq!(Timestamp::parse("1700000000.5").unwrap(), Timestamp(1_700_000_000_500_000_000));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-01-01T25:00:00Z",
            "1.",
            "12:30",
            "2026-01-01Tx",
            "é026-01-01",
        ] {
            assert!(Timestamp::parse(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_timestamp_survives(nanos in -2_000_000_000_000_000_000i64..4_000_000_000_000_000_000) {
            let t = Timestamp(nanos);
            // Four-digit years only: the text form has no others.
            proptest::prop_assert_eq!(parse_rfc3339(&t.to_string()), Some(t));
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,40}") {
            let _ = Timestamp::parse(&text);
        }
    }
}
