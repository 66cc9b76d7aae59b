//! Schema to plan: names become positions, conditions become matchers, and everything that can be
//! wrong without the file being malformed is found here. Nothing is resolved, and nothing is read but
//! certificates.

mod guard;
mod headers;
mod health;
mod lint;
mod listener;
mod matching;
mod mirror;
mod names;
mod pins;
mod process;
mod rollout;
mod route;
mod upstream;
mod weights;

use crate::{
    credentials::Credentials,
    plan::Plan,
    problem::{Problems, Span},
    schema::{Document, Included, Rollout, Route, Upstream},
};
use names::Names;
use std::{collections::HashMap, path::Path};
use tidegate_policies::{RouteMatch, RouteTable};

/// Compiles the main file and its includes; `None` when there are errors. Relative paths are taken
/// from `directory`.
pub(crate) fn compile(
    document: &Document,
    included: &[&Included],
    directory: &Path,
    credentials: &mut Credentials<'_>,
    problems: &mut Problems,
) -> Option<Plan> {
    let upstreams: Vec<&Upstream> = document
        .upstreams
        .iter()
        .chain(included.iter().flat_map(|file| file.upstreams.iter()))
        .collect();
    let routes: Vec<&Route> =
        document.routes.iter().chain(included.iter().flat_map(|file| file.routes.iter())).collect();
    let rollouts: Vec<&Rollout> = document
        .rollouts
        .iter()
        .chain(included.iter().flat_map(|file| file.rollouts.iter()))
        .collect();

    let listeners = listener::compile(document, credentials, problems);
    process::resolvers(document, problems);
    let admin = process::admin(document, directory, problems);
    let (compiled_upstreams, upstream_names) = upstream::compile(&upstreams, credentials, problems);
    let memory = document.runtime.mirror_memory.0;
    let (compiled, names) = compile_routes(&routes, &upstream_names, memory, problems);
    let before = problems.errors();
    let found = rollout::Routes { list: &routes, names: &names };
    let compiled_rollouts = rollout::compile(&rollouts, &found, directory, problems);
    let all = document.rollouts.complete && included.iter().all(|file| file.rollouts.complete);
    let certain = all && !problems.names_missing && problems.errors() == before;
    let owners = lint::Owners::new(&rollouts, certain);
    for CompiledRoute { source, plan, .. } in &compiled {
        lint::route(source, plan, &owners, problems);
    }
    let complete = document.routes.complete && included.iter().all(|file| file.routes.complete);
    if routes.is_empty() && complete {
        problems
            .error(document.listeners.span, "there are no routes")
            .help("add `routes:` with at least one route".to_owned());
    }
    if problems.errors() > 0 {
        return None;
    }
    lint::unused_upstreams(&upstreams, &routes, problems);
    let (matches, routes): (Vec<_>, Vec<_>) =
        compiled.into_iter().map(|route| (route.matching, route.plan)).unzip();
    Some(Plan {
        listeners,
        admin,
        runtime: process::runtime(document, directory),
        access_log: process::access_log(document, directory),
        trusted_proxies: document.trusted_proxies.iter().map(|network| network.0).collect(),
        upstreams: compiled_upstreams,
        routes,
        table: RouteTable::build(matches),
        state: process::state(document, directory),
        rollouts: compiled_rollouts,
    })
}

/// A route that can be served from.
struct CompiledRoute<'a> {
    source: &'a Route,
    matching: RouteMatch,
    plan: crate::plan::Route,
}

fn compile_routes<'a>(
    routes: &[&'a Route],
    upstreams: &Names<'_>,
    memory: u64,
    problems: &mut Problems,
) -> (Vec<CompiledRoute<'a>>, Names<'a>) {
    let mut names = Names::new("route");
    let mut matches: HashMap<std::sync::Arc<str>, Span> = HashMap::new();
    let mut compiled = Vec::with_capacity(routes.len());
    for (position, route) in routes.iter().enumerate() {
        names.add(&route.name, position, problems);
        let Some((matching, route_plan)) = route::compile(route, upstreams, memory, problems)
        else {
            continue;
        };
        let first = matches.get(&route_plan.text.matching).copied();
        match first {
            Some(first) => {
                problems
                    .warning(
                        route.name.span,
                        format!("the route `{}` never gets a request", route.name.0),
                    )
                    .note(first, "this route has the same match and comes first");
            }
            None => {
                matches.insert(route_plan.text.matching.clone(), route.name.span);
            }
        }
        compiled.push(CompiledRoute { source: route, matching, plan: route_plan });
    }
    (compiled, names)
}
