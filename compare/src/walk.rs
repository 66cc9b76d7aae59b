//! Walking two JSON documents together.
//!
//! Where one side has something that the other has not, or of another type, that is one difference
//! at its root: what is in it differs for the same reason. Ignored places are not entered, so they
//! cost nothing and do not use up the number of differences. The walk recurses, but no deeper than
//! documents are nested ([`DEPTH_MAX`](crate::json::DEPTH_MAX)).

use crate::diff::{Difference, Field, Found, Kind};
use crate::elements;
use crate::json::{Document, Index, Value};
use crate::path::{Pattern, Progress, Segment};
use crate::render::{self, cut};
use crate::{Rules, place};
use std::cmp::Ordering;

/// A walk over the `expected` and the `actual` document.
pub(crate) struct Walk<'w> {
    expected: &'w Document<'w>,
    actual: &'w Document<'w>,
    array_keys: &'w [(Pattern, String)],
    /// Where the walk is.
    place: Vec<Segment<'w>>,
    ignored: Tracker<'w>,
    redacted: Tracker<'w>,
    keyed: Tracker<'w>,
    /// How many of the places around it, and itself, are to be redacted.
    secret: usize,
    found: &'w mut Found,
}

impl<'w> Walk<'w> {
    pub(crate) fn new(
        rules: &'w Rules,
        expected: &'w Document<'w>,
        actual: &'w Document<'w>,
        found: &'w mut Found,
    ) -> Self {
        Walk {
            expected,
            actual,
            array_keys: &rules.array_keys,
            place: Vec::new(),
            ignored: Tracker::new(rules.ignore.iter()),
            redacted: Tracker::new(rules.redact.iter()),
            keyed: Tracker::new(rules.array_keys.iter().map(|(pattern, _)| pattern)),
            secret: 0,
            found,
        }
    }

    /// Finds all differences.
    pub(crate) fn run(mut self) {
        self.secret = usize::from(self.redacted.matched().is_some());
        if self.ignored.matched().is_none() {
            self.values(Document::ROOT, Document::ROOT);
        }
    }

    /// Compares what both have at this place.
    fn values(&mut self, expected: Index, actual: Index) {
        let (one, other) = (&self.expected.node(expected).value, &self.actual.node(actual).value);
        match (one, other) {
            (Value::Object(_), Value::Object(_)) => self.objects(expected, actual),
            (Value::Array(_), Value::Array(_)) => self.arrays(expected, actual),
            _ if !one.same_type(other) => {
                self.add(Kind::TypeChanged, Some(expected), Some(actual));
            }
            _ if one.order(other) != Ordering::Equal => {
                self.add(Kind::Changed, Some(expected), Some(actual));
            }
            _ => {}
        }
    }

    fn objects(&mut self, expected: Index, actual: Index) {
        let (expected, actual) = (self.expected.members(expected), self.actual.members(actual));
        let (mut ours, mut theirs) = (expected.iter().peekable(), actual.iter().peekable());
        while !self.found.is_full() {
            let order = match (ours.peek(), theirs.peek()) {
                (Some(one), Some(other)) => {
                    self.expected.name(**one).cmp(self.actual.name(**other))
                }
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => break,
            };
            let one = ours.next_if(|_| order.is_le()).copied();
            let other = theirs.next_if(|_| order.is_ge()).copied();
            let (name_of_one, name_of_other) =
                (one.map(|i| self.expected.name(i)), other.map(|i| self.actual.name(i)));
            let name = name_of_one.or(name_of_other).unwrap_or_default();
            self.enter(Segment::Name(name), one, other);
        }
    }

    fn arrays(&mut self, expected: Index, actual: Index) {
        let pairs = match self.keyed.matched() {
            Some(rule) => {
                let key = &self.array_keys[rule].1;
                elements::by_key((self.expected, expected), (self.actual, actual), key)
            }
            None => return self.elements_in_order(expected, actual),
        };
        for (one, other) in pairs {
            if self.found.is_full() {
                break;
            }
            // A concrete place is the primary's where it has one.
            let position = one.or(other).map_or(0, |element| element.position as usize);
            let index = |element: elements::Element| element.index;
            self.enter(Segment::Element(position), one.map(index), other.map(index));
        }
    }

    fn elements_in_order(&mut self, expected: Index, actual: Index) {
        let (expected_document, actual_document) = (self.expected, self.actual);
        let mut ours = expected_document.children(expected);
        let mut theirs = actual_document.children(actual);
        for position in 0.. {
            let (one, other) = (ours.next(), theirs.next());
            if self.found.is_full() || (one.is_none() && other.is_none()) {
                break;
            }
            self.enter(Segment::Element(position), one, other);
        }
    }

    /// Compares the child at `segment`, which the sides have or not.
    fn enter(&mut self, segment: Segment<'w>, expected: Option<Index>, actual: Option<Index>) {
        self.ignored.enter(segment);
        if self.ignored.matched().is_none() {
            // Beneath a secret even names may be: sessions by their id.
            self.place.push(if self.secret > 0 { Segment::Element(0) } else { segment });
            self.redacted.enter(segment);
            self.keyed.enter(segment);
            let named = matches!(segment, Segment::Name(name) if render::is_secret(name));
            let secret = usize::from(named || self.redacted.matched().is_some());
            self.secret += secret;
            match (expected, actual) {
                (Some(expected), Some(actual)) => self.values(expected, actual),
                (Some(_), None) => self.add(Kind::Removed, expected, None),
                (None, _) => self.add(Kind::Added, None, actual),
            }
            self.secret -= secret;
            self.keyed.leave();
            self.redacted.leave();
            self.place.pop();
        }
        self.ignored.leave();
    }

    /// Adds a difference at this place.
    fn add(&mut self, kind: Kind, expected: Option<Index>, actual: Option<Index>) {
        let secret = self.secret > 0;
        let shown = |document: &Document<'_>, index: Option<Index>| match index {
            None => render::ABSENT.to_owned(),
            Some(_) if secret => render::REDACTED.to_owned(),
            Some(index) => render::value(document.node(index), || document.members(index).len()),
        };
        let (expected, actual) = (shown(self.expected, expected), shown(self.actual, actual));
        let field = place::field(&self.place);
        let at = if secret { cut(&field) } else { place::at(&self.place) };
        self.found.add(Difference { field: Field::Json(field), kind, at, expected, actual });
    }
}

/// How far patterns are matched on the way to where a walk is.
struct Tracker<'w> {
    patterns: Vec<&'w Pattern>,
    /// For each place from the root on, the progress of each pattern.
    progress: Vec<Progress>,
}

impl<'w> Tracker<'w> {
    fn new(patterns: impl Iterator<Item = &'w Pattern>) -> Self {
        let patterns: Vec<&Pattern> = patterns.collect();
        let progress = patterns.iter().map(|pattern| pattern.start()).collect();
        Tracker { patterns, progress }
    }

    fn enter(&mut self, segment: Segment<'_>) {
        let above = self.progress.len() - self.patterns.len();
        for (position, pattern) in self.patterns.iter().enumerate() {
            let progress = pattern.advance(self.progress[above + position], segment);
            self.progress.push(progress);
        }
    }

    fn leave(&mut self) {
        self.progress.truncate(self.progress.len() - self.patterns.len());
    }

    /// The first pattern that matches the place itself.
    fn matched(&self) -> Option<usize> {
        let here = &self.progress[self.progress.len() - self.patterns.len()..];
        self.patterns.iter().zip(here).position(|(pattern, at)| pattern.is_matched(*at))
    }
}
