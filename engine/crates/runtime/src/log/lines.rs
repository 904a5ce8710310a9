//! Cuts output into lines for sinks that take one message each.

use super::Stream;
use super::writer::ENTRY_TEXT_MAX;

/// The lines of both streams whose end has not come yet.
#[derive(Debug, Default)]
pub(super) struct Lines {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Lines {
    /// Takes output and hands out whole lines, without their newline, and pieces of those that are too long
    /// (16 KiB): `each(line, is_partial)`.
    pub(super) fn take(&mut self, stream: Stream, bytes: &[u8], mut each: impl FnMut(&[u8], bool)) {
        let waiting = self.of(stream);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            let mut text = text;
            while waiting.len() + text.len() > ENTRY_TEXT_MAX {
                let (now, rest) = text.split_at(ENTRY_TEXT_MAX - waiting.len());
                waiting.extend_from_slice(now);
                each(waiting, true);
                waiting.clear();
                text = rest;
            }
            if ended && waiting.is_empty() {
                each(text, false);
                continue;
            }
            waiting.extend_from_slice(text);
            if ended {
                each(waiting, false);
                waiting.clear();
            }
        }
    }

    /// The stream ended: what waits is a line, although it has no newline.
    pub(super) fn end(&mut self, stream: Stream, each: impl FnOnce(&[u8])) {
        let waiting = std::mem::take(self.of(stream));
        if !waiting.is_empty() {
            each(&waiting);
        }
    }

    /// Gives back memory that only bursts need.
    pub(super) fn shrink(&mut self) {
        self.stdout.shrink_to_fit();
        self.stderr.shrink_to_fit();
    }

    fn of(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_across_reads() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        let mut feed = |stream, bytes: &[u8]| {
            lines.take(stream, bytes, |line, partial| {
                seen.push((String::from_utf8_lossy(line).into_owned(), partial));
            });
        };
        feed(Stream::Stdout, b"a\n\nb");
        feed(Stream::Stderr, b"e\n");
        feed(Stream::Stdout, b"c\nd");
        let long = [b'x'; ENTRY_TEXT_MAX];
        feed(Stream::Stderr, &long);
        feed(Stream::Stderr, b"y\n");
        lines.end(Stream::Stdout, |line| seen.push((String::from_utf8_lossy(line).into_owned(), false)));
        let short: Vec<(&str, usize, bool)> =
            seen.iter().map(|(t, p)| (&t[..1.min(t.len())], t.len(), *p)).collect();
        assert_eq!(
            short,
            [
                ("a", 1, false),
                ("", 0, false),
                ("e", 1, false),
                ("b", 2, false),
                ("x", ENTRY_TEXT_MAX, true),
                ("y", 1, false),
                ("d", 1, false)
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_lost(chunks in proptest::collection::vec(proptest::collection::vec(
            proptest::prop_oneof![proptest::prelude::Just(b'\n'), proptest::prelude::any::<u8>()], 0..40), 0..8))
        {
            let (mut lines, mut out) = (Lines::default(), Vec::new());
            for chunk in &chunks {
                lines.take(Stream::Stdout, chunk, |line, partial| {
                    out.extend_from_slice(line);
                    if !partial { out.push(b'\n'); }
                });
            }
            lines.end(Stream::Stdout, |line| out.extend_from_slice(line));
            proptest::prop_assert_eq!(out, chunks.concat());
        }
    }
}
