//! Values that are names and other words, parsed to types that cannot be wrong.

use crate::decode::{Invalid, Scalar};
use http::{HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use std::{
    num::{NonZeroU32, NonZeroU64},
    str::FromStr,
};
use tidegate_policies::{PathMatch, ValueMatch};

use crate::plan::{self, LoadBalance};
use tidegate_compare::Pattern;

/// The most worker threads that make sense to ask for.
const MAX_THREADS: u32 = 1_024;

/// The longest name: it is a metric's label and a part of admin URLs.
const MAX_NAME: usize = 64;

/// Declares a newtype over what a text is parsed to.
macro_rules! parsed {
    ($( $(#[doc = $doc:literal])* $name:ident($inner:ty) $expected:literal $schema:tt $parse:expr; )*) => { $(
        $(#[doc = $doc])*
        #[derive(Debug, Clone)]
        pub(crate) struct $name(pub(crate) $inner);

        impl Scalar for $name {
            const EXPECTED: &'static str = $expected;

            fn parse(text: &str) -> Result<Self, Invalid> {
                let parse: fn(&str) -> Result<$inner, Invalid> = $parse;
                parse(text).map(Self)
            }

            fn schema() -> Value {
                json!($schema)
            }
        }
    )* };
}

pub(crate) use parsed;

parsed! {
    /// The name of a thing: a metric's label, a part of admin URLs.
    Name(String) "a name" { "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$" } name;
    /// A method in capitals.
    MethodName(Method) "a method such as `GET`" { "type": "string", "pattern": "^[A-Z]+$" } method;
    /// A header's name.
    Field(HeaderName) "a header name" { "type": "string" } header_name;
    /// A header's value.
    FieldValue(HeaderValue) "a header value" { "type": "string" } header_value;
    /// A cookie's name.
    CookieName(String) "a cookie name" { "type": "string" } cookie_name;
    /// A path to compare with.
    Path(String) "a path such as `/shop`" { "type": "string", "pattern": "^/" } path;
    /// A text that is not empty.
    Text(String) "text" { "type": "string", "minLength": 1 } text;
    /// The only log format there is.
    JsonFormat(()) "`json`" { "enum": ["json"] } json_format;
    /// How an endpoint is chosen.
    Balance(LoadBalance) "`round_robin`, `least_request` or `consistent_hash`"
        { "enum": ["round_robin", "least_request", "consistent_hash"] } balance;
    /// The lowest version of TLS. A number in YAML, too.
    TlsVersion(plan::TlsVersion) "`1.2` or `1.3`" { "enum": ["1.2", "1.3", 1.2, 1.3] } tls_version;
    /// A path with a query, perhaps.
    Target(String) "a path such as `/healthz`" { "type": "string", "pattern": "^/" } target;
    /// A pattern of JSON paths.
    JsonPath(Pattern) "a JSON path such as `$.timestamp`"
        { "type": "string", "pattern": "^[$]" } json_path;
}

impl Scalar for String {
    const EXPECTED: &'static str = "text";

    fn parse(text: &str) -> Result<Self, Invalid> {
        Ok(text.to_owned())
    }

    fn schema() -> Value {
        json!({ "type": "string" })
    }
}

impl Scalar for bool {
    const EXPECTED: &'static str = "`true` or `false`";
    const PLAIN: bool = true;

    fn parse(text: &str) -> Result<Self, Invalid> {
        text.parse()
            .map_err(|_| Invalid::new(format!("expected `true` or `false`, found `{text}`")))
    }

    fn schema() -> Value {
        json!({ "type": "boolean" })
    }
}

impl Scalar for NonZeroU64 {
    const EXPECTED: &'static str = "a whole number from 1";
    const PLAIN: bool = true;

    fn parse(text: &str) -> Result<Self, Invalid> {
        text.parse().map_err(|_| {
            Invalid::new(format!("expected a whole number from 1 to {}, found `{text}`", u64::MAX))
        })
    }

    fn schema() -> Value {
        json!({ "type": "integer", "minimum": 1, "maximum": u64::MAX })
    }
}

impl Scalar for NonZeroU32 {
    const EXPECTED: &'static str = "a whole number from 1";
    const PLAIN: bool = true;

    fn parse(text: &str) -> Result<Self, Invalid> {
        text.parse().map_err(|_| {
            Invalid::new(format!("expected a whole number from 1 to {}, found `{text}`", u32::MAX))
        })
    }

    fn schema() -> Value {
        json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX })
    }
}

/// A number of threads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Threads(pub(crate) usize);

impl Scalar for Threads {
    const EXPECTED: &'static str = "a number of threads";
    const PLAIN: bool = true;

    fn parse(text: &str) -> Result<Self, Invalid> {
        match text.parse::<u32>() {
            Ok(threads @ 1..=MAX_THREADS) => Ok(Self(threads as usize)),
            _ => Err(Invalid::new(format!("expected 1 to {MAX_THREADS} threads, found `{text}`"))),
        }
    }

    fn schema() -> Value {
        json!({ "type": "integer", "minimum": 1, "maximum": MAX_THREADS })
    }
}

/// A regular expression, compiled for whole values and for whole paths.
#[derive(Debug, Clone)]
pub(crate) struct ValueRegex {
    /// As written.
    pub(crate) text: String,
    /// Compiled.
    pub(crate) matcher: ValueMatch,
}

impl Scalar for ValueRegex {
    const EXPECTED: &'static str = "a regular expression";

    fn parse(text: &str) -> Result<Self, Invalid> {
        let matcher = ValueMatch::regex(text).map_err(|error| bad_regex(&error))?;
        Ok(Self { text: text.to_owned(), matcher })
    }

    fn schema() -> Value {
        json!({ "type": "string", "format": "regex" })
    }
}

/// A regular expression for whole paths.
#[derive(Debug, Clone)]
pub(crate) struct PathRegex {
    /// As written.
    pub(crate) text: String,
    /// Compiled.
    pub(crate) matcher: PathMatch,
}

impl Scalar for PathRegex {
    const EXPECTED: &'static str = "a regular expression";

    fn parse(text: &str) -> Result<Self, Invalid> {
        let matcher = PathMatch::regex(text).map_err(|error| bad_regex(&error))?;
        Ok(Self { text: text.to_owned(), matcher })
    }

    fn schema() -> Value {
        json!({ "type": "string", "format": "regex" })
    }
}

/// The last line of the parser's picture says what is wrong.
fn bad_regex(error: &regex::Error) -> Invalid {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    let reason = last.strip_prefix("error: ").unwrap_or(last);
    Invalid::new(format!("bad regular expression: {reason}"))
}

fn name(text: &str) -> Result<String, Invalid> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if let Some(wrong) = text.chars().find(|c| !allowed(*c)) {
        return Err(Invalid::new(format!("a name cannot contain `{}`", wrong.escape_debug()))
            .help("names are made of letters, digits, `_`, `.` and `-`"));
    }
    if text.is_empty() || text.len() > MAX_NAME {
        return Err(Invalid::new(format!("a name has 1 to {MAX_NAME} characters")));
    }
    Ok(text.to_owned())
}

fn method(text: &str) -> Result<Method, Invalid> {
    if text == "CONNECT" {
        return Err(Invalid::new("CONNECT is never routed"));
    }
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
        return Err(Invalid::new(format!("`{text}` is not a method"))
            .help(format!("did you mean `{}`?", text.trim().to_ascii_uppercase())));
    }
    Method::from_str(text).map_err(|_| Invalid::new(format!("`{text}` is not a method")))
}

fn header_name(text: &str) -> Result<HeaderName, Invalid> {
    HeaderName::from_str(text).map_err(|_| {
        Invalid::new(format!("`{}` is not a header name", text.escape_debug()))
            .help("header names are made of letters, digits and `-`")
    })
}

fn header_value(text: &str) -> Result<HeaderValue, Invalid> {
    HeaderValue::from_str(text).map_err(|_| {
        Invalid::new("a header value cannot contain line breaks or control characters")
    })
}

fn cookie_name(text: &str) -> Result<String, Invalid> {
    // RFC 6265: a cookie's name is a token, as a header's name is.
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || !text.bytes().all(token) {
        return Err(Invalid::new(format!("`{}` is not a cookie name", text.escape_debug()))
            .help("cookie names are made of letters, digits, `-` and `_`"));
    }
    Ok(text.to_owned())
}

fn path(text: &str) -> Result<String, Invalid> {
    if !text.starts_with('/') {
        return Err(Invalid::new(format!("the path `{text}` does not start with `/`"))
            .help(format!("did you mean `/{text}`?")));
    }
    let wrong = text.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '?' | '#'));
    match wrong {
        Some(c @ ('?' | '#')) => Err(Invalid::new(format!("a path has no `{c}`"))
            .help("match query parameters with `query`")),
        Some(c) => Err(Invalid::new(format!("a path cannot contain `{}`", c.escape_debug()))
            .help("paths are compared as sent, percent-encoded")),
        None => Ok(text.to_owned()),
    }
}

fn text(text: &str) -> Result<String, Invalid> {
    if text.is_empty() { Err(Invalid::new("this may not be empty")) } else { Ok(text.to_owned()) }
}

fn json_format(text: &str) -> Result<(), Invalid> {
    if text == "json" {
        return Ok(());
    }
    Err(Invalid::new(format!("unknown format `{text}`")).help("the only format is `json`"))
}

fn balance(text: &str) -> Result<LoadBalance, Invalid> {
    match text {
        "round_robin" => Ok(LoadBalance::RoundRobin),
        "least_request" => Ok(LoadBalance::LeastRequest),
        "consistent_hash" => Ok(LoadBalance::ConsistentHash),
        _ => Err(Invalid::new(format!("unknown load balancing `{text}`"))
            .help("choose `round_robin`, `least_request` or `consistent_hash`")),
    }
}

fn tls_version(text: &str) -> Result<plan::TlsVersion, Invalid> {
    match text {
        "1.2" => Ok(plan::TlsVersion::V12),
        "1.3" => Ok(plan::TlsVersion::V13),
        _ => Err(Invalid::new(format!("unknown TLS version `{text}`"))
            .help("choose `1.2` or `1.3`; what is older is not safe")),
    }
}

fn target(text: &str) -> Result<String, Invalid> {
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    if let Some(wrong) = query.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
        return Err(Invalid::new(format!("a query cannot contain `{}`", wrong.escape_debug()))
            .help("write it percent-encoded, as it is sent"));
    }
    self::path(path)?;
    Ok(text.to_owned())
}

fn json_path(text: &str) -> Result<Pattern, Invalid> {
    Pattern::from_str(text).map_err(|error| Invalid::new(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(name("shop_v1.2-x").is_ok());
        for wrong in ["", "a b", "é", "a/b"] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
        assert!(name(&"x".repeat(65)).is_err());
        assert!(method("get").is_err() && method("CONNECT").is_err() && method("GET").is_ok());
        assert!(cookie_name("a=b").is_err() && cookie_name("uid").is_ok());
        assert!(path("shop").is_err() && path("/a?b").is_err() && path("/a%20b").is_ok());
    }
}
