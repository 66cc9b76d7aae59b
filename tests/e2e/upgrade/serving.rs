//! Upgrades that go well, under load.

use super::{serves, socket_beside};
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use std::{
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tidegate_tests::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

#[tokio::test]
async fn five_in_a_row_under_load() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let first = Gateway::start(&Config::single(origin.address()).yaml()).await?;
    let (web, admin) = (first.web(), first.admin());
    let kept = Load::start(&first.get("/"), 3);
    let fresh = Load::fresh(&first.get("/"), 3);
    // What answers at the admin address, asked all the time.
    let asked = Load::fresh(&Call::get(admin, "/healthz"), 1);
    let mut processes = vec![first];
    for number in 1..=5 {
        for load in [&kept, &fresh] {
            load.serves(50).await?;
        }
        let old = processes.last_mut().expect("one");
        let new = old.upgraded().await?;
        ensure!((new.web(), new.admin()) == (web, admin), "other ports");
        old.retires().await?;
        serves(&new).await?;
        processes.push(new);
        ensure!(processes.len() == number + 1);
    }
    for load in [&kept, &fresh] {
        load.serves(50).await?;
    }
    for load in [kept, fresh] {
        let report = load.stop().await.flawless()?;
        ensure!(report.connections > 5, "{report:?}");
    }
    ensure!(asked.stop().await.flawless()?.served() > 0);
    let last = processes.pop().expect("one");
    // The first process's directory is that of all.
    let socket = socket_beside(processes[0].file());
    let mode = std::fs::metadata(&socket)?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "{mode:o}");
    last.stop().await?;
    ensure!(!socket.exists());
    Ok(())
}

#[tokio::test]
async fn the_new_file_is_what_counts() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let listeners = "listeners:\n  - { name: web, address: 127.0.0.1:0 }\n\
                     \x20 - { name: old, address: 127.0.0.1:0 }\n";
    let single = "listeners:\n  - { name: web, address: 127.0.0.1:0 }\n";
    let yaml = Config::single(origin.address()).yaml();
    let mut first = Gateway::start(&yaml.replace(single, listeners)).await?;
    let old = first.address("old");
    ensure!(Call::get(old, "/").send().await?.status == 200);
    // `old` is gone, `new` is new, and what was `web` has another name.
    let listeners = format!(
        "listeners:\n  - {{ name: shop, address: {} }}\n  - {{ name: new, address: 127.0.0.1:0 }}\n",
        first.web()
    );
    first.write(&yaml.replace(single, &listeners))?;
    let second = first.upgraded().await?;
    ensure!(second.address("shop") == first.web());
    first.retires().await?;
    for listener in ["shop", "new"] {
        ensure!(Call::get(second.address(listener), "/").send().await?.status == 200);
    }
    ensure!(TcpStream::connect(old).await.is_err(), "{old} is still open");
    second.stop().await
}

/// An origin that sends `parts` pieces, one each time it is told to.
async fn slow_origin(go: tokio::sync::watch::Receiver<bool>) -> Result<RawOrigin> {
    RawOrigin::start(move |mut stream| {
        let mut go = go.clone();
        async move {
            let got = read_request(&mut stream).await?;
            let size = 2 * PART.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(PART).await?;
            go.wait_for(|go| *go).await?;
            stream.write_all(PART).await?;
            stream.shutdown().await?;
            Ok(got)
        }
    })
    .await
}

const PART: &[u8] = &[b'x'; 100_000];

#[tokio::test]
async fn a_download_goes_on() -> Result<()> {
    let go = tokio::sync::watch::Sender::new(false);
    let slow = slow_origin(go.subscribe()).await?;
    let mut first = Gateway::start(&Config::single(slow.address()).yaml()).await?;
    let mut client = RawClient::connect(first.web()).await?;
    client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    eventually("it is on its way", async || {
        (first.metrics().await.ok()?.sum("tidegate_requests_in_flight", &[]) == 1.0).then_some(())
    })
    .await?;
    let mut second = first.upgraded().await?;
    // One more: the first does not take the end of the second for a death.
    let third = second.upgraded().await?;
    second.retires().await?;
    sleep(Duration::from_millis(500)).await;
    first.healthy().context("the old process did not wait")?;
    ensure!(!first.log().iter().any(|line| line.contains("serves again")), "{:#?}", first.log());
    let _ = go.send(true);
    let answer = client.response(SOON).await?;
    ensure!(answer.status == 200 && answer.body.len() == 2 * PART.len(), "{}", answer.body.len());
    first.retires().await?;
    third.stop().await
}

#[tokio::test]
async fn streams_of_http2_are_finished() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let mut first = Gateway::start(&Config::single(origin.address()).h2c("").yaml()).await?;
    let address = first.address("h2c");
    let call = Call::get(address, "/");
    origin.behave(Behaviour::Delay(Duration::from_millis(1500)));
    let client = Http2::open(address).await?;
    let slow: Vec<_> = (0..5)
        .map(|_| {
            let (client, call) = (client.clone(), call.clone());
            tokio::spawn(async move { client.send(&call).await })
        })
        .collect();
    eventually("they are on their way", async || (origin.hits() == 5).then_some(())).await?;
    let mut gateway = first.upgraded().await?;
    for one in slow {
        ensure!(one.await??.status == 200);
    }
    eventually("the connection ends", async || client.is_over().then_some(())).await?;
    first.retires().await?;
    origin.behave(Behaviour::Echo);

    // Clients that never stop, and open another connection when they are told to.
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let (over, call) = (Arc::clone(&over), call.clone());
            tokio::spawn(async move {
                let (mut client, mut connections) = (Http2::open(address).await?, 1);
                while !over.load(Ordering::Relaxed) {
                    match client.send(&call).await {
                        Ok(answer) => ensure!(answer.status == 200, "{}", answer.status),
                        // Not sent at all: the server said so in time.
                        Err(error) if format!("{error:#}").contains("connection is over") => {
                            client = Http2::open(address).await?;
                            connections += 1;
                        }
                        Err(error) => return Err(error),
                    }
                }
                Ok(connections)
            })
        })
        .collect();
    for _ in 0..3 {
        let next = gateway.upgraded().await?;
        gateway.retires().await?;
        gateway = next;
        let before = origin.hits();
        eventually("it serves", async || (origin.hits() > before + 20).then_some(())).await?;
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        let connections = client.await??;
        ensure!(connections >= 4, "{connections} connections");
    }
    gateway.stop().await
}

#[tokio::test]
async fn an_upgraded_connection_stays_until_the_drain_timeout() -> Result<()> {
    let echo = RawOrigin::start(|mut stream| async move {
        let got = read_head(&mut stream).await?;
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                    Upgrade: websocket\r\n\r\n";
        stream.write_all(head.as_bytes()).await?;
        let mut bytes = [0; 64];
        while let Ok(read @ 1..) = stream.read(&mut bytes).await {
            stream.write_all(&bytes[..read]).await?;
        }
        Ok(got)
    })
    .await?;
    let config = Config::single(echo.address()).top("runtime: { drain_timeout: 3s }");
    let mut first = Gateway::start(&config.yaml()).await?;
    let mut client = TcpStream::connect(first.web()).await?;
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n";
    client.write_all(upgrade.as_bytes()).await?;
    let head = read_head(&mut client).await?;
    ensure!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    let second = first.upgraded().await?;
    for _ in 0..5 {
        client.write_all(b"still there?").await?;
        let mut answer = [0; 12];
        timeout(SOON, client.read_exact(&mut answer)).await??;
        ensure!(&answer == b"still there?");
    }
    let closed = async {
        let mut byte = [0];
        matches!(client.read(&mut byte).await, Ok(0) | Err(_))
    };
    ensure!(timeout(SOON, closed).await?);
    first.retires().await?;
    let said = first.log().iter().any(|line| line.contains("drain timeout"));
    ensure!(said, "{:#?}", first.log());
    second.stop().await
}

#[tokio::test]
async fn a_signal_has_the_process_start_its_successor() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let directory = tempfile::TempDir::new()?;
    let file = directory.path().join("tidegate.yaml");
    std::fs::write(&file, Config::single(origin.address()).yaml())?;
    let mut first = Gateway::start_at(&file).await?;
    let (web, admin, load) = (first.web(), first.admin(), Load::fresh(&first.get("/"), 2));
    let old = i64::from(first.pid().as_raw_nonzero().get());
    first.signal(Signal::USR2)?;
    first.retires().await?;
    let status: serde_json::Value = Call::get(admin, "/api/v1/status").send().await?.json()?;
    let pid = status["pid"].as_i64().unwrap_or(old);
    ensure!(pid != old && status["ready"] == true, "{status:#}");
    load.serves(20).await?;
    load.stop().await.flawless()?;
    // Nobody's child any more: only its number leads to it.
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid)?).expect("a process");
    rustix::process::kill_process(pid, Signal::TERM)?;
    eventually("it has ended", async || TcpStream::connect(web).await.err().map(drop)).await?;
    eventually("its socket is gone", async || (!socket_beside(&file).exists()).then_some(())).await
}
