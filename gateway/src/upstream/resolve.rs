//! Names to addresses, in the background: a request never waits for the DNS.

use super::Pool;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tidegate_config::plan::Endpoint;

/// How often names are looked up again.
const INTERVAL: Duration = Duration::from_secs(5);

/// How often while a pool has no address at all.
const IMPATIENT: Duration = Duration::from_millis(500);

/// For one round of look-ups.
const LIMIT: Duration = Duration::from_secs(4);

/// Looks all names of `pool` up; the errors of those that cannot be resolved. Such a name keeps its
/// pool's addresses as they are: a resolver that is down is no reason to lose an upstream that
/// works.
pub(crate) async fn resolve_once(pool: &Pool) -> Vec<String> {
    let (mut addresses, mut errors) = (Vec::new(), Vec::new());
    for endpoint in &pool.config().endpoints {
        match endpoint {
            Endpoint::Address(address) => addresses.push(*address),
            Endpoint::Name(host, port) => match look_up(host, *port).await {
                Ok(found) => addresses.extend(found),
                Err(error) => errors.push(format!("{host}: {error}")),
            },
        }
    }
    if errors.is_empty() || pool.endpoints().is_empty() {
        pool.set_addresses(addresses);
    }
    errors
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
