//! Where a container's output goes: the log drivers and their options, read once and checked.

use crate::units::parse_bytes;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a container's output goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// Who keeps it.
    pub driver: LogDriver,
    /// A file is rotated when the next line would make it larger than this.
    pub max_size_bytes: u64,
    /// How many files are kept, the current one included. At least 1.
    pub max_files: u32,
    /// Files are compressed when they are rotated.
    #[serde(default)]
    pub compress: bool,
    /// `mode=non-blocking`: rather lose lines than hold up the container; so many bytes wait at most.
    #[serde(default)]
    pub non_blocking: Option<u64>,
    /// Labels that every entry carries.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Variables that every entry carries.
    #[serde(default)]
    pub env: Vec<String>,
    /// Labels that match this are carried too; empty: none.
    #[serde(default)]
    pub labels_regex: String,
    /// Variables that match this are carried too; empty: none.
    #[serde(default)]
    pub env_regex: String,
    /// How the container is called in the log, with `{{.Name}}` and the like; empty: the driver's default.
    #[serde(default)]
    pub tag: String,
    /// For the driver `syslog`.
    #[serde(default)]
    pub syslog: Option<SyslogConfig>,
    /// What is kept here beside what a driver sends away, so that `logs` works; `None` where the driver keeps
    /// everything itself, or `cache-disabled=true`.
    #[serde(default)]
    pub cache: Option<LogCache>,
    /// The options as typed, for `inspect`.
    pub options: BTreeMap<String, String>,
}

/// The files beside a driver that keeps none: Docker's dual logging.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogCache {
    /// As [`LogConfig::max_size_bytes`].
    pub max_size_bytes: u64,
    /// As [`LogConfig::max_files`].
    pub max_files: u32,
    /// As [`LogConfig::compress`].
    pub compress: bool,
}

/// A log as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogRequest {
    /// `None`: the engine's default.
    pub driver: Option<String>,
    /// Options as typed.
    pub options: BTreeMap<String, String>,
}

/// The log drivers that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// One JSON object a line, as Docker writes it.
    JsonFile,
    /// Nothing is kept.
    None,
    /// Files of the engine's own, compressed when they are rotated.
    Local,
    /// A syslog daemon, here or elsewhere.
    Syslog,
    /// systemd's journal.
    Journald,
}

impl LogDriver {
    /// All of them.
    pub const ALL: [LogDriver; 5] = [Self::JsonFile, Self::Local, Self::None, Self::Syslog, Self::Journald];

    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JsonFile => "json-file",
            Self::None => "none",
            Self::Local => "local",
            Self::Syslog => "syslog",
            Self::Journald => "journald",
        }
    }

    /// Whether it writes files of the engine's own.
    fn keeps(self) -> bool {
        matches!(self, Self::JsonFile | Self::Local)
    }
}

/// Where syslog listens, and what it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyslogConfig {
    /// Where.
    pub address: SyslogAddress,
    /// `daemon`: 3.
    pub facility: u8,
    /// How a message is written.
    pub format: SyslogFormat,
}

/// Where syslog listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyslogAddress {
    /// A unix socket; `/dev/log` if nothing is said. Datagrams are tried first unless it must be a stream.
    Unix {
        /// Its path.
        path: String,
        /// Only datagrams: `unixgram://`.
        datagram: bool,
    },
    /// `udp://host:port`.
    Udp(String),
    /// `tcp://host:port`.
    Tcp(String),
}

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SyslogFormat {
    /// For a daemon of this machine: no host name.
    #[default]
    Unix,
    /// `rfc3164`.
    Rfc3164,
    /// `rfc5424`.
    Rfc5424,
    /// `rfc5424micro`: with microseconds.
    Rfc5424Micro,
}

/// 20 MiB: small enough that five of them never fill a disk, large enough to hold a day of a chatty server.
pub const LOG_MAX_SIZE_BYTES: u64 = 20 << 20;
/// Five files, the current one included.
pub const LOG_MAX_FILES: u32 = 5;
/// What waits in non-blocking mode if nothing is said: Docker's 1 MiB.
const BUFFER_BYTES: u64 = 1 << 20;

impl Default for LogConfig {
    fn default() -> Self {
        Self::of(LogDriver::JsonFile)
    }
}

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "",
    "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

impl LogConfig {
    /// A driver without options.
    fn of(driver: LogDriver) -> Self {
        Self {
            driver,
            max_size_bytes: LOG_MAX_SIZE_BYTES,
            max_files: LOG_MAX_FILES,
            compress: driver == LogDriver::Local,
            non_blocking: None,
            labels: Vec::new(),
            env: Vec::new(),
            labels_regex: String::new(),
            env_regex: String::new(),
            tag: String::new(),
            syslog: (driver == LogDriver::Syslog).then(|| SyslogConfig {
                address: SyslogAddress::Unix { path: "/dev/log".to_owned(), datagram: false },
                facility: 3,
                format: SyslogFormat::Unix,
            }),
            cache: matches!(driver, LogDriver::Syslog | LogDriver::Journald).then_some(LogCache {
                max_size_bytes: LOG_MAX_SIZE_BYTES,
                max_files: LOG_MAX_FILES,
                compress: true,
            }),
            options: BTreeMap::new(),
        }
    }

    /// Whether what was written can be read back.
    pub fn keeps(&self) -> bool {
        self.driver.keeps() || self.cache.is_some()
    }

    /// The files that are written: the driver's own, or those beside it.
    #[must_use]
    pub fn files(&self) -> Self {
        match &self.cache {
            None => self.clone(),
            Some(cache) => Self {
                max_size_bytes: cache.max_size_bytes,
                max_files: cache.max_files,
                compress: cache.compress,
                ..Self::of(LogDriver::Local)
            },
        }
    }

    /// Reads a driver's name and its options.
    ///
    /// # Errors
    /// `InvalidArgument` in Docker's words; `Unsupported` for what Docker has and dhow has not.
    pub fn parse(driver: &str, options: BTreeMap<String, String>) -> Result<Self> {
        let found = LogDriver::ALL.into_iter().find(|known| known.as_str() == driver);
        let Some(driver) = found else {
            let others = ["awslogs", "etwlogs", "fluentd", "gcplogs", "gelf", "splunk"];
            return Err(match others.contains(&driver) {
                true => Error::unsupported(format!(
                    "not supported by dhow: --log-driver {driver:?} (json-file, local, none, syslog and journald are)"
                )),
                false => Error::not_found(format!(
                    "error looking up logging plugin {driver}: plugin {driver:?} not found"
                )),
            });
        };
        let mut log = Self::of(driver);
        let mut buffer = None;
        for (option, value) in &options {
            if option == "mode" || option == "max-buffer-size" || option == "cache-disabled" {
                continue;
            }
            if !log.take_cache_option(option, value)?
                && !log.take_file_option(option, value)?
                && !log.take_other_option(option, value)?
            {
                return Err(Error::invalid(format!(
                    "unknown log opt '{option}' for {} log driver",
                    driver.as_str()
                )));
            }
        }
        if let Some(value) = options.get("cache-disabled") {
            let disabled: bool =
                value.parse().map_err(|_| bad("cache-disabled", value, "want true or false"))?;
            log.cache = log.cache.filter(|_| !disabled);
        }
        if let Some(size) = options.get("max-buffer-size") {
            let bytes = parse_bytes(size).map_err(|error| bad("max-buffer-size", size, error.message()))?;
            if bytes == 0 {
                return Err(bad("max-buffer-size", size, "must be a positive number"));
            }
            buffer = Some(bytes);
        }
        match options.get("mode").map(String::as_str) {
            None | Some("" | "blocking") if buffer.is_some() => {
                return Err(Error::invalid(
                    "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
                ));
            }
            None | Some("" | "blocking") => {}
            Some("non-blocking") => log.non_blocking = Some(buffer.unwrap_or(BUFFER_BYTES)),
            Some(mode) => {
                return Err(Error::invalid(format!("logger: logging mode not supported: {mode}")));
            }
        }
        if options.get("compress").map(String::as_str) == Some("true") && log.max_files < 2 {
            return Err(Error::invalid("compress cannot be true when max-file is less than 2"));
        }
        log.options = options;
        Ok(log)
    }

    /// Options of the drivers that write files; false when it is none.
    fn take_file_option(&mut self, option: &str, value: &str) -> Result<bool> {
        if !self.driver.keeps() {
            return Ok(false);
        }
        match option {
            "max-size" => self.max_size_bytes = parse_max_size(option, value)?,
            "max-file" => self.max_files = parse_max_files(option, value)?,
            "compress" => self.compress = parse_compress(option, value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Options of the files beside a driver that keeps none. Docker takes them with every driver, and they say
    /// nothing where there are no such files; false when it is none.
    fn take_cache_option(&mut self, option: &str, value: &str) -> Result<bool> {
        let mut nowhere = LogCache { max_size_bytes: 0, max_files: 0, compress: false };
        let cache = self.cache.as_mut().unwrap_or(&mut nowhere);
        match option {
            "cache-max-size" => cache.max_size_bytes = parse_max_size(option, value)?,
            "cache-max-file" => cache.max_files = parse_max_files(option, value)?,
            "cache-compress" => cache.compress = parse_compress(option, value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What the others take; false when it is none.
    fn take_other_option(&mut self, option: &str, value: &str) -> Result<bool> {
        let words = || value.split(',').map(str::trim).filter(|w| !w.is_empty()).map(str::to_owned).collect();
        let carries = matches!(self.driver, LogDriver::JsonFile | LogDriver::Syslog | LogDriver::Journald);
        match option {
            "labels" if carries => self.labels = words(),
            "env" if carries => self.env = words(),
            "labels-regex" if carries => value.clone_into(&mut self.labels_regex),
            "env-regex" if carries => value.clone_into(&mut self.env_regex),
            "tag" if carries => {
                render_tag(value, |_| Some(String::new()))?;
                value.clone_into(&mut self.tag);
            }
            _ => {
                let Some(syslog) = &mut self.syslog else { return Ok(false) };
                return syslog.take(option, value);
            }
        }
        Ok(true)
    }
}

impl SyslogConfig {
    fn take(&mut self, option: &str, value: &str) -> Result<bool> {
        match option {
            "syslog-address" => self.address = parse_address(value)?,
            "syslog-facility" => {
                let number = match value.parse::<u8>() {
                    Ok(number) if number <= 23 => Some(number),
                    Ok(_) => None,
                    Err(_) => FACILITIES
                        .iter()
                        .position(|name| !name.is_empty() && *name == value)
                        .and_then(|index| u8::try_from(index).ok()),
                };
                self.facility = number.ok_or_else(|| Error::invalid("invalid syslog facility"))?;
            }
            "syslog-format" => {
                self.format = match value {
                    "" => SyslogFormat::Unix,
                    "rfc3164" => SyslogFormat::Rfc3164,
                    "rfc5424" => SyslogFormat::Rfc5424,
                    "rfc5424micro" => SyslogFormat::Rfc5424Micro,
                    _ => return Err(Error::invalid("Invalid syslog format")),
                };
            }
            "syslog-tls-ca-cert" | "syslog-tls-cert" | "syslog-tls-key" | "syslog-tls-skip-verify" => {
                return Err(Error::unsupported(format!("not supported by dhow: --log-opt {option}")));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn parse_max_size(option: &str, value: &str) -> Result<u64> {
    if value == "-1" {
        return Ok(u64::MAX >> 1);
    }
    let bytes = parse_bytes(value).map_err(|error| bad(option, value, error.message()))?;
    if bytes == 0 {
        return Err(bad(option, value, "must be a positive number"));
    }
    Ok(bytes)
}

fn parse_max_files(option: &str, value: &str) -> Result<u32> {
    let files = value.parse().ok().filter(|n| *n >= 1);
    files.ok_or_else(|| bad(option, value, &format!("{option} cannot be less than 1")))
}

fn parse_compress(option: &str, value: &str) -> Result<bool> {
    value.parse().map_err(|_| bad(option, value, "want true or false"))
}

fn bad(option: &str, value: &str, why: &str) -> Error {
    Error::invalid(format!("invalid log opt {option}={value}: {why}"))
}

fn parse_address(text: &str) -> Result<SyslogAddress> {
    let unknown = || Error::invalid(format!("syslog-address should be in form proto://address, got {text}"));
    let (scheme, rest) = text.split_once("://").ok_or_else(unknown)?;
    let host_port = |default: &str| -> Result<String> {
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (rest, default),
        };
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(unknown());
        }
        Ok(format!("{host}:{port}"))
    };
    match scheme {
        "unix" | "unixgram" if rest.starts_with('/') => {
            Ok(SyslogAddress::Unix { path: rest.to_owned(), datagram: scheme == "unixgram" })
        }
        "udp" => Ok(SyslogAddress::Udp(host_port("514")?)),
        "tcp" => Ok(SyslogAddress::Tcp(host_port("514")?)),
        "tcp+tls" => Err(Error::unsupported(
            "not supported by dhow: a syslog-address of tcp+tls://; give a daemon of this machine, which forwards by TLS",
        )),
        _ => Err(unknown()),
    }
}

/// Fills a tag's `{{.Field}}`s.
///
/// # Errors
/// `InvalidArgument` for a field that there is not, and for any other template.
pub fn render_tag(template: &str, field: impl Fn(&str) -> Option<String>) -> Result<String> {
    let known = ["ID", "FullID", "Name", "ImageID", "ImageFullID", "ImageName", "DaemonName"];
    let invalid = |why: String| Error::invalid(format!("invalid log tag {template:?}: {why}"));
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (inside, after) = after.split_once("}}").ok_or_else(|| invalid("}} is missing".to_owned()))?;
        let name = inside.trim().strip_prefix('.').filter(|name| known.contains(name));
        let value = name.and_then(&field).ok_or_else(|| {
            invalid(format!(
                "{{{{{inside}}}}} is none of {}",
                known.map(|name| format!(".{name}")).join(", ")
            ))
        })?;
        text.push_str(before);
        text.push_str(&value);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(driver: &str, options: &[(&str, &str)]) -> Result<LogConfig> {
        let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        LogConfig::parse(driver, options)
    }

    #[test]
    fn drivers_and_their_options() {
        let log =
            parsed("json-file", &[("max-size", "10m"), ("max-file", "3"), ("compress", "true")]).unwrap();
        assert_eq!((log.max_size_bytes, log.max_files, log.compress), (10 << 20, 3, true));
        assert!(parsed("local", &[]).unwrap().compress);
        let log = parsed("syslog", &[("syslog-address", "udp://127.0.0.1"), ("tag", "x/{{.Name}}")]).unwrap();
        let syslog = log.syslog.unwrap();
        assert_eq!(syslog.address, SyslogAddress::Udp("127.0.0.1:514".to_owned()));
        assert_eq!((syslog.facility, log.tag.as_str()), (3, "x/{{.Name}}"));
        let log =
            parsed("syslog", &[("syslog-facility", "local7"), ("syslog-format", "rfc5424micro")]).unwrap();
        let syslog = log.syslog.unwrap();
        assert_eq!((syslog.facility, syslog.format), (23, SyslogFormat::Rfc5424Micro));
        let log = parsed("json-file", &[("mode", "non-blocking"), ("labels", "a, b")]).unwrap();
        assert_eq!((log.non_blocking, log.labels.len()), (Some(1 << 20), 2));
        let log = parsed("syslog", &[("mode", "non-blocking"), ("max-buffer-size", "4k")]).unwrap();
        assert_eq!(log.non_blocking, Some(4096));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (driver, options, words) in [
            ("json-file", &[("bogus", "1")][..], "unknown log opt 'bogus' for json-file log driver"),
            ("local", &[("tag", "x")], "unknown log opt 'tag' for local log driver"),
            ("none", &[("max-size", "1m")], "unknown log opt 'max-size' for none log driver"),
            ("json-file", &[("syslog-address", "x")], "unknown log opt 'syslog-address'"),
            ("json-file", &[("max-file", "1"), ("compress", "true")], "max-file is less than 2"),
            ("json-file", &[("mode", "odd")], "logging mode not supported: odd"),
            ("json-file", &[("max-buffer-size", "1m")], "only supported with 'mode=non-blocking'"),
            ("json-file", &[("tag", "{{.Odd}}")], "{{.Odd}} is none of .ID"),
            ("json-file", &[("tag", "{{.ID")], "}} is missing"),
            ("local", &[("env-regex", "x")], "unknown log opt 'env-regex' for local log driver"),
            ("syslog", &[("syslog-address", "tcp+tls://h:1")], "give a daemon of this machine"),
            ("syslog", &[("syslog-address", "/dev/log")], "in form proto://address"),
            ("syslog", &[("syslog-address", "udp://:1")], "in form proto://address"),
            ("syslog", &[("syslog-facility", "odd")], "invalid syslog facility"),
            ("syslog", &[("syslog-format", "odd")], "Invalid syslog format"),
            ("gelf", &[], "--log-driver \"gelf\""),
            ("odd", &[], "error looking up logging plugin odd"),
        ] {
            let message = parsed(driver, options).unwrap_err().to_string();
            assert!(message.contains(words), "{driver} {options:?}: {message}");
        }
    }

    #[test]
    fn tags() {
        let field = |name: &str| Some(format!("<{name}>"));
        assert_eq!(render_tag("a/{{.Name}}/{{ .ID }}", field).unwrap(), "a/<Name>/<ID>");
        assert_eq!(render_tag("plain", field).unwrap(), "plain");
    }
}
