//! Which weights outlive a reload.
//!
//! What a rollout set stays as long as the file has the rollout, whatever else changes: a reload
//! never undoes a rollback, and never restarts one. A rollout that is new begins without users.
//!
//! Taking a rollout out of the file ends it. If it was promoted, the file's weights are in force.
//! Else its candidate has no users, not even those that the file would give it: these weights were
//! written for after a good end, if anybody looked at them at all. Whoever changes them then has
//! decided, and they are in force. Rejected: the file's weights in any case, which would bring a
//! version back that was taken away for cause.

use tidegate_config::{Plan, Shift};
use tidegate_judge::{Plan as Rollout, Share};

/// What a rollout has set, and until when.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct HeldShift {
    /// The rollout's name.
    pub(crate) rollout: String,
    /// What it set.
    pub(crate) shift: Shift,
    /// The weights of baseline and candidate in the last file that had the rollout.
    pub(crate) file_weights: (u32, u32),
    /// The candidate has taken the baseline's place for good.
    pub(crate) promoted: bool,
}

impl HeldShift {
    /// The beginning of `rollout`: no users, and its mirror as the file has it.
    pub(crate) fn fresh(rollout: &Rollout, plan: &Plan) -> Self {
        let shift = Shift {
            route: rollout.route.clone(),
            baseline: rollout.baseline.clone(),
            candidate: rollout.candidate.clone(),
            weight: Share::NONE,
            mirror: None,
        };
        Self {
            rollout: rollout.name.clone(),
            file_weights: file_weights(&shift, plan).unwrap_or_default(),
            shift,
            promoted: false,
        }
    }

    /// Whether it is what `rollout` set: another route or pair of variants is another matter.
    pub(crate) fn is_of(&self, rollout: &Rollout) -> bool {
        self.rollout == rollout.name
            && self.shift.route == rollout.route
            && self.shift.baseline == rollout.baseline
            && self.shift.candidate == rollout.candidate
    }
}

/// The shifts under `plan`, the file's next one, when there were `old`. Those of rollouts that have
/// ended come first, so that a rollout has its share of what its pair has after them.
pub(crate) fn carry(old: &[HeldShift], plan: &Plan) -> Vec<HeldShift> {
    let rollouts = || plan.rollouts.iter().map(|rollout| &*rollout.plan);
    let ended = old.iter().filter(|held| !rollouts().any(|rollout| held.is_of(rollout)));
    let ended = ended.filter_map(|held| end(held, plan));
    let going = rollouts().map(|rollout| match old.iter().find(|held| held.is_of(rollout)) {
        Some(held) => go_on(held, rollout, plan),
        None => HeldShift::fresh(rollout, plan),
    });
    ended.chain(going).collect()
}

fn go_on(held: &HeldShift, rollout: &Rollout, plan: &Plan) -> HeldShift {
    let mut held = held.clone();
    held.file_weights = file_weights(&held.shift, plan).unwrap_or_default();
    // A mirror that is not the rollout's any more is the file's again.
    held.shift.mirror = held.shift.mirror.filter(|(name, _)| rollout.mirror.as_ref() == Some(name));
    held
}

/// What stays of a rollout that the file does not have any more.
fn end(held: &HeldShift, plan: &Plan) -> Option<HeldShift> {
    let decided = file_weights(&held.shift, plan)? != held.file_weights;
    let Shift { route, candidate, .. } = &held.shift;
    let taken_over = plan.rollouts.iter().any(|other| {
        let other = &other.plan;
        other.route == *route && [&other.baseline, &other.candidate].contains(&candidate)
    });
    if held.promoted || decided || taken_over {
        return None;
    }
    let shift = Shift { weight: Share::NONE, mirror: None, ..held.shift.clone() };
    Some(HeldShift { shift, ..held.clone() })
}

/// What the file gives to baseline and candidate, if it has both.
fn file_weights(shift: &Shift, plan: &Plan) -> Option<(u32, u32)> {
    let route = plan.routes.iter().find(|route| *route.name == *shift.route)?;
    let weight =
        |name: &str| Some(route.variants.iter().find(|variant| *variant.name == *name)?.weight);
    Some((weight(&shift.baseline)?, weight(&shift.candidate)?))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{loaded, rollout};
    use super::*;

    const FILE: [u32; 3] = [90, 10, 0];

    fn file(weights: [u32; 3], rollouts: &[(&str, &str)]) -> Plan {
        let rollouts = rollouts.iter().map(|(name, to)| rollout(name, "shop", to, &[])).collect();
        loaded(&[("shop", weights)], rollouts).plan
    }

    /// At ten percent, with its mirror turned up.
    fn under_way(plan: &Plan) -> HeldShift {
        let mut held = HeldShift::fresh(&plan.rollouts[0].plan, plan);
        held.shift.weight = Share::from_millionths(100_000).expect("a share");
        held.shift.mirror = Some(("dark".into(), Share::ALL));
        held
    }

    /// What a reload of `plan` leaves of it.
    fn after(held: &HeldShift, plan: &Plan) -> Vec<HeldShift> {
        carry(std::slice::from_ref(held), plan)
    }

    fn without_users(held: &HeldShift) -> HeldShift {
        let shift = Shift { weight: Share::NONE, mirror: None, ..held.shift.clone() };
        HeldShift { shift, ..held.clone() }
    }

    #[test]
    fn a_rollout_begins_without_users_and_goes_on_over_reloads() {
        let plan = file(FILE, &[("a", "canary")]);
        let fresh = carry(&[], &plan);
        assert_eq!(fresh, [HeldShift::fresh(&plan.rollouts[0].plan, &plan)]);
        assert_eq!((fresh[0].shift.weight, fresh[0].file_weights), (Share::NONE, (90, 10)));
        let held = under_way(&plan);
        assert_eq!(after(&held, &plan), std::slice::from_ref(&held));
        let other_weights = file([50, 50, 0], &[("a", "canary")]);
        let same = HeldShift { file_weights: (50, 50), ..held };
        assert_eq!(after(&under_way(&plan), &other_weights), [same], "they are the rollout's");
    }

    #[test]
    fn a_mirror_that_is_not_the_rollouts_any_more_is_the_files() {
        let plan = file(FILE, &[("a", "canary")]);
        let held = under_way(&plan);
        let mut other = rollout("a", "shop", "canary", &[]);
        other.mirror = None;
        let plan = loaded(&[("shop", FILE)], vec![other]).plan;
        let shift = Shift { mirror: None, ..held.shift.clone() };
        assert_eq!(after(&held, &plan), [HeldShift { shift, ..held }]);
    }

    #[test]
    fn a_rollout_that_is_taken_out_leaves_its_candidate_without_users() {
        let held = under_way(&file(FILE, &[("a", "canary")]));
        let without = file(FILE, &[]);
        let ended = after(&held, &without);
        assert_eq!(ended, [without_users(&held)]);
        assert_eq!(carry(&ended, &without), ended, "for as long as nobody decides otherwise");
        let shifted = without.shifted(ended.iter().map(|held| &held.shift));
        assert_eq!(shifted.routes[0].variants[1].weight, 0);
        assert_eq!(carry(&ended, &file([80, 20, 0], &[])), []);
        assert_eq!(after(&held, &loaded(&[("blog", FILE)], vec![]).plan), []);
    }

    #[test]
    fn a_promoted_rollout_that_is_taken_out_leaves_the_files_weights() {
        let plan = file(FILE, &[("a", "canary")]);
        let held = HeldShift { promoted: true, ..under_way(&plan) };
        assert_eq!(after(&held, &plan), std::slice::from_ref(&held));
        assert_eq!(after(&held, &file(FILE, &[])), []);
    }

    #[test]
    fn weights_that_changed_under_the_rollout_decide_nothing_when_it_ends() {
        let held = under_way(&file(FILE, &[("a", "canary")]));
        let changed = after(&held, &file([50, 50, 0], &[("a", "canary")]));
        let ended = carry(&changed, &file([50, 50, 0], &[]));
        assert_eq!(ended, [without_users(&changed[0])]);
    }

    #[test]
    fn a_rollout_to_another_candidate_begins_anew_and_brings_the_old_one_not_back() {
        let held = under_way(&file(FILE, &[("a", "canary")]));
        for name in ["a", "b"] {
            let plan = file(FILE, &[(name, "next")]);
            let carried = after(&held, &plan);
            let fresh = HeldShift::fresh(&plan.rollouts[0].plan, &plan);
            assert_eq!(carried, [without_users(&held), fresh]);
            assert!(!carried[0].is_of(&plan.rollouts[0].plan));
            let back = carry(&carried, &file(FILE, &[("a", "canary")]));
            assert_eq!(back.last().map(|held| held.shift.weight), Some(Share::NONE));
        }
    }

    #[test]
    fn a_rollout_under_another_name_takes_the_candidate_over() {
        let held = under_way(&file(FILE, &[("a", "canary")]));
        let plan = file(FILE, &[("b", "canary")]);
        assert_eq!(after(&held, &plan), [HeldShift::fresh(&plan.rollouts[0].plan, &plan)]);
    }
}
