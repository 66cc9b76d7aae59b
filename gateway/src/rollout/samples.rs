//! The ids of some requests that failed, for whoever wants to look at one.

use std::sync::{Mutex, PoisonError, TryLockError};

/// How many are kept: the latest.
const KEPT: usize = 8;

/// How much of an id is kept.
const LENGTH: usize = 64;

/// A ring of ids.
#[derive(Debug, Default)]
pub(super) struct Samples(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    ids: [Id; KEPT],
    /// How many were written.
    written: usize,
}

#[derive(Debug, Clone, Copy)]
struct Id {
    bytes: [u8; LENGTH],
    length: usize,
}

impl Default for Id {
    fn default() -> Self {
        Self { bytes: [0; LENGTH], length: 0 }
    }
}

impl Samples {
    /// Keeps what can be seen of `id`, unless somebody else is here: nothing waits for a sample.
    pub(super) fn push(&self, id: &str) {
        let mut kept = Id::default();
        for (place, byte) in kept.bytes.iter_mut().zip(id.bytes().filter(u8::is_ascii_graphic)) {
            *place = byte;
            kept.length += 1;
        }
        if kept.length == 0 {
            return;
        }
        let mut ring = match self.0.try_lock() {
            Ok(ring) => ring,
            Err(TryLockError::Poisoned(ring)) => ring.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let place = ring.written % KEPT;
        ring.ids[place] = kept;
        ring.written += 1;
    }

    /// What was kept since the last time, the oldest first.
    pub(super) fn take(&self) -> Vec<String> {
        let ring = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let oldest = ring.written.saturating_sub(KEPT);
        let ids = (oldest..ring.written).map(|n| &ring.ids[n % KEPT]);
        ids.map(|id| String::from_utf8_lossy(&id.bytes[..id.length]).into_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_and_taken_once() {
        let samples = Samples::default();
        assert!(samples.take().is_empty());
        for n in 0..11 {
            samples.push(&format!("id-{n}"));
        }
        let latest: Vec<_> = (3..11).map(|n| format!("id-{n}")).collect();
        assert_eq!(samples.take(), latest);
        assert!(samples.take().is_empty());
        samples.push("one");
        assert_eq!(samples.take(), ["one"]);
    }

    #[test]
    fn ids_are_short_and_can_be_printed() {
        let samples = Samples::default();
        samples.push(&"x".repeat(100));
        samples.push("a b\u{1b}[31mü\r\nc");
        samples.push(" \t");
        assert_eq!(samples.take(), ["x".repeat(LENGTH), "ab[31mc".to_owned()]);
    }
}
