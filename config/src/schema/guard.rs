//! `routes[].retry` and `routes[].rate_limit`: what comes between a request and its failure.

use crate::{
    decode::{Decode, Invalid, List, Scalar, schema, wrong_type},
    problem::{Problems, Spanned, did_you_mean},
    text::Field,
    value::{Period, Share, Timeout},
    yaml::{Kind, Node},
};
use serde_json::{Value, json};
use std::num::NonZeroU32;

/// More would multiply the load of a service that is failing.
const MAX_ATTEMPTS: u32 = 10;

/// The failures of gRPC, in the order of their numbers, from 1.
const GRPC: [&str; 16] = [
    "cancelled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
];

schema! {
    /// Attempts after a failure.
    struct Retry [whole] {
        /// How many, after the first attempt.
        attempts: Attempts = "1",
        /// Which failures: `connect_failure`, `reset`, `timeout`, a status from 400 to 599, `5xx`,
        /// or `grpc:` and a status of gRPC such as `grpc:unavailable`. Absent: no connection, and
        /// one that broke before the response.
        on: Option<Spanned<List<RetryReason>>>,
        /// Which share of the route's requests may be retries.
        budget: Spanned<Share> = "20%",
        /// For each attempt's response to begin. Absent: as long as its upstream allows.
        per_try_timeout: Option<Spanned<Timeout>>,
        /// The pause before the first retry, doubled for each further one, and jittered.
        backoff: Period = "25ms",
        /// Requests whose method is not idempotent are repeated, too, once they were sent.
        non_idempotent: bool = "false",
    }

    /// Requests that a client may make.
    struct RateLimit [whole] {
        /// This many on average …
        requests: NonZeroU32,
        /// … in this time.
        per: Timeout = "1s",
        /// This many at once. Absent: as many as `requests`.
        burst: Option<NonZeroU32>,
        /// What tells clients apart: `client_ip`, or `{ header: … }`.
        by: RateBy = "client_ip",
    }

    /// A header field that tells clients apart.
    struct RateHeader [whole] {
        /// Its name. A request without it counts by the client's address.
        header: Field,
    }
}

/// How many retries there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempts(pub(crate) u32);

impl Scalar for Attempts {
    const EXPECTED: &'static str = "a number from 1 to 10";
    const PLAIN: bool = true;

    fn parse(text: &str) -> Result<Self, Invalid> {
        match text.parse() {
            Ok(0) => Err(Invalid::new("no attempts are no retries").help("leave `retry` out")),
            Ok(attempts @ 1..=MAX_ATTEMPTS) => Ok(Self(attempts)),
            _ => Err(Invalid::new(format!(
                "expected a number from 1 to {MAX_ATTEMPTS}, found `{text}`"
            ))),
        }
    }

    fn schema() -> Value {
        json!({ "type": "integer", "minimum": 1, "maximum": MAX_ATTEMPTS })
    }
}

/// A failure that is retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryReason {
    ConnectFailure,
    Reset,
    Timeout,
    Status(u16),
    /// 500 to 599.
    ServerErrors,
    Grpc(u8),
}

/// The reasons that are words.
const WORDS: [(&str, RetryReason); 4] = [
    ("connect_failure", RetryReason::ConnectFailure),
    ("reset", RetryReason::Reset),
    ("timeout", RetryReason::Timeout),
    ("5xx", RetryReason::ServerErrors),
];

impl Decode for RetryReason {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        const EXPECTED: &str = "`connect_failure`, `reset`, `timeout`, a status such as `503`, \
                                `5xx`, or a status of gRPC such as `grpc:unavailable`";
        let text = match &node.kind {
            Kind::Scalar { text, .. } if !node.is_null() => &**text,
            _ => return wrong_type(node, EXPECTED, problems),
        };
        if let Some((_, reason)) = WORDS.iter().find(|(word, _)| *word == text) {
            return Some(*reason);
        }
        if let Some(name) = text.strip_prefix("grpc:") {
            return grpc(name, node, problems);
        }
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if digits {
            let status = text.parse().ok().filter(|status| (400..600).contains(status));
            if status.is_none() {
                problems
                    .error(node.span, format!("the status {text} is no failure"))
                    .help("write a status from 400 to 599".to_owned());
            }
            return status.map(Self::Status);
        }
        let words = WORDS.iter().map(|(word, _)| *word);
        let help = match problems.nearest(text, words) {
            Some(word) => did_you_mean(word),
            None => format!("choose {EXPECTED}"),
        };
        let shown: String = text.chars().take(80).collect();
        problems.error(node.span, format!("unknown failure `{shown}`")).help(help);
        None
    }

    fn schema() -> Value {
        let words = "connect_failure|reset|timeout|5xx|[45][0-9]{2}|grpc:[a-z_-]+";
        json!({ "anyOf": [
            { "type": "string", "pattern": format!("^({words})$") },
            { "type": "integer", "minimum": 400, "maximum": 599 },
        ] })
    }
}

fn grpc(name: &str, node: &Node, problems: &mut Problems) -> Option<RetryReason> {
    let snake = name.replace('-', "_");
    if let Some(number) =
        (1..).zip(GRPC).find_map(|(number, known)| (known == snake).then_some(number))
    {
        return Some(RetryReason::Grpc(number));
    }
    let help = match problems.nearest(&snake, GRPC) {
        Some(known) => did_you_mean(&format!("grpc:{known}")),
        None => "write a status such as `grpc:unavailable`".to_owned(),
    };
    let shown: String = name.chars().take(80).collect();
    problems.error(node.span, format!("unknown failure of gRPC `{shown}`")).help(help);
    None
}

/// What tells clients apart.
#[derive(Debug)]
pub(crate) enum RateBy {
    /// `client_ip`
    ClientIp,
    /// `{ header: x }`
    Header(Field),
}

impl Decode for RateBy {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        match &node.kind {
            Kind::Scalar { text, .. } if **text == *"client_ip" => Some(Self::ClientIp),
            Kind::Map(_) => RateHeader::decode(node, problems).map(|by| Self::Header(by.header)),
            _ => wrong_type(node, "`client_ip` or `{ header: … }`", problems),
        }
    }

    fn schema() -> Value {
        json!({ "anyOf": [{ "const": "client_ip" }, RateHeader::schema()] })
    }
}
