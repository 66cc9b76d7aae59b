//! What a gateway says about the mirrors of the route `shop`.

use crate::{Gateway, Metrics, eventually};
use anyhow::{Result, bail};
use std::collections::BTreeMap;

/// What became of each request at a mirror.
const OUTCOMES: &str = "tidegate_mirror_requests_total";
/// What came of comparing.
const COMPARISONS: &str = "tidegate_mirror_compare_total";

impl Metrics {
    /// The counts of `name` for a mirror of the route `shop`, by outcome; those that are 0 are left
    /// out.
    pub fn by_outcome(&self, name: &str, mirror: &str) -> BTreeMap<String, u64> {
        let series = self.series.iter().filter(|series| {
            let is =
                |label: &str, value: &str| series.labels.get(label).is_some_and(|v| v == value);
            series.name == name && is("route", "shop") && is("mirror", mirror) && series.value > 0.0
        });
        series.map(|series| (series.labels["outcome"].clone(), series.value as u64)).collect()
    }
}

impl Gateway {
    /// Waits until the requests at `mirror` have had these outcomes and no others. A copy is
    /// counted when it has ended, which no client sees.
    ///
    /// # Errors
    /// When they have had others after [`crate::SOON`].
    pub async fn outcomes(&self, mirror: &str, expected: &[(&str, u64)]) -> Result<()> {
        self.reaches(OUTCOMES, mirror, expected).await
    }

    /// Waits until the copies at `mirror` have been compared with these outcomes and no others.
    ///
    /// # Errors
    /// When there are others after [`crate::SOON`].
    pub async fn comparisons(&self, mirror: &str, expected: &[(&str, u64)]) -> Result<()> {
        self.reaches(COMPARISONS, mirror, expected).await
    }

    /// Waits until the requests at `mirror` have had `total` outcomes, and gives them.
    ///
    /// # Errors
    /// When it is another number after [`crate::SOON`].
    pub async fn all_outcomes(&self, mirror: &str, total: u64) -> Result<BTreeMap<String, u64>> {
        let mut last = BTreeMap::new();
        let reached = eventually("", async || {
            last = self.metrics().await.ok()?.by_outcome(OUTCOMES, mirror);
            (last.values().sum::<u64>() == total).then_some(())
        });
        if reached.await.is_err() {
            bail!("{last:?} at `{mirror}` are not {total}");
        }
        Ok(last)
    }

    async fn reaches(&self, name: &str, mirror: &str, expected: &[(&str, u64)]) -> Result<()> {
        let expected: BTreeMap<_, _> =
            expected.iter().map(|(label, count)| ((*label).to_owned(), *count)).collect();
        let mut last = BTreeMap::new();
        let reached = eventually("", async || {
            last = self.metrics().await.ok()?.by_outcome(name, mirror);
            (last == expected).then_some(())
        });
        if reached.await.is_err() {
            bail!("{name} of `{mirror}` is {last:?} and not {expected:?}");
        }
        Ok(())
    }
}
