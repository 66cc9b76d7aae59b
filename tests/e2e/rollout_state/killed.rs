//! `kill -9`, a hundred times, whatever it is doing.

use super::{Place, checks, now, number, text, traffic::Traffic, weight};
use anyhow::{Context, Result, ensure};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use std::{
    collections::{BTreeSet, HashMap},
    net::{SocketAddr, TcpListener},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
use tidegate_tests::*;
use tokio::{process::Command, time::sleep};

const LIVES: usize = 100;

/// Repeats a run of this test, as far as the machine does.
const SEED: &str = "TIDEGATE_TEST_SEED";

/// The steps, and what each asks before it is over.
const STEPS: &str = "steps:
  - { mirror: 100%, hold: 200ms }
  - { weight: 10%, hold: 200ms, min_requests: 20 }
  - { pause: true }
  - { weight: 50%, hold: 300ms, min_requests: 50 }
  - { weight: 100%, hold: 200ms }
gates: [{ name: errors, metric: error_rate, max: 5% }]";
const UNTIL: [checks::Until; 5] = [
    Some((Duration::from_millis(200), 0)),
    Some((Duration::from_millis(200), 20)),
    None,
    Some((Duration::from_millis(300), 50)),
    Some((Duration::from_millis(200), 0)),
];

/// Below the ports that the system hands out: nobody else takes it between two lives.
const PORTS: std::ops::Range<u16> = 10_000..20_000;

/// How long an idle machine takes to start, journal and all, with room to spare.
const QUICK: Duration = Duration::from_millis(200);

struct Story {
    rng: StdRng,
    place: Place,
    web: SocketAddr,
    traffic: Traffic,
    /// The revision in the file, what the candidate had served before it, and the step in which it
    /// turns bad.
    revision: u32,
    hits: u64,
    bad_from: Option<u64>,
    /// Lives since the revision ended.
    over_for: u32,
    /// What the last life left.
    kept: Kept,
    /// From when to when there was a gateway.
    lives: Vec<(u64, u64)>,
    starts: Vec<Duration>,
    /// In which states it was killed.
    killed_in: BTreeSet<String>,
}

/// What happened in one life, until it was killed.
struct Life {
    gateway: Gateway,
    /// When it was started, by both clocks.
    at: u64,
    since: Instant,
    /// The first look at the weight, and when that was.
    weight: (f64, u64),
    /// The first look at the rollout; when that was, how old the gateway was, and what was sent.
    first: (Value, u64, Duration, u64),
    last: Value,
    /// A verb that was acknowledged.
    acted: Option<&'static str>,
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_a_hundred_times_it_goes_on_where_it_was() -> Result<()> {
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| rand::random_range(0..1_000_000));
    eprintln!("{SEED}={seed}");
    let mut story = Story::begin(seed).await?;
    for life in 1..=LIVES {
        story.live().await.with_context(|| format!("life {life}, {SEED}={seed}"))?;
    }
    story.was_worth_it()
}

impl Story {
    async fn begin(seed: u64) -> Result<Self> {
        let mut rng = StdRng::seed_from_u64(seed);
        let place = Place::new().await?;
        let web = free_port()?;
        let split = [place.stable.origin.address(), place.canary.origin.address()];
        let traffic = Traffic::start(web, split, &[10, 50]).await?;
        let bad_from = Some(rng.random_range(0..5));
        let story = Self {
            rng,
            place,
            web,
            traffic,
            revision: 1,
            hits: 0,
            bad_from,
            over_for: 0,
            kept: Kept::default(),
            lives: Vec::new(),
            starts: Vec::new(),
            killed_in: BTreeSet::new(),
        };
        story.write(70)?;
        Ok(story)
    }

    fn write(&self, canary: u32) -> Result<()> {
        let [v1, v2] = [&self.place.stable, &self.place.canary].map(|one| one.origin.address());
        let config = Config::split(v1, &(100 - canary).to_string(), v2, &canary.to_string())
            .also("bucket_by: { header: x-user }")
            .also("mirrors: [{ name: dark, upstream: v2, percent: 0, timeout: 5s }]")
            .rollout(&self.revision.to_string(), STEPS);
        let web = format!("name: web, address: {}", self.web);
        let yaml = config.yaml().replace("name: web, address: 127.0.0.1:0", &web);
        Ok(std::fs::write(self.place.file(), yaml)?)
    }

    async fn live(&mut self) -> Result<()> {
        self.edit()?;
        if self.rng.random_bool(0.15) {
            self.is_stillborn().await?;
        }
        let mut life = self.run().await?;
        life.gateway.kill().await?;
        self.lives.push((life.at, now()));
        let before = std::mem::take(&mut self.kept);
        self.kept = self.place.state().read_remains().await?;
        self.check(&before, &life)
    }

    /// Between two lives, sometimes: the next revision, or other weights that do not matter.
    fn edit(&mut self) -> Result<()> {
        if self.over_for < 3 {
            let canary =
                if self.rng.random_bool(0.2) { self.rng.random_range(1..=100) } else { 70 };
            return self.write(canary);
        }
        self.revision += 1;
        self.over_for = 0;
        self.bad_from = self.rng.random_bool(0.5).then(|| self.rng.random_range(0..5));
        self.hits = self.place.canary.origin.hits();
        self.write(70)
    }

    /// A gateway that is killed before it is ready.
    async fn is_stillborn(&mut self) -> Result<()> {
        let at = now();
        let mut child = Command::new(tidegate_binary()?)
            .args(["run", "-c"])
            .arg(self.place.file())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        sleep(Duration::from_millis(self.rng.random_range(0..60))).await;
        child.kill().await?;
        // It counts as a life: it may have looked.
        self.lives.push((at, now()));
        Ok(())
    }

    async fn run(&mut self) -> Result<Life> {
        let step = self.kept.runs.get("v2").map(checks::position).transpose()?.unwrap_or(0);
        let bad = self.bad_from.is_some_and(|from| step >= from);
        self.place.canary.fail(if bad { 0.5 } else { 0.0 });
        let sent = || self.traffic.sent.load(Ordering::Relaxed);
        let (at, since, before) = (now(), Instant::now(), sent());
        let gateway = self.place.start().await?;
        self.starts.push(since.elapsed());
        let weight = (weight(&gateway).await?, now());
        let rollout = Rollout::of(&gateway, "v2");
        let shown = eventually("the rollout is there", async || rollout.get().await.ok()).await?;
        let first = (shown.clone(), now(), since.elapsed(), sent() - before);
        // One in eight lives long enough for evidence to be saved between decisions.
        let longest = if self.rng.random_bool(0.125) { 1600 } else { 600 };
        let left = Duration::from_millis(self.rng.random_range(50..longest));
        let verb = choose_verb(&mut self.rng, text(&shown["state"])?);
        let early = left.mul_f64(self.rng.random_range(0.0..1.0));
        sleep(early).await;
        let mut acted = None;
        if let Some(verb) = verb
            && rollout.act(verb).await?.0 == 200
        {
            acted = Some(verb);
        }
        sleep(left - early).await;
        let last = rollout.get().await?;
        Ok(Life { gateway, at, since, weight, first, last, acted })
    }

    fn check(&mut self, before: &Kept, life: &Life) -> Result<()> {
        let after = &self.kept;
        checks::nothing_forgotten(before, after)?;
        checks::state_follows(after)?;
        checks::ended_for_good(after)?;
        checks::earned(after, &UNTIL, &self.lives)?;
        let hits = self.place.canary.origin.hits() - self.hits;
        checks::evidence_grows(before, after, life.since.elapsed(), hits)?;
        checks::shown_is_kept(&life.last, after)?;
        let new = &after.decisions[before.decisions.len()..];
        life.announced_only(new)?;
        life.began_as(self.left_weight(before)?, before.runs.get("v2"), new)?;
        self.saw_these_weights(before, new, life)?;

        let state = text(&life.last["state"])?;
        self.killed_in.insert(format!("{state} in step {}", life.last["step"]));
        let over = matches!(state, "rolled_back" | "promoted");
        self.over_for = if over { self.over_for + 1 } else { 0 };
        Ok(())
    }

    /// Every answer is due to a weight that was in force: never to one of the file.
    fn saw_these_weights(&self, before: &Kept, new: &[Value], life: &Life) -> Result<()> {
        let mut weights = vec![self.left_weight(before)?];
        let mut decided = new.iter().peekable();
        let mut seen = self.traffic.take()?;
        seen.retain(|seen| seen.at >= life.at);
        seen.sort_by_key(|seen| seen.at);
        for seen in &seen {
            while let Some(one) = decided.next_if(|one| one["time"].as_u64() <= Some(seen.at)) {
                weights.push(number(&one["weight"])?);
            }
            ensure!(seen.is_due_to(&weights), "{seen:?} with the weights {weights:?}: {new:?}");
        }
        Ok(())
    }

    /// The weight, in millionths, that the next life has to begin with. Another revision begins
    /// without users, whatever the last one had.
    fn left_weight(&self, kept: &Kept) -> Result<u64> {
        let (run, revision) = (kept.runs.get("v2"), self.revision.to_string());
        let same = run.filter(|run| run["plan"]["revision"] == revision.as_str());
        same.map_or(Ok(0), checks::weight_of)
    }

    /// It was in all states, and was quick to start.
    fn was_worth_it(mut self) -> Result<()> {
        let states = &self.killed_in;
        let had = |wanted: &str| states.iter().any(|state| state.starts_with(wanted));
        for wanted in [
            "progressing in step 1",
            "progressing in step 2",
            "waiting in step 3",
            "progressing in step 4",
            "progressing in step 5",
            "paused",
            "rolled_back",
            "promoted in step 5",
        ] {
            ensure!(had(wanted), "never killed {wanted}; only {states:?}");
        }
        ensure!(self.revision >= 3, "only {} revisions", self.revision);
        self.starts.sort();
        let median = self.starts[self.starts.len() / 2];
        eprintln!("{} revisions, killed {states:?}, a start takes {median:?}", self.revision);
        ensure!(self.starts[0] < QUICK, "the quickest start took {:?}", self.starts[0]);
        Ok(())
    }
}

impl Life {
    /// What the log and the API said is kept.
    fn announced_only(&self, new: &[Value]) -> Result<()> {
        let mut kept = HashMap::new();
        for one in new {
            let step = format!("{} of {}", one["step"], one["steps"]);
            let what = [text(&one["action"])?, text(&one["revision"])?, &step].join(" ");
            *kept.entry(what).or_insert(0) += 1;
        }
        for line in self.gateway.log() {
            let event: Value = serde_json::from_str(&line)?;
            let fields = &event["fields"];
            let Some(action) = fields["action"].as_str() else { continue };
            let what = [action, text(&fields["revision"])?, text(&fields["step"])?].join(" ");
            let left = kept.get_mut(&what).filter(|left| **left > 0);
            *left
                .with_context(|| format!("{what:?} was announced and is not kept: {new:#?}"))? -= 1;
        }
        let by_person = new.iter().filter(|one| one["actor"] != "controller");
        let acted = by_person.filter(|one| one["actor"] != "configuration").count();
        ensure!(acted >= usize::from(self.acted.is_some()), "{:?} is forgotten", self.acted);
        Ok(())
    }

    /// Until the first decision all was as it was left.
    fn began_as(&self, left: u64, before: Option<&Value>, new: &[Value]) -> Result<()> {
        let decided = new.first().map_or(u64::MAX, |one| one["time"].as_u64().unwrap_or(0));
        let left = left as f64 / 1e6;
        let (weight, at) = self.weight;
        ensure!(at >= decided || weight == left, "{weight} in force, {left} was left");
        let (shown, at, life, sent) = &self.first;
        match before {
            Some(before) if *at < decided => checks::resumed(before, shown, *life, *sent),
            _ => Ok(()),
        }
    }
}

/// What a person may want of a rollout in this state, at times.
fn choose_verb(rng: &mut StdRng, state: &str) -> Option<&'static str> {
    let (verb, chance) = match state {
        "waiting" => ("promote", 0.5),
        "paused" => ("resume", 0.6),
        "progressing" => ("pause", 0.2),
        _ => return None,
    };
    rng.random_bool(chance).then_some(verb)
}

fn free_port() -> Result<SocketAddr> {
    for _ in 0..100 {
        let address = SocketAddr::from(([127, 0, 0, 1], rand::random_range(PORTS)));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    anyhow::bail!("no free port in {PORTS:?}")
}
