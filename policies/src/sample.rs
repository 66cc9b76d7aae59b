//! Sampling: is a request in a share of all requests?

use crate::Point;

/// A share of requests, in parts per million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sample(u32);

impl Sample {
    /// Every request.
    pub const ALL: Sample = Sample(1_000_000);

    /// `millionths` of all requests; `None` above one million.
    pub fn from_millionths(_millionths: u32) -> Option<Self> {
        todo!()
    }

    /// The share in millionths.
    pub fn millionths(self) -> u32 {
        self.0
    }

    /// Whether the request at `point` is in the sample. A larger sample includes a smaller one.
    pub fn includes(self, _point: Point) -> bool {
        todo!()
    }
}
