//! The whole file, its JSON Schema, and the list of its keys.

use super::{
    Rollout, Route, State, Upstream,
    listener::Listener,
    process::{AccessLog, Admin, Runtime},
};
use crate::{
    address::Network,
    decode::{Decode, List, schema, wrong_type},
    problem::{Problems, Spanned},
    text::Text,
    yaml::{Kind, Node},
};
use serde_json::{Value, json};

schema! {
    /// The configuration of a Tidegate gateway.
    struct Document {
        /// Files whose upstreams and routes belong to this configuration: a path or a list of
        /// paths, relative to this file, with `*` in the last part.
        include: Include = [],
        /// Addresses that accept clients.
        listeners: Spanned<List<Listener>>,
        /// The admin API and metrics. Absent: none.
        admin: Option<Admin>,
        /// Where the state of rollouts is kept. Absent: `tidegate.db` beside this file, if there
        /// are rollouts.
        state: Option<State>,
        /// Settings of the process.
        runtime: Runtime = {},
        /// One line for each request. Absent: none.
        access_log: Option<AccessLog>,
        /// Peers whose `x-forwarded-*` headers are believed: networks or addresses.
        trusted_proxies: List<Network> = [],
        /// Named pools of endpoints.
        upstreams: List<Upstream> = [],
        /// Matches and what to do with them.
        routes: List<Route> = [],
        /// Plans that move weight step by step.
        rollouts: List<Rollout> = [],
    }

    /// A file named by `include`.
    struct Included {
        /// Named pools of endpoints.
        upstreams: List<Upstream> = [],
        /// Matches and what to do with them.
        routes: List<Route> = [],
        /// Plans that move weight step by step.
        rollouts: List<Rollout> = [],
    }
}

/// `include`: a pattern or a list of them.
#[derive(Debug)]
pub(crate) struct Include(pub(crate) Vec<Spanned<Text>>);

impl Decode for Include {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.kind {
            Kind::Seq(_) => List::decode(node, problems).map(|list| Self(list.items)),
            Kind::Scalar { .. } => {
                Spanned::decode(node, problems).map(|pattern| Self(vec![pattern]))
            }
            Kind::Map(_) => wrong_type(node, "a path such as `routes.d/*.yaml`", problems),
        }
    }

    fn schema() -> Value {
        let path = <Text as Decode>::schema();
        json!({ "anyOf": [path, { "type": "array", "items": path }] })
    }
}

/// The JSON Schema (draft 2020-12) of a configuration file, for editors.
pub fn json_schema() -> Value {
    let mut schema = Document::schema();
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Tidegate");
    schema
}

/// One key of the configuration, for documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct SchemaKey {
    /// Where it is, as in `routes[].variants[].weight`.
    pub path: String,
    /// What it means.
    pub description: String,
    /// The value of an absent key.
    pub default: Option<Value>,
    /// It has to be there.
    pub required: bool,
}

/// All keys of the configuration, parents before children, in alphabetical order.
pub fn schema_keys() -> Vec<SchemaKey> {
    let mut keys = Vec::new();
    collect(&json_schema(), "", &mut keys);
    keys
}

fn collect(schema: &Value, path: &str, keys: &mut Vec<SchemaKey>) {
    for alternative in schema["anyOf"].as_array().into_iter().flatten() {
        // A list of things and one such thing have the same keys: those of the list are enough.
        let single = alternative["type"] == "object" && schema["anyOf"][0]["type"] == "array";
        if !single {
            collect(alternative, path, keys);
        }
    }
    if schema["type"] == "array" {
        collect(&schema["items"], &format!("{path}[]"), keys);
    }
    let required = |name: &str| {
        schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name))
    };
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let dot = if path.is_empty() { "" } else { "." };
        let path = format!("{path}{dot}{name}");
        keys.push(SchemaKey {
            path: path.clone(),
            description: property["description"].as_str().unwrap_or_default().to_owned(),
            default: property.get("default").cloned(),
            required: required(name),
        });
        collect(property, &path, keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_every_key_once_with_a_description() {
        let keys = schema_keys();
        let mut paths: Vec<&str> = keys.iter().map(|key| key.path.as_str()).collect();
        for expected in [
            "listeners[].address",
            "routes[].match.path.prefix",
            "routes[].bucket_by[].issue.max_age",
            "routes[].variants[].weight",
            "routes[].headers.request.set",
            "upstreams[].timeouts.connect",
            "rollouts[].steps[].weight",
            "rollouts[].gates[].prometheus.query",
            "rollouts[].notify[].webhook",
        ] {
            assert!(paths.contains(&expected), "{expected} of {paths:#?}");
        }
        assert!(keys.iter().all(|key| !key.description.is_empty()));
        let all = paths.len();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), all);
    }

    #[test]
    fn knows_defaults_and_what_is_required() {
        let keys = schema_keys();
        let key = |path: &str| keys.iter().find(|key| key.path == path).expect("a key").clone();
        assert_eq!(key("upstreams[].limits.requests").default, Some(json!(4096)));
        assert_eq!(key("routes[].expose_variant").default, Some(json!(false)));
        assert_eq!(key("routes[].max_body").default, Some(json!("100MiB")));
        assert!(key("listeners").required && !key("routes").required);
        assert!(key("rollouts[].on_streams.drain").required);
        assert_eq!(key("upstreams[].health_check.interval").default, Some(json!("5s")));
        assert_eq!(key("upstreams[].protocol").default, Some(json!("http1")));
        assert!(key("listeners[].tls.certificates").required && !key("upstreams[].tls").required);
        assert_eq!(key("rollouts[].alpha").default, Some(json!("1%")));
        assert_eq!(key("routes[].mirrors[].percent").default, Some(json!(100)));
    }
}
