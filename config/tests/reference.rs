//! `docs/configuration.md` says what the schema says: every key once, no other, the same defaults;
//! and every example in the documents is a configuration that compiles without a warning.

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs,
    path::{Path, PathBuf},
};
use tidegate_config::{SchemaKey, load, schema_keys};

/// The files that examples name, and the certificates of the tests that are in their place.
const CERTIFICATES: [(&str, &str); 8] = [
    ("edge.pem", "edge.pem"),
    ("edge.key", "edge.key"),
    ("api.pem", "local.pem"),
    ("api.key", "local.key"),
    ("clients.pem", "ca.pem"),
    ("ca.pem", "ca.pem"),
    ("client.pem", "client.pem"),
    ("client.key", "client.key"),
];

/// What a document says of a key in the column "Default".
#[derive(Debug, PartialEq)]
enum Stated {
    Required,
    Absent,
    Default(Value),
}

#[test]
fn documents_every_key_once_with_its_default() -> Result<(), Box<dyn Error>> {
    let text = fs::read_to_string(root().join("docs/configuration.md"))?;
    let mut documented = BTreeMap::new();
    for (path, stated) in text.lines().filter_map(row) {
        let twice = documented.insert(path.to_owned(), stated?);
        assert_eq!(twice, None, "`{path}` is documented twice");
    }
    let known = keys();
    for key in &known {
        let expected = match &key.default {
            _ if key.required => Stated::Required,
            Some(default) => Stated::Default(default.clone()),
            None => Stated::Absent,
        };
        let stated = documented.remove(&key.path);
        assert_eq!(stated, Some(expected), "docs/configuration.md about `{}`", key.path);
    }
    assert!(documented.is_empty(), "not in the schema: {documented:?}");
    Ok(())
}

#[test]
fn shows_every_key_in_an_example() -> Result<(), Box<dyn Error>> {
    let text = fs::read_to_string(root().join("docs/configuration.md"))?;
    let mut examples = blocks(&text, "yaml").concat();
    examples.push_str(&blocks(&text, "text").concat());
    for key in keys() {
        let name = key.path.rsplit('.').next().unwrap_or_default();
        let shown = examples.match_indices(&format!("{name}:")).any(|(at, _)| {
            !examples[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        });
        assert!(shown, "no example has `{name}:`");
    }
    Ok(())
}

#[test]
fn every_example_of_the_documents_compiles() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("example.yaml");
    for (name, certificate) in CERTIFICATES {
        let from = root().join("config/tests/data/certs").join(certificate);
        fs::copy(from, directory.path().join(name))?;
    }
    let mut seen = 0;
    for document in documents()? {
        let shown = document.display();
        for block in blocks(&fs::read_to_string(&document)?, "yaml") {
            let whole = completed(&block);
            fs::write(&file, &whole)?;
            let warnings = match load(&file, None) {
                Ok(loaded) => loaded.warnings,
                Err(failure) => {
                    panic!("an example of {shown} is wrong: {}\n{whole}", failure.render(false))
                }
            };
            // The tutorial has some on purpose. Of an example that is a part, the rest does not
            // use all that it has.
            let tutorial = document.ends_with("tutorial.md");
            let meant = |message: &str| message.ends_with("is never used") && whole != block;
            let odd: Vec<_> =
                warnings.iter().filter(|odd| !tutorial && !meant(&odd.message)).collect();
            assert!(odd.is_empty(), "an example of {shown} is odd: {odd:#?}\n{whole}");
            seen += 1;
        }
    }
    assert!(seen > 10, "found only {seen} examples");
    Ok(())
}

/// The keys of the schema. Where a key takes a list of things or one such thing, those of the list.
fn keys() -> Vec<SchemaKey> {
    let all = schema_keys();
    let paths: BTreeSet<String> = all.iter().map(|key| key.path.clone()).collect();
    let listed_too = |path: &str| {
        let mut dots = path.match_indices('.').map(|(at, _)| at);
        dots.any(|at| paths.contains(&format!("{}[]{}", &path[..at], &path[at..])))
    };
    all.into_iter().filter(|key| !listed_too(&key.path)).collect()
}

/// The path and the stated default of a table row whose first cell is a key.
fn row(line: &str) -> Option<(&str, Result<Stated, String>)> {
    let cells: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
    let [key, _type, default, _meaning, ""] = cells[..] else { return None };
    let path = key.strip_prefix('`')?.strip_suffix('`')?;
    let stated = match default {
        "**required**" => Stated::Required,
        "—" => Stated::Absent,
        other => match other.strip_prefix('`').and_then(|text| text.strip_suffix('`')) {
            Some(text) => {
                Stated::Default(serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)))
            }
            None => return Some((path, Err(format!("`{path}`: what is the default {other}?")))),
        },
    };
    Some((path, Ok(stated)))
}

/// The fenced blocks of `language` in a Markdown text.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    let mut other = false;
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, Some(info)) if !other && info == language => open = Some(String::new()),
            (None, Some(_)) => other = !other,
            (None, None) => {}
        }
    }
    blocks
}

/// An example with what it leaves out: the parts of a configuration that it is not about.
fn completed(block: &str) -> String {
    let has = |key: &str| block.lines().any(|line| line.starts_with(key));
    let mut whole = block.to_owned();
    if !has("listeners:") {
        whole.push_str("listeners: [{ name: web, address: 127.0.0.1:8080 }]\n");
    }
    if !has("upstreams:") {
        whole.push_str("upstreams:\n");
        for name in ["shop-v1", "shop-v2"] {
            whole.push_str(&format!("  - {{ name: {name}, endpoints: [127.0.0.1:9001] }}\n"));
        }
    }
    if has("routes:") {
        return whole;
    }
    if !has("rollouts:") {
        whole.push_str("routes: [{ name: all, variants: [{ name: one, upstream: shop-v1 }] }]\n");
        return whole;
    }
    whole.push_str("routes:\n  - name: shop\n    bucket_by: client_ip\n    variants:\n");
    for (name, upstream, weight) in [("stable", "shop-v1", 100), ("canary", "shop-v2", 0)] {
        let variant = format!("name: {name}, upstream: {upstream}, weight: {weight}");
        whole.push_str(&format!("      - {{ {variant} }}\n"));
    }
    whole
}

fn documents() -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut documents = vec![root().join("README.md")];
    for entry in fs::read_dir(root().join("docs"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            documents.push(path);
        }
    }
    Ok(documents)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
