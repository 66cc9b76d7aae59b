//! The mirrors of a route.

use super::{Names, headers};
use crate::{
    plan::{Compare, Mirror as Plan, MirrorLimits},
    problem::{Problems, Spanned},
    schema::{self, Mirror, Route},
    value::Size,
};
use http::Method;
use tidegate_compare::Rules;
use tidegate_policies::{DayBudget, MirrorPolicy, RateLimit, Sample};

/// Compiles the mirrors of `route`, whose split is salted with `salt`. `memory` is what all mirrors
/// together may hold.
pub(super) fn compile(
    route: &Route,
    salt: &str,
    upstreams: &Names<'_>,
    memory: u64,
    problems: &mut Problems,
) -> Vec<Plan> {
    let mut names = Names::new("mirror");
    let mut compiled = Vec::with_capacity(route.mirrors.len());
    for (position, mirror) in route.mirrors.iter().enumerate() {
        names.add(&mirror.name, position, problems);
        let upstream = upstreams.find(&mirror.upstream, problems);
        let name = mirror.name.0.as_str();
        let limits = &mirror.limits;
        compiled.push(Plan {
            name: name.into(),
            // An unknown upstream is an error, with which no plan is made.
            upstream: upstream.unwrap_or(0),
            policy: MirrorPolicy {
                methods: methods(mirror, problems),
                // A percentage is never above the whole.
                sample: Sample::from_millionths(mirror.percent.0).unwrap_or(Sample::ALL),
                salt: MirrorPolicy::salt(salt, name),
            },
            max_body: held(&mirror.max_body, 1, memory, problems),
            timeout: mirror.timeout.0,
            limits: MirrorLimits {
                concurrent: limits.concurrent,
                per_second: limits.per_second.map(RateLimit::per_second),
                per_day: limits.per_day.map(DayBudget::per_day),
            },
            headers: headers::compile(&mirror.headers, problems),
            compare: mirror
                .compare
                .as_ref()
                .map(|compare| self::compare(compare, mirror, upstreams, memory, problems)),
        });
    }
    compiled
}

fn methods(mirror: &Mirror, problems: &mut Problems) -> Vec<Method> {
    let Some(methods) = &mirror.methods else { return vec![Method::GET, Method::HEAD] };
    if methods.is_empty() && methods.complete {
        problems
            .error(methods.span, "a mirror without methods copies nothing")
            .help("leave `methods` out for GET and HEAD".to_owned());
    }
    methods.iter().map(|method| method.0.clone()).collect()
}

fn compare(
    compare: &Spanned<schema::Compare>,
    mirror: &Mirror,
    upstreams: &Names<'_>,
    memory: u64,
    problems: &mut Problems,
) -> Compare {
    let noise_upstream = compare.noise_upstream.as_ref().and_then(|name| {
        if name.value.0 == mirror.upstream.value.0 {
            problems.error(name.span, "the noise upstream is the mirror's own").help(
                "name an upstream of the old version, which the noise is learned from".to_owned(),
            );
        }
        upstreams.find(name, problems)
    });
    let patterns =
        |list: &[crate::text::JsonPath]| list.iter().map(|path| path.0.clone()).collect();
    let keys = compare.array_keys.0.iter();
    Compare {
        rules: Rules {
            headers: compare.headers.iter().map(|name| name.value.0.clone()).collect(),
            ignore: patterns(&compare.ignore),
            redact: patterns(&compare.redact),
            array_keys: keys
                .map(|(path, key)| (path.value.0.clone(), key.value.0.clone()))
                .collect(),
            // The answers of the old version, the new one and the noise upstream.
            max_body: held(&compare.max_body, 3, memory, problems),
        },
        noise_upstream,
    }
}

/// A size of which `count` have to fit into the memory of all mirrors.
fn held(size: &Spanned<Size>, count: u64, memory: u64, problems: &mut Problems) -> usize {
    if size.value.0.saturating_mul(count) > memory {
        problems
            .error(size.span, "`runtime.mirror_memory` can never hold this")
            .help(format!("allow less here, or more than its {memory} bytes there"));
    }
    usize::try_from(size.value.0).unwrap_or(usize::MAX)
}
