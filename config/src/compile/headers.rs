//! Header changes. The gateway's own fields and those that frame a message are not for users.

use crate::{
    plan,
    problem::{Problems, Span, Spanned},
    schema::HeaderOps,
    text::{Field, FieldValue},
};
use http::{HeaderName, HeaderValue};
use std::collections::HashSet;

/// Fields that belong to one connection (RFC 9110 §7.6.1) or say where a message ends.
const REFUSED: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What the gateway says itself.
const OWN_PREFIX: &str = "x-tidegate-";

pub(super) fn compile(ops: &HeaderOps, problems: &mut Problems) -> plan::HeaderOps {
    let mut seen = HashSet::new();
    for (name, _) in &ops.set.0 {
        allowed(&name.value.0, name.span, problems);
        if !seen.insert(&name.value.0) {
            problems.error(name.span, format!("`{}` is set twice", name.value.0));
        }
    }
    for (name, _) in &ops.add.0 {
        allowed(&name.value.0, name.span, problems);
    }
    for name in ops.remove.iter() {
        allowed(&name.value.0, name.span, problems);
    }
    plan::HeaderOps {
        remove: ops.remove.iter().map(|name| name.value.0.clone()).collect(),
        set: pairs(&ops.set.0),
        add: pairs(&ops.add.0),
    }
}

fn pairs(entries: &[(Spanned<Field>, Spanned<FieldValue>)]) -> Vec<(HeaderName, HeaderValue)> {
    entries.iter().map(|(name, value)| (name.value.0.clone(), value.value.0.clone())).collect()
}

fn allowed(name: &HeaderName, span: Span, problems: &mut Problems) {
    if REFUSED.contains(&name.as_str()) {
        let problem = problems.error(span, format!("the gateway sets `{name}` itself"));
        if name == "host" {
            problem.help("upstreams get the host that the client sent".to_owned());
        }
    } else if name.as_str().starts_with(OWN_PREFIX) {
        problems.error(span, format!("`{OWN_PREFIX}*` fields are the gateway's own"));
    }
}
