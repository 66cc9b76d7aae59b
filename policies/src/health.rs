//! Active health checks: what one more answer means for an endpoint.
//!
//! A new endpoint is used at once: whoever starts a gateway with a list of servers means them. Its
//! first check decides by itself, as in Envoy, whatever the thresholds are: so a server that was
//! down before the gateway came is out after one check, and not after three.

use std::num::NonZeroU32;

/// How many answers in a row change what is thought of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthThresholds {
    /// Failures in a row that take an endpoint out.
    pub unhealthy_after: NonZeroU32,
    /// Successes in a row that take it in again.
    pub healthy_after: NonZeroU32,
}

/// What the checks say about an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Health {
    /// It was not checked yet.
    #[default]
    Unchecked,
    /// It may be used, and failed this often in a row.
    Healthy {
        /// Fewer than would take it out.
        failures: u32,
    },
    /// It may not be used, and succeeded this often in a row.
    Unhealthy {
        /// Fewer than would take it in.
        successes: u32,
    },
}

impl Health {
    /// Whether requests may go there.
    pub fn is_usable(self) -> bool {
        !matches!(self, Health::Unhealthy { .. })
    }

    /// The state after one more check.
    #[must_use]
    pub fn after(self, passed: bool, thresholds: HealthThresholds) -> Self {
        match (self, passed) {
            (Health::Unchecked | Health::Healthy { .. }, true) => Health::Healthy { failures: 0 },
            (Health::Unchecked | Health::Unhealthy { .. }, false) => {
                Health::Unhealthy { successes: 0 }
            }
            (Health::Healthy { failures }, false) => match failures.saturating_add(1) {
                failures if failures >= thresholds.unhealthy_after.get() => {
                    Health::Unhealthy { successes: 0 }
                }
                failures => Health::Healthy { failures },
            },
            (Health::Unhealthy { successes }, true) => match successes.saturating_add(1) {
                successes if successes >= thresholds.healthy_after.get() => {
                    Health::Healthy { failures: 0 }
                }
                successes => Health::Unhealthy { successes },
            },
        }
    }
}
