//! What a route asks of a request.

use crate::{HostPattern, Request};
use http::{HeaderMap, HeaderName, Method};
use regex::bytes::Regex;

/// A condition on one value.
#[derive(Debug, Clone)]
pub enum ValueMatch {
    /// Byte for byte.
    Exact(Vec<u8>),
    /// The whole value matches (the expression is anchored by [`ValueMatch::regex`]).
    Regex(Regex),
    /// There is a value, whatever it is.
    Present,
}

impl ValueMatch {
    /// A regular expression that has to match the whole value. Linear time, size-limited.
    ///
    /// # Errors
    /// When the expression does not parse or compiles to more than the limit.
    pub fn regex(expression: &str) -> Result<Self, regex::Error> {
        anchored(expression, |pattern| {
            regex::bytes::RegexBuilder::new(pattern)
                .size_limit(REGEX_BYTES)
                .dfa_size_limit(REGEX_BYTES)
                .build()
        })
        .map(ValueMatch::Regex)
    }

    /// Whether one of the `values` satisfies this.
    pub fn any<'a>(&self, mut values: impl Iterator<Item = &'a [u8]>) -> bool {
        match self {
            ValueMatch::Exact(wanted) => values.any(|value| value == wanted),
            ValueMatch::Regex(regex) => values.any(|value| regex.is_match(value)),
            ValueMatch::Present => values.next().is_some(),
        }
    }
}

/// A condition on a header: some field of this name satisfies `value`.
#[derive(Debug, Clone)]
pub struct HeaderMatch {
    /// The field's name.
    pub name: HeaderName,
    /// The condition.
    pub value: ValueMatch,
}

/// A condition on a query parameter: the first of this name, percent-decoded, satisfies `value`.
#[derive(Debug, Clone)]
pub struct QueryMatch {
    /// The parameter's decoded name.
    pub name: String,
    /// The condition.
    pub value: ValueMatch,
}

impl HeaderMatch {
    /// Whether a field of `headers` satisfies this.
    pub(crate) fn holds(&self, headers: &HeaderMap) -> bool {
        self.value.any(headers.get_all(&self.name).iter().map(|value| value.as_bytes()))
    }
}

impl QueryMatch {
    /// Whether the first parameter of this name in `query` satisfies this.
    pub(crate) fn holds(&self, query: Option<&str>) -> bool {
        // Allocates only for a name or value that has something to decode.
        let mut parameters = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let found = parameters.find(|(name, _)| *name == self.name);
        self.value.any(found.iter().map(|(_, value)| value.as_bytes()))
    }
}

/// A condition on the path as sent.
#[derive(Debug, Clone)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// The path's first elements: `/shop` matches `/shop`, `/shop/` and `/shop/x`, not `/shopping`.
    Prefix(String),
    /// The whole path matches.
    Regex(regex::Regex),
}

impl PathMatch {
    /// A regular expression that has to match the whole path. Linear time, size-limited.
    ///
    /// # Errors
    /// When the expression does not parse or compiles to more than the limit.
    pub fn regex(expression: &str) -> Result<Self, regex::Error> {
        anchored(expression, |pattern| {
            regex::RegexBuilder::new(pattern)
                .size_limit(REGEX_BYTES)
                .dfa_size_limit(REGEX_BYTES)
                .build()
        })
        .map(PathMatch::Regex)
    }
}

/// Compiles `expression` so that it has to match the whole of what it is tried on.
fn anchored<R>(
    expression: &str,
    compile: impl Fn(&str) -> Result<R, regex::Error>,
) -> Result<R, regex::Error> {
    // First as it is: for an error that shows what the user wrote, and because `a)|(?:b` is
    // nonsense by itself but would slip out of the group below.
    compile(expression)?;
    compile(&format!("^(?:{expression})$"))
}

/// All the conditions of one route; all present parts must hold.
#[derive(Debug, Clone)]
pub struct RouteMatch {
    /// Any of these; empty: every host.
    pub hosts: Vec<HostPattern>,
    /// The path.
    pub path: PathMatch,
    /// Any of these; empty: every method.
    pub methods: Vec<Method>,
    /// All of these.
    pub headers: Vec<HeaderMatch>,
    /// All of these.
    pub query: Vec<QueryMatch>,
}

impl RouteMatch {
    /// Whether method, headers and query hold (host and path are the table's business).
    pub(crate) fn rest_holds(&self, request: &Request<'_>) -> bool {
        (self.methods.is_empty() || self.methods.contains(request.method))
            && self.headers.iter().all(|header| header.holds(request.headers))
            && self.query.iter().all(|query| query.holds(request.query))
    }
}

/// The most that an expression may compile to, and the most that its automaton may cache: room for
/// a few hundred alternatives, no room for `(a{1000}){1000}`.
const REGEX_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(expression: &str, value: &str) -> Result<bool, regex::Error> {
        Ok(ValueMatch::regex(expression)?.any([value.as_bytes()].into_iter()))
    }

    #[test]
    fn expressions_match_the_whole_value() -> Result<(), regex::Error> {
        assert!(matches("a|bc", "bc")?);
        assert!(!matches("a|bc", "abc")?);
        assert!(!matches("(?m)a", "a\nb")?);
        assert!(!matches("a", "a\n")?);
        assert!(matches("(?i)ABC", "abc")?);
        Ok(())
    }

    #[test]
    fn expressions_cannot_break_out_or_blow_up() {
        assert!(ValueMatch::regex("a)|(?:b").is_err());
        assert!(PathMatch::regex("/a)|(?:b").is_err());
        assert!(ValueMatch::regex("(a{1000}){1000}").is_err());
        assert!(PathMatch::regex("(a{1000}){1000}").is_err());
    }

    #[test]
    fn any_field_counts_but_only_the_first_parameter() {
        let mut headers = HeaderMap::new();
        let name = HeaderName::from_static("x-tenant");
        headers.append(&name, "globex".parse().expect("a value"));
        headers.append(&name, "acme".parse().expect("a value"));
        let value = ValueMatch::Exact(b"acme".to_vec());
        assert!(HeaderMatch { name, value: value.clone() }.holds(&headers));

        let query = QueryMatch { name: "who is".to_owned(), value };
        assert!(query.holds(Some("a=b&who+is=ac%6De&who+is=x")));
        assert!(!query.holds(Some("who%20is=x&who%20is=acme")));
        assert!(!query.holds(Some("who%20is")));
        assert!(!query.holds(None));
        let present = QueryMatch { name: "flag".to_owned(), value: ValueMatch::Present };
        assert!(present.holds(Some("flag")));
        assert!(!present.holds(Some("flags&=flag")));
    }
}
