//! Active health checks: each endpoint at its pace, from a connection of its own each time, so that
//! a kept one never hides a server that accepts no more.

use super::{Endpoint, clock, members::Members, probe};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};
use tidegate_config::plan::HealthCheck;
use tidegate_policies::HealthThresholds;
use tokio::{
    sync::Semaphore,
    task::{AbortHandle, JoinSet},
};

/// Checks of an upstream at once: a thousand endpoints must not be a burst of a thousand
/// connections.
const AT_ONCE: usize = 64;

/// Intervals vary by this share, so that checks (of many gateways, too) do not fall together.
const JITTER: f64 = 0.1;

/// Checks every endpoint there is, a new one at once. Ends with the members.
pub(super) async fn check_all(members: Weak<Members>) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    let mut running: HashMap<SocketAddr, (Arc<Endpoint>, AbortHandle)> = HashMap::new();
    while let Some(held) = members.upgrade() {
        let wanted = held.to_check();
        let joined = Arc::clone(&held.joined);
        let Some(check) = held.config.health_check.clone() else { return };
        drop(held);
        running.retain(|_, (endpoint, task)| {
            let stays = wanted.iter().any(|wanted| Arc::ptr_eq(wanted, endpoint));
            if !stays {
                task.abort();
            }
            stays
        });
        for endpoint in wanted {
            running.entry(endpoint.address()).or_insert_with(|| {
                let (members, places) = (Weak::clone(&members), Arc::clone(&places));
                let task = keep_checking(members, Arc::clone(&endpoint), check.clone(), places);
                (endpoint, tasks.spawn(task))
            });
        }
        while tasks.try_join_next().is_some() {}
        joined.notified().await;
    }
}

async fn keep_checking(
    members: Weak<Members>,
    endpoint: Arc<Endpoint>,
    check: HealthCheck,
    places: Arc<Semaphore>,
) {
    let HealthCheck { probe, interval, timeout, unhealthy_after, healthy_after } = check;
    let thresholds = HealthThresholds { unhealthy_after, healthy_after };
    loop {
        let Ok(place) = places.acquire().await else { return };
        let Some(background) = members.upgrade().map(|held| Arc::clone(&held.background)) else {
            return;
        };
        let answer =
            tokio::time::timeout(timeout, probe::run(&background, &endpoint, &probe)).await;
        drop(place);
        let failure = match answer {
            Ok(Ok(())) => None,
            Ok(Err(why)) => Some(why),
            Err(_) => Some(format!("no answer within {timeout:?}")),
        };
        let Some(held) = members.upgrade() else { return };
        held.checked(&endpoint, failure, thresholds, clock::now());
        drop(held);
        tokio::time::sleep(jittered(interval)).await;
    }
}

fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(1.0 - JITTER + 2.0 * JITTER * rand::random::<f64>())
}
