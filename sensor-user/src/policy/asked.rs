//! The entries of a subject or a match come in; compiled conditions, or what is wrong with them, go out.

use crate::credential;
use crate::policy::Attribute;
use crate::policy::compile::shown;
use crate::policy::condition::Condition;
use crate::policy::condition::Conditions;
use crate::policy::condition::Patterns;
use crate::policy::document;
use crate::policy::document::At;
use crate::policy::document::Match;
use crate::policy::document::Subject;
use crate::policy::document::Values;
use crate::policy::facts::TRANSPORTS;
use crate::policy::facts::bare_host;
use crate::policy::pattern::Pattern;
use crate::policy::pattern::Refusal;
use crate::policy::problem::Notes;
use crate::policy::problem::advice;
use crate::policy::window::Window;
use crate::provider::Operation;
use crate::provider::catalogue::Category;

/// Patterns of one entry: a list of keys may be long, what is longer belongs into several rules.
const PATTERNS_MAX: usize = 10_000;
/// Characters of a fingerprint.
const FINGERPRINT_LEN: usize = 32;

/// Compiles whom a policy is about.
pub(super) fn subject<T>(subject: &Subject, at: &At<T>, notes: &mut Notes<'_>) -> Conditions {
    let entries = subject.entries();
    if entries.is_empty() {
        notes.error(at, "a subject without an entry is everybody: leave `subjects` out for that");
    }
    Conditions { all: conditions(&entries, notes), approved: None, window: None }
}

/// Compiles which calls a rule is about.
pub(super) fn rule(asked: &At<Match>, notes: &mut Notes<'_>) -> Conditions {
    let entries = asked.value.entries();
    let raw = &asked.value;
    if entries.is_empty() && raw.approved.is_none() && raw.time.is_none() {
        notes.error(asked, "a match without an entry is every call: write `default` for that");
    }
    let window = raw.time.as_ref().and_then(|window| Window::new(&window.value, notes));
    Conditions { all: conditions(&entries, notes), approved: raw.approved, window }
}

fn conditions(entries: &[document::Entry<'_>], notes: &mut Notes<'_>) -> Vec<Condition> {
    entries
        .iter()
        .map(|(attribute, key, values)| condition(*attribute, *key, values, notes))
        .collect()
}

fn condition(
    attribute: Attribute,
    key: Option<&str>,
    values: &At<Values>,
    notes: &mut Notes<'_>,
) -> Condition {
    let (any, not) = (document::placed(values), &values.value.not);
    for text in any.iter().chain(not) {
        check(attribute, text, notes);
    }
    let separator = attribute.separator();
    let mut compile = |texts: &[At<String>]| {
        if attribute == Attribute::Host {
            let lower =
                |text: &At<String>| At { value: text.value.to_ascii_lowercase(), ..text.clone() };
            return Patterns::new(patterns(
                &texts.iter().map(lower).collect::<Vec<_>>(),
                separator,
                notes,
            ));
        }
        Patterns::new(patterns(texts, separator, notes))
    };
    Condition { attribute, key: key.map(Into::into), any: compile(&any), not: compile(not) }
}

/// Compiles patterns; a bad one is noted and left out.
pub(super) fn patterns(texts: &[At<String>], separator: u8, notes: &mut Notes<'_>) -> Vec<Pattern> {
    if let Some(over) = texts.get(PATTERNS_MAX) {
        notes.error(over, format!("more than {PATTERNS_MAX} patterns in one entry"));
        return Vec::new();
    }
    let mut compiled = Vec::with_capacity(texts.len());
    for text in texts {
        match Pattern::new(&text.value, separator) {
            Ok(pattern) => compiled.push(pattern),
            Err(refusal) => {
                notes.error(text, format!("pattern `{}` {refusal}", shown(&text.value)));
            }
        }
    }
    compiled
}

/// Notes a pattern that no value of its attribute can ever match.
fn check(attribute: Attribute, text: &At<String>, notes: &mut Notes<'_>) {
    let value = text.value.as_str();
    let bracket = value.chars().find(|next| "[]{}".contains(*next));
    if let Some(foreign) = bracket.filter(|_| !attribute.has_brackets()) {
        let refusal = Refusal::Foreign(foreign);
        return notes.error(text, format!("pattern `{}` {refusal}", shown(value)));
    }
    match attribute {
        Attribute::Operation => closed("operation", text, &operations(), notes),
        Attribute::Category => closed("category", text, &categories(), notes),
        Attribute::Transport => closed("transport", text, &TRANSPORTS.map(|(_, word)| word), notes),
        Attribute::Runtime => closed("runtime", text, &RUNTIMES, notes),
        Attribute::CredentialKind => {
            closed("kind of key", text, &credential::kinds().collect::<Vec<_>>(), notes);
        }
        Attribute::Credential if !is_fingerprint(value) => {
            // What stands here may be a key: it is not repeated.
            notes.error(
                text,
                "this is no fingerprint: write the 32 hex digits that events show, never a key",
            );
        }
        Attribute::Executable | Attribute::Parent | Attribute::Cgroup
            if !value.starts_with(['/', '*', '[']) =>
        {
            notes.error(
                text,
                format!(
                    "`{0}` is no path, and never matches: did you mean `**/{0}`?",
                    shown(value)
                ),
            );
        }
        Attribute::Host => check_host(text, notes),
        _ => {}
    }
}

/// Notes a pattern of host names that none of those that are held against it can match.
fn check_host(text: &At<String>, notes: &mut Notes<'_>) {
    let value = text.value.as_str();
    let fits = |next: char| next.is_ascii_alphanumeric() || "-._*:[]".contains(next);
    let bare = bare_host(value).trim_start_matches('.');
    let is_address = value.matches(':').count() > 1;
    let is_name = is_address || !value.contains(['[', ']']);
    if !value.chars().all(fits) || !is_name || value.contains("://") || bare.is_empty() {
        let message =
            format!("`{}` is no host name: write it without scheme and path", shown(value));
        notes.error(text, message);
    } else if bare != value {
        let message = format!(
            "`{}` never matches, as hosts have neither port nor a dot at an end: did you mean `{}`?",
            shown(value),
            shown(bare)
        );
        notes.error(text, message);
    }
}

/// Container runtimes that are told apart.
const RUNTIMES: [&str; 7] =
    ["containerd", "cri-o", "docker", "podman", "lxc", "systemd-nspawn", "unknown"];

fn operations() -> Vec<&'static str> {
    Operation::all().map(Operation::as_str).collect()
}

fn categories() -> Vec<&'static str> {
    Category::all().map(Category::as_str).collect()
}

/// Notes a pattern that matches none of the few values there are.
fn closed(what: &str, text: &At<String>, known: &[&str], notes: &mut Notes<'_>) {
    // What is no pattern at all is noted where it is compiled.
    let Ok(pattern) = Pattern::new(&text.value, b'/') else { return };
    if notes.is_full() {
        return;
    }
    if !known.iter().any(|word| pattern.matches(word)) {
        let near = advice(&text.value, known.iter().copied());
        notes.error(text, format!("unknown {what} `{}`; {near}", shown(&text.value)));
    }
}

fn is_fingerprint(text: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.contains('*') {
        return text.len() <= FINGERPRINT_LEN && text.bytes().all(|byte| hex(byte) || byte == b'*');
    }
    text.len() == FINGERPRINT_LEN && text.bytes().all(hex)
}
