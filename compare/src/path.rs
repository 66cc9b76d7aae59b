//! Patterns of fields of a JSON body: `$.items[*].price`, `$..etag`, `$['x-y z']`.
//!
//! A subset of JSONPath (RFC 9535), so that people need not learn another notation: the root, a
//! member by name, any child, and a descendant by name. A pattern means the fields at its place
//! and everything beneath them. Rejected: JSON Pointer (no wildcards), all of JSONPath (filters
//! and slices compute what to ignore from the answer, which is what is in doubt), and indices:
//! differences are told apart by field, and all elements of an array are one field, so an index
//! would ignore more than it says.

mod parse;

pub use parse::InvalidPattern;

use std::fmt::{self, Write};

/// Which fields of a JSON body are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// At most [`STEPS_MAX`].
    steps: Vec<Step>,
}

/// One step from a place to others beneath it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// To the member of that name.
    Name(String),
    /// To every member or element.
    Any,
    /// To every member of that name, at any depth.
    Descendant(String),
}

/// One step of the way to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Segment<'a> {
    /// Into the member of that name.
    Name(&'a str),
    /// Into the element at that position.
    Element(usize),
}

/// How much of a pattern the way to a value has matched: bit `n` is set if it can be divided such
/// that it matches exactly the first `n` steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress(u64);

/// One more than the steps are the bits of a [`Progress`]. Bodies are not compared that deep.
const STEPS_MAX: usize = 63;

impl Pattern {
    /// Whether the field shown as `path` is meant: it or something that it lies beneath.
    pub(crate) fn covers(&self, path: &str) -> bool {
        // Paths are written as patterns, but for what a long one lost.
        let path = path.strip_suffix(CUT).unwrap_or(path);
        let Ok(path) = parse::steps(path, usize::MAX) else { return false };
        let mut progress = self.start();
        let mut covered = self.is_matched(progress);
        for step in &path {
            let segment = match step {
                Step::Name(name) | Step::Descendant(name) => Segment::Name(name),
                Step::Any => Segment::Element(0),
            };
            progress = self.advance(progress, segment);
            covered |= self.is_matched(progress);
        }
        covered
    }

    /// The progress at the root.
    pub(crate) fn start(&self) -> Progress {
        Progress(1)
    }

    /// The progress at a child of a place with `progress`.
    pub(crate) fn advance(&self, progress: Progress, segment: Segment<'_>) -> Progress {
        let is = |name: &str| matches!(segment, Segment::Name(found) if found == name);
        let (mut rest, mut next) = (progress.0, 0);
        while rest != 0 {
            let bit = rest & rest.wrapping_neg();
            rest ^= bit;
            next |= match self.steps.get(bit.trailing_zeros() as usize) {
                Some(Step::Name(name)) if is(name) => bit << 1,
                Some(Step::Any) => bit << 1,
                Some(Step::Descendant(name)) if is(name) => bit | bit << 1,
                Some(Step::Descendant(_)) => bit,
                Some(Step::Name(_)) | None => 0,
            };
        }
        Progress(next)
    }

    /// Whether a place with `progress` is the pattern's.
    pub(crate) fn is_matched(&self, progress: Progress) -> bool {
        progress.0 >> self.steps.len() & 1 == 1
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        for step in &self.steps {
            match step {
                Step::Name(name) => write_name(f, name)?,
                Step::Any => f.write_str("[*]")?,
                Step::Descendant(name) if is_identifier(name) => write!(f, "..{name}")?,
                Step::Descendant(name) => {
                    f.write_str("..")?;
                    write_name(f, name)?;
                }
            }
        }
        Ok(())
    }
}

/// The step into the member `name`: `.name`, or `['name']` for a name that is no identifier.
pub(crate) fn write_name(out: &mut impl Write, name: &str) -> fmt::Result {
    if is_identifier(name) {
        return write!(out, ".{name}");
    }
    out.write_str("['")?;
    for character in name.chars() {
        match character {
            '\'' | '\\' => write!(out, "\\{character}")?,
            '\n' => out.write_str("\\n")?,
            '\t' => out.write_str("\\t")?,
            '\r' => out.write_str("\\r")?,
            // All of them are below U+0100.
            _ if character.is_control() => write!(out, "\\u{:04x}", u32::from(character))?,
            _ => out.write_char(character)?,
        }
    }
    out.write_str("']")
}

/// Stricter than RFC 9535, which takes every character beyond ASCII: [`CUT`] must not be one.
fn is_identifier(name: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || c == '_';
    name.chars().all(inner)
        && !name.starts_with(|c: char| !c.is_alphabetic() && c != '_')
        && !name.is_empty()
}

/// Stands for the rest of a text that was too long.
pub(crate) const CUT: char = '…';

#[cfg(test)]
mod tests;
