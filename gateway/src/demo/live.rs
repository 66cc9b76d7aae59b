//! The demo for people: a table, and what to try.

use super::{
    config::{BAD, GOOD, Plan, ROLLOUT, Release},
    director::Director,
    load::{RATE, USERS},
    observer::Observer,
    stage::Stage,
    table,
};
use crate::screen::{Paint, Screen};
use std::{
    io::{self, Write as _},
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval};

/// Between two pictures on a terminal.
const REDRAW: Duration = Duration::from_millis(500);

/// Between two lines elsewhere.
const NEXT_LINE: Duration = Duration::from_secs(2);

/// How the demo begins: slowly enough to be watched.
pub(super) const PLAN: Plan = Plan::Rollout(Release { hold: 4, ..GOOD });

/// Shows the traffic and the rollouts until `end`.
///
/// # Errors
/// When standard output is gone.
pub(super) async fn show(stage: &Stage, end: impl Future<Output = ()>) -> io::Result<()> {
    tokio::pin!(end);
    let (started, mut observer) = (Instant::now(), Observer::new(stage.admin()));
    let mut director = Director::new();
    let paint = Paint::for_stdout();
    let screen = Screen::take()?;
    if screen.is_none() {
        print(&[intro(paint), hints(stage, paint)].concat())?;
    }
    let mut ticks = interval(if screen.is_some() { REDRAW } else { NEXT_LINE });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = Vec::new();
    loop {
        tokio::select! {
            () = &mut end => return Ok(()),
            _ = ticks.tick() => {}
        }
        let view = tokio::select! {
            () = &mut end => return Ok(()),
            view = observer.look(stage.load().record()) => view,
        };
        let view = view.map_err(|why| io::Error::other(format!("the admin API failed: {why}")))?;
        director.direct(stage, view.rollout.as_ref()).await;
        let caption = director.caption();
        match &screen {
            Some(screen) => {
                let below = below(caption, stage, paint);
                screen.draw(
                    &[intro(paint), table::render(&view, paint), below].join(&String::new()),
                )?;
            }
            None => {
                let news = [Vec::from_iter(caption), table::complaints(&view, paint)].concat();
                let line = table::line(&view, started.elapsed());
                print(&[&[line][..], if news == told { &[] } else { &news }].concat())?;
                told = news;
            }
        }
    }
}

fn print(lines: &[String]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    out.flush()
}

fn intro(paint: Paint) -> Vec<String> {
    let name = paint.bold("tidegate demo:");
    vec![
        format!("{name} three versions of a service behind a gateway. v1 is stable, v2 the"),
        format!(
            "canary, v3 is dark: it gets copies, and no user sees its answers. {RATE} requests a"
        ),
        format!("second: {USERS} users stay with one version, others draw each time."),
    ]
}

/// What is to be seen, or what to try.
fn below(caption: Option<String>, stage: &Stage, paint: Paint) -> Vec<String> {
    match caption {
        Some(caption) => vec![paint.bold(&caption), end(stage, paint)],
        None => hints(stage, paint),
    }
}

/// What to try. Every command can be copied as it is.
fn hints(stage: &Stage, paint: Paint) -> Vec<String> {
    let (file, web, admin) = (stage.file().display(), stage.web(), stage.admin_address());
    let v2 = stage.v2().address();
    let bad = BAD.revision;
    // Whoever built it may not have it on the path.
    let program = std::env::current_exe().unwrap_or_else(|_| "tidegate".into());
    let program = program.display();
    let hint = |topic: &str, command: String, why: &str| {
        format!("{} {command}  {}", paint.bold(&format!("{topic:<6}")), paint.dim(why))
    };
    vec![
        hint("Decide", format!("export TIDEGATE_ADMIN=http://{admin}"), "then:"),
        hint("", format!("{program} rollout retry {ROLLOUT}"), &format!("{bad} again: v2 is well")),
        hint("", format!("{program} rollout pause {ROLLOUT}"), "resume, promote, abort, watch"),
        hint("Hurt", format!("curl -X POST '{v2}/behave?errors=30'"), "30 % fail; or delay=200"),
        hint("", format!("curl -X POST '{v2}/stop?seconds=10'"), "v2 is gone for 10 s"),
        hint("Edit", file.to_string(), "another `revision` starts a new run; or break it"),
        hint("Ask", format!("curl -i {web}"), "see x-tidegate-variant"),
        hint("", format!("curl -H 'x-canary: always' {web}"), "always v2"),
        hint("", format!("{program} mirror diffs"), "what v3 gets wrong"),
        end(stage, paint),
    ]
}

fn end(stage: &Stage, paint: Paint) -> String {
    let log = stage.file().with_file_name("tidegate.log");
    format!("{} Ctrl-C; until then the gateway's log is {}", paint.bold("End   "), log.display())
}
