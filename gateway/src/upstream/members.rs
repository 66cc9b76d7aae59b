//! The endpoints of an upstream: which there are, and which of them may be used.
//!
//! Requests of clients and copies of mirrors share them, each with a pool (limits) of its own: so
//! they are checked once, and a mirror does not run into an endpoint that clients know is broken.
//! Copies say nothing about endpoints, though: a dark launch must not take one from clients.

use super::{
    Background, Endpoint, Traffic, Unavailable, UpstreamMetrics, clock,
    endpoint::{Check, Checks},
    peer::Peers,
    roster::{Member, Roster, State, Wish},
};
use arc_swap::ArcSwap;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use tidegate_config::plan;
use tidegate_policies::{Health, HealthThresholds, OutlierPolicy};
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
};

/// How often an endpoint that the DNS dropped is looked at, whether it is done.
const DRAIN_TICK: u64 = 1_000;

/// The steps of a warm-up: 1 % of weight each.
const WARM_STEPS: u32 = 90;

/// A step is no shorter than this, in milliseconds, and no longer than a second.
const SHORTEST_STEP: u64 = 50;

/// See the module.
#[derive(Debug)]
pub(super) struct Members {
    pub(super) config: plan::Upstream,
    pub(super) background: Arc<Background>,
    pub(super) metrics: UpstreamMetrics,
    peers: Peers,
    outlier: Option<OutlierPolicy>,
    /// The addresses of each configured endpoint: its own, or what its name resolved to last.
    known: Mutex<Vec<Vec<SocketAddr>>>,
    roster: ArcSwap<Roster>,
    /// Names that were looked up at least once; first checks of endpoints are told, too.
    pub(super) progress: watch::Sender<usize>,
    /// There is something to wait for: an ejection to end, an endpoint to warm up or to drain.
    pub(super) changed: Arc<Notify>,
    /// There are other endpoints to check.
    pub(super) joined: Arc<Notify>,
    tasks: Mutex<Vec<AbortHandle>>,
}

/// What is known of an endpoint, for people who ask.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) address: SocketAddr,
    pub(crate) state: State,
    pub(crate) in_flight: u32,
    pub(crate) copies_in_flight: u32,
    /// Failures of requests in a row; with outlier detection.
    pub(crate) failures: Option<u32>,
    pub(crate) ejected_until: Option<SystemTime>,
    pub(crate) last_check: Option<Check>,
}

impl Members {
    /// The endpoints of `config`. What `previous` knew of names and of addresses that are still
    /// there is not forgotten: a reload waits for no DNS, and makes no endpoint better or worse.
    pub(super) fn new(
        config: plan::Upstream,
        background: Arc<Background>,
        metrics: UpstreamMetrics,
        previous: Option<&Members>,
    ) -> Self {
        let outlier = config.outlier_detection.map(|outlier| {
            let plan::OutlierDetection { consecutive_failures, eject_for, max_ejected } = outlier;
            OutlierPolicy::new(consecutive_failures, eject_for, max_ejected)
        });
        let known = config.endpoints.iter().map(|endpoint| match endpoint {
            plan::Endpoint::Address(address) => vec![*address],
            plan::Endpoint::Name(..) => {
                previous.and_then(|previous| previous.known_of(endpoint)).unwrap_or_default()
            }
        });
        let members = Self {
            peers: Peers::new(&config),
            known: Mutex::new(known.collect()),
            roster: ArcSwap::default(),
            progress: watch::Sender::new(0),
            changed: Arc::default(),
            joined: Arc::default(),
            tasks: Mutex::default(),
            config,
            background,
            metrics,
            outlier,
        };
        if let Some(previous) = previous {
            members.inherit(previous);
        }
        members.refresh(clock::now());
        members
    }

    fn known_of(&self, endpoint: &plan::Endpoint) -> Option<Vec<SocketAddr>> {
        let position = self.config.endpoints.iter().position(|known| known == endpoint)?;
        self.known().get(position).cloned()
    }

    fn known(&self) -> MutexGuard<'_, Vec<Vec<SocketAddr>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over the standing of all endpoints of `previous`; those that are not wanted leave with
    /// the next refresh.
    fn inherit(&self, previous: &Members) {
        let (old, new) = (&previous.config, &self.config);
        let same_checks = (&old.health_check, &old.tls, old.protocol)
            == (&new.health_check, &new.tls, new.protocol);
        let inherited = |member: &Member| {
            let mut checks = member.endpoint.checks();
            if !same_checks {
                // The next check decides by itself.
                checks.health = Health::Unchecked;
            }
            let endpoint = self.endpoint(
                member.endpoint.address(),
                member.endpoint.authority().into(),
                Some((&member.endpoint, checks)),
            );
            Member {
                endpoint: Arc::new(endpoint),
                healthy: member.healthy || new.health_check.is_none(),
                ejected: member.ejected.filter(|_| self.outlier.is_some()),
                leaving: false,
                warming: member.warming.filter(|_| new.slow_start.is_some()),
            }
        };
        let roster = previous.roster.load();
        let staying = roster.members().iter().filter(|member| !member.leaving);
        let members = staying.map(inherited).collect();
        self.roster.store(Arc::new(Roster::new(members, new.slow_start, clock::now())));
    }

    fn endpoint(
        &self,
        address: SocketAddr,
        authority: Arc<str>,
        previous: Option<(&Endpoint, Checks)>,
    ) -> Endpoint {
        Endpoint::new(address, authority, self.peers.at(address), previous)
    }

    /// Notes what the name of the configured endpoint at `position` resolved to; whether that is
    /// anything new.
    pub(super) fn resolved(&self, position: usize, mut addresses: Vec<SocketAddr>) -> bool {
        addresses.sort_unstable();
        addresses.dedup();
        match self.known().get_mut(position) {
            Some(known) if *known != addresses => {
                *known = addresses;
                true
            }
            _ => false,
        }
    }

    /// Takes the known addresses into use; those that stay keep their standing.
    pub(super) fn refresh(&self, now: u64) {
        self.change(now, |roster| {
            let addresses = self.addresses();
            let first = roster.members().iter().all(|member| member.leaving);
            let warming = self.config.slow_start.filter(|_| !first).map(|_| now);
            let mut old: BTreeMap<_, _> =
                roster.members().iter().map(|member| (member.endpoint.address(), member)).collect();
            let mut next = BTreeMap::new();
            for (address, authority) in addresses {
                let member = match old.remove(&address) {
                    Some(member) if member.leaving => {
                        Member { leaving: false, warming, ..member.clone() }
                    }
                    Some(member) => member.clone(),
                    None => Member {
                        endpoint: Arc::new(self.endpoint(address, authority, None)),
                        healthy: true,
                        ejected: None,
                        leaving: false,
                        warming,
                    },
                };
                next.insert(address, member);
            }
            for (address, member) in old.into_iter().filter(|(_, old)| !old.endpoint.is_idle()) {
                next.insert(address, Member { leaving: true, ..member.clone() });
            }
            (Some(next.into_values().collect()), ())
        });
        self.joined.notify_one();
        self.changed.notify_one();
    }

    /// Every known address, with the configured endpoint that it is of.
    fn addresses(&self) -> BTreeMap<SocketAddr, Arc<str>> {
        let mut addresses = BTreeMap::new();
        for (endpoint, known) in self.config.endpoints.iter().zip(self.known().iter()) {
            let authority: Arc<str> = match endpoint {
                plan::Endpoint::Address(address) => address.to_string().into(),
                plan::Endpoint::Name(host, port) => format!("{host}:{port}").into(),
            };
            for address in known {
                addresses.entry(*address).or_insert_with(|| Arc::clone(&authority));
            }
        }
        addresses
    }

    /// Publishes the members that `f` makes of the roster, if any; `f` runs again if another change
    /// came first.
    fn change<T>(&self, now: u64, mut f: impl FnMut(&Roster) -> (Option<Vec<Member>>, T)) -> T {
        let mut current = self.roster.load();
        loop {
            let (next, result) = f(&current);
            let Some(next) = next else { return result };
            let next = Arc::new(Roster::new(next, self.config.slow_start, now));
            let found = self.roster.compare_and_swap(&*current, next);
            if Arc::ptr_eq(&found, &current) {
                return result;
            }
            current = found;
        }
    }

    /// Publishes `endpoint` as `f` changes it, if it is still there and `f` says so.
    fn change_one(
        &self,
        endpoint: &Arc<Endpoint>,
        now: u64,
        f: impl Fn(&Roster, &mut Member) -> bool,
    ) -> bool {
        self.change(now, |roster| {
            let mut members = roster.members().to_vec();
            let member = members.iter_mut().find(|one| Arc::ptr_eq(&one.endpoint, endpoint));
            let changed = member.is_some_and(|member| f(roster, member));
            (changed.then_some(members), changed)
        })
    }

    /// An endpoint for one more request.
    pub(super) fn choose(&self, wish: &Wish<'_>) -> Result<Arc<Endpoint>, Unavailable> {
        self.roster.load().choose(self.config.load_balance, wish).map(Arc::clone)
    }

    /// A request of a client was answered by `endpoint`.
    pub(super) fn succeeded(&self, endpoint: &Endpoint) {
        if let Some(policy) = self.outlier {
            endpoint.succeeded(policy);
        }
    }

    /// A request of a client failed at `endpoint`.
    pub(super) fn failed(&self, endpoint: &Arc<Endpoint>, now: u64) {
        if let Some(policy) = self.outlier
            && endpoint.failed(policy, now)
        {
            self.eject(policy, endpoint, now);
        }
    }

    fn eject(&self, policy: OutlierPolicy, endpoint: &Arc<Endpoint>, now: u64) {
        let (upstream, address) = (&self.config.name, endpoint.address());
        let track = policy.eject(endpoint.track(), now);
        let until = OutlierPolicy::until(track);
        let ejected = self.change_one(endpoint, now, |roster, member| {
            let may = member.is_usable() && policy.may_eject(roster.census());
            if may {
                member.ejected = Some(until);
            }
            may
        });
        if !ejected {
            tracing::debug!(%upstream, endpoint = %address, "too many are out to eject this one");
            return;
        }
        endpoint.set_track(track);
        self.metrics.ejections.inc();
        self.changed.notify_one();
        let failures = self.config.outlier_detection.map_or(0, |o| o.consecutive_failures.get());
        let seconds = Duration::from_millis(until - now).as_secs_f64();
        tracing::warn!(
            %upstream, endpoint = %address, seconds,
            "an endpoint is ejected: {failures} failures in a row",
        );
    }

    /// Health checks are configured, and `endpoint` was checked.
    pub(super) fn checked(
        &self,
        endpoint: &Arc<Endpoint>,
        failure: Option<String>,
        thresholds: HealthThresholds,
        now: u64,
    ) {
        let passed = failure.is_none();
        self.metrics.checks[usize::from(passed)].inc();
        let failure: Option<Arc<str>> = failure.map(Into::into);
        let before = endpoint.checks();
        let health = before.health.after(passed, thresholds);
        let last = Check { at: SystemTime::now(), failure: failure.clone() };
        endpoint.set_checks(Checks { health, last: Some(last) });
        let healthy = health.is_usable();
        let changed = self.change_one(endpoint, now, |_, member| {
            let changed = member.healthy != healthy;
            member.healthy = healthy;
            if changed && healthy && self.config.slow_start.is_some() {
                member.warming = Some(now);
            }
            changed
        });
        if before.last.is_none() {
            self.progress.send_modify(|_| ());
        }
        if !changed {
            return;
        }
        self.changed.notify_one();
        let (upstream, endpoint) = (&self.config.name, endpoint.address());
        match failure {
            Some(reason) => {
                tracing::warn!(%upstream, %endpoint, "an endpoint is unhealthy: {reason}");
            }
            None => tracing::info!(%upstream, %endpoint, "an endpoint is healthy again"),
        }
    }

    /// Ends what is over at `now`; when to look again.
    pub(super) fn tend(&self, now: u64) -> Option<u64> {
        let returned = self.change(now, |roster| {
            let mut returned = Vec::new();
            let mut members = roster.members().to_vec();
            members.retain(|member| !member.leaving || !member.endpoint.is_idle());
            let mut changed = roster.is_warming() || members.len() < roster.members().len();
            for member in &mut members {
                if member.ejected.is_some_and(|until| until <= now) {
                    member.ejected = None;
                    member.warming = self.config.slow_start.map(|_| now);
                    returned.push(member.endpoint.address());
                    changed = true;
                }
            }
            (changed.then_some(members), returned)
        });
        let upstream = &self.config.name;
        for endpoint in returned {
            tracing::info!(%upstream, %endpoint, "an endpoint is back from its ejection");
        }
        let roster = self.roster.load();
        let ejected = roster.members().iter().filter_map(|member| member.ejected).min();
        let draining = roster.members().iter().any(|member| member.leaving);
        let step = self.config.slow_start.filter(|_| roster.is_warming()).map(|slow_start| {
            let step = u64::try_from((slow_start / WARM_STEPS).as_millis()).unwrap_or(u64::MAX);
            now + step.clamp(SHORTEST_STEP, 1_000)
        });
        ejected.into_iter().chain(draining.then_some(now + DRAIN_TICK)).chain(step).min()
    }

    /// Every endpoint that is to be checked.
    pub(super) fn to_check(&self) -> Vec<Arc<Endpoint>> {
        let roster = self.roster.load();
        let staying = roster.members().iter().filter(|member| !member.leaving);
        staying.map(|member| Arc::clone(&member.endpoint)).collect()
    }

    /// There is no endpoint, usable or not.
    pub(super) fn is_empty(&self) -> bool {
        self.roster.load().members().is_empty()
    }

    /// Every endpoint was checked at least once, if there are checks.
    pub(super) fn all_checked(&self) -> bool {
        let was_checked = |endpoint: &Arc<Endpoint>| endpoint.checks().last.is_some();
        self.config.health_check.is_none() || self.to_check().iter().all(was_checked)
    }

    pub(super) fn standings(&self) -> Vec<Standing> {
        let (now, time) = (clock::now(), SystemTime::now());
        let roster = self.roster.load();
        let standing = |member: &Member| {
            let endpoint = &member.endpoint;
            let until = |until: u64| time + Duration::from_millis(until.saturating_sub(now));
            Standing {
                address: endpoint.address(),
                state: member.state(),
                in_flight: endpoint.count(Traffic::Clients),
                copies_in_flight: endpoint.count(Traffic::Copies),
                failures: self.outlier.map(|_| OutlierPolicy::failures(endpoint.track())),
                ejected_until: member.ejected.map(until),
                last_check: endpoint.checks().last,
            }
        };
        roster.members().iter().map(standing).collect()
    }

    /// Runs with the others, until nobody needs the endpoints any more.
    pub(super) fn keep(&self, task: AbortHandle) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    /// Ends all that is done in the background.
    pub(super) fn retire(&self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.retire();
    }
}
