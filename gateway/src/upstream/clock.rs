//! The time of ejections and warm-ups: small numbers that fit into atomics.

use std::{sync::LazyLock, time::Instant};

/// Milliseconds since the first call, and a little more: 0 means never.
pub(super) fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}
