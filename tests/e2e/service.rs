//! Under a service manager: what it is told, and the sockets that it opened. systemd's own programs
//! play it where they can.

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use std::{
    net::{SocketAddr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tidegate_tests::*;
use tokio::{net::TcpStream, process::Command};

/// The other end of `NOTIFY_SOCKET`.
struct Manager {
    socket: UnixDatagram,
    directory: TempDir,
}

impl Manager {
    fn start() -> Result<Self> {
        let directory = TempDir::new()?;
        let socket = UnixDatagram::bind(directory.path().join("notify"))?;
        socket.set_read_timeout(Some(SOON))?;
        Ok(Self { socket, directory })
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("tidegate.yaml")
    }

    fn variable(&self) -> String {
        format!("NOTIFY_SOCKET={}", self.directory.path().join("notify").display())
    }

    async fn start_gateway(&self, variables: &[&str], more: &[&str]) -> Result<Gateway> {
        let socket = self.variable();
        let through: Vec<&str> =
            ["env", &socket].into_iter().chain(variables.iter().copied()).collect();
        Gateway::start_with(&through, &self.file(), more).await
    }

    /// The next message, a line each; signs of life are passed over.
    fn next(&self) -> Result<Vec<String>> {
        loop {
            let lines = self.any()?;
            if lines != ["WATCHDOG=1"] {
                return Ok(lines);
            }
        }
    }

    fn any(&self) -> Result<Vec<String>> {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).context("nothing was told")?;
        Ok(String::from_utf8_lossy(&bytes[..length]).lines().map(str::to_owned).collect())
    }

    /// What is there already.
    fn rest(&self) -> Result<Vec<Vec<String>>> {
        self.socket.set_nonblocking(true)?;
        let mut all = Vec::new();
        while let Ok(lines) = self.any() {
            all.push(lines);
        }
        self.socket.set_nonblocking(false)?;
        Ok(all)
    }
}

fn pid(gateway: &Gateway) -> i32 {
    gateway.pid().as_raw_nonzero().get()
}

#[tokio::test]
async fn it_hears_of_everything_in_order() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let manager = Manager::start()?;
    let yaml = Config::single(origin.address()).yaml();
    std::fs::write(manager.file(), &yaml)?;
    let mut first = manager.start_gateway(&[], &[]).await?;
    ensure!(manager.next()? == ["READY=1", "STATUS=serves generation 1"]);

    std::fs::write(manager.file(), yaml.replace("name: shop", "name: store"))?;
    first.signal(Signal::HUP)?;
    let reloading = manager.next()?;
    let time = reloading.get(1).and_then(|line| line.strip_prefix("MONOTONIC_USEC="));
    ensure!(reloading[0] == "RELOADING=1" && time.is_some_and(|time| time.parse::<u64>().is_ok()));
    ensure!(manager.next()? == ["READY=1", "STATUS=serves generation 2"]);
    std::fs::write(manager.file(), yaml.replace("upstream: v1", "upstream: v3"))?;
    first.signal(Signal::HUP)?;
    ensure!(manager.next()?[0] == "RELOADING=1");
    let rejected = manager.next()?;
    ensure!(rejected[0] == "READY=1" && rejected[1].contains("rejected"), "{rejected:?}");
    std::fs::write(manager.file(), &yaml)?;

    let mut second = manager.start_gateway(&[], &["--upgrade"]).await?;
    first.retires().await?;
    let main = format!("MAINPID={}", pid(&second));
    // The old process says it, as it is the main one still, and the new one once it is.
    let told = manager.next()?;
    ensure!(told == [main.as_str()], "{told:?}");
    ensure!(manager.next()? == [main, "READY=1".to_owned(), "STATUS=serves generation 1".into()]);
    // That the old process ended is nobody's business.
    second.signal(Signal::TERM)?;
    let stopping = manager.next()?;
    let extended = stopping.get(1).is_some_and(|line| line == "EXTEND_TIMEOUT_USEC=40000000");
    ensure!(stopping[0] == "STOPPING=1" && extended, "{stopping:?}");
    second.retires().await?;
    ensure!(manager.rest()?.is_empty());
    Ok(())
}

#[tokio::test]
async fn it_hears_who_serves_when_the_new_process_died() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let manager = Manager::start()?;
    std::fs::write(manager.file(), Config::single(origin.address()).yaml())?;
    let first = manager.start_gateway(&[], &[]).await?;
    let mut held = RawClient::connect(first.web()).await?;
    held.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n").await?;
    eventually("it is on its way", async || {
        let metrics = first.metrics().await.ok()?;
        (metrics.sum("tidegate_requests_in_flight", &[]) == 1.0).then_some(())
    })
    .await?;
    let mut second = manager.start_gateway(&[], &["--upgrade"]).await?;
    second.kill().await?;
    eventually("the first serves again", async || {
        let lines = manager.next().ok()?;
        (lines[0] == format!("MAINPID={}", pid(&first)) && lines[1] == "READY=1").then_some(())
    })
    .await?;
    held.send("hello").await?;
    ensure!(held.response(SOON).await?.status == 200);
    first.stop().await
}

#[tokio::test]
async fn signs_of_life() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let manager = Manager::start()?;
    std::fs::write(manager.file(), Config::single(origin.address()).yaml())?;
    let gateway = manager.start_gateway(&["WATCHDOG_USEC=400000"], &[]).await?;
    let count = |manager: &Manager| -> Result<usize> {
        Ok(manager.rest()?.iter().filter(|lines| *lines == &["WATCHDOG=1"]).count())
    };
    let mut seen = 0;
    eventually("several signs", async || {
        seen += count(&manager).ok()?;
        (seen >= 5).then_some(())
    })
    .await?;
    // None of a process that hangs.
    gateway.signal(Signal::STOP)?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    count(&manager)?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(count(&manager)? == 0);
    gateway.signal(Signal::CONT)?;
    eventually("another sign", async || (count(&manager).ok()? > 0).then_some(())).await?;
    gateway.stop().await?;
    count(&manager)?;
    // Meant for another process.
    let other = ["WATCHDOG_USEC=400000", "WATCHDOG_PID=1"];
    let gateway = manager.start_gateway(&other, &[]).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(count(&manager)? == 0);
    gateway.stop().await
}

/// Addresses that nobody has, below those that the system hands to clients.
fn free<const N: usize>() -> [SocketAddr; N] {
    let mut found: Vec<(TcpListener, SocketAddr)> = Vec::new();
    while found.len() < N {
        let address = SocketAddr::from(([127, 0, 0, 1], rand::random_range(20_000..30_000)));
        if let Ok(socket) = TcpListener::bind(address) {
            found.push((socket, address));
        }
    }
    std::array::from_fn(|position| found[position].1)
}

#[tokio::test]
async fn sockets_of_systemd() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let directory = TempDir::new()?;
    let file = directory.path().join("tidegate.yaml");
    for _ in 0..5 {
        let [web, admin, other] = free();
        let yaml = Config::single(origin.address()).yaml();
        let yaml = yaml.replacen("127.0.0.1:0", &web.to_string(), 1);
        std::fs::write(&file, yaml.replacen("127.0.0.1:0", &admin.to_string(), 1))?;
        let [first, second, third] = [other, web, admin].map(|address| address.to_string());
        let through = ["systemd-socket-activate", "-l", &first, "-l", &second, "-l", &third];
        let mut gateway = Gateway::launch(&through, &file, &["--upgrade"])?;
        // The first client is what starts it, and waits until it has.
        let begin = Instant::now();
        let client = loop {
            match TcpStream::connect(web).await {
                Ok(client) => break Some(client),
                Err(_) if begin.elapsed() > SOON || gateway.healthy().is_err() => break None,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let Some(client) = client else { continue };
        gateway.wait_ready().await?;
        ensure!((gateway.web(), gateway.admin()) == (web, admin));
        drop(client);
        ensure!(gateway.get("/").send().await?.status == 200);
        ensure!(gateway.admin_get("/readyz").await?.status == 200);
        let warned = |line: &String| line.contains("is no listener's") && line.contains(&first);
        ensure!(gateway.log().iter().any(warned), "{:#?}", gateway.log());
        // And on to the next process, by the other way.
        let next = gateway.upgraded().await?;
        gateway.retires().await?;
        ensure!((next.web(), next.admin()) == (web, admin));
        ensure!(next.get("/").send().await?.status == 200);
        return next.stop().await;
    }
    bail!("systemd-socket-activate never listened")
}

/// Starts with `socket` as the one of a service manager, named `web`.
fn activated(socket: &TcpListener, file: &Path) -> Result<tokio::process::Child> {
    let script =
        "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web; exec \"$@\" 3<&0 </dev/null";
    Ok(Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(tidegate_binary()?)
        .args(["run", "-c"])
        .arg(file)
        .stdin(OwnedFd::from(socket.try_clone()?))
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?)
}

#[tokio::test]
async fn clients_wait_over_a_restart() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let directory = TempDir::new()?;
    let file = directory.path().join("tidegate.yaml");
    let socket = TcpListener::bind("127.0.0.1:0")?;
    let web = socket.local_addr()?;
    // Found by its name, as the file says any port.
    std::fs::write(&file, Config::single(origin.address()).yaml())?;
    let load = Load::fresh(&Call::get(web, "/"), 2);
    for _ in 0..3 {
        let mut child = activated(&socket, &file)?;
        load.serves(20).await?;
        let id = child.id().context("it ended")?.cast_signed();
        let id = rustix::process::Pid::from_raw(id).context("no process")?;
        rustix::process::kill_process(id, Signal::TERM)?;
        let ended = tokio::time::timeout(SOON, child.wait()).await??;
        ensure!(ended.code() == Some(0), "{ended}");
    }
    let mut last = activated(&socket, &file)?;
    load.serves(20).await?;
    load.stop().await.flawless()?;
    Ok(last.kill().await?)
}

#[tokio::test]
async fn the_units_are_sound() -> Result<()> {
    let directory = TempDir::new()?;
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd");
    let binary = tidegate_binary()?;
    let binary = binary.to_str().context("a path that is no text")?;
    for unit in ["tidegate.service", "tidegate.socket"] {
        let text = std::fs::read_to_string(units.join(unit))?;
        let text = text.replace("/usr/local/bin/tidegate", binary);
        std::fs::write(directory.path().join(unit), text)?;
    }
    let unit = |name: &str| directory.path().join(name).into_os_string();
    let arguments =
        ["verify".into(), "--man=no".into(), unit("tidegate.service"), unit("tidegate.socket")];
    let done = run("systemd-analyze", &arguments, b"").await?;
    ensure!(done.code == Some(0) && done.stderr.is_empty(), "{done:?}");
    Ok(())
}
