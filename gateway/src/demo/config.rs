//! The configuration that the demo writes, and how it is edited.

use std::{fs, io, net::SocketAddr, path::Path};

/// The first line of a file that a demo wrote: such a file may be written over.
const MARK: &str = "# The gateway of `tidegate demo`.";

/// Weights of the two variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Weights {
    pub(super) stable: u32,
    pub(super) canary: u32,
}

/// How the demo begins.
pub(super) const START: Weights = Weights { stable: 90, canary: 10 };

/// Where the three versions are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Versions {
    pub(super) v1: SocketAddr,
    pub(super) v2: SocketAddr,
    pub(super) v3: SocketAddr,
}

/// The configuration's text.
pub(super) fn text(versions: Versions, weights: Weights) -> String {
    let Weights { stable, canary } = weights;
    let Versions { v1, v2, v3 } = versions;
    format!(
        "{MARK} Save a change and it is in force within a second.
listeners:
  - {{ name: web, address: \"127.0.0.1:0\" }}   # port 0: whatever is free; the demo shows it
admin: {{ address: \"127.0.0.1:0\" }}
runtime: {{ drain_timeout: 2s }}
access_log: {{ path: access.log, format: json, sample: 1% }}

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
    expose_variant: true             # the answer says who gave it: x-tidegate-variant
"
    )
}

/// Replaces the file at `path` at once: nobody reads half of it.
pub(super) fn save(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("yaml.new");
    fs::write(&beside, text)?;
    fs::rename(&beside, path)
}

/// Fails if `path` holds something that no demo wrote.
pub(super) fn may_write(path: &Path) -> io::Result<()> {
    match fs::read_to_string(path) {
        Ok(text) if text.starts_with(MARK) => Ok(()),
        Ok(_) => {
            let shown = path.display();
            let why = format!("{shown} exists and is not of a demo: name another directory");
            Err(io::Error::new(io::ErrorKind::AlreadyExists, why))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
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

    fn example(weights: Weights) -> String {
        let at = |port| ([127, 0, 0, 1], port).into();
        text(Versions { v1: at(9001), v2: at(9002), v3: at(9003) }, weights)
    }

    #[test]
    fn the_configuration_has_no_errors_and_no_warnings() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("gateway.yaml");
        for weights in [START, Weights { stable: 50, canary: 0 }] {
            save(&path, &example(weights))?;
            let loaded = tidegate_config::load(&path, None)
                .map_err(|failure| io::Error::other(failure.render(false)))?;
            assert_eq!(loaded.warnings, []);
            let found = &loaded.plan.routes[0].variants;
            assert_eq!([found[0].weight, found[1].weight], [weights.stable, weights.canary]);
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
    fn only_the_file_of_a_demo_is_written_over() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("gateway.yaml");
        may_write(&path)?;
        save(&path, &example(START))?;
        may_write(&path)?;
        save(&path, "listeners: []\n")?;
        assert!(may_write(&path).is_err());
        Ok(())
    }
}
