//! Whatever the dark upstream does, clients are served as if there were none.

use crate::mirrors::ALL;
use anyhow::{Context, Result, ensure};
use rustix::{net::sockopt::set_socket_linger, process::Signal};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tidegate_tests::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

/// How long clients ask beside a dark upstream at fault.
const A_WHILE: Duration = Duration::from_millis(500);
/// Within this every client has its answer. A mirror that was waited for would take longer.
const PROMPT: Duration = Duration::from_secs(2);
/// How long a copy may take: longer than [`PROMPT`].
const PATIENCE: Duration = Duration::from_millis(2500);
/// What also happens to copies when they take long, or when the machine is busy.
const SHED: [&str; 2] = ["concurrent_limit", "queue_full"];

/// Clients are served flawlessly and promptly beside `dark`; what became of the copies.
async fn beside(dark: SocketAddr) -> Result<BTreeMap<String, u64>> {
    let primary = Origin::start("v1").await?;
    let keys = format!("{ALL}, timeout: {}ms", PATIENCE.as_millis());
    let config = Config::mirrored(primary.address(), dark, &keys);
    let mut gateway = Gateway::start(&config.yaml()).await?;
    let get = Load::start(&gateway.get("/").limit(PROMPT), 2);
    let post = gateway.call("POST", "/").body(vec![b'x'; 20_000]).limit(PROMPT);
    let post = Load::start(&post, 2);
    sleep(A_WHILE).await;
    let reports = [get.stop().await.flawless()?, post.stop().await.flawless()?];
    for report in &reports {
        ensure!(report.served() > 20, "hardly anybody was served: {report:?}");
    }
    let served = reports.iter().map(Report::served).sum();
    assert_eq!(primary.hits(), served, "a request was sent twice, or not at all");
    gateway.healthy()?;
    let outcomes = gateway.all_outcomes("dark", served).await?;
    gateway.counts("tidegate_mirror_in_flight", &[], 0.0).await?;
    gateway.counts("tidegate_mirror_memory_bytes", &[], 0.0).await?;
    gateway.stop().await?;
    Ok(outcomes)
}

/// Nothing but `expected` became of the copies.
#[track_caller]
fn only(outcomes: &BTreeMap<String, u64>, expected: &[&str]) {
    let is_expected = |outcome: &&String| expected.contains(&&***outcome);
    let shed = |outcome: &&String| SHED.contains(&&***outcome);
    assert!(outcomes.keys().all(|o| is_expected(&o) || shed(&o)), "{outcomes:?}");
    assert!(outcomes.keys().any(|o| is_expected(&o)), "{outcomes:?}");
}

/// A dark upstream that does `then` once it has a request's head.
async fn dark<F>(then: impl Fn(TcpStream) -> F + Clone + Send + 'static) -> Result<RawOrigin>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    RawOrigin::start(move |mut stream| {
        let then = then.clone();
        async move {
            let got = read_head(&mut stream).await?;
            then(stream).await?;
            Ok(got)
        }
    })
    .await
}

/// Keeps the connection and does nothing with it.
async fn hold(stream: TcpStream) -> Result<()> {
    std::future::pending::<()>().await;
    drop(stream);
    Ok(())
}

#[tokio::test]
async fn it_is_down() -> Result<()> {
    only(&beside(DeadAddress::new()?.address()).await?, &["connect_failure"]);
    Ok(())
}

/// The connection is made, since the system makes it, and then nobody is there.
#[tokio::test]
async fn it_never_accepts() -> Result<()> {
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    only(&beside(silent.local_addr()?).await?, &["timeout", "connect_failure"]);
    Ok(())
}

#[tokio::test]
async fn it_never_answers() -> Result<()> {
    let dark = dark(hold).await?;
    only(&beside(dark.address()).await?, &["timeout"]);
    Ok(())
}

#[tokio::test]
async fn it_answers_a_byte_a_second() -> Result<()> {
    let dark = dark(|mut stream| async move {
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" {
            stream.write_all(&[*byte]).await?;
            sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    });
    only(&beside(dark.await?.address()).await?, &["timeout"]);
    Ok(())
}

#[tokio::test]
async fn it_resets_in_the_middle_of_its_answer() -> Result<()> {
    let dark = dark(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this").await?;
        Ok(set_socket_linger(&stream, Some(Duration::ZERO))?)
    });
    only(&beside(dark.await?.address()).await?, &["reset"]);
    Ok(())
}

#[tokio::test]
async fn it_sends_garbage() -> Result<()> {
    let dark = dark(|mut stream| async move {
        stream.write_all(b"\x16\x03\x01 what\0 is this?\r\n\r\n\r\n").await?;
        Ok(stream.shutdown().await?)
    });
    only(&beside(dark.await?.address()).await?, &["reset"]);
    Ok(())
}

#[tokio::test]
async fn it_sends_a_mebibyte_of_header() -> Result<()> {
    let dark = dark(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 200 OK\r\nX-Long: ").await?;
        stream.write_all(&vec![b'a'; 1 << 20]).await?;
        stream.write_all(b"\r\nContent-Length: 0\r\n\r\n").await?;
        Ok(())
    });
    only(&beside(dark.await?.address()).await?, &["reset"]);
    Ok(())
}

#[tokio::test]
async fn it_closes_at_once() -> Result<()> {
    let dark = RawOrigin::start(|stream| async move {
        drop(stream);
        Ok(Vec::new())
    });
    only(&beside(dark.await?.address()).await?, &["reset", "connect_failure"]);
    Ok(())
}

#[tokio::test]
async fn it_never_comes_to_its_final_answer() -> Result<()> {
    let dark = dark(|mut stream| async move {
        while stream.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").await.is_ok() {
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    });
    only(&beside(dark.await?.address()).await?, &["timeout"]);
    Ok(())
}

/// The answer is read as far as its connection could be used again, and no further.
#[tokio::test]
async fn it_sends_a_body_without_end() -> Result<()> {
    const COPIES: u64 = 40;
    let primary = Origin::start("v1").await?;
    let written = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&written);
    let dark = dark(move |mut stream| {
        let count = Arc::clone(&count);
        async move {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n").await?;
            let piece = vec![b'x'; 64 << 10];
            while let Ok(sent) = stream.write(&piece).await {
                count.fetch_add(sent as u64, Relaxed);
            }
            Ok(())
        }
    })
    .await?;
    for (keys, outcome) in [("", None), ("compare: {}", Some("too_large"))] {
        let config = Config::mirrored(primary.address(), dark.address(), keys);
        let gateway = Gateway::start(&config.yaml()).await?;
        Load::run(&gateway.get("/").limit(PROMPT), 1, 1).await.flawless()?;
        gateway.outcomes("dark", &[("2xx", 1)]).await?;
        let (memory, before) = (gateway.memory("VmHWM")?, written.load(Relaxed));
        Load::run(&gateway.get("/").limit(PROMPT), 4, COPIES).await.flawless()?;
        gateway.outcomes("dark", &[("2xx", COPIES + 1)]).await?;
        if let Some(outcome) = outcome {
            gateway.comparisons("dark", &[(outcome, COPIES + 1)]).await?;
        }
        // What the system buffers on both sides is several times as much as what is read.
        let each = (written.load(Relaxed) - before) / COPIES;
        assert!((1 << 20..32 << 20).contains(&each), "{each} bytes a copy");
        let grown = gateway.memory("VmHWM")? - memory;
        assert!(grown < 32 << 20, "{grown} bytes more");
        gateway.stop().await?;
    }
    Ok(())
}

/// A dark upstream that does not read does not stop the client's upload, nor its answer.
#[tokio::test]
async fn it_does_not_read_what_it_gets() -> Result<()> {
    let primary = Origin::start("v1").await?;
    let dark = dark(hold).await?;
    let keys = "methods: [POST], max_body: 8MiB, timeout: 3s";
    let config = Config::mirrored(primary.address(), dark.address(), keys);
    let gateway = Gateway::start(&config.yaml()).await?;
    let post = gateway.call("POST", "/").limit(PROMPT);
    for call in [post.clone().body(vec![b'x'; 8 << 20]), post.chunked(vec![b'x'; 8 << 20])] {
        assert_eq!(call.send().await?.json()?["body_bytes"], 8 << 20);
    }
    gateway.outcomes("dark", &[("timeout", 2)]).await?;
    gateway.stop().await
}

/// The copy waits for the request's end; the request does not wait for anything.
#[tokio::test]
async fn an_upload_goes_to_its_variant_as_it_comes() -> Result<()> {
    let arrived = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&arrived);
    let primary = RawOrigin::start(move |mut stream| {
        let count = Arc::clone(&count);
        async move {
            let head = read_head(&mut stream).await?;
            let body = find(&head, b"\r\n\r\n").context("no head")? + 4;
            count.fetch_add((head.len() - body) as u64, Relaxed);
            let mut buffer = [0; 1024];
            while count.load(Relaxed) < 2000 {
                let read = stream.read(&mut buffer).await?;
                ensure!(read > 0, "cut short");
                count.fetch_add(read as u64, Relaxed);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await?;
            Ok(Vec::new())
        }
    })
    .await?;
    let dark = Origin::start("dark").await?;
    let config = Config::mirrored(primary.address(), dark.address(), ALL);
    let gateway = Gateway::start(&config.yaml()).await?;
    let mut client = RawClient::connect(gateway.web()).await?;
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n").await?;
    for sent in 1..=4 {
        client.send([b'x'; 500]).await?;
        let half = async || (arrived.load(Relaxed) == sent * 500).then_some(());
        eventually("what was sent has arrived", half).await?;
        assert!(sent == 4 || dark.connections() == 0, "a part of a request was copied");
    }
    assert_eq!(client.response(SOON).await?.status, 200);
    gateway.outcomes("dark", &[("2xx", 1)]).await?;
    gateway.stop().await
}

#[tokio::test]
async fn a_client_that_leaves_in_its_upload_leaves_no_copy() -> Result<()> {
    let (primary, dark) = tokio::try_join!(Origin::start("v1"), Origin::start("dark"))?;
    let config = Config::mirrored(primary.address(), dark.address(), ALL);
    let gateway = Gateway::start(&config.yaml()).await?;
    for (n, framing) in
        [(1, "Content-Length: 100\r\n\r\n"), (2, "Transfer-Encoding: chunked\r\n\r\n9\r\n")]
    {
        let mut client = RawClient::connect(gateway.web()).await?;
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}only this")).await?;
        eventually("it is on its way", async || (primary.hits() == n).then_some(())).await?;
        drop(client);
        gateway.outcomes("dark", &[("incomplete", n)]).await?;
        gateway
            .counts("tidegate_attempts_total", &[("outcome", "client_aborted")], n as f64)
            .await?;
    }
    assert_eq!(dark.connections(), 0);
    assert!(primary.recorded().is_empty(), "the variant took a part for a whole");
    gateway.counts("tidegate_mirror_memory_bytes", &[], 0.0).await?;
    gateway.stop().await
}

#[tokio::test]
async fn copies_that_hang_hold_up_no_end() -> Result<()> {
    let (primary, dark) = tokio::try_join!(Origin::start("v1"), Origin::start("dark"))?;
    dark.behave(Behaviour::Never);
    let config = Config::mirrored(primary.address(), dark.address(), "timeout: 60s, compare: {}");
    let mut gateway = Gateway::start(&config.yaml()).await?;
    Load::run(&gateway.get("/"), 4, 40).await.flawless()?;
    eventually("they are on their way", async || (dark.hits() == 40).then_some(())).await?;
    let begin = Instant::now();
    gateway.signal(Signal::TERM)?;
    assert_eq!(gateway.exit_code(SOON).await?, 0);
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    let panicked = gateway.log().into_iter().find(|line| line.contains("panicked at"));
    ensure!(panicked.is_none(), "{panicked:?}");
    Ok(())
}

/// Clients come first: the mirrors' threads run when no other has work.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_mirrors_threads_yield_to_all_others() -> Result<()> {
    /// `SCHED_OTHER` and `SCHED_IDLE`, the 41st field of proc(5)'s `stat`.
    const POLICIES: (&str, &str) = ("0", "5");
    let origin = Origin::start("v1").await?;
    // There are none without a mirror: see that they come with the first.
    let gateway = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let config = Config::mirrored(origin.address(), origin.address(), "percent: 1");
    gateway.write(&config.yaml())?;
    assert_eq!(gateway.reload().await?.status, 200);
    // A thread has its name and its policy a moment after it is there.
    let tasks = format!("/proc/{}/task", gateway.pid().as_raw_nonzero());
    let yields = async || {
        let mut yielding = 0;
        for task in std::fs::read_dir(&tasks).ok()? {
            let stat = std::fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
            let (name, fields) = stat.rsplit_once(") ")?;
            let mirror = name.ends_with("(mirror");
            yielding += usize::from(mirror);
            let expected = if mirror { POLICIES.1 } else { POLICIES.0 };
            if fields.split(' ').nth(41 - 3)? != expected {
                return None;
            }
        }
        (yielding > 0).then_some(())
    };
    eventually("the mirrors' threads yield, and no others", yields).await?;
    gateway.stop().await
}
