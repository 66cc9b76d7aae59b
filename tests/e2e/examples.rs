//! The configurations in `examples/`: each is right, and does what it says with real requests.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};
use tempfile::TempDir;
use tidegate_tests::*;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// All YAML files below `directory`.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|end| end == "yaml" || end == "yml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn parse(file: &Path) -> Result<Value> {
    let text = fs::read_to_string(file)?;
    serde_yaml::from_str(&text).with_context(|| file.display().to_string())
}

/// The files that stand on their own; the others are included by one of these.
fn examples() -> Result<Vec<PathBuf>> {
    let mut mains = Vec::new();
    for file in files(&directory())? {
        if parse(&file)?.get("listeners").is_some() {
            mains.push(file);
        }
    }
    ensure!(!mains.is_empty(), "there is no example in {}", directory().display());
    Ok(mains)
}

#[tokio::test]
async fn every_example_passes_check_without_a_warning_and_fits_the_schema() -> Result<()> {
    let schema = tidegate(&["schema"]).await?.json()?;
    let validator = jsonschema::validator_for(&schema)?;
    for file in examples()? {
        let verdict = tidegate(&["check".as_ref(), file.as_os_str()]).await?;
        assert_eq!((verdict.code, &*verdict.stderr), (Some(0), ""), "{}", file.display());
        let errors: Vec<_> =
            validator.iter_errors(&parse(&file)?).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", file.display());
    }
    Ok(())
}

#[tokio::test]
async fn every_route_of_every_example_serves() -> Result<()> {
    for file in examples()? {
        serve(&file).await.with_context(|| file.display().to_string())?;
    }
    Ok(())
}

async fn serve(example: &Path) -> Result<()> {
    let copy = TempDir::new()?;
    let from = example.parent().context("no directory")?;
    let mut origins = BTreeMap::new();
    let mut routes = Vec::new();
    let includes = parse(example)?.get("include").is_some();
    for file in files(from)? {
        let mut document = parse(&file)?;
        if file != example && (!includes || document.get("listeners").is_some()) {
            continue;
        }
        replace_addresses(&mut document, &mut origins).await?;
        routes.extend(document["routes"].as_array().cloned().unwrap_or_default());
        let target = copy.path().join(file.strip_prefix(from)?);
        fs::create_dir_all(target.parent().context("no directory")?)?;
        fs::write(target, serde_yaml::to_string(&document)?)?;
    }
    copy_certificates(from, copy.path())?;
    let main = copy.path().join(example.file_name().context("no name")?);
    let own: Vec<_> = parse(&main)?["routes"].as_array().cloned().unwrap_or_default();
    let gateway = Gateway::start_at(&main).await?;
    let listener = parse(&main)?["listeners"][0]["name"].as_str().unwrap_or_default().to_owned();
    let routes = if includes { routes } else { own };
    ensure!(!routes.is_empty(), "no routes");
    for route in &routes {
        let call = matching_call(gateway.address(&listener), &route["match"])?;
        let answer = call.send().await?;
        let upstreams: Vec<_> = route["variants"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|variant| variant["upstream"].as_str())
            .collect();
        ensure!(answer.status == 200, "{}: {} to {call:?}", route["name"], answer.status);
        ensure!(
            upstreams.contains(&answer.origin()),
            "{}: {:?} answered and not one of {upstreams:?}",
            route["name"],
            answer.origin()
        );
    }
    gateway.stop().await
}

/// What examples name besides configuration.
fn copy_certificates(from: &Path, to: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(from.join("certs")) else { return Ok(()) };
    fs::create_dir_all(to.join("certs"))?;
    for entry in entries {
        let entry = entry?;
        fs::copy(entry.path(), to.join("certs").join(entry.file_name()))?;
    }
    Ok(())
}

/// Ports that the system chooses, and for each upstream an origin of its name.
async fn replace_addresses(
    document: &mut Value,
    origins: &mut BTreeMap<String, Origin>,
) -> Result<()> {
    for listener in document["listeners"].as_array_mut().into_iter().flatten() {
        listener["address"] = json!("127.0.0.1:0");
    }
    if let Some(admin) = document.get_mut("admin") {
        admin["address"] = json!("127.0.0.1:0");
    }
    for upstream in document["upstreams"].as_array_mut().into_iter().flatten() {
        let name = upstream["name"].as_str().context("an upstream without a name")?.to_owned();
        let origin = Origin::start(&name).await?;
        upstream["endpoints"] = json!([origin.address().to_string()]);
        origins.insert(name, origin);
    }
    if let Some(members) = document.as_object_mut() {
        // Indexing above made absent keys null.
        members.retain(|_, value| !value.is_null());
    }
    Ok(())
}

/// A request that fulfils the conditions of a match.
fn matching_call(address: SocketAddr, condition: &Value) -> Result<Call> {
    let path = &condition["path"];
    let path = match (path["exact"].as_str(), path["prefix"].as_str(), path["regex"].as_str()) {
        (Some(path), _, _) | (_, Some(path), _) => path,
        (_, _, Some(regex)) => bail!("no path can be made up for {regex}: extend this test"),
        _ => "/",
    };
    let mut query = Vec::new();
    for parameter in condition["query"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().context("no name")?;
        query.push(format!("{name}={}", value(parameter)?));
    }
    let target = match query.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{}", query.join("&")),
    };
    let method = condition["methods"][0].as_str().unwrap_or("GET");
    let mut call = Call::new(address, method, &target);
    if let Some(host) = condition["hosts"][0].as_str() {
        call = call.host(&host.replace('*', "any"));
    }
    for header in condition["headers"].as_array().into_iter().flatten() {
        call = call.header(header["name"].as_str().context("no name")?, value(header)?);
    }
    Ok(call)
}

/// A value that fulfils a condition.
fn value(condition: &Value) -> Result<&str> {
    match condition["exact"].as_str() {
        Some(text) => Ok(text),
        None if condition["present"] == true => Ok("1"),
        None => bail!("no value can be made up for {condition}: extend this test"),
    }
}
