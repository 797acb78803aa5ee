//! Compiled policies and the catalogue's additions: all that the documents of one folder say.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;

use crate::policy::Attribute;
use crate::policy::Document;
use crate::policy::Effect;
use crate::policy::Existing;
use crate::policy::Forms;
use crate::policy::Problem;
use crate::policy::Severity;
use crate::policy::Source;
use crate::policy::compile;
use crate::policy::condition::Conditions;
use crate::policy::document::Mode;
use crate::policy::document::Presume;
use crate::policy::index::Index;
use crate::policy::pattern::Pattern;
use crate::policy::providers;
use crate::policy::read;
use crate::provider::catalogue::Local;

/// Names of providers that documents approve of.
pub(super) type Approved = BTreeSet<String>;

/// Policies in force at once: each may be looked at for a decision.
pub(super) const POLICIES_MAX: usize = 4096;
/// Rules of all policies.
pub(super) const RULES_MAX: usize = 65_536;

/// One compiled policy.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) name: Arc<str>,
    pub(super) mode: Mode,
    pub(super) default: Effect,
    /// One must hold; empty is everybody.
    pub(super) subjects: Vec<Conditions>,
    pub(super) rules: Vec<Rule>,
    pub(super) index: Index,
    pub(super) unknown: Presume,
    pub(super) opaque: Presume,
    pub(super) existing: Existing,
    /// Share of the subjects in units of 0.01 %.
    pub(super) rollout: u32,
    pub(super) expires: Option<Timestamp>,
    pub(super) suspends: Vec<Pattern>,
    pub(super) reason: Option<Arc<str>>,
}

/// One compiled rule.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) name: Arc<str>,
    pub(super) effect: Effect,
    pub(super) conditions: Conditions,
    pub(super) reason: Option<Arc<str>>,
}

/// All that the documents say, ready to decide.
#[derive(Clone, Debug, Default)]
pub struct Set {
    /// How many documents there are, of whatever kind.
    pub(super) documents: usize,
    pub(super) policies: Vec<Policy>,
    pub(super) index: Index,
    pub(super) approved: Approved,
    pub(super) providers: Vec<Local>,
    /// Made when they are first asked for.
    pub(super) forms: OnceLock<Option<Arc<Forms>>>,
}

/// Values of one attribute by the patterns that name them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named<'a> {
    /// Whole values.
    pub whole: BTreeSet<&'a str>,
    /// What values begin with that go on within their segment.
    pub begins: BTreeSet<&'a str>,
    /// There are patterns of other forms: what none of the above names may be named by them.
    pub others: bool,
}

impl Set {
    /// Reads and compiles files. One error refuses all of them; warnings are handed out with the set.
    pub fn read(sources: &[Source]) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let mut problems = Vec::new();
        let mut set = Self::default();
        let mut documents = Vec::new();
        for source in sources {
            let read = read::documents(source, &mut problems);
            documents.extend(read.into_iter().map(|document| (source.file.as_str(), document)));
        }
        set.documents = documents.len();
        for (file, document) in &documents {
            match document {
                Document::Policy(policy) => {
                    set.policies.extend(compile::policy(file, policy, &mut problems));
                }
                Document::Provider(provider) => {
                    providers::add(file, provider, &mut set, &mut problems);
                }
            }
        }
        compile::check_together(&documents, &mut problems);
        providers::check_together(&documents, &mut problems);
        problems.sort_by(|left, right| {
            (&left.file, left.line, left.column).cmp(&(&right.file, right.line, right.column))
        });
        if problems.iter().any(|problem| problem.severity == Severity::Error) {
            return Err(problems);
        }
        set.finish();
        Ok((set, problems))
    }

    /// Puts the policies into the order of their names, so that the order of files means nothing, and indexes them.
    fn finish(&mut self) {
        self.policies.sort_by(|left, right| left.name.cmp(&right.name));
        for (number, policy) in (0_u32..).zip(&mut self.policies) {
            policy.rules.sort_by(|left, right| left.name.cmp(&right.name));
            policy.index = Index::default();
            for (at, rule) in (0_u32..).zip(&policy.rules) {
                policy.index.add(at, &[&rule.conditions]);
            }
            let subjects: Vec<_> = policy.subjects.iter().collect();
            self.index.add(number, &subjects);
        }
    }

    /// How many documents were read, those that only add to the catalogue among them.
    pub fn documents(&self) -> usize {
        self.documents
    }

    /// How many policies there are.
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// Whether there is no policy.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// How many rules all policies have.
    pub fn rules(&self) -> usize {
        self.policies.iter().map(|policy| policy.rules.len()).sum()
    }

    /// Names of the policies with their modes, in order.
    pub fn policies(&self) -> impl Iterator<Item = (&str, Mode)> {
        self.policies.iter().map(|policy| (&*policy.name, policy.mode))
    }

    /// The values of an attribute that enforcing policies name.
    pub fn named(&self, attribute: Attribute) -> Named<'_> {
        let mut named = Named::default();
        for pattern in self.patterns(attribute) {
            match pattern.open_end() {
                _ if pattern.is_exact() => named.whole.extend([pattern.as_str()]),
                Some("") => {}
                Some(begin) => named.begins.extend([begin]),
                None => named.others = true,
            }
        }
        named
    }

    /// The patterns by which enforcing policies name an attribute.
    pub(super) fn patterns(&self, attribute: Attribute) -> impl Iterator<Item = &Pattern> {
        let enforcing = self.policies.iter().filter(|policy| policy.mode == Mode::Enforce);
        let conditions = enforcing.flat_map(|policy| &policy.rules);
        let conditions = conditions.flat_map(|rule| &rule.conditions.all);
        let asked = conditions.filter(move |condition| condition.attribute == attribute);
        asked.flat_map(|condition| condition.any.iter().chain(condition.not.iter()))
    }

    /// For each destination, given by the provider's name and category and the patterns that name its hosts, the place of
    /// the first that no policy can tell from it: of both the same is said.
    pub fn alike<'s>(&'s self, destinations: &[[&str; 3]]) -> Vec<usize> {
        let asked = self.policies.iter().flat_map(|policy| {
            let rules = policy.rules.iter().map(|rule| &rule.conditions);
            policy.subjects.iter().chain(rules).flat_map(|conditions| &conditions.all)
        });
        let mut names = BTreeMap::new();
        let mut categories = BTreeMap::new();
        for condition in asked {
            let patterns = match condition.attribute {
                Attribute::Provider => &mut names,
                Attribute::Category => &mut categories,
                _ => continue,
            };
            let all = condition.any.iter().chain(condition.not.iter());
            patterns.extend(all.map(|pattern| (pattern.as_str(), pattern)));
        }
        // Most patterns name one value: those that name another are not looked at.
        let wild = |patterns: &BTreeMap<&'s str, &'s Pattern>| -> Vec<&'s Pattern> {
            patterns.values().copied().filter(|pattern| !pattern.is_exact()).collect()
        };
        let wilds = (wild(&names), wild(&categories));
        let matched =
            |patterns: &BTreeMap<&str, &'s Pattern>, wild: &[&'s Pattern], value: &str| {
                let exact = patterns.get(value).filter(|pattern| pattern.is_exact()).copied();
                let wild = wild.iter().copied().filter(|pattern| pattern.matches(value));
                exact.into_iter().chain(wild).map(Pattern::as_str).collect::<Vec<_>>()
            };
        let mut first = HashMap::new();
        let places = destinations.iter().enumerate().map(|(at, [name, category, hosts])| {
            let provider =
                (matched(&names, &wilds.0, name), matched(&categories, &wilds.1, category));
            let told = (provider, self.is_approved(name), *hosts);
            *first.entry(told).or_insert(at)
        });
        places.collect()
    }

    /// Providers that the documents add to the catalogue.
    pub fn providers(&self) -> &[Local] {
        &self.providers
    }

    /// Whether a document approves of the provider.
    pub fn is_approved(&self, provider: &str) -> bool {
        self.approved.contains(provider)
    }
}
