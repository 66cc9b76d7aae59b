//! How other services are called over HTTP.
//!
//! No redirect is followed, as it would carry what is sent to a place that nobody named. No proxy is
//! taken from the environment: what is watched and who is told is in the configuration alone.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use percent_encoding::percent_decode_str;
use std::{io, time::Duration};
use ureq::Agent;

/// Characters of what a server or the system says about a failure. More is not read by people.
const MAX_REASON: usize = 300;

/// Header bytes of an answer.
const MAX_HEADER: usize = 16 << 10;

/// Calls that take at most `timeout`, from the name's resolution to the last byte. Each has a
/// connection of its own: they are rare, and one that was kept could be dead.
pub(crate) fn agent(timeout: Duration) -> Agent {
    Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_response_header_size(MAX_HEADER)
        .max_idle_connections(0)
        .proxy(None)
        .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

/// Where to call, with the credentials apart, so that no message shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) url: String,
    /// The value of the `authorization` header.
    pub(crate) authorization: Option<String>,
}

impl Address {
    /// Takes `user:password@` out of a URL.
    pub(crate) fn of(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let Some((credentials, server)) = authority.rsplit_once('@') else {
            return Self { url: url.to_owned(), authorization: None };
        };
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        // Decoded after the split: a colon in the name or the password is written `%3A`.
        let decode = |text| percent_decode_str(text).collect::<Vec<u8>>();
        let pair = [decode(user), decode(password)].join(&b':');
        let authorization = Some(format!("Basic {}", BASE64_STANDARD.encode(pair)));
        Self { url: format!("{scheme}://{server}{path}"), authorization }
    }
}

/// The part of a URL that may be shown.
pub(crate) fn server(url: &str) -> String {
    let url = Address::of(url).url;
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", &url));
    format!("{scheme}://{}", rest.split(['/', '?']).next().unwrap_or_default())
}

/// Whether the call took too long.
pub(crate) fn is_timeout(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Timeout(_) => true,
        ureq::Error::Io(error) => error.kind() == io::ErrorKind::TimedOut,
        _ => false,
    }
}

/// Why a call failed, in few words and without the URL, which may have a token in it.
pub(crate) fn explain(error: &ureq::Error) -> String {
    match error {
        error if is_timeout(error) => "no answer in time".to_owned(),
        ureq::Error::Io(error) => brief(&error.to_string()),
        ureq::Error::HostNotFound => "there is no host of that name".to_owned(),
        ureq::Error::ConnectionFailed => "no connection".to_owned(),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => "that is not a URL".to_owned(),
        other => brief(&other.to_string()),
    }
}

/// The beginning of a text from elsewhere, on one line.
pub(crate) fn brief(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(MAX_REASON) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_go_into_a_header() {
        let of = |url: &str| {
            let Address { url, authorization } = Address::of(url);
            (url, authorization.unwrap_or_default())
        };
        let none = String::new();
        assert_eq!(of("http://a:90/x?y=@z"), ("http://a:90/x?y=@z".to_owned(), none));
        let basic = |pair: &str| format!("Basic {}", BASE64_STANDARD.encode(pair));
        assert_eq!(of("http://u:p@a:90/x"), ("http://a:90/x".to_owned(), basic("u:p")));
        assert_eq!(of("https://u@a"), ("https://a".to_owned(), basic("u:")));
        assert_eq!(of("http://u:p%40%3A@a?q"), ("http://a?q".to_owned(), basic("u:p@:")));
    }

    #[test]
    fn tokens_are_not_shown() {
        assert_eq!(
            server("https://u:p@hooks.example.com:8443/T0/B0?x"),
            "https://hooks.example.com:8443"
        );
    }

    #[test]
    fn texts_from_elsewhere_are_brief() {
        assert_eq!(brief("a\r\nb"), "a  b");
        assert_eq!(brief(&"é".repeat(1000)), format!("{}…", "é".repeat(300)));
    }
}
