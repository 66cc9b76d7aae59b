//! Included files, and what happens when one is bad.

use std::{fs, io, path::PathBuf};
use tempfile::{TempDir, tempdir};
use tidegate_config::{Failure, Loaded, load};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const MAIN: &str = "\
listeners: [{ name: web, address: 127.0.0.1:0 }]
include: routes.d/*.yaml
upstreams: [{ name: shared, endpoints: [127.0.0.1:1] }]
routes: [{ name: main, variants: [{ name: v, upstream: shared }] }]
";

struct Config(TempDir);

impl Config {
    /// A main file and two teams.
    fn new() -> io::Result<Self> {
        let config = Self(tempdir()?);
        fs::create_dir(config.path("routes.d"))?;
        config.write("tidegate.yaml", MAIN)?;
        config.write("routes.d/b.yaml", &team("b", "/b"))?;
        config.write("routes.d/a.yaml", &team("a", "/a"))?;
        Ok(config)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        fs::write(self.path(name), text)
    }

    fn load(&self, last_good: Option<&Loaded>) -> Result<Loaded, Failure> {
        load(&self.path("tidegate.yaml"), last_good)
    }
}

fn team(name: &str, prefix: &str) -> String {
    format!(
        "upstreams: [{{ name: {name}-up, endpoints: [127.0.0.1:2] }}]\n\
         routes: [{{ name: {name}, match: {{ path: {{ prefix: {prefix} }} }}, \
         variants: [{{ name: v, upstream: {name}-up }}] }}]\n"
    )
}

fn routes(loaded: &Loaded) -> Vec<&str> {
    loaded.plan.routes.iter().map(|route| &*route.name).collect()
}

fn degraded(loaded: &Loaded) -> Vec<String> {
    let brief = loaded.degraded.iter().map(|diagnostic| {
        let file = diagnostic.place.file.file_name().unwrap_or_default().to_string_lossy();
        format!("{file}:{} {}", diagnostic.place.line, diagnostic.message)
    });
    brief.collect()
}

#[test]
fn belong_to_the_whole_in_order() -> Outcome {
    let config = Config::new()?;
    config.write("routes.d/.#c.yaml", "an editor's own")?;
    config.write("routes.d/notes.txt", "no configuration")?;
    let loaded = config.load(None)?;
    assert_eq!(routes(&loaded), ["main", "a", "b"]);
    let watched = ["tidegate.yaml", "routes.d/a.yaml", "routes.d/b.yaml", "routes.d"];
    assert_eq!(loaded.watched, watched.map(|name| config.path(name)));
    assert_eq!(loaded.sources.len(), 3);
    Ok(())
}

#[test]
fn the_digest_covers_every_file() -> Outcome {
    let config = Config::new()?;
    let first = config.load(None)?.digest;
    assert_eq!(config.load(None)?.digest, first);
    config.write("routes.d/b.yaml", &team("b", "/c"))?;
    let second = config.load(None)?.digest;
    assert_ne!(second, first);
    fs::remove_file(config.path("routes.d/b.yaml"))?;
    assert_ne!(config.load(None)?.digest, second);
    config.write("routes.d/b.yaml", "[")?;
    let bad = config.load(None).err().map(|failure| failure.digest);
    assert_eq!(config.load(None).err().map(|failure| failure.digest), bad);
    Ok(())
}

#[test]
fn without_a_last_good_state_a_bad_one_is_a_failure() -> Outcome {
    let config = Config::new()?;
    config.write("routes.d/a.yaml", "routes: [\n")?;
    let failure = config.load(None).err().ok_or("a failure")?;
    assert_eq!(failure.diagnostics[0].place.file, config.path("routes.d/a.yaml"));
    assert_eq!(failure.diagnostics.len(), 1, "{failure:?}");
    Ok(())
}

#[test]
fn a_bad_one_keeps_its_last_good_routes_and_holds_up_no_other() -> Outcome {
    let config = Config::new()?;
    let good = config.load(None)?;
    config.write("routes.d/b.yaml", &team("b2", "/b2"))?;
    let mistakes = [
        ("routes: [\n", "not valid YAML"),
        ("", "the file is empty"),
        ("routez: []\n", "unknown key `routez`"),
        ("listeners: []\n", "unknown key `listeners`"),
        (
            "routes: [{ name: a, variants: [{ name: v, upstream: gone }] }]\n",
            "unknown upstream `gone`",
        ),
        ("routes: [{ name: main, variants: [{ name: v, upstream: shared }] }]\n", "two routes"),
    ];
    for (text, message) in mistakes {
        config.write("routes.d/a.yaml", text)?;
        let loaded = config.load(Some(&good))?;
        assert_eq!(routes(&loaded), ["main", "a", "b2"], "{text:?}");
        let [error] = &degraded(&loaded)[..] else { return Err(format!("{loaded:?}").into()) };
        assert!(error.starts_with("a.yaml:") && error.contains(message), "{error}");
        // What was used is what a later failure falls back to.
        config.write("routes.d/a.yaml", "]")?;
        assert_eq!(routes(&config.load(Some(&loaded))?), ["main", "a", "b2"]);
    }
    fs::write(config.path("routes.d/a.yaml"), b"\xff")?;
    assert_eq!(degraded(&config.load(Some(&good))?), ["a.yaml:1 this is not UTF-8 text"]);
    config.write("routes.d/a.yaml", &team("a3", "/a3"))?;
    let mended = config.load(Some(&good))?;
    assert_eq!(routes(&mended), ["main", "a3", "b2"]);
    assert!(mended.degraded.is_empty());
    Ok(())
}

#[test]
fn a_bad_one_that_never_was_good_is_left_out() -> Outcome {
    let config = Config::new()?;
    let good = config.load(None)?;
    config.write("routes.d/c.yaml", "half: [")?;
    let loaded = config.load(Some(&good))?;
    assert_eq!(routes(&loaded), ["main", "a", "b"]);
    assert_eq!(loaded.degraded.len(), 1);
    assert_eq!(loaded.sources.len(), 3);
    assert!(loaded.watched.contains(&config.path("routes.d/c.yaml")));
    Ok(())
}

#[test]
fn replacing_one_may_uncover_that_another_needed_it() -> Outcome {
    let config = Config::new()?;
    let good = config.load(None)?;
    // b moves to an upstream that the new a would bring, but a is broken.
    config.write("routes.d/b.yaml", "routes: [{ name: b, match: { path: { prefix: /b } }, variants: [{ name: v, upstream: new }] }]\n")?;
    config.write(
        "routes.d/a.yaml",
        "upstreams: [{ name: new, endpoints: [127.0.0.1:3] }]\nroutes: [",
    )?;
    let loaded = config.load(Some(&good))?;
    assert_eq!(routes(&loaded), ["main", "a", "b"]);
    assert_eq!(loaded.plan.routes[2].variants[0].upstream, 2);
    assert_eq!(loaded.degraded.len(), 2, "{:?}", degraded(&loaded));
    Ok(())
}

#[test]
fn a_deleted_one_is_gone_and_a_bad_main_file_is_a_failure() -> Outcome {
    let config = Config::new()?;
    let good = config.load(None)?;
    fs::remove_file(config.path("routes.d/a.yaml"))?;
    let loaded = config.load(Some(&good))?;
    assert_eq!(routes(&loaded), ["main", "b"]);
    assert!(loaded.degraded.is_empty());

    config.write("tidegate.yaml", &MAIN.replace("upstream: shared", "upstream: share"))?;
    let failure = config.load(Some(&good)).err().ok_or("a failure")?;
    assert_eq!(failure.diagnostics[0].help.as_deref(), Some("did you mean `shared`?"));
    // An included file cannot do without an upstream that the main file no longer has.
    config
        .write("routes.d/b.yaml", &team("b", "/b").replace("upstream: b-up", "upstream: shared"))?;
    config.write("tidegate.yaml", MAIN)?;
    let good = config.load(None)?;
    config.write(
        "tidegate.yaml",
        &MAIN.replace("name: shared", "name: s2").replace("upstream: shared", "upstream: s2"),
    )?;
    assert!(config.load(Some(&good)).is_err());
    fs::remove_file(config.path("tidegate.yaml"))?;
    assert!(config.load(Some(&good)).is_err());
    Ok(())
}

#[test]
fn paths_and_patterns() -> Outcome {
    let config = Config::new()?;
    let main =
        |include: &str| config.write("tidegate.yaml", &MAIN.replace("routes.d/*.yaml", include));
    main("[routes.d/b.yaml, routes.d/*.yaml]")?;
    assert_eq!(routes(&config.load(None)?), ["main", "b", "a"], "each once");
    main("'*.yaml'")?;
    assert_eq!(routes(&config.load(None)?), ["main"], "never itself");
    main("none.d/*.yaml")?;
    assert!(config.load(None).is_err());
    main("'*/a.yaml'")?;
    let failure = config.load(None).err().ok_or("a failure")?;
    assert_eq!(failure.diagnostics[0].message, "`*` may only stand in the last part of the path");
    main("routes.d/*.yml")?;
    assert_eq!(config.load(None)?.warnings[0].message, "no file matches this pattern");
    main("routes.d/c.yaml")?;
    let failure = config.load(None).err().ok_or("a failure")?;
    assert_eq!(failure.diagnostics[0].place.file, config.path("routes.d/c.yaml"));
    Ok(())
}
