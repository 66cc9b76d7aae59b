//! Host patterns: `shop.example.com`, `*.example.com`.

/// A host that a route serves. Parsed to lower case, without a trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This name and no other.
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

    fn from_str(_text: &str) -> Result<Self, InvalidHost> {
        todo!()
    }
}
