//! Conditions come in once, each with a number; for given facts, the numbers of those that may hold go out.

use std::collections::HashMap;

use crate::policy::Attribute;
use crate::policy::Fact;
use crate::policy::Facts;
use crate::policy::condition::Conditions;
use crate::policy::pattern::Handle;

/// Finds conditions by the value of one attribute each, so that a decision does not look at every rule.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Those that no value leads to.
    always: Vec<u32>,
    by_attribute: Vec<(Attribute, Table)>,
}

#[derive(Clone, Debug, Default)]
struct Table {
    exact: HashMap<Box<str>, Vec<u32>>,
    /// Fixed beginnings, with the lengths that occur, in order.
    prefixes: HashMap<Box<str>, Vec<u32>>,
    prefix_lengths: Vec<usize>,
    suffixes: HashMap<Box<str>, Vec<u32>>,
    suffix_lengths: Vec<usize>,
    /// All of the table: what may hold while the value is unknown.
    all: Vec<u32>,
}

impl Index {
    /// Enters alternatives, of which one must hold, under one number.
    pub(super) fn add(&mut self, number: u32, alternatives: &[&Conditions]) {
        let handles: Option<Vec<_>> = alternatives.iter().map(|one| one.handle()).collect();
        match handles.filter(|handles| !handles.is_empty()) {
            None => self.always.push(number),
            Some(handles) => {
                for (attribute, handles) in handles {
                    self.table(attribute).add(number, &handles);
                }
            }
        }
    }

    fn table(&mut self, attribute: Attribute) -> &mut Table {
        let at = self.by_attribute.iter().position(|(known, _)| *known == attribute);
        let at = at.unwrap_or_else(|| {
            self.by_attribute.push((attribute, Table::default()));
            self.by_attribute.len().saturating_sub(1)
        });
        // The place was just found or made.
        #[expect(clippy::indexing_slicing, reason = "the place was just found or made")]
        &mut self.by_attribute[at].1
    }

    /// Numbers that may hold, each once, in order.
    pub(super) fn candidates(&self, facts: &Facts<'_>) -> Vec<u32> {
        let mut found = self.always.clone();
        for (attribute, table) in &self.by_attribute {
            match facts.text(*attribute) {
                Fact::Known(value) if *attribute == Attribute::Host => {
                    table.find(&value.to_ascii_lowercase(), &mut found);
                }
                Fact::Known(value) => table.find(value, &mut found),
                Fact::Absent => {}
                Fact::Unknown => found.extend(&table.all),
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl Table {
    fn add(&mut self, number: u32, handles: &[Handle<'_>]) {
        self.all.push(number);
        for handle in handles {
            match handle {
                Handle::Exact(text) => enter(&mut self.exact, text, number),
                Handle::Prefix(text) => {
                    enter(&mut self.prefixes, text, number);
                    note_length(&mut self.prefix_lengths, text.len());
                }
                Handle::Suffix(text) => {
                    enter(&mut self.suffixes, text, number);
                    note_length(&mut self.suffix_lengths, text.len());
                }
                // Such a pattern has no place here: `Conditions::handle` leaves it out.
                Handle::None => {}
            }
        }
    }

    fn find(&self, value: &str, found: &mut Vec<u32>) {
        found.extend(self.exact.get(value).into_iter().flatten());
        for length in &self.prefix_lengths {
            let Some(prefix) = value.get(..*length) else { continue };
            found.extend(self.prefixes.get(prefix).into_iter().flatten());
        }
        for length in &self.suffix_lengths {
            let suffix = value.len().checked_sub(*length).and_then(|from| value.get(from..));
            let Some(suffix) = suffix else { continue };
            found.extend(self.suffixes.get(suffix).into_iter().flatten());
        }
    }
}

fn enter(table: &mut HashMap<Box<str>, Vec<u32>>, text: &str, number: u32) {
    let numbers = table.entry(text.into()).or_default();
    if numbers.last() != Some(&number) {
        numbers.push(number);
    }
}

fn note_length(lengths: &mut Vec<usize>, length: usize) {
    if let Err(place) = lengths.binary_search(&length) {
        lengths.insert(place, length);
    }
}
