//! The endpoints about rollouts.

use super::{handlers::Context, problem::Problem, tokens::Actor};
use crate::{rollout::find, server::Shared, serving::Serving};
use axum::{
    Extension, Json, Router,
    body::Bytes,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use tidegate_controller::{Board, Refusal, Shown};
use tidegate_judge::{Report, State as RunState, Verb};

/// Verbs that need no more than a name.
const PLAIN: [Verb; 4] = [Verb::Pause, Verb::Resume, Verb::Abort, Verb::Retry];

/// All of them.
pub(super) fn routes() -> Router<Arc<Shared>> {
    let mut routes = Router::new()
        .route("/api/v1/rollouts", get(all))
        .route("/api/v1/rollouts/{name}", get(one))
        .route("/api/v1/rollouts/{name}/promote", post(promote))
        .route("/api/v1/freeze", post(freeze).delete(thaw));
    for verb in PLAIN {
        let path = format!("/api/v1/rollouts/{{name}}/{}", verb.name());
        let act = move |State(shared): Context, Path(name): Path<String>, actor| async move {
            act(&shared, &name, verb, actor).await
        };
        routes = routes.route(&path, post(act));
    }
    routes
}

/// All rollouts, and whether they may go on.
async fn all(State(shared): Context) -> Json<Value> {
    let (snapshot, board) = (shared.store.load(), shared.control.board());
    let serving = &snapshot.state;
    let rollouts: Vec<Value> =
        board.rollouts.iter().map(|shown| describe(serving, shown)).collect();
    let mut body = around(&board);
    body["generation"] = json!(snapshot.generation);
    body["rollouts"] = json!(rollouts);
    body["webhooks"] = json!(board.webhooks);
    body["not_started"] = json!(not_started(serving, &board));
    Json(body)
}

async fn one(State(shared): Context, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    show(&shared, &name)
}

/// The rollout, and what holds all of them up.
fn show(shared: &Shared, name: &str) -> Result<Json<Value>, Problem> {
    let (snapshot, board) = (shared.store.load(), shared.control.board());
    let Some(shown) = find(&board, name) else { return Err(missing(shared, name)) };
    let mut body = describe(&snapshot.state, shown);
    if let (Value::Object(body), Value::Object(around)) = (&mut body, around(&board)) {
        body.extend(around);
    }
    body["generation"] = json!(snapshot.generation);
    Ok(Json(body))
}

/// Rollouts of the configuration that wait for a freeze to end, or for the journal.
fn not_started<'a>(serving: &'a Serving, board: &Board) -> Vec<&'a str> {
    let wanted = serving.plan().rollouts.iter().map(|rollout| rollout.plan.name.as_str());
    wanted.filter(|name| find(board, name).is_none()).collect()
}

/// Why there is nothing to see of the rollout `name`.
pub(super) fn missing(shared: &Shared, name: &str) -> Problem {
    let (snapshot, board) = (shared.store.load(), shared.control.board());
    let rollout = name.to_owned();
    let known = board.rollouts.iter().map(|shown| shown.report.rollout.clone()).collect();
    let missing = match not_started(&snapshot.state, &board).contains(&name) {
        true => Refusal::NotStarted(rollout),
        false => Refusal::Unknown { rollout, known },
    };
    refused(&board, name, &missing)
}

/// What is the same for all rollouts.
fn around(board: &Board) -> Value {
    json!({
        "freeze": board.freeze,
        "store_error": board.store_error,
        "undurable": board.undurable,
    })
}

fn describe(serving: &Serving, shown: &Shown) -> Value {
    let mut body = json!(shown);
    body["realised_share"] = json!(realised(serving, &shown.report));
    body
}

/// The candidate's share of what the split gave to the two variants under these weights; `None`
/// before there was anything.
fn realised(serving: &Serving, report: &Report) -> Option<f64> {
    let routes = &serving.plan().routes;
    let position = routes.iter().position(|route| *route.name == *report.route)?;
    let (plan, handles) = (&routes[position], &serving.routes[position]);
    let decided = |name: &str| {
        let position = plan.variants.iter().position(|variant| *variant.name == *name)?;
        handles.variants.get(position).map(|variant| variant.decided())
    };
    let (baseline, candidate) = (decided(&report.baseline)?, decided(&report.candidate)?);
    let both = baseline + candidate;
    (both > 0).then(|| candidate as f64 / both as f64)
}

/// How many rollouts are in which state, for `/api/v1/status`.
pub(super) fn summary(board: &Board) -> Value {
    let mut body = around(board);
    body["webhooks"] = json!(board.webhooks);
    for state in RunState::ALL {
        let rollouts = board.rollouts.iter().filter(|shown| !shown.removed);
        body[state.name()] = json!(rollouts.filter(|shown| shown.report.state == state).count());
    }
    body
}

/// What `promote` may say more.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Promotion {
    /// To everybody at once.
    full: bool,
}

async fn promote(
    State(shared): Context,
    Path(name): Path<String>,
    query: Result<Query<Promotion>, QueryRejection>,
    actor: Extension<Actor>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let bad = |why: String| Problem::new(StatusCode::BAD_REQUEST, why);
    let Query(query) = query.map_err(|error| bad(error.body_text()))?;
    let body: Promotion = match &body[..] {
        [] => Promotion::default(),
        body => serde_json::from_slice(body).map_err(|error| bad(error.to_string()))?,
    };
    let verb = if query.full || body.full { Verb::PromoteFull } else { Verb::Promote };
    act(&shared, &name, verb, actor).await
}

async fn act(
    shared: &Shared,
    name: &str,
    verb: Verb,
    Extension(actor): Extension<Actor>,
) -> Result<Json<Value>, Problem> {
    match shared.control.act(name, verb, &actor.0).await {
        Ok(()) => show(shared, name),
        // The configuration may have it since a moment ago.
        Err(Refusal::Unknown { .. }) => Err(missing(shared, name)),
        Err(refusal) => Err(refused(&shared.control.board(), name, &refusal)),
    }
}

async fn freeze(State(shared): Context, actor: Extension<Actor>) -> Result<Json<Value>, Problem> {
    set_freeze(&shared, true, actor).await
}

async fn thaw(State(shared): Context, actor: Extension<Actor>) -> Result<Json<Value>, Problem> {
    set_freeze(&shared, false, actor).await
}

async fn set_freeze(
    shared: &Shared,
    freeze: bool,
    Extension(actor): Extension<Actor>,
) -> Result<Json<Value>, Problem> {
    match shared.control.freeze(freeze, &actor.0).await {
        Ok(()) => Ok(Json(json!({ "freeze": shared.control.board().freeze }))),
        Err(refusal) => Err(refused(&shared.control.board(), "", &refusal)),
    }
}

/// Why something was not done, as a problem.
fn refused(board: &Board, name: &str, refusal: &Refusal) -> Problem {
    let problem = |status| Problem::new(status, refusal.to_string());
    match refusal {
        Refusal::Unknown { known, .. } => unknown(refusal, known),
        Refusal::Illegal(illegal) => problem(StatusCode::CONFLICT)
            .with("state", json!(find(board, name).map(|shown| shown.report.state)))
            .with("possible", json!(illegal.possible)),
        Refusal::NotStarted(_) => {
            problem(StatusCode::CONFLICT).with("store_error", json!(board.store_error))
        }
        Refusal::Freeze { .. } => problem(StatusCode::CONFLICT),
        Refusal::Unkept(_) | Refusal::HandedOver | Refusal::Busy => {
            problem(StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}

/// There is none of this name, and which there are.
fn unknown(refusal: &Refusal, known: &[String]) -> Problem {
    let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    let there_is = match &names[..] {
        [] => "the configuration has none".to_owned(),
        names => format!("there is {}", names.join(", ")),
    };
    let detail = format!("{refusal}: {there_is}");
    Problem::new(StatusCode::NOT_FOUND, detail).with("known", json!(known))
}
