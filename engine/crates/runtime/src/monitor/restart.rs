//! How long to wait before a restart: Docker's back-off (`daemon/container/restartmanager.go`).

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST: Duration = Duration::from_mins(1);
/// A run that lasted so long was a success: the next wait is the first again.
const GOOD_RUN: Duration = Duration::from_secs(10);

/// The waits between restarts: 100 ms, doubled each time, up to a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backoff {
    last: Option<Duration>,
}

impl Backoff {
    /// The wait after a run that lasted `ran_for`.
    pub fn next(&mut self, ran_for: Duration) -> Duration {
        let wait = match self.last {
            Some(last) if ran_for < GOOD_RUN => last.saturating_mul(2).min(LONGEST),
            _ => FIRST,
        };
        self.last = Some(wait);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_a_minute_and_starts_again() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..12).map(|_| backoff.next(Duration::ZERO).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000]);
        assert_eq!(backoff.next(Duration::from_millis(9_999)), LONGEST);
        assert_eq!(backoff.next(Duration::from_secs(10)), FIRST);
        assert_eq!(backoff.next(Duration::from_secs(1)), FIRST * 2);
    }
}
