//! A file that is damaged, gone, of somebody else, or where there can be none.

use super::{
    LONG_STEP, ask, complains, halfway, is_content, is_durable, is_taken_away, stays_rolled_back,
    store_error,
};
use crate::rollout_state::{Place, says, weighs, weight};
use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File},
    io::{Seek as _, SeekFrom, Write as _},
    path::Path,
};
use tidegate_tests::*;

/// SQLite's, by default.
const PAGE: u64 = 4096;

/// Overwrites a part of a file that may be in use.
fn overwrite(path: &Path, from: u64, bytes: u64) -> Result<()> {
    let mut file = File::options().write(true).open(path)?;
    file.seek(SeekFrom::Start(from))?;
    Ok(file.write_all(&vec![0xA5; bytes as usize])?)
}

/// A gateway with a state that it cannot use: it says why, and serves without the candidate.
async fn refuses(place: &Place, words: &[&str]) -> Result<Gateway> {
    let gateway = place.start().await?;
    // What is damaged may be beside what was saved of the weights: until it is found, they hold.
    weighs(&gateway, 0.0).await?;
    complains(&gateway, words).await?;
    says(&gateway, &[&["\"ERROR\"", "tidegate.db"], words].concat()).await?;
    ensure!(ask(&gateway, 0..100).await? == 0, "users get the candidate");
    ensure!(weight(&gateway).await? == 0.0, "the candidate has {}", weight(&gateway).await?);
    let board = gateway.admin_get("/api/v1/rollouts").await?.json()?;
    ensure!(board["not_started"][0] == "v2", "{board:#}");
    Ok(gateway)
}

#[tokio::test]
async fn damage_anywhere_leaves_everybody_at_the_baseline() -> Result<()> {
    let place = Place::new().await?;
    halfway(&place).await?.stop().await?;
    let state = place.state();
    let whole = fs::read(state.path())?;
    let pages = whole.len() as u64 / PAGE;
    ensure!(pages > 8, "{pages} pages");
    for page in 0..pages {
        fs::write(state.path(), &whole)?;
        overwrite(state.path(), page * PAGE, 512)?;
        let words = ["tidegate.db is damaged", "move it away to start afresh"];
        let gateway = refuses(&place, &words).await.with_context(|| format!("page {page}"))?;
        gateway.stop().await?;
    }
    // The advice is good, and needs no restart.
    let gateway = refuses(&place, &["is damaged"]).await?;
    fs::rename(state.path(), state.beside(".damaged"))?;
    is_content(&gateway).await?;
    weighs(&gateway, 0.5).await?;
    gateway.stop().await
}

/// Damages `parts` of the state of a running gateway (the database, its log), as from a page on.
async fn damaged_while_it_runs(from: u64, parts: &[&str]) -> Result<()> {
    let place = Place::new().await?;
    let mut gateway = halfway(&place).await?;
    let state = place.state();
    if !parts.contains(&"-wal") {
        // All is in the database, so that there is something to damage.
        state.execute("PRAGMA wal_checkpoint(TRUNCATE)").await?;
    }
    for part in parts {
        let path = state.beside(part);
        let length = fs::metadata(&path)?.len();
        ensure!(length > from, "{} has {length} bytes", path.display());
        overwrite(&path, from, length - from)?;
    }
    ask(&gateway, 100..200).await?;
    is_taken_away(&place, &gateway).await?;
    gateway.healthy()?;
    // Whatever was still written: nobody gets it again.
    gateway.kill().await?;
    let gateway = place.start().await?;
    ensure!(ask(&gateway, 0..100).await? == 0, "users get it");
    let answer = async || {
        let ended =
            Rollout::of(&gateway, "v2").get().await.ok().map(|now| now["state"] == "rolled_back");
        let broken = store_error(&gateway).await.ok()?.map(|error| error.contains("is damaged"));
        (ended == Some(true) || broken == Some(true)).then_some(())
    };
    eventually("it is rolled back, or the damage is said", answer).await?;
    ensure!(weight(&gateway).await? == 0.0, "it is back");
    gateway.stop().await
}

#[tokio::test]
async fn a_database_that_is_overwritten_while_it_runs() -> Result<()> {
    damaged_while_it_runs(0, &[""]).await
}

#[tokio::test]
async fn a_database_that_is_overwritten_but_for_its_head() -> Result<()> {
    damaged_while_it_runs(PAGE, &[""]).await
}

#[tokio::test]
async fn a_write_ahead_log_that_is_overwritten_while_it_runs() -> Result<()> {
    damaged_while_it_runs(0, &["-wal"]).await
}

#[tokio::test]
async fn both_overwritten_while_it_runs() -> Result<()> {
    damaged_while_it_runs(0, &["", "-wal"]).await
}

/// Deletes the files of a rollback that is durable, with or without requests afterwards.
async fn deleted(files: &[&str], requests: bool) -> Result<()> {
    let place = Place::new().await?;
    let gateway = halfway(&place).await?;
    is_taken_away(&place, &gateway).await?;
    is_durable(&place).await?;
    let state = place.state();
    for file in files {
        fs::remove_file(state.beside(file))?;
    }
    if requests {
        ask(&gateway, 0..100).await?;
    }
    says(&gateway, &["\"ERROR\"", "tidegate.db was moved or deleted"]).await?;
    let anew = async || {
        let kept = state.read().await.ok()?;
        (kept.runs.get("v2")?["status"]["ended"]["outcome"] == "rolled_back").then_some(())
    };
    eventually("the state is written anew", anew).await?;
    is_content(&gateway).await?;
    stays_rolled_back(&place, gateway).await
}

#[tokio::test]
async fn a_file_that_is_deleted_is_written_anew() -> Result<()> {
    deleted(&[""], true).await
}

#[tokio::test]
async fn files_that_are_deleted_are_written_anew() -> Result<()> {
    deleted(&["", "-wal", "-shm"], true).await
}

#[tokio::test]
async fn files_that_are_deleted_are_written_anew_though_nobody_asks() -> Result<()> {
    deleted(&["", "-wal", "-shm"], false).await
}

#[tokio::test]
async fn a_state_of_a_later_version_is_left_alone() -> Result<()> {
    let place = Place::new().await?;
    halfway(&place).await?.stop().await?;
    place.state().execute("PRAGMA user_version = 9").await?;
    let before = fs::read(place.state().path())?;
    let gateway = refuses(&place, &["later version", "its schema is 9"]).await?;
    gateway.stop().await?;
    ensure!(fs::read(place.state().path())? == before, "it was changed");
    Ok(())
}

#[tokio::test]
async fn a_directory_in_its_place_is_said() -> Result<()> {
    let place = Place::new().await?;
    place.write(&place.config().rollout("1", LONG_STEP))?;
    fs::create_dir(place.state().path())?;
    refuses(&place, &["it is a directory"]).await?.stop().await
}

#[tokio::test]
async fn a_place_that_is_not_there_is_said_and_waited_for() -> Result<()> {
    let place = Place::new().await?;
    let config = place.config().top("state: { path: lost/tidegate.db }");
    place.write(&config.rollout("1", LONG_STEP))?;
    let gateway = refuses(&place, &["there is no directory"]).await?;
    fs::create_dir(place.path().join("lost"))?;
    is_content(&gateway).await?;
    weighs(&gateway, 0.5).await?;
    gateway.stop().await
}
