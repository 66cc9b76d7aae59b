//! Publication under contention.

use std::{
    sync::{Arc, Barrier},
    thread,
};
use tidegate_config::{StaleParent, Store};

#[test]
fn no_publication_is_lost_or_made_from_a_stale_state() {
    const WRITERS: u64 = 4;
    const EACH: u64 = 500;
    let store = Arc::new(Store::new(0_u64));
    let start = Arc::new(Barrier::new(WRITERS as usize + 1));
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (store, start) = (Arc::clone(&store), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                let mut stale = 0_u64;
                for _ in 0..EACH {
                    loop {
                        let seen = store.load();
                        match store.publish(seen.generation, seen.state + 1) {
                            Ok(generation) => {
                                assert_eq!(generation, seen.generation + 1);
                                break;
                            }
                            Err(error) => {
                                assert!(error.current > error.parent);
                                stale += 1;
                            }
                        }
                    }
                }
                stale
            })
        })
        .collect();
    start.wait();
    // A reader sees generations that only grow, and each with its own state.
    let mut last = 0;
    while last < WRITERS * EACH + 1 {
        let seen = store.load();
        assert!(seen.generation >= last);
        assert_eq!(seen.state + 1, seen.generation);
        last = seen.generation;
    }
    for writer in writers {
        writer.join().expect("a writer");
    }
    assert_eq!(store.load().state, WRITERS * EACH);
}

#[test]
fn a_stale_parent_changes_nothing_and_old_snapshots_stay() {
    let store = Store::new("a");
    let first = store.load();
    assert_eq!(store.publish(1, "b"), Ok(2));
    assert_eq!(store.publish(1, "c"), Err(StaleParent { parent: 1, current: 2 }));
    assert_eq!((store.load().generation, store.load().state), (2, "b"));
    assert_eq!((first.generation, first.state), (1, "a"));
}
