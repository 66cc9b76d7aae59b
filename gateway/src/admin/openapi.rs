//! The admin API's own description (OpenAPI 3.1).

use axum::Json;
use serde_json::{Map, Value, json};

/// Every endpoint: method, path, what it answers.
const ENDPOINTS: &[(&str, &str, &str)] = &[
    ("get", "/healthz", "200 as long as the process lives"),
    ("get", "/readyz", "200 while new requests are welcome, 503 before and while draining"),
    ("get", "/metrics", "Prometheus text format"),
    ("get", "/openapi.json", "This document"),
    ("get", "/api/v1/status", "Version, listeners, the configuration's generation and last error"),
    ("get", "/api/v1/routes", "All routes with their variants' weights and shares"),
    ("get", "/api/v1/routes/{name}", "One route"),
    ("get", "/api/v1/upstreams", "Pools, their endpoints with state, load and last check"),
    ("get", "/api/v1/mirrors", "All mirrors: what became of every request, load, memory"),
    ("get", "/api/v1/mirrors/{route}/{mirror}", "One mirror"),
    (
        "get",
        "/api/v1/mirrors/{route}/{mirror}/diffs",
        "Which fields of the dark version's answers differ, the most certain difference first",
    ),
    (
        "delete",
        "/api/v1/mirrors/{route}/{mirror}/diffs",
        "204; forgets what was found, for a new dark version",
    ),
    ("get", "/api/v1/rollouts", "All rollouts, and what holds all of them up"),
    ("get", "/api/v1/rollouts/{name}", "One rollout: state, steps, gates with their evidence"),
    (
        "get",
        "/api/v1/rollouts/{name}/decisions",
        "Who decided what, when and why, newest first; query: limit (50), before (a number)",
    ),
    (
        "post",
        "/api/v1/rollouts/{name}/promote",
        "On to the next step, or to everybody with ?full=true; 409 where the state forbids it",
    ),
    ("post", "/api/v1/rollouts/{name}/pause", "Stays in the step; a bad gate still acts"),
    ("post", "/api/v1/rollouts/{name}/resume", "Goes on; a gate that was bad starts afresh"),
    ("post", "/api/v1/rollouts/{name}/abort", "Takes the candidate away from everybody"),
    ("post", "/api/v1/rollouts/{name}/retry", "Runs a revision again that ended badly"),
    ("post", "/api/v1/freeze", "No rollout starts or advances; 409 if that is so already"),
    ("delete", "/api/v1/freeze", "All rollouts may go on; 409 if they may already"),
    (
        "get",
        "/api/v1/events",
        "Server-sent events: each decision once it is durable; Last-Event-ID is honoured",
    ),
    ("get", "/api/v1/config", "The configuration in force, secrets redacted"),
    (
        "post",
        "/api/v1/config/reload",
        "Loads the files again; 422 with every error if they are bad",
    ),
    ("post", "/api/v1/explain", "Which variant a request would get, and why"),
];

/// Answers with the document.
pub(super) async fn document() -> Json<Value> {
    let mut paths = Map::new();
    for (method, path, summary) in ENDPOINTS {
        let forgets = *method == "delete" && path.ends_with("/diffs");
        let success = if forgets { "204" } else { "200" };
        let mut operation = json!({
            "summary": summary,
            "responses": {
                success: { "description": "Success" },
                "default": {
                    "description": "A problem",
                    "content": { "application/problem+json": {
                        "schema": { "$ref": "#/components/schemas/Problem" },
                    } },
                },
            },
        });
        let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let parameters: Vec<_> = names
            .map(|name| {
                json!({
                    "name": name, "in": "path", "required": true, "schema": { "type": "string" },
                })
            })
            .collect();
        if !parameters.is_empty() {
            operation["parameters"] = json!(parameters);
        }
        if path.ends_with("/explain") {
            operation["requestBody"] = json!({ "required": true, "content": {
                "application/json": { "schema": { "$ref": "#/components/schemas/Question" } },
            } });
        }
        if path.ends_with("/promote") {
            operation["requestBody"] = json!({ "required": false, "content": {
                "application/json": { "schema": { "$ref": "#/components/schemas/Promotion" } },
            } });
        }
        let item = paths.entry(*path).or_insert_with(|| json!({}));
        item[*method] = operation;
    }
    Json(json!({
        "openapi": "3.1.0",
        "info": { "title": "Tidegate admin API", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": { "schemas": schemas() },
    }))
}

fn schemas() -> Value {
    json!({
        "Problem": {
            "description": "RFC 9457 problem details",
            "type": "object",
            "properties": {
                "type": { "type": "string" },
                "title": { "type": "string" },
                "status": { "type": "integer" },
                "detail": { "type": "string" },
            },
        },
        "Promotion": {
            "type": "object",
            "additionalProperties": false,
            "properties": { "full": {
                "type": "boolean", "default": false, "description": "To everybody at once",
            } },
        },
        "Question": {
            "type": "object",
            "additionalProperties": false,
            "required": ["url"],
            "properties": {
                "url": { "type": "string", "description": "http://host/path?query" },
                "method": { "type": "string", "default": "GET" },
                "headers": {
                    "type": "array",
                    "items": { "type": "array", "items": { "type": "string" },
                        "minItems": 2, "maxItems": 2 },
                },
                "client": { "type": "string", "default": "127.0.0.1" },
            },
        },
    })
}
