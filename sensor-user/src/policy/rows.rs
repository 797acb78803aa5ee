//! Rows of tests beside a policy come in; those that a policy does not hold to go out, with what it said instead.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::policy::Effect;
use crate::policy::Engine;
use crate::policy::Given;
use crate::policy::Problem;
use crate::policy::Source;
use crate::policy::compile::effect;
use crate::policy::document::Action;
use crate::policy::document::At;
use crate::policy::document::given;
use crate::policy::problem::Notes;
use crate::policy::read;

/// When a row is judged that names no time: a Monday noon.
const NOON: &str = "2026-03-02T12:00:00Z";

/// A file with rows of tests.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tests {
    /// The rows.
    pub tests: Vec<At<Row>>,
}

/// One call, and what is to be decided about it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Row {
    /// What the row shows, as a sentence.
    pub name: String,
    /// When the call is made; left out, on a Monday at noon UTC.
    #[serde(default, deserialize_with = "given")]
    pub at: Option<String>,
    /// What is known of the call, by the names of a rule's match; what is left out is absent.
    pub facts: BTreeMap<String, Shape>,
    /// What is not known.
    #[serde(default, deserialize_with = "given")]
    pub unknown: Option<Vec<String>>,
    /// What is decided, whatever the mode.
    pub expect: Action,
    /// The rule that decides it.
    #[serde(default, deserialize_with = "given")]
    pub rule: Option<String>,
}

/// A text, a list (of parents, of ways to travel), or labels.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Shape {
    /// One text.
    Text(String),
    /// A list of texts.
    List(Vec<String>),
    /// Labels of a pod.
    Labels(BTreeMap<String, String>),
}

/// How the rows of one file went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Rows that hold and expect the call to pass.
    pub passed_allow: usize,
    /// Rows that hold and expect it to be refused or told of.
    pub passed_deny: usize,
    /// Rows that do not hold, and whatever else is wrong.
    pub problems: Vec<Problem>,
}

/// Runs the rows of a file.
pub fn run(engine: &Engine, source: &Source) -> Outcome {
    let mut outcome = Outcome::default();
    let tests: Tests = match read::single(source) {
        Ok(tests) => tests,
        Err(problem) => {
            outcome.problems.push(problem);
            return outcome;
        }
    };
    for row in &tests.tests {
        match judge(engine, &row.value) {
            Ok(Effect::Allow) => outcome.passed_allow = outcome.passed_allow.saturating_add(1),
            Ok(_) => outcome.passed_deny = outcome.passed_deny.saturating_add(1),
            Err(message) => {
                let message = format!("`{}`: {message}", row.value.name);
                Notes::new(&source.file, &mut outcome.problems).error(row, message);
            }
        }
    }
    outcome
}

fn judge(engine: &Engine, row: &Row) -> Result<Effect, String> {
    let at = row.at.as_deref().unwrap_or(NOON);
    let now: Timestamp =
        at.parse().map_err(|error| format!("`{at}` is no time, as {NOON}: {error}"))?;
    let mut facts = Given::default();
    for (name, shape) in &row.facts {
        match shape {
            Shape::Text(value) => facts.put(name, value)?,
            Shape::List(values) => values.iter().try_for_each(|value| facts.put(name, value))?,
            Shape::Labels(labels) => {
                labels
                    .iter()
                    .try_for_each(|(key, value)| facts.put(name, &format!("{key}={value}")))?;
            }
        }
    }
    row.unknown.iter().flatten().try_for_each(|name| facts.put_unknown(name))?;
    let ruling = engine.decide(&facts.facts(), now).ruling;
    let expected = effect(row.expect);
    let rule = ruling.rule.as_deref();
    if ruling.effect == expected && (row.rule.is_none() || row.rule.as_deref() == rule) {
        return Ok(expected);
    }
    let wanted = row.rule.as_deref().map(|rule| format!(" by `{rule}`")).unwrap_or_default();
    let by = rule.map_or_else(|| "by default".to_owned(), |rule| format!("by `{rule}`"));
    Err(format!("expected {}{wanted}, decided {} {by}", expected.as_str(), ruling.effect.as_str()))
}
