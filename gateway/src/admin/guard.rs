//! Who may use the admin API: whoever knows the token, and no web page of somebody else.

use super::problem::Problem;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::{io, net::IpAddr, path::Path, sync::Arc};
use subtle::ConstantTimeEq;

/// The bearer token, if one is asked for.
#[derive(Clone)]
pub(crate) struct Token(Option<String>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Token(set)" } else { "Token(none)" })
    }
}

/// Short tokens can be guessed.
const MIN_TOKEN: usize = 16;

impl Token {
    /// Reads the token from a file; surrounding whitespace does not count.
    ///
    /// # Errors
    /// When the file cannot be read or holds fewer than 16 characters.
    pub(crate) fn read(file: Option<&Path>) -> io::Result<Self> {
        let Some(path) = file else { return Ok(Self(None)) };
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot read admin.token_file {shown}: {error}"))
        })?;
        let token = text.trim();
        if token.len() < MIN_TOKEN {
            let what = format!("the token in {shown} is shorter than {MIN_TOKEN} characters");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(Self(Some(token.to_owned())))
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.0 else { return true };
        let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
        let given = given.and_then(|value| {
            let (scheme, token) = value.split_at_checked("bearer ".len())?;
            scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
        });
        given.is_some_and(|given| given.ct_eq(token.as_bytes()).into())
    }
}

/// Asks for the token. Without one, asks for a `Host` that no foreign name can stand for: a page
/// whose name was rebound to this machine sends its own name.
pub(super) async fn authenticate(
    State(token): State<Arc<Token>>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    if !token.admits(headers) {
        let mut response =
            Problem::new(StatusCode::UNAUTHORIZED, "a bearer token is needed").into_response();
        let challenge = header::HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        return response;
    }
    if token.0.is_none() && !host(headers).is_some_and(is_local_name) {
        let detail = "without a token the Host has to be `localhost` or an IP address";
        return Problem::new(StatusCode::FORBIDDEN, detail).into_response();
    }
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

    #[test]
    fn tokens_are_compared_whole() {
        let token = Token(Some("0123456789abcdef".to_owned()));
        let admits = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, header::HeaderValue::from_static(value));
            token.admits(&headers)
        };
        assert!(admits("Bearer 0123456789abcdef") && admits("bearer 0123456789abcdef"));
        assert!(!admits("Bearer 0123456789abcde") && !admits("Bearer 0123456789abcdeff"));
        assert!(!admits("Basic 0123456789abcdef") && !admits("Bearer "));
        assert!(!token.admits(&HeaderMap::new()));
    }
}
