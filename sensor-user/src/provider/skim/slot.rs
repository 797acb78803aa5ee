//! Bytes that `skim` found at a wanted path come in; text, numbers and parsed objects go out.

use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;

use serde_json::Value;

use crate::provider::skim::plan::Want;

/// The largest number up to which a double tells all whole numbers apart.
const DOUBLE_EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Different strings told apart at one path, so that hostile lists take no memory: searches for an answer are a few.
const DISTINCT_MAX: usize = 256;

/// What was kept for one path.
#[derive(Clone, Debug, Default)]
pub struct Slot {
    pub(super) found: bool,
    pub(super) quoted: bool,
    pub(super) bytes: Vec<u8>,
    pub(super) counts: Vec<u64>,
    /// Digests of the strings that were told apart.
    pub(super) seen: Vec<u64>,
}

impl Slot {
    /// The bytes as written, without the quotes of a string.
    pub fn written(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the last value there was a string.
    pub fn is_text(&self) -> bool {
        self.quoted
    }

    /// The text with its escapes resolved; `None` where it is empty or broken.
    pub fn text(&self) -> Option<String> {
        let text = if self.quoted { unescape(&self.bytes)? } else { utf8(&self.bytes)?.to_owned() };
        (!text.is_empty()).then_some(text)
    }

    /// The whole number written there.
    pub fn number(&self) -> Option<u64> {
        if self.quoted { None } else { whole_number(utf8(&self.bytes)?) }
    }

    /// The object written there.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.bytes).ok()
    }

    /// How many filled or different values stood there; for a tally, how often its `index`th string did.
    pub fn count(&self, index: usize) -> u64 {
        self.counts.get(index).copied().unwrap_or(0)
    }

    pub(super) fn clear(&mut self) {
        self.found = false;
        self.quoted = false;
        self.bytes.clear();
        self.counts.fill(0);
        self.seen.clear();
    }

    /// A container begins at the path; a text or object that stood there gives way.
    pub(super) fn container(&mut self, want: Want) {
        self.quoted = false;
        match want {
            Want::Filled => self.add(0),
            Want::Json | Want::Text => {
                self.bytes.clear();
                self.found = false;
            }
            Want::Distinct | Want::Tally(_) => {}
        }
    }

    /// A string at the path has ended.
    pub(super) fn end_text(&mut self, want: Want, overflow: bool, empty: bool) {
        match want {
            Want::Text => self.found = !overflow,
            // A string where an object is wanted says nothing.
            Want::Json => self.clear(),
            Want::Filled if !empty => self.add(0),
            Want::Distinct if !empty => self.tell_apart(),
            Want::Filled | Want::Distinct => {}
            Want::Tally(words) => {
                let word = words.iter().position(|word| word.as_bytes() == self.bytes.as_slice());
                self.add(word.filter(|_| !overflow).unwrap_or(usize::MAX));
            }
        }
    }

    /// A number, boolean or null at the path has ended.
    pub(super) fn end_scalar(&mut self, want: Want, overflow: bool, empty: bool) {
        match want {
            Want::Text => self.found = !overflow && self.bytes != b"null",
            Want::Json => self.clear(),
            Want::Filled if !empty => self.add(0),
            Want::Filled | Want::Distinct | Want::Tally(_) => {}
        }
    }

    /// Counts the string that has ended, unless the same one stood there before.
    fn tell_apart(&mut self) {
        let mut hasher = DefaultHasher::new();
        std::mem::take(&mut self.bytes).hash(&mut hasher);
        let digest = hasher.finish();
        if !self.seen.contains(&digest) && self.seen.len() < DISTINCT_MAX {
            self.seen.push(digest);
            self.add(0);
        }
    }

    fn add(&mut self, index: usize) {
        self.found = true;
        if let Some(count) = self.counts.get_mut(index) {
            *count = count.saturating_add(1);
        }
    }
}

/// The whole number that a text says; some peers count in doubles and write `500.0`.
pub(in crate::provider) fn whole_number(text: &str) -> Option<u64> {
    text.parse().ok().or_else(|| {
        let number: f64 = text.parse().ok()?;
        let is_whole = number.fract() == 0.0 && (0.0..=DOUBLE_EXACT_MAX).contains(&number);
        // Written out, what fits is parsed without a cast.
        is_whole.then(|| format!("{number:.0}").parse().ok()).flatten()
    })
}

fn utf8(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Resolves the escapes of a string's inside.
pub(super) fn unescape(inside: &[u8]) -> Option<String> {
    if !inside.contains(&b'\\') {
        return utf8(inside).map(str::to_owned);
    }
    let mut quoted = Vec::with_capacity(inside.len().saturating_add(2));
    quoted.push(b'"');
    quoted.extend_from_slice(inside);
    quoted.push(b'"');
    serde_json::from_slice(&quoted).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_without_a_fraction_are_whole_numbers() {
        const CASES: &[(&str, Option<u64>)] = &[
            ("500", Some(500)),
            ("500.0", Some(500)),
            ("5e2", Some(500)),
            ("0.0", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("500.5", None),
            ("-1", None),
            ("-1.0", None),
            ("1e300", None),
            ("nan", None),
            ("inf", None),
            ("", None),
            ("true", None),
        ];
        for (text, expected) in CASES {
            assert_eq!(whole_number(text), *expected, "{text}");
        }
    }
}
