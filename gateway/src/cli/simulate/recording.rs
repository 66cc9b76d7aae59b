//! Where recorded ticks come from: lines of JSON, or the journal of a gateway.

use std::{fs::File, io::Read as _, path::Path};
use tidegate_controller::{
    journal::{JournalReader, KeptTick},
    simulate::{Recorded, parse},
};
use tidegate_judge::{Action, Decision, Run, Time};

/// A run that really was, as far as it was recorded.
pub(super) struct Recording {
    /// Its number, where it is known.
    pub(super) run: Option<u32>,
    pub(super) ticks: Vec<Recorded>,
    /// When the first tick began, where it is known.
    pub(super) began: Option<Time>,
    /// What ended or paused it, the first of these.
    pub(super) stop: Option<Decision>,
}

/// What every SQLite file begins with.
const SQLITE: &[u8] = b"SQLite format 3\0";

/// Reads run `run` of a rollout, or its last.
pub(super) fn read(file: &Path, rollout: &str, run: Option<u32>) -> Result<Recording, String> {
    let cannot = |why: String| format!("cannot read {}: {why}", file.display());
    let mut head = Vec::new();
    let opened = File::open(file).map_err(|error| cannot(error.to_string()))?;
    let length = SQLITE.len() as u64;
    opened.take(length).read_to_end(&mut head).map_err(|error| cannot(error.to_string()))?;
    let recording = if head == SQLITE {
        journal(file, rollout, run).map_err(cannot)?
    } else {
        let text = std::fs::read_to_string(file).map_err(|error| cannot(error.to_string()))?;
        lines(&text, run).map_err(cannot)?
    };
    if recording.ticks.is_empty() {
        let which = recording.run.map_or_else(String::new, |run| format!(" of run {run}"));
        return Err(format!("{} has no ticks{which} of `{rollout}`", file.display()));
    }
    Ok(recording)
}

fn lines(text: &str, run: Option<u32>) -> Result<Recording, String> {
    let ticks = parse(text).map_err(|error| error.to_string())?;
    let run = run.or_else(|| ticks.iter().filter_map(|tick| tick.run).max());
    // Ticks alone are all of the same run.
    let ticks = ticks.into_iter().filter(|tick| tick.run.is_none() || tick.run == run).collect();
    Ok(Recording { run, ticks, began: None, stop: None })
}

fn journal(file: &Path, rollout: &str, run: Option<u32>) -> Result<Recording, String> {
    let reader = JournalReader::new(file);
    let run = match run {
        Some(run) => run,
        None => last_run(&reader, rollout)?,
    };
    let (mut kept, mut after) = (Vec::new(), 0);
    loop {
        let page = reader.ticks(rollout, run, after, usize::MAX).map_err(|e| e.to_string())?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        kept.extend(page);
    }
    let ticks: Result<Vec<Recorded>, String> = kept.iter().map(|tick| one(tick, run)).collect();
    let ticks = ticks?;
    let began = kept.first().zip(ticks.first()).map(|(kept, first)| {
        let elapsed = u64::try_from(first.tick.elapsed.as_millis()).unwrap_or(u64::MAX);
        Time(kept.time.0.saturating_sub(elapsed))
    });
    Ok(Recording { run: Some(run), ticks, began, stop: stop(&reader, rollout, run)? })
}

fn one(tick: &KeptTick, run: u32) -> Result<Recorded, String> {
    let counted = serde_json::from_str(&tick.json);
    let counted = counted.map_err(|error| format!("tick {}: {error}", tick.seq))?;
    Ok(Recorded { run: Some(run), step: Some(tick.step), tick: counted })
}

fn last_run(reader: &JournalReader, rollout: &str) -> Result<u32, String> {
    let contents = reader.contents().map_err(|error| error.to_string())?;
    let saved = contents.states.iter().find(|saved| saved.rollout == rollout);
    let saved = saved.ok_or_else(|| format!("it has no run of `{rollout}`"))?;
    let run: Run = serde_json::from_str(&saved.state).map_err(|error| error.to_string())?;
    Ok(run.number())
}

/// The first decision that stopped the run, or ended it.
fn stop(reader: &JournalReader, rollout: &str, run: u32) -> Result<Option<Decision>, String> {
    let mut before = None;
    let mut first = None;
    loop {
        let page =
            reader.decisions(Some(rollout), usize::MAX, before).map_err(|e| e.to_string())?;
        let Some(last) = page.last() else { return Ok(first) };
        before = Some(last.id);
        let decisions = page.iter().filter_map(|kept| {
            // One that this version cannot read is no reason to show nothing.
            serde_json::from_str::<Decision>(&kept.json).ok()
        });
        let stops = decisions.filter(|decision| {
            use Action::{Aborted, Paused, Promoted, RolledBack};
            decision.run == run
                && matches!(decision.action, Aborted | Paused | Promoted | RolledBack)
        });
        first = stops.last().or(first);
    }
}
