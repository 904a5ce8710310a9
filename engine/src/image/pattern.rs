//! Go's `path.Match`, which Docker holds names of images against: `*` and `?` stop at a slash, and there are classes of
//! characters (`[a-s]`, `[^0-9]`). Pure.

use dhow_model::{Error, Result};
use std::iter::Peekable;
use std::str::Chars;

/// A pattern that was understood.
#[derive(Debug)]
pub(super) struct Pattern(Vec<Part>);

#[derive(Debug)]
enum Part {
    /// `*`
    Any,
    /// `?`
    One,
    Exactly(char),
    /// From the first to the last of each, or else anything but those.
    Class(Vec<(char, char)>, bool),
}

impl Part {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Any => false,
            Self::One => c != '/',
            Self::Exactly(wanted) => *wanted == c,
            Self::Class(ranges, but) => ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *but,
        }
    }
}

impl Pattern {
    /// Reads one.
    ///
    /// # Errors
    /// `InvalidArgument` in Go's words when a class or a backslash has no end.
    pub(super) fn parse(text: &str) -> Result<Self> {
        parts(&mut text.chars().peekable()).map(Self).ok_or_else(|| Error::invalid("syntax error in pattern"))
    }

    /// Whether it is all of a text.
    pub(super) fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut part, mut at) = (0, 0);
        // Behind the last `*`, and how far that has come: no earlier one could do better.
        let mut star: Option<(usize, usize)> = None;
        loop {
            match (self.0.get(part), text.get(at)) {
                (None, None) => return true,
                (Some(Part::Any), _) => {
                    part += 1;
                    star = Some((part, at));
                    continue;
                }
                (Some(wanted), Some(c)) if wanted.takes(*c) => {
                    part += 1;
                    at += 1;
                    continue;
                }
                _ => {}
            }
            match star {
                Some((behind, far)) if text.get(far).is_some_and(|c| *c != '/') => {
                    star = Some((behind, far + 1));
                    (part, at) = (behind, far + 1);
                }
                _ => return false,
            }
        }
    }
}

fn parts(text: &mut Peekable<Chars<'_>>) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    while let Some(c) = text.next() {
        parts.push(match c {
            '*' => Part::Any,
            '?' => Part::One,
            '\\' => Part::Exactly(text.next()?),
            '[' => class(text)?,
            c => Part::Exactly(c),
        });
    }
    Some(parts)
}

fn class(text: &mut Peekable<Chars<'_>>) -> Option<Part> {
    let but = text.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    // The first character of a class does not end it.
    while ranges.is_empty() || text.next_if_eq(&']').is_none() {
        let from = bound(text)?;
        let to = if text.next_if_eq(&'-').is_some() { bound(text)? } else { from };
        ranges.push((from, to));
    }
    Some(Part::Class(ranges, but))
}

fn bound(text: &mut Peekable<Chars<'_>>) -> Option<char> {
    match text.next()? {
        '-' | ']' => None,
        '\\' => text.next(),
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each as Go 1.19's `path.Match` answers.
    #[test]
    fn names_match_as_they_do_in_go() {
        let yes = [
            ("debian*", "debian:12"),
            ("*:1?", "debian:12"),
            ("*/*", "me/debian"),
            ("[a-s]*", "busybox"),
            ("[^b]*", "debian"),
            ("deb[ia][a-z]n:*", "debian:12"),
            ("[\\]a]x", "]x"),
            ("[\\-]", "-"),
            ("a[b/]c", "a/c"),
            ("\\*a", "*a"),
            ("a*b*c", "abbxbc"),
            ("*ab", "aab"),
            ("[☺-☻]", "☻"),
            ("", ""),
        ];
        for (pattern, text) in yes {
            assert!(Pattern::parse(pattern).unwrap().matches(text), "{pattern} {text}");
        }
        let no = [
            ("*", "me/debian"),
            ("?", "/"),
            ("debian", "debian:12"),
            ("[a-s]*", "ubuntu"),
            ("[^b]*", "busybox"),
            ("[b-a]", "a"),
            ("a*b", "a/b"),
            ("*a", "ab"),
            ("a", ""),
        ];
        for (pattern, text) in no {
            assert!(!Pattern::parse(pattern).unwrap().matches(text), "{pattern} {text}");
        }
        for bad in ["[", "[]", "[]a]", "[-]", "[x-]", "[x-]-]", "[a", "[^]", "[^", "a\\", "[a-", "[\\"] {
            let error = Pattern::parse(bad).unwrap_err();
            assert_eq!(error.to_string(), "syntax error in pattern", "{bad}");
        }
        // No pattern takes long.
        let slow = format!("{}b", "*a".repeat(40));
        assert!(!Pattern::parse(&slow).unwrap().matches(&"a".repeat(200)));
    }
}
