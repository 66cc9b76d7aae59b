//! The counts of one version.
//!
//! A request adds to one cell, chosen by how it ended and by how many of the latencies it exceeded;
//! everything else is a sum of cells. So numbers that are read together fit together (no more
//! failures than requests), and a request costs one addition. Rejected: a counter for each number,
//! which a reader would see between one addition and the next.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tidegate_judge::Arm;

/// Good requests by the number of latencies they exceeded, failed ones likewise, and failures that
/// count as nothing else.
#[derive(Debug)]
pub(super) struct Cells {
    latencies: usize,
    lines: Box<[Line]>,
}

/// Two cache lines, which processors fetch together: versions do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line([AtomicU64; LINE]);

const LINE: usize = 16;

impl Cells {
    pub(super) fn new(latencies: usize) -> Self {
        let lines = (2 * (latencies + 1) + 1).div_ceil(LINE);
        Self { latencies, lines: (0..lines).map(|_| Line::default()).collect() }
    }

    /// A request that exceeded so many of the latencies.
    pub(super) fn count(&self, failed: bool, exceeded: usize) {
        self.cell(failed, exceeded).fetch_add(1, Relaxed);
    }

    /// A failure that counts as nothing but a failure.
    pub(super) fn count_failed(&self) {
        self.uncounted().fetch_add(1, Relaxed);
    }

    fn cell(&self, failed: bool, exceeded: usize) -> &AtomicU64 {
        self.at(usize::from(failed) * (self.latencies + 1) + exceeded)
    }

    fn uncounted(&self) -> &AtomicU64 {
        self.at(2 * (self.latencies + 1))
    }

    fn at(&self, cell: usize) -> &AtomicU64 {
        &self.lines[cell / LINE].0[cell % LINE]
    }

    /// The counts since the last time.
    pub(super) fn take(&self) -> Arm {
        let mut arm = Arm { over: vec![0; self.latencies], ..Arm::default() };
        for exceeded in 0..=self.latencies {
            let take = |failed| self.cell(failed, exceeded).swap(0, Relaxed);
            let (good, failed) = (take(false), take(true));
            arm.requests += good + failed;
            arm.failures += failed;
            for over in &mut arm.over[..exceeded] {
                *over += good + failed;
            }
        }
        arm.failed = arm.failures + self.uncounted().swap(0, Relaxed);
        arm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_sums_of_cells() {
        // More latencies than a line has room for.
        for latencies in [0, 1, 7, 20] {
            let cells = Cells::new(latencies);
            let mut expected = Arm { over: vec![0; latencies], ..Arm::default() };
            for exceeded in 0..=latencies {
                for failed in [false, true, true] {
                    cells.count(failed, exceeded);
                    expected.requests += 1;
                    expected.failures += u64::from(failed);
                    expected.over.iter_mut().take(exceeded).for_each(|over| *over += 1);
                }
            }
            cells.count_failed();
            expected.failed = expected.failures + 1;
            assert_eq!(cells.take(), expected);
            assert_eq!(cells.take(), Arm { over: vec![0; latencies], ..Arm::default() });
        }
    }

    #[test]
    fn nothing_is_lost_or_torn_under_contention() {
        const THREADS: u64 = 4;
        const EACH: u64 = 100_000;
        let cells = Cells::new(2);
        let mut sum = Arm::default();
        std::thread::scope(|scope| {
            let counting: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let cells = &cells;
                    scope.spawn(move || {
                        for n in 0..EACH {
                            cells.count((n + thread) % 4 == 0, n as usize % 3);
                        }
                    })
                })
                .collect();
            while counting.iter().any(|thread| !thread.is_finished()) {
                let arm = cells.take();
                assert!(arm.failures <= arm.requests && arm.over[1] <= arm.over[0]);
                assert!(arm.over[0] <= arm.requests);
                sum.add(&arm);
            }
        });
        sum.add(&cells.take());
        assert_eq!(sum.requests, THREADS * EACH);
        assert_eq!((sum.failures, sum.failed), (THREADS * EACH / 4, THREADS * EACH / 4));
        let exceeding = |count: u64| (0..EACH).filter(|n| n % 3 >= count).count() as u64 * THREADS;
        assert_eq!(sum.over, [exceeding(1), exceeding(2)]);
    }
}
