//! Words of which one is chosen, with "did you mean" for those that are none.

use crate::{
    decode::{Decode, wrong_type},
    plan::Protocol,
    problem::{Problems, did_you_mean},
    yaml::{Kind, Node},
};
use serde_json::{Value, json};
use tidegate_judge::{AdvanceWhen, OnBreach, OnSourceBroken};

/// What a gate measures in the gateway itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metric {
    /// The share of requests that failed.
    ErrorRate,
    /// The share of requests that took longer than a time.
    Latency,
    /// The share of compared copies whose answers differ.
    MismatchRate,
}

/// What is spoken with an upstream, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, with or without TLS.
    H2c,
    /// HTTP/2 over TLS.
    H2,
}

impl Spoken {
    /// What is spoken, whatever it is spoken over.
    pub(crate) fn version(self) -> Protocol {
        match self {
            Self::Http1 => Protocol::Http1,
            Self::H2c | Self::H2 => Protocol::Http2,
        }
    }
}

/// Declares a newtype over what a word stands for; after `not`, words that others use for one.
macro_rules! choice {
    ($( $(#[doc = $doc:literal])* $name:ident($inner:ty) $what:literal {
        $($word:literal => $value:expr,)+
        $(not $($wrong:literal => $right:literal,)+)?
    } )*) => { $(
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy)]
        pub(crate) struct $name(pub(crate) $inner);

        impl Decode for $name {
            fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
                let others: &[(&str, &str)] = &[$($(($wrong, $right)),+)?];
                choose(node, $what, &[$(($word, $value)),+], others, problems).map(Self)
            }

            fn schema() -> Value {
                json!({ "enum": [$($word),+] })
            }
        }
    )* };
}

choice! {
    /// `protocol` of a listener, without TLS: whether it is HTTP/2.
    ListenerProtocol(bool) "protocol" {
        "http1" => false,
        "h2c" => true,
        not "h2" => "h2c", "http2" => "h2c", "grpc" => "h2c",
    }
    /// `client_auth` of a listener: whether clients without a certificate are served.
    ClientAuth(bool) "kind of client authentication" {
        "required" => false,
        "optional" => true,
    }
    /// `protocol` of an upstream.
    UpstreamProtocol(Spoken) "protocol" {
        "http1" => Spoken::Http1,
        "h2c" => Spoken::H2c,
        "h2" => Spoken::H2,
        not "http2" => "h2c", "grpc" => "h2c", "http" => "http1",
    }
    /// `metric` of a gate.
    MetricName(Metric) "metric" {
        "error_rate" => Metric::ErrorRate,
        "latency" => Metric::Latency,
        "mismatch_rate" => Metric::MismatchRate,
    }
    /// `on_source_broken` of a gate.
    SourceBroken(OnSourceBroken) "reaction" {
        "hold" => OnSourceBroken::Hold,
        "pause" => OnSourceBroken::Pause,
        "rollback" => OnSourceBroken::Rollback,
    }
    /// `on_breach` of a rollout.
    Breach(OnBreach) "reaction" {
        "rollback" => OnBreach::Rollback,
        "pause" => OnBreach::Pause,
    }
    /// `advance_when` of a rollout.
    Advance(AdvanceWhen) "condition" {
        "held" => AdvanceWhen::Held,
        "certified" => AdvanceWhen::Certified,
    }
}

fn choose<T: Copy>(
    node: &Node,
    what: &str,
    words: &[(&'static str, T)],
    others: &[(&str, &'static str)],
    problems: &mut Problems,
) -> Option<T> {
    let names: Vec<&'static str> = words.iter().map(|(word, _)| *word).collect();
    let text = match &node.kind {
        Kind::Scalar { text, .. } if !node.is_null() => text,
        _ => return wrong_type(node, &either(&names), problems),
    };
    if let Some((_, value)) = words.iter().find(|(word, _)| **word == **text) {
        return Some(*value);
    }
    let known = others.iter().find(|(other, _)| **other == **text).map(|(_, word)| *word);
    let help = match known.or_else(|| problems.nearest(text, names.iter().copied())) {
        Some(word) => did_you_mean(word),
        None => format!("choose {}", either(&names)),
    };
    let shown: String = text.chars().take(80).collect();
    problems.error(node.span, format!("unknown {what} `{shown}`")).help(help);
    None
}

/// `` `a`, `b` or `c` ``
fn either(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => names.concat(),
    }
}
