//! Names to positions, with "did you mean" for those that lead nowhere.

use crate::{
    problem::{Problems, Span, Spanned, did_you_mean},
    text::{Name, Text},
};
use std::collections::HashMap;

/// The names of one kind of thing.
pub(crate) struct Names<'a> {
    kind: &'static str,
    positions: HashMap<&'a str, (usize, Span)>,
    /// In the order written, for suggestions that do not depend on a hash.
    list: Vec<&'a str>,
}

impl<'a> Names<'a> {
    /// No names yet of this kind of thing.
    pub(crate) fn new(kind: &'static str) -> Self {
        Self { kind, positions: HashMap::new(), list: Vec::new() }
    }

    /// Adds a name; a second one of the same text is an error.
    pub(crate) fn add(
        &mut self,
        name: &'a Spanned<Name>,
        position: usize,
        problems: &mut Problems,
    ) {
        let text = name.value.0.as_str();
        if let Some((_, first)) = self.positions.get(text) {
            problems
                .error(name.span, format!("there are two {}s called `{text}`", self.kind))
                .note(*first, "the first is here");
            return;
        }
        self.add_known(name, position);
    }

    /// Adds a name that was added elsewhere, where a second one was reported: the first counts.
    pub(crate) fn add_known(&mut self, name: &'a Spanned<Name>, position: usize) {
        let text = name.value.0.as_str();
        if self.positions.contains_key(text) {
            return;
        }
        self.positions.insert(text, (position, name.span));
        self.list.push(text);
    }

    /// The position of what `name` refers to; an unknown name is an error, unless what it names
    /// was left out because of another error.
    pub(crate) fn find(&self, name: &Spanned<Text>, problems: &mut Problems) -> Option<usize> {
        let text = name.value.0.as_str();
        if let Some((position, _)) = self.positions.get(text) {
            return Some(*position);
        }
        if problems.names_missing || problems.dropped.contains(text) {
            return None;
        }
        let help = problems.nearest(text, self.list.iter().copied()).map(did_you_mean);
        let shown = text.chars().take(80).collect::<String>();
        problems.error(name.span, format!("unknown {} `{shown}`", self.kind)).help(help);
        None
    }
}
