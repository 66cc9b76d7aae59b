//! Decisions that were made: read from the journal, beside whoever writes it.

use super::{handlers::Context, problem::Problem, rollouts::missing};
use crate::{rollout::find, server::Shared};
use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_controller::journal::{JournalError, JournalReader, KeptDecision};

/// Decisions that one answer has at most: each has the evidence of all gates.
const MAX_PAGE: usize = 500;

/// Which decisions.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Page {
    /// How many.
    limit: usize,
    /// Older than the one with this number.
    before: Option<i64>,
}

impl Default for Page {
    fn default() -> Self {
        Self { limit: 50, before: None }
    }
}

/// The decisions about one rollout, newest first.
pub(super) async fn decisions(
    State(shared): Context,
    Path(name): Path<String>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let bad = |why: String| Problem::new(StatusCode::BAD_REQUEST, why);
    let Query(Page { limit, before }) = page.map_err(|error| bad(error.body_text()))?;
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(bad(format!("`limit` is 1 to {MAX_PAGE}")));
    }
    let rollout = name.clone();
    let kept = read(&shared, move |journal| journal.decisions(Some(&rollout), limit, before));
    let kept = kept.await?;
    // A rollout that is gone has its history all the same.
    if kept.is_empty() && before.is_none() && find(&shared.control.board(), &name).is_none() {
        return Err(missing(&shared, &name));
    }
    let next = (kept.len() == limit).then(|| kept.last().map(|decision| decision.id));
    let decisions = kept.iter().map(with_id).collect::<Result<Vec<_>, _>>()?;
    Ok(Json(json!({ "rollout": name, "decisions": decisions, "next_before": next.flatten() })))
}

/// Reads the journal; nothing is found where there is none.
///
/// # Errors
/// When it cannot be read.
pub(super) async fn read<T: Default + Send + 'static>(
    shared: &Shared,
    work: impl FnOnce(&JournalReader) -> Result<T, JournalError> + Send + 'static,
) -> Result<T, Problem> {
    let path = shared.control.state.clone();
    let unreadable = |why: String| Problem::new(StatusCode::SERVICE_UNAVAILABLE, why);
    let work = tokio::task::spawn_blocking(move || work(&JournalReader::new(&path)));
    let read = work.await.map_err(|error| unreadable(error.to_string()))?;
    read.map_err(|error| unreadable(error.to_string()))
}

/// The decision as JSON, with its number.
///
/// # Errors
/// When what the journal has is no JSON.
pub(super) fn with_id(kept: &KeptDecision) -> Result<Value, Problem> {
    let mut decision: Value = serde_json::from_str(&kept.json).map_err(|error| {
        let detail = format!("decision {} in the journal cannot be read: {error}", kept.id);
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    })?;
    if let Value::Object(members) = &mut decision {
        members.insert("id".to_owned(), json!(kept.id));
    }
    Ok(decision)
}
