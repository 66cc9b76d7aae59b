//! The configuration in force, as JSON: all files in one, with the defaults filled in and without
//! secrets. Made from the sources by way of the JSON Schema, so that every key of the schema is in
//! it without further code.

use crate::{
    Loaded, Source,
    describe::{alternative, fill_defaults, scalar_json},
    problem::Problems,
    schema::json_schema,
    url::{REDACTED, redacted},
    yaml::{self, Kind, Node},
};
use serde_json::{Map, Value};

/// Header fields whose values are secrets.
const SECRET: [&str; 5] =
    ["authorization", "cookie", "proxy-authorization", "set-cookie", "x-api-key"];

/// The configuration that `loaded` was made from, for the admin API.
pub fn effective(loaded: &Loaded) -> Value {
    let schema = json_schema();
    let mut whole = Map::new();
    for source in &loaded.sources {
        // The sources of a loaded configuration have parsed before.
        let Value::Object(keys) = tree(source, &schema) else { continue };
        for (key, value) in keys {
            match (whole.get_mut(&key), value) {
                (Some(Value::Array(all)), Value::Array(more)) => all.extend(more),
                (_, value) => {
                    whole.insert(key, value);
                }
            }
        }
    }
    let mut whole = Value::Object(whole);
    fill_defaults(&mut whole, &schema);
    redact(&mut whole);
    if let Some(keys) = whole.as_object_mut() {
        // Its files are in already.
        keys.remove("include");
    }
    whole
}

fn tree(source: &Source, schema: &Value) -> Value {
    let mut problems = Problems::default();
    let root = yaml::parse(0, &source.text, &mut problems);
    root.map_or(Value::Null, |root| json(&root, schema))
}

/// The node as JSON; `schema` says which plain texts are numbers.
fn json(node: &Node, schema: &Value) -> Value {
    match &node.kind {
        Kind::Scalar { text, plain: true } => scalar_json(text, schema),
        Kind::Scalar { text, .. } => Value::from(&**text),
        Kind::Seq(items) => {
            let inner = &alternative(schema, "array")["items"];
            items.iter().map(|item| json(item, inner)).collect()
        }
        Kind::Map(entries) => {
            let schema = alternative(schema, "object");
            let inner = |key: &str| match schema["properties"].get(key) {
                Some(property) => property,
                None => &schema["additionalProperties"],
            };
            let entry = |(key, value): &(yaml::Key, Node)| {
                (key.text.to_string(), json(value, inner(&key.text)))
            };
            Value::Object(entries.iter().map(entry).collect())
        }
    }
}

/// Takes secrets out of header changes, of conditions on headers and of URLs, wherever they are.
fn redact(value: &mut Value) {
    match value {
        Value::Object(keys) => {
            let secret = keys.get("name").and_then(Value::as_str).is_some_and(is_secret);
            for condition in ["exact", "regex"].iter().filter(|_| secret) {
                keys.entry(*condition).and_modify(|value| *value = Value::from(REDACTED));
            }
            for (key, value) in keys.iter_mut() {
                match value {
                    Value::Object(fields) if key == "set" || key == "add" => hide(fields),
                    Value::String(url) if key == "url" || key == "webhook" => *url = redacted(url),
                    _ => redact(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

fn hide(fields: &mut Map<String, Value>) {
    for (name, value) in fields.iter_mut() {
        if is_secret(name) {
            *value = Value::from(REDACTED);
        }
    }
}

fn is_secret(header: &str) -> bool {
    SECRET.contains(&header.to_ascii_lowercase().as_str())
}
