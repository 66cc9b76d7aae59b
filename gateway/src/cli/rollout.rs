//! `tidegate rollout`: what a running gateway rolls out, and what a person decides about it.

mod decisions;
mod gates;
mod list;
mod seen;
mod show;
#[cfg(test)]
mod testing;
mod text;
mod verbs;
mod watch;

use super::{
    gateway::{Gateway, Trouble},
    output,
};
use crate::screen::Paint;
use clap::{Args, Subcommand};
use http::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{process::ExitCode, time::Duration};
use tidegate_judge::Verb;

/// Decisions that `show` shows.
const SHOWN_DECISIONS: u32 = 5;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// All rollouts: state, step, weight, gates
    List {
        #[command(flatten)]
        how: How,
    },
    /// One rollout: its steps, its gates with their evidence, the last decisions
    Show {
        #[command(flatten)]
        of: Of,
    },
    /// Follow a rollout until it ends
    ///
    /// On a terminal the picture of `show` is redrawn each second. Elsewhere each change of state,
    /// step, weight or of what a gate says is one line.
    ///
    /// Exit status: 0 when it was promoted, 1 when it was rolled back or aborted, 3 when `--timeout`
    /// is over before it ends, 4 when it cannot be watched: there is no such rollout, the token is
    /// wrong, or the gateway does not answer for a minute.
    #[command(verbatim_doc_comment)]
    Watch {
        #[command(flatten)]
        of: Of,
        /// Give up after this long, as in `90s`, `10m`, `2h`
        #[arg(long, value_name = "TIME", value_parser = text::parse_span)]
        timeout: Option<Duration>,
    },
    /// On to the next step, whatever the current one still waits for
    Promote {
        #[command(flatten)]
        of: Of,
        /// Give everybody the candidate at once
        #[arg(long)]
        full: bool,
    },
    /// Stay in the current step; a gate that turns bad still takes the candidate away
    Pause {
        #[command(flatten)]
        which: Which,
    },
    /// Go on after a pause; a gate that was bad starts afresh
    Resume {
        #[command(flatten)]
        which: Which,
    },
    /// Take the candidate away from everybody; also undoes a promotion
    Abort {
        #[command(flatten)]
        of: Of,
    },
    /// Run a revision again that was rolled back or aborted
    Retry {
        #[command(flatten)]
        of: Of,
    },
    /// Who decided what, when and why, the newest first
    Decisions {
        #[command(flatten)]
        of: Of,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u32,
    },
}

/// Whom to ask, and how to print what is said.
#[derive(Debug, Clone, Args)]
pub(super) struct How {
    #[command(flatten)]
    gateway: Gateway,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One rollout.
#[derive(Debug, Clone, Args)]
pub(super) struct Of {
    /// The rollout
    #[arg(value_parser = name)]
    name: String,
    #[command(flatten)]
    how: How,
}

/// One rollout, or all of them.
#[derive(Debug, Clone, Args)]
pub(super) struct Which {
    /// The rollout
    #[arg(value_parser = name, required_unless_present = "all", conflicts_with = "all")]
    name: Option<String>,
    /// All rollouts: none of them starts or advances
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    how: How,
}

pub(super) fn rollout(command: &Command) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(run(command)),
        Err(error) => output::fail(&error.to_string()),
    }
}

async fn run(command: &Command) -> ExitCode {
    let said = match command {
        Command::Watch { of, timeout } => return watch::watch(of, *timeout).await,
        Command::List { how } => list(how).await,
        Command::Show { of } => show(of).await,
        Command::Decisions { of, limit } => decisions(of, *limit).await,
        Command::Promote { of, full: false } => verbs::act(of, Verb::Promote).await,
        Command::Promote { of, full: true } => verbs::act(of, Verb::PromoteFull).await,
        Command::Abort { of } => verbs::act(of, Verb::Abort).await,
        Command::Retry { of } => verbs::act(of, Verb::Retry).await,
        Command::Pause { which } => verbs::pause(which).await,
        Command::Resume { which } => verbs::resume(which).await,
    };
    match said {
        Ok(text) => output::print(&text),
        Err(trouble) => output::fail(&trouble.to_string()),
    }
}

async fn list(how: &How) -> Result<String, Trouble> {
    let body = how.gateway.ask(Method::GET, "/api/v1/rollouts").await?;
    if how.json {
        return Ok(pretty(&body));
    }
    Ok(list::render(&understood(body)?, Paint::for_stdout()))
}

async fn show(of: &Of) -> Result<String, Trouble> {
    let body = of.how.gateway.ask(Method::GET, &path(of, "")).await?;
    if of.how.json {
        return Ok(pretty(&body));
    }
    let lines = picture(of, &understood(body)?).await;
    Ok(lines.join("\n") + "\n")
}

/// All that there is to see of a rollout, as lines.
async fn picture(of: &Of, rollout: &seen::Rollout) -> Vec<String> {
    let paint = Paint::for_stdout();
    let mut lines = show::render(rollout, paint);
    let decisions = of.how.gateway.ask(Method::GET, &decisions_path(of, SHOWN_DECISIONS)).await;
    lines.push(paint.bold("decisions"));
    match decisions.and_then(understood) {
        Ok(page) => lines.extend(decisions::render(&page, paint)),
        Err(trouble) => lines.push(format!("  cannot be read: {trouble}")),
    }
    lines
}

async fn decisions(of: &Of, limit: u32) -> Result<String, Trouble> {
    let body = of.how.gateway.ask(Method::GET, &decisions_path(of, limit)).await?;
    if of.how.json {
        return Ok(pretty(&body));
    }
    let lines = decisions::render(&understood(body)?, Paint::for_stdout());
    Ok(lines.iter().map(|line| format!("{}\n", line.trim_start())).collect())
}

fn path(of: &Of, rest: &str) -> String {
    format!("/api/v1/rollouts/{}{rest}", of.name)
}

fn decisions_path(of: &Of, limit: u32) -> String {
    path(of, &format!("/decisions?limit={limit}"))
}

/// The answer, as far as it is needed.
fn understood<T: DeserializeOwned>(body: Value) -> Result<T, Trouble> {
    serde_json::from_value(body).map_err(|error| {
        Trouble::Misuse(format!("the gateway answers something else than expected: {error}"))
    })
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// What a path of the admin API and the configuration take.
fn name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if text.is_empty() || !text.chars().all(allowed) {
        return Err("a rollout's name has letters, digits, `_`, `.` and `-`".to_owned());
    }
    Ok(text.to_owned())
}
