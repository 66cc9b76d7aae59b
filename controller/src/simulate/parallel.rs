//! Many things at once, in an order that does not depend on how many at once.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// `make(0)` to `make(count - 1)`, on all processors.
pub fn in_parallel<T: Send>(count: usize, make: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    on_threads(threads, count, make)
}

fn on_threads<T: Send>(threads: usize, count: usize, make: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut made = Vec::new();
        loop {
            let position = next.fetch_add(1, Ordering::Relaxed);
            if position >= count {
                return made;
            }
            made.push((position, make(position)));
        }
    };
    let mut all = thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(count)).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for other in others {
            match other.join() {
                Ok(made) => all.extend(made),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    all.sort_unstable_by_key(|(position, _)| *position);
    all.into_iter().map(|(_, made)| made).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_positions() {
        for threads in [1, 2, 5] {
            let squares = on_threads(threads, 1000, |i| i * i);
            assert!(squares.into_iter().enumerate().all(|(i, square)| square == i * i));
        }
        assert!(on_threads(3, 0, |i| i).is_empty());
    }
}
