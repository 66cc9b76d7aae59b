//! What must hold of what is kept, whenever the gateway was killed.

use super::{number, text};
use anyhow::{Result, ensure};
use serde_json::Value;
use std::{collections::HashSet, time::Duration};
use tidegate_tests::Kept;

/// What a step asks before it is over; `None`: a person.
pub(super) type Until = Option<(Duration, u64)>;

/// Between the two clocks: a decision is stamped by the wall's, in whole milliseconds.
const ROUNDING: u64 = 5;

/// Decisions are never changed, taken back or put in between.
pub(super) fn nothing_forgotten(before: &Kept, after: &Kept) -> Result<()> {
    let (old, new) = (&before.decisions, &after.decisions);
    ensure!(new.starts_with(old), "decisions were changed: {old:#?} became {new:#?}");
    let ids = new.iter().map(|one| number(&one["id"])).collect::<Result<Vec<_>>>()?;
    ensure!(ids.is_sorted_by(|a, b| a < b), "ids do not grow: {ids:?}");
    Ok(())
}

/// The run is where the last decision left it.
pub(super) fn state_follows(kept: &Kept) -> Result<()> {
    let (Some(run), Some(last)) = (kept.runs.get("v2"), kept.decisions.last()) else {
        ensure!(
            kept.runs.is_empty() && kept.decisions.is_empty(),
            "one without the other: {kept:#?}"
        );
        return Ok(());
    };
    let here = (number(&run["number"])?, position(run)? + 1, run["plan"]["revision"].clone());
    let there = (number(&last["run"])?, number(&last["step"])?, last["revision"].clone());
    ensure!(here == there, "the run is at {here:?}, and was left at {there:?}");
    let ended = &run["status"]["ended"]["outcome"];
    let paused = run["status"]["active"]["pause"] != Value::Null;
    let fits = match text(&last["action"])? {
        action @ ("rolled_back" | "promoted" | "aborted") => ended == action,
        "paused" => paused,
        _ => ended.is_null() && !paused,
    };
    ensure!(fits, "{} does not follow from {last}", run["status"]);
    Ok(())
}

/// A revision begins once, nothing follows its end, and nobody gets what was rolled back.
pub(super) fn ended_for_good(kept: &Kept) -> Result<()> {
    let (mut begun, mut ended) = (HashSet::new(), HashSet::new());
    for one in &kept.decisions {
        let revision = text(&one["revision"])?;
        ensure!(!ended.contains(revision), "after its end: {one}");
        match text(&one["action"])? {
            "started" => ensure!(begun.insert(revision), "it began again: {one}"),
            action @ ("rolled_back" | "promoted") => {
                ensure!((action == "promoted") == (one["weight"] == 1_000_000), "{one}");
                ended.insert(revision);
            }
            _ => {}
        }
        ensure!(begun.contains(revision), "it never began: {one}");
    }
    Ok(())
}

/// Whoever went on by itself had held its step, while there was a gateway, and had the requests.
/// `lives` are the times of all gateways.
pub(super) fn earned(kept: &Kept, steps: &[Until], lives: &[(u64, u64)]) -> Result<()> {
    // Since when the step is held, and for how long it was before.
    let (mut since, mut held) = (0, 0);
    for one in &kept.decisions {
        let (action, time) = (text(&one["action"])?, number(&one["time"])?);
        let by_itself = one["actor"] == "controller";
        if matches!(action, "advanced" | "promoted") && by_itself {
            let step = number(&one["step"])? - u64::from(action == "advanced");
            let Some(Some((hold, requests))) = steps.get(step as usize - 1) else {
                anyhow::bail!("step {step} waits for a person: {one}");
            };
            let held = held + alive(lives, since, time) + ROUNDING;
            ensure!(u128::from(held) >= hold.as_millis(), "held for {held} ms only: {one}");
            let had = number(&one["gates"][0]["step"]["requests"][1])?;
            ensure!(had >= *requests, "{had} requests only: {one}");
        }
        match action {
            "paused" => held += alive(lives, since, time),
            "resumed" => since = time,
            _ => (since, held) = (time, 0),
        }
    }
    Ok(())
}

/// How long there was a gateway in this time, in milliseconds.
fn alive(lives: &[(u64, u64)], from: u64, to: u64) -> u64 {
    lives.iter().map(|(begin, end)| to.min(*end).saturating_sub(from.max(*begin))).sum()
}

/// The evidence of a run grows by what was counted, and by nothing else.
pub(super) fn evidence_grows(before: &Kept, after: &Kept, life: Duration, hits: u64) -> Result<()> {
    let Some(new) = after.runs.get("v2") else { return Ok(()) };
    let counted = counted(new)?;
    ensure!(counted[1] <= hits, "{counted:?} were counted, and the candidate had {hits}");
    let Some(old) = before.runs.get("v2").filter(|old| old["number"] == new["number"]) else {
        return Ok(());
    };
    let earlier = self::counted(old)?;
    ensure!(earlier[0] <= counted[0] && earlier[1] <= counted[1], "{earlier:?}, then {counted:?}");
    if (&old["status"]["active"]["step"], &old["status"]["active"]["since"])
        == (&new["status"]["active"]["step"], &new["status"]["active"]["since"])
        && new["status"]["active"].is_object()
    {
        let (earlier, later) = (held(old)?, held(new)?);
        ensure!(earlier <= later, "held for {earlier:?}, then for {later:?}");
        ensure!(later <= earlier + life, "held for {earlier:?}, {life:?} later for {later:?}");
    }
    Ok(())
}

/// What the gateway showed of the rollout is in what it left.
pub(super) fn shown_is_kept(shown: &Value, after: &Kept) -> Result<()> {
    let state = text(&shown["state"])?;
    let at = (&shown["run"], &shown["step"]);
    let mut there = after.decisions.iter().filter(|one| (&one["run"], &one["step"]) == at);
    let known = there.any(|one| match state {
        "rolled_back" | "promoted" | "paused" => one["action"] == state,
        _ => true,
    });
    ensure!(known, "shown and not kept: {state} at {at:?}; kept: {:#?}", after.decisions);
    Ok(())
}

/// What a life shows first is what the one before left, if nothing was decided yet.
pub(super) fn resumed(before: &Value, shown: &Value, life: Duration, sent: u64) -> Result<()> {
    let left = (&before["number"], position(before)? + 1);
    let found = (&shown["run"], number(&shown["step"])?);
    ensure!(left == found, "left at {left:?}, resumed at {found:?}");
    let (weight, outcome) = (&shown["weight"], &before["status"]["ended"]["outcome"]);
    ensure!(weight == weight_of(before)?, "resumed with the weight {weight}: {before}");
    if !outcome.is_null() {
        ensure!(shown["state"] == *outcome, "{outcome} became {}", shown["state"]);
        return Ok(());
    }
    let paused = !before["status"]["active"]["pause"].is_null();
    ensure!(paused == (shown["state"] == "paused"), "paused: {paused}, then {}", shown["state"]);
    let (earlier, counted) = (counted(before)?, number(&shown["gates"][0]["run"]["requests"][1])?);
    ensure!(
        (earlier[1]..=earlier[1] + sent).contains(&counted),
        "{earlier:?} were counted, then {counted}, of {sent} that were sent"
    );
    let (earlier, later) = (held(before)?, shown["held_seconds"].as_f64().unwrap_or(f64::NAN));
    let later = Duration::try_from_secs_f64(later)?;
    ensure!(earlier <= later + Duration::from_micros(1), "{earlier:?}, then {later:?}");
    ensure!(later <= earlier + life, "{earlier:?}, then {later:?} after {life:?}");
    Ok(())
}

/// The candidate's weight that a run asks for, in millionths.
pub(super) fn weight_of(run: &Value) -> Result<u64> {
    match &run["status"]["ended"]["outcome"] {
        Value::Null => number(&run["plan"]["steps"][position(run)? as usize]["weight"]),
        outcome => Ok(if outcome == "promoted" { 1_000_000 } else { 0 }),
    }
}

/// The step that a run is in, or ended in, from 0.
pub(super) fn position(run: &Value) -> Result<u64> {
    let status = &run["status"];
    let status = if status["active"].is_object() { &status["active"] } else { &status["ended"] };
    number(&status["step"])
}

/// Requests of both versions that a run was judged by.
pub(super) fn counted(run: &Value) -> Result<[u64; 2]> {
    let requests = &run["gates"][0]["run"]["requests"];
    Ok([number(&requests[0])?, number(&requests[1])?])
}

/// How long the step was held.
pub(super) fn held(run: &Value) -> Result<Duration> {
    let held = &run["status"]["active"]["held"];
    Ok(Duration::new(number(&held["secs"])?, number(&held["nanos"])? as u32))
}
