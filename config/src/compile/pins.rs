//! Pins.

use super::{Names, matching};
use crate::{
    problem::Problems,
    schema::{Pin, Route},
};
use std::fmt::Write as _;
use tidegate_policies as policies;

/// The pins in order, each with its text.
pub(super) fn compile(
    route: &Route,
    variants: &Names<'_>,
    problems: &mut Problems,
) -> Vec<(policies::Pin, String)> {
    route.pins.iter().filter_map(|pin| one(pin, variants, problems)).collect()
}

fn one(
    pin: &Pin,
    variants: &Names<'_>,
    problems: &mut Problems,
) -> Option<(policies::Pin, String)> {
    let variant = variants.find(&pin.variant, problems);
    let mut text = format!("to {}", pin.variant.0);
    if pin.header.is_none() && pin.cookie.is_none() && pin.query.is_none() && pin.from.is_none() {
        problems
            .error(pin.variant.span, "this pin has no condition")
            .help("add `header`, `cookie`, `query` or `from`".to_owned());
    }
    let header = pin.header.as_ref().and_then(|condition| {
        let (header, described) = matching::header(condition, condition.span, problems)?;
        let _ = write!(text, "; header {described}");
        Some(header)
    });
    let cookie = pin.cookie.as_ref().and_then(|condition| {
        let (name, value, described) = matching::named(condition, condition.span, problems)?;
        let _ = write!(text, "; cookie {described}");
        Some((name, value))
    });
    let query = pin.query.as_ref().and_then(|condition| {
        let (name, value, described) = matching::named(condition, condition.span, problems)?;
        let _ = write!(text, "; query {described}");
        Some(policies::QueryMatch { name, value })
    });
    let from = pin.from.as_ref().map_or_else(Vec::new, |from| {
        if from.is_empty() && from.complete {
            problems.error(from.span, "`from` names no network");
        }
        from.iter().map(|network| network.0).collect()
    });
    for network in &from {
        let _ = write!(text, "; from {network}");
    }
    let variant = u16::try_from(variant?).ok().map(policies::VariantId)?;
    Some((policies::Pin { variant, header, cookie, query, from }, text))
}
