//! Keeping names resolved, in the background: a request never waits for the DNS.
//!
//! A name is looked up again when its answer expires. What it resolved to is not given up lightly:
//! a resolver that cannot say (it is down, its server failed) changes nothing, however long that
//! lasts, as Envoy's strict DNS; an answer that there is nothing is believed after five minutes, for
//! such an answer is more often a mistake than the end of a service, as HAProxy's `hold nx`. Until
//! then health checks find out what is really gone.

use super::{clock, members::Members, names::Found};
use std::{
    net::SocketAddr,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};
use tidegate_config::plan::Endpoint;

/// An answer holds at least for this long, whatever it says …
const SHORTEST: Duration = Duration::from_secs(1);

/// … and at most for this long: people change addresses and forget what the answer promised.
const LONGEST: Duration = Duration::from_secs(300);

/// Until the next attempt after one that failed, at first; each further one waits twice as long …
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// … up to this.
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// How long an answer that there is nothing is not believed.
const HOLD: Duration = Duration::from_secs(300);

/// What keeps each name of `members` resolved.
pub(super) fn follow_all(members: &Arc<Members>) -> Vec<impl Future<Output = ()> + use<>> {
    let follow = |(position, host, port): (usize, Arc<str>, u16)| {
        follow(Arc::downgrade(members), position, host, port)
    };
    names(members).map(follow).collect()
}

pub(super) fn names(members: &Members) -> impl Iterator<Item = (usize, Arc<str>, u16)> {
    members.config.endpoints.iter().enumerate().filter_map(|(i, endpoint)| match endpoint {
        Endpoint::Name(host, port) => Some((i, Arc::clone(host), *port)),
        Endpoint::Address(_) => None,
    })
}

/// Keeps one name resolved for as long as somebody needs it.
async fn follow(members: Weak<Members>, position: usize, host: Arc<str>, port: u16) {
    let mut last_good = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut said = None;
    let mut answered = false;
    while let Some(held) = members.upgrade() {
        let background = Arc::clone(&held.background);
        // Whoever gives the pool up does not wait for the DNS.
        drop(held);
        let found = background.names.look_up(&host).await;
        let Some(held) = members.upgrade() else { return };
        let (next, error) = match found {
            Found::Addresses(addresses, until) => {
                last_good = Instant::now();
                pause = FIRST_PAUSE;
                let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, port));
                if held.resolved(position, addresses.collect()) {
                    held.refresh(clock::now());
                }
                let holds = until.saturating_duration_since(last_good);
                (holds.clamp(SHORTEST, LONGEST), None)
            }
            Found::Nothing(why) if last_good.elapsed() > HOLD => {
                if held.resolved(position, Vec::new()) {
                    held.refresh(clock::now());
                }
                (lengthen(&mut pause), Some(why))
            }
            Found::Nothing(why) | Found::Failure(why) => (lengthen(&mut pause), Some(why)),
        };
        if error != said {
            report(&held, &host, error.as_deref());
            said = error;
        }
        if !answered {
            held.progress.send_modify(|names| *names += 1);
            answered = true;
        }
        drop(held);
        tokio::time::sleep(next).await;
    }
}

fn lengthen(pause: &mut Duration) -> Duration {
    let now = *pause;
    *pause = (now * 2).min(LAST_PAUSE);
    now
}

/// Says what changed, not what stays wrong.
fn report(members: &Members, host: &str, error: Option<&str>) {
    let upstream = &members.config.name;
    match error {
        None => tracing::info!(%upstream, %host, "an endpoint is resolved again"),
        Some(error) => tracing::warn!(%upstream, "cannot resolve an endpoint: {host}: {error}"),
    }
}
