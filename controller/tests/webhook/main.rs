//! Webhooks, against a real server.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};
use support::{Request, Server, answer, wait};
use tempfile::TempDir;
use tidegate_controller::{
    journal::{Entry, Journal, JournalWriter, Recipient, Record, Tally},
    webhook::{Counts, Retry, Webhooks},
};
use tidegate_judge::Time;

const LONG: Duration = Duration::from_secs(10);

/// The same shape as the real one, a hundred times as fast.
fn quick() -> Retry {
    Retry {
        timeout: Duration::from_millis(500),
        first: Duration::from_millis(20),
        longest: Duration::from_millis(100),
        attempts: 5,
    }
}

fn open(directory: &TempDir) -> JournalWriter {
    let path = directory.path().join("tidegate.db");
    let started = Instant::now();
    loop {
        match Journal::open(&path) {
            Ok(journal) => return JournalWriter::start(journal).unwrap(),
            // The one before takes a moment to end.
            Err(error) => assert!(started.elapsed() < LONG, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn now() -> Time {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    Time(since.as_millis().try_into().unwrap())
}

fn decide(writer: &JournalWriter, number: usize, urls: &[&str], secret_file: Option<&Path>) {
    decide_at(writer, now(), number, urls, secret_file);
}

fn decide_at(
    writer: &JournalWriter,
    time: Time,
    number: usize,
    urls: &[&str],
    secret_file: Option<&Path>,
) {
    let mut entry = Entry::new();
    entry.decisions.push(Record {
        time,
        rollout: "shop".to_owned(),
        run: 1,
        revision: "2".to_owned(),
        actor: "controller".to_owned(),
        action: "rolled_back".to_owned(),
        step: 1,
        json: format!(r#"{{"number":{number}}}"#),
    });
    entry.webhooks = urls
        .iter()
        .map(|url| Recipient {
            url: (*url).to_owned(),
            secret_file: secret_file.map(PathBuf::from),
        })
        .collect();
    writer.commit(&entry, LONG).unwrap();
}

fn numbers(requests: &[Request]) -> Vec<u64> {
    let number = |request: &Request| {
        let body: serde_json::Value = serde_json::from_str(&request.body).unwrap();
        body["number"].as_u64().unwrap()
    };
    requests.iter().map(number).collect()
}

#[test]
fn a_signed_delivery() {
    let directory = TempDir::new().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "first\n").unwrap();
    let server = Server::start(|_| answer("204 No Content", ""));
    let writer = open(&directory);
    let webhooks = Webhooks::start(&writer).unwrap();
    let url = format!("{}/hook?x=1", server.url().replace("//", "//ann:p%40ss@"));
    decide(&writer, 1, &[&url], Some(&secret));
    server.wait_for(1);
    std::fs::write(&secret, " second ").unwrap();
    decide(&writer, 2, &[&url], Some(&secret));
    let requests = server.wait_for(2);
    for (request, secret, id) in [(&requests[0], "first", 1), (&requests[1], "second", 2)] {
        let header = |name: &str| request.headers[name].as_str();
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/hook?x=1"));
        assert_eq!(request.body, format!(r#"{{"id":{id},"number":{id}}}"#));
        assert_eq!(header("content-type"), "application/json");
        assert_eq!(header("x-tidegate-event"), "rolled_back");
        assert_eq!(header("x-tidegate-delivery"), id.to_string());
        assert_eq!(header("authorization"), "Basic YW5uOnBAc3M=");
        let timestamp = header("x-tidegate-timestamp");
        assert!(now().0 / 1000 - timestamp.parse::<u64>().unwrap() < 20);
        let signed = format!("{timestamp}.{}", request.body);
        assert_eq!(header("x-tidegate-signature"), format!("sha256={}", python(secret, &signed)));
    }
    wait(|| webhooks.counts() == Counts { delivered: 2, ..Counts::default() });
}

/// The signature, by another hand than the one that made it.
fn python(secret: &str, text: &str) -> String {
    let script = "import hashlib,hmac,sys; \
        print(hmac.new(sys.argv[1].encode(), sys.argv[2].encode(), hashlib.sha256).hexdigest())";
    let output = Command::new("python3").args(["-c", script, secret, text]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn without_a_secret_there_is_no_signature() {
    let directory = TempDir::new().unwrap();
    let server = Server::start(|_| answer("200 OK", ""));
    let writer = open(&directory);
    let _webhooks = Webhooks::start(&writer).unwrap();
    decide(&writer, 1, &[&server.url()], None);
    let request = server.wait_for(1).remove(0);
    assert!(!request.headers.contains_key("x-tidegate-signature"));
    assert!(!request.headers.contains_key("authorization"));
}

#[test]
fn a_secret_that_is_not_there_yet() {
    let directory = TempDir::new().unwrap();
    let secret = directory.path().join("secret");
    let server = Server::start(|_| answer("200 OK", ""));
    let writer = open(&directory);
    let webhooks = Webhooks::start_with(&writer, Retry { attempts: 1000, ..quick() }).unwrap();
    decide(&writer, 1, &[&server.url()], Some(&secret));
    wait(|| webhooks.counts().failed_attempts >= 1);
    std::fs::write(&secret, " \n").unwrap();
    let before = webhooks.counts().failed_attempts;
    wait(|| webhooks.counts().failed_attempts >= before + 2);
    assert!(server.requests().is_empty(), "nothing goes out unsigned");
    std::fs::write(&secret, "here").unwrap();
    server.wait_for(1);
}

#[test]
fn failures_are_tried_again_and_order_is_kept() {
    let directory = TempDir::new().unwrap();
    let count = AtomicUsize::new(0);
    let server = Server::start(move |_| match count.fetch_add(1, Relaxed) {
        0 | 1 => answer("500 Internal Server Error", "sorry"),
        2 => answer("302 Found", ""),
        _ => answer("200 OK", ""),
    });
    let writer = open(&directory);
    let webhooks = Webhooks::start_with(&writer, quick()).unwrap();
    for number in 1..=4 {
        decide(&writer, number, &[&server.url()], None);
    }
    let requests = server.wait_for(7);
    assert_eq!(numbers(&requests), [1, 1, 1, 1, 2, 3, 4]);
    let delivery = |at: usize| requests[at].headers["x-tidegate-delivery"].clone();
    assert_eq!(delivery(0), delivery(3), "the same delivery has the same id");
    wait(|| webhooks.counts().delivered == 4);
    assert_eq!(webhooks.counts().failed_attempts, 3);
    wait(|| writer.reader().tally().unwrap() == Tally { delivered: 4, ..Tally::default() });
}

#[test]
fn a_redirect_is_not_followed() {
    let directory = TempDir::new().unwrap();
    let other = Server::start(|_| answer("200 OK", ""));
    let location = other.url();
    let server = Server::start(move |_| {
        format!(
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
        )
    });
    let writer = open(&directory);
    let webhooks = Webhooks::start_with(&writer, quick()).unwrap();
    decide(&writer, 1, &[&server.url()], None);
    wait(|| webhooks.counts().given_up == 1);
    assert_eq!(server.requests().len(), 5);
    assert!(other.requests().is_empty());
}

#[test]
fn a_server_that_comes_up_late() {
    let directory = TempDir::new().unwrap();
    let address = Server::start(|_| String::new()).address();
    let writer = open(&directory);
    let webhooks = Webhooks::start_with(&writer, Retry { attempts: 1000, ..quick() }).unwrap();
    decide(&writer, 1, &[&format!("http://{address}/")], None);
    wait(|| webhooks.counts().failed_attempts >= 3);
    let server = Server::at(address, |_| answer("200 OK", ""));
    assert_eq!(numbers(&server.wait_for(1)), [1]);
}

#[test]
fn a_dead_url_is_given_up_and_the_next_goes_on() {
    let directory = TempDir::new().unwrap();
    let server = Server::start(|request| {
        let is_bad = request.body.contains(r#""number":1}"#);
        answer(if is_bad { "400 Bad Request" } else { "200 OK" }, "")
    });
    let writer = open(&directory);
    let webhooks = Webhooks::start_with(&writer, quick()).unwrap();
    decide(&writer, 1, &[&server.url()], None);
    decide(&writer, 2, &[&server.url()], None);
    let requests = server.wait_for(6);
    assert_eq!(numbers(&requests), [1, 1, 1, 1, 1, 2]);
    wait(|| webhooks.counts().delivered == 1);
    assert_eq!((webhooks.counts().given_up, webhooks.counts().failed_attempts), (1, 5));
    let path = directory.path().join("tidegate.db");
    let read = || {
        let database = rusqlite::Connection::open(&path).unwrap();
        let sql = "SELECT last_error FROM outbox WHERE failed_ms IS NOT NULL AND attempts = 5";
        database.query_row(sql, [], |row| row.get::<_, String>(0))
    };
    wait(|| read().is_ok());
    assert_eq!(read().unwrap(), "the answer's status is 400");
}

/// A URL that hangs, and one that sends its answer byte by byte, hold up themselves only.
#[test]
fn urls_do_not_wait_for_each_other() {
    let directory = TempDir::new().unwrap();
    let hanging = Server::start(|_| {
        std::thread::sleep(Duration::from_secs(3));
        String::new()
    });
    let server = Server::start(|_| answer("200 OK", ""));
    let writer = open(&directory);
    let webhooks =
        Webhooks::start_with(&writer, Retry { timeout: Duration::from_secs(2), ..quick() })
            .unwrap();
    let started = Instant::now();
    for number in 1..=5 {
        decide(&writer, number, &[&hanging.url(), &server.url()], None);
    }
    assert_eq!(numbers(&server.wait_for(5)), [1, 2, 3, 4, 5]);
    assert!(started.elapsed() < Duration::from_millis(1500), "{:?}", started.elapsed());
    wait(|| webhooks.counts().failed_attempts == 1);
    assert!(started.elapsed() >= Duration::from_secs(2), "the time is limited");
}

/// More URLs than are called at once, all of which hang: each is called in its turn.
#[test]
fn many_urls_take_turns() {
    let directory = TempDir::new().unwrap();
    let server = Server::start(|_| {
        std::thread::sleep(Duration::from_millis(300));
        answer("200 OK", "")
    });
    let writer = open(&directory);
    let urls: Vec<String> = (0..20).map(|n| format!("{}/{n}", server.url())).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    decide(&writer, 1, &urls, None);
    let webhooks = Webhooks::start_with(&writer, Retry { timeout: LONG, ..quick() }).unwrap();
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(server.requests().len(), 8, "at once");
    wait(|| webhooks.counts().delivered == 20);
    assert_eq!(server.requests().len(), 20);
}

#[test]
fn an_answer_without_end_has_arrived() {
    let directory = TempDir::new().unwrap();
    let server = Server::start(|_| {
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\nsome of it".to_owned()
    });
    let writer = open(&directory);
    let webhooks = Webhooks::start_with(&writer, quick()).unwrap();
    decide(&writer, 1, &[&server.url()], None);
    wait(|| webhooks.counts().delivered == 1);
}

#[test]
fn a_restart_goes_on() {
    let directory = TempDir::new().unwrap();
    let server = Server::start(|request| {
        let is_first = request.body.contains(r#""number":1}"#);
        answer(if is_first { "200 OK" } else { "500 Internal Server Error" }, "")
    });
    let (address, url) = (server.address(), server.url());
    let writer = open(&directory);
    let webhooks = Webhooks::start_with(&writer, quick()).unwrap();
    for number in 1..=3 {
        decide(&writer, number, &[&url], None);
    }
    wait(|| webhooks.counts().failed_attempts >= 2);
    drop(webhooks);
    drop(writer);
    drop(server);
    let server = Server::at(address, |_| answer("200 OK", ""));
    let writer = open(&directory);
    assert_eq!(writer.reader().tally().unwrap().delivered, 1);
    let next = writer.reader().next_delivery(&url, 0).unwrap().unwrap();
    assert!(next.attempts >= 2, "what was tried is not forgotten: {next:?}");
    let webhooks = Webhooks::start_with(&writer, quick()).unwrap();
    assert_eq!(numbers(&server.wait_for(2)), [2, 3]);
    wait(|| webhooks.counts().delivered == 2);
}

/// While the disk takes nothing, what arrived does not go out again.
#[test]
fn a_disk_that_takes_nothing_repeats_nothing() {
    let directory = TempDir::new().unwrap();
    let server = Server::start(|_| answer("200 OK", ""));
    let writer = open(&directory);
    for number in 1..=3 {
        decide(&writer, number, &[&server.url()], None);
    }
    let lock = rusqlite::Connection::open(directory.path().join("tidegate.db")).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let webhooks = Webhooks::start_with(&writer, quick()).unwrap();
    wait(|| webhooks.counts().delivered == 3);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(writer.reader().tally().unwrap().waiting, 3, "for all the disk knows");
    drop(lock);
    wait(|| writer.reader().tally().unwrap().delivered == 3);
    assert_eq!(numbers(&server.requests()), [1, 2, 3]);
}
