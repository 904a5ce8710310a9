//! Time as log text, cheaply: date and clock are formatted once a second, only the decimals each time.

use dhow_model::Timestamp;

/// The text of the last second that was asked for.
#[derive(Debug, Default)]
pub(super) struct Clock {
    second: Option<i64>,
    text: String,
}

impl Clock {
    /// Appends `time` in Go's `RFC3339Nano`: nine decimals without the zeros at their end.
    pub(super) fn append(&mut self, time: Timestamp, out: &mut Vec<u8>) {
        if self.second != Some(time.seconds()) {
            self.text = Timestamp::from_seconds(time.seconds()).to_string();
            // The `Z`: it comes after the decimals.
            self.text.pop();
            self.second = Some(time.seconds());
        }
        out.extend_from_slice(self.text.as_bytes());
        let mut nanos = time.subsec_nanos();
        if nanos > 0 {
            let mut digits = [b'0'; 10];
            digits[0] = b'.';
            for digit in digits[1..].iter_mut().rev() {
                *digit += u8::try_from(nanos % 10).unwrap_or(0);
                nanos /= 10;
            }
            let end = digits.iter().rposition(|d| *d != b'0').map_or(0, |last| last + 1);
            out.extend_from_slice(&digits[..end]);
        }
        out.push(b'Z');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn as_the_model_formats_it(
            nanos in proptest::collection::vec(0i64..4_000_000_000_000_000_000, 1..5),
            round in proptest::sample::select(vec![1i64, 10, 1_000_000, 1_000_000_000]),
        ) {
            let mut clock = Clock::default();
            for n in nanos {
                let time = Timestamp(n - n % round);
                let mut out = Vec::new();
                clock.append(time, &mut out);
                proptest::prop_assert_eq!(String::from_utf8(out).unwrap(), time.to_string());
            }
        }
    }
}
