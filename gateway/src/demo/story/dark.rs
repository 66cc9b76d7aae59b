//! The version that nobody sees.

use super::{LONG_LOOK, POLL, Story};
use crate::demo::{
    admin::Diffs,
    service::{DARK, TOTAL, WRONG_TOTAL},
    stats::thousands,
};
use std::{
    io,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// Answers to compare until something can be said.
const ENOUGH: u64 = 150;

/// The longest wait for them: copies yield to all other work, and on a busy machine they take their
/// time.
const PATIENCE: Duration = Duration::from_secs(15);

impl Story<'_> {
    pub(super) async fn dark_launch(&mut self) -> io::Result<()> {
        let diffs = self.enough_compared().await;
        let answered = self.copies("2xx").await;
        let skipped = self.copies("not_sampled").await;
        let samples = self.record.since(Instant::now() - LONG_LOOK);
        let seen = samples.iter().filter(|sample| sample.version() == Some(DARK)).count();
        let observed = format!(
            "{} copies were answered, {} requests were not sampled, {seen} users saw an answer",
            thousands(answered as u64),
            thousands(skipped as u64)
        );
        let ok = answered > 100.0 && skipped > answered && seen == 0;
        self.report.claim(
            "a quarter of the requests is copied to v3, and no user sees its answers",
            ok,
            observed,
        )?;
        self.differences(diffs.as_ref())
    }

    fn differences(&mut self, diffs: Option<&Diffs>) -> io::Result<()> {
        let different: Vec<_> = diffs.iter().flat_map(|diffs| diffs.of("different")).collect();
        let example = different.first().and_then(|field| field.examples.first());
        let right = [TOTAL.to_string(), WRONG_TOTAL.to_string()];
        let ok = different.len() == 1
            && different[0].field == "$.basket.total"
            && example.is_some_and(|e| [&e.expected, &e.actual] == [&right[0], &right[1]]);
        let observed = match (different.first(), diffs) {
            (Some(field), Some(diffs)) => format!(
                "{} differs in {} of {} answers, with an evidence of 10^{:.0}",
                field.field,
                thousands(diffs.mismatch),
                thousands(diffs.compared),
                field.log10_evidence.unwrap_or_default()
            ),
            _ => "nothing was found".to_owned(),
        };
        self.report.claim("its one wrong field is found by comparing answers", ok, observed)?;

        let noise = diffs.iter().flat_map(|diffs| diffs.of("noise"));
        let mut noise: Vec<_> = noise.map(|field| field.field.as_str()).collect();
        noise.sort_unstable();
        let ok = noise == ["$.served_at", "$.trace"];
        let observed = format!("noise: {}", noise.join(", "));
        let claim = "timestamps, ids and the order of keys are not mistaken for it";
        self.report.claim(claim, ok, observed)
    }

    async fn enough_compared(&self) -> Option<Diffs> {
        let start = Instant::now();
        loop {
            let diffs = self.admin.diffs().await.ok();
            let enough = diffs.as_ref().is_some_and(|diffs| diffs.compared >= ENOUGH);
            if enough || start.elapsed() > PATIENCE {
                return diffs;
            }
            sleep(POLL).await;
        }
    }

    async fn copies(&self, outcome: &str) -> f64 {
        let labels = [("mirror", "dark"), ("outcome", outcome)];
        self.sum("tidegate_mirror_requests_total", &labels).await
    }
}
