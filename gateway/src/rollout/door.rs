//! The one door to the published snapshot, with two users: the reload of files, which may take its
//! time (it looks names up), and the controller, which may not.
//!
//! Both compute from what is published and publish by compare-and-swap: who comes second computes
//! again. So a reload keeps what a rollout has set meanwhile, and a rollout sets weights in the
//! file that is in force. Rejected: a lock, behind which a rollback would wait for the DNS.

use super::{HeldShift, carry};
use crate::{metrics::Metrics, serving::Serving};
use std::sync::Arc;
use tidegate_config::{Plan, Snapshot, Store};

/// How often a reload tries to come between two changes of weights. Each try takes about a
/// millisecond, and rollouts make their changes seconds apart.
const TRIES: usize = 100;

/// The way in.
#[derive(Debug)]
pub(crate) struct Door {
    store: Arc<Store<Serving>>,
    metrics: Arc<Metrics>,
}

impl Door {
    pub(crate) fn new(store: Arc<Store<Serving>>, metrics: Arc<Metrics>) -> Self {
        Self { store, metrics }
    }

    /// Publishes the shifts that `update` makes of the current ones and the file's plan, and
    /// returns the generation that they are in force from: the current one, if nothing changes.
    /// `update` is called again when somebody else published meanwhile.
    pub(crate) fn shift(&self, update: impl Fn(&[HeldShift], &Plan) -> Vec<HeldShift>) -> u64 {
        loop {
            let current = self.store.load();
            let serving = &current.state;
            let shifts = update(serving.shifts(), &serving.loaded.plan);
            if shifts == serving.shifts() {
                return current.generation;
            }
            let next = serving.shifted(shifts, serving);
            if let Ok(generation) = self.store.publish(current.generation, next) {
                self.show();
                return generation;
            }
        }
    }

    /// Publishes the configuration of `loaded` with the current shifts, and returns what it took the
    /// place of, and its generation; `None`: others were faster all the time.
    pub(crate) fn enter(&self, loaded: &Serving) -> Option<(Arc<Snapshot<Serving>>, u64)> {
        for _ in 0..TRIES {
            let current = self.store.load();
            let shifts = carry(current.state.shifts(), &loaded.loaded.plan);
            let next = loaded.shifted(shifts, &current.state);
            if let Ok(generation) = self.store.publish(current.generation, next) {
                self.show();
                return Some((current, generation));
            }
        }
        None
    }

    /// Shows what is in force: what was just published, or what came after it.
    fn show(&self) {
        let snapshot = self.store.load();
        self.metrics.adopt(snapshot.state.plan(), snapshot.generation);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Published, loaded, rollout, serving, start};
    use super::*;
    use tidegate_config::Loaded;
    use tidegate_judge::Share;
    use tidegate_policies::{RouteId, VariantId};

    const FILE: [u32; 3] = [90, 10, 0];

    fn file(blog: u32) -> Loaded {
        let rollouts = vec![rollout("shop-v2", "shop", "canary", &[300])];
        loaded(&[("blog", [blog, 1, 0]), ("shop", FILE)], rollouts)
    }

    /// One millionth more.
    fn step(shifts: &[HeldShift], _: &Plan) -> Vec<HeldShift> {
        let mut shifts = shifts.to_vec();
        for held in &mut shifts {
            let next = Share::from_millionths(held.shift.weight.millionths() + 1);
            held.shift.weight = next.expect("a share");
        }
        shifts
    }

    fn gauge(published: &Published, route: &str, variant: &str) -> f64 {
        let by = |metric: &&prometheus::proto::Metric| {
            let labels: Vec<_> = metric.get_label().iter().map(|label| label.value()).collect();
            labels == [route, variant]
        };
        let families = published.metrics.registry.gather();
        let weights = families.iter().find(|family| family.name() == "tidegate_variant_weight");
        let weight = weights.and_then(|family| family.get_metric().iter().find(by));
        weight.map(|metric| metric.get_gauge().get_value()).expect("a weight")
    }

    #[test]
    fn a_shift_changes_weights_and_nothing_else() {
        let published = start(file(1));
        let before = published.store.load();
        let (blog, shop) = (RouteId(0), RouteId(1));
        for route in [blog, shop] {
            before.state.route(route).variant(VariantId(0)).decide();
        }
        assert_eq!(before.state.plan().routes[1].policy.split.share(VariantId(1)), 0.0);
        assert_eq!(published.door.shift(|shifts, _| shifts.to_vec()), 1, "nothing changes");
        assert_eq!(published.door.shift(step), 2);
        let after = published.store.load();
        assert_eq!((after.generation, after.state.shifts()[0].shift.weight.millionths()), (2, 1));
        assert_eq!(after.state.plan().routes[1].variants[1].weight, 1);
        assert_eq!(after.state.loaded.plan.routes[1].variants[1].weight, 10, "the file's");
        assert_eq!(gauge(&published, "shop", "canary"), 1.0);
        let decided = |route| after.state.route(route).variant(VariantId(0)).decided();
        assert_eq!((decided(blog), decided(shop)), (1, 0));

        let lane = |serving: &Serving| serving.lane(0).map(|lane| Arc::clone(&lane.lane));
        let (old, new) = (&before.state, &after.state);
        assert!(lane(old).zip(lane(new)).is_some_and(|(old, new)| Arc::ptr_eq(&old, &new)));
        assert!(Arc::ptr_eq(&old.loaded, &new.loaded));
        let same = |(old, new): (&Arc<_>, &Arc<_>)| Arc::ptr_eq(old, new);
        assert!(old.pools.iter().zip(&new.pools).all(same));
        let mirror = |serving: &Serving| Arc::clone(&serving.route(shop).mirrors[0]);
        assert!(Arc::ptr_eq(&mirror(old), &mirror(new)));
    }

    #[test]
    fn a_reload_keeps_what_a_rollout_set_while_it_was_on_its_way() {
        let published = start(file(1));
        published.door.shift(step);
        let current = published.store.load();
        let next = serving(file(5), Some(&current.state), &published.metrics);
        assert_eq!(published.door.shift(step), 3);
        published.store.load().state.route(RouteId(1)).variant(VariantId(1)).decide();
        let (replaced, generation) = published.door.enter(&next).expect("a way in");
        assert_eq!((replaced.generation, generation), (3, 4));
        let after = published.store.load();
        assert_eq!(after.state.plan().routes[0].variants[0].weight, 5);
        assert_eq!(after.state.plan().routes[1].variants[1].weight, 2);
        assert_eq!(gauge(&published, "shop", "canary"), 2.0);
        let kept = after.state.route(RouteId(1)).variant(VariantId(1)).decided();
        assert_eq!(kept, 1, "its weights are those of generation 3");
    }

    #[test]
    fn reloads_and_shifts_at_once_lose_nothing() {
        const EACH: u32 = 200;
        let published = start(file(1));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        published.door.shift(step);
                    }
                });
            }
            scope.spawn(|| {
                for blog in 2..=EACH {
                    let current = published.store.load();
                    let next = serving(file(blog), Some(&current.state), &published.metrics);
                    published.door.enter(&next).expect("a way in");
                }
            });
        });
        let after = published.store.load();
        assert_eq!(after.generation, u64::from(1 + 2 * EACH + EACH - 1));
        assert_eq!(after.state.shifts()[0].shift.weight.millionths(), 2 * EACH);
        assert_eq!(after.state.plan().routes[0].variants[0].weight, EACH);
        assert_eq!(after.state.plan().routes[1].variants[1].weight, 2 * EACH);
        assert_eq!(gauge(&published, "blog", "stable"), f64::from(EACH));
        assert_eq!(gauge(&published, "shop", "canary"), f64::from(2 * EACH));
    }

    #[test]
    fn a_lane_outlives_reloads_that_ask_for_the_same() {
        let published = start(file(1));
        let current = published.store.load();
        let lane = |serving: &Serving| serving.lane(0).map(|lane| Arc::as_ptr(&lane.lane));
        let reloaded = |file| serving(file, Some(&current.state), &published.metrics);
        assert_eq!(lane(&current.state), lane(&reloaded(file(2))));
        let other = vec![rollout("shop-v2", "shop", "canary", &[100])];
        assert_ne!(lane(&current.state), lane(&reloaded(loaded(&[("shop", FILE)], other))));
        assert_eq!(lane(&reloaded(loaded(&[("shop", FILE)], Vec::new()))), None);
    }
}
