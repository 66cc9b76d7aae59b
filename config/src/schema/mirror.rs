//! `routes[].mirrors`.

use super::HeaderOps;
use crate::{
    decode::{Entries, List, schema},
    problem::Spanned,
    text::{Field, JsonPath, MethodName, Name, Text},
    value::{Percent, Size, Timeout},
};
use std::num::{NonZeroU32, NonZeroU64};

schema! {
    /// Copies of requests to a dark upstream. A mirror never delays, changes or fails the requests
    /// that it copies.
    struct Mirror {
        /// Its name, unique in the route; copies carry it in `x-tidegate-shadow`.
        name: Spanned<Name>,
        /// The dark upstream.
        upstream: Spanned<Text>,
        /// The share of users (of requests where there is no key) that is copied, in percent.
        percent: Percent = "100",
        /// Only requests of these methods. Absent: GET and HEAD, which change nothing.
        methods: Option<Spanned<List<MethodName>>>,
        /// The largest request body; requests with a larger one are not copied.
        max_body: Spanned<Size> = "64KiB",
        /// For a copy in total: connecting, sending, and the whole answer.
        timeout: Timeout = "5s",
        /// What the dark launch may cost.
        limits: MirrorLimits = {},
        /// Changes of the copies' header fields.
        headers: HeaderOps = {},
        /// The answers are compared with those that clients got. Absent: they are thrown away.
        compare: Option<Spanned<Compare>>,
    }

    /// What a dark launch may cost. A copy beyond a limit is not sent, and counted.
    struct MirrorLimits {
        /// Copies under way.
        concurrent: NonZeroU32 = "256",
        /// Copies a second on average, with bursts of up to one second's worth. Absent: unlimited.
        per_second: Option<NonZeroU32>,
        /// Copies a day (UTC). Absent: unlimited.
        per_day: Option<NonZeroU64>,
    }

    /// How the dark version's answers are compared with those of the route's first variant.
    struct Compare [whole] {
        /// Response header fields that are compared besides status and body.
        headers: List<Spanned<Field>> = [],
        /// JSON paths that are not compared, with all beneath: `$.timestamp`, `$.trace.*`,
        /// `$.items[*].age`, `$..id`.
        ignore: List<JsonPath> = [],
        /// An upstream of the old version that gets a second copy: fields that differ between two
        /// answers of the old version are noise.
        noise_upstream: Option<Spanned<Text>>,
        /// JSON paths whose values are never stored in examples.
        redact: List<JsonPath> = [],
        /// Arrays whose elements are matched by a member instead of by position, as in
        /// `{ "$.items": id }`.
        array_keys: Entries<JsonPath, Text> = {},
        /// The largest response body that is compared, as it comes and once decompressed.
        max_body: Spanned<Size> = "256KiB",
    }
}
