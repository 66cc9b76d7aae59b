//! `tidegate mirror`: what a running gateway says about its mirrors.

use super::{explain::percent, gateway::Gateway, output};
use clap::Subcommand;
use http::Method;
use serde_json::Value;
use std::{fmt::Write, process::ExitCode};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// All mirrors, and what became of every request
    List {
        #[command(flatten)]
        gateway: Gateway,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Which fields of the dark version's answers differ, the most certain difference first
    Diffs {
        /// The route and the mirror; may be left out where one mirror alone compares
        #[arg(value_name = "ROUTE/MIRROR")]
        name: Option<String>,
        #[command(flatten)]
        gateway: Gateway,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Forget what was found so far, for a new dark version
    Forget {
        /// The route and the mirror
        #[arg(value_name = "ROUTE/MIRROR")]
        name: String,
        #[command(flatten)]
        gateway: Gateway,
    },
}

pub(super) fn mirror(command: &Command) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        runtime.block_on(async {
            match command {
                Command::List { gateway, json } => list(gateway, *json).await,
                Command::Diffs { name, gateway, json } => {
                    diffs(gateway, name.as_deref(), *json).await
                }
                Command::Forget { name, gateway } => forget(gateway, name).await,
            }
        })
    });
    match done {
        Ok(text) => output::print(&text),
        Err(why) => output::fail(&why),
    }
}

async fn list(gateway: &Gateway, json: bool) -> Result<String, String> {
    let body = gateway.ask(Method::GET, "/api/v1/mirrors").await?;
    if json {
        return Ok(pretty(&body));
    }
    let mirrors = body["mirrors"].as_array().map_or(&[][..], Vec::as_slice);
    if mirrors.is_empty() {
        return Ok("no mirrors\n".to_owned());
    }
    let mut text = String::new();
    for mirror in mirrors {
        let requests = number(&mirror["requests"]);
        let _ = writeln!(
            text,
            "{}/{} to {}: {} of {requests} requests",
            word(&mirror["route"]),
            word(&mirror["mirror"]),
            word(&mirror["upstream"]),
            plural(sent(&mirror["outcomes"]), "copy", "copies"),
        );
        for (what, counts) in
            [("", "outcomes"), ("noise copy ", "noise_outcomes"), ("compared: ", "comparisons")]
        {
            for (label, count) in by_count(&mirror[counts]) {
                let _ = writeln!(text, "  {count:>10}  {what}{}", label.replace('_', " "));
            }
        }
        if let Some(mean) = mirror["mean_ms"].as_f64() {
            let _ = writeln!(text, "  {mean:>10.1}  ms until the end of an answer, on average");
        }
    }
    let memory = &body["memory"];
    let (used, limit) = (number(&memory["used"]), number(&memory["limit"]));
    let _ = writeln!(text, "memory: {used} of {limit} bytes");
    Ok(text)
}

/// Requests that were answered, or should have been.
fn sent(outcomes: &Value) -> u64 {
    let sent = ["2xx", "3xx", "4xx", "5xx", "timeout", "reset"];
    sent.iter().map(|label| number(&outcomes[label])).sum()
}

async fn diffs(gateway: &Gateway, name: Option<&str>, json: bool) -> Result<String, String> {
    let path = match name {
        Some(name) => path_of(name)?,
        None => only_compared(gateway).await?,
    };
    let body = gateway.ask(Method::GET, &format!("{path}/diffs")).await?;
    Ok(if json { pretty(&body) } else { in_words(&body) })
}

async fn forget(gateway: &Gateway, name: &str) -> Result<String, String> {
    let path = path_of(name)?;
    gateway.ask(Method::DELETE, &format!("{path}/diffs")).await?;
    Ok(format!("what was found for {name} is forgotten\n"))
}

fn path_of(name: &str) -> Result<String, String> {
    match name.split_once('/') {
        Some((route, mirror)) if !route.is_empty() && !mirror.is_empty() => {
            Ok(format!("/api/v1/mirrors/{route}/{mirror}"))
        }
        _ => Err(format!("`{name}` is no mirror: write it as ROUTE/MIRROR")),
    }
}

async fn only_compared(gateway: &Gateway) -> Result<String, String> {
    let body = gateway.ask(Method::GET, "/api/v1/mirrors").await?;
    let mirrors = body["mirrors"].as_array().map_or(&[][..], Vec::as_slice);
    let compared = mirrors.iter().filter(|mirror| mirror["compared"] == true);
    let names: Vec<_> =
        compared.map(|m| format!("{}/{}", word(&m["route"]), word(&m["mirror"]))).collect();
    match &names[..] {
        [] => Err("no mirror compares: add `compare` to one".to_owned()),
        [name] => path_of(name),
        names => Err(format!("name one of {}", names.join(", "))),
    }
}

fn in_words(body: &Value) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}/{}: {} compared, {} the same, {} differ in noise alone, {} mismatch",
        word(&body["route"]),
        word(&body["mirror"]),
        number(&body["compared"]),
        number(&body["identical"]),
        number(&body["noise"]),
        number(&body["mismatch"]),
    );
    if body["noise_upstream"].is_null() {
        let _ = writeln!(text, "no `noise_upstream`: what differs by itself is not told apart");
    }
    let fields = body["fields"].as_array().map_or(&[][..], Vec::as_slice);
    for field in fields {
        let _ = writeln!(
            text,
            "\n{:<10} {} {}",
            word(&field["verdict"]),
            word(&field["field"]),
            word(&field["kind"]).replace('_', " "),
        );
        let rate = percent(field["rate"].as_f64().unwrap_or_default());
        let _ = write!(text, "           in {} ({rate})", number(&field["differs"]));
        if let Some(evidence) = field["log10_evidence"].as_f64() {
            let _ = write!(
                text,
                "; in {} of the old version's own; evidence 10^{evidence:.1}",
                number(&field["noise_differs"]),
            );
        }
        text.push('\n');
        for example in field["examples"].as_array().into_iter().flatten().take(1) {
            let _ = writeln!(
                text,
                "           {} {}: {} expected {}, got {} (request {})",
                word(&example["method"]),
                word(&example["path"]),
                word(&example["at"]),
                word(&example["expected"]),
                word(&example["actual"]),
                word(&example["request_id"]),
            );
        }
    }
    if fields.is_empty() {
        text.push_str("no field differs\n");
    }
    let dropped = number(&body["fields_dropped"]);
    if dropped > 0 {
        let _ = writeln!(text, "\n{dropped} further fields were seen and not kept");
    }
    text
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// Text that came from servers and clients, without what a terminal would obey.
fn word(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The largest first.
fn by_count(counts: &Value) -> Vec<(String, u64)> {
    let counts = counts.as_object().into_iter().flatten();
    let mut counts: Vec<_> = counts.map(|(label, n)| (label.clone(), number(n))).collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts
}
