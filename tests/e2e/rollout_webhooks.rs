//! Decisions that are told to others.

use anyhow::{Context, Result, ensure};
use http::StatusCode;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tidegate_tests::*;

/// The first try again comes after a second, the next after two.
const TOLD: Duration = Duration::from_secs(15);

/// Signs its standard input with the first argument.
const SIGN: &str = "\
import hashlib, hmac, sys
print(hmac.new(sys.argv[1].encode(), sys.stdin.buffer.read(), hashlib.sha256).hexdigest())";

const SECRET: &str = "what-only-two-know";

/// Somebody who is told, and does not listen at first.
struct Hook {
    origin: Origin,
    /// Each call, and whether it was heard.
    calls: Arc<Mutex<Vec<(Recorded, bool)>>>,
}

impl Hook {
    /// Fails the first `deaf` calls.
    async fn start(deaf: u32) -> Result<Self> {
        let calls: Arc<Mutex<Vec<(Recorded, bool)>>> = Arc::default();
        let (kept, deaf) = (Arc::clone(&calls), AtomicU32::new(deaf));
        let origin = Origin::serving("hook", move |got| {
            let down = |left: u32| left.checked_sub(1);
            let heard = deaf.fetch_update(Ordering::Relaxed, Ordering::Relaxed, down).is_err();
            kept.lock().unwrap_or_else(PoisonError::into_inner).push((got.clone(), heard));
            let mut answer = canary_answer("hook", 0);
            if !heard {
                *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            }
            answer
        });
        Ok(Self { origin: origin.await?, calls })
    }

    fn url(&self) -> String {
        format!("http://{}/hook?team=shop", self.origin.address())
    }

    fn calls(&self) -> Vec<(Recorded, bool)> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has heard so many, and gives all calls.
    async fn heard(&self, count: usize) -> Result<Vec<(Recorded, bool)>> {
        let enough = async || {
            let calls = self.calls();
            (calls.iter().filter(|(_, heard)| *heard).count() >= count).then_some(calls)
        };
        within(TOLD, &format!("{count} decisions are told"), enough).await
    }
}

fn plan(notify: &str) -> String {
    format!(
        "steps: [{{ weight: 10%, hold: 10m }}, {{ weight: 50%, hold: 10m }}]\n\
         gates: [{{ name: errors, metric: error_rate, max: 5% }}]\nnotify: [{notify}]"
    )
}

fn body(call: &Recorded) -> Result<Value> {
    Ok(serde_json::from_slice(&call.body)?)
}

/// The signature is the one that somebody else would make.
async fn signed(call: &Recorded) -> Result<()> {
    let timestamp = call.header("x-tidegate-timestamp");
    let age = wall_clock() / 1000 - timestamp.parse::<u64>()?;
    ensure!(age < 60, "told {age} s ago");
    let text = [timestamp.as_bytes(), b".", &call.body].concat();
    let made = run("python3", &["-c", SIGN, SECRET], &text).await?;
    ensure!(made.code == Some(0), "{made:?}");
    assert_eq!(call.header("x-tidegate-signature"), format!("sha256={}", made.stdout.trim()));
    Ok(())
}

#[tokio::test]
async fn each_decision_is_told_signed_and_in_order() -> Result<()> {
    let hook = Hook::start(0).await?;
    let directory = tempfile::TempDir::new()?;
    let secret = directory.path().join("hook.secret");
    std::fs::write(&secret, format!("{SECRET}\n"))?;
    let notify = format!("{{ webhook: \"{}\", secret_file: {} }}", hook.url(), secret.display());
    let shop = Shop::open(&plan(&notify)).await?;
    shop.rollout.reaches("progressing", SOON).await?;
    for verb in ["pause", "resume", "promote", "abort"] {
        shop.rollout.does(verb).await?;
    }
    let calls = hook.heard(5).await?;
    let decisions = shop.rollout.decisions().await?;
    assert_eq!((calls.len(), decisions.len()), (5, 5));
    for ((call, _), decision) in calls.iter().zip(&decisions) {
        assert_eq!(body(call)?, *decision, "what is told is what is recorded");
        assert_eq!(
            (call.method.as_str(), call.uri.to_string()),
            ("POST", "/hook?team=shop".to_owned())
        );
        assert_eq!(call.header("content-type"), "application/json");
        assert_eq!(
            call.header("x-tidegate-event"),
            decision["action"].as_str().context("no action")?
        );
        assert!(!call.header("x-tidegate-delivery").is_empty());
        signed(call).await?;
    }
    shop.gateway.stop().await
}

#[tokio::test]
async fn who_does_not_listen_is_told_again_before_anything_else() -> Result<()> {
    let hook = Hook::start(2).await?;
    let shop = Shop::open(&plan(&format!("{{ webhook: \"{}\" }}", hook.url()))).await?;
    shop.rollout.reaches("progressing", SOON).await?;
    shop.rollout.does("pause").await?;
    shop.rollout.does("abort").await?;
    let calls = hook.heard(3).await?;
    let told = calls.iter().map(|(call, heard)| Ok(json!([body(call)?["action"], heard])));
    let told: Vec<Value> = told.collect::<Result<_>>()?;
    assert_eq!(
        json!(told),
        json!([
            ["started", false],
            ["started", false],
            ["started", true],
            ["paused", true],
            ["aborted", true]
        ])
    );
    let delivery = |call: usize| calls[call].0.header("x-tidegate-delivery");
    assert!(delivery(0) == delivery(1) && delivery(1) == delivery(2) && delivery(2) != delivery(3));
    assert_eq!(calls[0].0.header("x-tidegate-signature"), "", "signed without a secret");
    shop.gateway.stop().await
}

#[tokio::test]
async fn somebody_who_is_dead_holds_up_nobody() -> Result<()> {
    let (hook, dead) = (Hook::start(0).await?, DeadAddress::new()?);
    let notify =
        format!("{{ webhook: \"http://{}/\" }}, {{ webhook: \"{}\" }}", dead.address(), hook.url());
    let shop = Shop::open(&plan(&notify)).await?;
    shop.v2.fail(1.0);
    let load = shop.load(4);
    shop.rollout.reaches("rolled_back", TOLD).await?;
    load.stop().await;
    let calls = hook.heard(2).await?;
    let last = body(&calls[1].0)?;
    assert_eq!((&last["action"], &last["weight"]), (&json!("rolled_back"), &json!(0)));
    assert_eq!(last, shop.rollout.decision("rolled_back").await?);
    shop.gateway.stop().await
}
