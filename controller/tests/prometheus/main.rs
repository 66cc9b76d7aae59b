//! Prometheus, as it looks on the wire.

#![allow(clippy::unwrap_used, missing_docs)]

mod polling;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};
use support::{Server, answer};
use tidegate_controller::prometheus::{Query, SourceError};

/// An answer with one number.
pub(crate) fn scalar(number: &str) -> String {
    let data = format!(r#"{{"resultType":"scalar","result":[1700000000,"{number}"]}}"#);
    answer("200 OK", &format!(r#"{{"status":"success","data":{data}}}"#))
}

fn ask(url: &str) -> Result<f64, SourceError> {
    ask_within(url, Duration::from_secs(10))
}

fn ask_within(url: &str, timeout: Duration) -> Result<f64, SourceError> {
    let query = r#"sum(rate(errors{job="a"}[5m])) / 2 + 1 & more"#.to_owned();
    Query { url: url.to_owned(), query, timeout }.ask()
}

#[test]
fn the_request() {
    let server = Server::start(|_| scalar("0.5"));
    let query =
        "sum%28rate%28errors%7Bjob%3D%22a%22%7D%5B5m%5D%29%29%20%2F%202%20%2B%201%20%26%20more";
    for (url, target) in [
        (server.url(), "/api/v1/query?query="),
        (format!("{}/", server.url()), "/api/v1/query?query="),
        (format!("{}/prom/a/", server.url()), "/prom/a/api/v1/query?query="),
        (format!("{}/x?tenant=t", server.url()), "/x/api/v1/query?tenant=t&query="),
    ] {
        assert_eq!(ask(&url), Ok(0.5), "{url}");
        let request = server.requests().pop().unwrap();
        assert_eq!(request.method, "GET");
        assert_eq!(request.target, format!("{target}{query}"));
        assert!(!request.headers.contains_key("authorization"));
    }
    let with_user = server.url().replace("//", "//ann:p%40%3As@");
    assert_eq!(ask(&with_user), Ok(0.5));
    let request = server.requests().pop().unwrap();
    assert_eq!(request.headers["authorization"], "Basic YW5uOnBAOnM=");
    assert_eq!(request.headers["host"], server.address().to_string());
}

#[test]
fn what_the_server_says() {
    let refusal = r#"{"status":"error","errorType":"bad_data","error":"parse error: unexpected"}"#;
    let server = Server::start(move |_| answer("400 Bad Request", refusal));
    let said = ask(&server.url()).unwrap_err();
    assert_eq!(said.to_string(), "prometheus says: parse error: unexpected");
    let server = Server::start(|_| answer("404 Not Found", "<html>"));
    assert_eq!(ask(&server.url()), Err(SourceError::Status(404)));
    let server = Server::start(|_| answer("302 Found", ""));
    assert_eq!(ask(&server.url()), Err(SourceError::Status(302)), "as a login page would");
    let server = Server::start(|_| answer("200 OK", "<html>"));
    assert!(matches!(ask(&server.url()), Err(SourceError::Malformed(_))));
    let empty = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
    let server = Server::start(move |_| answer("200 OK", empty));
    assert_eq!(ask(&server.url()), Err(SourceError::NoData));
}

#[test]
fn nobody_there() {
    let address = Server::start(|_| String::new()).address();
    let url = format!("http://ann:secret@{address}/?token=secret");
    let said = ask(&url).unwrap_err();
    assert!(matches!(said, SourceError::Unreachable(_)), "{said}");
    assert!(said.to_string().contains("refused"), "{said}");
    assert!(!said.to_string().contains("secret"), "{said}");
    let server = Server::start(|_| "SSH-2.0-x\r\n\r\n".to_owned());
    assert!(matches!(ask(&server.url()), Err(SourceError::Unreachable(_))));
    let server = Server::start(|_| String::new());
    assert!(matches!(ask(&server.url()), Err(SourceError::Unreachable(_))));
    for url in ["", "http://", "nonsense", "http://a b/", "http://host.invalid"] {
        assert!(matches!(ask(url), Err(SourceError::Unreachable(_))), "{url}");
    }
}

#[test]
fn no_answer_in_time() {
    let timeout = Duration::from_millis(200);
    let hangs = Server::start(|_| {
        std::thread::sleep(Duration::from_secs(2));
        String::new()
    });
    let started = Instant::now();
    assert_eq!(ask_within(&hangs.url(), timeout), Err(SourceError::Timeout(timeout)));
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    let (url, drips) = dripping();
    let started = Instant::now();
    assert_eq!(ask_within(&url, timeout), Err(SourceError::Timeout(timeout)));
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    drips.join().unwrap();
}

/// Sends a byte of an answer now and then, until nobody listens.
fn dripping() -> (String, std::thread::JoinHandle<()>) {
    use std::io::Write as _;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut next: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
        while stream.write_all(next).is_ok() {
            next = b" ";
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    (url, thread)
}

#[test]
fn too_large() {
    let server = Server::start(|_| answer("200 OK", &" ".repeat((1 << 20) + 1)));
    assert_eq!(ask(&server.url()), Err(SourceError::TooLarge));
    // Without a length, as long as it is read.
    let server = Server::start(|_| {
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", " ".repeat(3 << 20))
    });
    assert_eq!(ask(&server.url()), Err(SourceError::TooLarge));
}
