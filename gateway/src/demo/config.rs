//! The configuration that the demo writes, and how it is edited.

use std::{fs, io, net::SocketAddr, path::Path};

/// The first line of a file that a demo wrote: such a file may be written over.
const MARK: &str = "# The gateway of `tidegate demo`.";

/// What is kept of rollouts, beside the configuration.
const STATE: &str = "demo.db";

/// Weights of the two variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Weights {
    pub(super) stable: u32,
    pub(super) canary: u32,
}

/// How the story begins.
pub(super) const START: Weights = Weights { stable: 90, canary: 10 };

/// The rollout's name.
pub(super) const ROLLOUT: &str = "shop-v2";

/// What is rolled out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Release {
    pub(super) revision: &'static str,
    /// Seconds that each step is held.
    pub(super) hold: u32,
}

/// Who has which share of the users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// A person sets it.
    Fixed(Weights),
    /// A rollout does.
    Rollout(Release),
}

/// A version that is as good as the one before.
pub(super) const GOOD: Release = Release { revision: "2.0", hold: 2 };

/// One that goes bad on its way.
pub(super) const BAD: Release = Release { revision: "2.1", hold: 2 };

/// It does when it has this share of the users.
pub(super) const BAD_FROM: f64 = 0.1;

/// From then on it fails this percentage of its requests.
pub(super) const FAILS: u32 = 25;

/// Where the three versions are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Versions {
    pub(super) v1: SocketAddr,
    pub(super) v2: SocketAddr,
    pub(super) v3: SocketAddr,
}

/// The configuration's text.
pub(super) fn text(versions: Versions, plan: Plan) -> String {
    let (Weights { stable, canary }, mirror, rollouts) = match plan {
        Plan::Fixed(weights) => (weights, "", String::new()),
        Plan::Rollout(release) => (HANDED_OVER, REHEARSAL, rollouts(release)),
    };
    let Versions { v1, v2, v3 } = versions;
    format!(
        "{MARK} Save a change and it is in force within a second.
listeners:
  - {{ name: web, address: \"127.0.0.1:0\" }}   # port 0: whatever is free; the demo shows it
admin: {{ address: \"127.0.0.1:0\" }}
runtime: {{ drain_timeout: 2s }}
access_log: {{ path: access.log, format: json, sample: 1% }}
state: {{ path: {STATE} }}           # what rollouts have seen and decided

upstreams:
  - {{ name: v1, endpoints: [\"{v1}\"] }}
  - {{ name: v2, endpoints: [\"{v2}\"] }}
  - {{ name: v3, endpoints: [\"{v3}\"] }}

routes:
  - name: shop
    match: {{ path: {{ prefix: / }} }}
    variants:                        # weights of any sum: 90 and 10 give the canary 10 %
      - {{ name: stable, upstream: v1, weight: {stable} }}
      - {{ name: canary, upstream: v2, weight: {canary}, fallback: stable }}
    bucket_by: [{{ header: x-user-id }}]   # a user stays with one variant; others draw each time
    pins:
      - {{ variant: canary, header: {{ name: x-canary, exact: always }}, from: [127.0.0.0/8] }}
    mirrors:
      - name: dark                   # v3 gets copies; no user ever sees its answers
        upstream: v3
        percent: 25
        compare: {{ ignore: [$.version], noise_upstream: v1 }}
{mirror}    expose_variant: true             # the answer says who gave it: x-tidegate-variant
{rollouts}"
    )
}

/// What holds without the rollout, which owns these weights.
const HANDED_OVER: Weights = Weights { stable: 100, canary: 0 };

/// The mirror for the rollout's dark step.
const REHEARSAL: &str = "      - name: rehearsal              # v2 too, in the rollout's dark step
        upstream: v2
        percent: 0
        timeout: 30s                 # copies yield to all other work
        compare: { ignore: [$.version, $.served_at, $.trace] }
";

/// A rollout of v2.
fn rollouts(Release { revision, hold }: Release) -> String {
    format!(
        "
rollouts:
  - name: {ROLLOUT}
    route: shop                      # it owns the weights of these two variants:
    baseline: stable
    candidate: canary
    revision: \"{revision}\"              # a new value starts a new run
    steps:
      - {{ mirror: 50%, hold: {hold}s }}      # in the dark: v2 gets copies, no user has it
      - {{ weight: 1%, hold: {hold}s }}
      - {{ weight: 10%, hold: {hold}s, min_requests: 50 }}
      - {{ weight: 50%, hold: {hold}s }}
      - {{ weight: 100%, hold: 1s }}
    gates:
      - {{ name: errors, metric: error_rate, worse_than_baseline: 10% }}
      - {{ name: error-ceiling, metric: error_rate, max: 2% }}
      - {{ name: slow, metric: latency, over: 100ms, worse_than_baseline: 50% }}
      - {{ name: diffs, metric: mismatch_rate, max: 1% }}
    alpha: 1%                        # how often a good version may be taken away
"
    )
}

/// Replaces the file at `path` at once: nobody reads half of it.
pub(super) fn save(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("yaml.new");
    fs::write(&beside, text)?;
    fs::rename(&beside, path)
}

/// Makes room for the configuration at `path`: an earlier demo's rollouts are forgotten, or this
/// one's would be over before they begin.
///
/// # Errors
/// When there is something that no demo wrote.
pub(super) fn make_room(path: &Path) -> io::Result<()> {
    let state = path.with_file_name(STATE);
    let foreign = |path: &Path| {
        let why = format!("{} exists and is not of a demo: name another directory", path.display());
        Err(io::Error::new(io::ErrorKind::AlreadyExists, why))
    };
    match fs::read_to_string(path) {
        Ok(text) if text.starts_with(MARK) => {
            // SQLite keeps two files beside its own.
            for suffix in ["", "-wal", "-shm"] {
                match fs::remove_file(path.with_file_name(format!("{STATE}{suffix}"))) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            Ok(())
        }
        Ok(_) => foreign(path),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Err(_) if state.exists() => foreign(&state),
        Err(_) => Ok(()),
    }
}

/// Line and column, both from 1, of the only place where `what` stands in `text`.
pub(super) fn position(text: &str, what: &str) -> Option<(u64, u64)> {
    let mut places = text.lines().zip(1..).filter_map(|(line, number)| {
        let start = line.find(what)?;
        Some((number, line[..start].chars().count() as u64 + 1))
    });
    let place = places.next()?;
    places.next().is_none().then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLANS: [Plan; 3] = [
        Plan::Fixed(START),
        Plan::Fixed(Weights { stable: 50, canary: 50 }),
        Plan::Rollout(Release { revision: "2.0", hold: 2 }),
    ];

    fn example(plan: Plan) -> String {
        let at = |port| ([127, 0, 0, 1], port).into();
        text(Versions { v1: at(9001), v2: at(9002), v3: at(9003) }, plan)
    }

    #[test]
    fn the_configuration_has_no_errors_and_no_warnings() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("gateway.yaml");
        for plan in PLANS {
            save(&path, &example(plan))?;
            let loaded = tidegate_config::load(&path, None)
                .map_err(|failure| io::Error::other(failure.render(false)))?;
            assert_eq!(loaded.warnings, []);
            let found = &loaded.plan.routes[0].variants;
            let (weights, rollouts) = match plan {
                Plan::Fixed(Weights { stable, canary }) => ([stable, canary], 0),
                Plan::Rollout(_) => ([HANDED_OVER.stable, HANDED_OVER.canary], 1),
            };
            assert_eq!([found[0].weight, found[1].weight], weights);
            assert_eq!(loaded.plan.rollouts.len(), rollouts);
        }
        Ok(())
    }

    #[test]
    fn a_place_is_found_only_where_there_is_one() {
        assert_eq!(position("a: 1\nbä: x\n", "x"), Some((2, 5)));
        assert_eq!(position("x\nx\n", "x"), None);
        assert_eq!(position("a", "x"), None);
    }

    #[test]
    fn only_the_files_of_a_demo_are_written_over() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let (path, state) = (dir.path().join("gateway.yaml"), dir.path().join(STATE));
        make_room(&path)?;
        fs::write(&state, "")?;
        assert!(make_room(&path).is_err(), "the state of something else");
        save(&path, &example(PLANS[0]))?;
        make_room(&path)?;
        assert!(!state.exists());
        save(&path, "listeners: []\n")?;
        assert!(make_room(&path).is_err());
        Ok(())
    }
}
