//! A JSON array of objects, element by element, as it comes: a list of thousands need not be there as a whole, and what
//! has come is shown while the engine still writes the rest.

use serde::Deserialize;
use serde_json::{Deserializer, Error};

/// What has come of the array and was not read yet.
#[derive(Default)]
pub(crate) struct Elements {
    text: String,
    /// What was read of `text`.
    read: usize,
    /// The first bytes of a character whose others are still to come.
    part: Vec<u8>,
    /// Whether the opening bracket, and the closing one, were read.
    begun: bool,
    ended: bool,
}

/// What stands before an element, or after the last.
enum Mark {
    Element(usize),
    End,
    Nothing,
}

impl Elements {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// When they are not UTF-8.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), std::str::Utf8Error> {
        self.text.drain(..std::mem::take(&mut self.read));
        let joined;
        let bytes = if self.part.is_empty() {
            bytes
        } else {
            joined = [&std::mem::take(&mut self.part), bytes].concat();
            &joined
        };
        match std::str::from_utf8(bytes) {
            Ok(text) => self.text.push_str(text),
            Err(error) if error.error_len().is_none() => {
                let (whole, part) = bytes.split_at(error.valid_up_to());
                self.text.push_str(std::str::from_utf8(whole)?);
                self.part = part.to_vec();
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The next element that is there as a whole.
    ///
    /// # Errors
    /// When what has come is not an array of objects that `T` can be read from.
    pub(crate) fn next<'a, T: Deserialize<'a>>(&'a mut self) -> Result<Option<T>, Error> {
        match mark(&self.text[self.read..], self.begun, self.ended)? {
            Mark::Nothing => Ok(None),
            Mark::End => {
                (self.read, self.ended) = (self.text.len(), true);
                Ok(None)
            }
            Mark::Element(skipped) => {
                let mut stream = Deserializer::from_str(&self.text[self.read + skipped..]).into_iter();
                match stream.next() {
                    Some(Ok(element)) => {
                        self.read += skipped + stream.byte_offset();
                        self.begun = true;
                        Ok(Some(element))
                    }
                    Some(Err(error)) if !error.is_eof() => Err(error),
                    _ => Ok(None),
                }
            }
        }
    }

    /// Says whether that was all.
    ///
    /// # Errors
    /// When the array has no end, or something stands behind it.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        match self.next::<serde::de::IgnoredAny>()? {
            None if self.ended && self.part.is_empty() => Ok(()),
            _ => Err(serde::de::Error::custom("an array that does not end")),
        }
    }
}

/// `[` first, then `,` before each element but the first; `]` ends it.
fn mark(text: &str, begun: bool, ended: bool) -> Result<Mark, Error> {
    let trimmed = text.trim_ascii_start();
    let mut chars = trimmed.chars();
    let first = chars.next();
    let rest = chars.as_str().trim_ascii_start();
    match (first, begun) {
        (None, _) => Ok(Mark::Nothing),
        _ if ended => Err(serde::de::Error::custom("something behind the end of an array")),
        (Some(']'), true) if rest.is_empty() => Ok(Mark::End),
        (Some('['), false) if rest.is_empty() => Ok(Mark::Nothing),
        (Some('['), false) if rest.trim_ascii_end() == "]" => Ok(Mark::End),
        (Some('['), false) | (Some(','), true) => Ok(Mark::Element(text.len() - rest.len())),
        _ => Err(serde::de::Error::custom("not an array of objects")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Read in pieces of so many bytes.
    fn read(text: &str, piece: usize) -> Result<Vec<Value>, String> {
        let (mut elements, mut found) = (Elements::default(), Vec::new());
        for bytes in text.as_bytes().chunks(piece) {
            elements.push(bytes).map_err(|e| e.to_string())?;
            while let Some(element) = elements.next().map_err(|e| e.to_string())? {
                found.push(element);
            }
        }
        elements.finish().map(|()| found).map_err(|e| e.to_string())
    }

    #[test]
    fn as_a_whole_array_would_be_read() {
        for text in ["[]", " [ ] \n", "[{}]", "[{\"a\":[1,{}]} , {\"b\":\"],\"}\n]\n", "[{\"é\":\"…\"}, {}]"]
        {
            let whole: Vec<Value> = serde_json::from_str(text).unwrap();
            for piece in 1..=text.len() {
                assert_eq!(read(text, piece).unwrap(), whole, "{text} in pieces of {piece}");
            }
        }
        let mut two = Elements::default();
        two.push(b"[{\"a\":1},{]").unwrap();
        assert_eq!(two.next::<Value>().unwrap().unwrap(), json!({ "a": 1 }));
        assert!(two.next::<Value>().is_err());
    }

    #[test]
    fn anything_else_is_an_error() {
        for text in [
            "", "{}", "[", "[{}", "[{},", "[{},]", "[{}]x", "[{}}", "[{} {}]", "null", ",{}]", "[,{}]",
            "[][]",
        ] {
            for piece in 1..=text.len().max(1) {
                assert!(read(text, piece).is_err(), "{text} in pieces of {piece}");
            }
        }
        assert!(Elements::default().push(b"[\xff").is_err());
        let mut cut = Elements::default();
        cut.push(b"[]\xc3").unwrap();
        assert!(cut.finish().is_err(), "half a character at the end");
    }
}
