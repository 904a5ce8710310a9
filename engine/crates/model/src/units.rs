//! Sizes, CPU shares and durations as people write and read them.
//!
//! Parsing follows Docker's go-units (`RAMInBytes`) and Go's `time.ParseDuration`; printing follows
//! go-units' `HumanSize`, `BytesSize` and `HumanDuration` (<https://github.com/docker/go-units>).

use crate::{Error, Result};
use std::time::Duration;

/// Powers of 1000, as `images` and `ps -s` use them.
const DECIMAL: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
/// Powers of 1024, as `stats` and `info` use them.
const BINARY: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Parses an amount of memory: `1024`, `64m`, `1.5g`, `32KiB`, `2 GB`; units are powers of 1024.
///
/// # Errors
/// `InvalidArgument` in go-units' words, also when the amount does not fit 63 bits.
pub fn parse_bytes(text: &str) -> Result<u64> {
    let invalid = || Error::invalid(format!("invalid size: '{text}'"));
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(split);
    let suffix = rest.strip_prefix(' ').unwrap_or(rest).to_ascii_lowercase();
    let shift = match suffix.as_str() {
        "" if rest.is_empty() => 0,
        "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ if number.is_empty() => return Err(invalid()),
        _ => return Err(Error::invalid(format!("invalid suffix: '{suffix}'"))),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // `.5g` and `1.g` are numbers to Go; a lone dot, two dots and nothing are not.
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(invalid());
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
    // 18 digits of a fraction are finer than a byte of a pebibyte, and fit in 128 bits when scaled.
    let digits = &fraction[..fraction.len().min(18)];
    let scaled = if digits.is_empty() {
        0
    } else {
        let value: u128 = digits.parse().map_err(|_| invalid())?;
        (value << shift) / 10u128.pow(u32::try_from(digits.len()).map_err(|_| invalid())?)
    };
    let bytes = (u128::from(whole) << shift) + scaled;
    i64::try_from(bytes).ok().and_then(|b| u64::try_from(b).ok()).ok_or_else(invalid)
}

/// Parses a number of CPUs (`1.5`) to billionths of a CPU.
///
/// # Errors
/// `InvalidArgument` when it is not a decimal number, is finer than a billionth, or is absurdly large.
pub fn parse_cpus(text: &str) -> Result<u64> {
    let invalid = || Error::invalid(format!("failed to parse {text} as a rational number"));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return Err(invalid());
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 9 {
        return Err(Error::invalid(format!("invalid number of CPUs {text}: value is too precise")));
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
    let nanos: u64 = format!("{fraction:0<9}").parse().map_err(|_| invalid())?;
    whole
        .checked_mul(1_000_000_000)
        .and_then(|n| n.checked_add(nanos))
        .filter(|n| i64::try_from(*n).is_ok())
        .ok_or_else(invalid)
}

/// Parses a duration in Go's form: `1h30m`, `1.5s`, `300ms`, `0`. Negative ones are refused.
///
/// # Errors
/// `InvalidArgument` in Go's words.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let invalid = || Error::invalid(format!("time: invalid duration {text:?}"));
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let nanos: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" => return Err(Error::invalid(format!("time: missing unit in duration {text:?}"))),
            _ => return Err(Error::invalid(format!("time: unknown unit {unit:?} in duration {text:?}"))),
        };
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        total += u128::from(whole) * nanos;
        let digits = &fraction[..fraction.len().min(18)];
        if !digits.is_empty() {
            let value: u128 = digits.parse().map_err(|_| invalid())?;
            total += value * nanos / 10u128.pow(u32::try_from(digits.len()).map_err(|_| invalid())?);
        }
        rest = next;
    }
    // Go's durations are 63 bits of nanoseconds: 292 years.
    i64::try_from(total)
        .ok()
        .and_then(|n| u64::try_from(n).ok())
        .map(Duration::from_nanos)
        .ok_or_else(invalid)
}

/// A size in powers of 1000 with three significant digits: `0B`, `5.2MB`, `117MB`. The form of `images`.
pub fn human_size(bytes: u64) -> String {
    scaled(bytes, 1000, &DECIMAL, 3)
}

/// A size in powers of 1000 with four significant digits (`HumanSize`): `1.234GB`. The form of `pull`.
pub fn human_size_long(bytes: u64) -> String {
    scaled(bytes, 1000, &DECIMAL, 4)
}

/// A size in powers of 1024 with four significant digits (`BytesSize`): `15.55GiB`. The form of `stats`.
pub fn bytes_size(bytes: u64) -> String {
    scaled(bytes, 1024, &BINARY, 4)
}

/// Prints as Go's `%.{digits}g` does, except that what rounds up to the next unit is shown in that unit
/// (`1MB`), where Go would write `1e+03kB`.
#[allow(clippy::cast_precision_loss, reason = "four digits are shown")]
fn scaled(bytes: u64, base: u64, units: &[&str; 7], digits: usize) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    let base = base as f64;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let mut text = significant(value, digits);
    if text.parse().is_ok_and(|shown: f64| shown >= base) && unit + 1 < units.len() {
        unit += 1;
        text = significant(value / base, digits);
    }
    format!("{text}{}", units[unit])
}

/// `digits` significant digits, without trailing zeros of a fraction.
fn significant(value: f64, digits: usize) -> String {
    let integer_digits = if value >= 1000.0 {
        4
    } else if value >= 100.0 {
        3
    } else if value >= 10.0 {
        2
    } else {
        1
    };
    let text = format!("{value:.*}", digits.saturating_sub(integer_digits));
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A duration in words: `Less than a second`, `2 minutes`, `About an hour`, `3 weeks`.
pub fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let minutes = seconds / 60;
    // Hours alone are rounded to the nearest, as go-units does.
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read() {
        for (text, want) in [
            ("0", 0),
            ("1024", 1024),
            ("64m", 64 << 20),
            ("64M", 64 << 20),
            ("64mb", 64 << 20),
            ("64MiB", 64 << 20),
            ("1.5g", 3 << 29),
            ("32KiB", 32 << 10),
            ("2 GB", 2 << 30),
            (".5k", 512),
            ("1.g", 1 << 30),
            ("12b", 12),
            ("1.9", 1),
            ("1p", 1 << 50),
        ] {
            assert_eq!(parse_bytes(text).unwrap(), want, "{text}");
        }
        for bad in [
            "",
            ".",
            "-1",
            "m",
            "1x",
            "1mm",
            "1kbb",
            "1..2m",
            "1 ",
            "1  m",
            "9999999999p",
            "1e3",
            "0x10",
            "1bb",
        ] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_bytes("hello").unwrap_err().to_string(), "invalid size: 'hello'");
        assert_eq!(parse_bytes("5hello").unwrap_err().to_string(), "invalid suffix: 'hello'");
    }

    #[test]
    fn cpus_are_read() {
        for (text, want) in [
            ("1.5", 1_500_000_000),
            ("0", 0),
            (".25", 250_000_000),
            ("2.", 2_000_000_000),
            ("0.000000001", 1),
        ] {
            assert_eq!(parse_cpus(text).unwrap(), want, "{text}");
        }
        for bad in ["", ".", "-1", "1.0000000001", "one", "1,5", "99999999999999999999", "10000000000000"] {
            assert!(parse_cpus(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_read() {
        for (text, nanos) in [
            ("0", 0),
            ("10s", 10_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("300ms", 300_000_000),
            ("1.5s", 1_500_000_000),
            ("+2us", 2_000),
            ("3µs", 3_000),
            (".5h", 1_800_000_000_000),
        ] {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_nanos(nanos), "{text}");
        }
        for bad in ["", "10", "s", "1x", "-5s", "1h30", "1..s", "999999999h", "+"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_duration("10").unwrap_err().to_string(), "time: missing unit in duration \"10\"");
    }

    #[test]
    fn sizes_are_written_as_docker_writes_them() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1023, "1.02kB"),
            (5_200_000, "5.2MB"),
            (116_957_400, "117MB"),
            (999_999, "1MB"),
            (1_234_567_890, "1.23GB"),
            (13_256, "13.3kB"),
        ] {
            assert_eq!(human_size(bytes), text, "{bytes}");
        }
        assert_eq!(human_size_long(1_234_567_890), "1.235GB");
        assert_eq!(bytes_size(16_697_000_000), "15.55GiB");
        assert_eq!(bytes_size(64 << 20), "64MiB");
        assert_eq!(bytes_size(1023), "1023B");
        assert_eq!(human_size(u64::MAX), "18.4EB");
    }

    #[test]
    fn durations_are_written_as_docker_writes_them() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (3600 * 2 - 1801, "About an hour"),
            (3600 * 2, "2 hours"),
            (3600 * 48, "2 days"),
            (86_400 * 14, "2 weeks"),
            (86_400 * 60, "2 months"),
            (86_400 * 730, "2 years"),
        ] {
            assert_eq!(human_duration(Duration::from_secs(seconds)), text, "{seconds}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,30}", bytes: u64, nanos: u64) {
            let _ = (parse_bytes(&text), parse_cpus(&text), parse_duration(&text));
            let _ = (human_size(bytes), human_size_long(bytes), bytes_size(bytes));
            let _ = human_duration(Duration::from_nanos(nanos));
        }

        #[test]
        fn numbers_with_units_never_panic(text in "[0-9]{0,25}[.]?[0-9]{0,25}(k|mb|GiB|p|s|h|ns)?") {
            let _ = (parse_bytes(&text), parse_cpus(&text), parse_duration(&text));
        }
    }
}
