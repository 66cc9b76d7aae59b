//! Collecting problems: every step adds to one list and goes on, so a user sees all mistakes at
//! once. The rejected alternative, `Result` with `?`, stops at the first.

use std::collections::HashSet;
use strsim::osa_distance;

/// How many wrong names get a suggestion: each is compared with every known name, and a file with
/// thousands of mistakes should still be answered at once.
const MAX_SUGGESTIONS: u32 = 100;

/// How many known names a wrong one is compared with.
const MAX_CANDIDATES: usize = 2_000;

/// A stretch of one line of one file, and the YAML node that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    /// Position in the list of files being loaded.
    pub(crate) file: u32,
    /// The node's number in its file, which finds the path of its key.
    pub(crate) node: u32,
    /// From 1.
    pub(crate) line: u32,
    /// From 1, in characters.
    pub(crate) column: u32,
    /// In characters; more than the line has means up to its end.
    pub(crate) length: u32,
}

/// A value and where it was written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spanned<T> {
    /// The value.
    pub(crate) value: T,
    /// Where it was written.
    pub(crate) span: Span,
}

impl<T> std::ops::Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// One problem, with positions that still have to be looked up in the sources.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    /// An error, else a warning.
    pub(crate) error: bool,
    /// Where.
    pub(crate) span: Span,
    /// What.
    pub(crate) message: String,
    /// What would be right.
    pub(crate) help: Option<String>,
    /// Another place that matters, and why.
    pub(crate) note: Option<(Span, &'static str)>,
}

impl Problem {
    /// Says what would be right.
    pub(crate) fn help(&mut self, help: impl Into<Option<String>>) -> &mut Self {
        self.help = help.into();
        self
    }

    /// Points at a second place.
    pub(crate) fn note(&mut self, span: Span, text: &'static str) -> &mut Self {
        self.note = Some((span, text));
        self
    }
}

/// The problems found so far.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    /// In the order found.
    pub(crate) list: Vec<Problem>,
    /// Names of things left out because of an error already reported, so that a reference to one
    /// is no second error.
    pub(crate) dropped: HashSet<String>,
    /// Something that may define names could not be read at all.
    pub(crate) names_missing: bool,
    suggested: u32,
}

impl Problems {
    /// Adds an error.
    pub(crate) fn error(&mut self, span: Span, message: impl Into<String>) -> &mut Problem {
        self.add(true, span, message.into())
    }

    /// Adds a warning.
    pub(crate) fn warning(&mut self, span: Span, message: impl Into<String>) -> &mut Problem {
        self.add(false, span, message.into())
    }

    /// How many errors there are.
    pub(crate) fn errors(&self) -> usize {
        self.list.iter().filter(|problem| problem.error).count()
    }

    /// The known name nearest to `wrong`, when one is near enough to have been meant.
    pub(crate) fn nearest<'a>(
        &mut self,
        wrong: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Option<&'a str> {
        if self.suggested >= MAX_SUGGESTIONS {
            return None;
        }
        self.suggested += 1;
        let length = wrong.chars().count();
        let limit = (length / 3).max(1);
        known
            .into_iter()
            .take(MAX_CANDIDATES)
            .filter(|name| name.len().abs_diff(wrong.len()) <= limit * 4 && name.len() <= 256)
            .map(|name| (osa_distance(&wrong.to_lowercase(), &name.to_lowercase()), name))
            .filter(|(distance, name)| *distance <= limit && *distance < name.chars().count())
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, name)| name)
    }

    fn add(&mut self, error: bool, span: Span, message: String) -> &mut Problem {
        let position = self.list.len();
        self.list.push(Problem { error, span, message, help: None, note: None });
        &mut self.list[position]
    }
}

/// "did you mean `name`?"
pub(crate) fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_what_is_near_and_nothing_else() {
        let mut problems = Problems::default();
        let known = ["canary", "stable", "name"];
        assert_eq!(problems.nearest("cannary", known), Some("canary"));
        assert_eq!(problems.nearest("Stabel", known), Some("stable"));
        assert_eq!(problems.nearest("x", known), None);
        assert_eq!(problems.nearest("blue", known), None);
    }
}
