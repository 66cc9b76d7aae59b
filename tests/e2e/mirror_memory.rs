//! All mirrors together hold no more than `runtime.mirror_memory`, whoever sends what.

use anyhow::{Context, Result, ensure};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tidegate_tests::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::sleep,
};

const MEMORY: &str = "tidegate_mirror_memory_bytes";
/// `runtime.mirror_memory` of uploads.
const LIMIT: u64 = 64 << 20;
/// Beside what is held for copies: connections, tasks, the allocator's own.
const OVERHEAD: u64 = 64 << 20;

/// Uploads at once, whose sum is far more than the limit.
const UPLOADS: usize = 200;
/// As much as the mirror takes, and all that it may hold.
const SIZE: usize = 64 << 20;

/// The body of every upload.
fn pattern() -> Arc<Vec<u8>> {
    Arc::new((0..SIZE).map(|i| (i % 251) as u8).collect())
}

/// Each is taken within [`SOON`], however many uploads there are.
const PIECE: usize = 1 << 20;

/// Reads an upload and answers 200 if it is what was sent, to the last byte.
async fn checking(body: Arc<Vec<u8>>) -> Result<RawOrigin> {
    RawOrigin::start(move |mut stream| {
        let body = Arc::clone(&body);
        async move {
            let mut got = read_head(&mut stream).await?;
            let mut piece = got.split_off(find(&got, b"\r\n\r\n").context("no head")? + 4);
            let mut arrived = 0;
            loop {
                ensure!(body[arrived..].starts_with(&piece), "another body");
                arrived += piece.len();
                if arrived == body.len() {
                    break;
                }
                piece.resize(64 << 10, 0);
                let read = stream.read(&mut piece).await?;
                ensure!(read > 0, "cut short");
                piece.truncate(read);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await?;
            Ok(Vec::new())
        }
    })
    .await
}

/// A dark upstream that never reads.
async fn hung() -> Result<RawOrigin> {
    RawOrigin::start(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
        Ok(Vec::new())
    })
    .await
}

/// The largest value that the metric ever shows.
fn watch_memory(admin: SocketAddr) -> Arc<AtomicU64> {
    let most = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&most);
    tokio::spawn(async move {
        while let Ok(answer) = Call::get(admin, "/metrics").send().await {
            if let Ok(metrics) = Metrics::parse(&answer.text()) {
                seen.fetch_max(metrics.sum(MEMORY, &[]) as u64, Relaxed);
            }
            sleep(Duration::from_millis(25)).await;
        }
    });
    most
}

/// All uploads get to their middle before any goes on; the gateway's peak of memory.
async fn upload(gateway: &Gateway, body: &Arc<Vec<u8>>) -> Result<u64> {
    let web = gateway.web();
    let mut half_way = JoinSet::new();
    for _ in 0..UPLOADS {
        let body = Arc::clone(body);
        half_way.spawn(async move {
            let mut client = RawClient::connect(web).await?;
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n");
            client.send(head).await?;
            for piece in body[..SIZE / 2].chunks(PIECE) {
                client.send(piece).await?;
            }
            anyhow::Ok(client)
        });
    }
    let mut clients = Vec::new();
    while let Some(client) = half_way.join_next().await {
        clients.push(client??);
    }
    let mut whole = JoinSet::new();
    for mut client in clients {
        let body = Arc::clone(body);
        whole.spawn(async move {
            for piece in body[SIZE / 2..].chunks(PIECE) {
                client.send(piece).await?;
            }
            client.response(SOON).await
        });
    }
    while let Some(answer) = whole.join_next().await {
        let answer = answer??;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    gateway.memory("VmHWM")
}

#[tokio::test]
async fn uploads_without_number_stay_within_the_memory_of_mirrors() -> Result<()> {
    let body = pattern();
    let (primary, dark) = tokio::try_join!(checking(Arc::clone(&body)), hung())?;
    // Hundreds of uploads at once are more than a small machine connects in a second.
    let patient = |config: Config| {
        config.yaml().replace("name: v1,", "name: v1, timeouts: { connect: 20s },")
    };
    let plain = Gateway::start(&patient(Config::single(primary.address()))).await?;
    let without = upload(&plain, &body).await?;
    plain.stop().await?;

    let keys = "methods: [POST], max_body: 64MiB, timeout: 3s";
    let config = Config::mirrored(primary.address(), dark.address(), keys)
        .top("runtime: { mirror_memory: 64MiB }");
    let gateway = Gateway::start(&patient(config)).await?;
    let most = watch_memory(gateway.admin());
    let with = upload(&gateway, &body).await?;
    let more = with.saturating_sub(without);
    assert!(more < LIMIT + OVERHEAD, "{more} bytes more than the {without} without a mirror");
    let outcomes = gateway.all_outcomes("dark", UPLOADS as u64).await?;
    assert!(outcomes["memory_budget"] > UPLOADS as u64 / 2, "{outcomes:?}");
    gateway.counts(MEMORY, &[], 0.0).await?;
    let most = most.load(Relaxed);
    assert!((1..=LIMIT).contains(&most), "the metric showed {most}");
    gateway.stop().await
}

/// Bodies of a few bytes, held by the hundred: each is paid for, not only its bytes.
#[tokio::test]
async fn small_bodies_without_number_stay_within_the_memory_of_mirrors() -> Result<()> {
    const COPIES: u64 = 900;
    let (primary, dark) = tokio::try_join!(Origin::start("v1"), hung())?;
    let keys = "methods: [POST], timeout: 60s, limits: { concurrent: 100000 }";
    let config = Config::mirrored(primary.address(), dark.address(), keys);
    let gateway = Gateway::start(&config.yaml()).await?;
    Load::run(&gateway.call("GET", "/"), 4, 200).await.flawless()?;
    let before = gateway.memory("VmRSS")?;
    let post = gateway.call("POST", "/").body(vec![b'x'; 1024]);
    Load::run(&post, 4, COPIES).await.flawless()?;
    gateway.counts("tidegate_mirror_in_flight", &[], COPIES as f64).await?;
    let held = gateway.metrics().await?.sum(MEMORY, &[]) as u64;
    assert!(((COPIES * 65) << 10..(COPIES * 72) << 10).contains(&held), "{held}");
    let grown = gateway.memory("VmRSS")?.saturating_sub(before);
    assert!(grown < held + OVERHEAD, "{grown} bytes more for {held} charged");
    gateway.stop().await
}

/// Answers wait for one another, and are paid for as well.
#[tokio::test]
async fn answers_without_number_stay_within_the_memory_of_mirrors() -> Result<()> {
    const COPIES: u64 = 600;
    const LIMIT: u64 = 16 << 20;
    let answer = |byte: u8| {
        let body = bytes::Bytes::from(vec![byte; 200 << 10]);
        move |_: &Recorded| http::Response::new(body.clone())
    };
    let (primary, dark) = tokio::try_join!(
        Origin::serving("v1", answer(b'a')),
        Origin::serving("dark", answer(b'a'))
    )?;
    // Dark answers come late: the clients' wait for them, and are more than fit.
    dark.behave(Behaviour::Delay(Duration::from_millis(1500)));
    let config = Config::mirrored(
        primary.address(),
        dark.address(),
        "limits: { concurrent: 1000 }, compare: {}",
    )
    .top("runtime: { mirror_memory: 16MiB }");
    let gateway = Gateway::start(&config.yaml()).await?;
    let most = watch_memory(gateway.admin());
    let before = gateway.memory("VmRSS")?;
    let report = Load::run(&gateway.get("/").limit(Duration::from_secs(5)), 8, COPIES).await;
    assert_eq!(report.flawless()?.served(), COPIES);
    // Some copies did not even get to keep their heads.
    let outcomes = gateway.all_outcomes("dark", COPIES).await?;
    let copies = outcomes["2xx"];
    assert_eq!(copies + outcomes["memory_budget"], COPIES, "{outcomes:?}");
    gateway.counts("tidegate_mirror_compare_total", &[], copies as f64).await?;
    let metrics = gateway.metrics().await?;
    let compared = metrics.by_outcome("tidegate_mirror_compare_total", "dark");
    let kinds: Vec<_> = compared.keys().map(String::as_str).collect();
    assert_eq!(kinds, ["match", "memory_budget"], "{compared:?}");
    gateway.counts(MEMORY, &[], 0.0).await?;
    let most = most.load(Relaxed);
    assert!((1..=LIMIT).contains(&most), "the metric showed {most}");
    let grown = gateway.memory("VmHWM")?.saturating_sub(before);
    assert!(grown < LIMIT + OVERHEAD, "{grown} bytes more");
    gateway.stop().await
}
