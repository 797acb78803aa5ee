//! Masked patterns and a file come in; the functions that begin so in exactly one place go out.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::segments::Segments;
use super::structure::Located;

/// Longest pattern with all that may be missing, in bytes.
const PATTERN_MAX: usize = 256;
/// Optional groups of a pattern.
const OPTIONAL_MAX: usize = 4;
/// Places at which a pattern is tried in one file; a pattern that comes up more often tells nothing.
const TRIES_MAX: usize = 65_536;

const ROWS: &str = include_str!("../../data/tls_signatures.toml");

/// The rows; a test reads them, so at run time they are never malformed.
static SIGNATURES: LazyLock<Vec<Signature>> = LazyLock::new(|| parse(ROWS).unwrap_or_default());

/// How a function begins.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    library: String,
    function: String,
    machine: String,
    pattern: Pattern,
    #[cfg_attr(not(test), expect(dead_code, reason = "read by the test that proves the row"))]
    examples: Vec<String>,
    #[serde(rename = "source")]
    _source: String,
    #[serde(rename = "checked")]
    _checked: String,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    signature: Vec<Signature>,
}

fn parse(text: &str) -> Result<Vec<Signature>, toml::de::Error> {
    toml::from_str(text).map(|document: Document| document.signature)
}

/// A masked pattern of bytes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Bytes that are there; `None` is any byte.
    Bytes(Vec<Option<u8>>),
    /// Bytes that may be missing.
    Optional(Vec<Option<u8>>),
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (mut parts, mut bytes) = (Vec::new(), Vec::new());
        let mut inside = false;
        for word in text.split_whitespace() {
            match word {
                "(" | ")?" if inside == (word == "(") => {
                    return Err(format!("`{word}` is out of place"));
                }
                "(" => parts.push(Part::Bytes(std::mem::take(&mut bytes))),
                ")?" => parts.push(Part::Optional(std::mem::take(&mut bytes))),
                "??" => bytes.push(None),
                digits if digits.len() == 2 => {
                    let byte = u8::from_str_radix(digits, 16);
                    bytes.push(Some(byte.map_err(|_not| format!("`{digits}` is no byte"))?));
                }
                other => return Err(format!("`{other}` is no byte, `??`, `(` or `)?`")),
            }
            inside = (inside || word == "(") && word != ")?";
        }
        parts.push(Part::Bytes(bytes));
        let pattern = Self { parts };
        if inside || pattern.longest() > PATTERN_MAX || pattern.optional() > OPTIONAL_MAX {
            return Err("the pattern is unfinished or too long".to_owned());
        }
        if pattern.anchor().is_none_or(|(_, anchor)| anchor.len() < 4) {
            return Err("four bytes in a row must be certain before the first group".to_owned());
        }
        Ok(pattern)
    }
}

impl Pattern {
    fn longest(&self) -> usize {
        let lengths = self.parts.iter().map(|part| match part {
            Part::Bytes(bytes) | Part::Optional(bytes) => bytes.len(),
        });
        lengths.fold(0, usize::saturating_add)
    }

    fn optional(&self) -> usize {
        self.parts.iter().filter(|part| matches!(part, Part::Optional(_))).count()
    }

    /// The longest run of certain bytes at a certain distance from the start, which a search looks for.
    fn anchor(&self) -> Option<(usize, Vec<u8>)> {
        let Some(Part::Bytes(head)) = self.parts.first() else { return None };
        let mut best: Option<(usize, Vec<u8>)> = None;
        let mut at = 0_usize;
        for run in head.split(Option::is_none) {
            if best.as_ref().is_none_or(|(_, longest)| run.len() > longest.len()) {
                best = Some((at, run.iter().copied().flatten().collect()));
            }
            at = at.saturating_add(run.len()).saturating_add(1);
        }
        best
    }

    /// Whether `code` begins with the pattern, with every group there or not.
    pub fn matches(&self, code: &[u8]) -> bool {
        fits(&self.parts, code)
    }
}

fn fits(parts: &[Part], code: &[u8]) -> bool {
    let Some((first, rest)) = parts.split_first() else { return true };
    let (Part::Bytes(bytes) | Part::Optional(bytes)) = first;
    let here = code.len() >= bytes.len()
        && bytes.iter().zip(code).all(|(wanted, byte)| wanted.is_none_or(|wanted| wanted == *byte));
    let with = here && code.get(bytes.len()..).is_some_and(|code| fits(rest, code));
    with || (matches!(first, Part::Optional(_)) && fits(rest, code))
}

/// Finds the functions of a library that begin as a row says; one that fits in several places is left out.
pub fn find(image: &Segments<'_>, library: &str) -> Vec<Located> {
    let rows: Vec<_> = SIGNATURES
        .iter()
        .filter(|row| row.library == library && row.machine == image.machine.as_str())
        .collect();
    let patterns: Vec<_> = rows.iter().map(|row| &row.pattern).collect();
    let mut places: BTreeMap<&'static str, BTreeSet<u64>> = BTreeMap::new();
    for (row, found) in rows.iter().zip(search(image, &patterns)) {
        places.entry(row.function.as_str()).or_default().extend(found);
    }
    places
        .into_iter()
        .filter_map(|(function, found)| match found.into_iter().collect::<Vec<_>>().as_slice() {
            [only] => Some((function, *only)),
            _ => None,
        })
        .collect()
}

/// Every place of the code at which a pattern matches, for each pattern; nothing where a pattern comes up too often.
pub fn search(image: &Segments<'_>, patterns: &[&Pattern]) -> Vec<BTreeSet<u64>> {
    let mut searches: Vec<_> = patterns.iter().map(|pattern| Search::new(pattern)).collect();
    for segment in image.code() {
        image.each_piece(segment, PATTERN_MAX, |address, piece| {
            for search in &mut searches {
                search.look(address, piece);
            }
            ControlFlow::Continue(())
        });
    }
    searches.into_iter().map(Search::finish).collect()
}

/// The search for one pattern.
struct Search<'p> {
    pattern: &'p Pattern,
    /// Distance of the anchor from the start.
    ahead: usize,
    anchor: Finder<'static>,
    tries: usize,
    places: BTreeSet<u64>,
}

impl<'p> Search<'p> {
    fn new(pattern: &'p Pattern) -> Self {
        let (ahead, anchor) = pattern.anchor().unwrap_or_default();
        let anchor = Finder::new(&anchor).into_owned();
        Self { pattern, ahead, anchor, tries: 0, places: BTreeSet::new() }
    }

    fn look(&mut self, address: u64, piece: &[u8]) {
        let left = TRIES_MAX.saturating_sub(self.tries);
        for at in self.anchor.find_iter(piece).take(left) {
            self.tries = self.tries.saturating_add(1);
            let Some(start) = at.checked_sub(self.ahead) else { continue };
            if piece.get(start..).is_some_and(|code| self.pattern.matches(code)) {
                self.places.insert(address.wrapping_add(u64::try_from(start).unwrap_or(u64::MAX)));
            }
        }
    }

    fn finish(self) -> BTreeSet<u64> {
        // What was found before the search was given up may have been one of many.
        if self.tries < TRIES_MAX { self.places } else { BTreeSet::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::try_from(text.to_owned()).unwrap()
    }

    fn bytes(hex: &str) -> Vec<u8> {
        hex.as_bytes()
            .as_chunks::<2>()
            .0
            .iter()
            .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    fn every_row_matches_itsexamples_and_nothing_near_them() {
        let rows = parse(ROWS).unwrap();
        assert!(rows.iter().all(|row| !row.examples.is_empty()));
        for row in &rows {
            for example in &row.examples {
                let code = bytes(example);
                assert!(row.pattern.matches(&code), "{} {example}", row.function);
                let mut other = code.clone();
                other[5] ^= 1;
                assert!(!row.pattern.matches(&other), "{} {example}", row.function);
                assert!(!row.pattern.matches(&code[1..]), "{} {example}", row.function);
                let fitting = rows.iter().filter(|row| row.pattern.matches(&code));
                assert!(fitting.map(|other| &other.function).all(|name| *name == row.function));
            }
        }
    }

    #[test]
    fn group_may_be_missing() {
        let pattern = pattern("55 48 89 e5 ?? ( 64 48 )? 90");
        assert!(pattern.matches(&[0x55, 0x48, 0x89, 0xe5, 7, 0x90]));
        assert!(pattern.matches(&[0x55, 0x48, 0x89, 0xe5, 7, 0x64, 0x48, 0x90]));
        assert!(!pattern.matches(&[0x55, 0x48, 0x89, 0xe5, 7, 0x64, 0x90]));
        assert!(!pattern.matches(&[0x55, 0x48, 0x89, 0xe5, 7]));
    }

    #[test]
    fn broken_patterns_are_refused() {
        for text in [
            "",
            "55 48",
            "55 48 89 e5 ( 90",
            "55 48 89 e5 )?",
            "( 90 )? 55 48 89 e5",
            "55 48 89 zz",
        ] {
            assert!(Pattern::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
