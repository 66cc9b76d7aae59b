//! URLs of other services.

use crate::decode::{Invalid, Scalar};
use http::Uri;
use serde_json::{Value, json};

/// What stands in the place of what may be secret.
pub(crate) const REDACTED: &str = "[redacted]";

/// A URL of a service that is asked or told something over HTTP.
#[derive(Debug, Clone)]
pub(crate) struct HttpUrl(pub(crate) String);

impl Scalar for HttpUrl {
    const EXPECTED: &'static str = "a URL such as `http://127.0.0.1:9090`";

    fn parse(text: &str) -> Result<Self, Invalid> {
        let Some((scheme, _)) = text.split_once("://") else {
            let invalid = Invalid::new(format!("the URL `{text}` has no scheme"));
            let meant = format!("http://{text}");
            return Err(match check(&meant) {
                Ok(()) => invalid.help(format!("did you mean `{meant}`?")),
                Err(_) => invalid.help("write it as `http://127.0.0.1:9090`"),
            });
        };
        if !["http", "https"].contains(&scheme) {
            return Err(
                Invalid::new(format!("unknown scheme `{scheme}`")).help("choose `http` or `https`")
            );
        }
        check(text).map(|()| Self(text.to_owned()))
    }

    fn schema() -> Value {
        json!({ "type": "string", "pattern": "^https?://" })
    }
}

/// The rest after the scheme.
fn check(text: &str) -> Result<(), Invalid> {
    let not_a_url = || Invalid::new(format!("`{text}` is not a URL"));
    if text.contains('#') {
        return Err(not_a_url().help("leave out the `#` and what follows: it is never sent"));
    }
    let uri: Uri = text.parse().map_err(|_| not_a_url())?;
    let authority = uri.authority().ok_or_else(not_a_url)?;
    if authority.host().is_empty() {
        return Err(Invalid::new(format!("the URL `{text}` has no host")));
    }
    let server = authority.as_str().rsplit('@').next().unwrap_or_default();
    let port = server.strip_prefix(authority.host()).unwrap_or_default();
    if !port.is_empty() && authority.port_u16().unwrap_or(0) == 0 {
        return Err(Invalid::new(format!("the URL `{text}` needs a port from 1 to 65535")));
    }
    Ok(())
}

/// The URL without credentials: neither user and password nor the query.
pub(crate) fn redacted(url: &str) -> String {
    let (address, query) = match url.split_once('?') {
        Some((address, _)) => (address, format!("?{REDACTED}")),
        None => (url, String::new()),
    };
    let (scheme, rest) = address.split_once("://").unwrap_or(("http", address));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let server = match authority.rsplit_once('@') {
        Some((_, server)) => format!("{REDACTED}@{server}"),
        None => authority.to_owned(),
    };
    format!("{scheme}://{server}{path}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for right in [
            "http://127.0.0.1:9090",
            "https://hooks.example.com/a/b?token=x",
            "http://user:pass@prometheus:9090/sub",
            "http://[::1]:80/",
        ] {
            assert!(HttpUrl::parse(right).is_ok(), "{right}");
        }
        for wrong in [
            "",
            "localhost:80",
            "ftp://a/",
            "http://",
            "http:///x",
            "http://user@/x",
            "http://a b/",
            "http://a:0/",
            "http://a:99999/",
            "http://a:/",
            "http://a/#b",
        ] {
            assert!(HttpUrl::parse(wrong).is_err(), "{wrong}");
        }
        let help = HttpUrl::parse("a.example:80/x").err().and_then(|invalid| invalid.help);
        assert_eq!(help.as_deref(), Some("did you mean `http://a.example:80/x`?"));
    }

    #[test]
    fn credentials_are_not_shown() {
        for (url, shown) in [
            ("http://a:80/x", "http://a:80/x"),
            ("https://a", "https://a"),
            ("http://u:p@a/x?t=1", "http://[redacted]@a/x?[redacted]"),
            ("http://a?t=@b/", "http://a?[redacted]"),
            ("http://u:p@q@a", "http://[redacted]@a"),
        ] {
            assert_eq!(redacted(url), shown);
        }
    }
}
