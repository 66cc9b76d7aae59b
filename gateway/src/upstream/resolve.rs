//! Names to addresses, in the background: a request never waits for the DNS.

use super::Pool;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tidegate_config::plan::Endpoint;

/// How often names are looked up again.
const INTERVAL: Duration = Duration::from_secs(5);

/// How often while a pool has no address at all.
const IMPATIENT: Duration = Duration::from_millis(500);

/// How long a start or a reload waits for the first look-up of names.
const FIRST_RESOLUTION: Duration = Duration::from_secs(3);

/// For one look-up.
const LIMIT: Duration = Duration::from_secs(4);

/// Looks all names of `pool` up; the errors of those that cannot be resolved. Such a name keeps the
/// addresses it had: a resolver that is down is no reason to lose an upstream that works.
pub(crate) async fn resolve_once(pool: &Pool) -> Vec<String> {
    let mut errors = Vec::new();
    for (position, endpoint) in pool.config().endpoints.iter().enumerate() {
        let Endpoint::Name(host, port) = endpoint else { continue };
        match look_up(host, *port).await {
            Ok(found) => pool.resolved(position, found),
            Err(error) => errors.push(format!("{host}: {error}")),
        }
    }
    pool.refresh();
    errors
}

/// Gives pools without any address a chance to have one before their first request.
pub(crate) async fn resolve_first(pools: &[Arc<Pool>]) {
    let empty = pools.iter().filter(|pool| pool.endpoints().is_empty());
    let all = empty.map(|pool| resolve_once(pool));
    let _ = tokio::time::timeout(FIRST_RESOLUTION, futures_util::future::join_all(all)).await;
}

async fn look_up(host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    let found = tokio::time::timeout(LIMIT, tokio::net::lookup_host((host, port))).await??;
    Ok(found.collect())
}

/// Keeps the names of `pool` resolved for as long as the pool is in use.
pub(crate) fn keep_resolving(pool: &Arc<Pool>) {
    let named = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Name(..));
    if !pool.config().endpoints.iter().any(named) {
        return;
    }
    let weak = Arc::downgrade(pool);
    tokio::spawn(async move {
        let mut said = Vec::new();
        while let Some(pool) = weak.upgrade() {
            let errors = resolve_once(&pool).await;
            if errors != said {
                report(&pool, &errors);
                said = errors;
            }
            let pause = if pool.endpoints().is_empty() { IMPATIENT } else { INTERVAL };
            drop(pool);
            tokio::time::sleep(pause).await;
        }
    });
}

/// Says what changed, not what stays wrong.
fn report(pool: &Pool, errors: &[String]) {
    let upstream = &pool.config().name;
    if errors.is_empty() {
        tracing::info!(%upstream, "all endpoints are resolved again");
    }
    for error in errors {
        tracing::warn!(%upstream, "cannot resolve an endpoint: {error}");
    }
}
