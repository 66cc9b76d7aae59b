//! Changes of the configuration while requests are served.

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tidegate_tests::*;
use tokio::time::sleep;

/// Between two edits under load: enough that each is seen by itself.
const EDIT_EVERY: Duration = Duration::from_millis(150);

/// The `x-origin` that answers once the gateway has caught up with an edit.
async fn becomes(gateway: &Gateway, origin: &str) -> Result<()> {
    let served = async || {
        let answer = gateway.get("/").send().await.ok()?;
        (answer.origin() == origin).then_some(())
    };
    eventually(&format!("{origin} serves"), served).await
}

/// All to one or the other.
fn all_to(v1: SocketAddr, v2: SocketAddr, canary: bool) -> String {
    let (a, b) = if canary { ("0", "1") } else { ("1", "0") };
    Config::split(v1, a, v2, b).yaml()
}

/// One way to bring a new text to the gateway.
type Edit = fn(&Path, &str, usize) -> Result<()>;

/// Edits back and forth under load, then checks that the last edit holds and nothing ever failed.
async fn edit_under_load(
    times: usize,
    edit: Edit,
    then: impl AsyncFn(&Gateway) -> Result<()>,
) -> Result<()> {
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let directory = TempDir::new()?;
    let file = directory.path().join("tidegate.yaml");
    edit(&file, &all_to(v1.address(), v2.address(), false), 0)?;
    let gateway = Gateway::start_at(&file).await?;
    let before = gateway.generation().await?;
    let load = Load::start(&gateway.get("/"), 4);
    for number in 1..=times {
        let canary = number % 2 == 1;
        edit(&file, &all_to(v1.address(), v2.address(), canary), number)?;
        then(&gateway).await?;
        sleep(EDIT_EVERY).await;
        becomes(&gateway, if canary { "v2" } else { "v1" }).await?;
    }
    let report = load.stop().await.flawless()?;
    ensure!(report.of("v1") > 50 && report.of("v2") > 50, "{report:?}");
    ensure!(gateway.generation().await? >= before + times as f64, "generations were left out");
    ensure!(gateway.reloads("error").await? == 0.0, "a whole file was taken for a broken one");
    gateway.stop().await
}

/// The way of most editors, and of every careful program.
fn by_rename(file: &Path, text: &str, _: usize) -> Result<()> {
    let next = file.with_extension("next");
    fs::write(&next, text)?;
    Ok(fs::rename(next, file)?)
}

/// The way of a Kubernetes ConfigMap: the file is a link through `..data`, which is exchanged.
fn by_symlink(file: &Path, text: &str, number: usize) -> Result<()> {
    let directory = file.parent().context("no directory")?;
    let version = directory.join(format!("..version-{number}"));
    fs::create_dir(&version)?;
    fs::write(version.join("tidegate.yaml"), text)?;
    let next = directory.join("..data_tmp");
    symlink(&version, &next)?;
    fs::rename(next, directory.join("..data"))?;
    if number == 0 {
        symlink("..data/tidegate.yaml", file)?;
    } else {
        fs::remove_dir_all(directory.join(format!("..version-{}", number - 1)))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_rename_drops_nothing() -> Result<()> {
    edit_under_load(20, by_rename, async |_| Ok(())).await
}

#[tokio::test]
async fn a_symlink_swap_drops_nothing() -> Result<()> {
    edit_under_load(12, by_symlink, async |_| Ok(())).await
}

#[tokio::test]
async fn sighup_drops_nothing() -> Result<()> {
    edit_under_load(12, by_rename, async |gateway| gateway.signal(Signal::HUP)).await
}

#[tokio::test]
async fn a_post_is_in_force_when_it_is_answered() -> Result<()> {
    edit_under_load(12, by_rename, async |gateway| {
        let answer = gateway.reload().await?;
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.text());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_write_in_place_drops_nothing() -> Result<()> {
    // Other than the ways above this one has moments when the file is empty or half written; those
    // may count as errors, but never show to a client, and the last text has to win.
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let text = |canary| all_to(v1.address(), v2.address(), canary);
    let gateway = Gateway::start(&text(false)).await?;
    let load = Load::start(&gateway.get("/"), 4);
    for number in 1..=20 {
        gateway.write(&text(number % 2 == 1))?;
        sleep(EDIT_EVERY).await;
        becomes(&gateway, if number % 2 == 1 { "v2" } else { "v1" }).await?;
    }
    let report = load.stop().await.flawless()?;
    ensure!(report.of("v1") > 50 && report.of("v2") > 50, "{report:?}");
    gateway.stop().await
}

#[tokio::test]
async fn an_edit_is_in_force_within_a_second() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let text = |canary| all_to(v1.address(), v2.address(), canary);
    let gateway = Gateway::start(&text(false)).await?;
    let begin = Instant::now();
    by_rename(gateway.file(), &text(true), 1)?;
    becomes(&gateway, "v2").await?;
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    gateway.stop().await
}

#[tokio::test]
async fn a_request_in_flight_finishes_on_its_snapshot() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    v1.behave(Behaviour::Delay(Duration::from_secs(1)));
    let gateway = Gateway::start(&Config::single(v1.address()).yaml()).await?;
    let slow = gateway.get("/slow");
    let slow = tokio::spawn(async move { slow.send().await });
    eventually("it is on its way", async || (v1.hits() == 1).then_some(())).await?;
    // Its route, its variant and its upstream vanish.
    let next = Config::new().upstream("v2", v2.address());
    let next = next.route("other", "/", "[{ name: next, upstream: v2 }]");
    by_rename(gateway.file(), &next.yaml(), 1)?;
    becomes(&gateway, "v2").await?;
    let answer = slow.await??;
    assert_eq!((answer.status, answer.origin()), (200, "v1"));
    gateway.stop().await
}

/// The text that explains the last failure to a person: in the status, and in the log.
async fn explained(gateway: &Gateway, words: &[&str]) -> Result<()> {
    let status = gateway.status().await?.to_string();
    let log = gateway.log().join("\n");
    for word in words {
        ensure!(status.contains(word), "the status does not say {word:?}: {status}");
        ensure!(log.contains(word), "the log does not say {word:?}");
    }
    Ok(())
}

/// Brings `broken` about; the last good state has to go on, be counted and be explained, until a
/// good file is there again.
async fn survives(broken: impl Fn(&Path, &str) -> Result<()>, words: &[&str]) -> Result<()> {
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let good = all_to(v1.address(), v2.address(), false);
    let gateway = Gateway::start(&good).await?;
    let before = gateway.generation().await?;
    let load = Load::start(&gateway.get("/"), 2);
    broken(gateway.file(), &good)?;
    gateway.errors_after(0.0).await?;
    explained(&gateway, words).await?;
    sleep(Duration::from_millis(200)).await;
    let report = load.stop().await.flawless()?;
    assert_eq!(report.served(), report.of("v1"));
    assert_eq!(gateway.generation().await?, before, "a broken file was published");
    assert_eq!(gateway.admin_get("/readyz").await?.status, 200);
    let refused = gateway.reload().await?;
    assert!(refused.status >= 400, "{}: {}", refused.status, refused.text());
    by_rename(gateway.file(), &all_to(v1.address(), v2.address(), true), 1)?;
    becomes(&gateway, "v2").await?;
    gateway.stop().await
}

#[tokio::test]
async fn broken_yaml_changes_nothing() -> Result<()> {
    let broken = |file: &Path, good: &str| by_rename(file, &format!("{good}\n  - [broken"), 1);
    survives(broken, &["tidegate.yaml"]).await
}

#[tokio::test]
async fn an_unknown_upstream_changes_nothing() -> Result<()> {
    let broken =
        |file: &Path, good: &str| by_rename(file, &good.replace("upstream: v2", "upstream: v3"), 1);
    survives(broken, &["tidegate.yaml", "v3"]).await
}

#[tokio::test]
async fn an_unknown_key_changes_nothing() -> Result<()> {
    let broken = |file: &Path, good: &str| by_rename(file, &good.replace("weight", "wieght"), 1);
    survives(broken, &["wieght", "weight"]).await
}

#[tokio::test]
async fn a_vanished_file_changes_nothing() -> Result<()> {
    survives(|file, _| Ok(fs::remove_file(file)?), &["tidegate.yaml"]).await
}

#[tokio::test]
async fn a_half_written_file_changes_nothing() -> Result<()> {
    let broken = |file: &Path, good: &str| {
        let half = good.find("canary").context("no canary")?;
        Ok(fs::write(file, &good[..half])?)
    };
    survives(broken, &["tidegate.yaml"]).await
}

#[tokio::test]
async fn an_empty_file_changes_nothing() -> Result<()> {
    survives(|file, _| Ok(fs::write(file, "")?), &["tidegate.yaml"]).await
}

/// A main file with an upstream, and a directory of routes.
fn with_routes(directory: &Path, origin: SocketAddr, names: &[&str]) -> Result<()> {
    fs::create_dir(directory.join("routes.d"))?;
    for name in names {
        fs::write(directory.join(format!("routes.d/{name}.yaml")), route_file(name, "1"))?;
    }
    let main = Config::new().upstream("v1", origin).top("include: routes.d/*.yaml");
    Ok(fs::write(directory.join("tidegate.yaml"), main.yaml())?)
}

/// A route `/NAME` that says `x-version: VERSION`.
fn route_file(name: &str, version: &str) -> String {
    format!(
        "routes:
  - name: {name}
    match: {{ path: {{ prefix: /{name} }} }}
    variants: [{{ name: only, upstream: v1 }}]
    headers: {{ response: {{ set: {{ x-version: \"{version}\" }} }} }}
"
    )
}

/// Waits until `/NAME` says this version; "" for no such route.
async fn version(gateway: &Gateway, name: &str, version: &str) -> Result<()> {
    eventually(&format!("/{name} at version {version:?}"), async || {
        let answer = gateway.get(&format!("/{name}")).send().await.ok()?;
        let expected = if version.is_empty() { 404 } else { 200 };
        (answer.status == expected && answer.header("x-version") == version).then_some(())
    })
    .await
}

#[tokio::test]
async fn a_bad_member_of_an_include_holds_up_no_other() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let directory = TempDir::new()?;
    with_routes(directory.path(), origin.address(), &["a", "b"])?;
    let member = |name: &str| directory.path().join(format!("routes.d/{name}.yaml"));
    let gateway = Gateway::start_at(&directory.path().join("tidegate.yaml")).await?;
    version(&gateway, "a", "1").await?;
    // One goes bad: it keeps its last good routes.
    fs::write(member("b"), route_file("b", "2").replace("upstream: v1", "upstream: v9"))?;
    gateway.errors_after(0.0).await?;
    explained(&gateway, &["b.yaml", "v9"]).await?;
    version(&gateway, "b", "1").await?;
    // The other goes on changing, a third appears, meanwhile the bad one stays as it was.
    fs::write(member("a"), route_file("a", "2"))?;
    version(&gateway, "a", "2").await?;
    fs::write(member("c"), route_file("c", "1"))?;
    version(&gateway, "c", "1").await?;
    version(&gateway, "b", "1").await?;
    fs::write(member("b"), "{ not: [closed")?;
    version(&gateway, "b", "1").await?;
    // Mended, and one taken away.
    fs::write(member("b"), route_file("b", "3"))?;
    version(&gateway, "b", "3").await?;
    fs::remove_file(member("c"))?;
    version(&gateway, "c", "").await?;
    let status = gateway.status().await?.to_string();
    assert!(!status.contains("v9"), "an error that is mended is still shown: {status}");
    gateway.stop().await
}

#[tokio::test]
async fn a_listener_that_moves_is_named_as_needing_a_restart() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let gateway = Gateway::start(&all_to(v1.address(), v2.address(), false)).await?;
    let moved = all_to(v1.address(), v2.address(), true)
        .replace("{ name: web, address: 127.0.0.1:0 }", "{ name: web, address: 127.0.0.1:1 }");
    by_rename(gateway.file(), &moved, 1)?;
    // The rest takes effect.
    becomes(&gateway, "v2").await?;
    explained(&gateway, &["restart", "web"]).await?;
    gateway.stop().await
}

#[tokio::test]
async fn a_text_that_says_the_same_is_no_new_generation() -> Result<()> {
    let origin = Origin::start("v1").await?;
    let text = Config::single(origin.address()).yaml();
    let gateway = Gateway::start(&text).await?;
    let before = gateway.generation().await?;
    by_rename(gateway.file(), &text, 1)?;
    sleep(Duration::from_millis(700)).await;
    assert_eq!(gateway.generation().await?, before);
    assert_eq!(gateway.reloads("error").await?, 0.0);
    gateway.stop().await
}

#[tokio::test]
async fn a_user_keeps_the_variant_through_a_reload() -> Result<()> {
    let (v1, v2) = tokio::try_join!(Origin::start("v1"), Origin::start("v2"))?;
    let config = Config::split(v1.address(), "50", v2.address(), "50")
        .also("bucket_by: [{ header: x-user-id }]");
    let gateway = Gateway::start(&config.yaml()).await?;
    let origins = async || {
        let mut seen = Vec::new();
        for user in 0..100 {
            let call = gateway.get("/").header("x-user-id", &user.to_string());
            seen.push(call.send().await?.origin().to_owned());
        }
        anyhow::Ok(seen)
    };
    let before = origins().await?;
    let generation = gateway.generation().await?;
    by_rename(gateway.file(), &config.also("expose_variant: true").yaml(), 1)?;
    gateway.generation_after(generation).await?;
    assert_eq!(origins().await?, before);
    gateway.stop().await
}
