//! A pattern and a value come in; whether the pattern stands for the whole value goes out.
//!
//! One syntax everywhere: `*` stands for any run of characters within a segment (a label of a host, a part of a path),
//! `**` for any run at all, and a pattern that is `*` alone for any value.

/// Bytes of the longest pattern: a host name has 253 at most, a cgroup path of a pod less.
pub(super) const PATTERN_BYTES_MAX: usize = 512;

/// What a pattern is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// This byte.
    Byte(u8),
    /// `*`.
    Segment,
    /// `**`.
    Run,
}

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    text: Box<str>,
    parts: Box<[Part]>,
    separator: u8,
}

/// What of a pattern a value can be looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handle<'a> {
    /// The whole value.
    Exact(&'a str),
    /// What the value begins with.
    Prefix(&'a str),
    /// What the value ends with.
    Suffix(&'a str),
    /// Nothing.
    None,
}

/// Why a pattern was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// No character at all.
    #[error("is empty: it would match nothing")]
    Empty,
    /// Longer than any value.
    #[error("is longer than {PATTERN_BYTES_MAX} bytes")]
    Long,
    /// More than two stars in a row.
    #[error("holds three `*` in a row: `*` stays within a segment, `**` does not")]
    Stars,
    /// A character that people take for a wildcard.
    #[error("holds `{0}`, which is no wildcard here: only `*` and `**` are")]
    Foreign(char),
}

impl Pattern {
    /// Whether every value of the other pattern is one of this; `false` where that cannot be told.
    pub(super) fn covers(&self, other: &Self) -> bool {
        if other.is_exact() {
            return self.matches(&other.text);
        }
        self.is_any()
            || self.text == other.text
            || (self.separator == other.separator && self.takes(&other.parts))
    }

    /// Whether it matches the parts of another pattern one by one: what `*` and `**` there stand for, only a wildcard that
    /// is at least as wide can take.
    fn takes(&self, others: &[Part]) -> bool {
        let is = |wanted: u8, found: &Part| *found == Part::Byte(wanted);
        let leaves = [Part::Run, Part::Byte(self.separator)];
        self.fits(others, is, |found: &Part| !leaves.contains(found))
    }

    /// Whether no value is both one of this and one of the other; `false` where that cannot be told.
    pub(super) fn is_apart(&self, other: &Self) -> bool {
        match (self.is_exact(), other.is_exact()) {
            (true, _) => !other.matches(&self.text),
            (_, true) => !self.matches(&other.text),
            _ => {
                let (mine, theirs) = (self.fixed_ends(), other.fixed_ends());
                let differ = |one: &str, two: &str, begins: fn(&str, &str) -> bool| {
                    !begins(one, two) && !begins(two, one)
                };
                differ(mine.0, theirs.0, |one, two| one.starts_with(two))
                    || differ(mine.1, theirs.1, |one, two| one.ends_with(two))
            }
        }
    }

    /// What stands before the first wildcard and behind the last one.
    fn fixed_ends(&self) -> (&str, &str) {
        let begin = self.text.split('*').next().unwrap_or_default();
        (begin, self.text.rsplit('*').next().unwrap_or_default())
    }

    /// Compiles a pattern for values whose segments are parted by `separator`.
    pub(super) fn new(text: &str, separator: u8) -> Result<Self, Refusal> {
        if text.is_empty() {
            return Err(Refusal::Empty);
        }
        if text.len() > PATTERN_BYTES_MAX {
            return Err(Refusal::Long);
        }
        if text.contains("***") {
            return Err(Refusal::Stars);
        }
        if let Some(foreign) = text.chars().find(|next| matches!(next, '?' | '^' | '$' | '|')) {
            return Err(Refusal::Foreign(foreign));
        }
        if text == "*" {
            return Ok(Self { text: text.into(), parts: Box::new([Part::Run]), separator });
        }
        let mut parts = Vec::with_capacity(text.len());
        for byte in text.bytes() {
            match (byte, parts.last()) {
                (b'*', Some(Part::Segment)) => {
                    parts.pop();
                    parts.push(Part::Run);
                }
                (b'*', _) => parts.push(Part::Segment),
                (byte, _) => parts.push(Part::Byte(byte)),
            }
        }
        Ok(Self { text: text.into(), parts: parts.into(), separator })
    }

    /// The pattern as it was written.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// What it is made of, and the byte that parts segments.
    pub(super) fn parts(&self) -> (&[Part], u8) {
        (&self.parts, self.separator)
    }

    /// Whether it stands for any value.
    pub(super) fn is_any(&self) -> bool {
        self.parts.iter().all(|part| *part == Part::Run)
    }

    /// Whether it holds no wildcard.
    pub(super) fn is_exact(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Byte(_)))
    }

    /// What its values begin with, where anything within the segment may follow; empty where anything at all may.
    pub(super) fn open_end(&self) -> Option<&str> {
        match self.parts.split_last()? {
            (Part::Run, []) => Some(""),
            (Part::Segment, begin) => {
                let is_fixed = begin.iter().all(|part| matches!(part, Part::Byte(_)));
                self.text.strip_suffix('*').filter(|_| is_fixed)
            }
            _ => None,
        }
    }

    /// The longest fixed text at one of its ends.
    pub(super) fn handle(&self) -> Handle<'_> {
        let (Some(first), Some(last)) = (self.text.find('*'), self.text.rfind('*')) else {
            return Handle::Exact(&self.text);
        };
        let prefix = self.text.get(..first).unwrap_or_default();
        let suffix = self.text.get(last.saturating_add(1)..).unwrap_or_default();
        match (prefix.is_empty(), suffix.is_empty()) {
            (true, true) => Handle::None,
            _ if prefix.len() >= suffix.len() => Handle::Prefix(prefix),
            _ => Handle::Suffix(suffix),
        }
    }

    /// Whether it stands for the whole value.
    pub(super) fn matches(&self, value: &str) -> bool {
        self.fits(
            value.as_bytes(),
            |wanted, found| wanted == *found,
            |byte| *byte != self.separator,
        )
    }

    /// Whether it stands for all of `value`; `is` says whether a place holds a byte, `stays` whether `*` may take it.
    ///
    /// The two points to go back to are enough: what an earlier wildcard could still take, a later one of the same kind
    /// can take as well, and a `*` cannot leave its segment.
    fn fits<T>(
        &self,
        value: &[T],
        is: impl Fn(u8, &T) -> bool,
        stays: impl Fn(&T) -> bool,
    ) -> bool {
        let (mut at, mut part) = (0_usize, 0_usize);
        let mut segment: Option<(usize, usize)> = None;
        let mut run: Option<(usize, usize)> = None;
        loop {
            match (self.parts.get(part), value.get(at)) {
                (None, None) => return true,
                (Some(Part::Run), _) => {
                    part = part.saturating_add(1);
                    run = Some((part, at));
                    segment = None;
                    continue;
                }
                (Some(Part::Segment), _) => {
                    part = part.saturating_add(1);
                    segment = Some((part, at));
                    continue;
                }
                (Some(Part::Byte(wanted)), Some(found)) if is(*wanted, found) => {
                    part = part.saturating_add(1);
                    at = at.saturating_add(1);
                    continue;
                }
                _ => {}
            }
            // No match: the last wildcard takes one more byte.
            if let Some((after, from)) = segment
                && value.get(from).is_some_and(&stays)
            {
                let next = from.saturating_add(1);
                segment = Some((after, next));
                (part, at) = (after, next);
            } else if let Some((after, from)) = run
                && from < value.len()
            {
                let next = from.saturating_add(1);
                run = Some((after, next));
                segment = None;
                (part, at) = (after, next);
            } else {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, separator: u8, value: &str) -> bool {
        Pattern::new(pattern, separator).unwrap().matches(value)
    }

    #[test]
    fn star_stays_within_its_segment_and_two_stars_do_not() {
        const CASES: &[(&str, u8, &str, bool)] = &[
            ("*.corp.example", b'.', "llm.corp.example", true),
            ("*.corp.example", b'.', "a.llm.corp.example", false),
            ("**.corp.example", b'.', "a.llm.corp.example", true),
            ("*.corp.example", b'.', "corp.example", false),
            ("*.corp.example", b'.', "llm.corp.example.evil.test", false),
            ("llm-*.example", b'.', "llm-eu.example", true),
            ("/usr/bin/python*", b'/', "/usr/bin/python3.13", true),
            ("/usr/*/python", b'/', "/usr/local/bin/python", false),
            ("/usr/**/python", b'/', "/usr/local/bin/python", true),
            ("**/python", b'/', "/usr/local/bin/python", true),
            ("gpt-5*", b'/', "gpt-5.1-mini", true),
            ("gpt-5*", b'/', "gpt-5/x", false),
            ("*", b'/', "/any/thing", true),
            ("*", b'.', "", true),
            ("**a*b", b'/', "ab/axb", true),
            ("**a*b", b'/', "ab/a/b", false),
            ("a*a*a", b'/', "aa", false),
            ("a", b'/', "ab", false),
        ];
        for (pattern, separator, value, expected) in CASES {
            assert_eq!(matches(pattern, *separator, value), *expected, "{pattern} {value}");
        }
    }

    #[test]
    fn wider_pattern_covers_a_narrower_one() {
        const CASES: &[(&str, &str, bool)] = &[
            ("gpt-*", "gpt-4*", true),
            ("gpt-4*", "gpt-*", false),
            ("*", "gpt-**", true),
            ("a/*", "a/**", false),
            ("a/**", "a/*/b*", true),
            ("*-pro", "gpt-*-pro", true),
            ("*-pro", "gpt-*", false),
            ("*a*", "**a", false),
        ];
        for (wide, narrow, expected) in CASES {
            let [wide, narrow] = [wide, narrow].map(|text| Pattern::new(text, b'/').unwrap());
            assert_eq!(wide.covers(&narrow), *expected, "{wide:?} {narrow:?}");
        }
    }

    #[test]
    fn foreign_wildcards_are_refused() {
        for bad in ["", "a***", "gpt-?", "^gpt", "gpt$", "a|b"] {
            assert!(Pattern::new(bad, b'/').is_err(), "{bad}");
        }
        assert_eq!(Pattern::new(&"a".repeat(513), b'/'), Err(Refusal::Long));
    }

    /// The plainest matcher there is: tries everything.
    fn slow(parts: &[Part], value: &[u8], separator: u8) -> bool {
        match parts.split_first() {
            None => value.is_empty(),
            Some((Part::Byte(byte), rest)) => {
                value.first() == Some(byte) && slow(rest, &value[1..], separator)
            }
            Some((wildcard, rest)) => (0..=value.len()).any(|taken| {
                let inside = *wildcard == Part::Run || !value[..taken].contains(&separator);
                inside && slow(rest, &value[taken..], separator)
            }),
        }
    }

    proptest! {
        #[test]
        fn pattern_agrees_with_trying_everything(text in "[ab/*]{1,9}", value in "[ab/]{0,12}") {
            if let Ok(pattern) = Pattern::new(&text, b'/') {
                prop_assert_eq!(pattern.matches(&value), slow(&pattern.parts, value.as_bytes(), b'/'));
                let found = match pattern.handle() {
                    Handle::Exact(exact) => value == exact,
                    Handle::Prefix(prefix) => value.starts_with(prefix),
                    Handle::Suffix(suffix) => value.ends_with(suffix),
                    Handle::None => true,
                };
                prop_assert!(found || !pattern.matches(&value));
            }
        }

        #[test]
        fn pattern_that_covers_another_matches_all_that_it_does(
            one in "[ab/*]{1,6}", two in "[ab/*]{1,6}", value in "[ab/]{0,8}",
        ) {
            let made = |text: &str| Pattern::new(text, b'/');
            if let (Ok(one), Ok(two)) = (made(&one), made(&two)) {
                prop_assert!(!one.covers(&two) || !two.matches(&value) || one.matches(&value));
            }
        }

        #[test]
        fn patterns_that_are_apart_share_no_value(
            one in "[ab/*]{1,6}", two in "[ab/*]{1,6}", value in "[ab/]{0,8}",
        ) {
            let made = |text: &str| Pattern::new(text, b'/');
            if let (Ok(one), Ok(two)) = (made(&one), made(&two)) {
                prop_assert_eq!(one.is_apart(&two), two.is_apart(&one));
                prop_assert!(!one.is_apart(&two) || !one.matches(&value) || !two.matches(&value));
            }
        }
    }
}
