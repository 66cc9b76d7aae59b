//! `routes`.

use super::{Mirror, RateLimit, Retry};
use crate::{
    address::{Host, Network},
    decode::{Decode, Entries, List, quoted, schema, wrong_type},
    problem::{Problems, Spanned},
    text::{CookieName, Field, FieldValue, MethodName, Name, Path, PathRegex, Text, ValueRegex},
    value::{Size, Timeout, Weight},
    yaml::{Kind, Node},
};
use serde_json::{Value, json};

schema! {
    /// A match and what to do with the requests that it matches.
    struct Route {
        /// Its unique name.
        name: Spanned<Name>,
        /// Which requests; all present parts have to match. Absent: every request.
        r#match: Spanned<Match> = {},
        /// The versions of the service; the first is the baseline.
        variants: Spanned<List<Variant>>,
        /// Where the user's key is looked for, the first that is present wins; a list or one
        /// source. Absent: each request draws afresh.
        bucket_by: BucketBy = [],
        /// What makes this route's split independent of others. Absent: the route's name.
        salt: Option<Text>,
        /// Rules before the split; the first that matches wins.
        pins: List<Pin> = [],
        /// Copies of requests to dark upstreams, whose answers no client sees.
        mirrors: Spanned<List<Mirror>> = [],
        /// From the head of the request to the end of the response. Absent: unlimited.
        timeout: Option<Timeout>,
        /// Attempts after a failure. Absent: none.
        retry: Option<Retry>,
        /// Requests that a client may make; 429 for more. Absent: any number.
        rate_limit: Option<RateLimit>,
        /// Networks of clients that are served; 403 for others. Absent: everybody.
        allow_from: Option<Spanned<List<Network>>>,
        /// Networks of clients that are not served, even if they are in `allow_from`.
        deny_from: Option<Spanned<List<Network>>>,
        /// The largest request body.
        max_body: Size = "100MiB",
        /// Changes of the request's path.
        rewrite: Option<Rewrite>,
        /// Changes of header fields.
        headers: Headers = {},
        /// The response says which variant served it, in `x-tidegate-variant`.
        expose_variant: bool = "false",
    }

    /// Conditions on a request.
    struct Match {
        /// Any of these hosts, as in `shop.example.com` or `*.example.com`; empty: every host.
        hosts: List<Spanned<Host>> = [],
        /// The path; absent: every path.
        path: Option<Spanned<PathCondition>>,
        /// Any of these methods; empty: every method.
        methods: List<MethodName> = [],
        /// All of these header fields.
        headers: List<HeaderCondition> = [],
        /// All of these query parameters.
        query: List<NameCondition> = [],
    }

    /// A condition on the path: one of the three.
    struct PathCondition [whole] {
        /// The whole path.
        exact: Option<Path>,
        /// The first elements of the path: `/shop` matches `/shop/x`, not `/shopping`.
        prefix: Option<Path>,
        /// A regular expression for the whole path.
        regex: Option<PathRegex>,
    }

    /// A condition on a header field: the name and one of the three.
    struct HeaderCondition [whole] {
        /// The field's name.
        name: Spanned<Field>,
        /// The value is this.
        exact: Option<String>,
        /// A regular expression for the whole value.
        regex: Option<ValueRegex>,
        /// `true`: there is such a field.
        present: Option<Spanned<bool>>,
    }

    /// A condition on a query parameter or a cookie: the name and one of the three.
    struct NameCondition [whole] {
        /// The name.
        name: Spanned<Text>,
        /// The value is this.
        exact: Option<String>,
        /// A regular expression for the whole value.
        regex: Option<ValueRegex>,
        /// `true`: it is there.
        present: Option<Spanned<bool>>,
    }

    /// One version of a service.
    struct Variant {
        /// Its name, unique in the route.
        name: Spanned<Name>,
        /// The upstream that serves it.
        upstream: Spanned<Text>,
        /// Its share: whole numbers of any sum, or percentages that add up to 100%. May be absent
        /// where there is one variant alone.
        weight: Option<Spanned<Weight>>,
        /// The variant that serves a request when this one cannot be reached.
        fallback: Option<Spanned<Text>>,
    }

    /// A rule that sends requests to one variant; all present conditions have to hold.
    struct Pin [whole] {
        /// Where the request goes.
        variant: Spanned<Text>,
        /// A condition on a header field.
        header: Option<Spanned<HeaderCondition>>,
        /// A condition on a cookie.
        cookie: Option<Spanned<NameCondition>>,
        /// A condition on a query parameter.
        query: Option<Spanned<NameCondition>>,
        /// The client's address is in one of these networks.
        from: Option<Spanned<List<Network>>>,
    }

    /// Changes of the request's path.
    struct Rewrite [whole] {
        /// Takes the place of the prefix that `match.path.prefix` names.
        path_prefix: Spanned<Path>,
    }

    /// Changes of header fields.
    struct Headers {
        /// Of the request, before it goes to the upstream.
        request: HeaderOps = {},
        /// Of the response, before it goes to the client.
        response: HeaderOps = {},
    }

    /// Changes of header fields: `remove`, then `set`, then `add`.
    struct HeaderOps {
        /// Fields that get this value and no other.
        set: Entries<Field, FieldValue> = {},
        /// Values to append.
        add: Entries<Field, FieldValue> = {},
        /// Fields to take away.
        remove: List<Spanned<Field>> = [],
    }

    /// A source of the user's key.
    struct BucketMap [whole] {
        /// The value of this header field.
        header: Option<Spanned<Field>>,
        /// The value of this cookie.
        cookie: Option<Spanned<CookieName>>,
        /// The gateway gives a random id to clients that have no such cookie.
        issue: Option<Spanned<Issue>>,
    }

    /// How a cookie is issued.
    struct Issue [whole] {
        /// How long the client keeps it.
        max_age: Timeout,
    }
}

/// `bucket_by`: a list of sources, or one.
#[derive(Debug)]
pub(crate) struct BucketBy(pub(crate) Vec<Spanned<BucketSource>>);

/// A source of the user's key.
#[derive(Debug)]
pub(crate) enum BucketSource {
    /// `client_ip`
    ClientIp,
    /// `{ header: x }`
    Header(Field),
    /// `{ cookie: x }`, perhaps issued.
    Cookie(CookieName, Option<Spanned<Issue>>),
}

impl Decode for BucketBy {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.kind {
            Kind::Seq(_) => List::decode(node, problems).map(|list| Self(list.items)),
            _ => Spanned::decode(node, problems).map(|source| Self(vec![source])),
        }
    }

    fn schema() -> Value {
        json!({ "anyOf": [<List<BucketSource> as Decode>::schema(), BucketSource::schema()] })
    }
}

impl Decode for BucketSource {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        const EXPECTED: &str = "`client_ip`, `{ header: … }` or `{ cookie: … }`";
        match &node.kind {
            Kind::Scalar { text, .. } if **text == *"client_ip" => return Some(Self::ClientIp),
            Kind::Map(_) => {}
            _ => return wrong_type(node, EXPECTED, problems),
        }
        let BucketMap { header, cookie, issue } = BucketMap::decode(node, problems)?;
        match (header, cookie, issue) {
            (Some(header), None, None) => Some(Self::Header(header.value)),
            (None, Some(cookie), issue) => Some(Self::Cookie(cookie.value, issue)),
            (Some(_), None, Some(issue)) => {
                problems.error(issue.span, "only a cookie can be issued");
                None
            }
            (Some(_), Some(cookie), _) => {
                problems
                    .error(cookie.span, "a source is a header or a cookie, not both")
                    .help("write a list of two sources".to_owned());
                None
            }
            (None, None, _) => wrong_type(node, EXPECTED, problems),
        }
    }

    fn schema() -> Value {
        json!({ "anyOf": [{ "const": "client_ip" }, BucketMap::schema()] })
    }
}

impl PathCondition {
    /// The one condition there is.
    pub(crate) fn only(&self) -> Option<PathKind<'_>> {
        match (&self.exact, &self.prefix, &self.regex) {
            (Some(path), None, None) => Some(PathKind::Exact(&path.0)),
            (None, Some(path), None) => Some(PathKind::Prefix(&path.0)),
            (None, None, Some(regex)) => Some(PathKind::Regex(regex)),
            _ => None,
        }
    }
}

/// A path condition that is one thing.
pub(crate) enum PathKind<'a> {
    Exact(&'a str),
    Prefix(&'a str),
    Regex(&'a PathRegex),
}

/// The names of the present ones, for "either … or …".
pub(crate) fn present(flags: &[(&'static str, bool)]) -> String {
    let names: Vec<&str> = flags.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
    quoted(&names)
}
