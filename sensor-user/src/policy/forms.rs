//! The policies of a set come in; the automaton that says which of their patterns a model's name matches, in one step a byte,
//! goes out.
//!
//! ```text
//! patterns `*-pro`, `gpt-*`     name  g  p  t  -  5  -  p  r  o  end
//!                               state 1->2->3->4->5->5->6->7->8 -> the set {`*-pro`, `gpt-*`}
//! ```
//! A state is the set of places in patterns that the bytes so far can lead to. Sets of patterns have numbers; of each, a
//! name that matches just those is kept: what the engine says of it, it says of all such names that no rule names whole.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use sensor_common::forms::{FORM_CLASSES_MAX, FORM_DEAD, FORM_NONE, FORM_START, FORMS_LEN};
use sensor_common::limits::FORM_STATES_MAX;
use sensor_common::state::{NAME_HASH_PRIME, NAME_HASH_START};

use crate::policy::Attribute;
use crate::policy::Set;
use crate::policy::pattern::{Part, Pattern};

/// Places in patterns that all states together may hold: what is more is taken for too many states.
const PLACES_MAX: usize = 1 << 17;
/// Class of the end of a name, and of the bytes that no pattern holds.
const END: usize = 0;
const FOREIGN: usize = 1;

/// The forms that the models of a set's enforcing policies are told apart by.
#[derive(Debug, PartialEq, Eq)]
pub struct Forms {
    /// A number that follows from the automaton: what the gate knows it by.
    pub number: u32,
    /// The automaton, as the gate reads it: what is behind its last state is left out.
    pub table: Vec<u16>,
    /// A name of each form, by its number: one that matches these patterns and no others, and that no rule names whole;
    /// `None` where there is no such.
    pub samples: Vec<Option<String>>,
}

/// Places in patterns, in order: the number of the pattern, and of the part that comes next.
type Places = Vec<(u16, u16)>;

impl Set {
    /// The forms of models; `None` where no pattern is named, or where they need more states than there may be.
    pub fn forms(&self) -> Option<&Arc<Forms>> {
        let made = || {
            let all = self.patterns(Attribute::Model);
            let all = all.filter(|pattern| !pattern.is_exact() && !pattern.is_any());
            let all: BTreeMap<_, _> = all.map(|pattern| (pattern.as_str(), pattern)).collect();
            let patterns: Vec<_> = all.into_values().collect();
            let named = self.named(Attribute::Model);
            let is_free = |name: &str| !named.whole.contains(name);
            Forms::new(&patterns, is_free).map(Arc::new)
        };
        self.forms.get_or_init(made).as_ref()
    }
}

impl Forms {
    fn new(patterns: &[&Pattern], is_free: impl Fn(&str) -> bool) -> Option<Self> {
        // Without a pattern the first state would be the dead one.
        if patterns.is_empty() {
            return None;
        }
        let alphabet = Alphabet::of(patterns)?;
        let mut automaton = Automaton::default();
        automaton.enter(Places::new())?;
        automaton.enter(close(patterns, (0..).zip(vec![0; patterns.len()]).collect()))?;
        let mut done = 0_usize;
        while let Some(places) = automaton.states.get(done).cloned() {
            let mut row = [0_u16; FORM_CLASSES_MAX];
            for (to, byte) in row.iter_mut().skip(FOREIGN).zip(&alphabet.bytes) {
                *to = automaton.enter(step(patterns, &places, *byte))?;
            }
            if let Some(end) = row.get_mut(END) {
                *end = automaton.form(patterns, &places)?;
            }
            automaton.rows.push(row);
            done = done.saturating_add(1);
        }
        let mut table: Vec<u16> = alphabet.classes.to_vec();
        automaton.rows.iter().for_each(|row| table.extend(row));
        let samples = automaton.samples(&alphabet, is_free);
        let hash = table.iter().fold(NAME_HASH_START, |hash, entry| {
            (hash ^ u64::from(*entry)).wrapping_mul(NAME_HASH_PRIME)
        });
        let number = u32::try_from(hash >> 33).unwrap_or_default().max(1);
        (table.len() <= FORMS_LEN).then_some(Self { number, table, samples })
    }
}

#[cfg(test)]
impl Forms {
    /// Form of a name, found as the gate finds it.
    pub fn form(&self, name: &str) -> u32 {
        let entry = |at: u32| u32::from(self.table[usize::try_from(at).unwrap()]);
        let row = u32::try_from(FORM_CLASSES_MAX).unwrap();
        let end = name.bytes().fold(FORM_START, |state, byte| {
            entry(state.saturating_mul(row).saturating_add(entry(u32::from(byte))))
        });
        entry(end.saturating_mul(row))
    }
}

/// Classes of bytes: those that patterns hold, each by itself, and all others.
struct Alphabet {
    classes: [u16; 256],
    /// A byte of each class, from the foreign ones on.
    bytes: Vec<u8>,
}

impl Alphabet {
    fn of(patterns: &[&Pattern]) -> Option<Self> {
        let mut known: Vec<u8> = Vec::new();
        for (parts, separator) in patterns.iter().map(|pattern| pattern.parts()) {
            known.push(separator);
            known.extend(parts.iter().filter_map(|part| match part {
                Part::Byte(byte) => Some(*byte),
                Part::Segment | Part::Run => None,
            }));
        }
        known.sort_unstable();
        known.dedup();
        let foreign = (1..=0x7f).find(|byte| !known.contains(byte))?;
        let mut bytes = vec![foreign];
        bytes.append(&mut known);
        let mut classes = [u16::try_from(FOREIGN).ok()?; 256];
        for (class, byte) in (FOREIGN..).zip(&bytes) {
            *classes.get_mut(usize::from(*byte))? = u16::try_from(class).ok()?;
        }
        (bytes.len() < FORM_CLASSES_MAX).then_some(Self { classes, bytes })
    }
}

/// The automaton while it is made.
#[derive(Default)]
struct Automaton {
    states: Vec<Places>,
    numbers: HashMap<Places, u16>,
    rows: Vec<[u16; FORM_CLASSES_MAX]>,
    /// Numbers of sets of patterns.
    forms: HashMap<Vec<u16>, u16>,
    places: usize,
}

impl Automaton {
    /// Number of the state with these places; `None` where there are too many.
    fn enter(&mut self, places: Places) -> Option<u16> {
        if let Some(known) = self.numbers.get(&places) {
            return Some(*known);
        }
        self.places = self.places.saturating_add(places.len());
        let number = self.states.len().saturating_add(usize::try_from(FORM_DEAD).ok()?);
        if number >= FORM_STATES_MAX || self.places > PLACES_MAX {
            return None;
        }
        let number = u16::try_from(number).ok()?;
        self.states.push(places.clone());
        self.numbers.insert(places, number);
        Some(number)
    }

    /// Number of the set of patterns that a name has matched where it ends at these places.
    fn form(&mut self, patterns: &[&Pattern], places: &[(u16, u16)]) -> Option<u16> {
        let is_end = |(pattern, part): &&(u16, u16)| {
            let parts = patterns.get(usize::from(*pattern)).map(|pattern| pattern.parts().0.len());
            parts == Some(usize::from(*part))
        };
        let matched: Vec<_> = places.iter().filter(is_end).map(|(pattern, _)| *pattern).collect();
        if matched.is_empty() {
            return u16::try_from(FORM_NONE).ok();
        }
        let next = u16::try_from(self.forms.len()).ok()?.checked_add(1)?;
        Some(*self.forms.entry(matched).or_insert(next))
    }

    fn row(&self, state: u16) -> Option<&[u16; FORM_CLASSES_MAX]> {
        self.rows.get(usize::from(state).checked_sub(usize::try_from(FORM_DEAD).ok()?)?)
    }

    /// The shortest name of each form, with a foreign byte where there is such: no rule names it whole then.
    fn samples(&self, alphabet: &Alphabet, is_free: impl Fn(&str) -> bool) -> Vec<Option<String>> {
        let mut plain = vec![None; self.forms.len().saturating_add(1)];
        let mut samples = plain.clone();
        let mut known = HashMap::new();
        let start = (u16::try_from(FORM_START).unwrap_or(0), false);
        known.insert(start, Vec::new());
        let mut queue = VecDeque::from([start]);
        while let Some((state, is_foreign)) = queue.pop_front() {
            let name = known.get(&(state, is_foreign)).cloned().unwrap_or_default();
            let Some(row) = self.row(state) else { continue };
            let form = row.get(END).copied().map_or(0, usize::from);
            let found = String::from_utf8(name.clone()).ok();
            let found = found.filter(|name| !name.is_empty() && is_free(name));
            let place = if is_foreign { samples.get_mut(form) } else { plain.get_mut(form) };
            if let Some(place) = place.filter(|place| place.is_none()) {
                *place = found;
            }
            for (next, byte) in row.iter().skip(FOREIGN).zip(&alphabet.bytes) {
                let next = (*next, is_foreign || alphabet.bytes.first() == Some(byte));
                let is_new = !known.contains_key(&next);
                queue.extend(is_new.then_some(next));
                known.entry(next).or_insert_with(|| [name.as_slice(), &[*byte]].concat());
            }
        }
        samples.into_iter().zip(plain).map(|(sample, plain)| sample.or(plain)).collect()
    }
}

/// Adds the places that are reached without a byte: a wildcard may stand for nothing.
fn close(patterns: &[&Pattern], places: Places) -> Places {
    let mut all = places;
    let mut at = 0;
    while let Some((pattern, part)) = all.get(at).copied() {
        let parts = patterns.get(usize::from(pattern)).map(|pattern| pattern.parts().0);
        let next = parts.and_then(|parts| parts.get(usize::from(part)));
        if matches!(next, Some(Part::Segment | Part::Run)) {
            all.push((pattern, part.saturating_add(1)));
        }
        at = at.saturating_add(1);
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// The places behind one more byte.
fn step(patterns: &[&Pattern], places: &[(u16, u16)], byte: u8) -> Places {
    let next = places.iter().filter_map(|(pattern, part)| {
        let (parts, separator) = patterns.get(usize::from(*pattern))?.parts();
        match parts.get(usize::from(*part))? {
            Part::Byte(wanted) => (*wanted == byte).then_some((*pattern, part.saturating_add(1))),
            Part::Segment => (byte != separator).then_some((*pattern, *part)),
            Part::Run => Some((*pattern, *part)),
        }
    });
    close(patterns, next.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn forms(patterns: &[String]) -> (Vec<Pattern>, Option<Forms>) {
        let all: Vec<_> =
            patterns.iter().filter_map(|text| Pattern::new(text, b'/').ok()).collect();
        let made = Forms::new(&all.iter().collect::<Vec<_>>(), |name| name != "a");
        (all, made)
    }

    #[test]
    fn names_are_told_apart_by_patterns_of_every_form() {
        let texts = ["*-pro", "gpt-*-mini", "*codex*", "org/*-pro", "**-r1", "gpt-4*"];
        let (_, made) = forms(&texts.map(str::to_owned));
        let made = made.unwrap();
        let same = |one: &str, other: &str| made.form(one) == made.form(other);
        assert!(same("o3-pro", "o1-pro") && same("x", "gpt-mini") && same("a/b-pro", "x"));
        assert!(!same("o3-pro", "x") && !same("o3-pro", "gpt-4-pro") && !same("org/o-pro", "x"));
        assert!(same("deepseek/a-r1", "b-r1") && !same("gpt-5-codex-mini", "gpt-5-mini"));
        assert_eq!(made.form("x"), 0);
    }

    #[test]
    fn patterns_that_need_too_many_states_are_none() {
        let texts: Vec<_> = (10..40).map(|at| format!("*a{at}b*")).collect();
        assert_eq!(forms(&texts).1, None);
        let texts: Vec<_> = (0..300).map(|at| format!("model-{at}*")).collect();
        assert!(forms(&texts).1.is_some());
    }

    proptest! {
        #[test]
        fn form_of_a_name_is_the_set_of_patterns_that_it_matches(
            texts in prop::collection::vec("[ab/*]{1,6}", 1..6),
            names in prop::collection::vec("[abc/]{0,8}", 2),
        ) {
            let (patterns, Some(made)) = forms(&texts) else { return Ok(()) };
            let matched = |name: &str| -> Vec<bool> {
                patterns.iter().map(|pattern| pattern.matches(name)).collect()
            };
            let [one, other] = [&names[0], &names[1]];
            prop_assert_eq!(made.form(one) == made.form(other), matched(one) == matched(other));
            prop_assert_eq!(made.form(one) == 0, !matched(one).contains(&true));
            if let Some(sample) = &made.samples[usize::try_from(made.form(one)).unwrap()] {
                prop_assert_eq!(matched(sample), matched(one));
                prop_assert_ne!(sample, "a");
            }
        }
    }
}
