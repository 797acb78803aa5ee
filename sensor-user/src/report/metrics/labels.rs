//! Label values that a peer or a process chose come in; a bounded number of them, and `other` for the rest, goes out.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::report::escape;

/// Value that stands for all values beyond the bound.
pub(super) const OTHER: &str = "other";
/// Bytes of one label value; model names are far shorter.
const VALUE_BYTES_MAX: usize = 100;

/// The values of one label seen so far.
#[derive(Debug)]
pub(super) struct Bounded {
    values: BTreeSet<String>,
    max: usize,
}

impl Bounded {
    pub(super) fn new(max: usize) -> Self {
        Self { values: BTreeSet::new(), max }
    }

    /// The value itself, or `None` where the bound is reached and it is a new one.
    pub(super) fn admit<'a>(&mut self, value: &'a str) -> Option<Cow<'a, str>> {
        let cut = value.get(..value.floor_char_boundary(VALUE_BYTES_MAX)).unwrap_or_default();
        let value = escape::plain(cut);
        if self.values.contains(value.as_ref()) {
            return Some(value);
        }
        if self.values.len() >= self.max {
            return None;
        }
        self.values.insert(value.clone().into_owned());
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_stay_and_new_ones_are_refused_beyond_the_bound() {
        let mut labels = Bounded::new(2);
        assert_eq!(labels.admit("a").unwrap(), "a");
        assert_eq!(labels.admit("b").unwrap(), "b");
        assert_eq!(labels.admit("c"), None);
        assert_eq!(labels.admit("a").unwrap(), "a");
    }

    #[test]
    fn value_is_cut_and_escaped() {
        let mut labels = Bounded::new(2);
        assert_eq!(labels.admit("a\nb").unwrap(), "a\\u{a}b");
        assert!(labels.admit(&"é".repeat(5000)).unwrap().len() <= VALUE_BYTES_MAX);
    }
}
