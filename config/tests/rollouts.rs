//! Rollouts: from their keys to the plan, what is odd about them, and what changes.

use std::{error::Error, path::Path, time::Duration};
use tidegate_config::{
    Loaded, Plan, compile_text, diff, effective, load,
    plan::{Rollout, Webhook},
    render,
};
use tidegate_judge::{
    AdvanceWhen, Bound, Gate, Lines, Margin, Measure, OnBreach, OnSourceBroken, Share, Step, Until,
};

type Outcome = Result<(), Box<dyn Error>>;

const ALL: &str = include_str!("data/rollouts.yaml");

/// A small file: a rollout with the least that it needs.
const LEAST: &str = "\
listeners: [{ name: web, address: 127.0.0.1:0 }]
upstreams: [{ name: v1, endpoints: [a:1] }, { name: v2, endpoints: [a:2] }]
routes:
  - name: shop
    variants: [{ name: stable, upstream: v1, weight: 1 }, { name: canary, upstream: v2, weight: 0 }]
    bucket_by: client_ip
    mirrors: [{ name: dark, upstream: v2, percent: 5 }, { name: same, upstream: v2 }]
rollouts:
  - name: r
    route: shop
    baseline: stable
    candidate: canary
    revision: 1
    steps: [{ weight: 10, hold: 1m }]
    gates: [{ name: g, metric: error_rate, max: 1% }]
";

fn plan(text: &str) -> Result<Plan, String> {
    compile_text("t.yaml", text).map_err(|errors| render(&errors, false))
}

fn edited(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

fn loaded(text: &str) -> Result<Loaded, Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("tidegate.yaml");
    std::fs::write(&path, text)?;
    Ok(load(&path, None).map_err(|failure| failure.render(false))?)
}

fn warnings(text: &str) -> Result<Vec<String>, Box<dyn Error>> {
    Ok(loaded(text)?.warnings.iter().map(|warning| warning.message.clone()).collect())
}

fn share(percent: u32) -> Share {
    Share::from_millionths(percent * 10_000).expect("a share")
}

fn held(weight: Share, mirror: Option<Share>, minutes: u64, min_requests: u64) -> Step {
    let hold = Duration::from_secs(minutes * 60);
    Step { weight, mirror, until: Until::Held { hold, min_requests } }
}

#[test]
fn every_key_arrives() -> Outcome {
    let plan = plan(ALL)?;
    assert_eq!(plan.state, Path::new("var/tidegate.db"));
    let [Rollout { plan: shop, notify, .. }, _] = &plan.rollouts[..] else {
        return Err("two rollouts".into());
    };
    assert_eq!((&*shop.name, &*shop.route), ("shop-v2", "shop"));
    assert_eq!((&*shop.baseline, &*shop.candidate), ("stable", "canary"));
    assert_eq!((shop.mirror.as_deref(), &*shop.revision), (Some("dark"), "2.3.1"));
    let promoted = Step { weight: share(10), mirror: None, until: Until::Promoted };
    assert_eq!(
        shop.steps,
        [
            held(Share::NONE, Some(Share::ALL), 10, 0),
            held(share(1), None, 5, 0),
            held(share(10), None, 10, 1_000),
            promoted,
            held(share(50), None, 10, 0),
            held(Share::ALL, None, 0, 0),
        ]
    );
    assert!((shop.alpha.probability() - 0.02).abs() < 1e-9);
    assert!((shop.beta.probability() - 0.1).abs() < 1e-9);
    assert_eq!(shop.advance_when, AdvanceWhen::Held);
    assert_eq!((shop.failed_requests, shop.on_breach), (Some(500), OnBreach::Pause));
    let hook = |url: &str, secret: Option<&str>| Webhook {
        url: url.into(),
        secret_file: secret.map(Into::into),
    };
    assert_eq!(
        *notify,
        [
            hook("http://127.0.0.1:9999/hook", Some("hook.secret")),
            hook("https://user:s3cret@hooks.example.com/a?token=s3cret", None),
        ]
    );
    Ok(())
}

#[test]
fn every_gate_arrives() -> Outcome {
    let plan = plan(ALL)?;
    let gate = |name: &str, measure, on_source_broken| Gate {
        name: name.to_owned(),
        measure,
        on_source_broken,
    };
    let thousandths = |n: u32| Share::from_millionths(n * 1_000).expect("a share");
    let lines = Lines::Both(thousandths(15), Margin(200_000));
    let query = |url: &str, query: &str, bound, every, failures| Measure::Query {
        url: url.to_owned(),
        query: query.to_owned(),
        bound,
        every: Duration::from_secs(every),
        failures,
    };
    let hold = OnSourceBroken::Hold;
    assert_eq!(
        plan.rollouts[0].plan.gates,
        [
            gate("errors", Measure::Errors(Lines::WorseThanBaseline(Margin(100_000))), hold),
            gate("error-ceiling", Measure::Errors(Lines::Max(share(1))), hold),
            gate("slow", Measure::Latency { over: Duration::from_millis(300), lines }, hold),
            gate("diffs", Measure::Mismatches { max: thousandths(1) }, OnSourceBroken::Pause),
            gate("saturation", query("http://127.0.0.1:9090", "…", Bound::Max(0.8), 30, 1), hold),
        ]
    );
    let bound = Bound::Between(0.05, 1e3);
    let pool = query("http://user:s3cret@127.0.0.1:9090/", "up", bound, 15, 3);
    assert_eq!(plan.rollouts[1].plan.gates, [gate("pool", pool, OnSourceBroken::Rollback)]);
    Ok(())
}

#[test]
fn absent_keys_have_safe_defaults() -> Outcome {
    let plan = plan(LEAST)?;
    let Rollout { plan: rollout, notify, .. } = &plan.rollouts[0];
    // The first mirror to the candidate's upstream: gates read it without a mirror step as well.
    assert_eq!(rollout.mirror.as_deref(), Some("dark"));
    assert!((rollout.alpha.probability() - 0.01).abs() < 1e-9);
    assert!((rollout.beta.probability() - 0.05).abs() < 1e-9);
    assert_eq!(rollout.advance_when, AdvanceWhen::Held);
    assert_eq!((rollout.failed_requests, rollout.on_breach), (None, OnBreach::Rollback));
    assert_eq!((rollout.revision.as_str(), notify.len()), ("1", 0));
    let none = edited(LEAST, "name: dark, upstream: v2", "name: dark, upstream: v1");
    let none = edited(&none, ", { name: same, upstream: v2 }", "");
    assert_eq!(self::plan(&none)?.rollouts[0].plan.mirror, None);
    let named = edited(&none, "    route: shop", "    mirror: dark\n    route: shop");
    assert_eq!(self::plan(&named)?.rollouts[0].plan.mirror.as_deref(), Some("dark"));
    Ok(())
}

#[test]
fn the_state_is_beside_the_main_file() -> Outcome {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("tidegate.yaml");
    let state = |text: &str| {
        std::fs::write(&path, text)?;
        let state = load(&path, None).map_err(|failure| failure.render(false))?.plan.state;
        Ok::<_, Box<dyn Error>>(state)
    };
    let without = &LEAST[..LEAST.find("rollouts:").ok_or("rollouts")?];
    assert_eq!(state(without)?, directory.path().join("tidegate.db"));
    assert_eq!(state(LEAST)?, directory.path().join("tidegate.db"));
    let named = format!("state: {{ path: a/b.db }}\n{without}");
    assert_eq!(state(&named)?, directory.path().join("a/b.db"));
    let anywhere = format!("state: {{ path: /var/x.db }}\n{LEAST}");
    assert_eq!(state(&anywhere)?, Path::new("/var/x.db"));
    Ok(())
}

#[test]
fn revisions_are_text() -> Outcome {
    assert_eq!(plan(ALL)?.rollouts[1].plan.revision, "2.40");
    for (written, revision) in [("2.3", "2.3"), ("\"2.3.1\"", "2.3.1"), ("0x1f", "0x1f")] {
        let text = edited(LEAST, "revision: 1", &format!("revision: {written}"));
        assert_eq!(plan(&text)?.rollouts[0].plan.revision, revision);
    }
    Ok(())
}

#[test]
fn a_step_keeps_what_it_does_not_say() -> Outcome {
    let steps = |written: &str| {
        let plan = plan(&edited(LEAST, "[{ weight: 10, hold: 1m }]", written))?;
        Ok::<_, Box<dyn Error>>(plan.rollouts[0].plan.steps.clone())
    };
    let waits = |weight, mirror| Step { weight, mirror, until: Until::Promoted };
    let mirrored = Some(share(20));
    assert_eq!(
        steps(
            "[{ pause: true }, { mirror: 20, min_requests: 5 }, { pause: true }, \
             { weight: 0.5%, pause: true }, { mirror: 20% }, { pause: true, mirror: 0 }, \
             { weight: 1, hold: 1m }]"
        )?,
        [
            waits(Share::NONE, None),
            held(Share::NONE, mirrored, 0, 5),
            waits(Share::NONE, mirrored),
            waits(Share::from_millionths(5_000).ok_or("a share")?, None),
            held(Share::from_millionths(5_000).ok_or("a share")?, mirrored, 0, 0),
            waits(Share::from_millionths(5_000).ok_or("a share")?, Some(Share::NONE)),
            held(share(1), None, 1, 0),
        ]
    );
    // The same weight twice is no fall.
    assert_eq!(steps("[{ weight: 5%, pause: true }, { weight: 5, hold: 1m }]")?.len(), 2);
    Ok(())
}

#[test]
fn a_design_that_is_right_has_no_warnings() -> Outcome {
    assert_eq!(warnings(ALL)?, [""; 0]);
    assert_eq!(warnings(LEAST)?, [""; 0]);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/rollout.yaml");
    assert_eq!(warnings(&std::fs::read_to_string(example)?)?, [""; 0]);
    Ok(())
}

#[test]
fn what_is_odd_is_said() -> Outcome {
    let shares = "weight: 1 }, { name: canary, upstream: v2, weight: 0";
    let steps = "[{ weight: 10, hold: 1m }]";
    let gates = "[{ name: g, metric: error_rate, max: 1% }]";
    let mismatches = "[{ name: g, metric: mismatch_rate, max: 1% }]";
    let owned = "the rollout `r` owns the weights of `stable` and `canary`: the file's ";
    let quick = "step 1 passes as soon as it has begun";
    let least = |from: &str, to: &str| edited(LEAST, from, to);
    let compared = least("percent: 5 }", "percent: 0, compare: {} }");
    let unfed = edited(&compared, gates, mismatches);
    let none = Vec::<String>::new();
    let cases = [
        (
            least(shares, "weight: 90 }, { name: canary, upstream: v2, weight: 10"),
            vec![format!("{owned}90 and 10 are not used")],
        ),
        (
            least(shares, "weight: 99.9% }, { name: canary, upstream: v2, weight: 0.1%"),
            vec![format!("{owned}99.9% and 0.1% are not used")],
        ),
        (
            least(gates, "[]"),
            vec!["the rollout `r` has no gates: nothing would take the candidate away".to_owned()],
        ),
        (least(gates, "[]\n    budget: { failed_requests: 9 }"), none.clone()),
        (unfed.clone(), vec!["the gate `g` never gets data: no step mirrors".to_owned()]),
        (edited(&unfed, steps, "[{ mirror: 5, hold: 1m }]"), none.clone()),
        (edited(&unfed, "percent: 0", "percent: 1"), none.clone()),
        (least(steps, "[{ weight: 10 }]"), vec![quick.to_owned()]),
        (least(steps, "[{ mirror: 10 }]"), vec![quick.to_owned()]),
        (least(steps, "[{ weight: 10, min_requests: 1 }, { weight: 100 }]"), none.clone()),
        (least(steps, "[{ weight: 10 }]\n    advance_when: certified"), none.clone()),
        // A rollout moves users between versions, so it needs a key.
        (
            least("    bucket_by: client_ip\n", ""),
            vec!["users of `shop` change between versions on each request".to_owned()],
        ),
        // Only to copy to a candidate is meant.
        (
            least("name: dark, upstream: v2", "name: dark, upstream: v1"),
            vec!["the mirror sends to `v1`, which serves clients of this route too".to_owned()],
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(warnings(&text)?, expected, "\n{text}");
    }
    Ok(())
}

#[test]
fn changes_are_named() -> Outcome {
    let old = plan(ALL)?;
    let changed = |from: &str, to: &str| {
        let found = diff(&old, &plan(&edited(ALL, from, to))?);
        assert!(found.added.is_empty() && found.removed.is_empty() && found.changed.is_empty());
        Ok::<_, Box<dyn Error>>((found.other, found.restart))
    };
    let one = |text: &str| (vec![text.to_owned()], Vec::new());
    assert_eq!(
        changed("revision: \"2.3.1\"", "revision: \"2.3.2\"")?,
        one("rollout shop-v2: revision 2.3.1 -> 2.3.2")
    );
    assert_eq!(changed("weight: 1%, hold: 5m", "weight: 1%")?, one("rollout shop-v2 changed"));
    assert_eq!(changed("9999/hook", "9999/hooks")?, one("rollout shop-v2 changed"));
    assert_eq!(
        changed("name: cart-2.4", "name: cart")?.0,
        ["rollout cart added", "rollout cart-2.4 removed"]
    );
    // Another way of writing is no change.
    assert!(diff(&old, &plan(&edited(ALL, "weight: 10%,", "weight: 10,"))?).is_empty());
    let (other, restart) = changed("path: var/tidegate.db", "path: tidegate.db")?;
    assert_eq!((other.len(), &*restart), (0, &["state".to_owned()][..]));
    // The first rollout brings the file with it.
    let without = &LEAST[..LEAST.find("rollouts:").ok_or("rollouts")?];
    let found = diff(&plan(without)?, &plan(LEAST)?);
    assert_eq!((found.other, found.restart.len()), (vec!["rollout r added".to_owned()], 0));
    Ok(())
}

#[test]
fn the_effective_configuration_has_no_credentials_of_other_services() -> Outcome {
    let shown = effective(&loaded(ALL)?);
    assert!(!shown.to_string().contains("s3cret"), "{shown}");
    let notify = &shown["rollouts"][0]["notify"];
    assert_eq!(notify[0]["webhook"], "http://127.0.0.1:9999/hook");
    assert_eq!(notify[0]["secret_file"], "hook.secret");
    assert_eq!(notify[1]["webhook"], "https://[redacted]@hooks.example.com/a?[redacted]");
    let cart = &shown["rollouts"][1];
    assert_eq!(cart["gates"][0]["prometheus"]["url"], "http://[redacted]@127.0.0.1:9090/");
    assert_eq!(cart["revision"], "2.40", "as written");
    assert_eq!((&cart["alpha"], &cart["on_breach"]), (&"1%".into(), &"rollback".into()));
    assert_eq!(cart["steps"][0]["weight"], 5);
    assert_eq!(shown["rollouts"][0]["gates"][4]["max"], 0.8);
    assert_eq!(shown["state"]["path"], "var/tidegate.db");
    Ok(())
}

#[test]
fn an_included_file_may_bring_a_rollout() -> Outcome {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("tidegate.yaml");
    let at = LEAST.find("rollouts:").ok_or("rollouts")?;
    std::fs::write(&path, format!("include: r/*.yaml\n{}", &LEAST[..at]))?;
    std::fs::create_dir(directory.path().join("r"))?;
    let part = format!("{}    notify: [{{ webhook: 'http://a', secret_file: s }}]\n", &LEAST[at..]);
    std::fs::write(directory.path().join("r/r.yaml"), part)?;
    let good = load(&path, None).map_err(|failure| failure.render(false))?;
    assert_eq!(good.plan.rollouts[0].plan.name, "r");
    assert_eq!(good.plan.state, directory.path().join("tidegate.db"));
    let secret = &good.plan.rollouts[0].notify[0].secret_file;
    assert_eq!(*secret, Some(directory.path().join("s")));
    // A bad one keeps its last good text, and so the rollout goes on.
    std::fs::write(directory.path().join("r/r.yaml"), LEAST[at..].replace("shop", "shp"))?;
    let kept = load(&path, Some(&good)).map_err(|failure| failure.render(false))?;
    assert_eq!(kept.degraded[0].help.as_deref(), Some("did you mean `shop`?"));
    assert_eq!(kept.plan.rollouts, good.plan.rollouts);
    Ok(())
}
