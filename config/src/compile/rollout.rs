//! Rollouts: who moves which weights, by which steps, behind which gates.

mod gates;
mod lint;
mod mirror;
mod steps;

use super::Names;
use crate::{
    plan::{Rollout as Compiled, Webhook},
    problem::{Problems, Span, Spanned},
    schema::{Rollout, Route},
    value::{Share, Weight},
};
use mirror::Dark;
use std::{collections::HashMap, path::Path, sync::Arc};
use tidegate_judge::{Plan, Risk};

/// Each is some series in the metrics.
const MAX_ROLLOUTS: usize = 64;

/// All routes, and their positions by name.
pub(super) struct Routes<'a> {
    pub(super) list: &'a [&'a Route],
    pub(super) names: &'a Names<'a>,
}

/// The two variants that a rollout is about.
#[derive(Clone, Copy)]
struct Arms<'a> {
    /// Position in the route.
    baseline: usize,
    /// Position in the route.
    candidate: usize,
    route: &'a Route,
}

/// Compiles the rollouts; those with an error are left out. Relative paths are taken from
/// `directory`.
pub(super) fn compile(
    rollouts: &[&Rollout],
    routes: &Routes<'_>,
    directory: &Path,
    problems: &mut Problems,
) -> Vec<Compiled> {
    let mut names = Names::new("rollout");
    let mut owners: HashMap<usize, Span> = HashMap::new();
    let mut compiled = Vec::with_capacity(rollouts.len().min(MAX_ROLLOUTS));
    for (position, rollout) in rollouts.iter().enumerate() {
        if position == MAX_ROLLOUTS {
            problems
                .error(rollout.name.span, format!("there are more than {MAX_ROLLOUTS} rollouts"))
                .help("remove those that are over".to_owned());
            break;
        }
        names.add(&rollout.name, position, problems);
        let found = routes.names.find(&rollout.route, problems);
        if let Some(route) = found {
            owned_once(rollout, route, &mut owners, problems);
        }
        let route = found.and_then(|position| routes.list.get(position).copied());
        compiled.extend(one(rollout, route, directory, problems));
    }
    compiled
}

/// Two owners of the same weights would undo each other's work.
fn owned_once(
    rollout: &Rollout,
    route: usize,
    owners: &mut HashMap<usize, Span>,
    problems: &mut Problems,
) {
    if let Some(first) = owners.get(&route) {
        let name = &rollout.route.value.0;
        problems
            .error(rollout.route.span, format!("the route `{name}` has another rollout"))
            .help("a route has one rollout at a time: remove the one that is over".to_owned())
            .note(*first, "the other one is here");
        return;
    }
    owners.insert(route, rollout.route.span);
}

fn one(
    rollout: &Rollout,
    route: Option<&Route>,
    directory: &Path,
    problems: &mut Problems,
) -> Option<Compiled> {
    let before = problems.errors();
    let arms = route.and_then(|route| arms(rollout, route, problems));
    let dark = match route {
        Some(route) => mirror::find(rollout, route, arms.map(|arms| arms.candidate), problems),
        None => Dark::Unknown,
    };
    let steps = steps::compile(rollout, dark, problems);
    let gates = gates::compile(rollout, dark, problems);
    let alpha = risk("alpha", &rollout.alpha, problems);
    let beta = risk("beta", &rollout.beta, problems);
    let (alpha, beta, arms) = (alpha?, beta?, arms?);
    if problems.errors() > before {
        return None;
    }
    lint::warn(rollout, arms, dark, &steps, problems);
    let plan = Plan {
        name: rollout.name.value.0.clone(),
        route: rollout.route.value.0.clone(),
        baseline: rollout.baseline.value.0.clone(),
        candidate: rollout.candidate.value.0.clone(),
        mirror: dark.mirror().map(|mirror| mirror.name.value.0.clone()),
        revision: rollout.revision.0.clone(),
        steps,
        gates,
        alpha,
        beta,
        advance_when: rollout.advance_when.value.0,
        failed_requests: rollout.budget.failed_requests.map(std::num::NonZero::get),
        on_breach: rollout.on_breach.0,
    };
    let notify = rollout.notify.iter().map(|target| Webhook {
        url: target.webhook.0.as_str().into(),
        secret_file: target.secret_file.as_ref().map(|file| directory.join(&file.0)),
    });
    Some(Compiled {
        plan: Arc::new(plan),
        notify: notify.collect(),
        drain_streams: rollout.on_streams.as_ref().map(|streams| streams.drain.0),
    })
}

/// Finds the two variants, and says why they cannot be the two of a rollout.
fn arms<'a>(rollout: &Rollout, route: &'a Route, problems: &mut Problems) -> Option<Arms<'a>> {
    // Those that were left out because of an error are no second error.
    let mut names = Names::new("variant");
    for (position, variant) in route.variants.iter().enumerate() {
        names.add_known(&variant.name, position);
    }
    let baseline = names.find(&rollout.baseline, problems);
    let candidate = names.find(&rollout.candidate, problems);
    let (baseline, candidate) = (baseline?, candidate?);
    if baseline == candidate {
        problems
            .error(rollout.candidate.span, "the candidate is the baseline")
            .help(format!("name another variant of the route `{}`", route.name.value.0));
        return None;
    }
    if baseline != 0 && route.variants.complete {
        let (name, first) = (&rollout.baseline.value.0, &route.variants[0].name.value.0);
        problems
            .error(
                rollout.baseline.span,
                format!("`{name}` is not the first variant of the route `{}`", route.name.value.0),
            )
            .help(format!(
                "make it the first, or make `{first}` the baseline: only while share moves from \
                 and to the first variant does growing another take no user out of it"
            ));
    }
    let arms = Arms { baseline, candidate, route };
    if arms.weights() == Some(0) {
        let (baseline, candidate) = (&rollout.baseline.value.0, &rollout.candidate.value.0);
        problems
            .error(
                rollout.candidate.span,
                format!("the weights of `{baseline}` and `{candidate}` add up to 0"),
            )
            .help(format!(
                "give `{baseline}` a weight above 0: a rollout shares out what the two have"
            ));
    }
    Some(arms)
}

impl Arms<'_> {
    fn weight(&self, position: usize) -> Option<Spanned<Weight>> {
        self.route.variants.get(position)?.weight
    }

    /// The sum of the weights in the file; `None` where one is wrong or absent, which is an error
    /// of the route's.
    fn weights(&self) -> Option<u32> {
        let number = |position: usize| match self.weight(position)?.value {
            Weight::Integer(number) | Weight::Percent(number) => Some(number),
            Weight::Wrong => None,
        };
        number(self.baseline)?.checked_add(number(self.candidate)?)
    }
}

fn risk(key: &str, share: &Spanned<Share>, problems: &mut Problems) -> Option<Risk> {
    let risk = Risk::from_millionths(share.value.0);
    if risk.is_none() {
        problems
            .error(share.span, format!("`{key}` has to be above 0% and below 50%"))
            .help("it is the chance of an error: 1% and 5% are usual".to_owned());
    }
    risk
}
