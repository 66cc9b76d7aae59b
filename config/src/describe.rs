//! JSON Schema of schema structs, and what follows from it: typed JSON, defaults.

use crate::decode::Fallback;
use serde_json::{Map, Value, json};

/// One key of a struct, for its JSON Schema.
pub(crate) struct Property {
    pub(crate) name: &'static str,
    pub(crate) doc: &'static [&'static str],
    pub(crate) schema: Value,
    pub(crate) fallback: Option<Fallback>,
    pub(crate) optional: bool,
}

/// The JSON Schema of a struct.
pub(crate) fn object(doc: &[&str], properties: Vec<Property>) -> Value {
    let required: Vec<&str> = properties
        .iter()
        .filter(|property| !property.optional && property.fallback.is_none())
        .map(|property| property.name)
        .collect();
    let mut keys = Map::new();
    for Property { name, doc, mut schema, fallback, .. } in properties {
        let default = fallback.map(|fallback| fallback.json(&schema));
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("description".to_owned(), Value::from(sentence(doc)));
            if let Some(default) = default {
                schema.insert("default".to_owned(), default);
            }
        }
        keys.insert(name.to_owned(), schema);
    }
    let mut schema = json!({
        "type": "object",
        "description": sentence(doc),
        "properties": keys,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// The lines of a documentation comment as one text.
fn sentence(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

impl Fallback {
    /// As it would be written in JSON, for a field of this schema.
    pub(crate) fn json(self, schema: &Value) -> Value {
        match self {
            Fallback::EmptyList => json!([]),
            Fallback::EmptyMap => json!({}),
            Fallback::Text(text) => scalar_json(text, schema),
        }
    }
}

/// A plain text as the JSON value that `schema` says it is.
pub(crate) fn scalar_json(text: &str, schema: &Value) -> Value {
    let is = |wanted: &str| {
        schema["type"] == wanted
            || schema["anyOf"].as_array().is_some_and(|any| any.iter().any(|s| s["type"] == wanted))
    };
    let number = || text.parse::<u64>().ok().map(Value::from);
    let boolean = || text.parse::<bool>().ok().map(Value::from);
    let fraction = || text.parse::<f64>().ok().map(Value::from);
    let typed = if is("integer") {
        number()
    } else if is("number") {
        number().or_else(fraction)
    } else if is("boolean") {
        boolean()
    } else {
        None
    };
    typed.unwrap_or_else(|| Value::from(text))
}

/// Of a schema that allows several types, the one of this type.
pub(crate) fn alternative<'a>(schema: &'a Value, wanted: &str) -> &'a Value {
    let any = schema["anyOf"].as_array();
    any.and_then(|any| any.iter().find(|one| one["type"] == wanted)).unwrap_or(schema)
}

/// Adds the defaults of absent keys.
pub(crate) fn fill_defaults(value: &mut Value, schema: &Value) {
    match value {
        Value::Array(items) => {
            let schema = &alternative(schema, "array")["items"];
            items.iter_mut().for_each(|item| fill_defaults(item, schema));
        }
        Value::Object(keys) => {
            let schema = alternative(schema, "object");
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                if let Some(default) = property.get("default") {
                    keys.entry(name).or_insert_with(|| default.clone());
                }
                if let Some(value) = keys.get_mut(name) {
                    fill_defaults(value, property);
                }
            }
        }
        _ => {}
    }
}
