//! What is said of several rounds.

use serde_json::{Value, json};

/// The median and the extremes of some values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle one, or the mean of the middle two.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of no values: all NaN.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |position: usize| values.get(position).copied().unwrap_or(f64::NAN);
        let last = values.len().saturating_sub(1);
        Self {
            median: f64::midpoint(at(last / 2), at(last.div_ceil(2))),
            min: at(0),
            max: at(last),
        }
    }

    /// For reports.
    pub fn json(&self) -> Value {
        json!({ "median": self.median, "min": self.min, "max": self.max })
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn the_median_of_odd_and_even_numbers_of_values() {
        let odd = Spread::of(vec![3.0, 1.0, 9.0]);
        assert_eq!(odd, Spread { median: 3.0, min: 1.0, max: 9.0 });
        let even = Spread::of(vec![4.0, 1.0, 9.0, 2.0]);
        assert_eq!(even, Spread { median: 3.0, min: 1.0, max: 9.0 });
    }
}
