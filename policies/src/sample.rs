//! Sampling: is a request in a share of all requests?

use crate::Point;

/// A share of requests, in parts per million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sample(u32);

impl Sample {
    /// Every request.
    pub const ALL: Sample = Sample(MILLION);

    /// `millionths` of all requests; `None` above one million.
    pub fn from_millionths(millionths: u32) -> Option<Self> {
        (millionths <= MILLION).then_some(Sample(millionths))
    }

    /// The share in millionths.
    pub fn millionths(self) -> u32 {
        self.0
    }

    /// Whether the request at `point` is in the sample. A larger sample includes a smaller one.
    pub fn includes(self, point: Point) -> bool {
        // The millionth part of the line that the point is in, exactly.
        let part = (u128::from(point.0) * u128::from(MILLION)) >> u64::BITS;
        part < u128::from(self.0)
    }
}

/// Fine enough for one in a million, and `0.0001%` is the finest share the configuration can say.
const MILLION: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_exact() {
        let none = Sample(0);
        for point in [0, 1, u64::MAX / 2, u64::MAX] {
            assert!(Sample::ALL.includes(Point(point)));
            assert!(!none.includes(Point(point)));
        }
        assert_eq!(Sample::from_millionths(1_000_001), None);
        let half = Sample(MILLION / 2);
        assert!(half.includes(Point(u64::MAX / 2)));
        assert!(!half.includes(Point(u64::MAX / 2 + 1)));
    }
}
