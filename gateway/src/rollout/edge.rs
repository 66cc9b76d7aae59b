//! The gateway, as the controller of rollouts sees it.

use super::{Door, HeldShift};
use crate::serving::Serving;
use std::{collections::HashMap, sync::Arc};
use tidegate_config::{Loaded, Plan, Store};
use tidegate_controller::{Configured, Edge, Wanted, Webhook};
use tidegate_judge::{Setting, Share, Tick};

/// The published snapshot, and the door to the next one.
#[derive(Debug)]
pub(crate) struct LiveEdge {
    store: Arc<Store<Serving>>,
    door: Arc<Door>,
    /// The files that the controller knows of.
    known: Option<Arc<Loaded>>,
    /// What was set last, by rollout.
    set: HashMap<String, Setting>,
}

impl LiveEdge {
    pub(crate) fn new(store: Arc<Store<Serving>>, door: Arc<Door>) -> Self {
        Self { store, door, known: None, set: HashMap::new() }
    }
}

impl LiveEdge {
    /// The live streams of candidates that were taken away just now end as their rollout says.
    fn end_streams(&self, serving: &Serving, settings: &[(&str, Setting)]) {
        for (position, rollout) in serving.plan().rollouts.iter().enumerate() {
            let Some(limit) = rollout.drain_streams else { continue };
            let name = &rollout.plan.name;
            let Some((_, setting)) = settings.iter().find(|(set, _)| set == name) else { continue };
            let had_users = self.set.get(name).is_some_and(|old| old.weight != Share::NONE);
            if let Some(lane) = serving.lane(position).filter(|_| had_users)
                && setting.weight == Share::NONE
            {
                let route = serving.plan().routes.iter();
                let route =
                    route.zip(&serving.routes).find(|(r, _)| *r.name == *rollout.plan.route);
                if let Some((_, route)) = route {
                    route.variant(lane.candidate).end_streams(limit);
                }
            }
        }
    }
}

impl Edge for LiveEdge {
    fn changed(&mut self) -> Option<Configured> {
        let snapshot = self.store.load();
        let loaded = &snapshot.state.loaded;
        if self.known.as_ref().is_some_and(|known| Arc::ptr_eq(known, loaded)) {
            return None;
        }
        self.known = Some(Arc::clone(loaded));
        let wanted = loaded.plan.rollouts.iter().map(|rollout| Wanted {
            plan: Arc::clone(&rollout.plan),
            webhooks: rollout.notify.iter().map(webhook).collect(),
        });
        Some(Configured { rollouts: wanted.collect(), state: super::boot::state(&loaded.plan) })
    }

    fn take(&mut self, rollout: &str) -> Option<Tick> {
        let snapshot = self.store.load();
        let plan = snapshot.state.plan();
        let position = plan.rollouts.iter().position(|one| *one.plan.name == *rollout)?;
        let lane = snapshot.state.lane(position)?;
        let mut tick = lane.lane.take();
        tick.mirrored = is_mirrored(plan, position);
        Some(tick)
    }

    fn set(&mut self, settings: &[(&str, Setting)]) -> u64 {
        let shift = |held: &[HeldShift], plan: &Plan| {
            held.iter().map(|held| set(held, plan, settings)).collect()
        };
        let generation = self.door.shift(shift);
        let snapshot = self.store.load();
        self.end_streams(&snapshot.state, settings);
        for (position, rollout) in snapshot.state.plan().rollouts.iter().enumerate() {
            let name = &rollout.plan.name;
            let Some((_, setting)) = settings.iter().find(|(set, _)| set == name) else { continue };
            if self.set.insert(name.clone(), *setting) != Some(*setting)
                && let Some(lane) = snapshot.state.lane(position)
            {
                lane.lane.begin(generation);
            }
        }
        generation
    }

    fn generation(&self) -> u64 {
        self.store.load().generation
    }

    fn keep(&self) -> String {
        let snapshot = self.store.load();
        serde_json::to_string(snapshot.state.shifts()).unwrap_or_default()
    }
}

/// What `held` becomes by `settings`.
fn set(held: &HeldShift, plan: &Plan, settings: &[(&str, Setting)]) -> HeldShift {
    let mut held = held.clone();
    let rollout = plan.rollouts.iter().find(|rollout| held.is_of(&rollout.plan));
    let setting = settings.iter().find(|(name, _)| *name == held.rollout);
    if let (Some(rollout), Some((_, setting))) = (rollout, setting) {
        held.shift.weight = setting.weight;
        held.shift.mirror = rollout.plan.mirror.clone().zip(setting.mirror);
        held.promoted = setting.promoted;
    }
    held
}

/// Whether the mirror to the rollout's candidate copies anything.
fn is_mirrored(plan: &Plan, rollout: usize) -> bool {
    let Some(rollout) = plan.rollouts.get(rollout) else { return false };
    let route = plan.routes.iter().find(|route| *route.name == *rollout.plan.route);
    let mirrors = route.iter().flat_map(|route| &route.mirrors);
    let mut named = mirrors.filter(|mirror| rollout.plan.mirror.as_deref() == Some(&*mirror.name));
    named.any(|mirror| mirror.policy.sample.millionths() > 0)
}

fn webhook(webhook: &tidegate_config::plan::Webhook) -> Webhook {
    Webhook { url: webhook.url.to_string(), secret_file: webhook.secret_file.clone() }
}
