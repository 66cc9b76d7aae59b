//! What two responses differ in.

use crate::render;
use http::HeaderName;
use std::cmp::Ordering;
use std::fmt;

/// What differs between a primary's answer and others'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// What the candidate's answer has otherwise.
    pub candidate: Vec<Difference>,
    /// What a second copy of the old version has otherwise, where one was asked.
    pub noise: Option<Vec<Difference>>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The field.
    pub field: Field,
    /// What is different about it.
    pub kind: Kind,
    /// The concrete place, `$.items[3].price`; at most 120 characters.
    pub at: String,
    /// What the primary has there, as it may be shown; at most 120 characters.
    pub expected: String,
    /// What the other has there.
    pub actual: String,
}

/// What of a response is different. All elements of an array are one field, as are all differences
/// of a body that is no JSON.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Field {
    /// The status code.
    Status,
    /// A header field.
    Header(HeaderName),
    /// A value of a JSON body, by its path: `$.items[*].price`.
    Json(String),
    /// The body as a whole.
    Body,
}

/// What is different about a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Only the other has it.
    Added,
    /// Only the primary has it.
    Removed,
    /// Both have a value, but not the same.
    Changed,
    /// Both have a value, but not of the same type.
    TypeChanged,
}

/// Why two answers were not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotCompared {
    /// A body is longer than `Rules::max_body`, as it came or decoded.
    #[error("a body is longer than may be compared")]
    TooLarge,
    /// A body is not what its `content-encoding` says, or that is unknown.
    #[error("a body could not be decoded")]
    Undecodable,
    /// There is not enough memory at the moment.
    #[error("comparing would take more memory than is left")]
    MemoryBudget,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Status => f.write_str("status"),
            Field::Header(name) => write!(f, "header {name}"),
            Field::Json(path) => f.write_str(path),
            Field::Body => f.write_str("body"),
        }
    }
}

impl Field {
    /// By variant, then by name.
    fn sort_key(&self) -> (u8, &str) {
        match self {
            Field::Status => (0, ""),
            Field::Header(name) => (1, name.as_str()),
            Field::Json(path) => (2, path),
            Field::Body => (3, ""),
        }
    }
}

impl Ord for Field {
    fn cmp(&self, other: &Self) -> Ordering {
        self.sort_key().cmp(&other.sort_key())
    }
}

impl PartialOrd for Field {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Kind {
    /// The name in reports.
    pub fn label(self) -> &'static str {
        match self {
            Kind::Added => "added",
            Kind::Removed => "removed",
            Kind::Changed => "changed",
            Kind::TypeChanged => "type_changed",
        }
    }
}

impl NotCompared {
    /// The name in metrics and reports.
    pub fn label(self) -> &'static str {
        match self {
            NotCompared::TooLarge => "too_large",
            NotCompared::Undecodable => "undecodable",
            NotCompared::MemoryBudget => "memory_budget",
        }
    }
}

/// How many differences of one answer are looked for. An answer that has more is another document,
/// about which each one more says nothing new.
pub(crate) const DIFFERENCES_MAX: usize = 100;

/// The differences found so far, at most [`DIFFERENCES_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Found(Vec<Difference>);

impl Found {
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= DIFFERENCES_MAX
    }

    pub(crate) fn add(&mut self, difference: Difference) {
        if !self.is_full() {
            self.0.push(difference);
        }
    }

    /// Adds a difference of something that is in at most one place: a `field` of which the sides
    /// have `expected` and `actual`.
    pub(crate) fn add_values(
        &mut self,
        field: Field,
        expected: Option<String>,
        actual: Option<String>,
    ) {
        let kind = match (&expected, &actual) {
            (Some(_), None) => Kind::Removed,
            (None, Some(_)) => Kind::Added,
            _ => Kind::Changed,
        };
        let shown = |value: Option<String>| value.unwrap_or_else(|| render::ABSENT.to_owned());
        let (at, expected, actual) = (field.to_string(), shown(expected), shown(actual));
        self.add(Difference { field, kind, at: render::cut(&at), expected, actual });
    }

    pub(crate) fn into_vec(self) -> Vec<Difference> {
        self.0
    }
}
