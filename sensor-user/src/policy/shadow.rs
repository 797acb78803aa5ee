//! The conditions and effects of the rules of one policy come in; which rule makes which other one useless goes out.
//!
//! Comparing each rule with each other one would take a minute for the rules that a folder may hold. So a rule is entered
//! under the patterns of the one entry that it shares with the fewest others, and only those that are found there are
//! compared.

use std::collections::HashMap;

use crate::policy::Attribute;
use crate::policy::Effect;
use crate::policy::condition::Condition;
use crate::policy::condition::Conditions;
use crate::policy::pattern::Handle;
use crate::policy::pattern::Pattern;

/// Comparisons of two patterns in one check of all policies: about a second.
const COMPARISONS_MAX: usize = 16 * 1024 * 1024;

/// What is left of the comparisons.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(COMPARISONS_MAX)
    }
}

impl Budget {
    /// Takes what a comparison costs; `None` where that is more than is left.
    pub(super) fn take(&mut self, cost: usize) -> Option<()> {
        self.0 = self.0.checked_sub(cost)?;
        Some(())
    }
}

/// An attribute, for a label with its key.
type Place<'a> = (Attribute, Option<&'a str>);

/// Rules by the patterns under which they are found.
#[derive(Default)]
struct Table<'a> {
    /// The text of a pattern, whatever it holds.
    same: HashMap<&'a str, Vec<usize>>,
    prefixes: HashMap<&'a str, Vec<usize>>,
    suffixes: HashMap<&'a str, Vec<usize>>,
    /// Patterns without a fixed end, `*` among them.
    loose: Vec<usize>,
}

/// Finds for a rule of one policy those that may match all of it.
pub(super) struct Shadows<'a> {
    rules: &'a [(Conditions, Effect)],
    tables: HashMap<Place<'a>, Table<'a>>,
    /// Rules without a pattern that must match.
    open: Vec<usize>,
}

fn place(condition: &Condition) -> Place<'_> {
    (condition.attribute, condition.key.as_deref())
}

fn asking(conditions: &Conditions) -> impl Iterator<Item = &Condition> {
    conditions.all.iter().filter(|condition| !condition.any.is_empty())
}

impl<'a> Shadows<'a> {
    /// Enters all rules of a policy.
    pub(super) fn new(rules: &'a [(Conditions, Effect)]) -> Self {
        let mut shared: HashMap<(Place<'a>, &'a str), usize> = HashMap::new();
        for condition in rules.iter().flat_map(|(conditions, _)| asking(conditions)) {
            for pattern in condition.any.iter() {
                let count = shared.entry((place(condition), pattern.as_str())).or_default();
                *count = count.saturating_add(1);
            }
        }
        let crowd = |condition: &&Condition| {
            let of = |pattern: &Pattern| match pattern.handle() {
                Handle::None => rules.len(),
                _ => shared.get(&(place(condition), pattern.as_str())).copied().unwrap_or(0),
            };
            condition.any.iter().fold(0, |sum: usize, pattern| sum.saturating_add(of(pattern)))
        };
        let mut made = Self { rules, tables: HashMap::new(), open: Vec::new() };
        for (at, (conditions, _)) in rules.iter().enumerate() {
            match asking(conditions).min_by_key(crowd) {
                None => made.open.push(at),
                Some(condition) => {
                    made.tables.entry(place(condition)).or_default().enter(at, condition);
                }
            }
        }
        made
    }

    /// The first rule that makes this one useless: it matches all of it, and is as strong or stronger. `Err` where that
    /// would take too long to find out.
    pub(super) fn find(&self, at: usize, budget: &mut Budget) -> Result<Option<usize>, ()> {
        let Some((mine, weaker)) = self.rules.get(at) else { return Ok(None) };
        for other in self.candidates(mine, budget).ok_or(())? {
            let Some((theirs, stronger)) = self.rules.get(other) else { continue };
            if other == at || stronger < weaker {
                continue;
            }
            budget.take(theirs.cost(mine)).ok_or(())?;
            if !theirs.cover(mine) {
                continue;
            }
            // Of two that match the same, the later one is useless.
            let may_be_the_same = stronger == weaker && other > at;
            if may_be_the_same {
                budget.take(mine.cost(theirs)).ok_or(())?;
            }
            if !may_be_the_same || !mine.cover(theirs) {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    /// Rules that may match all of this one, each once, in order.
    fn candidates(&self, mine: &Conditions, budget: &mut Budget) -> Option<Vec<usize>> {
        let mut found = self.open.clone();
        for condition in asking(mine) {
            // Whoever matches all of it matches its first pattern too.
            let (Some(table), Some(first)) =
                (self.tables.get(&place(condition)), condition.any.iter().next())
            else {
                continue;
            };
            table.find(first, &mut found);
        }
        budget.take(found.len())?;
        found.sort_unstable();
        found.dedup();
        Some(found)
    }
}

impl<'a> Table<'a> {
    fn enter(&mut self, at: usize, condition: &'a Condition) {
        for pattern in condition.any.iter() {
            self.same.entry(pattern.as_str()).or_default().push(at);
            match pattern.handle() {
                Handle::Exact(_) => {}
                Handle::Prefix(text) => self.prefixes.entry(text).or_default().push(at),
                Handle::Suffix(text) => self.suffixes.entry(text).or_default().push(at),
                Handle::None => self.loose.push(at),
            }
        }
    }

    fn find(&self, pattern: &Pattern, found: &mut Vec<usize>) {
        let text = pattern.as_str();
        found.extend(self.same.get(text).into_iter().flatten());
        found.extend(&self.loose);
        // What covers a pattern with wildcards has a fixed end of its own that is no longer than that of the other.
        for at in 0..=text.len() {
            let ends = text.get(..at).map(|start| (start, text.get(at..).unwrap_or_default()));
            let Some((start, end)) = ends else { continue };
            found.extend(self.prefixes.get(start).into_iter().flatten());
            found.extend(self.suffixes.get(end).into_iter().flatten());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::condition::Patterns;
    use proptest::prelude::*;

    fn condition(attribute: Attribute, texts: &[&str], not: &[&str]) -> Condition {
        let patterns = |texts: &[&str]| {
            Patterns::new(texts.iter().map(|text| Pattern::new(text, b'/').unwrap()).collect())
        };
        Condition { attribute, key: None, any: patterns(texts), not: patterns(not) }
    }

    fn rule(all: Vec<Condition>) -> Conditions {
        Conditions { all, approved: None, window: None }
    }

    /// Comparing everything with everything.
    fn plainly(rules: &[(Conditions, Effect)], at: usize) -> Option<usize> {
        let (mine, weaker) = &rules[at];
        rules.iter().enumerate().position(|(other, (theirs, stronger))| {
            let same = stronger == weaker && mine.cover(theirs) && other > at;
            other != at && stronger >= weaker && theirs.cover(mine) && !same
        })
    }

    fn random() -> impl Strategy<Value = (Conditions, Effect)> {
        let texts = || {
            let text =
                prop::sample::select(vec!["a", "ab", "a*", "*b", "*", "**", "a/*", "*a*", "b"]);
            prop::collection::vec(text, 0..3)
        };
        let effect = prop::sample::select(vec![Effect::Allow, Effect::Alert, Effect::Deny]);
        let entry = |attribute| {
            (texts(), texts()).prop_map(move |(any, not)| condition(attribute, &any, &not))
        };
        (entry(Attribute::Model), entry(Attribute::Provider), effect).prop_map(
            |(model, provider, effect)| {
                let is_asked = |one: &Condition| !one.any.is_empty() || !one.not.is_empty();
                (rule([model, provider].into_iter().filter(is_asked).collect()), effect)
            },
        )
    }

    proptest! {
        #[test]
        fn finding_agrees_with_comparing_all(rules in prop::collection::vec(random(), 1..12)) {
            let shadows = Shadows::new(&rules);
            for at in 0..rules.len() {
                let found = shadows.find(at, &mut Budget::default());
                prop_assert_eq!(found, Ok(plainly(&rules, at)));
            }
        }
    }

    #[test]
    fn comparisons_grow_with_the_rules_and_end_at_the_budget() {
        let cost = |count: usize| {
            let one = |number: usize| {
                let model = format!("m-{number}-*");
                let all = vec![
                    condition(Attribute::Provider, &["openai"], &[]),
                    condition(Attribute::Model, &[&model], &[]),
                ];
                (rule(all), Effect::Deny)
            };
            let rules: Vec<_> = (0..count).map(one).collect();
            let (shadows, mut budget) = (Shadows::new(&rules), Budget::default());
            assert!((0..count).all(|at| shadows.find(at, &mut budget) == Ok(None)));
            COMPARISONS_MAX.saturating_sub(budget.0)
        };
        let (few, many) = (cost(100), cost(10_000));
        assert!(many <= few.saturating_mul(100), "{few} for 100 rules, {many} for 10,000");
        // Nothing of these has a fixed end: each has to be compared with each.
        let alike = |number: usize| {
            let text = format!("*{number}*");
            (rule(vec![condition(Attribute::Model, &[&text], &[])]), Effect::Deny)
        };
        let rules: Vec<_> = (0..10_000).map(alike).collect();
        let (shadows, mut budget) = (Shadows::new(&rules), Budget::default());
        let ended = (0..rules.len()).position(|at| shadows.find(at, &mut budget).is_err());
        assert!(ended.is_some_and(|at| at > 100), "{ended:?}");
    }
}
