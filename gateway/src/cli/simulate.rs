//! `tidegate simulate`: what a rollout's gates would do, before users meet them.

mod plot;
mod recording;
mod replay;
mod table;

use super::output;
use clap::{Args, ValueEnum};
use serde_json::json;
use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};
use strsim::osa_distance;
use tidegate_config::plan::{Rollout, Route};
use tidegate_controller::simulate::{
    Episode, Outage, Summary, Ticks, Traffic, Worse, play_many, usual_time,
};
use tidegate_judge::Plan;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The rollout; may be left out where there is one
    #[arg(long, value_name = "NAME")]
    rollout: Option<String>,
    /// Requests a second to the two variants together
    #[arg(long, value_name = "NUMBER", default_value = "200", value_parser = positive)]
    rate: f64,
    /// The share of the baseline's requests that fail
    #[arg(long, value_name = "SHARE", default_value = "0.1%", value_parser = share)]
    error_rate: f64,
    /// The share of the baseline's requests that are slow, for each gate on latency
    #[arg(long, value_name = "SHARE", default_value = "0.5%", value_parser = share)]
    slow_rate: f64,
    /// The share of compared copies that differ
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = share)]
    mismatch_rate: f64,
    /// How many times worse the candidate is: a row for each; 1 is a healthy one
    #[arg(
        long, value_name = "TIMES", value_delimiter = ',', value_parser = positive,
        default_value = "1,1.5,2,3,5,10"
    )]
    regressions: Vec<f64>,
    /// What is worse
    #[arg(long, value_enum, default_value_t = Of::Errors)]
    worse: Of,
    /// The candidate is healthy for so long, and gets worse then
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    after: Duration,
    /// Rollouts that are played for each row
    #[arg(long, value_name = "NUMBER", default_value = "2000")]
    runs: NonZeroUsize,
    /// The same seed gives the same result
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Something that both versions need is down for two minutes in the middle: 50 times the errors
    #[arg(long)]
    drift: bool,
    /// Ten times the requests, for some seconds about once a minute
    #[arg(long)]
    bursts: bool,
    /// Judge recorded ticks instead: lines of JSON, or the file that keeps a gateway's state
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// The recorded run; default: the last
    #[arg(long, value_name = "NUMBER", requires = "replay")]
    run: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is worse in a candidate that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Of {
    /// More requests fail
    Errors,
    /// More requests are slow
    Latency,
    /// More copies differ
    Mismatches,
}

/// One size of a regression.
struct Row {
    times: f64,
    summary: Summary,
    episodes: Vec<Episode>,
}

pub(super) fn simulate(options: &Options) -> ExitCode {
    let loaded = match tidegate_config::load(&options.config, None) {
        Ok(loaded) => loaded,
        Err(failure) => return output::fail_config(&failure),
    };
    let plan = match find(&loaded.plan.rollouts, options.rollout.as_deref()) {
        Ok(plan) => plan,
        Err(why) => return output::fail(&why),
    };
    let mirrored = mirrored(&loaded.plan.routes, &plan);
    if let Some(file) = &options.replay {
        return match recording::read(file, &plan.name, options.run) {
            Ok(recording) => replay::show(&plan, &recording, options.json),
            Err(why) => output::fail(&why),
        };
    }
    let usual = usual_time(&plan, options.rate);
    let play = |times: &f64| {
        let traffic = Traffic { mirrored, ..options.traffic(&plan, *times, usual) };
        options.play(&plan, *times, &traffic, usual)
    };
    let rows: Vec<Row> = options.regressions.iter().map(play).collect();
    if options.json {
        return output::print_json(&options.to_json(&plan, &rows, usual));
    }
    let mut text = options.headline(&plan, usual);
    text.push_str(&table::table(&rows));
    text.push_str(&plot::plot(&plan, &rows, usual));
    output::print(&text)
}

/// The rollout called `name`, or the only one.
fn find(rollouts: &[Rollout], name: Option<&str>) -> Result<Arc<Plan>, String> {
    let names = || rollouts.iter().map(|rollout| rollout.plan.name.as_str());
    let list = || names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match (name, rollouts) {
        (_, []) => Err("the configuration has no rollouts".to_owned()),
        (None, [one]) => Ok(Arc::clone(&one.plan)),
        (None, _) => Err(format!("there are several rollouts: name one of {}", list())),
        (Some(name), _) => {
            let found = rollouts.iter().find(|rollout| rollout.plan.name == name);
            found.map(|rollout| Arc::clone(&rollout.plan)).ok_or_else(|| {
                let near = names()
                    .map(|known| (osa_distance(name, known), known))
                    .filter(|(distance, _)| *distance <= (name.len() / 3).max(1))
                    .min();
                match near {
                    Some((_, near)) => {
                        format!("there is no rollout `{name}`: did you mean `{near}`?")
                    }
                    None => format!("there is no rollout `{name}`: there is {}", list()),
                }
            })
        }
    }
}

/// The share that the rollout's mirror copies where its steps say nothing.
fn mirrored(routes: &[Route], plan: &Plan) -> f64 {
    let route = routes.iter().find(|route| *route.name == *plan.route);
    let mut mirrors = route.iter().flat_map(|route| &route.mirrors);
    let mirror = mirrors.find(|mirror| plan.mirror.as_deref() == Some(&*mirror.name));
    mirror.map_or(0.0, |mirror| f64::from(mirror.policy.sample.millionths()) / 1e6)
}

impl Options {
    /// How long a rollout may take before it counts as undecided, in multiples of what it needs.
    const PATIENCE: u32 = 3;

    fn play(&self, plan: &Plan, times: f64, traffic: &Traffic, usual: Duration) -> Row {
        let limit = usual.saturating_mul(Self::PATIENCE).max(Duration::from_secs(600));
        let episodes = play_many(plan, traffic, limit, self.runs.get(), self.seed);
        Row { times, summary: Summary::of(&episodes), episodes }
    }

    fn traffic(&self, plan: &Plan, times: f64, usual: Duration) -> Traffic {
        /// What `--drift` says.
        const OUTAGE: Duration = Duration::from_secs(120);
        let healthy = Worse { from: self.after, ..Worse::HEALTHY };
        Traffic {
            rate: self.rate,
            errors: self.error_rate,
            slow: vec![self.slow_rate; plan.latencies().len()],
            mismatches: self.mismatch_rate,
            mirrored: 0.0,
            worse: match self.worse {
                Of::Errors => Worse { errors: times, ..healthy },
                Of::Latency => Worse { slow: times, ..healthy },
                Of::Mismatches => Worse { mismatches: times, ..healthy },
            },
            outage: self.drift.then(|| Outage { from: usual / 2, lasting: OUTAGE, times: 50 }),
            bursts: self.bursts,
            halves: false,
            ticks: Ticks::default(),
        }
    }

    fn headline(&self, plan: &Plan, usual: Duration) -> String {
        let percent = super::explain::percent;
        let worse = match self.worse {
            Of::Errors => "failures",
            Of::Latency => "slow requests",
            Of::Mismatches => "mismatches",
        };
        format!(
            "{}: {} steps, {} gates, alpha {}; {} if nothing is wrong\n\
             {} requests/s, {} fail, {} are slow, {} of copies differ; what is worse: {worse}\n\
             {} rollouts a row, seed {}\n\n",
            plan.name,
            plan.steps.len(),
            plan.gates.len(),
            plan.alpha,
            table::time(usual.as_secs_f64()),
            self.rate,
            percent(self.error_rate),
            percent(self.slow_rate),
            percent(self.mismatch_rate),
            self.runs,
            self.seed,
        )
    }

    fn to_json(&self, plan: &Plan, rows: &[Row], usual: Duration) -> serde_json::Value {
        let row = |row: &Row| json!({ "regression": row.times, "summary": row.summary });
        let worse = match self.worse {
            Of::Errors => "errors",
            Of::Latency => "latency",
            Of::Mismatches => "mismatches",
        };
        json!({
            "rollout": plan.name,
            "alpha": plan.alpha.probability(),
            "usual_seconds": usual.as_secs_f64(),
            "rate": self.rate,
            "error_rate": self.error_rate,
            "slow_rate": self.slow_rate,
            "mismatch_rate": self.mismatch_rate,
            "worse": worse,
            "worse_after_seconds": self.after.as_secs_f64(),
            "drift": self.drift,
            "bursts": self.bursts,
            "runs": self.runs,
            "seed": self.seed,
            "rows": rows.iter().map(row).collect::<Vec<_>>(),
        })
    }
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| *number > 0.0 && *number <= 1e6);
    number.ok_or_else(|| "write a number above 0, up to 1000000".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|digits| digits.trim_end().parse::<f64>().ok());
    let number = number.filter(|percent| (0.0..=100.0).contains(percent));
    number.map(|percent| percent / 100.0).ok_or_else(|| "write a share such as `0.1%`".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale = match text.get(digits.len()..) {
        Some("ms") => Some(1),
        Some("s") => Some(1000),
        Some("m") => Some(60_000),
        Some("h") => Some(3_600_000),
        _ => None,
    };
    let milliseconds = scale.zip(digits.parse::<u32>().ok());
    let milliseconds = milliseconds.map(|(scale, number)| u64::from(number) * scale);
    milliseconds
        .map(Duration::from_millis)
        .ok_or_else(|| "write a duration such as `10m`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_durations_are_written_as_in_configurations() {
        assert_eq!(share("0.1%"), Ok(0.001));
        assert_eq!(share("100 %"), Ok(1.0));
        assert!(share("0.1").is_err() && share("101%").is_err() && share("-1%").is_err());
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("10").is_err() && duration("m").is_err());
        assert!(positive("0").is_err() && positive("nan").is_err());
    }
}
