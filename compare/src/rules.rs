//! What is compared, and how.

use crate::Pattern;
use http::HeaderName;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

/// What is compared, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// The response header fields that are compared; none by default, as most differ between any
    /// two machines.
    pub headers: Vec<HeaderName>,
    /// Fields of JSON bodies that are not compared.
    pub ignore: Vec<Pattern>,
    /// Fields of JSON bodies whose values are not shown, beyond those whose names speak for
    /// themselves (`password`, `access_token`, …). The names of members are shown.
    pub redact: Vec<Pattern>,
    /// Arrays that are sets: the elements of an array at the pattern are matched by the value of
    /// the member named. Unlike the others these patterns mean the array itself, not what is
    /// beneath it; the first that matches counts.
    pub array_keys: Vec<(Pattern, String)>,
    /// The longest body that is compared, in bytes: of a body as it comes, and once decoded.
    pub max_body: usize,
}

impl Rules {
    /// Whether a captured [`Answer`](crate::Answer) has to hold the response header `name`.
    pub fn keeps(&self, name: &HeaderName) -> bool {
        name == CONTENT_TYPE || name == CONTENT_ENCODING || self.headers.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{DATE, ETAG};

    #[test]
    fn what_a_capture_keeps() {
        let rules = Rules { headers: vec![ETAG], ..Rules::default() };
        assert!([CONTENT_TYPE, CONTENT_ENCODING, ETAG].iter().all(|name| rules.keeps(name)));
        assert!(!rules.keeps(&DATE));
    }
}
