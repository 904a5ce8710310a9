//! Messages in the journal's native protocol: a datagram of fields, `NAME=value` or, for values with newlines,
//! the name, the length and the bytes.

use super::Stream;
use std::collections::BTreeMap;

/// Where the journal listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// The fields that all messages of a container have.
#[derive(Debug)]
pub(super) struct JournalEncoder {
    fields: Vec<u8>,
}

impl JournalEncoder {
    pub(super) fn new(fields: &[(&str, &str)], attributes: &BTreeMap<String, String>) -> Self {
        let mut bytes = Vec::new();
        for (name, value) in fields {
            push(&mut bytes, name, value.as_bytes());
        }
        for (name, value) in attributes {
            if let Some(name) = field_name(name) {
                push(&mut bytes, &name, value.as_bytes());
            }
        }
        Self { fields: bytes }
    }

    /// One message.
    pub(super) fn encode(&self, stream: Stream, line: &[u8], partial: bool) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.fields.len() + line.len() + 48);
        push(&mut bytes, "MESSAGE", line);
        push(&mut bytes, "PRIORITY", if stream == Stream::Stderr { b"3" } else { b"6" });
        if partial {
            push(&mut bytes, "CONTAINER_PARTIAL_MESSAGE", b"true");
        }
        bytes.extend_from_slice(&self.fields);
        bytes
    }
}

/// Docker's rule: capitals, digits and underscores; what it is not becomes one; none at the beginning.
fn field_name(name: &str) -> Option<String> {
    let clean: String = name
        .to_ascii_uppercase()
        .chars()
        .map(|c| if c.is_ascii_uppercase() || c.is_ascii_digit() { c } else { '_' })
        .collect();
    let clean = clean.trim_start_matches('_');
    (!clean.is_empty()).then(|| clean.to_owned())
}

fn push(bytes: &mut Vec<u8>, name: &str, value: &[u8]) {
    bytes.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        bytes.push(b'\n');
        bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        bytes.push(b'=');
    }
    bytes.extend_from_slice(value);
    bytes.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let attributes = BTreeMap::from([("com.example".to_owned(), "a\nb".to_owned())]);
        let encoder = JournalEncoder::new(&[("CONTAINER_NAME", "box")], &attributes);
        let message = encoder.encode(Stream::Stderr, b"hello", false);
        let want = b"MESSAGE=hello\nPRIORITY=3\nCONTAINER_NAME=box\nCOM_EXAMPLE\n\x03\0\0\0\0\0\0\0a\nb\n";
        assert_eq!(message, want);
        assert_eq!(field_name("_.x-1").as_deref(), Some("X_1"));
        assert_eq!(field_name("__"), None);
    }
}
