//! Syslog messages, as Docker's driver writes them (srslog): RFC 3164, RFC 5424, or for the local daemon.

use super::Stream;
use dhow_model::Timestamp;
use dhow_model::log::{SyslogConfig, SyslogFormat};
use std::io::Write;

/// What all messages of a container have in common.
#[derive(Debug)]
pub(super) struct SyslogEncoder {
    pub(super) facility: u8,
    pub(super) format: SyslogFormat,
    pub(super) tag: String,
    pub(super) hostname: String,
    /// The monitor's.
    pub(super) pid: u32,
}

/// Severity: what goes to standard error is an error, the rest is information.
fn severity(stream: Stream) -> u8 {
    match stream {
        Stream::Stdout => 6,
        Stream::Stderr => 3,
    }
}

impl SyslogEncoder {
    pub(super) fn new(config: &SyslogConfig, tag: &str, hostname: &str) -> Self {
        Self {
            facility: config.facility,
            format: config.format,
            tag: tag.to_owned(),
            hostname: hostname.to_owned(),
            pid: std::process::id(),
        }
    }

    /// One message, with the newline that tells messages on a stream apart. `offset_seconds`: how far local time
    /// is ahead.
    pub(super) fn encode(
        &self,
        stream: Stream,
        time: Timestamp,
        offset_seconds: i64,
        line: &[u8],
    ) -> Vec<u8> {
        let priority = self.facility * 8 + severity(stream);
        let Self { tag, hostname, pid, .. } = self;
        let mut message = Vec::with_capacity(line.len() + 64 + tag.len());
        let head = match self.format {
            SyslogFormat::Unix => format!("<{priority}>{} {tag}[{pid}]: ", stamp(time, offset_seconds)),
            SyslogFormat::Rfc3164 => {
                format!("<{priority}>{} {hostname} {tag}[{pid}]: ", stamp(time, offset_seconds))
            }
            SyslogFormat::Rfc5424 | SyslogFormat::Rfc5424Micro => {
                let micro = self.format == SyslogFormat::Rfc5424Micro;
                format!(
                    "<{priority}>1 {} {hostname} {tag} {pid} {tag} - ",
                    rfc3339(time, offset_seconds, micro)
                )
            }
        };
        // Writing to memory does not fail.
        let _ = message.write_all(head.as_bytes());
        message.extend_from_slice(line);
        message.push(b'\n');
        message
    }
}

/// Local time as UTC, for taking it apart.
fn shifted(time: Timestamp, offset_seconds: i64) -> String {
    Timestamp(time.0.saturating_add(offset_seconds.saturating_mul(1_000_000_000))).rfc3339_fixed()
}

/// `Jan _2 15:04:05`.
fn stamp(time: Timestamp, offset_seconds: i64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    // 2026-01-02T03:04:05.000000000Z
    let text = shifted(time, offset_seconds);
    let number = |range: std::ops::Range<usize>| text.get(range).and_then(|t| t.parse::<usize>().ok());
    let month = number(5..7).and_then(|m| MONTHS.get(m.wrapping_sub(1))).unwrap_or(&"Jan");
    format!("{month} {:>2} {}", number(8..10).unwrap_or(1), text.get(11..19).unwrap_or("00:00:00"))
}

fn rfc3339(time: Timestamp, offset_seconds: i64, micro: bool) -> String {
    let text = shifted(time, offset_seconds);
    let end = if micro { 26 } else { 19 };
    let clock = text.get(..end).unwrap_or(&text);
    if offset_seconds == 0 {
        return format!("{clock}Z");
    }
    let (sign, minutes) = (if offset_seconds < 0 { '-' } else { '+' }, offset_seconds.abs() / 60);
    format!("{clock}{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let time = Timestamp::parse("2026-01-02T03:04:05.678901234Z").unwrap();
        let text = |format, stream, offset| {
            let encoder =
                SyslogEncoder { facility: 3, format, tag: "box".into(), hostname: "h".into(), pid: 7 };
            String::from_utf8(encoder.encode(stream, time, offset, b"hello")).unwrap()
        };
        use SyslogFormat as F;
        assert_eq!(text(F::Unix, Stream::Stdout, 0), "<30>Jan  2 03:04:05 box[7]: hello\n");
        assert_eq!(text(F::Rfc3164, Stream::Stderr, 3600), "<27>Jan  2 04:04:05 h box[7]: hello\n");
        assert_eq!(text(F::Rfc5424, Stream::Stdout, 0), "<30>1 2026-01-02T03:04:05Z h box 7 box - hello\n");
        assert_eq!(
            text(F::Rfc5424Micro, Stream::Stdout, -5400),
            "<30>1 2026-01-02T01:34:05.678901-01:30 h box 7 box - hello\n"
        );
    }
}
