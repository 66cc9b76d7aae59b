//! Matching the elements of two arrays by a member that names them.
//!
//! Two lists of the same things in another order are equal that way. Elements that cannot be told
//! apart by the member, for they have none or share its value, are matched in the order they come
//! in. Rejected: the assignment with the fewest differences, which is cubic and explains nothing.

use crate::json::{Document, Index};
use std::cmp::Ordering;

/// An element of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Element {
    /// Where in its array.
    pub(crate) position: u32,
    /// Where in its document.
    pub(crate) index: Index,
}

/// An element of the primary's array and the one of the other's that it is compared with.
pub(crate) type Pair = (Option<Element>, Option<Element>);

/// An array in its document.
type Array<'d> = (&'d Document<'d>, Index);

/// Matches the elements of `expected` and `actual` by their member `key`.
pub(crate) fn by_key(expected: Array<'_>, actual: Array<'_>, key: &str) -> Vec<Pair> {
    let (ours, mut unnamed_ours) = named(expected, key);
    let (theirs, mut unnamed_theirs) = named(actual, key);
    let mut pairs = Vec::with_capacity(ours.len().max(theirs.len()));
    let (mut one, mut other) = (0, 0);
    while one < ours.len() || other < theirs.len() {
        let order = match (ours.get(one), theirs.get(other)) {
            (Some((_, a)), Some((_, b))) => order(expected.0, *a, actual.0, *b),
            (Some(_), None) => Ordering::Less,
            _ => Ordering::Greater,
        };
        let these = if order.is_le() { alike(expected.0, &ours[one..]) } else { 0 };
        let those = if order.is_ge() { alike(actual.0, &theirs[other..]) } else { 0 };
        let (a, b) = (&ours[one..one + these], &theirs[other..other + those]);
        if these <= 1 && those <= 1 {
            pairs.push((a.first().map(|(e, _)| *e), b.first().map(|(e, _)| *e)));
        } else {
            unnamed_ours.extend(a.iter().map(|(element, _)| *element));
            unnamed_theirs.extend(b.iter().map(|(element, _)| *element));
        }
        (one, other) = (one + these, other + those);
    }
    drop((ours, theirs));
    unnamed_ours.sort_unstable_by_key(|element| element.position);
    unnamed_theirs.sort_unstable_by_key(|element| element.position);
    let rest = unnamed_ours.len().max(unnamed_theirs.len());
    pairs.extend((0..rest).map(|i| (unnamed_ours.get(i).copied(), unnamed_theirs.get(i).copied())));
    // As they come in the primary, and what only the other has behind them.
    pairs.sort_unstable_by_key(|(one, other)| match (one, other) {
        (Some(element), _) => (0, element.position),
        (None, other) => (1, other.map_or(0, |element| element.position)),
    });
    pairs
}

/// The elements that have a scalar member `key`, with it and ordered by it, and those that have
/// none.
fn named((document, array): Array<'_>, key: &str) -> (Vec<(Element, Index)>, Vec<Element>) {
    let (mut named, mut unnamed) = (Vec::new(), Vec::new());
    for (position, index) in (0..).zip(document.children(array)) {
        let element = Element { position, index };
        let member = document.member(index, key);
        match member.filter(|member| document.node(*member).value.is_scalar()) {
            Some(member) => named.push((element, member)),
            None => unnamed.push(element),
        }
    }
    named.sort_unstable_by(|(a, one), (b, other)| {
        order(document, *one, document, *other).then(a.position.cmp(&b.position))
    });
    (named, unnamed)
}

/// How many elements at the start of `named`, which is not empty, have the same name.
fn alike(document: &Document<'_>, named: &[(Element, Index)]) -> usize {
    let first = named[0].1;
    named.iter().take_while(|(_, name)| order(document, first, document, *name).is_eq()).count()
}

fn order(one: &Document<'_>, a: Index, other: &Document<'_>, b: Index) -> Ordering {
    one.node(a).value.order(&other.node(b).value)
}
