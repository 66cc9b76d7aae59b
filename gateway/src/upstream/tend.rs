//! What is done for the endpoints of an upstream beside its requests.

use super::{Pool, clock, health, members::Members, resolve};
use std::{
    future::pending,
    sync::{Arc, Weak},
    time::Duration,
};

/// Starts all that keeps the endpoints of `pool` known and their standing true. It ends with the
/// pool, or when that is retired.
pub(crate) fn start(pool: &Arc<Pool>) {
    let members = &pool.members;
    members.keep(tokio::spawn(tend(Arc::downgrade(members))).abort_handle());
    if members.config.health_check.is_some() {
        members.keep(tokio::spawn(health::check_all(Arc::downgrade(members))).abort_handle());
    }
    for follow in resolve::follow_all(members) {
        members.keep(tokio::spawn(follow).abort_handle());
    }
}

/// How long a start or a reload waits for names to be looked up.
const FIRST_NAMES: Duration = Duration::from_secs(3);

/// How long it then waits for endpoints to be checked.
const FIRST_CHECKS: Duration = Duration::from_secs(1);

/// Gives new pools a moment to find their endpoints and to see which of them are fine, before
/// requests come: an endpoint that is down need not fail one first.
pub(crate) async fn first_look(pools: &[Arc<Pool>]) {
    let looks = pools.iter().map(|pool| async {
        let members = &pool.members;
        let mut progress = members.progress.subscribe();
        if members.is_empty() {
            let names = resolve::names(members).count();
            let answered = progress.wait_for(|answered| *answered >= names);
            let _ = tokio::time::timeout(FIRST_NAMES, answered).await;
        }
        let checked = progress.wait_for(|_| members.all_checked());
        let _ = tokio::time::timeout(FIRST_CHECKS, checked).await;
    });
    futures_util::future::join_all(looks).await;
}

/// Looks after ejections, warm-ups and endpoints that drain, each when it is due.
async fn tend(members: Weak<Members>) {
    while let Some(held) = members.upgrade() {
        let now = clock::now();
        let due = held.tend(now);
        let changed = Arc::clone(&held.changed);
        drop(held);
        let due = async {
            match due {
                Some(due) => {
                    tokio::time::sleep(Duration::from_millis(due.saturating_sub(now))).await;
                }
                None => pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = changed.notified() => {}
        }
    }
}
