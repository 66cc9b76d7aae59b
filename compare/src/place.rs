//! Where in a JSON body something is, as text.
//!
//! A field is the way to a value with every position of an array as `[*]`, so that all elements of
//! a list are one field, whose differences add up; the concrete place keeps the positions. Both
//! are bounded, since member names are what a service sends.

use crate::path::{CUT, Segment, write_name};
use crate::render::cut;
use std::fmt::Write;

/// The longest path of a field, in bytes. Longer ones are cut between two steps.
pub(crate) const FIELD_MAX: usize = 512;

/// The path of the field at `place`: `$.items[*].price`.
pub(crate) fn field(place: &[Segment<'_>]) -> String {
    text(place, |path, _| path.write_str("[*]"))
}

/// The concrete place: `$.items[3].price`.
pub(crate) fn at(place: &[Segment<'_>]) -> String {
    cut(&text(place, |path, position| write!(path, "[{position}]")))
}

fn text(place: &[Segment<'_>], element: impl Fn(&mut String, usize) -> std::fmt::Result) -> String {
    let mut path = String::from("$");
    for segment in place {
        let before = path.len();
        // A name that is too long is not even written.
        let written = match segment {
            Segment::Name(name) if name.len() > FIELD_MAX => Err(std::fmt::Error),
            Segment::Name(name) => write_name(&mut path, name),
            Segment::Element(position) => element(&mut path, *position),
        };
        if written.is_err() || path.len() > FIELD_MAX - CUT.len_utf8() {
            path.truncate(before);
            path.push(CUT);
            break;
        }
    }
    path.shrink_to_fit();
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use Segment::{Element, Name};

    #[test]
    fn a_field_leaves_positions_out() {
        let place = [Name("items"), Element(3), Name("x-y z"), Element(0)];
        assert_eq!(field(&place), "$.items[*]['x-y z'][*]");
        assert_eq!(at(&place), "$.items[3]['x-y z'][0]");
        assert_eq!((field(&[]), at(&[])), ("$".to_owned(), "$".to_owned()));
    }

    #[test]
    fn long_paths_are_cut_between_steps() {
        let name = "n".repeat(200);
        let place = [Name("a"), Name(&name), Name(&name), Name(&name)];
        assert_eq!(field(&place), format!("$.a.{name}.{name}…"));
        let huge = "n".repeat(100_000);
        assert_eq!(field(&[Name("a"), Name(&huge), Name("b")]), "$.a…");
        // Escaping makes these six times as long.
        let control = "\u{1}".repeat(100);
        assert_eq!(field(&[Name(&control)]), "$…");
        assert_eq!(at(&place).chars().count(), 120);
        let deep = [Element(0); 1_000];
        assert!(field(&deep).len() <= FIELD_MAX && field(&deep).ends_with("[*]…"));
    }
}
