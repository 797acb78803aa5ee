//! The text of policy documents comes in; it is refused with places that are there, or decides the same however it is asked.

use jiff::Timestamp;
use sensor_user::policy::rows;
use sensor_user::policy::{
    Attribute, Engine, Given, Outlook, Problem, Set, Severity, Source, lint,
};
use serde_json::{Map, Value};

use crate::input::Choices;

/// Calls that are decided for each input.
const CALLS: usize = 4;
/// Longest text of a problem, in bytes for each byte of input, beyond a fixed part: it may quote what it is about.
const QUOTE_MAX: usize = 8;

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let source = Source { file: "p.yaml".to_owned(), text: text.to_owned() };
    let mut choices = Choices::of(data);
    let now = time(&mut choices);
    match Set::read(std::slice::from_ref(&source)) {
        Err(problems) => {
            assert!(problems.iter().any(|problem| problem.severity == Severity::Error));
            check(&problems, text);
        }
        Ok((set, warnings)) => {
            assert!(warnings.iter().all(|problem| problem.severity == Severity::Warning));
            check(&warnings, text);
            let engine = Engine::new(set);
            assert!(engine.next_change(now).is_none_or(|then| then > now), "time goes on");
            let given = (0..CALLS).map(|_| given(text, &mut choices));
            given.for_each(|given| decide(&engine, &given, now));
            check(&rows::run(&engine, &source).problems, text);
        }
    }
    // What cannot be read is left out; what remains is only ever warned of.
    let warnings = lint(&[source], &["openai", "anthropic"], now);
    assert!(warnings.iter().all(|problem| problem.severity == Severity::Warning));
    check(&warnings, text);
}

/// Places that are in the file, and texts that can be printed.
fn check(problems: &[Problem], text: &str) {
    // A carriage return by itself ends a line too (YAML 1.2, 5.4).
    let ends = text.bytes().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
    let lines = u64::try_from(ends).unwrap_or(u64::MAX);
    let bound = text.len().saturating_mul(QUOTE_MAX).saturating_add(1024);
    for problem in problems {
        assert!(problem.line <= lines.saturating_add(1), "line {} of {lines}", problem.line);
        let told = &problem.message;
        assert!(!told.is_empty() && told.len() <= bound, "{} bytes are said", told.len());
    }
}

fn decide(engine: &Engine, given: &Given, now: Timestamp) {
    let facts = given.facts();
    let decision = engine.decide(&facts, now);
    assert_eq!(engine.decide(&facts, now), decision, "the same call, the same decision");
    assert!(decision.effect() <= decision.ruling.effect, "what is done is among what is said");
    match engine.outlook(&facts, now) {
        Outlook::Settled(settled) => {
            let effects = (settled.ruling.effect, settled.effect());
            assert_eq!(
                effects,
                (decision.ruling.effect, decision.effect()),
                "what is settled is decided"
            );
        }
        Outlook::Open { on } => assert!(!on.is_empty(), "it depends on something"),
    }
}

/// A call whose values are words of the document, so that its rules match.
fn given(text: &str, choices: &mut Choices) -> Given {
    let apart = |next: char| !(next.is_alphanumeric() || "/.-_*".contains(next));
    let words: Vec<_> = text.split(apart).filter(|word| !word.is_empty()).collect();
    if text.starts_with('{')
        && let Ok(event) = serde_json::from_str::<Map<String, Value>>(text)
    {
        return Given::of_event(&event);
    }
    let mut given = Given::default();
    for attribute in Attribute::all() {
        let name = attribute.as_str();
        let word = words.get(choices.below(words.len())).copied().unwrap_or_default();
        let value =
            if attribute == Attribute::Labels { format!("app={word}") } else { word.to_owned() };
        // A word that is no way to travel is refused, and the call then travels in none of them.
        let known = match choices.below(3) {
            0 => given.put_unknown(name),
            1 => given.put(name, &value),
            _ => Ok(()),
        };
        assert!(known.is_ok() || attribute == Attribute::Transport, "{name}: {known:?}");
    }
    given
}

/// Some time within three years.
fn time(choices: &mut Choices) -> Timestamp {
    let seconds = i64::try_from(choices.below(3 * 366 * 86_400)).unwrap_or(0);
    Timestamp::from_second(1_767_225_600_i64.saturating_add(seconds)).unwrap_or_default()
}
