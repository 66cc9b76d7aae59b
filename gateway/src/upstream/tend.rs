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
                    tokio::time::sleep(Duration::from_millis(due.saturating_sub(now))).await
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
