//! Measurements come in; their middle, their least and how far they lie apart go out.

/// The middle of some measurements; 0 of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(at(middle.saturating_sub(1)), at(middle))
    } else {
        at(middle)
    }
}

/// The smallest of some measurements; 0 of none.
pub fn least(values: &[f64]) -> f64 {
    values.iter().copied().min_by(f64::total_cmp).unwrap_or(0.0)
}

/// The largest of some measurements; 0 of none.
pub fn most(values: &[f64]) -> f64 {
    values.iter().copied().max_by(f64::total_cmp).unwrap_or(0.0)
}

/// `MEDIAN (LEAST to MOST)` with so many digits behind the point.
pub fn spread(values: &[f64], digits: usize) -> String {
    let (middle, low, high) = (median(values), least(values), most(values));
    if values.len() < 2 {
        return format!("{middle:.digits$}");
    }
    format!("{middle:.digits$} ({low:.digits$} to {high:.digits$})")
}

/// A figure of every measurement.
pub fn all<T>(values: &[T], of: impl Fn(&T) -> f64) -> Vec<f64> {
    values.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    #[test]
    fn median_is_the_middle_or_lies_between_the_two_in_the_middle() {
        assert!(close(median(&[3.0, 1.0, 2.0]), 2.0));
        assert!(close(median(&[4.0, 1.0, 2.0, 3.0]), 2.5));
        assert!(close(median(&[]), 0.0));
        assert!(close(least(&[3.0, 1.0, 2.0]), 1.0) && close(most(&[3.0, 1.0, 2.0]), 3.0));
    }

    #[test]
    fn spread_shows_the_noise_of_several_measurements() {
        assert_eq!(spread(&[1.0, 2.0, 9.0], 1), "2.0 (1.0 to 9.0)");
        assert_eq!(spread(&[2.04], 1), "2.0");
    }
}
