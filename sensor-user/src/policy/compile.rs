//! One typed document comes in; the compiled policy, or what is wrong with it, goes out.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;

use crate::policy::Document;
use crate::policy::Effect;
use crate::policy::Existing;
use crate::policy::Problem;
use crate::policy::asked;
use crate::policy::document;
use crate::policy::document::Action;
use crate::policy::document::At;
use crate::policy::document::EgressPolicy;
use crate::policy::document::Mode;
use crate::policy::index::Index;
use crate::policy::pattern::Pattern;
use crate::policy::problem::Notes;
use crate::policy::problem::advice;
use crate::policy::rollout::EVERYBODY;
use crate::policy::set::POLICIES_MAX;
use crate::policy::set::Policy;
use crate::policy::set::RULES_MAX;
use crate::policy::set::Rule;

/// Bytes of the longest name: it is a label of metrics.
const NAME_BYTES_MAX: usize = 63;
/// Bytes of the longest reason: it stands in every event.
const REASON_BYTES_MAX: usize = 512;

/// Compiles one policy; every problem is noted.
pub(super) fn policy(
    file: &str,
    document: &EgressPolicy,
    found: &mut Vec<Problem>,
) -> Option<Policy> {
    let before = found.len();
    let notes = &mut Notes::new(file, found);
    let (name, spec) = (&document.metadata.name, &document.spec);
    check_name(name, notes);
    let subjects = spec.subjects.as_ref();
    if let Some(empty) = subjects.filter(|subjects| subjects.value.is_empty()) {
        notes.error(empty, "an empty list describes nobody: leave `subjects` out for everybody");
    }
    let subjects = subjects.iter().flat_map(|subjects| &subjects.value);
    let subjects = subjects.map(|one| asked::subject(one, name, notes)).collect();
    let mut names = HashSet::new();
    let mut rules = Vec::new();
    for rule in spec.rules.iter().flatten() {
        let rule_name = &rule.value.name;
        check_name(rule_name, notes);
        if !names.insert(rule_name.value.as_str()) {
            notes.error(rule_name, format!("rule `{}` stands twice", rule_name.value));
        }
        rules.push(Rule {
            name: rule_name.value.as_str().into(),
            effect: effect(rule.value.action),
            conditions: asked::rule(&rule.value.r#match, notes),
            reason: reason(rule.value.reason.as_deref(), rule_name, notes),
        });
    }
    let policy = Policy {
        name: name.value.as_str().into(),
        mode: spec.mode,
        default: effect(spec.default),
        subjects,
        rules,
        index: Index::default(),
        unknown: spec.unknown.unwrap_or_default(),
        opaque: spec.opaque.unwrap_or_default(),
        existing: match spec.existing.unwrap_or_default() {
            document::Existing::Keep => Existing::Keep,
            document::Existing::Close => Existing::Close,
        },
        rollout: spec.rollout.as_ref().map_or(EVERYBODY, |text| share(text, notes)),
        expires: spec.expires.as_ref().and_then(|text| expiry(text, notes)),
        suspends: suspends(spec, notes),
        reason: reason(spec.reason.as_deref(), name, notes),
    };
    (found.len() == before).then_some(policy)
}

/// What an action does.
pub(super) fn effect(action: Action) -> Effect {
    match action {
        Action::Allow => Effect::Allow,
        Action::Alert => Effect::Alert,
        Action::Deny => Effect::Deny,
        Action::Kill => Effect::Kill,
    }
}

/// Notes a name that could not stand in a metric or a file name.
pub(super) fn check_name(name: &At<String>, notes: &mut Notes<'_>) {
    let fits = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.')
    };
    let text = &name.value;
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(fits) {
        let bound = format!(
            "`{}` is no name: 1 to {NAME_BYTES_MAX} of a-z, 0-9, `-`, `_` and `.`",
            shown(text)
        );
        notes.error(name, bound);
    }
}

/// The beginning of a text, for a message.
pub(super) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(NAME_BYTES_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

fn reason(text: Option<&str>, at: &At<String>, notes: &mut Notes<'_>) -> Option<Arc<str>> {
    let text = text.map(str::trim).filter(|text| !text.is_empty())?;
    if text.len() > REASON_BYTES_MAX {
        notes.error(at, format!("its reason is longer than {REASON_BYTES_MAX} bytes"));
    }
    Some(text.into())
}

/// Reads `10%` or `0.5%` into units of 0.01 %.
fn share(text: &At<String>, notes: &mut Notes<'_>) -> u32 {
    let units = text.value.strip_suffix('%').and_then(|number| {
        let (whole, rest) = number.split_once('.').unwrap_or((number, ""));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || rest.len() > 2 || !is_number(whole) || !is_number(rest) {
            return None;
        }
        let rest: u32 = format!("{rest:0<2}").parse().ok()?;
        whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(rest)
    });
    units.filter(|units| *units <= EVERYBODY).unwrap_or_else(|| {
        notes.error(text, format!("`{}` is no share, as 10% or 0.5%", shown(&text.value)));
        EVERYBODY
    })
}

fn expiry(text: &At<String>, notes: &mut Notes<'_>) -> Option<Timestamp> {
    let time = text.value.parse().ok();
    if time.is_none() {
        let message =
            format!("`{}` is no time with its zone, as 2027-01-31T18:00:00Z", shown(&text.value));
        notes.error(text, message);
    }
    time
}

fn suspends(spec: &document::PolicySpec, notes: &mut Notes<'_>) -> Vec<Pattern> {
    let Some(names) = &spec.suspends else { return Vec::new() };
    let has_reason = spec.reason.as_deref().is_some_and(|reason| !reason.trim().is_empty());
    let missing = [
        (spec.mode != Mode::Enforce, "`mode: enforce`"),
        (spec.expires.is_none(), "`expires`"),
        (!has_reason, "`reason`"),
    ];
    for (_, what) in missing.iter().filter(|(is_missing, _)| *is_missing) {
        notes.error(names, format!("a policy that suspends others needs {what}"));
    }
    if !names.value.not.is_empty() {
        notes.error(names, "`not` has no meaning here: list the policies that are suspended");
    }
    asked::patterns(&document::placed(names), b'/', notes)
}

/// Notes what no document shows alone: names that stand twice, names that lead nowhere, too much of all.
pub(super) fn check_together(documents: &[(&str, Document)], found: &mut Vec<Problem>) {
    let mut first: HashMap<(bool, &str), &str> = HashMap::new();
    let (mut policies, mut rules) = (Vec::new(), 0_usize);
    for (file, document) in documents {
        let (is_policy, name) = match document {
            Document::Policy(policy) => {
                policies.push(policy.metadata.name.value.as_str());
                rules = rules.saturating_add(policy.spec.rules.iter().flatten().count());
                (true, &policy.metadata.name)
            }
            Document::Provider(provider) => (false, &provider.metadata.name),
        };
        let notes = &mut Notes::new(file, found);
        if let Some(other) = first.insert((is_policy, &name.value), file) {
            notes.error(name, format!("`{}` stands in {other} too", shown(&name.value)));
        }
        if policies.len() > POLICIES_MAX || rules > RULES_MAX {
            notes.error(
                name,
                format!("more than {POLICIES_MAX} policies or {RULES_MAX} rules in all"),
            );
            return;
        }
    }
    for (file, document) in documents {
        let Document::Policy(policy) = document else { continue };
        let Some(names) = &policy.spec.suspends else { continue };
        for name in document::placed(names) {
            let pattern = Pattern::new(&name.value, b'/');
            if !pattern.is_ok_and(|pattern| policies.iter().any(|known| pattern.matches(known))) {
                let near = advice(&name.value, policies.iter().copied());
                let message =
                    format!("no policy `{}` is here to be suspended; {near}", shown(&name.value));
                Notes::new(file, found).warning(&name, message);
            }
        }
    }
}
