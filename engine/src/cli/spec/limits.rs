//! Amounts: memory, rates of devices, resource limits.

use bollard::models::{ResourcesUlimits, ThrottleDevice};
use dhow_model::units;

/// A number of bytes, as the API takes it.
pub(crate) fn parse_bytes(text: &str) -> Result<i64, String> {
    let bytes = units::parse_bytes(text).map_err(|e| e.to_string())?;
    i64::try_from(bytes).map_err(|_| format!("invalid size: '{text}'"))
}

/// A number of bytes, or -1 for no limit.
pub(crate) fn parse_swap_bytes(text: &str) -> Result<i64, String> {
    if text == "-1" { Ok(-1) } else { parse_bytes(text) }
}

/// What a device may do in a second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rate {
    path: String,
    rate: i64,
}

impl From<Rate> for ThrottleDevice {
    fn from(rate: Rate) -> Self {
        Self { path: Some(rate.path), rate: Some(rate.rate) }
    }
}

fn split_device(text: &str) -> Result<(&str, &str), String> {
    let (path, amount) = text.split_once(':').ok_or_else(|| format!("bad format: {text}"))?;
    if amount.is_empty() || path.is_empty() {
        return Err(format!("bad format: {text}"));
    }
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    Ok((path, amount))
}

/// `/dev/sda:1mb`.
pub(crate) fn parse_bytes_rate(text: &str) -> Result<Rate, String> {
    let (path, amount) = split_device(text)?;
    let rate = parse_bytes(amount).map_err(|_| {
        format!("invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb")
    })?;
    Ok(Rate { path: path.to_owned(), rate })
}

/// `/dev/sda:1000`.
pub(crate) fn parse_count_rate(text: &str) -> Result<Rate, String> {
    let (path, amount) = split_device(text)?;
    let rate = amount.parse::<i64>().ok().filter(|n| *n >= 0).ok_or_else(|| {
        format!("invalid rate for device: {text}. The correct format is <device-path>:<number>. Number must be a positive integer")
    })?;
    Ok(Rate { path: path.to_owned(), rate })
}

/// `/dev/sda:500`.
pub(crate) fn parse_weight_device(text: &str) -> Result<(String, usize), String> {
    let (path, amount) = split_device(text)?;
    let weight = amount.parse::<usize>().map_err(|_| format!("invalid weight for device: {text}"))?;
    if weight != 0 && !(10..=1000).contains(&weight) {
        return Err(format!("invalid weight for device: {text}"));
    }
    Ok((path.to_owned(), weight))
}

/// The limits that Linux has (getrlimit(2)), as Docker names them.
const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// `nofile=1024:2048`, `core=-1`.
pub(crate) fn parse_ulimit(text: &str) -> Result<ResourcesUlimits, String> {
    let (name, values) = text.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !ULIMITS.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let number = |value: &str| match value.parse::<i64>() {
        Ok(number) if number >= -1 => Ok(number),
        _ => Err(format!("strconv.ParseInt: parsing {value:?}: invalid syntax")),
    };
    let parts: Vec<&str> = values.split(':').collect();
    let (soft, hard) = match parts.as_slice() {
        [both] => (number(both)?, number(both)?),
        [soft, hard] => (number(soft)?, number(hard)?),
        _ => {
            return Err(format!(
                "too many limit value arguments - {values}, can only have up to two, `soft[:hard]`"
            ));
        }
    };
    if hard != -1 && soft == -1 {
        return Err(format!(
            "ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: {hard}"
        ));
    }
    if hard != -1 && soft > hard {
        return Err(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"));
    }
    Ok(ResourcesUlimits { name: Some(name.to_owned()), soft: Some(soft), hard: Some(hard) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulimits() {
        let both = |text: &str| parse_ulimit(text).map(|u| (u.soft.unwrap(), u.hard.unwrap()));
        assert_eq!(both("nofile=1024"), Ok((1024, 1024)));
        assert_eq!(both("nofile=1:2"), Ok((1, 2)));
        assert_eq!(both("core=-1"), Ok((-1, -1)));
        assert_eq!(both("core=0:-1"), Ok((0, -1)));
        for bad in [
            "abc",
            "bogus=1",
            "nofile=",
            "nofile=2:1",
            "nofile=1:2:3",
            "nofile=x",
            "nofile=-2",
            "nofile=-1:5",
        ] {
            assert!(parse_ulimit(bad).is_err(), "{bad}");
        }
        assert_eq!(both("abc").unwrap_err(), "invalid ulimit argument: abc");
    }

    #[test]
    fn rates() {
        assert_eq!(parse_bytes_rate("/dev/sda:1mb").unwrap().rate, 1 << 20);
        assert_eq!(parse_count_rate("/dev/sda:30").unwrap().rate, 30);
        assert_eq!(parse_weight_device("/dev/sda:500"), Ok(("/dev/sda".to_owned(), 500)));
        for bad in ["x", "sda:1", "/dev/sda:", "/dev/sda:-1", "/dev/sda:1x"] {
            assert!(parse_bytes_rate(bad).is_err() && parse_count_rate(bad).is_err(), "{bad}");
        }
        assert!(parse_weight_device("/dev/sda:5").is_err());
    }

    #[test]
    fn amounts() {
        assert_eq!(parse_bytes("64m"), Ok(64 << 20));
        assert_eq!(parse_bytes("abc"), Err("invalid size: 'abc'".into()));
        assert_eq!(parse_swap_bytes("-1"), Ok(-1));
        assert!(parse_swap_bytes("-2").is_err());
    }
}
