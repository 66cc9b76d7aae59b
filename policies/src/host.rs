//! Host patterns: `shop.example.com`, `*.example.com`.
//!
//! Both sides of the comparison are brought to one form, the pattern when it is parsed and the
//! request's authority at lookup: lower case, no port, no trailing dot, IPv6 addresses in their
//! canonical text. International names are written in their ASCII form (`xn--…`), as clients send
//! them.

use std::io::Write;
use std::net::Ipv6Addr;

/// A host that a route serves. Parsed to lower case, without a trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This name and no other. An address counts as a name: `127.0.0.1`, `[::1]`.
    Exact(String),
    /// Any name that ends in `.` plus this suffix, any number of labels deep (as the Gateway API
    /// has it); not the suffix itself.
    Wildcard(String),
}

/// Why a text is no host pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    /// Nothing there.
    #[error("a host may not be empty")]
    Empty,
    /// A `*` anywhere but as the whole first label.
    #[error("`*` may only stand for the whole first label, as in `*.example.com`")]
    Wildcard,
    /// A port, a scheme, a path, or another character that a host name cannot have.
    #[error("`{0}` cannot be part of a host name (no scheme, port or path here)")]
    Character(char),
    /// A label or the whole is empty or too long (63 and 253 characters).
    #[error("a host name has labels of 1 to 63 characters and at most 253 in all")]
    Length,
}

impl std::str::FromStr for HostPattern {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        if let Some(address) = bracketed_ipv6(text) {
            return Ok(HostPattern::Exact(format!("[{address}]")));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(InvalidHost::Empty);
        }
        match name.strip_prefix("*.") {
            Some(suffix) => parse_name(suffix).map(HostPattern::Wildcard),
            None => parse_name(name).map(HostPattern::Exact),
        }
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HostPattern::Exact(name) => f.write_str(name),
            HostPattern::Wildcard(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

fn parse_name(name: &str) -> Result<String, InvalidHost> {
    if name.contains('*') {
        return Err(InvalidHost::Wildcard);
    }
    // The underscore is no letter of host names, but people have it in internal ones.
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if let Some(character) = name.chars().find(|c| !allowed(*c)) {
        return Err(InvalidHost::Character(character));
    }
    let label_fits = |label: &str| (1..=LABEL_MAX).contains(&label.len());
    if name.len() > NAME_MAX || !name.split('.').all(label_fits) {
        return Err(InvalidHost::Length);
    }
    Ok(name.to_ascii_lowercase())
}

fn bracketed_ipv6(text: &str) -> Option<Ipv6Addr> {
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// A request's host in the form of a parsed [`HostPattern`].
#[expect(clippy::large_enum_variant, reason = "lives on the stack, to save the allocation")]
pub(crate) enum RequestHost<'a> {
    /// It was sent in that form, as nearly all are.
    AsSent(&'a [u8]),
    /// It had to be rewritten.
    Rewritten { bytes: [u8; NAME_MAX], length: usize },
}

impl<'a> RequestHost<'a> {
    /// `None` for an authority that no pattern can equal: empty, too long, or malformed.
    pub(crate) fn parse(authority: &'a str) -> Option<Self> {
        let end = match authority.starts_with('[') {
            true => authority.find(']')? + 1,
            false => authority.bytes().position(|byte| byte == b':').unwrap_or(authority.len()),
        };
        let (host, port) = authority.split_at(end);
        let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !(port.is_empty() || port.strip_prefix(':').is_some_and(is_port)) {
            return None;
        }
        if host.starts_with('[') {
            return Self::of_address(bracketed_ipv6(host)?);
        }
        let name = host.strip_suffix('.').unwrap_or(host).as_bytes();
        match name.len() {
            1..=NAME_MAX if name.iter().any(u8::is_ascii_uppercase) => Some(Self::lowered(name)),
            1..=NAME_MAX => Some(RequestHost::AsSent(name)),
            _ => None,
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            RequestHost::AsSent(name) => name,
            RequestHost::Rewritten { bytes, length } => &bytes[..*length],
        }
    }

    /// What is behind each dot, longest first: the suffixes a wildcard may have.
    pub(crate) fn suffixes(&self) -> impl Iterator<Item = &[u8]> {
        let name = self.as_bytes();
        let dots = name.iter().enumerate().filter(|(_, byte)| **byte == b'.');
        // A wildcard stands for at least one character.
        dots.filter(|(dot, _)| *dot > 0).map(|(dot, _)| &name[dot + 1..])
    }

    /// `name` has at most [`NAME_MAX`] bytes.
    fn lowered(name: &[u8]) -> Self {
        let mut bytes = [0; NAME_MAX];
        bytes[..name.len()].copy_from_slice(name);
        bytes[..name.len()].make_ascii_lowercase();
        RequestHost::Rewritten { bytes, length: name.len() }
    }

    fn of_address(address: Ipv6Addr) -> Option<Self> {
        let mut bytes = [0; NAME_MAX];
        let mut rest = &mut bytes[..];
        write!(rest, "[{address}]").ok()?;
        let length = NAME_MAX - rest.len();
        Some(RequestHost::Rewritten { bytes, length })
    }
}

/// RFC 1035 §2.3.4, in text.
const LABEL_MAX: usize = 63;
/// 255 bytes on the wire are 253 characters.
const NAME_MAX: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(name: &str) -> Result<HostPattern, InvalidHost> {
        Ok(HostPattern::Exact(name.to_owned()))
    }

    #[test]
    fn patterns_are_normalised() {
        assert_eq!("Shop.Example.COM.".parse(), exact("shop.example.com"));
        assert_eq!("127.0.0.1".parse(), exact("127.0.0.1"));
        assert_eq!("[0:0::1]".parse(), exact("[::1]"));
        assert_eq!("my_host".parse(), exact("my_host"));
        assert_eq!("*.A.com".parse(), Ok(HostPattern::Wildcard("a.com".to_owned())));
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        let error = |text: &str| text.parse::<HostPattern>().expect_err(text);
        assert_eq!(error(""), InvalidHost::Empty);
        assert_eq!(error("."), InvalidHost::Empty);
        for text in ["*", "*.", "a.*.com", "*a.com", "*.*.com", "**"] {
            assert_eq!(error(text), InvalidHost::Wildcard, "{text}");
        }
        assert_eq!(error("a.com:80"), InvalidHost::Character(':'));
        assert_eq!(error("http://a.com"), InvalidHost::Character(':'));
        assert_eq!(error("a.com/x"), InvalidHost::Character('/'));
        assert_eq!(error("bücher.de"), InvalidHost::Character('ü'));
        assert_eq!(error("[::g]"), InvalidHost::Character('['));
        assert_eq!(error("a..com"), InvalidHost::Length);
        assert_eq!(error(&"a".repeat(64)), InvalidHost::Length);
        assert_eq!(error(&["a"; 128].join(".")), InvalidHost::Length);
    }

    #[test]
    fn request_hosts_lose_port_case_and_dot() {
        let seen = |text: &str| {
            RequestHost::parse(text).map(|host| host.as_bytes().escape_ascii().to_string())
        };
        for text in ["A.com", "a.com:80", "a.com.", "a.com.:8080", "a.com:"] {
            assert_eq!(seen(text).as_deref(), Some("a.com"), "{text}");
        }
        assert_eq!(seen("[::1]:80").as_deref(), Some("[::1]"));
        assert_eq!(seen("[0:0:0:0:0:0:0:A]").as_deref(), Some("[::a]"));
        let longest = "a".repeat(NAME_MAX);
        assert_eq!(seen(&longest), Some(longest.clone()));
        for text in ["", ".", ":80", "a.com:x", "a:1:2", "[::1", "[::1]x", "[]", "[::1]:x"] {
            assert_eq!(seen(text), None, "{text}");
        }
        assert_eq!(seen(&"a".repeat(NAME_MAX + 1)), None);
    }
}
