//! Following a rollout until it ends.

use super::{Of, gates, path, picture, seen::Rollout, show, text::moment, understood};
use crate::{
    cli::{gateway::Trouble, output},
    screen::{Paint, Screen},
    server::until_told_to_stop,
};
use http::Method;
use serde_json::Value;
use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tidegate_judge::{Outcome, Share, State, Time};

/// How often is looked.
const EVERY: Duration = Duration::from_secs(1);

/// How long a gateway may be silent: longer than a restart takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The rollout ended.
    Ended(Outcome),
    /// It took too long.
    TimedOut,
    /// It cannot be watched.
    Lost,
    /// A signal came.
    Interrupted,
}

/// What is followed, and where it is shown.
struct Watch<'a> {
    of: &'a Of,
    /// Absent: a line for each change.
    screen: Option<Screen>,
    seen: Option<Change>,
    /// The last picture.
    lines: Vec<String>,
    /// The last line.
    line: String,
    silent_since: Option<Instant>,
}

/// What a line is printed for when it changes.
#[derive(Debug, PartialEq)]
struct Change {
    revision: String,
    run: u32,
    state: State,
    step: usize,
    weight: Share,
    mirror: Option<Share>,
    verdicts: Vec<String>,
    removed: bool,
    unkept: bool,
}

/// Follows the rollout; at most for `timeout`.
pub(super) async fn watch(of: &Of, timeout: Option<Duration>) -> ExitCode {
    let (stop, screen) = match (until_told_to_stop(), terminal(of)) {
        (Ok(stop), Ok(screen)) => (stop, screen),
        (Err(error), _) | (_, Err(error)) => return output::fail(&error.to_string()),
    };
    let mut watch = Watch {
        of,
        screen,
        seen: None,
        lines: Vec::new(),
        line: String::new(),
        silent_since: None,
    };
    let over = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    let (end, why) = tokio::select! {
        end = watch.follow() => end,
        () = over => (End::TimedOut, Some("the rollout goes on: the timeout is over".to_owned())),
        () = stop => (End::Interrupted, None),
    };
    // What the terminal showed before comes back, and this stays.
    if watch.screen.take().is_some() && !watch.line.is_empty() {
        let _ = say(&watch.line);
    }
    if let Some(why) = why {
        output::complain(&format!("tidegate: {why}\n"));
    }
    ExitCode::from(end.status())
}

fn terminal(of: &Of) -> io::Result<Option<Screen>> {
    if of.how.json { Ok(None) } else { Screen::take() }
}

impl End {
    /// For scripts; `--help` has the list.
    fn status(self) -> u8 {
        match self {
            End::Ended(Outcome::Promoted) => 0,
            End::Ended(Outcome::RolledBack | Outcome::Aborted) => 1,
            End::TimedOut => 3,
            End::Lost => 4,
            End::Interrupted => 130,
        }
    }
}

impl Watch<'_> {
    /// Until the rollout ends or cannot be followed; says why in that case.
    async fn follow(&mut self) -> (End, Option<String>) {
        loop {
            match self.look().await {
                Ok(Some(outcome)) => return (End::Ended(outcome), None),
                Ok(None) => self.silent_since = None,
                Err(trouble) if !may_pass(&trouble) => {
                    return (End::Lost, Some(trouble.to_string()));
                }
                Err(trouble) => {
                    if let Err(why) = self.wait_for_it(&trouble) {
                        return (End::Lost, Some(why));
                    }
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Looks once, and shows what there is; how the rollout ended, if it did.
    async fn look(&mut self) -> Result<Option<Outcome>, Trouble> {
        let body = self.of.how.gateway.ask(Method::GET, &path(self.of, "")).await?;
        let rollout: Rollout = understood(body.clone())?;
        if self.screen.is_some() {
            self.lines = picture(self.of, &rollout).await;
        }
        self.see(&rollout, &body, now()).map_err(|error| Trouble::Misuse(error.to_string()))?;
        Ok(rollout.ended.map(|ended| ended.outcome))
    }

    fn see(&mut self, rollout: &Rollout, body: &Value, now: Time) -> io::Result<()> {
        let change = Change::of(rollout);
        let changed = self.seen.as_ref() != Some(&change);
        self.seen = Some(change);
        self.line = line(rollout, now);
        match &self.screen {
            Some(screen) => screen.draw(&self.lines),
            None if changed && self.of.how.json => say(&body.to_string()),
            None if changed => say(&self.line),
            None => Ok(()),
        }
    }

    /// Says once that there is no answer, and after a while that there will not be one.
    fn wait_for_it(&mut self, trouble: &Trouble) -> Result<(), String> {
        let first = self.silent_since.is_none();
        let silent = self.silent_since.get_or_insert_with(Instant::now).elapsed();
        if silent >= PATIENCE {
            return Err(format!("{trouble}; gave up after {} s", PATIENCE.as_secs()));
        }
        match &self.screen {
            Some(screen) => {
                let mut lines = vec![Paint::for_stdout().red(&format!("{trouble}; trying again"))];
                lines.extend(self.lines.iter().cloned());
                screen.draw(&lines).map_err(|error| error.to_string())?;
            }
            None if first => output::complain(&format!("tidegate: {trouble}; trying again\n")),
            None => {}
        }
        Ok(())
    }
}

/// Whether waiting may help: the gateway restarts, or is busy.
fn may_pass(trouble: &Trouble) -> bool {
    match trouble {
        Trouble::Silence(_) => true,
        Trouble::Refusal { status, .. } => status.is_server_error(),
        Trouble::Misuse(_) => false,
    }
}

impl Change {
    fn of(rollout: &Rollout) -> Self {
        Self {
            revision: rollout.revision.clone(),
            run: rollout.run,
            state: rollout.state,
            step: rollout.step,
            weight: rollout.weight,
            mirror: rollout.mirror,
            verdicts: rollout.gates.iter().map(|gate| gate.verdict.clone()).collect(),
            removed: rollout.removed,
            unkept: rollout.store_error.is_some(),
        }
    }
}

/// For a log.
fn line(rollout: &Rollout, now: Time) -> String {
    let mut line = format!("{}  {}", moment(now), show::line(rollout, Paint::for_stdout()));
    if !rollout.gates.is_empty() {
        line.push_str(&format!("; {}", gates::in_words(&rollout.gates)));
    }
    if let Some(ended) = &rollout.ended {
        line.push_str(&format!("; {}", ended.why));
    }
    if let Some(error) = &rollout.store_error {
        line.push_str(&format!("; state cannot be kept: {error}"));
    }
    line
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(0).after(since)
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{ended, rollout},
        *,
    };

    #[test]
    fn a_line_for_a_log() {
        let now = Time(1_772_366_645_000);
        assert_eq!(
            line(&rollout(), now),
            "2026-03-01 12:04:05Z  checkout 2.3.1 run 1: ▶ progressing, step 2 of 4, weight 5%; \
             errors undecided, saturation good"
        );
        assert_eq!(
            line(&ended(), now),
            "2026-03-01 12:04:05Z  checkout 2.3.1 run 1: ✖ rolled back, step 2 of 4, weight 0%; \
             errors bad, saturation good; `errors` is bad"
        );
    }

    #[test]
    fn what_counts_as_a_change() {
        let before = rollout();
        let mut after = before.clone();
        (after.held_seconds, after.requests, after.realised_share) = (201.0, 1300, Some(0.05));
        assert_eq!(Change::of(&before), Change::of(&after), "it only goes on");
        after.gates[0].verdict = "good".to_owned();
        assert_ne!(Change::of(&before), Change::of(&after));
        assert_ne!(Change::of(&before), Change::of(&ended()));
    }

    #[test]
    fn scripts_see_how_it_went() {
        let all = [
            End::Ended(Outcome::Promoted),
            End::Ended(Outcome::RolledBack),
            End::Ended(Outcome::Aborted),
            End::TimedOut,
            End::Lost,
            End::Interrupted,
        ];
        assert_eq!(all.map(End::status), [0, 1, 1, 3, 4, 130]);
    }

    #[test]
    fn a_restart_is_waited_for_and_a_wrong_name_is_not() {
        use http::StatusCode;
        let refusal = |status| Trouble::Refusal { status, detail: String::new() };
        assert!(may_pass(&Trouble::Silence("refused".to_owned())));
        assert!(may_pass(&refusal(StatusCode::SERVICE_UNAVAILABLE)));
        assert!(!may_pass(&refusal(StatusCode::NOT_FOUND)));
        assert!(!may_pass(&refusal(StatusCode::UNAUTHORIZED)));
    }
}
