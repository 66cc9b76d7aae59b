//! `tidegate diff`.

use super::{explain::percent, output};
use serde_json::{Value, json};
use std::{fmt::Write, path::Path, process::ExitCode, sync::Arc};
use tidegate_config::{PlanDiff, RouteDiff, WeightDiff};

pub(super) fn diff(old: &Path, new: &Path, as_json: bool) -> ExitCode {
    let load = |file| tidegate_config::load(file, None);
    let (old, new) = match (load(old), load(new)) {
        (Ok(old), Ok(new)) => (old, new),
        (Err(failure), _) | (_, Err(failure)) => return output::fail_config(&failure),
    };
    let diff = tidegate_config::diff(&old.plan, &new.plan);
    if as_json { output::print_json(&to_json(&diff)) } else { output::print(&in_words(&diff)) }
}

fn in_words(diff: &PlanDiff) -> String {
    if diff.is_empty() {
        return "no difference\n".to_owned();
    }
    let mut text = String::new();
    for route in &diff.added {
        let _ = writeln!(text, "+ route {route}");
    }
    for route in &diff.removed {
        let _ = writeln!(text, "- route {route}");
    }
    for route in &diff.changed {
        let _ = writeln!(text, "~ route {}", route.name);
        for weight in route.weights.iter().filter(|weight| weight.old != weight.new) {
            let _ = writeln!(text, "    {}", weight_in_words(weight));
        }
        for what in &route.what {
            let _ = writeln!(text, "    {what}");
        }
        let moved = percent(route.moved);
        let _ = writeln!(text, "    {moved} of users get another variant than before");
    }
    for what in &diff.other {
        let _ = writeln!(text, "~ {what}");
    }
    for what in &diff.restart {
        let _ = writeln!(text, "! {what}: takes effect after a restart");
    }
    text
}

fn weight_in_words(weight: &WeightDiff) -> String {
    let side = |weight: Option<u32>, share: f64| match weight {
        Some(weight) => format!("{weight} ({})", percent(share)),
        None => "none".to_owned(),
    };
    let (old, new) = (side(weight.old, weight.old_share), side(weight.new, weight.new_share));
    format!("{}: weight {old} -> {new}", weight.variant)
}

fn to_json(diff: &PlanDiff) -> Value {
    let names = |names: &[Arc<str>]| names.iter().map(|name| json!(&**name)).collect::<Vec<_>>();
    json!({
        "added": names(&diff.added),
        "removed": names(&diff.removed),
        "changed": diff.changed.iter().map(route_json).collect::<Vec<_>>(),
        "other": diff.other,
        "restart": diff.restart,
    })
}

fn route_json(route: &RouteDiff) -> Value {
    let weight = |weight: &WeightDiff| {
        json!({
            "variant": &*weight.variant,
            "old": weight.old,
            "new": weight.new,
            "old_share": weight.old_share,
            "new_share": weight.new_share,
        })
    };
    json!({
        "name": &*route.name,
        "what": route.what,
        "weights": route.weights.iter().map(weight).collect::<Vec<_>>(),
        "moved_users": route.moved,
    })
}
