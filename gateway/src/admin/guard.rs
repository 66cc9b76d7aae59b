//! Who may use the admin API: whoever holds a token, and no web page of somebody else.

use super::{problem::Problem, tokens::Tokens};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::{net::IpAddr, sync::Arc};

/// Asks for the token. Without one, asks for a `Host` that no foreign name can stand for: a page
/// whose name was rebound to this machine sends its own name. Handlers find an [`Actor`] with the
/// request.
///
/// [`Actor`]: super::tokens::Actor
pub(super) async fn authenticate(
    State(tokens): State<Arc<Tokens>>,
    mut request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let Some(actor) = tokens.admit(headers) else {
        let mut response =
            Problem::new(StatusCode::UNAUTHORIZED, "a bearer token is needed").into_response();
        let challenge = header::HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        return response;
    };
    if tokens.is_empty() && !host(headers).is_some_and(is_local_name) {
        let detail = "without a token the Host has to be `localhost` or an IP address";
        return Problem::new(StatusCode::FORBIDDEN, detail).into_response();
    }
    request.extensions_mut().insert(actor);
    next.run(request).await
}

/// Refuses changes that a page of another site asks a browser for.
pub(super) async fn same_site(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let safe = matches!(*request.method(), Method::GET | Method::HEAD);
    if !safe && !same_origin(headers) {
        let detail = "a page of another origin may not do this";
        return Problem::new(StatusCode::FORBIDDEN, detail).into_response();
    }
    next.run(request).await
}

fn same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let origin = origin.to_str().ok();
    let origin = origin.and_then(|o| o.strip_prefix("http://").or(o.strip_prefix("https://")));
    origin.is_some() && origin == host(headers)
}

fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST)?.to_str().ok()
}

/// `localhost` or an IP address, with or without a port.
fn is_local_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_can_be_rebound_are_not_local() {
        for host in ["localhost", "localhost:9901", "127.0.0.1:9901", "[::1]:9901", "192.0.2.7"] {
            assert!(is_local_name(host), "{host}");
        }
        for host in ["evil.example", "evil.example:9901", "localhost.evil.example", ""] {
            assert!(!is_local_name(host), "{host}");
        }
    }
}
