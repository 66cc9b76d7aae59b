//! How far the deliveries of each URL are.
//!
//! What is in here is newer than the journal: the record of an attempt may still wait for the disk,
//! for as long as that is full, and a delivery that arrived must not go out again meanwhile.

use super::retry::Retry;
use crate::journal::Delivery;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tidegate_judge::Time;

/// URLs that are called at once. More wait for a moment.
const MAX_CALLS: usize = 8;

/// How soon a URL is looked at again whose deliveries are all done and not all recorded.
const UNRECORDED: Duration = Duration::from_secs(1);

/// The deliveries of one URL.
#[derive(Debug)]
struct Lane {
    /// All up to this one are done.
    done: i64,
    /// The one in front; 0 before it is known.
    front: i64,
    /// How often the one in front was tried.
    attempts: u32,
    due: Instant,
    is_busy: bool,
}

/// All URLs that something waits for.
#[derive(Debug, Default)]
pub(super) struct Lanes(BTreeMap<String, Lane>);

impl Lanes {
    /// These are the URLs that something waits for, by the journal.
    pub(super) fn set(&mut self, urls: Vec<String>, now: Instant) {
        // One that is not among them has nothing left, and all of it is recorded.
        self.0.retain(|url, lane| lane.is_busy || urls.contains(url));
        for url in urls {
            self.0.entry(url).or_insert(Lane {
                done: 0,
                front: 0,
                attempts: 0,
                due: now,
                is_busy: false,
            });
        }
    }

    /// URLs that may be called now, those that waited longest first, and up to which delivery all
    /// are done.
    pub(super) fn due(&self, now: Instant) -> Vec<(String, i64)> {
        let due = self.0.iter().filter(|(_, lane)| !lane.is_busy && lane.due <= now);
        let mut due: Vec<_> = due.collect();
        due.sort_by_key(|(_, lane)| lane.due);
        due.truncate(self.free());
        due.into_iter().map(|(url, lane)| (url.clone(), lane.done)).collect()
    }

    /// When one is due that is not yet; `None` when nothing could be called before something ends.
    pub(super) fn next_due(&self) -> Option<Instant> {
        if self.free() == 0 {
            return None;
        }
        self.0.values().filter(|lane| !lane.is_busy).map(|lane| lane.due).min()
    }

    fn free(&self) -> usize {
        MAX_CALLS.saturating_sub(self.0.values().filter(|lane| lane.is_busy).count())
    }

    /// There is nothing to be called at this URL.
    pub(super) fn rest(&mut self, url: &str, now: Instant) {
        if let Some(lane) = self.0.get_mut(url) {
            lane.due = now + UNRECORDED;
        }
    }

    /// Whether this delivery, which is in front, goes out now; then its URL is busy.
    pub(super) fn begin(
        &mut self,
        delivery: &Delivery,
        retry: &Retry,
        clock: Time,
        now: Instant,
    ) -> bool {
        let Some(lane) = self.0.get_mut(&delivery.url) else { return false };
        if lane.front != delivery.id {
            lane.front = delivery.id;
            lane.attempts = delivery.attempts;
            // A clock that was put back would make it wait for days.
            let left = Duration::from_millis(delivery.next.0.saturating_sub(clock.0));
            let left = if delivery.attempts == 0 { Duration::ZERO } else { left };
            lane.due = now + left.min(retry.longest);
        }
        lane.is_busy = lane.due <= now;
        lane.is_busy
    }

    /// An attempt ended; gives how many there were.
    pub(super) fn end(&mut self, url: &str) -> u32 {
        let Some(lane) = self.0.get_mut(url) else { return 1 };
        lane.is_busy = false;
        lane.attempts = lane.attempts.saturating_add(1);
        lane.attempts
    }

    /// The one in front is tried again, or the next one is, at `due`.
    pub(super) fn wait(&mut self, url: &str, done: Option<i64>, due: Instant) {
        if let Some(lane) = self.0.get_mut(url) {
            lane.done = done.unwrap_or(lane.done);
            lane.due = due;
        }
    }
}
