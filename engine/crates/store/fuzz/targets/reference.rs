//! References: what is taken has a form that gives the same reference again.
#![no_main]

use dhow_model::Reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(reference) = Reference::parse(text) {
        let again = Reference::parse(&reference.to_string());
        assert_eq!(again.as_ref().ok(), Some(&reference), "{again:?}");
        let familiar = Reference::parse(&reference.familiar());
        assert_eq!(familiar.ok(), Some(reference));
    }
});
