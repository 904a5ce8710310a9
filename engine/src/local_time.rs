//! The local time zone, for times that Docker prints and reads in it.
//!
//! Reads `TZ` and `/etc/localtime` in TZif form (RFC 8536), the 64-bit part. Times after the file's last
//! transition use its last offset; Debian's files reach to 2037.

use dhow_model::Timestamp;
use std::path::PathBuf;

/// An offset from UTC and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offset {
    /// Seconds east of Greenwich.
    pub(crate) seconds: i64,
    /// `UTC`, `CET`, ….
    pub(crate) name: String,
}

/// The rules of a time zone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Zone {
    /// From this second on, this kind of time.
    transitions: Vec<(i64, usize)>,
    kinds: Vec<Offset>,
}

/// Length of a TZif header.
const HEADER_BYTES: usize = 44;

impl Zone {
    /// The person's; UTC when it cannot be told.
    pub(crate) fn local() -> Self {
        let path = match std::env::var("TZ") {
            Ok(name) if name.is_empty() || name == "UTC" => return Self::default(),
            Ok(name) => {
                let name = name.trim_start_matches(':');
                if name.split('/').any(|part| part == "..") {
                    return Self::default();
                }
                PathBuf::from("/usr/share/zoneinfo").join(name)
            }
            Err(_) => PathBuf::from("/etc/localtime"),
        };
        std::fs::read(path).ok().and_then(|bytes| parse(&bytes)).unwrap_or_default()
    }

    /// The offset at a moment.
    pub(crate) fn at(&self, moment: Timestamp) -> Offset {
        let seconds = moment.seconds();
        let after = self.transitions.partition_point(|(from, _)| *from <= seconds);
        let kind = match after.checked_sub(1) {
            Some(index) => self.kinds.get(self.transitions[index].1),
            None => self.kinds.first(),
        };
        kind.cloned().unwrap_or_else(|| Offset { seconds: 0, name: "UTC".to_owned() })
    }

    /// `2026-11-21 09:40:27 +0000 UTC`, as Go prints a time.
    pub(crate) fn go_string(&self, moment: Timestamp) -> String {
        let offset = self.at(moment);
        let (date, clock, _) = split(moment, &offset);
        format!("{date} {clock} {} {}", signed(offset.seconds, ""), offset.name)
    }

    /// `2026-11-21T09:40:27.022722584Z`, with nine decimals.
    pub(crate) fn rfc3339_fixed(&self, moment: Timestamp) -> String {
        let offset = self.at(moment);
        let (date, clock, nanos) = split(moment, &offset);
        format!("{date}T{clock}.{nanos}{}", zulu(&offset))
    }

    /// `2026-11-21T09:40:27Z`.
    pub(crate) fn rfc3339(&self, moment: Timestamp) -> String {
        let offset = self.at(moment);
        let (date, clock, _) = split(moment, &offset);
        format!("{date}T{clock}{}", zulu(&offset))
    }
}

fn zulu(offset: &Offset) -> String {
    if offset.seconds == 0 { "Z".to_owned() } else { signed(offset.seconds, ":") }
}

fn signed(seconds: i64, between: &str) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.abs() / 60;
    format!("{sign}{:02}{between}{:02}", minutes / 60, minutes % 60)
}

/// Date, clock and nanoseconds of a moment with an offset.
fn split(moment: Timestamp, offset: &Offset) -> (String, String, String) {
    let shifted = Timestamp(moment.0.saturating_add(offset.seconds.saturating_mul(1_000_000_000)));
    let text = shifted.rfc3339_fixed();
    let (date, rest) = text.split_once('T').unwrap_or((&text, ""));
    let (clock, nanos) = rest.trim_end_matches('Z').split_once('.').unwrap_or((rest, "000000000"));
    (date.to_owned(), clock.to_owned(), nanos.to_owned())
}

fn parse(bytes: &[u8]) -> Option<Zone> {
    let count = |at: usize| -> Option<usize> {
        Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize)
    };
    if bytes.get(..4)? != b"TZif" || *bytes.get(4)? < b'2' {
        return None;
    }
    // The first part has 32-bit times, for old readers: skip it.
    let [utc, standard, leap, times, types, names] = counts(count, 0)?;
    let second = HEADER_BYTES + times * 5 + types * 6 + names + leap * 8 + standard + utc;
    let [_, _, _, times, types, names] = counts(count, second)?;
    let mut at = second + HEADER_BYTES;
    let moments = bytes.get(at..at + times * 8)?;
    at += times * 8;
    let indices = bytes.get(at..at + times)?;
    at += times;
    let records = bytes.get(at..at + types * 6)?;
    at += types * 6;
    let text = bytes.get(at..at + names)?;
    let kinds = records
        .chunks_exact(6)
        .map(|record| {
            let seconds = i64::from(i32::from_be_bytes(record[..4].try_into().ok()?));
            let name = text.get(usize::from(record[5])..)?.split(|b| *b == 0).next()?;
            Some(Offset { seconds, name: String::from_utf8_lossy(name).into_owned() })
        })
        .collect::<Option<Vec<_>>>()?;
    let transitions = moments
        .chunks_exact(8)
        .zip(indices)
        .map(|(moment, kind)| Some((i64::from_be_bytes(moment.try_into().ok()?), usize::from(*kind))))
        .collect::<Option<Vec<_>>>()?;
    Some(Zone { transitions, kinds })
}

/// The six counts of a header: ut/local, standard/wall, leap, transitions, types, characters.
fn counts(count: impl Fn(usize) -> Option<usize>, header: usize) -> Option<[usize; 6]> {
    let mut six = [0; 6];
    for (index, slot) in six.iter_mut().enumerate() {
        *slot = count(header + 20 + index * 4)?;
    }
    Some(six)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utc_and_others() {
        let moment = Timestamp::parse("2026-07-01T12:00:00.5Z").unwrap();
        let utc = Zone::default();
        assert_eq!(utc.go_string(moment), "2026-07-01 12:00:00 +0000 UTC");
        assert_eq!(utc.rfc3339_fixed(moment), "2026-07-01T12:00:00.500000000Z");
        let west = Zone { transitions: vec![], kinds: vec![Offset { seconds: -12_600, name: "NST".into() }] };
        assert_eq!(west.rfc3339(moment), "2026-07-01T08:30:00-03:30");
        assert_eq!(west.go_string(moment), "2026-07-01 08:30:00 -0330 NST");
    }

    #[test]
    fn a_zone_file() {
        // One type (+1 h, "CET"), one transition at 0 to a second type (+2 h, "CEST"), in both parts.
        let part = |wide: bool, version: u8| {
            let mut bytes = b"TZif".to_vec();
            bytes.push(version);
            bytes.extend([0; 15]);
            for number in [0u32, 0, 0, 1, 2, 9] {
                bytes.extend(number.to_be_bytes());
            }
            if wide {
                bytes.extend(0i64.to_be_bytes())
            } else {
                bytes.extend(0i32.to_be_bytes())
            }
            bytes.push(1);
            bytes.extend(3600i32.to_be_bytes());
            bytes.extend([0, 0]);
            bytes.extend(7200i32.to_be_bytes());
            bytes.extend([1, 4]);
            bytes.extend(b"CET\0CEST\0");
            bytes
        };
        let zone = parse(&[part(false, b'2'), part(true, b'2'), b"\n\n".to_vec()].concat()).unwrap();
        assert_eq!(zone.at(Timestamp(-1)).name, "CET");
        assert_eq!(zone.at(Timestamp(0)), Offset { seconds: 7200, name: "CEST".into() });
        assert!(parse(b"TZif2 but short").is_none());
    }
}
