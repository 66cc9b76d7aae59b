//! Bytes to routes and a request. A small vocabulary, so that routes overlap and compete; now and
//! then a raw string, so that nothing is taken for granted.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;
use tidegate_policies::{
    HeaderMatch, HostPattern, PathMatch, QueryMatch, Request, RouteMatch, ValueMatch,
};

/// Routes and one request, all owned.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) routes: Vec<RouteMatch>,
    method: Method,
    host: String,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
}

impl Case {
    /// Makes a case of any `bytes`; those that are missing count as 0.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let mut source = Source(bytes);
        // The request first: a fuzzer that appends bytes then adds routes to the same request.
        Case {
            method: source.one_of(&METHODS).clone(),
            host: source.request_host(),
            path: source.request_path(),
            query: source.query(),
            headers: source.headers(),
            routes: source.several(12, Source::route),
        }
    }

    pub(crate) fn request(&self) -> Request<'_> {
        Request {
            method: &self.method,
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }
}

struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn one_of<'t, T>(&mut self, choices: &'t [T]) -> &'t T {
        &choices[usize::from(self.byte()) % choices.len()]
    }

    /// Fewer than `limit`.
    fn several<T>(&mut self, limit: u8, make: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.byte() % limit).map(|_| make(self)).collect()
    }

    /// Whatever comes next, up to 255 bytes.
    fn raw(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (raw, rest) = self.0.split_at(length);
        self.0 = rest;
        raw
    }

    fn raw_text(&mut self) -> String {
        String::from_utf8_lossy(self.raw()).into_owned()
    }

    fn request_host(&mut self) -> String {
        let host = *self.one_of(&HOSTS);
        match self.byte() % 8 {
            0..=3 => host.to_owned(),
            4 => format!("{host}:8080"),
            5 => format!("{}.", host.to_ascii_uppercase()),
            6 => format!("x.{host}.:"),
            _ => self.raw_text(),
        }
    }

    fn host_pattern(&mut self) -> HostPattern {
        let host = *self.one_of(&HOSTS);
        let pattern = match self.byte() % 4 {
            0 => host.parse(),
            1 | 2 => format!("*.{host}").parse(),
            _ => self.raw_text().parse(),
        };
        pattern.unwrap_or(HostPattern::Exact("a.com".to_owned()))
    }

    fn path(&mut self) -> String {
        let elements = self.several(4, |source| *source.one_of(&ELEMENTS));
        format!("/{}", elements.join("/"))
    }

    fn request_path(&mut self) -> String {
        match self.byte() % 8 {
            0..=5 => self.path(),
            6 => "*".to_owned(),
            _ => format!("/{}", self.raw_text()),
        }
    }

    fn path_match(&mut self) -> PathMatch {
        match self.byte() % 8 {
            0..=2 => PathMatch::Prefix(self.path()),
            3 | 4 => PathMatch::Exact(self.path()),
            5 | 6 => self.one_of(&PATH_REGEXES).clone(),
            _ => PathMatch::Prefix(self.raw_text()),
        }
    }

    fn query(&mut self) -> Option<String> {
        match self.byte() % 4 {
            0 => None,
            1 | 2 => Some(self.several(4, |source| *source.one_of(&PARAMETERS)).join("&")),
            _ => Some(self.raw_text()),
        }
    }

    fn headers(&mut self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in self.several(4, |s| (s.header_name(), s.header_value())) {
            headers.append(name, value);
        }
        headers
    }

    fn header_name(&mut self) -> HeaderName {
        self.one_of(&HEADERS).clone()
    }

    fn header_value(&mut self) -> HeaderValue {
        match self.byte() % 4 {
            3 => HeaderValue::from_bytes(self.raw()).unwrap_or(HeaderValue::from_static("")),
            _ => {
                let value = *self.one_of(&VALUES);
                HeaderValue::from_static(value)
            }
        }
    }

    fn value_match(&mut self) -> ValueMatch {
        match self.byte() % 8 {
            0 | 1 => ValueMatch::Exact(self.one_of(&VALUES).as_bytes().to_vec()),
            2..=5 => ValueMatch::Present,
            _ => self.one_of(&VALUE_REGEXES).clone(),
        }
    }

    fn route(&mut self) -> RouteMatch {
        RouteMatch {
            hosts: self.several(3, Source::host_pattern),
            path: self.path_match(),
            methods: self.several(2, |source| source.one_of(&METHODS).clone()),
            headers: self
                .several(3, |s| HeaderMatch { name: s.header_name(), value: s.value_match() }),
            query: self.several(3, |s| QueryMatch {
                name: (*s.one_of(&["q", "r"])).to_owned(),
                value: s.value_match(),
            }),
        }
    }
}

const HOSTS: [&str; 6] = ["a.com", "com", "b.a.com", "c.b.a.com", "127.0.0.1", "[::1]"];
const ELEMENTS: [&str; 4] = ["a", "b", "ab", ""];
const VALUES: [&str; 2] = ["1", ""];
const PARAMETERS: [&str; 7] = ["q=1", "q=2", "q=%31", "r=1", "r", "%72=1", "x=+"];
const METHODS: [Method; 2] = [Method::GET, Method::POST];
const HEADERS: [HeaderName; 2] = [HeaderName::from_static("x-a"), HeaderName::from_static("x-b")];

static PATH_REGEXES: LazyLock<Vec<PathMatch>> = LazyLock::new(|| {
    ["/a", "/.", ".*", "/a.*", "/(a|b)/.*", "[^b]*"]
        .map(|expression| PathMatch::regex(expression).expect("an expression"))
        .to_vec()
});

static VALUE_REGEXES: LazyLock<Vec<ValueMatch>> = LazyLock::new(|| {
    ["1|2", "", "[^1]*"]
        .map(|expression| ValueMatch::regex(expression).expect("an expression"))
        .to_vec()
});
