//! What a subject or a rule asks, and facts, come in; yes, no, or "that depends on these" goes out.

use std::collections::HashSet;

use jiff::Timestamp;

use crate::policy::Approved;
use crate::policy::Attribute;
use crate::policy::Attributes;
use crate::policy::Fact;
use crate::policy::Facts;
use crate::policy::facts::TRANSPORTS;
use crate::policy::pattern::Handle;
use crate::policy::pattern::Pattern;
use crate::policy::window::Window;

/// An answer of three-valued logic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It holds.
    Yes,
    /// It does not.
    No,
    /// It depends on these attributes.
    Depends(Attributes),
}

impl Answer {
    fn of(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }

    /// Both must hold.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, rest) | (rest, Self::Yes) => rest,
            (Self::Depends(left), Self::Depends(right)) => Self::Depends(left.union(right)),
        }
    }

    /// One must hold.
    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Yes, _) | (_, Self::Yes) => Self::Yes,
            (Self::No, rest) | (rest, Self::No) => rest,
            (Self::Depends(left), Self::Depends(right)) => Self::Depends(left.union(right)),
        }
    }
}

/// Patterns, those without a wildcard in a set.
#[derive(Clone, Debug, Default)]
pub(super) struct Patterns {
    exact: HashSet<Box<str>>,
    wild: Vec<Pattern>,
    all: Vec<Pattern>,
}

impl Patterns {
    /// Whether every value of the other patterns is one of these; `false` where that cannot be told.
    pub(super) fn cover(&self, others: &Self) -> bool {
        others.iter().all(|other| {
            self.exact.contains(other.as_str())
                || self.wild.iter().any(|pattern| pattern.covers(other))
        })
    }

    /// Whether no value is one of these and one of the others; `false` where that cannot be told.
    fn is_apart(&self, others: &Self) -> bool {
        self.iter().all(|mine| {
            if mine.is_exact() {
                return !others.matches(mine.as_str());
            }
            others.iter().all(|theirs| mine.is_apart(theirs))
        })
    }

    /// How many comparisons `cover` takes at most.
    fn cost(&self, others: &Self) -> usize {
        others.all.len().saturating_mul(self.wild.len().saturating_add(1))
    }

    pub(super) fn new(all: Vec<Pattern>) -> Self {
        let (exact, wild): (Vec<_>, Vec<_>) = all.iter().cloned().partition(Pattern::is_exact);
        let exact = exact.iter().map(|pattern| pattern.as_str().into()).collect();
        Self { exact, wild, all }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Pattern> {
        self.all.iter()
    }

    /// The patterns that a value matches, as they are written.
    pub(super) fn naming(&self, value: &str) -> Vec<&str> {
        let exact = self.exact.get(value).map(|text| &**text);
        let wild = self.wild.iter().filter(|pattern| pattern.matches(value));
        exact.into_iter().chain(wild.map(Pattern::as_str)).collect()
    }

    pub(super) fn matches(&self, value: &str) -> bool {
        self.exact.contains(value) || self.wild.iter().any(|pattern| pattern.matches(value))
    }
}

/// What is asked about one attribute.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) attribute: Attribute,
    /// Key of a label.
    pub(super) key: Option<Box<str>>,
    /// One must match; empty asks nothing.
    pub(super) any: Patterns,
    /// None may match.
    pub(super) not: Patterns,
}

impl Condition {
    /// Whether whatever holds for the other holds for this; `false` where that cannot be told.
    fn covers(&self, other: &Self) -> bool {
        let same = self.attribute == other.attribute && self.key == other.key;
        let any = self.any.is_empty() || (!other.any.is_empty() && self.any.cover(&other.any));
        same && any && other.not.cover(&self.not)
    }

    /// Whether nothing holds for this and the other; `false` where that cannot be told.
    fn excludes(&self, other: &Self) -> bool {
        let is_single = !matches!(self.attribute, Attribute::Parent | Attribute::Transport);
        let both = !self.any.is_empty() && !other.any.is_empty();
        let refused = |one: &Patterns, not: &Patterns| !one.is_empty() && not.cover(one);
        self.attribute == other.attribute
            && self.key == other.key
            && ((both && is_single && self.any.is_apart(&other.any))
                || refused(&self.any, &other.not)
                || refused(&other.any, &self.not))
    }

    /// How many comparisons that takes at most.
    fn excluding_cost(&self, other: &Self) -> usize {
        let costs = [
            self.any.cost(&other.any),
            other.any.cost(&self.any),
            other.not.cost(&self.any),
            self.not.cost(&other.any),
        ];
        costs.into_iter().fold(0, usize::saturating_add)
    }

    pub(super) fn answer(&self, facts: &Facts<'_>) -> Answer {
        match self.attribute {
            Attribute::Parent => match facts.parents() {
                Fact::Known(parents) => self.hold(parents),
                Fact::Absent => self.hold(&[]),
                Fact::Unknown => self.depends(),
            },
            Attribute::Transport => self.answer_transport(facts),
            Attribute::Labels => {
                self.answer_text(facts.label(self.key.as_deref().unwrap_or_default()))
            }
            Attribute::Host => match facts.text(Attribute::Host) {
                Fact::Known(host) if host.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                    self.hold(&[&host.to_ascii_lowercase()])
                }
                other => self.answer_text(other),
            },
            single => self.answer_text(facts.text(single)),
        }
    }

    fn answer_text(&self, fact: Fact<&str>) -> Answer {
        match fact {
            Fact::Known(value) => self.hold(&[value]),
            Fact::Absent => self.hold(&[]),
            Fact::Unknown => self.depends(),
        }
    }

    fn hold(&self, values: &[&str]) -> Answer {
        let any = self.any.is_empty() || values.iter().any(|value| self.any.matches(value));
        Answer::of(any && !values.iter().any(|value| self.not.matches(value)))
    }

    /// Each way to travel is a fact of its own.
    fn answer_transport(&self, facts: &Facts<'_>) -> Answer {
        let travels = |patterns: &Patterns| {
            TRANSPORTS.iter().filter(|(_, word)| patterns.matches(word)).fold(
                Answer::No,
                |so_far, (way, _)| {
                    so_far.or(match facts.transport(*way) {
                        Fact::Known(holds) => Answer::of(holds),
                        Fact::Absent => Answer::No,
                        Fact::Unknown => self.depends(),
                    })
                },
            )
        };
        let any = if self.any.is_empty() { Answer::Yes } else { travels(&self.any) };
        let not = match travels(&self.not) {
            Answer::Yes => Answer::No,
            Answer::No => Answer::Yes,
            depends @ Answer::Depends(_) => depends,
        };
        any.and(not)
    }

    fn depends(&self) -> Answer {
        Answer::Depends(Attributes::default().with(self.attribute))
    }
}

/// Conditions that must all hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Conditions {
    pub(super) all: Vec<Condition>,
    pub(super) approved: Option<bool>,
    pub(super) window: Option<Window>,
}

impl Conditions {
    /// Whether whatever matches the other matches this; `false` where that cannot be told.
    pub(super) fn cover(&self, other: &Self) -> bool {
        let conditions =
            self.all.iter().all(|mine| other.all.iter().any(|theirs| mine.covers(theirs)));
        conditions
            && self.window.is_none()
            && (self.approved.is_none() || self.approved == other.approved)
    }

    /// How many comparisons of patterns `cover` takes at most.
    pub(super) fn cost(&self, other: &Self) -> usize {
        let mut cost = self.all.len().saturating_mul(other.all.len());
        for (mine, theirs) in self.all.iter().flat_map(|mine| {
            let same = |theirs: &&Condition| mine.attribute == theirs.attribute;
            other.all.iter().filter(same).map(move |theirs| (mine, theirs))
        }) {
            cost = cost.saturating_add(mine.any.cost(&theirs.any));
            cost = cost.saturating_add(theirs.not.cost(&mine.not));
        }
        cost
    }

    /// Whether nothing can match both this and the other; `None` where that costs more than `take` gives.
    pub(super) fn excludes(
        &self,
        other: &Self,
        mut take: impl FnMut(usize) -> Option<()>,
    ) -> Option<bool> {
        for (mine, theirs) in self.all.iter().flat_map(|mine| {
            let same = |theirs: &&Condition| mine.attribute == theirs.attribute;
            other.all.iter().filter(same).map(move |theirs| (mine, theirs))
        }) {
            take(mine.excluding_cost(theirs))?;
            if mine.excludes(theirs) {
                return Some(true);
            }
        }
        Some(false)
    }

    /// How many comparisons of patterns `is_contradictory` takes at most.
    pub(super) fn own_cost(&self) -> usize {
        self.all.iter().fold(0, |sum: usize, one| sum.saturating_add(one.not.cost(&one.any)))
    }

    /// Whether nothing can match: what must match is all among what may not.
    pub(super) fn is_contradictory(&self) -> bool {
        self.all.iter().any(|one| !one.any.is_empty() && one.not.cover(&one.any))
    }

    pub(super) fn answer(&self, facts: &Facts<'_>, approved: &Approved, now: Timestamp) -> Answer {
        if self.window.as_ref().is_some_and(|window| !window.contains(now)) {
            return Answer::No;
        }
        let mut answer = Answer::Yes;
        for condition in &self.all {
            answer = answer.and(condition.answer(facts));
            if answer == Answer::No {
                return Answer::No;
            }
        }
        match self.approved {
            None => answer,
            Some(wanted) => answer.and(match facts.text(Attribute::Provider) {
                Fact::Known(provider) => Answer::of(approved.contains(provider) == wanted),
                Fact::Absent => Answer::of(!wanted),
                Fact::Unknown => Answer::Depends(Attributes::default().with(Attribute::Provider)),
            }),
        }
    }

    /// The condition that is best looked up by value: the one whose patterns all have a fixed end.
    pub(super) fn handle(&self) -> Option<(Attribute, Vec<Handle<'_>>)> {
        let usable = self.all.iter().filter(|condition| {
            let single = !matches!(
                condition.attribute,
                Attribute::Parent | Attribute::Labels | Attribute::Transport
            );
            let fixed = condition.any.iter().all(|pattern| pattern.handle() != Handle::None);
            single && fixed && !condition.any.is_empty()
        });
        let best = usable.min_by_key(|condition| {
            let wild = condition.any.iter().filter(|pattern| !pattern.is_exact()).count();
            (wild, condition.any.iter().count())
        })?;
        Some((best.attribute, best.any.iter().map(Pattern::handle).collect()))
    }

    /// The attributes asked about, with their values.
    pub(super) fn grounds(&self, facts: &Facts<'_>, grounds: &mut Vec<(Attribute, String)>) {
        for condition in &self.all {
            let value = match condition.attribute {
                Attribute::Parent => facts.parents().known().map(|all| all.join(" < ")),
                Attribute::Labels => {
                    let key = condition.key.as_deref().unwrap_or_default();
                    facts.label(key).known().map(|value| format!("{key}={value}"))
                }
                Attribute::Transport => {
                    let ways = TRANSPORTS
                        .iter()
                        .filter(|(way, _)| facts.transport(*way) == Fact::Known(true));
                    Some(ways.map(|(_, word)| *word).collect::<Vec<_>>().join(" "))
                }
                single => facts.text(single).known().map(str::to_owned),
            };
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                grounds.push((condition.attribute, value));
            }
        }
    }
}
