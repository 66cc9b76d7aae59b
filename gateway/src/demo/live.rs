//! The demo for people: a table, and what to try.

use super::{
    config::START,
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

/// Shows the traffic until `end`.
///
/// # Errors
/// When standard output is gone.
pub(super) async fn show(stage: &Stage, end: impl Future<Output = ()>) -> io::Result<()> {
    tokio::pin!(end);
    let (started, mut observer) = (Instant::now(), Observer::new(stage.admin()));
    let paint = Paint::for_stdout();
    let screen = Screen::take()?;
    if screen.is_none() {
        print(&[intro(paint), vec![String::new()], hints(stage, paint)].concat())?;
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
        match &screen {
            Some(screen) => {
                let parts = [intro(paint), table::render(&view, paint), hints(stage, paint)];
                screen.draw(&parts.join(&String::new()))?;
            }
            None => {
                let complaints = table::complaints(&view, paint);
                let news = if complaints == told { &[][..] } else { &complaints };
                let line = table::line(&view, started.elapsed());
                print(&[&[line][..], news].concat())?;
                told = complaints;
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
    let (stable, canary) = (START.stable, START.canary);
    let name = paint.bold("tidegate demo:");
    vec![
        format!("{name} three versions of a service, and a gateway that shares the users out."),
        format!(
            "It began with {stable} % for v1 (stable), {canary} % for v2 (canary), and a quarter"
        ),
        "of the requests copied to v3 (dark), whose answers no user sees.".to_owned(),
        format!(
            "{RATE} requests a second: {USERS} users stay with one version, others draw each time."
        ),
    ]
}

/// What to try. Every command can be copied as it is.
fn hints(stage: &Stage, paint: Paint) -> Vec<String> {
    let (file, web, admin) = (stage.file().display(), stage.web(), stage.admin_address());
    let v2 = stage.v2().address();
    let (old, new) = (START.canary, START.stable);
    let log = stage.file().with_file_name("tidegate.log");
    // Whoever built it may not have it on the path.
    let program = std::env::current_exe().unwrap_or_else(|_| "tidegate".into());
    let program = program.display();
    let topic = |topic: &str| paint.bold(&format!("{topic:<6}"));
    let hint = |what: &str, command: String, why: &str| {
        format!("{} {command}  {}", topic(what), paint.dim(why))
    };
    vec![
        format!("{} {}", topic("Edit"), paint.green(&file.to_string())),
        format!("       canary's `weight: {old}` to {new} gives it half; or break it"),
        format!("       sed -i.bak 's/weight: {old},/weight: {new},/' {file}"),
        hint("Ask", format!("curl -i {web}"), "either version: see x-tidegate-variant"),
        hint("", format!("curl -H 'x-user-id: me' {web}"), "always the same"),
        hint("", format!("curl -H 'x-canary: always' {web}"), "always the canary"),
        hint("", format!("curl {admin}/api/v1/routes"), "also /metrics, /openapi.json"),
        hint("", format!("{program} mirror diffs --admin http://{admin}"), "what v3 gets wrong"),
        hint("Hurt", format!("curl -X POST '{v2}/behave?errors=30'"), "30 % fail; also delay=50"),
        hint("", format!("curl -X POST '{v2}/stop?seconds=10'"), "v2 is gone for 10 s"),
        format!("{} Ctrl-C; until then the gateway's log is {}", topic("End"), log.display()),
    ]
}
