//! `tidegate explain`.

use super::output;
use crate::explain::{Answer, Question, explain as answer};
use std::{fmt::Write, net::IpAddr, path::Path, process::ExitCode};

pub(super) fn explain(
    config: &Path,
    headers: &[String],
    method: String,
    client: IpAddr,
    url: String,
    json: bool,
) -> ExitCode {
    let loaded = match tidegate_config::load(config, None) {
        Ok(loaded) => loaded,
        Err(failure) => return output::fail_config(&failure),
    };
    let mut pairs = Vec::new();
    for header in headers {
        let Some((name, value)) = header.split_once(':') else {
            return output::fail(&format!("`{header}` is no header: write it as `name: value`"));
        };
        pairs.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    let question = Question { url, method, headers: pairs, client };
    match answer(&loaded.plan, &question) {
        Ok(answer) if json => output::print_json(&answer),
        Ok(answer) => output::print(&in_words(&answer)),
        Err(error) => output::fail(&error.to_string()),
    }
}

fn in_words(answer: &Answer) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<10}{value}");
    };
    row("route", answer.route.as_deref().unwrap_or("none"));
    if let Some(variant) = &answer.variant {
        row("variant", variant);
    }
    row("why", &answer.why);
    if let Some(bucket) = answer.bucket {
        row("bucket", &format!("{bucket:.6}"));
    }
    if let Some(share) = answer.share {
        row("share", &format!("{} of users get the same", percent(share)));
    }
    if let Some(upstream) = &answer.upstream {
        row("upstream", upstream);
    }
    if let Some(fallback) = &answer.fallback {
        row("fallback", fallback);
    }
    if answer.variants.len() > 1 {
        let shares = answer.variants.iter().map(|v| format!("{} {}", v.variant, percent(v.share)));
        row("split", &shares.collect::<Vec<_>>().join(", "));
    }
    if !answer.mirrors.is_empty() {
        row("mirrors", &answer.mirrors.join(", "));
    }
    row("client", &answer.client.to_string());
    text
}

/// At most four decimals, without trailing zeros.
pub(super) fn percent(share: f64) -> String {
    let text = format!("{:.4}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}
