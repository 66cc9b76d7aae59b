//! What HTTP/2 can carry and HTTP/1.1 must not: an upstream of HTTP/1.1 sees plain requests, or
//! none.

use anyhow::{Context, Result, ensure};
use tidegate_tests::*;

type Fields<'a> = Vec<(&'a [u8], &'a [u8])>;

/// An upstream of HTTP/1.1 that remembers, and a gateway in front of it.
struct Downgrade {
    origin: Origin,
    gateway: Gateway,
}

impl Downgrade {
    async fn start() -> Result<Self> {
        let origin = Origin::start("v1").await?;
        let gateway = Gateway::start(&Config::single(origin.address()).h2c("").yaml()).await?;
        Ok(Self { origin, gateway })
    }

    /// Sends a head of these fields, and a body; gives the status, 0 for a reset.
    async fn send(&self, fields: &Fields<'_>, body: &[&[u8]]) -> Result<u16> {
        let mut frames = Frames::connect(self.gateway.address("h2c")).await?;
        let stream = frames.stream();
        let block = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
        frames.head(stream, block, body.is_empty()).await?;
        for (number, part) in body.iter().enumerate() {
            // It may have been refused already.
            _ = frames.data(stream, part, number + 1 == body.len()).await;
        }
        Ok(frames.answer(stream).await?.status())
    }

    /// Sends each; each has to be refused, and to leave no trace. All that go otherwise are told
    /// together.
    async fn refuses(mut self, requests: &[(&str, Fields<'_>)]) -> Result<()> {
        let mut wrong = Vec::new();
        for (what, fields) in requests {
            let status = self.send(fields, &[]).await.with_context(|| (*what).to_owned())?;
            if !matches!(status, 0 | 400 | 405 | 501) || self.origin.hits() > 0 {
                wrong.push(format!("{what}: {status}, {:?}", self.origin.recorded().pop()));
                self.origin = Origin::start("v1").await?;
                self.gateway =
                    Gateway::start(&Config::single(self.origin.address()).h2c("").yaml()).await?;
            }
        }
        ensure!(wrong.is_empty(), "{wrong:#?}");
        self.still_serves().await
    }

    /// The next request over the same upstream connections is itself and nothing else.
    async fn still_serves(mut self) -> Result<()> {
        let before = self.origin.hits();
        for number in 0..4 {
            let path = format!("/after-{number}");
            ensure!(self.send(&request("GET", &path), &[]).await? == 200);
            ensure!(self.origin.last().uri == *path, "{:?}", self.origin.last());
        }
        ensure!(self.origin.hits() == before + 4, "{:?}", self.origin.recorded());
        self.gateway.healthy()?;
        self.gateway.stop().await
    }
}

/// The pseudo-fields of a request.
fn request<'a>(method: &'a str, path: &'a str) -> Fields<'a> {
    let fields = Frames::request(method, path);
    fields.map(|(name, value)| (name.as_bytes(), value.as_bytes())).to_vec()
}

/// A GET with one more field.
fn with<'a>(name: &'a [u8], value: &'a [u8]) -> Fields<'a> {
    [request("GET", "/"), vec![(name, value)]].concat()
}

/// A GET with one of its pseudo-fields replaced.
fn but<'a>(name: &'a str, value: &'a [u8]) -> Fields<'a> {
    let replace = |(found, old): (&'static str, &'static str)| {
        let new = if found == name { value } else { old.as_bytes() };
        (found.as_bytes(), new)
    };
    Frames::request("GET", "/").map(replace).to_vec()
}

#[tokio::test]
async fn names_and_values_that_are_lines_are_refused() -> Result<()> {
    let names: [&[u8]; 12] = [
        b"x-a: 1\r\nx-b",
        b"x-a\r\n",
        b"\nx-a",
        b"x\0a",
        b"x a",
        b"x:a",
        b"x\x7fa",
        b"x\x80a",
        b"X-Upper",
        b"",
        b" ",
        b"x-a\t",
    ];
    let values: [&[u8]; 8] = [
        b"a\r\nx-smuggled: 1",
        b"a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"a\nb",
        b"a\rb",
        b"a\0b",
        b"a\x01b",
        b"a\x7fb",
        b"\r\n",
    ];
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).escape_debug().to_string();
    let texts: Vec<_> = names.iter().map(|name| format!("name {}", shown(name))).collect();
    let more: Vec<_> = values.iter().map(|value| format!("value {}", shown(value))).collect();
    let names = names.iter().zip(&texts).map(|(name, text)| (text.as_str(), with(name, b"1")));
    let values = values.iter().zip(&more).map(|(value, text)| (text.as_str(), with(b"x-a", value)));
    let requests: Vec<_> = names.chain(values).collect();
    Downgrade::start().await?.refuses(&requests).await
}

#[tokio::test]
async fn pseudo_fields_that_are_none_are_refused() -> Result<()> {
    let again = |name: &'static str| {
        let twice = Frames::request("GET", "/").into_iter().find(|(found, _)| *found == name);
        let (name, value) = twice.unwrap_or((name, "x"));
        with(name.as_bytes(), value.as_bytes())
    };
    let without = |name: &str| {
        request("GET", "/").into_iter().filter(|(found, _)| *found != name.as_bytes()).collect()
    };
    let mut late: Fields<'_> = without(":path");
    late.extend([(&b"x-a"[..], &b"1"[..]), (b":path", b"/")]);
    Downgrade::start()
        .await?
        .refuses(&[
            ("two methods", again(":method")),
            ("two paths", again(":path")),
            ("two schemes", again(":scheme")),
            ("two authorities", again(":authority")),
            ("no method", without(":method")),
            ("no path", without(":path")),
            ("no scheme", without(":scheme")),
            ("no authority and no host", without(":authority")),
            ("a path after other fields", late),
            ("an unknown one", with(b":unknown", b"1")),
            ("one of a response", with(b":status", b"200")),
            ("a protocol without CONNECT", with(b":protocol", b"websocket")),
        ])
        .await
}

#[tokio::test]
async fn targets_that_are_none_are_refused() -> Result<()> {
    Downgrade::start()
        .await?
        .refuses(&[
            ("an empty path", but(":path", b"")),
            ("no slash", but(":path", b"a")),
            ("a space", but(":path", b"/a b")),
            ("a request line", but(":path", b"/ HTTP/1.1\r\nHost: evil\r\n\r\nGET /smuggled")),
            ("a line feed", but(":path", b"/a\nb")),
            ("a NUL", but(":path", b"/a\0b")),
            ("a tab", but(":path", b"/a\tb")),
            ("a star", but(":path", b"*")),
            ("dot segments", but(":path", b"/a/../b")),
            ("an URL", but(":path", b"http://evil/")),
            ("an empty method", but(":method", b"")),
            ("a method with a space", but(":method", b"GET /smuggled HTTP/1.1")),
            ("a method with a line", but(":method", b"GET\r\nx: y")),
            ("a scheme with a line", but(":scheme", b"http\r\nx: y")),
            ("a scheme with a slash", but(":scheme", b"http://evil/")),
            ("CONNECT", vec![(b":method", b"CONNECT"), (b":authority", b"shop:80")]),
            (
                "an extended CONNECT",
                [but(":method", b"CONNECT"), vec![(&b":protocol"[..], &b"websocket"[..])]].concat(),
            ),
        ])
        .await
}

#[tokio::test]
async fn authorities_that_are_none_are_refused() -> Result<()> {
    Downgrade::start()
        .await?
        .refuses(&[
            ("an empty one", but(":authority", b"")),
            ("a user", but(":authority", b"user@shop")),
            ("a slash", but(":authority", b"shop/x")),
            ("two", but(":authority", b"shop,evil")),
            ("a space", but(":authority", b"sh op")),
            ("a line", but(":authority", b"shop\r\nx-smuggled: 1")),
            ("a port that is none", but(":authority", b"shop:http")),
            ("a port beyond all", but(":authority", b"shop:99999")),
            ("another host", with(b"host", b"evil")),
            ("two hosts", [with(b"host", b"shop"), vec![(&b"host"[..], &b"shop"[..])]].concat()),
        ])
        .await
}

/// A host instead of an authority, or the same one, is well formed (RFC 9113 §8.3.1).
#[tokio::test]
async fn a_host_may_take_the_authoritys_place() -> Result<()> {
    let downgrade = Downgrade::start().await?;
    let mut instead = request("GET", "/");
    instead.retain(|(name, _)| *name != b":authority");
    instead.push((b"host", b"shop"));
    for fields in [instead, with(b"host", b"shop")] {
        let status = downgrade.send(&fields, &[]).await?;
        assert_eq!(status, 200, "{fields:?}");
        assert_eq!(downgrade.origin.last().all("host"), ["shop"]);
    }
    downgrade.still_serves().await
}

/// Fields about a connection are malformed in HTTP/2 (RFC 9113 §8.2.2): refused, or at least not
/// passed on.
#[tokio::test]
async fn fields_about_a_connection_go_nowhere() -> Result<()> {
    let downgrade = Downgrade::start().await?;
    for (name, value) in [
        ("connection", "close"),
        ("connection", "x-hop, content-length"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "websocket"),
        ("http2-settings", "AAMAAABkAAQAoAAAAAIAAAAA"),
        ("te", "gzip"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
    ] {
        let fields = with(name.as_bytes(), value.as_bytes());
        let status = downgrade.send(&fields, &[]).await?;
        ensure!(matches!(status, 0 | 200 | 400), "{name}: {value} is {status}");
        if status == 200 {
            let got = downgrade.origin.last();
            ensure!(got.all(name).is_empty(), "{name} went on: {got:?}");
        }
    }
    downgrade.still_serves().await
}

/// A body and the length that it says it has: what does not fit never is a request upstream.
#[tokio::test]
async fn lengths_that_are_not_the_bodys_smuggle_nothing() -> Result<()> {
    let smuggled: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let downgrade = Downgrade::start().await?;
    let mut wrong = Vec::new();
    for (lengths, body) in [
        (&["0"][..], &[smuggled][..]),
        (&["5"], &[b"abcde", smuggled]),
        (&["5"], &[b"abcdefghij"]),
        (&["10"], &[b"abcde"]),
        (&["5"], &[]),
        (&["5", "6"], &[b"abcde"]),
        (&["5", "0"], &[b"abcde"]),
        (&["5, 5"], &[b"abcde"]),
        (&["+5"], &[b"abcde"]),
        (&["-5"], &[b"abcde"]),
        (&["0x5"], &[b"abcde"]),
        (&["5 "], &[b"abcde"]),
        (&["five"], &[b"abcde"]),
        (&[""], &[b"abcde"]),
        (&["99999999999999999999999"], &[b"abcde"]),
    ] {
        let mut fields = request("POST", "/");
        fields.extend(lengths.iter().map(|length| (&b"content-length"[..], length.as_bytes())));
        let before = downgrade.origin.recorded().len();
        let status = downgrade.send(&fields, body).await?;
        let whole = downgrade.origin.recorded().split_off(before);
        // A space after the number is not part of it; a lenient reader takes it for plain.
        let plain = status == 200
            && whole.len() == 1
            && whole.iter().all(|got| got.body == b"abcde"[..] && got.uri == "/");
        let refused = matches!(status, 0 | 400 | 413 | 502) && whole.is_empty();
        // What came until the length was wrong may be on its way, from here or from the one before: as
        // much as was said, and no answer.
        let plainly = |got: &Recorded| {
            got.uri == "/" && got.body.len().to_string() == got.header("content-length")
        };
        let begun = matches!(status, 0 | 400) && whole.iter().all(plainly);
        if !(refused || begun || plain && lengths == ["5 "]) {
            wrong.push(format!("{lengths:?} of {}: {status}, {whole:?}", body.concat().len()));
        }
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    let paths: Vec<_> = downgrade.origin.recorded().iter().map(|got| got.uri.to_string()).collect();
    ensure!(!paths.iter().any(|path| path.contains("smuggled")), "{paths:?}");
    downgrade.still_serves().await
}

/// A body that looks like the end of one, and a request after it.
#[tokio::test]
async fn a_body_is_only_a_body() -> Result<()> {
    let downgrade = Downgrade::start().await?;
    let body: &[u8] = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for method in ["POST", "GET", "DELETE", "OPTIONS", "HEAD"] {
        let before = downgrade.origin.hits();
        let status = downgrade.send(&request(method, "/"), &[body]).await?;
        ensure!(matches!(status, 0 | 200 | 400), "{method}: {status}");
        if status == 200 {
            let got = downgrade.origin.last();
            ensure!(got.body == body, "{method}: {got:?}");
        }
        ensure!(downgrade.origin.hits() <= before + 1);
    }
    downgrade.still_serves().await
}

/// Fields after a body cannot change how it was framed, or whom it was for.
#[tokio::test]
async fn trailers_change_nothing() -> Result<()> {
    let downgrade = Downgrade::start().await?;
    for (name, value) in [
        ("content-length", "100"),
        ("transfer-encoding", "chunked"),
        ("host", "evil"),
        ("x-forwarded-for", "10.0.0.1"),
        ("client-cert", ":bGllcw==:"),
        (":path", "/smuggled"),
        ("x-plain", "1"),
    ] {
        let mut frames = Frames::connect(downgrade.gateway.address("h2c")).await?;
        let stream = frames.stream();
        frames.headers(stream, &Frames::request("POST", "/"), false).await?;
        frames.data(stream, b"body", false).await?;
        frames.headers(stream, &[(name, value)], true).await?;
        let answer = frames.answer(stream).await?;
        ensure!(matches!(answer.status(), 0 | 200 | 400), "{name}: {answer:?}");
        if answer.status() == 200 {
            let got = downgrade.origin.last();
            ensure!(got.body == b"body"[..] && got.uri == "/", "{name}: {got:?}");
            ensure!(got.header("host") == "shop" && got.all("content-length").is_empty());
            ensure!(got.header("x-forwarded-for") == "127.0.0.1");
        }
    }
    downgrade.still_serves().await
}

/// The other way: an upstream of HTTP/2 whose fields would be lines in an answer of HTTP/1.1.
#[tokio::test]
async fn answers_that_are_lines_are_refused() -> Result<()> {
    let cases: [(&[u8], &[u8]); 8] = [
        (b"x-a", b"1\r\nx-smuggled: 1"),
        (b"x-a", b"1\n\n<html>"),
        (b"x-a\r\nx-smuggled", b"1"),
        (b"x-a", b"\0"),
        (b"X-Upper", b"1"),
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"close"),
        (b":unknown", b"1"),
    ];
    for (name, value) in cases {
        let (name_, value_) = (name.to_vec(), value.to_vec());
        let origin = RawOrigin::start(move |stream| {
            let bad = field(&name_, &value_);
            async move {
                let mut frames = Frames::accept(stream).await?;
                let arrived = |frames: &mut Frames| frames.ended(1).then_some(());
                frames.until(SOON, "a request", arrived).await?;
                frames.head(1, [field(":status", "200"), bad].concat(), false).await?;
                frames.data(1, b"ok", true).await?;
                frames.until_closed(SOON).await?;
                Ok(Vec::new())
            }
        })
        .await?;
        let config = crate::http2::single(origin.address(), "h2c");
        let mut gateway = Gateway::start(&config.yaml()).await?;
        let shown = String::from_utf8_lossy(name).escape_debug().to_string();
        let answer = gateway.get("/").send().await.with_context(|| shown.clone())?;
        ensure!([200, 502].contains(&answer.status), "{shown}: {answer:?}");
        ensure!(answer.header("x-smuggled").is_empty(), "{shown}: {answer:?}");
        if answer.status == 200 {
            let given = matches!(name, b"transfer-encoding" | b"connection");
            ensure!(given && answer.text() == "ok", "{shown}: {answer:?}");
        }
        gateway.healthy()?;
        gateway.stop().await?;
    }
    Ok(())
}
