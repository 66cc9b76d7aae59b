//! The mirror of a rollout: named by it, or the one that copies to the candidate.

use crate::{
    compile::Names,
    problem::Problems,
    schema::{Mirror, Rollout, Route},
};

/// The mirror of a rollout, as far as it can be told.
#[derive(Clone, Copy)]
pub(super) enum Dark<'a> {
    /// An error elsewhere hides it.
    Unknown,
    /// There is none.
    Absent {
        /// The route.
        route: &'a str,
        /// The candidate's upstream, which it would have to copy to.
        upstream: &'a str,
    },
    /// This one.
    Mirror(&'a Mirror),
}

impl<'a> Dark<'a> {
    pub(super) fn mirror(self) -> Option<&'a Mirror> {
        match self {
            Dark::Mirror(mirror) => Some(mirror),
            Dark::Unknown | Dark::Absent { .. } => None,
        }
    }
}

/// Finds the mirror; `candidate` is a position in the route.
pub(super) fn find<'a>(
    rollout: &Rollout,
    route: &'a Route,
    candidate: Option<usize>,
    problems: &mut Problems,
) -> Dark<'a> {
    if let Some(name) = &rollout.mirror {
        let mut names = Names::new("mirror");
        for (position, mirror) in route.mirrors.iter().enumerate() {
            names.add_known(&mirror.name, position);
        }
        let found = names.find(name, problems).and_then(|position| route.mirrors.get(position));
        return found.map_or(Dark::Unknown, Dark::Mirror);
    }
    let Some(candidate) = candidate.and_then(|position| route.variants.get(position)) else {
        return Dark::Unknown;
    };
    let upstream = candidate.upstream.value.0.as_str();
    let copies = |mirror: &&Mirror| mirror.upstream.value.0 == upstream;
    match route.mirrors.iter().find(copies) {
        Some(mirror) => Dark::Mirror(mirror),
        None if !route.mirrors.complete => Dark::Unknown,
        None => Dark::Absent { route: &route.name.value.0, upstream },
    }
}
