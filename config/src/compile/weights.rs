//! The weights of a route: one scale, and a sum that makes sense.

use crate::{
    problem::{Problems, Spanned},
    schema::Route,
    value::{WHOLE, Weight, percent},
};

/// The weights in list order; percentages in parts per million. `None` when they are wrong, or
/// cannot be judged because a variant is.
pub(super) fn compile(route: &Route, problems: &mut Problems) -> Option<Vec<u32>> {
    let variants = &route.variants;
    if variants.is_empty() && variants.complete {
        problems.error(variants.span, format!("the route `{}` has no variants", route.name.0));
    }
    if variants.is_empty() || !variants.complete {
        return None;
    }
    if let [only] = &variants.items[..]
        && only.weight.is_none()
    {
        return Some(vec![1]);
    }
    let mut written = Vec::with_capacity(variants.len());
    for variant in variants.iter() {
        match variant.weight {
            Some(weight) => written.push(weight),
            None => {
                problems.error(
                    variant.name.span,
                    format!("the variant `{}` has no `weight`", variant.name.0),
                );
            }
        }
    }
    if written.len() < variants.len() || written.iter().any(|w| w.value == Weight::Wrong) {
        return None;
    }
    one_scale(&written, problems)
}

fn one_scale(written: &[Spanned<Weight>], problems: &mut Problems) -> Option<Vec<u32>> {
    let (first, last) = (written.first()?, written.last()?);
    let in_percent = |weight: &Weight| matches!(weight, Weight::Percent(_));
    if let Some(other) = written.iter().find(|w| in_percent(w) != in_percent(first)) {
        problems
            .error(other.span, "whole numbers and percentages are mixed in one route")
            .help("write all weights of a route as whole numbers, or all as percentages".to_owned())
            .note(first.span, "the first weight is written like this");
        return None;
    }
    let weights: Vec<u32> = written
        .iter()
        .map(|weight| match weight.value {
            Weight::Integer(number) | Weight::Percent(number) => number,
            Weight::Wrong => 0,
        })
        .collect();
    let sum: u64 = weights.iter().copied().map(u64::from).sum();
    if in_percent(first) && sum != u64::from(WHOLE) {
        problems
            .error(
                last.span,
                format!("the weights of this route add up to {}, not 100%", percent(sum)),
            )
            .help("percentages have to add up to 100%; whole numbers may have any sum".to_owned());
        return None;
    }
    if sum == 0 {
        problems
            .error(last.span, "the weights of this route add up to 0")
            .help("give at least one variant a weight above 0".to_owned());
        return None;
    }
    Some(weights)
}
