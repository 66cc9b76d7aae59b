//! Looks at the users' record and the admin API, and makes of them what the table shows.

use super::{
    admin::{Admin, Metrics, Variant},
    record::{Record, Sample},
    stats::{percentile, share},
    table::{Row, View},
    users::Users,
};
use std::{
    collections::VecDeque,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How far the table looks back: long enough for a steady share, short enough to see a change.
const WINDOW: Duration = Duration::from_secs(5);

/// A rate over less than this would jump.
const SHORTEST_WINDOW: Duration = Duration::from_millis(500);

/// Remembers what is needed to tell what changed.
#[derive(Debug)]
pub(super) struct Observer {
    admin: Admin,
    generation: u64,
    /// When this generation came into force.
    changed: Instant,
    /// The last time.
    looked: Instant,
    /// Where the users are, and where they were before that.
    users: Users,
    before: Users,
    /// Of the last `WINDOW`.
    metrics: VecDeque<(Instant, Metrics)>,
}

impl Observer {
    pub(super) fn new(admin: Admin) -> Self {
        Self {
            admin,
            generation: 0,
            changed: Instant::now(),
            looked: Instant::now(),
            users: Users::default(),
            before: Users::default(),
            metrics: VecDeque::new(),
        }
    }

    /// # Errors
    /// When the admin API does not answer as it should.
    pub(super) async fn look(&mut self, record: &Record) -> Result<View, String> {
        let config = self.admin.status().await?.config;
        let routes = self.admin.routes().await?.routes;
        let metrics = self.admin.metrics().await?;
        // Whoever edits the file may take the mirror away.
        let dark = self.admin.diffs().await.ok();
        // And the rollout.
        let rollout = self.admin.rollout().await.ok();
        let decision = self.admin.decisions(1).await.ok().and_then(|mut decisions| decisions.pop());
        let now = Instant::now();
        if config.generation != self.generation {
            let since = config.loaded_at.map_or(Duration::ZERO, seconds_since);
            // A rollout's steps are generations that no file was loaded for.
            let loaded = now.checked_sub(since).unwrap_or(now).max(self.looked);
            self.adopt(config.generation, loaded, record);
        }
        self.looked = now;
        let start = now.checked_sub(WINDOW).map_or(self.changed, |start| start.max(self.changed));
        let samples = record.since(start);
        for sample in &samples {
            self.users.see(sample.user, sample.variant());
        }
        while self.metrics.front().is_some_and(|(at, _)| *at + WINDOW < now) {
            self.metrics.pop_front();
        }
        self.metrics.push_back((now, metrics));
        let length = now.duration_since(start);
        let variants = routes.iter().flat_map(|route| &route.variants);
        let rows = variants.map(|variant| self.row(variant, &samples, length)).collect();
        let rejected = config.last_error.iter().flat_map(|rejected| rejected.errors());
        Ok(View {
            rows,
            users: self.users.len(),
            totals: record.totals(),
            generation: self.generation,
            in_force: now.duration_since(self.changed),
            dark,
            rollout,
            decision,
            moves: self.users.moves(&self.before),
            rejected: rejected.map(ToString::to_string).collect(),
            restart_needed: config.restart_needed,
        })
    }

    /// A new configuration is in force: users are where they were until `changed`.
    fn adopt(&mut self, generation: u64, changed: Instant, record: &Record) {
        let start = changed.checked_sub(WINDOW).unwrap_or(self.changed);
        for sample in record.since(start).iter().filter(|sample| sample.sent < changed) {
            self.users.see(sample.user, sample.variant());
        }
        self.before = self.users.clone();
        (self.generation, self.changed) = (generation, changed);
    }

    fn row(&self, variant: &Variant, samples: &[Sample], length: Duration) -> Row {
        let of = samples.iter().filter(|sample| sample.variant() == Some(&*variant.name));
        let mut times: Vec<_> = of.map(|sample| sample.took).collect();
        times.sort_unstable();
        let answered = samples.iter().filter(|sample| sample.variant().is_some()).count();
        let length = length.max(SHORTEST_WINDOW).as_secs_f64();
        Row {
            variant: variant.name.clone(),
            share: variant.share,
            realised: share(times.len(), answered),
            users: self.users.on(&variant.name).len(),
            rate: times.len() as f64 / length,
            errors: self.growth(|metrics| metrics.failed_attempts(&variant.name)),
            saved: self.growth(|metrics| metrics.saved(&variant.name)),
            p50: percentile(&times, 0.5),
            p99: percentile(&times, 0.99),
        }
    }

    /// By how much a counter grew in the window.
    fn growth(&self, counter: impl Fn(&Metrics) -> f64) -> u64 {
        let (Some((_, first)), Some((_, last))) = (self.metrics.front(), self.metrics.back())
        else {
            return 0;
        };
        (counter(last) - counter(first)).max(0.0) as u64
    }
}

fn seconds_since(unix: f64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::try_from_secs_f64(now.as_secs_f64() - unix).unwrap_or_default()
}
