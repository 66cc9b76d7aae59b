//! What others would have done on the same traffic.

mod argo;
mod flagger;
mod kayenta;
mod tidegate;

use crate::{
    Effort,
    detection::TIMES,
    plans::{constant, no_worse},
    table::{Table, percent},
};
use std::time::Duration;
use tidegate_controller::simulate::{Spread, Ticks, Traffic, World, Worse, in_parallel, seed_of};
use tidegate_judge::{Arms, Plan, Run, Tick, Time};

/// The candidate's share of the requests.
const WEIGHT: f64 = 0.1;
/// Requests a second.
const RATE: f64 = 100.0;
/// How long a step is, which all of them watch.
const MINUTES: usize = 30;

/// Who watches a candidate.
trait Judge {
    /// Looks at the counts of one second; `true`: the candidate has to go.
    fn second(&mut self, _tick: &Tick) -> bool {
        false
    }

    /// Looks at the counts of one minute; `true`: the candidate has to go.
    fn minute(&mut self, _counts: &Arms) -> bool {
        false
    }
}

/// What became of one candidate.
struct Fate {
    /// When it had to go; `None`: it did not.
    found: Option<f64>,
    /// Requests of users that it had failed by then.
    failed: u64,
}

type Make = fn(&Plan, f64) -> Box<dyn Judge>;

const JUDGES: [(&str, Make); 7] = [
    ("Tidegate, `worse_than_baseline: 10%`", |plan, _| Box::new(tidegate::Tidegate::new(plan))),
    ("Flagger, success ≥ 99 %, `threshold: 5`", |_, _| Box::new(flagger::Flagger::new(0.99, 5))),
    ("Flagger, success ≥ 99 %, `threshold: 1`", |_, _| Box::new(flagger::Flagger::new(0.99, 1))),
    ("Flagger, failures ≤ twice the usual, `threshold: 5`", |_, base| {
        Box::new(flagger::Flagger::new(1.0 - 2.0 * base, 5))
    }),
    ("Argo Rollouts, success ≥ 99 %, `failureLimit: 0`", |_, _| {
        Box::new(argo::Analysis::new(0.99))
    }),
    ("Argo Rollouts, failures ≤ twice the usual", |_, base| {
        Box::new(argo::Analysis::new(1.0 - 2.0 * base))
    }),
    ("Kayenta, every 5 min", |_, _| Box::new(kayenta::Kayenta::new(5))),
];

pub(crate) fn tables(effort: Effort) -> Vec<Table> {
    [0.001, 0.01].map(|base| table(effort, base)).into()
}

fn table(effort: Effort, base: f64) -> Table {
    let runs = effort.runs.div_ceil(2);
    let caption = format!(
        "{} failures, the candidate at 10 % of {RATE} requests/s for {MINUTES} minutes; {runs} \
         runs. Share of runs rolled back · median time to it · mean of users' requests that the \
         candidate failed until then, or until the end.",
        percent(base)
    );
    let mut heads = vec!["", "healthy: rolled back falsely"];
    let sizes = TIMES.map(|times| format!("{times}×"));
    heads.extend(sizes.iter().map(String::as_str));
    let mut table = Table::new(caption, &heads);
    let plan = constant(WEIGHT, vec![no_worse(0.1)]);
    let columns: Vec<Vec<Vec<Fate>>> = [1.0]
        .into_iter()
        .chain(TIMES)
        .map(|times| in_parallel(runs, |run| watch(&plan, base, times, seed_of(effort.seed, run))))
        .collect();
    for (position, (name, _)) in JUDGES.iter().enumerate() {
        let cells = columns.iter().enumerate().map(|(column, runs)| {
            let fates: Vec<&Fate> = runs.iter().filter_map(|fates| fates.get(position)).collect();
            cell(&fates, column == 0)
        });
        table.row([(*name).to_owned()].into_iter().chain(cells));
    }
    table
}

fn cell(fates: &[&Fate], healthy: bool) -> String {
    let found = fates.iter().filter_map(|fate| fate.found);
    let share = percent(found.clone().count() as f64 / fates.len().max(1) as f64);
    if healthy {
        return share;
    }
    let failed = Spread::of(fates.iter().map(|fate| fate.failed as f64));
    let failed = failed.map_or(0.0, |failed| failed.mean);
    match Spread::of(found) {
        Some(time) => format!("{share} · {} · {failed:.0}", words(time.median)),
        None => format!("{share} · – · {failed:.0}"),
    }
}

fn words(seconds: f64) -> String {
    if seconds < 90.0 { format!("{seconds:.0} s") } else { format!("{:.1} min", seconds / 60.0) }
}

/// The candidate's success rate.
fn success(counts: &Arms) -> f64 {
    1.0 - counts.candidate.failures as f64 / counts.candidate.requests.max(1) as f64
}

/// Shows the same traffic to all.
fn watch(plan: &Plan, base: f64, times: f64, seed: u64) -> Vec<Fate> {
    let traffic = Traffic {
        rate: RATE,
        errors: base,
        worse: Worse { errors: times, ..Worse::HEALTHY },
        ticks: Ticks::Fixed(Duration::from_secs(1)),
        ..Traffic::default()
    };
    let mut world = World::new(plan, &traffic, seed);
    let setting = Run::start(plan, None, "bench", Time(0)).0.setting();
    let mut judges: Vec<Box<dyn Judge>> = JUDGES.iter().map(|(_, make)| make(plan, base)).collect();
    let mut fates: Vec<Fate> = judges.iter().map(|_| Fate { found: None, failed: 0 }).collect();
    let mut minute = Arms::default();
    for second in 1..=MINUTES * 60 {
        let tick = world.tick(setting, Duration::MAX);
        minute.baseline.add(&tick.users.baseline);
        minute.candidate.add(&tick.users.candidate);
        let over = second % 60 == 0;
        for (judge, fate) in judges.iter_mut().zip(&mut fates) {
            if fate.found.is_some() {
                continue;
            }
            fate.failed += tick.users.candidate.failed;
            if judge.second(&tick) || over && judge.minute(&minute) {
                fate.found = Some(second as f64);
            }
        }
        if over {
            minute = Arms::default();
        }
    }
    fates
}
