//! A seeded simulation, with faults: first safety, then liveness.
//!
//! A run is a state, a journal and a controller that dies at any moment; its ticks are late, lost
//! and doubled, its sources break, people press every button and edit every line. What must never
//! happen is checked after every event ([`check`]); then the faults stop, and what is healthy has to
//! be promoted and what is bad taken away, within a number of ticks.
//!
//! `TIDEGATE_SEED=7 TIDEGATE_RUNS=1 cargo test -p tidegate-judge --test simulation` repeats what
//! failed; `TIDEGATE_EVENTS` sets how long it goes on.

#![allow(clippy::expect_used, missing_docs)]

mod check;
#[path = "../common/mod.rs"]
mod common;
mod journal;
mod ledger;
mod liveness;
mod plans;
mod traffic;
mod world;

use world::{Seen, World};

#[test]
fn nothing_unsafe_happens_and_something_good_does() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let first = number("TIDEGATE_SEED", 1);
    let runs = number("TIDEGATE_RUNS", 200);
    let events = number("TIDEGATE_EVENTS", 2000);
    let mut total = Seen::default();
    for seed in first..first.saturating_add(runs) {
        let mut world = World::new(seed);
        let _told = Told { seed, options: world.options() };
        world.release(|_| {});
        for _ in 0..events {
            world.event();
        }
        liveness::check(&mut world);
        total = total + world.seen;
    }
    // One seed may go without; hundreds that do have stopped to test something.
    if runs >= 100 {
        let Seen { advanced, promoted, rolled_back, rolled_back_frozen, .. } = total;
        let Seen { paused, aborted, replanned, crashes, crashes_that_lost, .. } = total;
        let all = [advanced, promoted, rolled_back, rolled_back_frozen, paused, aborted, replanned];
        assert!(all.iter().chain(&[crashes, crashes_that_lost]).all(|n| *n >= 20), "{total:?}");
    }
}

/// Says how to repeat what failed.
struct Told {
    seed: u64,
    options: world::Options,
}

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "failed with TIDEGATE_SEED={} TIDEGATE_RUNS=1: {:?}",
                self.seed, self.options
            );
        }
    }
}

impl std::ops::Add for Seen {
    type Output = Seen;

    fn add(self, more: Seen) -> Seen {
        Seen {
            advanced: self.advanced + more.advanced,
            promoted: self.promoted + more.promoted,
            rolled_back: self.rolled_back + more.rolled_back,
            rolled_back_frozen: self.rolled_back_frozen + more.rolled_back_frozen,
            paused: self.paused + more.paused,
            aborted: self.aborted + more.aborted,
            replanned: self.replanned + more.replanned,
            crashes: self.crashes + more.crashes,
            crashes_that_lost: self.crashes_that_lost + more.crashes_that_lost,
        }
    }
}
