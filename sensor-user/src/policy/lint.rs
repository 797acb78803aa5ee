//! Files of policies, known providers and a time come in; what in them can never have an effect goes out as warnings.

use jiff::Timestamp;

use crate::policy::Document;
use crate::policy::Problem;
use crate::policy::Source;
use crate::policy::asked;
use crate::policy::compile::effect;
use crate::policy::condition::Conditions;
use crate::policy::document::EgressPolicy;
use crate::policy::document::placed;
use crate::policy::pattern::Pattern;
use crate::policy::problem::Notes;
use crate::policy::problem::advice;
use crate::policy::read;

/// Warns of rules that can never match or change anything. `providers` are the names that calls can carry.
pub fn lint(sources: &[Source], providers: &[&str], now: Timestamp) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut ignored = Vec::new();
    let documents: Vec<_> = sources
        .iter()
        .flat_map(|source| {
            let documents = read::documents(source, &mut ignored);
            documents.into_iter().map(|document| (source.file.as_str(), document))
        })
        .collect();
    let local = documents.iter().filter_map(|(_, document)| match document {
        Document::Provider(provider) => Some(provider.metadata.name.value.as_str()),
        Document::Policy(_) => None,
    });
    let mut known: Vec<&str> = providers.iter().copied().chain(local).chain(["unlisted"]).collect();
    known.sort_unstable();
    known.dedup();
    for (file, document) in &documents {
        if let Document::Policy(policy) = document {
            let notes = &mut Notes::new(file, &mut found);
            check_names(policy, &known, notes);
            check_reach(policy, now, notes);
            check_shadows(policy, notes);
        }
    }
    found
}

/// A provider that no call carries.
fn check_names(policy: &EgressPolicy, known: &[&str], notes: &mut Notes<'_>) {
    for rule in policy.spec.rules.iter().flatten() {
        let Some(values) = &rule.value.r#match.value.provider else { continue };
        for name in placed(values).iter().chain(&values.value.not) {
            let Ok(pattern) = Pattern::new(&name.value, b'/') else { continue };
            if !known.iter().any(|provider| pattern.matches(provider)) {
                let near = advice(&name.value, known.iter().copied());
                notes.warning(name, format!("no provider `{}` is known; {near}", name.value));
            }
        }
    }
}

/// A policy that is over, and one that is rolled out to nobody.
fn check_reach(policy: &EgressPolicy, now: Timestamp, notes: &mut Notes<'_>) {
    if let Some(text) = &policy.spec.expires
        && text.value.parse::<Timestamp>().is_ok_and(|expires| expires <= now)
    {
        notes.warning(text, "the policy has expired: it does nothing any more");
    }
    if let Some(share) = policy.spec.rollout.as_ref().filter(|share| share.value.starts_with("0%"))
    {
        notes.warning(share, "rolled out to nobody: the policy only observes");
    }
}

/// A rule that changes nothing because another one is at least as wide and as strong, or the default says the same.
fn check_shadows(policy: &EgressPolicy, notes: &mut Notes<'_>) {
    let mut scratch = Vec::new();
    let rules: Vec<_> = policy.spec.rules.iter().flatten().collect();
    let compiled: Vec<Conditions> = rules
        .iter()
        .map(|rule| asked::rule(&rule.value.r#match, &mut Notes::new("", &mut scratch)))
        .collect();
    for (at, rule) in rules.iter().enumerate() {
        let Some(mine) = compiled.get(at) else { continue };
        if mine.is_contradictory() {
            notes.warning(
                &rule.value.name,
                format!(
                    "rule `{}` can never match: `not` takes all that `in` gives",
                    rule.value.name.value
                ),
            );
            continue;
        }
        let shadow =
            rules.iter().zip(&compiled).enumerate().find(|(other, (theirs, conditions))| {
                let (stronger, weaker) = (effect(theirs.value.action), effect(rule.value.action));
                let same_either_way = stronger == weaker && mine.cover(conditions) && *other > at;
                *other != at && stronger >= weaker && conditions.cover(mine) && !same_either_way
            });
        if let Some((_, (theirs, _))) = shadow {
            let message = format!(
                "rule `{}` changes nothing: `{}` matches all of it and is as strong or stronger",
                rule.value.name.value, theirs.value.name.value
            );
            notes.warning(&rule.value.name, message);
        }
    }
}
