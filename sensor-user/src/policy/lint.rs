//! Files of policies, known providers and a time come in; what in them can never have an effect goes out as warnings.

use jiff::Timestamp;

use crate::policy::Document;
use crate::policy::Effect;
use crate::policy::Problem;
use crate::policy::Source;
use crate::policy::asked;
use crate::policy::compile::effect;
use crate::policy::condition::Conditions;
use crate::policy::document::EgressPolicy;
use crate::policy::document::ProviderDocument;
use crate::policy::document::placed;
use crate::policy::pattern::Pattern;
use crate::policy::problem::Notes;
use crate::policy::problem::advice;
use crate::policy::read;
use crate::policy::shadow::Budget;
use crate::policy::shadow::Shadows;

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
    // One without hosts only speaks of a provider that is known elsewhere.
    let local = documents.iter().filter_map(|(_, document)| match document {
        Document::Provider(provider) if provider.spec.hosts.is_some() => {
            Some(provider.metadata.name.value.as_str())
        }
        Document::Provider(_) | Document::Policy(_) => None,
    });
    let mut known: Vec<&str> = providers.iter().copied().chain(local).chain(["unlisted"]).collect();
    known.sort_unstable();
    known.dedup();
    let budget = &mut Budget::default();
    for (file, document) in &documents {
        let notes = &mut Notes::new(file, &mut found);
        match document {
            Document::Policy(policy) => {
                check_names(policy, &known, notes);
                check_reach(policy, now, notes);
                check_shadows(policy, budget, notes);
            }
            Document::Provider(provider) => check_provider(provider, &known, notes),
        }
    }
    found
}

/// A document about a provider that nothing says how to find.
fn check_provider(document: &ProviderDocument, known: &[&str], notes: &mut Notes<'_>) {
    let name = &document.metadata.name;
    if document.spec.hosts.is_none() && !known.contains(&name.value.as_str()) {
        let near = advice(&name.value, known.iter().copied());
        let message = format!(
            "no provider `{}` is known, and no `hosts` say where it is; {near}",
            name.value
        );
        notes.warning(name, message);
    }
}

/// A provider that no call carries.
fn check_names(policy: &EgressPolicy, known: &[&str], notes: &mut Notes<'_>) {
    for rule in policy.spec.rules.iter().flatten() {
        let Some(values) = &rule.value.r#match.value.provider else { continue };
        for name in placed(values).iter().chain(&values.value.not) {
            let Ok(pattern) = Pattern::new(&name.value, b'/') else { continue };
            if notes.is_full() {
                return;
            }
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

/// A rule that changes nothing because another one is at least as wide and as strong.
fn check_shadows(policy: &EgressPolicy, budget: &mut Budget, notes: &mut Notes<'_>) {
    let mut scratch = Vec::new();
    let rules: Vec<_> = policy.spec.rules.iter().flatten().map(|rule| &rule.value).collect();
    let compiled: Vec<(Conditions, Effect)> = rules
        .iter()
        .map(|rule| {
            let conditions = asked::rule(&rule.r#match, &mut Notes::new("", &mut scratch));
            (conditions, effect(rule.action))
        })
        .collect();
    let subjects = policy.spec.subjects.iter().flat_map(|subjects| &subjects.value);
    let subjects: Vec<_> = subjects
        .map(|one| asked::subject(one, &policy.metadata.name, &mut Notes::new("", &mut scratch)))
        .collect();
    let shadows = Shadows::new(&compiled);
    for (at, (rule, (conditions, _))) in rules.iter().zip(&compiled).enumerate() {
        let name = &rule.name;
        let found = never(conditions, &subjects, budget).and_then(|why| {
            if let Some(why) = why {
                return Ok(Some(format!("can never match: {why}")));
            }
            let other = shadows.find(at, budget)?.and_then(|other| rules.get(other));
            Ok(other.map(|other| {
                let other = &other.name.value;
                format!("changes nothing: `{other}` matches all of it and is as strong or stronger")
            }))
        });
        match found {
            Ok(None) => {}
            Ok(Some(what)) => notes.warning(name, format!("rule `{}` {what}", name.value)),
            Err(()) => {
                let message = "from here on nothing says which rules change nothing: too many patterns to compare";
                notes.warning(name, message);
                return;
            }
        }
    }
}

/// Why nothing can match a rule, where that is so; `Err` where it would take too long to find out.
fn never(
    rule: &Conditions,
    subjects: &[Conditions],
    budget: &mut Budget,
) -> Result<Option<&'static str>, ()> {
    budget.take(rule.own_cost()).ok_or(())?;
    if rule.is_contradictory() {
        return Ok(Some("`not` takes all that `in` gives"));
    }
    for subject in subjects {
        if !rule.excludes(subject, |cost| budget.take(cost)).ok_or(())? {
            return Ok(None);
        }
    }
    Ok((!subjects.is_empty()).then_some("it asks for nobody whom `subjects` describes"))
}
