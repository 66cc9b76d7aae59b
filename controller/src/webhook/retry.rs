//! When a delivery that failed is tried again, and when it is given up.

use std::time::Duration;

/// How often and for how long deliveries are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// How long one call may take, in all.
    pub timeout: Duration,
    /// The wait after the first failure; each later one is twice as long.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// After so many failures it is given up.
    pub attempts: u32,
}

impl Default for Retry {
    /// Calls of 10 s; waits of 1 s to 5 min; 20 attempts, which take an hour. Counted, not timed: a
    /// clock that jumps gives nothing up.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            first: Duration::from_secs(1),
            longest: Duration::from_secs(300),
            attempts: 20,
        }
    }
}

impl Retry {
    /// The wait after so many failures (1 or more). `jitter`, from 0 to 1, takes up to half of it
    /// off, so that those who failed together do not come back together.
    pub(super) fn wait(&self, failures: u32, jitter: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let wait = self.first.saturating_mul(1 << doublings).min(self.longest);
        wait.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
    }

    /// Whether this many failures are the end of it.
    pub(super) fn gives_up(&self, failures: u32) -> bool {
        failures >= self.attempts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes() {
        let retry = Retry::default();
        let waits: Vec<u64> = (1..=12).map(|n| retry.wait(n, 0.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(retry.wait(3, 1.0), Duration::from_secs(2));
        assert_eq!(retry.wait(u32::MAX, 0.0), retry.longest);
    }

    #[test]
    fn it_ends() {
        let retry = Retry::default();
        assert!(!retry.gives_up(19) && retry.gives_up(20));
    }
}
