//! Medians and percentiles of samples.

use serde::Serialize;
use std::time::Duration;

/// What is told of a contender, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) minimum: f64,
    pub(super) median: f64,
    pub(super) p90: f64,
}

/// The summary of at least one sample; `None` of none.
pub(super) fn summarise(samples: &[Duration]) -> Option<Summary> {
    let mut sorted: Vec<f64> = samples.iter().map(|s| s.as_secs_f64() * 1e3).collect();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    // Nearest rank, with the two middle ones averaged: what a reader checks by hand.
    let middle = f64::midpoint(sorted[last / 2], sorted[last.div_ceil(2)]);
    Some(Summary { minimum: sorted[0], median: middle, p90: sorted[last * 9 / 10] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_ten_and_of_none() {
        let samples: Vec<Duration> = (1..=10).rev().map(Duration::from_millis).collect();
        assert_eq!(summarise(&samples), Some(Summary { minimum: 1.0, median: 5.5, p90: 9.0 }));
        assert_eq!(summarise(&[]), None);
    }
}
