//! The decisions of a traffic-shifting gateway, as pure functions.
//!
//! Nothing here reads a clock, a socket or a random number generator: time and randomness are
//! arguments. So every decision can be tested, explained (`tidegate explain`) and replayed.
//!
//! | question | answered by |
//! |---|---|
//! | whose request is this? | [`client_address`] |
//! | which route does this request belong to? | [`RouteTable::find`] |
//! | which variant of the route serves it, and why? | [`VariantPolicy::decide`] |
//! | where does a user's key land? | [`Salt::point`] |
//! | is this request in a sample? | [`Sample::includes`] |
//! | does a mirror get a copy of it? | [`MirrorPolicy::choose`] |
//! | which endpoint of an upstream? | [`turn`], [`second_is_lighter`], [`claim`] |
//! | may an endpoint be used? | [`Health`], [`OutlierPolicy`] |
//! | may a request be tried again, and when? | [`RetryBudget`], [`backoff`] |
//! | may this client come again already? | [`Pace::admit`] |
//! | how many users does a change of weights move? | [`moved_users`] |
#![forbid(unsafe_code)]

mod balance;
mod bucket;
mod cookie;
mod decide;
mod forwarded;
mod health;
mod host;
mod matching;
mod mirror;
mod moved;
mod outlier;
mod pace;
mod pin;
mod request;
mod retry;
mod sample;
mod split;
mod table;
mod trace;

pub use balance::{
    FULL_WEIGHT, claim, second_is_lighter, turn, two_of, warm_weight, weighted_claim,
};
pub use bucket::{KeySource, Point, Purpose, Salt};
pub use cookie::find as find_cookie;
pub use decide::{Decision, Reason, VariantPolicy};
pub use forwarded::{client_address, is_trusted};
pub use health::{Health, HealthThresholds};
pub use host::{HostPattern, InvalidHost};
pub use matching::{HeaderMatch, PathMatch, QueryMatch, RouteMatch, ValueMatch};
pub use mirror::{DayBudget, MirrorChoice, MirrorPolicy, RateLimit};
pub use moved::moved_users;
pub use outlier::{Census, OutlierPolicy};
pub use pace::{Pace, Paced};
pub use pin::Pin;
pub use request::Request;
pub use retry::{RetryBudget, backoff};
pub use sample::Sample;
pub use split::{InvalidSplit, MAX_WEIGHT, Split, VariantId};
pub use table::{RouteId, RouteTable};
pub use trace::trace_id;
