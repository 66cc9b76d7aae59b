//! How long a client may take to go on with its request's body.
//!
//! Only the time that is spent waiting for the client counts: while an upstream takes nothing, the
//! client is not asked for more. So a slow upstream never makes a client look slow.

use std::time::Duration;

/// A body may be as slow as it likes for this long: its average says nothing yet.
const GRACE: Duration = Duration::from_secs(30);

/// What has been waited for one request's body.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// In milliseconds, without the wait under way.
    waited: u64,
    /// When that began, in milliseconds of any clock.
    since: Option<u64>,
}

impl Patience {
    /// There is nothing to read at `now`, after `bytes` of the body: the time that is left from now
    /// on if this wait has just begun, else `None`.
    ///
    /// `silence` limits one wait; `rate`, in bytes a second, limits all waits together (0: nothing
    /// does).
    pub(super) fn wait(
        &mut self,
        now: u64,
        bytes: u64,
        silence: Duration,
        rate: u64,
    ) -> Option<Duration> {
        if self.since.is_some() {
            return None;
        }
        self.since = Some(now);
        if rate == 0 {
            return Some(silence);
        }
        let earned = Duration::from_millis((bytes / rate).saturating_mul(1_000));
        let left = GRACE.saturating_add(earned);
        Some(left.saturating_sub(Duration::from_millis(self.waited)).min(silence))
    }

    /// Something came at `now`; whether it had been waited for.
    pub(super) fn came(&mut self, now: u64) -> bool {
        let Some(since) = self.since.take() else { return false };
        self.waited = self.waited.saturating_add(now.saturating_sub(since));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_trickle_runs_out_of_patience() {
        let mut patience = Patience::default();
        let (mut now, mut bytes) = (0, 0);
        let mut ended = false;
        // One byte in two seconds, with 64 wanted in one.
        while now < 100_000 && !ended {
            let left = patience.wait(now, bytes, MINUTE, 64).expect("a new wait");
            ended = left < Duration::from_secs(2);
            now += 2_000;
            bytes += 1;
            assert!(patience.came(now));
        }
        assert!(ended && now <= 34_000, "{now}");
    }

    #[test]
    fn a_steady_body_may_take_for_ever() {
        let mut patience = Patience::default();
        for second in 0..10_000 {
            let left = patience.wait(second * 1_000, second * 65, MINUTE, 64).expect("a new wait");
            assert!(left >= Duration::from_secs(29), "{left:?}");
            patience.came((second + 1) * 1_000);
        }
    }

    #[test]
    fn time_that_nobody_waited_does_not_count() {
        let mut patience = Patience::default();
        assert_eq!(patience.wait(0, 0, MINUTE, 64), Some(GRACE));
        assert_eq!(patience.wait(500, 0, MINUTE, 64), None);
        patience.came(1_000);
        // The upstream took nothing for an hour.
        assert_eq!(patience.wait(3_600_000, 0, MINUTE, 64), Some(GRACE - Duration::from_secs(1)));
        assert!(patience.came(3_600_000) && !patience.came(3_600_000));
    }

    #[test]
    fn silence_has_its_own_limit() {
        let ten = Duration::from_secs(10);
        assert_eq!(Patience::default().wait(0, 1 << 40, ten, 64), Some(ten));
        assert_eq!(Patience::default().wait(0, 0, MINUTE, 0), Some(MINUTE));
    }
}
