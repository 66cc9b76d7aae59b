use super::*;
use crate::upstream::{UpstreamSeries, health, tend};
use prometheus::Registry;
use std::{collections::HashMap, num::NonZeroU32, time::Instant};
use tidegate_config::plan::{HealthCheck, LoadBalance, OutlierDetection, Probe};
use tidegate_policies::HealthThresholds;

const POLICIES: [LoadBalance; 3] =
    [LoadBalance::RoundRobin, LoadBalance::LeastRequest, LoadBalance::ConsistentHash];

fn at(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn not_zero(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("not zero")
}

fn config(load_balance: LoadBalance, limit: u32, ports: &[u16]) -> plan::Upstream {
    let limit = not_zero(limit);
    plan::Upstream {
        name: "pool".into(),
        endpoints: ports.iter().map(|port| plan::Endpoint::Address(at(*port))).collect(),
        protocol: Protocol::Http1,
        tls: None,
        load_balance,
        slow_start: None,
        health_check: None,
        outlier_detection: None,
        timeouts: plan::UpstreamTimeouts {
            connect: Duration::from_secs(1),
            response: Duration::from_secs(1),
            idle: Duration::from_secs(1),
        },
        limits: plan::UpstreamLimits { connections: limit, requests: limit },
    }
}

fn pool_of(config: plan::Upstream, previous: Option<&Pool>) -> Arc<Pool> {
    let metrics = UpstreamSeries::new(&Registry::new()).expect("metrics").upstream("pool");
    Pool::new(config, &Arc::new(Background::new(&[])), metrics, previous)
}

fn pool(load_balance: LoadBalance, limit: u32, ports: &[u16]) -> Arc<Pool> {
    pool_of(config(load_balance, limit, ports), None)
}

fn outlier(load_balance: LoadBalance, ports: &[u16]) -> plan::Upstream {
    let outlier_detection = Some(OutlierDetection {
        consecutive_failures: not_zero(3),
        eject_for: Duration::from_secs(30),
        max_ejected: 500_000,
    });
    plan::Upstream { outlier_detection, ..config(load_balance, 100, ports) }
}

fn checked(ports: &[u16]) -> plan::Upstream {
    let health_check = Some(HealthCheck {
        probe: Probe::Tcp,
        interval: Duration::from_millis(20),
        timeout: Duration::from_secs(5),
        unhealthy_after: not_zero(3),
        healthy_after: not_zero(2),
    });
    plan::Upstream { health_check, ..config(LoadBalance::RoundRobin, 100, ports) }
}

const THRESHOLDS: HealthThresholds = HealthThresholds {
    unhealthy_after: NonZeroU32::MIN.saturating_add(2),
    healthy_after: NonZeroU32::MIN.saturating_add(1),
};

fn state(pool: &Pool, port: u16) -> &'static str {
    let standings = pool.standings();
    let found = standings.iter().find(|standing| standing.address == at(port));
    found.map_or("gone", |standing| standing.state.label())
}

fn check(pool: &Pool, port: u16, failure: Option<&str>) {
    let endpoints = pool.members.to_check();
    let endpoint = endpoints.iter().find(|one| one.address() == at(port)).expect("an endpoint");
    pool.members.checked(endpoint, failure.map(str::to_owned), THRESHOLDS, clock::now());
}

/// Requests that all fail until `port` has got as many as `times`.
fn fail(pool: &Arc<Pool>, port: u16, times: u32) {
    let others: Vec<_> = pool.standings().iter().map(|standing| standing.address).collect();
    let others: Vec<_> = others.into_iter().filter(|address| *address != at(port)).collect();
    for _ in 0..times {
        let mut lease = pool.lease_avoiding(Point(0), 0, &others).expect("a lease");
        assert_eq!(lease.address(), at(port));
        lease.report(Verdict::Failure);
    }
}

/// Where `count` requests of as many users go, one after the other.
fn spread(pool: &Arc<Pool>, count: u64) -> HashMap<u16, u64> {
    let mut counts = HashMap::new();
    for i in 0..count {
        let draw = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let lease = pool.lease(Point(draw), draw.rotate_left(9)).expect("a lease");
        *counts.entry(lease.address().port()).or_default() += 1;
    }
    counts
}

#[test]
fn a_limit_counts_leases_that_are_held() {
    let pool = pool(LoadBalance::RoundRobin, 2, &[1]);
    let held: Vec<_> = (0..2).map(|_| pool.lease(Point(0), 0)).collect();
    assert!(held.iter().all(Result::is_ok));
    assert_eq!(pool.lease(Point(0), 0).err(), Some(Unavailable::Overloaded));
    let copies = pool.for_copies();
    assert!(copies.lease(Point(0), 0).is_ok(), "copies have a limit of their own");
    drop(held);
    assert_eq!(pool.in_flight(), 0);
    assert!(pool.lease(Point(0), 0).is_ok());
}

#[test]
fn an_http2_pool_has_a_hundred_requests_for_each_connection() {
    let config = plan::Upstream {
        protocol: Protocol::Http2,
        limits: plan::UpstreamLimits { connections: not_zero(2), requests: not_zero(4096) },
        ..config(LoadBalance::RoundRobin, 1, &[1])
    };
    let pool = pool_of(config, None);
    let held: Vec<_> = (0..200).map_while(|_| pool.lease(Point(0), 0).ok()).collect();
    assert_eq!(held.len(), 200);
    assert_eq!(pool.lease(Point(0), 0).err(), Some(Unavailable::Overloaded));
}

#[test]
fn no_address_is_no_endpoint() {
    for policy in POLICIES {
        let pool = pool(policy, 2, &[]);
        assert_eq!(pool.lease(Point(0), 0).err(), Some(Unavailable::NoEndpoint));
        assert_eq!(pool.in_flight(), 0);
    }
}

#[test]
fn a_lease_gives_all_back() {
    for policy in POLICIES {
        let pool = pool(policy, 100, &[1, 2, 3]);
        drop((0..50).map(|i| pool.lease(Point(i), i)).collect::<Vec<_>>());
        assert!(pool.standings().iter().all(|standing| standing.in_flight == 0));
    }
}

#[test]
fn a_changed_pool_keeps_what_names_resolved_to() {
    let old = pool(LoadBalance::RoundRobin, 2, &[1]);
    let name = plan::Endpoint::Name("shop".into(), 80);
    let named = plan::Upstream { endpoints: vec![name], ..old.config().clone() };
    let old = pool_of(named.clone(), Some(&old));
    assert!(old.standings().is_empty());
    old.members.resolved(0, vec![at(80)]);
    let more = NonZeroU32::MAX;
    let limits = plan::UpstreamLimits { connections: more, requests: more };
    let new = pool_of(plan::Upstream { limits, ..named }, Some(&old));
    assert_eq!(new.standings().len(), 1);
}

#[test]
fn a_changed_pool_keeps_the_standing_of_its_endpoints() {
    let old = pool_of(
        plan::Upstream {
            outlier_detection: outlier(LoadBalance::RoundRobin, &[]).outlier_detection,
            ..checked(&[1, 2, 3, 4])
        },
        None,
    );
    check(&old, 1, Some("down"));
    check(&old, 2, None);
    fail(&old, 3, 3);
    let same = |pool: &Pool| [1, 2, 3, 4].map(|port| state(pool, port));
    let before = ["unhealthy", "healthy", "ejected", "healthy"];
    assert_eq!(same(&old), before);
    let limits = plan::UpstreamLimits { connections: not_zero(7), requests: not_zero(7) };
    let new = pool_of(plan::Upstream { limits, ..old.config().clone() }, Some(&old));
    assert_eq!(same(&new), before);
    // One success does not take it in again, as if nothing had happened …
    check(&new, 1, None);
    assert_eq!(state(&new, 1), "unhealthy");
    // … but it does if the checks are others.
    let mut health_check = new.config().health_check.clone();
    if let Some(check) = &mut health_check {
        check.probe = Probe::Http { path: "/".into(), host: None };
    }
    let config = plan::Upstream { health_check, ..old.config().clone() };
    let other = pool_of(config, Some(&old));
    assert_eq!(same(&other), before);
    check(&other, 1, None);
    assert_eq!(state(&other, 1), "healthy");
    // Without checks and ejections, nothing is held against anybody.
    let config =
        plan::Upstream { health_check: None, outlier_detection: None, ..old.config().clone() };
    assert_eq!(same(&pool_of(config, Some(&old))), ["healthy"; 4]);
    // Endpoints that are not wanted are gone.
    let config = plan::Upstream { endpoints: vec![plan::Endpoint::Address(at(1))], ..checked(&[]) };
    assert_eq!(same(&pool_of(config, Some(&old))), ["unhealthy", "gone", "gone", "gone"]);
}

#[test]
fn a_lease_besides_an_endpoint_is_at_another_if_there_is_one() {
    for policy in POLICIES {
        let pool = pool(policy, 100, &[1, 2, 3]);
        for (besides, draw) in [(1, 0), (2, 1 << 32), (3, u64::MAX), (3, 7)] {
            let lease = pool.lease_besides(Point(draw), draw, Some(at(besides)));
            assert!(lease.is_ok_and(|lease| lease.address() != at(besides)));
        }
        assert!(pool.lease_besides(Point(0), 0, None).is_ok());
    }
    let single = pool(LoadBalance::RoundRobin, 100, &[1]);
    let lease = single.lease_besides(Point(0), 0, Some(at(1)));
    assert!(lease.is_ok_and(|lease| lease.address() == at(1)));
}

#[test]
fn a_retry_is_made_at_an_endpoint_that_was_not_tried() {
    for policy in POLICIES {
        let pool = pool(policy, 100, &[1, 2, 3]);
        let mut tried = Vec::new();
        for draw in [u64::MAX, 0, 1 << 40] {
            let lease = pool.lease_avoiding(Point(7), draw, &tried);
            tried.extend(lease.map(|lease| lease.address()));
        }
        tried.sort_unstable();
        tried.dedup();
        assert_eq!(tried.len(), 3);
        let lease = pool.lease_avoiding(Point(7), 0, &tried);
        assert_eq!(lease.err(), Some(Unavailable::AllTried));
        assert_eq!(pool.in_flight(), 0);
    }
}

#[test]
fn least_request_prefers_the_idle_one_of_two() {
    let pool = pool(LoadBalance::LeastRequest, 100, &[1, 2]);
    let busy = pool.lease(Point(0), 0).expect("a lease");
    for draw in [0, 1, u64::MAX, 1 << 32, 3 << 32] {
        let next = pool.lease(Point(0), draw).map(|lease| lease.address());
        assert!(next.is_ok_and(|next| next != busy.address()), "draw {draw}");
    }
}

#[test]
fn copies_give_way_to_clients_and_not_the_other_way_round() {
    let pool = pool(LoadBalance::LeastRequest, 100, &[1, 2]);
    let copies = pool.for_copies();
    let first = copies.lease(Point(0), 0).expect("a lease");
    let (clients, _held) = (spread(&pool, 100), first);
    assert!(clients[&1] > 20 && clients[&2] > 20, "{clients:?}");
    let busy = pool.lease(Point(0), 0).expect("a lease");
    let more = copies.lease_avoiding(Point(0), 9, &[]).expect("a lease");
    assert!(more.address() != busy.address() || more.address() != _held.address());
}

#[test]
fn consistent_hash_moves_only_the_users_of_a_lost_endpoint() {
    let pool = pool_of(
        plan::Upstream { load_balance: LoadBalance::ConsistentHash, ..checked(&[1, 2, 3, 4]) },
        None,
    );
    let of = |user: u64| pool.lease(Point(user), 0).map(|lease| lease.address().port());
    let before: Vec<_> = (0..500).map(of).collect();
    check(&pool, 3, Some("down"));
    for (user, before) in before.iter().enumerate() {
        let after = of(user as u64);
        assert!(*before == Ok(3) && after != Ok(3) || *before == after, "user {user}");
    }
    check(&pool, 3, None);
    check(&pool, 3, None);
    assert_eq!(before, (0..500).map(of).collect::<Vec<_>>());
}

#[test]
fn an_unhealthy_endpoint_gets_nothing_until_it_is_healthy_again() {
    let pool = pool_of(checked(&[1, 2]), None);
    assert_eq!(spread(&pool, 10)[&1], 5, "used at once");
    check(&pool, 1, Some("connection refused"));
    assert_eq!(spread(&pool, 10), HashMap::from([(2, 10)]), "the first check decides");
    check(&pool, 1, None);
    assert_eq!(spread(&pool, 10), HashMap::from([(2, 10)]));
    check(&pool, 1, None);
    assert_eq!(spread(&pool, 10)[&1], 5);
    for _ in 0..2 {
        check(&pool, 1, Some("status 500"));
        assert_eq!(state(&pool, 1), "healthy");
    }
    check(&pool, 1, Some("status 500"));
    assert_eq!(state(&pool, 1), "unhealthy");
    // None left: no panic mode.
    check(&pool, 2, None);
    (0..3).for_each(|_| check(&pool, 2, Some("status 500")));
    assert_eq!(pool.lease(Point(0), 0).err(), Some(Unavailable::NoEndpoint));
    let standings = pool.standings();
    let failure = standings[0].last_check.as_ref().and_then(|check| check.failure.clone());
    assert_eq!(failure.as_deref(), Some("status 500"));
}

#[test]
fn failures_in_a_row_eject_and_time_brings_back() {
    for policy in POLICIES {
        let pool = pool_of(outlier(policy, &[1, 2, 3]), None);
        fail(&pool, 1, 2);
        let mut lease = pool.lease_avoiding(Point(0), 0, &[at(2), at(3)]).expect("a lease");
        lease.report(Verdict::Success);
        // An attempt has one verdict.
        lease.report(Verdict::Failure);
        drop(lease);
        fail(&pool, 1, 2);
        let neutral = pool.lease_avoiding(Point(0), 0, &[at(2), at(3)]);
        neutral.expect("a lease").report(Verdict::Neutral);
        assert_eq!(state(&pool, 1), "healthy");
        fail(&pool, 1, 1);
        assert_eq!(state(&pool, 1), "ejected");
        assert!(!spread(&pool, 100).contains_key(&1));
        // Half of three is one.
        fail(&pool, 2, 3);
        assert_eq!(state(&pool, 2), "healthy");
        let now = clock::now();
        let due = pool.members.tend(now).expect("an end");
        assert!((now + 29_000..=now + 30_001).contains(&due));
        pool.members.tend(due - 1);
        assert_eq!(state(&pool, 1), "ejected");
        assert_eq!(pool.members.tend(due), None);
        assert_eq!(state(&pool, 1), "healthy");
        assert_eq!(pool.members.metrics.ejections.get(), 1);
    }
}

#[test]
fn the_only_endpoint_is_never_ejected() {
    let pool = pool_of(outlier(LoadBalance::RoundRobin, &[1]), None);
    fail(&pool, 1, 100);
    assert_eq!(state(&pool, 1), "healthy");
}

#[test]
fn copies_say_nothing_about_endpoints() {
    let pool = pool_of(outlier(LoadBalance::RoundRobin, &[1, 2]), None);
    let copies = pool.for_copies();
    for _ in 0..100 {
        copies.lease(Point(0), 0).expect("a lease").report(Verdict::Failure);
    }
    assert_eq!((state(&pool, 1), state(&pool, 2)), ("healthy", "healthy"));
    fail(&pool, 1, 3);
    assert_eq!(copies.lease(Point(0), 0).map(|lease| lease.address()), Ok(at(2)));
}

/// Whatever threads do at once, no more endpoints are out than may be.
#[test]
fn ejections_at_once_stay_within_the_share() {
    let ports: Vec<u16> = (1..=10).collect();
    let pool = pool_of(outlier(LoadBalance::RoundRobin, &ports), None);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for i in 0..2_000 {
                    let mut lease = pool.lease(Point(i), i).expect("a lease");
                    lease.report(Verdict::Failure);
                }
            });
        }
    });
    let ejected = pool.standings().iter().filter(|one| one.state == State::Ejected).count();
    assert_eq!(ejected, 5);
    assert_eq!(pool.members.metrics.ejections.get(), 5);
    assert_eq!(pool.in_flight(), 0);
}

fn named(slow_start: Option<Duration>, load_balance: LoadBalance) -> Arc<Pool> {
    let endpoints = vec![plan::Endpoint::Name("shop".into(), 80)];
    let pool =
        pool_of(plan::Upstream { endpoints, slow_start, ..config(load_balance, 1000, &[]) }, None);
    pool.members.resolved(0, vec![at(1), at(2), at(3)]);
    pool.members.refresh(clock::now());
    pool
}

#[test]
fn the_share_of_a_new_endpoint_grows() {
    for policy in POLICIES {
        let slow_start = Duration::from_secs(100);
        let pool = named(Some(slow_start), policy);
        assert_eq!(state(&pool, 1), "healthy", "those of the first moment are all as warm");
        let now = clock::now();
        pool.members.resolved(0, vec![at(1), at(2), at(3), at(4)]);
        pool.members.refresh(now);
        assert_eq!((state(&pool, 3), state(&pool, 4)), ("healthy", "warming"));
        let mut before = 0;
        for percent in [0, 40, 80, 100] {
            let next = pool.members.tend(now + 1_000 * percent);
            assert_eq!(next.is_some(), percent < 100, "{percent} %");
            let share = spread(&pool, 8_000).remove(&4).unwrap_or_default();
            // An equal share is 2,000.
            assert!(share > before + 100, "{policy:?}: {share} after {before} at {percent} %");
            assert!(percent > 0 || share < 400, "{policy:?}: {share} at first");
            before = share;
        }
        assert!((1_700..2_300).contains(&before), "{policy:?}: {before} at last");
        assert_eq!(state(&pool, 4), "healthy");
    }
}

#[test]
fn an_endpoint_that_comes_back_starts_slowly() {
    let slow_start = Some(Duration::from_secs(60));
    let pool = pool_of(plan::Upstream { slow_start, ..checked(&[1, 2]) }, None);
    check(&pool, 1, Some("down"));
    (0..2).for_each(|_| check(&pool, 1, None));
    assert_eq!(state(&pool, 1), "warming");
    let share = spread(&pool, 1_100)[&1];
    assert!((90..130).contains(&share), "{share}");
    // Alone it takes all.
    check(&pool, 2, Some("down"));
    assert_eq!(spread(&pool, 10), HashMap::from([(1, 10)]));
}

#[test]
fn an_endpoint_that_the_dns_dropped_finishes_what_it_began() {
    let pool = named(None, LoadBalance::RoundRobin);
    let others = [at(1), at(2)];
    let held = pool.lease_avoiding(Point(0), 0, &others).expect("a lease");
    pool.members.resolved(0, others.to_vec());
    pool.members.refresh(clock::now());
    assert_eq!(state(&pool, 3), "draining");
    assert!(!spread(&pool, 100).contains_key(&3));
    assert!(pool.members.tend(clock::now()).is_some());
    assert_eq!(pool.members.to_check().len(), 2, "nobody checks what is not used");
    drop(held);
    assert_eq!(pool.members.tend(clock::now()), None);
    assert_eq!(state(&pool, 3), "gone");
}

#[test]
fn pools_of_other_protocols_and_authorities_share_no_connection() {
    use pingora_core::upstreams::peer::Peer as _;
    let hash = |config: plan::Upstream| {
        let pool = pool_of(config, None);
        pool.lease(Point(0), 0).expect("a lease").peer().reuse_hash()
    };
    let plain = config(LoadBalance::RoundRobin, 1, &[1]);
    let tls = |sni: &str, authority: Option<&[u8]>| plan::Upstream {
        tls: Some(plan::ClientTls {
            sni: sni.into(),
            authorities: authority.map(|der| vec![der.to_vec().into()].into()),
            certificate: None,
        }),
        ..plain.clone()
    };
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
    let all = [
        plain.clone(),
        plan::Upstream { name: "other".into(), ..plain.clone() },
        plan::Upstream { protocol: Protocol::Http2, ..plain.clone() },
        tls("a", None),
        tls("b", None),
        tls("a", Some(&roots[0])),
        tls("a", Some(&roots[1])),
        plan::Upstream { protocol: Protocol::Http2, ..tls("a", Some(&roots[1])) },
    ];
    let mut hashes: Vec<_> = all.into_iter().map(hash).collect();
    assert_eq!(hashes[0], hash(plain.clone()));
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 8);
}

#[test]
fn certificates_are_always_verified() {
    let unnamed = plan::ClientTls { sni: "".into(), authorities: None, certificate: None };
    let broken = plan::ClientTls {
        sni: "shop".into(),
        authorities: Some(vec![b"no certificate".to_vec().into()].into()),
        certificate: None,
    };
    for (tls, sni) in [(unnamed, "127.0.0.1"), (broken, "shop")] {
        let config = plan::Upstream { tls: Some(tls), ..config(LoadBalance::RoundRobin, 1, &[1]) };
        let peer = pool_of(config, None).lease(Point(0), 0).expect("a lease").peer();
        assert!(peer.is_tls() && peer.options.verify_cert && peer.options.verify_hostname);
        assert_eq!(peer.sni, sni);
        // An empty list is one that nothing is good enough for.
        assert!(peer.options.ca.is_none_or(|authorities| authorities.is_empty()));
    }
}

async fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn checks_run_until_a_pool_is_retired() {
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = server.local_addr().expect("an address").port();
    let pool = pool_of(checked(&[port]), None);
    tend::start(&pool);
    let checks = |result: usize| pool.members.metrics.checks[result].get();
    wait_for("a good check", || checks(1) > 2).await;
    drop(server);
    wait_for("the endpoint to be out", || state(&pool, port) == "unhealthy").await;
    assert!(checks(0) >= 3);
    pool.retire();
    // What was under way has ended once as many intervals are over as make several checks.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let before = checks(0);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(checks(0), before);
}

#[tokio::test]
async fn checks_follow_the_endpoints() {
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = server.local_addr().expect("an address").port();
    let endpoints = vec![plan::Endpoint::Name("shop".into(), 80)];
    let pool = pool_of(plan::Upstream { endpoints, ..checked(&[]) }, None);
    pool.members
        .keep(tokio::spawn(health::check_all(Arc::downgrade(&pool.members))).abort_handle());
    let checks = |result: usize| pool.members.metrics.checks[result].get();
    pool.members.resolved(0, vec![at(port)]);
    pool.members.refresh(clock::now());
    wait_for("a good check", || checks(1) > 0).await;
    assert_eq!(checks(0), 0);
    drop(server);
    wait_for("a bad one", || checks(0) > 0).await;
    pool.members.resolved(0, Vec::new());
    pool.members.refresh(clock::now());
    tokio::time::sleep(Duration::from_millis(50)).await;
    let before = checks(0);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(checks(0), before);
}
