//! A JSON array, element by element: a list of thousands need not be there as a whole.

use serde::Deserialize;
use serde_json::{Deserializer, Error};
use std::marker::PhantomData;

/// The elements of a JSON array of objects; after an error there are no more.
pub(crate) struct Elements<'a, T> {
    /// What follows the opening bracket or the last element.
    rest: &'a [u8],
    begun: bool,
    /// Its end was seen, or an error.
    ended: bool,
    element: PhantomData<T>,
}

impl<'a, T: Deserialize<'a>> Elements<'a, T> {
    pub(crate) fn of(json: &'a [u8]) -> Self {
        Self { rest: json.trim_ascii(), begun: false, ended: false, element: PhantomData }
    }

    /// `[` first, then `,` before each element but the first; `]` ends it.
    fn next_is_there(&mut self) -> Result<bool, Error> {
        let (mark, rest) = match self.rest.split_first() {
            Some((mark, rest)) => (*mark, rest.trim_ascii_start()),
            None => (0, self.rest),
        };
        match (mark, self.begun) {
            (b']', true) if rest.is_empty() => Ok(false),
            (b'[', false) if rest == b"]" => Ok(false),
            (b'[', false) | (b',', true) => {
                (self.rest, self.begun) = (rest, true);
                Ok(true)
            }
            _ => Err(serde::de::Error::custom("not an array of objects")),
        }
    }
}

impl<'a, T: Deserialize<'a>> Iterator for Elements<'a, T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = match self.next_is_there() {
            Ok(true) => {
                let mut stream = Deserializer::from_slice(self.rest).into_iter();
                let element = stream.next();
                self.rest = self.rest[stream.byte_offset()..].trim_ascii_start();
                element.or_else(|| Some(Err(serde::de::Error::custom("an array that does not end"))))
            }
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        };
        self.ended = !matches!(step, Some(Ok(_)));
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn as_a_whole_array_would_be_read() {
        for text in ["[]", " [ ] \n", "[{}]", "[{\"a\":[1,{}]} , {\"b\":\"],\"}\n]\n"] {
            let whole: Vec<Value> = serde_json::from_str(text).unwrap();
            let read: Result<Vec<Value>, _> = Elements::of(text.as_bytes()).collect();
            assert_eq!(read.unwrap(), whole, "{text}");
        }
        let mut two = Elements::<Value>::of(b"[{\"a\":1},{]");
        assert_eq!(two.next().unwrap().unwrap(), json!({ "a": 1 }));
        assert!(two.next().unwrap().is_err() && two.next().is_none());
    }

    #[test]
    fn anything_else_is_an_error() {
        for text in ["", "{}", "[", "[{}", "[{},", "[{},]", "[{}]x", "[{}}", "[{} {}]", "null", ",{}]"] {
            let read: Result<Vec<Value>, _> = Elements::of(text.as_bytes()).collect();
            assert!(read.is_err(), "{text}");
        }
    }
}
