//! What a mirror is doing: its counts, its limits' state, and what its comparisons found. It
//! outlives reloads, as long as the route has a mirror of that name.

use super::{
    metrics::MirrorMetrics,
    outcome::{Compared, Outcome},
};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};
use tidegate_compare::{Budget, Charge, Ledger};
use tidegate_config::plan::MirrorLimits;
use tidegate_policies::{DayBudget, RateLimit};

/// A mirror at run time.
#[derive(Debug)]
pub(crate) struct MirrorState {
    pub(crate) metrics: MirrorMetrics,
    under_way: AtomicU32,
    /// Of [`RateLimit`], in nanoseconds since `epoch`.
    rate: AtomicU64,
    /// Of [`DayBudget`].
    day: AtomicU64,
    /// A reload removed it.
    retired: AtomicBool,
    epoch: Instant,
    findings: Mutex<Findings>,
}

/// What comparing found since some time.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) since: SystemTime,
    pub(crate) ledger: Ledger,
}

/// A copy's place among those under way, and the memory of its connection; given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    state: Arc<MirrorState>,
    charge: Charge,
}

/// What a copy under way is charged beside its head and body: the buffers of its connection.
const UNDER_WAY: usize = 64 * 1024;

/// A copy's outcome, and that of its comparison, counted once, whatever happens to the copy.
#[derive(Debug)]
pub(super) struct Tally {
    state: Arc<MirrorState>,
    pub(super) outcome: Outcome,
    pub(super) compared: Option<Compared>,
}

impl MirrorState {
    pub(crate) fn new(metrics: MirrorMetrics) -> Self {
        Self {
            metrics,
            under_way: AtomicU32::new(0),
            rate: AtomicU64::new(0),
            day: AtomicU64::new(0),
            retired: AtomicBool::new(false),
            epoch: Instant::now(),
            findings: Mutex::new(Findings { since: SystemTime::now(), ledger: Ledger::new() }),
        }
    }

    /// Why a copy would not go out now, as far as a look tells: while a dark upstream hangs, its
    /// mirror costs a request no more than this.
    pub(super) fn refusal(&self, limits: &MirrorLimits) -> Option<Outcome> {
        if self.is_retired() {
            return Some(Outcome::Removed);
        }
        if self.under_way() >= limits.concurrent.get() {
            return Some(Outcome::ConcurrentLimit);
        }
        let spent = |rate: RateLimit| {
            rate.admit(self.rate.load(Ordering::Relaxed), self.nanoseconds()).is_none()
        };
        if limits.per_second.is_some_and(spent) {
            return Some(Outcome::Rate);
        }
        let spent =
            |budget: DayBudget| budget.admit(self.day.load(Ordering::Relaxed), today()).is_none();
        limits.per_day.is_some_and(spent).then_some(Outcome::DayBudget)
    }

    /// Whether one more copy may go out, by all limits.
    pub(super) fn admit(
        self: &Arc<Self>,
        limits: &MirrorLimits,
        budget: &Arc<Budget>,
    ) -> Result<Slot, Outcome> {
        if let Some(refusal) = self.refusal(limits) {
            return Err(refusal);
        }
        let mut slot = Slot { state: Arc::clone(self), charge: Charge::new(budget) };
        if self.under_way.fetch_add(1, Ordering::Relaxed) >= limits.concurrent.get() {
            return Err(Outcome::ConcurrentLimit);
        }
        if !slot.charge.grow(UNDER_WAY) {
            return Err(Outcome::MemoryBudget);
        }
        if let Some(rate) = limits.per_second {
            let now = self.nanoseconds();
            advance(&self.rate, |state| rate.admit(state, now)).ok_or(Outcome::Rate)?;
        }
        if let Some(budget) = limits.per_day {
            let day = today();
            advance(&self.day, |state| budget.admit(state, day)).ok_or(Outcome::DayBudget)?;
        }
        Ok(slot)
    }

    fn nanoseconds(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Nothing more is sent.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    /// Copies under way.
    pub(crate) fn under_way(&self) -> u32 {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Copies that a daily budget counted today.
    pub(crate) fn today(&self) -> u64 {
        DayBudget::used(self.day.load(Ordering::Relaxed), today())
    }

    pub(crate) fn findings(&self) -> MutexGuard<'_, Findings> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what comparing found, for a new dark version.
    pub(crate) fn forget_findings(&self) {
        let mut findings = self.findings();
        findings.ledger.clear();
        findings.since = SystemTime::now();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.state.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Tally {
    pub(super) fn new(state: &Arc<MirrorState>) -> Self {
        // Until something else is known: a copy that is lost on its way.
        Self { state: Arc::clone(state), outcome: Outcome::Reset, compared: None }
    }

    pub(super) fn state(&self) -> &Arc<MirrorState> {
        &self.state
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.state.metrics.count(self.outcome);
        if let Some(compared) = self.compared {
            self.state.metrics.compared[compared as usize].inc();
        }
    }
}

/// Takes a state to its next one, if there is one.
fn advance(state: &AtomicU64, next: impl FnMut(u64) -> Option<u64>) -> Option<u64> {
    state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()
}

/// Days since 1970, UTC.
fn today() -> u32 {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    u32::try_from(seconds / 86_400).unwrap_or(u32::MAX)
}
