//! Moments as people write them: a time ago (`10m`), a date and time with or without zone, or seconds since 1970.

use crate::local_time::Zone;
use dhow_model::{Timestamp, units};
use std::time::SystemTime;

/// Reads one, seen from now and from this machine's time zone.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    resolve(text, Timestamp::from(SystemTime::now()), &Zone::local())
}

fn resolve(text: &str, now: Timestamp, zone: &Zone) -> Option<Timestamp> {
    if let Some(ago) = text.strip_prefix('-') {
        // A negative duration is in the future.
        return Some(Timestamp(now.0.checked_add(nanos(ago)?)?));
    }
    if let Some(ago) = nanos(text).filter(|_| text != "0") {
        return Some(Timestamp(now.0.checked_sub(ago)?));
    }
    let moment = Timestamp::parse(text).ok()?;
    if !text.contains('-') || has_zone(text) {
        return Some(moment);
    }
    // Read as UTC; it was meant in the person's zone.
    let offset = zone.at(moment).seconds;
    Some(Timestamp(moment.0.checked_sub(offset.checked_mul(1_000_000_000)?)?))
}

fn nanos(text: &str) -> Option<i64> {
    i64::try_from(units::parse_duration(text).ok()?.as_nanos()).ok()
}

/// Whether a date and time ends in `Z` or an offset.
fn has_zone(text: &str) -> bool {
    let clock = text.get(10..).unwrap_or_default();
    clock.ends_with(['Z', 'z']) || clock.contains(['+', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let now = Timestamp::parse("2026-01-02T00:00:00Z").unwrap();
        let zone = Zone::default();
        let text = |t: &str| resolve(t, now, &zone).map(|m| m.to_string());
        assert_eq!(text("10m").as_deref(), Some("2026-01-01T23:50:00Z"));
        assert_eq!(text("1h30m").as_deref(), Some("2026-01-01T22:30:00Z"));
        assert_eq!(text("2025-12-31").as_deref(), Some("2025-12-31T00:00:00Z"));
        assert_eq!(text("2025-12-31T10:00:00+02:00").as_deref(), Some("2025-12-31T08:00:00Z"));
        assert_eq!(text("1700000000.5").as_deref(), Some("2023-11-14T22:13:20.5Z"));
        assert_eq!(text("0").as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(text("yesterday"), None);
    }
}
