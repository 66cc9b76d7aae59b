//! Arithmetic on what was observed, and how numbers are written.

use std::time::Duration;

/// The smallest of `sorted` that at least the share `p` (0 to 1) of them does not exceed.
pub(super) fn percentile(sorted: &[Duration], p: f64) -> Option<Duration> {
    let rank = (p * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// How far the share of `n` independent draws with probability `p` may be from `p` at `sigmas`.
pub(super) fn tolerance(p: f64, n: usize, sigmas: f64) -> f64 {
    sigmas * (p * (1.0 - p) / n.max(1) as f64).sqrt()
}

/// `part` of `whole`; `None` of nothing.
pub(super) fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// `0.103` as `10.3 %`
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// `1234567` as `1,234,567`
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `4.1 ms`, `250 ms`, `1.2 s`
pub(super) fn short(time: Duration) -> String {
    match time.as_secs_f64() * 1000.0 {
        ms if ms < 99.95 => format!("{ms:.1} ms"),
        ms if ms < 999.5 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}

/// `45 s`, `3 min`, `2 h`
pub(super) fn age(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let ms = Duration::from_millis;
        let hundred: Vec<_> = (1..=100).map(ms).collect();
        assert_eq!(percentile(&hundred, 0.5), Some(ms(50)));
        assert_eq!(percentile(&hundred, 0.99), Some(ms(99)));
        assert_eq!(percentile(&hundred, 1.0), Some(ms(100)));
        assert_eq!(percentile(&hundred, 0.0), Some(ms(1)));
        assert_eq!(percentile(&[ms(7)], 0.99), Some(ms(7)));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn five_sigma_of_ten_percent() {
        assert!((tolerance(0.1, 900, 5.0) - 0.05).abs() < 1e-12);
        assert_eq!(tolerance(0.0, 900, 5.0), 0.0);
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(thousands),
            ["0", "999", "1,000", "1,234,567"].map(str::to_owned)
        );
        assert_eq!(
            [4_120, 99_960, 999_400, 1_240_000].map(|us| short(Duration::from_micros(us))),
            ["4.1 ms", "100 ms", "999 ms", "1.2 s"].map(str::to_owned)
        );
        assert_eq!(
            [0, 119, 120, 7200].map(|s| age(Duration::from_secs(s))),
            ["0 s", "119 s", "2 min", "2 h"].map(str::to_owned)
        );
        assert_eq!(percent(0.1034), "10.3 %");
    }
}
