//! What a request says of its route's rollout: how the variant that the split gave it to did at the
//! first attempt. Each request counts once, and what a fallback does afterwards is not asked.

use super::Ctx;
use crate::{
    access_log,
    metrics::Outcome,
    rollout::{Ended, RouteLane, Side},
};
use pingora_proxy::Session;
use std::time::{Duration, Instant};
use tidegate_policies::{Decision, Reason};

/// An attempt at the variant that serves has ended.
pub(super) fn ended(ctx: &mut Ctx, outcome: Outcome) {
    count(ctx, outcome, true);
}

/// The variant switched protocols. A stream counts when it begins, as a good request: counted at
/// their ends, the first that are heard of a new version would be those that broke. How long it
/// lives says nothing about latency.
pub(super) fn streaming(ctx: &mut Ctx) {
    count(ctx, Outcome::Success, false);
}

/// A call that has an answer for so long is a stream.
const STREAM_AFTER: Duration = Duration::from_secs(1);

/// Something of a response came: a call that turns out to be a stream counts as one.
pub(super) fn going_on(ctx: &mut Ctx) {
    if !ctx.grpc || ctx.first.is_some() {
        return;
    }
    let since = ctx.head_after.map(|head| ctx.started.elapsed().saturating_sub(head));
    if since.is_some_and(|since| since > STREAM_AFTER) {
        count(ctx, Outcome::Success, true);
    }
}

fn count(ctx: &mut Ctx, outcome: Outcome, timed: bool) {
    let Some((lane, decision)) = judged(ctx) else { return };
    let serves = ctx.chosen.as_ref().is_some_and(|chosen| chosen.serving == decision.variant);
    if !serves {
        return;
    }
    let Some(side) = lane.side(decision.variant) else { return };
    let now = Instant::now();
    // How long a call's messages take is up to its two ends.
    let head = ctx.head_after.filter(|_| ctx.grpc);
    let took = head.unwrap_or_else(|| now.saturating_duration_since(ctx.started));
    let took = Some(took).filter(|_| timed);
    // A client that hangs up is not the variant's failure; but if it had waited for longer than the
    // variant may take, that is known.
    let aborted = outcome == Outcome::ClientAborted;
    let failed = outcome != Outcome::Success && !aborted;
    let ended = Ended { failed, took };
    if aborted && !lane.lane.is_slow(ended) {
        return;
    }
    let is_judged = lane.lane.judges(ctx.snapshot.generation);
    ctx.first = match ctx.first {
        None if is_judged => {
            lane.lane.count(side, &decision, ended, now);
            Some(ended)
        }
        None => {
            if failed {
                lane.lane.count_failed(side, &decision);
            }
            Some(ended)
        }
        // A stream that began well.
        Some(first) if failed && !first.failed => {
            lane.lane.count_failed(side, &decision);
            Some(Ended { failed, ..first })
        }
        first => first,
    };
}

/// The request is over.
pub(super) fn finish(session: &Session, ctx: &Ctx) {
    let (Some((lane, decision)), Some(first)) = (judged(ctx), ctx.first) else { return };
    match lane.side(decision.variant) {
        Some(Side::Baseline) => {
            let shadow = ctx.shadow.as_ref().zip(lane.mirror);
            let is_queued = shadow.is_some_and(|(shadow, mirror)| shadow.is_queued(mirror));
            if is_queued && lane.lane.judges(ctx.snapshot.generation) {
                lane.lane.count_dark(Side::Baseline, first);
            }
        }
        Some(Side::Candidate) if first.failed && !matches!(decision.reason, Reason::Pin(_)) => {
            if let Some(id) = access_log::request_id(session, ctx) {
                lane.lane.sample(&id);
            }
        }
        _ => {}
    }
}

/// The lane of the request's route, and how the request was decided.
fn judged(ctx: &Ctx) -> Option<(&RouteLane, Decision)> {
    let chosen = ctx.chosen.as_ref()?;
    let lane = ctx.serving().route(chosen.route).lane.as_ref()?;
    Some((lane, chosen.decision))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::testing::{Published, loaded, rollout, start};
    use std::time::Duration;
    use tidegate_judge::{Arm, Tick};
    use tidegate_policies::{Point, RouteId, VariantId};

    fn published() -> Published {
        let rollouts = vec![rollout("shop-v2", "shop", "canary", &[100])];
        start(loaded(&[("shop", [90, 10, 1]), ("blog", [1, 0, 0])], rollouts))
    }

    fn request(published: &Published, route: u32, variant: u16, reason: Reason) -> Ctx {
        let mut ctx = Ctx::new(published.store.load());
        let decision = Decision { variant: VariantId(variant), reason, point: Point(ctx.draw) };
        ctx.choose(RouteId(route), decision);
        ctx
    }

    fn take(published: &Published) -> Tick {
        published.store.load().state.lane(0).expect("a lane").lane.take()
    }

    fn arm(requests: u64, failures: u64, failed: u64, over: u64) -> Arm {
        Arm { requests, failures, failed, over: vec![over] }
    }

    #[test]
    fn a_request_that_its_fallback_saved_is_a_failure_of_its_variant() {
        let published = published();
        let mut ctx = request(&published, 0, 1, Reason::Draw);
        ctx.charge(Outcome::ConnectFailure);
        assert!(ctx.fall_back());
        ctx.charge(Outcome::Success);
        let users = take(&published).users;
        assert_eq!((users.baseline, users.candidate), (arm(0, 0, 0, 0), arm(1, 1, 1, 0)));
    }

    #[test]
    fn what_is_slow_is_counted_from_the_start_of_the_request() {
        let published = published();
        let mut ctx = request(&published, 0, 0, Reason::Keyed(0));
        ctx.started = Instant::now().checked_sub(Duration::from_millis(150)).expect("a time");
        ctx.charge(Outcome::Success);
        let tick = take(&published);
        assert_eq!(tick.users.baseline, arm(1, 0, 0, 1));
        assert_eq!(tick.halves.baseline.requests + tick.halves.candidate.requests, 1);
    }

    #[test]
    fn a_stream_counts_when_it_begins() {
        let published = published();
        let mut ctx = request(&published, 0, 1, Reason::Draw);
        ctx.started = Instant::now().checked_sub(Duration::from_secs(1)).expect("a time");
        streaming(&mut ctx);
        assert_eq!(take(&published).users.candidate, arm(1, 0, 0, 0));
        ctx.charge(Outcome::Reset);
        assert_eq!(take(&published).users.candidate, arm(0, 0, 1, 0));
    }

    #[test]
    fn nobody_else_counts() {
        let published = published();
        for (route, variant, reason, outcome) in [
            (0, 1, Reason::Draw, Outcome::ClientAborted),
            (0, 1, Reason::Pin(0), Outcome::ServerError),
            (0, 2, Reason::Draw, Outcome::ServerError),
            (1, 1, Reason::Draw, Outcome::ServerError),
        ] {
            request(&published, route, variant, reason).charge(outcome);
        }
        let tick = take(&published);
        assert!(tick.users.is_empty() && tick.dark.is_empty(), "{tick:?}");
    }
}
