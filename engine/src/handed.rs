//! Files that the command line hands to the engine of its own process, in place of their bytes.
//!
//! A request of that command line names one in the header [`HEADER`]; nothing else about the request is special. An
//! engine that serves has been handed none, so such a header of a stranger's names nothing.

use dhow_model::{Error, Result};
use http::{HeaderMap, HeaderValue};
use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Mutex, PoisonError};

/// What names a file that was handed over.
const HEADER: &str = "dhow-handed-file";

/// Those that nobody has taken yet.
static HANDED: Mutex<BTreeMap<u64, File>> = Mutex::new(BTreeMap::new());

/// Hands a file over; the headers of the request that is about it.
pub(crate) fn give(file: File) -> HeaderMap {
    let mut handed = HANDED.lock().unwrap_or_else(PoisonError::into_inner);
    let number = handed.last_key_value().map_or(0, |(last, _)| last + 1);
    handed.insert(number, file);
    HeaderMap::from_iter([(http::HeaderName::from_static(HEADER), HeaderValue::from(number))])
}

/// The file that a request is about; `None` when it has its bytes in its body.
///
/// # Errors
/// `InvalidArgument` when it names one that was not handed over.
pub(crate) fn take(headers: &HeaderMap) -> Result<Option<File>> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.parse::<u64>().ok());
    let mut handed = HANDED.lock().unwrap_or_else(PoisonError::into_inner);
    let file = number.and_then(|number| handed.remove(&number));
    file.map(Some).ok_or_else(|| Error::invalid(format!("{HEADER}: no such file was handed over")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_taken_once_and_a_strangers_header_names_nothing() {
        assert!(take(&HeaderMap::new()).unwrap().is_none());
        let headers = give(File::open("/dev/null").unwrap());
        assert!(take(&headers).unwrap().is_some());
        for bad in [headers.get(HEADER).unwrap().to_str().unwrap(), "x", "-1", "18446744073709551616"] {
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static(HEADER),
                HeaderValue::from_str(bad).unwrap(),
            )]);
            assert_eq!(take(&headers).unwrap_err().kind(), dhow_model::ErrorKind::InvalidArgument);
        }
    }
}
