//! `--since` and `--until`: moments for the API.

use crate::cli::exit::{Failure, Outcome};
use dhow_model::Timestamp;

/// Turns what was typed into the API's `seconds.nanoseconds`.
pub(crate) fn parse(flag: &str, text: &str) -> Outcome<String> {
    let moment = crate::moment::parse(text).ok_or_else(|| {
        Failure::new(format!(
            "invalid value for {flag:?}: failed to parse value as time or duration: {text:?}"
        ))
    })?;
    Ok(api_text(moment))
}

/// The API's form of a moment.
fn api_text(moment: Timestamp) -> String {
    format!("{}.{:09}", moment.seconds(), moment.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_have_nine_digits() {
        assert_eq!(api_text(Timestamp(1_500_000_001)), "1.500000001");
    }
}
