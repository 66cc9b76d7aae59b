//! Is a count what chance would make of a share?

/// How many standard deviations `hits` of `total` lie from the share `expected`, for independent
/// draws. `expected` must be strictly between 0 and 1.
pub fn sigma(hits: u64, total: u64, expected: f64) -> f64 {
    let total = total as f64;
    let deviation = (total * expected * (1.0 - expected)).sqrt();
    (hits as f64 - total * expected).abs() / deviation
}

/// Asserts that `hits` of `total` lie within five standard deviations of the share `expected`: a
/// correct splitter fails this once in 1.7 million runs.
///
/// # Panics
/// When they do not.
#[track_caller]
pub fn assert_share(hits: u64, total: u64, expected: f64) {
    let off = sigma(hits, total, expected);
    assert!(off < 5.0, "{hits} of {total} is {off:.1} sigma from a share of {expected}");
}
