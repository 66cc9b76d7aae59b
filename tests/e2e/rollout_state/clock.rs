//! A wall clock that jumps: time that was held is counted by another one.

use super::{Place, number};
use anyhow::{Context, Result, ensure};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tidegate_tests::*;

/// How long the step is held.
const HOLD: Duration = Duration::from_secs(4);

/// Ticks, polls, and a machine that others use as well.
const LATE: Duration = Duration::from_secs(3);

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// A clock that can be put forward and back.
struct Clock(PathBuf);

impl Clock {
    fn new(directory: &Path) -> Result<Self> {
        let clock = Self(directory.join("clock"));
        clock.set("+0")?;
        Ok(clock)
    }

    /// By renaming, so that it is never read by halves.
    fn set(&self, offset: &str) -> Result<()> {
        let next = self.0.with_extension("next");
        std::fs::write(&next, format!("{offset}\n"))?;
        Ok(std::fs::rename(next, &self.0)?)
    }

    /// What makes a program go by it. `faketime` itself would stay its parent, and be killed in
    /// its place.
    async fn wrapper(&self) -> Result<Vec<String>> {
        let asked = run("faketime", &["-m", "-f", "+0", "printenv", "LD_PRELOAD"], b"").await?;
        let library = asked.stdout.trim();
        ensure!(!library.is_empty(), "faketime names no library: {asked:?}");
        let file = self.0.to_str().context("a path that is no text")?;
        Ok(vec![
            "env".to_owned(),
            format!("LD_PRELOAD={library}"),
            format!("FAKETIME_TIMESTAMP_FILE={file}"),
            "FAKETIME_NO_CACHE=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        ])
    }
}

#[tokio::test]
async fn a_clock_that_jumps_neither_shortens_a_step_nor_prolongs_it() -> Result<()> {
    let place = Place::new().await?;
    let steps = format!(
        "steps: [{{ weight: 50%, hold: {}s }}, {{ pause: true }}]
gates: [{{ name: errors, metric: error_rate, max: 5% }}]",
        HOLD.as_secs()
    );
    place.write(&place.config().rollout("1", &steps))?;
    let clock = Clock::new(place.path())?;
    let wrapper = clock.wrapper().await?;
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let spawned = Instant::now();
    let gateway = Gateway::start_through(&wrapper, &place.file()).await?;
    let rollout = Rollout::of(&gateway, "v2");
    let load = Load::start(&gateway.get("/"), 1);
    let held = |seconds: f64| {
        rollout.until("it is held", SOON, move |now| now["held_seconds"].as_f64() > Some(seconds))
    };
    held(0.5).await?;
    clock.set("+365d")?;
    let later = held(1.0).await?;
    ensure!(later["step"] == 1, "a year ahead the step is over: {later:#}");
    clock.set("-365d")?;
    let later = held(2.0).await?;
    ensure!(later["step"] == 1, "{later:#}");
    let limit = HOLD + LATE;
    rollout.until("the step is over", limit, |now| now["step"] == 2).await?;
    let took = spawned.elapsed();
    ensure!((HOLD..HOLD + LATE).contains(&took), "{HOLD:?} took {took:?}");
    load.stop().await.flawless()?;

    let decisions = rollout.decisions().await?;
    let times = decisions.iter().map(|one| number(&one["time"])).collect::<Result<Vec<_>>>()?;
    let back = times[0].saturating_sub(times[1]);
    ensure!(u128::from(back) > YEAR.as_millis() / 2, "the clock did not jump: {times:?}");
    gateway.stop().await
}
