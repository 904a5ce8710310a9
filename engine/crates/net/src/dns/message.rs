//! DNS messages (RFC 1035): one question is read, answers are written. Everything read is a container's or a
//! stranger's: nothing is trusted, nothing loops.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const TYPE_A: u16 = 1;
pub(super) const TYPE_PTR: u16 = 12;
pub(super) const TYPE_AAAA: u16 = 28;
pub(super) const CLASS_IN: u16 = 1;
/// Codes of an answer.
pub(super) const RESOLVED: u8 = 0;
pub(super) const SERVER_FAILED: u8 = 2;
pub(super) const REFUSED: u8 = 5;

const HEADER: usize = 12;
/// Bits of the two flag bytes: answer, recursion desired (kept), recursion available.
const IS_ANSWER: u8 = 0x80;
const RECURSION_DESIRED: u8 = 0x01;
const RECURSION_AVAILABLE: u8 = 0x80;
/// Answers of ours that fit into every datagram; more addresses than these are left out.
const ADDRESSES_MAX: usize = 16;

/// The question of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// Without the last dot, in lower case.
    pub(super) name: String,
    pub(super) kind: u16,
    pub(super) class: u16,
    /// Where the question ends in the message.
    end: usize,
}

impl Question {
    /// Reads a message with one question; `None` when it is something else.
    pub(super) fn parse(message: &[u8]) -> Option<Self> {
        let header = message.get(..HEADER)?;
        let is_query = header[2] & IS_ANSWER == 0 && header[2] & 0x78 == 0;
        if !is_query || header[4..6] != [0, 1] {
            return None;
        }
        let mut at = HEADER;
        let mut name = String::new();
        loop {
            let length = usize::from(*message.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            // A question has no compressed names: nothing stands before it.
            if length > 63 || name.len() + length > 254 {
                return None;
            }
            let label = message.get(at..at + length)?;
            if !name.is_empty() {
                name.push('.');
            }
            name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
            at += length;
        }
        let word = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
        Some(Self { name, kind: word(at)?, class: word(at + 2)?, end: at + 4 })
    }

    /// The address that `2.0.0.10.in-addr.arpa` stands for.
    pub(super) fn reversed_address(&self) -> Option<IpAddr> {
        if let Some(text) = self.name.strip_suffix(".in-addr.arpa") {
            let mut octets = [0; 4];
            let mut parts = text.split('.');
            for octet in octets.iter_mut().rev() {
                *octet = parts.next()?.parse().ok()?;
            }
            return parts.next().is_none().then(|| IpAddr::V4(Ipv4Addr::from(octets)));
        }
        let text = self.name.strip_suffix(".ip6.arpa")?;
        let mut number = 0u128;
        let mut parts = text.split('.');
        for place in 0..32 {
            let digit = parts.next().filter(|p| p.len() == 1)?;
            number |= u128::from(u8::from_str_radix(digit, 16).ok()?) << (4 * place);
        }
        parts.next().is_none().then(|| IpAddr::V6(Ipv6Addr::from(number)))
    }
}

/// The head of an answer: the question again, with a code and a number of records.
fn head(message: &[u8], question: &Question, code: u8, records: u16) -> Vec<u8> {
    let mut answer = message[..question.end].to_vec();
    answer[2] = IS_ANSWER | (message[2] & RECURSION_DESIRED);
    answer[3] = RECURSION_AVAILABLE | code;
    answer[6..8].copy_from_slice(&records.to_be_bytes());
    answer[8..12].fill(0);
    answer
}

/// An answer without records.
pub(super) fn failure(message: &[u8], question: &Question, code: u8) -> Vec<u8> {
    head(message, question, code, 0)
}

fn record(answer: &mut Vec<u8>, kind: u16, seconds: u32, data: &[u8]) {
    // The name is that of the question, which stands right behind the header.
    answer.extend_from_slice(&[0xc0, 12]);
    answer.extend_from_slice(&kind.to_be_bytes());
    answer.extend_from_slice(&CLASS_IN.to_be_bytes());
    answer.extend_from_slice(&seconds.to_be_bytes());
    answer.extend_from_slice(&u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes());
    answer.extend_from_slice(data);
}

/// The addresses behind a name.
pub(super) fn addresses(message: &[u8], question: &Question, found: &[IpAddr], seconds: u32) -> Vec<u8> {
    let found = &found[..found.len().min(ADDRESSES_MAX)];
    let count = u16::try_from(found.len()).unwrap_or(0);
    let mut answer = head(message, question, RESOLVED, count);
    for address in found {
        match address {
            IpAddr::V4(v4) => record(&mut answer, TYPE_A, seconds, &v4.octets()),
            IpAddr::V6(v6) => record(&mut answer, TYPE_AAAA, seconds, &v6.octets()),
        }
    }
    answer
}

/// The name behind an address.
pub(super) fn pointer(message: &[u8], question: &Question, name: &str, seconds: u32) -> Vec<u8> {
    let mut data = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty() && label.len() < 64) {
        data.push(u8::try_from(label.len()).unwrap_or(0));
        data.extend_from_slice(label.as_bytes());
    }
    data.push(0);
    let mut answer = head(message, question, RESOLVED, 1);
    record(&mut answer, TYPE_PTR, seconds, &data);
    answer
}

/// Whether a message answers a question: the same number, the same words.
pub(super) fn answers(answer: &[u8], question: &[u8]) -> bool {
    let (Some(head), Some(asked)) = (answer.get(..HEADER), Question::parse(question)) else { return false };
    if head[2] & IS_ANSWER == 0 || head[..2] != question[..2] {
        return false;
    }
    // Some servers leave the question out when they refuse.
    head[4..6] == [0, 0]
        || answer
            .get(HEADER..asked.end)
            .is_some_and(|words| words.eq_ignore_ascii_case(&question[HEADER..asked.end]))
}

/// An answer under the number of the question.
pub(super) fn with_id_of(mut answer: Vec<u8>, question: &[u8]) -> Vec<u8> {
    if let (Some(to), Some(from)) = (answer.get_mut(..2), question.get(..2)) {
        to.copy_from_slice(from);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend_from_slice(label.as_bytes());
        }
        message.push(0);
        message.extend_from_slice(&kind.to_be_bytes());
        message.extend_from_slice(&CLASS_IN.to_be_bytes());
        message
    }

    #[test]
    fn questions_are_read() {
        let question = Question::parse(&query("Web.Example", TYPE_AAAA)).unwrap();
        assert_eq!((question.name.as_str(), question.kind), ("web.example", TYPE_AAAA));
        let reversed = |name: &str| Question::parse(&query(name, TYPE_PTR)).unwrap().reversed_address();
        assert_eq!(reversed("2.0.0.10.in-addr.arpa"), Some("10.0.0.2".parse().unwrap()));
        let v6 = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
        assert_eq!(reversed(v6), Some("fd00::2".parse().unwrap()));
        for odd in ["0.0.10.in-addr.arpa", "1.2.3.4.5.in-addr.arpa", "x.ip6.arpa", "a.b"] {
            assert_eq!(reversed(odd), None, "{odd}");
        }
    }

    #[test]
    fn answers_repeat_the_question() {
        let message = query("web", TYPE_A);
        let question = Question::parse(&message).unwrap();
        let answer = addresses(&message, &question, &["10.0.0.2".parse().unwrap()], 600);
        assert!(answers(&answer, &message));
        assert_eq!(&answer[6..8], [0, 1]);
        assert_eq!(&answer[answer.len() - 4..], [10, 0, 0, 2]);
        assert!(!answers(&answer, &query("other", TYPE_A)));
        assert!(!answers(&message, &message), "a question is no answer");
        let name = pointer(&message, &question, "web.net", 600);
        assert!(name.ends_with(b"\x03web\x03net\0"));
        assert_eq!(failure(&message, &question, SERVER_FAILED)[3] & 0xf, SERVER_FAILED);
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_hurts(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(question) = Question::parse(&bytes) {
                let _ = question.reversed_address();
                let answer = addresses(&bytes, &question, &["10.0.0.2".parse().unwrap()], 1);
                prop_assert!(answers(&answer, &bytes));
            }
            let _ = answers(&bytes, &query("web", TYPE_A));
        }
    }
}
