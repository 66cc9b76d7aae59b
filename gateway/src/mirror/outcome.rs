//! What became of a request at a mirror. Each request of the route has one outcome at each of its
//! mirrors, so the outcomes of a mirror add up to the requests of its route.

use tidegate_policies::MirrorChoice;

/// The one thing that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Sent, and answered with a status of this class.
    Success,
    Redirect,
    ClientError,
    ServerError,
    /// Sent, and not answered to the end in the mirror's time.
    Timeout,
    /// No connection to the dark upstream.
    ConnectFailure,
    /// The connection broke, or what came was no HTTP.
    Reset,
    /// The dark upstream has no endpoint.
    NoEndpoint,
    /// The dark upstream is at its limit of connections or requests.
    Overloaded,
    /// The dark upstream's protocol cannot say it: HTTP/2 has no request without a host.
    Unsendable,
    /// Not in the mirror's share.
    NotSampled,
    /// Not one of the mirror's methods.
    Method,
    /// The request asks for another protocol: a stream has no copy.
    Upgrade,
    /// The body is larger than the mirror takes.
    BodyTooLarge,
    /// All mirrors together hold as much as they may.
    MemoryBudget,
    /// As many copies are under way as may be.
    ConcurrentLimit,
    /// More a second than the mirror takes.
    Rate,
    /// More a day than the mirror takes.
    DayBudget,
    /// Too many copies wait for the mirrors' threads, which yield to all other work.
    QueueFull,
    /// The request never came to its end: its client left, or its variant broke off.
    Incomplete,
    /// The request was never sent to its variant.
    NotDispatched,
    /// A reload removed the mirror.
    Removed,
}

impl Outcome {
    pub(crate) const LABELS: [&str; 22] = [
        "2xx",
        "3xx",
        "4xx",
        "5xx",
        "timeout",
        "connect_failure",
        "reset",
        "no_endpoint",
        "overloaded",
        "unsendable",
        "not_sampled",
        "method",
        "upgrade",
        "body_too_large",
        "memory_budget",
        "concurrent_limit",
        "rate",
        "day_budget",
        "queue_full",
        "incomplete",
        "not_dispatched",
        "removed",
    ];

    pub(crate) fn label(self) -> &'static str {
        Self::LABELS[self as usize]
    }

    /// The dark upstream had it, or may have.
    pub(super) fn is_sent(self) -> bool {
        self.is_answer() || matches!(self, Outcome::Timeout | Outcome::Reset)
    }

    /// The whole answer came.
    pub(super) fn is_answer(self) -> bool {
        use Outcome::{ClientError, Redirect, ServerError, Success};
        matches!(self, Success | Redirect | ClientError | ServerError)
    }

    /// Whether the dark version failed; `None`: it was not asked.
    pub(super) fn failed(self) -> Option<bool> {
        use Outcome::{ConnectFailure, NoEndpoint, Overloaded, Reset, ServerError, Timeout};
        match self {
            Outcome::Success | Outcome::Redirect | Outcome::ClientError => Some(false),
            ServerError | Timeout | ConnectFailure | Reset | NoEndpoint | Overloaded => Some(true),
            _ => None,
        }
    }

    /// An answer of `status`.
    pub(super) fn answered(status: u16) -> Self {
        match status {
            ..300 => Outcome::Success,
            300..400 => Outcome::Redirect,
            400..500 => Outcome::ClientError,
            500.. => Outcome::ServerError,
        }
    }

    /// Why a choice is no copy.
    pub(super) fn of(choice: MirrorChoice) -> Option<Self> {
        match choice {
            MirrorChoice::Copy => None,
            MirrorChoice::Method => Some(Outcome::Method),
            MirrorChoice::NotSampled => Some(Outcome::NotSampled),
        }
    }
}

/// What came of comparing the dark version's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compared {
    /// Nothing differs.
    Match,
    /// Fields differ, and all of them are known as noise.
    Noise,
    /// Something differs that is not known as noise.
    Mismatch,
    /// An answer is larger than what is compared.
    TooLarge,
    /// An answer's content encoding is unknown or broken.
    Undecodable,
    /// All mirrors together hold as much as they may.
    MemoryBudget,
    /// An answer did not come, or not to its end, or too late.
    Incomplete,
    /// The client was answered by another variant than the route's first.
    NotBaseline,
}

impl Compared {
    pub(crate) const LABELS: [&str; 8] = [
        "match",
        "noise",
        "mismatch",
        "too_large",
        "undecodable",
        "memory_budget",
        "incomplete",
        "not_baseline",
    ];

    pub(crate) fn label(self) -> &'static str {
        Self::LABELS[self as usize]
    }

    /// Whether the answers differ; `None`: they were not compared.
    pub(super) fn differs(self) -> Option<bool> {
        match self {
            Compared::Match | Compared::Noise => Some(false),
            Compared::Mismatch => Some(true),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_in_the_order_of_the_variants() {
        assert_eq!(Outcome::answered(204).label(), "2xx");
        assert_eq!(Outcome::answered(599).label(), "5xx");
        assert_eq!(Outcome::Timeout.label(), "timeout");
        assert_eq!(Outcome::NotSampled.label(), "not_sampled");
        assert_eq!(Outcome::QueueFull.label(), "queue_full");
        assert_eq!(Outcome::Removed as usize, Outcome::LABELS.len() - 1);
        assert_eq!(Compared::Mismatch.label(), "mismatch");
        assert_eq!(Compared::NotBaseline as usize, Compared::LABELS.len() - 1);
    }

    #[test]
    fn only_the_dark_versions_own_failures_are_its_failures() {
        let failed = [200, 304, 404, 500].map(|status| Outcome::answered(status).failed());
        assert_eq!(failed, [Some(false), Some(false), Some(false), Some(true)]);
        assert_eq!(Outcome::NoEndpoint.failed(), Some(true));
        assert_eq!(Outcome::Unsendable.failed(), None);
        assert_eq!(Outcome::QueueFull.failed(), None);
        assert_eq!(Compared::Noise.differs(), Some(false));
        assert_eq!(Compared::TooLarge.differs(), None);
    }
}
