//! One health check: a new connection, a question, an answer. Whoever runs it limits its time.

use super::{Background, Endpoint, grpc};
use bytes::Bytes;
use http::{Method, StatusCode, Uri, header};
use pingora_core::{
    connectors::http::v2::{H2HandshakeSettings, handshake},
    listeners::ALPN,
    protocols::http::{client::HttpSession, v1::client::HttpSession as Http1Session},
    upstreams::peer::{HttpPeer, Peer as _},
};
use pingora_error::{Error, ErrorType, OrErr as _, Result};
use pingora_http::RequestHeader;
use tidegate_config::plan::Probe;

const USER_AGENT: &str = concat!("tidegate-health/", env!("CARGO_PKG_VERSION"));

/// How much of an answer is read.
const MOST: usize = 64 * 1024;

/// What is shown of an error.
const LONGEST_REASON: usize = 200;

/// Whether `endpoint` is fine; if not, why.
pub(super) async fn run(
    background: &Background,
    endpoint: &Endpoint,
    probe: &Probe,
) -> Result<(), String> {
    let stream = background.connector().new_stream(endpoint.peer()).await;
    let stream = stream.map_err(|error| reason(&error))?;
    match probe {
        Probe::Tcp => Ok(()),
        Probe::Http { path, host } => {
            let host = host.as_deref().unwrap_or(endpoint.authority());
            let answer = ask_http(stream, endpoint.peer(), path, host).await;
            match answer.map_err(|error| reason(&error))? {
                status if (200..400).contains(&status.as_u16()) => Ok(()),
                status => Err(format!("status {}", status.as_u16())),
            }
        }
        Probe::Grpc { service } => {
            let answer = ask_grpc(stream, endpoint, service).await;
            answer.map_err(|error| reason(&error))?
        }
    }
}

async fn ask_http(
    stream: pingora_core::protocols::Stream,
    peer: &HttpPeer,
    path: &str,
    host: &str,
) -> Result<StatusCode> {
    let mut session = open(stream, peer).await?;
    let mut head = RequestHeader::build(Method::GET, path.as_bytes(), None)?;
    if session.as_http2().is_some() {
        head.set_uri(uri(peer, host, path)?);
        head.set_version(http::Version::HTTP_2);
    } else {
        head.insert_header(header::HOST, host)?;
        head.insert_header(header::CONNECTION, "close")?;
    }
    head.insert_header(header::USER_AGENT, USER_AGENT)?;
    head.insert_header(header::ACCEPT, "*/*")?;
    session.write_request_header(Box::new(head)).await?;
    session.finish_request_body().await?;
    let status = read_head(&mut session).await?;
    read_body(&mut session).await?;
    Ok(status)
}

async fn ask_grpc(
    stream: pingora_core::protocols::Stream,
    endpoint: &Endpoint,
    service: &str,
) -> Result<Result<(), String>> {
    let peer = endpoint.peer();
    let mut session = open(stream, peer).await?;
    let path = "/grpc.health.v1.Health/Check";
    let mut head = RequestHeader::build(Method::POST, path.as_bytes(), None)?;
    head.set_uri(uri(peer, endpoint.authority(), path)?);
    head.set_version(http::Version::HTTP_2);
    head.insert_header(header::CONTENT_TYPE, "application/grpc")?;
    head.insert_header(header::TE, "trailers")?;
    head.insert_header(header::USER_AGENT, USER_AGENT)?;
    session.write_request_header(Box::new(head)).await?;
    session.write_request_body(Bytes::from(grpc::request(service)), true).await?;
    let status = read_head(&mut session).await?;
    if status != StatusCode::OK {
        return Ok(Err(format!("status {}", status.as_u16())));
    }
    let body = read_body(&mut session).await?;
    let code = |headers: &http::HeaderMap| {
        headers.get("grpc-status").map(|code| String::from_utf8_lossy(code.as_bytes()).into_owned())
    };
    // A response without a message has its status in the head.
    let mut status = session.response_header().and_then(|head| code(&head.headers));
    if let HttpSession::H2(http2) = &mut session
        && let Some(trailers) = http2.read_trailers().await?
    {
        status = code(&trailers).or(status);
    }
    Ok(match status.as_deref() {
        Some("0") => match grpc::response(&body) {
            Ok(grpc::Status::Serving) => Ok(()),
            Ok(other) => Err(format!("it says {other}")),
            Err(why) => Err(why.to_owned()),
        },
        Some(code) => Err(format!("grpc-status {code}")),
        None => Err("no grpc-status".to_owned()),
    })
}

/// An HTTP session over a new connection.
async fn open(stream: pingora_core::protocols::Stream, peer: &HttpPeer) -> Result<HttpSession> {
    if peer.options.alpn.get_min_http_version() == 1 {
        return Ok(HttpSession::H1(Http1Session::new_with_options(stream, peer)));
    }
    if peer.tls() && !matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
        return Err(Error::explain(ErrorType::H2Error, "the server does not speak HTTP/2"));
    }
    let mut settings = H2HandshakeSettings::new();
    settings.max_streams = 1;
    settings.stream_window_size = Some(MOST as u32);
    let connection = handshake(stream, settings).await?;
    match connection.spawn_stream().await? {
        Some(session) => Ok(HttpSession::H2(session)),
        None => Err(Error::explain(ErrorType::H2Error, "the server takes no request")),
    }
}

fn uri(peer: &HttpPeer, host: &str, path: &str) -> Result<Uri> {
    let scheme = if peer.tls() { "https" } else { "http" };
    let uri = Uri::builder().scheme(scheme).authority(host).path_and_query(path).build();
    uri.or_err(ErrorType::InvalidHTTPHeader, "the host is no authority")
}

/// The status of the final response.
async fn read_head(session: &mut HttpSession) -> Result<StatusCode> {
    loop {
        session.read_response_header().await?;
        let Some(head) = session.response_header() else {
            return Err(Error::explain(ErrorType::ReadError, "no response"));
        };
        if !(head.status.is_informational() && session.as_http1().is_some()) {
            return Ok(head.status);
        }
    }
}

/// The body, or the beginning of a long one.
async fn read_body(session: &mut HttpSession) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(piece) = session.read_response_body().await? {
        if body.len() + piece.len() > MOST {
            break;
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// An error in few words.
fn reason(error: &Error) -> String {
    let mut text = match error.etype() {
        ErrorType::ConnectRefused => "connection refused".to_owned(),
        ErrorType::ConnectTimedout => "no connection in time".to_owned(),
        ErrorType::ConnectNoRoute => "no route".to_owned(),
        ErrorType::ConnectionClosed => "the connection was closed".to_owned(),
        other => match &error.context {
            Some(context) => format!("{}: {}", other.as_str(), context.as_str()),
            None => other.as_str().to_owned(),
        },
    };
    if let Some((end, _)) = text.char_indices().nth(LONGEST_REASON) {
        text.truncate(end);
        text.push('…');
    }
    text
}
