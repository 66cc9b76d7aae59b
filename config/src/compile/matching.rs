//! Conditions: exactly one kind each, and a text of the whole match by which two can be compared.

use crate::{
    problem::{Problems, Span, Spanned},
    schema::{HeaderCondition, Match, NameCondition, PathKind, present},
    text::ValueRegex,
};
use std::fmt::Write as _;
use tidegate_policies::{HeaderMatch, HostPattern, PathMatch, QueryMatch, RouteMatch, ValueMatch};

/// Compiles a match and describes it: the same text for the same conditions in whatever order.
pub(super) fn compile(source: &Spanned<Match>, problems: &mut Problems) -> (RouteMatch, String) {
    let mut parts = Vec::new();
    let mut describe = |what: &str, mut all: Vec<String>| {
        if !all.is_empty() {
            all.sort_unstable();
            all.dedup();
            parts.push(format!("{what} {}", all.join(", ")));
        }
    };
    let hosts: Vec<HostPattern> = source.hosts.iter().map(|host| host.value.0.clone()).collect();
    describe("host", hosts.iter().map(host_text).collect());
    let (path, path_text) = path(source, problems);
    describe("path", vec![path_text]);
    let methods: Vec<_> = source.methods.iter().map(|method| method.0.clone()).collect();
    describe("method", methods.iter().map(ToString::to_string).collect());

    let mut headers = Vec::with_capacity(source.headers.len());
    let mut texts = Vec::new();
    for condition in source.headers.iter() {
        if let Some((header, text)) = header(condition, condition.name.span, problems) {
            headers.push(header);
            texts.push(text);
        }
    }
    describe("header", texts);
    let mut query = Vec::with_capacity(source.query.len());
    let mut texts = Vec::new();
    for condition in source.query.iter() {
        if let Some((name, value, text)) = named(condition, condition.name.span, problems) {
            query.push(QueryMatch { name, value });
            texts.push(text);
        }
    }
    describe("query", texts);
    (RouteMatch { hosts, path, methods, headers, query }, parts.join("; "))
}

fn host_text(host: &HostPattern) -> String {
    match host {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Wildcard(suffix) => format!("*.{suffix}"),
    }
}

fn path(source: &Match, problems: &mut Problems) -> (PathMatch, String) {
    let all = || (PathMatch::Prefix("/".to_owned()), "prefix /".to_owned());
    let Some(condition) = &source.path else { return all() };
    match condition.only() {
        Some(PathKind::Exact(path)) => (PathMatch::Exact(path.to_owned()), format!("exact {path}")),
        Some(PathKind::Prefix(path)) => {
            (PathMatch::Prefix(path.to_owned()), format!("prefix {}", trim_prefix(path)))
        }
        Some(PathKind::Regex(regex)) => (regex.matcher.clone(), format!("regex {:?}", regex.text)),
        None => {
            let flags = [
                ("exact", condition.exact.is_some()),
                ("prefix", condition.prefix.is_some()),
                ("regex", condition.regex.is_some()),
            ];
            not_one(condition.span, "`exact`, `prefix` or `regex`", &flags, problems);
            all()
        }
    }
}

/// As the table compares prefixes: without a trailing `/`, but for the root.
pub(super) fn trim_prefix(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" => "/",
        trimmed => trimmed,
    }
}

/// A condition on a header, and its text.
pub(super) fn header(
    condition: &HeaderCondition,
    span: Span,
    problems: &mut Problems,
) -> Option<(HeaderMatch, String)> {
    let HeaderCondition { name, exact, regex, present } = condition;
    let (value, text) = value(exact, regex, present, span, problems)?;
    let text = format!("{}{text}", name.0);
    Some((HeaderMatch { name: name.0.clone(), value }, text))
}

/// A condition on a query parameter or a cookie: its name, the condition, its text.
pub(super) fn named(
    condition: &NameCondition,
    span: Span,
    problems: &mut Problems,
) -> Option<(String, ValueMatch, String)> {
    let NameCondition { name, exact, regex, present } = condition;
    let (value, text) = value(exact, regex, present, span, problems)?;
    let mut described = String::new();
    let _ = write!(described, "{:?}{text}", name.0);
    Some((name.0.clone(), value, described))
}

fn value(
    exact: &Option<String>,
    regex: &Option<ValueRegex>,
    present: &Option<Spanned<bool>>,
    span: Span,
    problems: &mut Problems,
) -> Option<(ValueMatch, String)> {
    match (exact, regex, present) {
        (Some(text), None, None) => {
            Some((ValueMatch::Exact(text.as_bytes().to_vec()), format!(" = {text:?}")))
        }
        (None, Some(regex), None) => Some((regex.matcher.clone(), format!(" ~ {:?}", regex.text))),
        (None, None, Some(Spanned { value: true, .. })) => {
            Some((ValueMatch::Present, " present".to_owned()))
        }
        (None, None, Some(present)) => {
            problems
                .error(present.span, "`present` can only be `true`")
                .help("leave the condition out, or use `regex`".to_owned());
            None
        }
        _ => {
            let flags = [
                ("exact", exact.is_some()),
                ("regex", regex.is_some()),
                ("present", present.is_some()),
            ];
            not_one(span, "`exact`, `regex` or `present`", &flags, problems);
            None
        }
    }
}

/// Reports that there is not exactly one of several keys.
pub(super) fn not_one(
    span: Span,
    kinds: &str,
    flags: &[(&'static str, bool)],
    problems: &mut Problems,
) {
    let found = match present(flags) {
        none if none.is_empty() => "none".to_owned(),
        several => several,
    };
    problems.error(span, format!("expected one of {kinds}, found {found}"));
}
