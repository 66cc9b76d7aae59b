//! Where recorded ticks come from: lines of JSON, or the journal of a gateway.

use std::{fs::File, io::Read as _, path::Path};
use tidegate_controller::{
    journal::{JournalReader, KeptTick},
    peek,
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
        None => last_run(file, rollout)?,
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

fn last_run(file: &Path, rollout: &str) -> Result<u32, String> {
    let saved = peek(file).map_err(|error| error.to_string())?;
    let run = saved.runs.iter().find(|run| run.plan().name == rollout);
    run.map(Run::number).ok_or_else(|| format!("it has no run of `{rollout}` that can be read"))
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
        let mut stops = decisions.filter(|decision| {
            use Action::{Aborted, Paused, Promoted, RolledBack};
            decision.run == run
                && matches!(decision.action, Aborted | Paused | Promoted | RolledBack)
        });
        // Newest first.
        first = stops.next_back().or(first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tidegate_controller::journal::{Checkpoint, Entry, Journal, Record, RecordedTick, Saved};
    use tidegate_judge::{
        AdvanceWhen, Freedom, OnBreach, Plan, Risk, Share, Step, Tick, Until, Verb,
    };

    fn plan() -> Plan {
        let step = Step { weight: Share::ALL, mirror: None, until: Until::Promoted };
        let risk = Risk::from_millionths(10_000).expect("1 % is a risk");
        Plan {
            name: "shop-v2".to_owned(),
            route: "shop".to_owned(),
            baseline: "stable".to_owned(),
            candidate: "canary".to_owned(),
            mirror: None,
            revision: "1".to_owned(),
            steps: vec![step],
            gates: Vec::new(),
            alpha: risk,
            beta: risk,
            advance_when: AdvanceWhen::Held,
            failed_requests: None,
            on_breach: OnBreach::Rollback,
        }
    }

    /// A journal with one run, three ticks of a second each, and what ended it.
    fn journal_of_a_run(file: &Path) {
        let (run, started) = Run::start(&plan(), None, "test", Time(10_000));
        let (ended, aborted) =
            run.act(Verb::Abort, "test", Freedom::Free, Time(13_000)).expect("it is under way");
        let mut entry = Entry::new();
        let state = serde_json::to_string(&ended).expect("a run is JSON");
        entry.states.push(Saved { rollout: "shop-v2".to_owned(), state });
        entry.decisions =
            [started, aborted].iter().map(|one| Record::try_from(one).expect("JSON")).collect();
        let mut checkpoint = Checkpoint::default();
        for second in 1..=3 {
            let tick = Tick { elapsed: Duration::from_secs(1), ..Tick::default() };
            checkpoint.record(RecordedTick {
                rollout: "shop-v2".to_owned(),
                run: 1,
                time: Time(10_000 + 1000 * second),
                step: 1,
                json: serde_json::to_string(&tick).expect("a tick is JSON"),
            });
        }
        let mut journal = Journal::open(file).expect("a new journal");
        journal.commit(&entry).expect("written");
        journal.checkpoint(&checkpoint).expect("written");
    }

    #[test]
    fn the_state_of_a_gateway_is_a_recording() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("tidegate.db");
        journal_of_a_run(&file);
        let recording = read(&file, "shop-v2", None).expect("the last run");
        assert_eq!((recording.run, recording.ticks.len()), (Some(1), 3));
        assert_eq!(recording.began, Some(Time(10_000)));
        let stop = recording.stop.expect("it was aborted");
        assert_eq!((stop.action, stop.time), (Action::Aborted, Time(13_000)));
        let missing = |rollout, run| read(&file, rollout, run).err().unwrap_or_default();
        assert!(missing("shop-v2", Some(7)).ends_with("has no ticks of run 7 of `shop-v2`"));
        assert!(missing("shop", None).ends_with("no run of `shop` that can be read"));
    }

    #[test]
    fn of_lines_the_last_run_is_taken() {
        let tick = serde_json::to_string(&Tick::default()).expect("a tick is JSON");
        let line = |run: u32| format!("{{\"run\": {run}, \"step\": 1, \"tick\": {tick}}}\n");
        let text = format!("{}{}{}", line(1), line(2), line(2));
        let last = lines(&text, None).expect("three ticks");
        assert_eq!((last.run, last.ticks.len()), (Some(2), 2));
        assert_eq!(lines(&text, Some(1)).expect("three ticks").ticks.len(), 1);
        assert_eq!(lines(&tick, None).expect("a tick").ticks.len(), 1);
    }
}
