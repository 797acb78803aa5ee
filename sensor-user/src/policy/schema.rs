//! The types of policy documents come in; their JSON Schema goes out.

use schemars::JsonSchema;
use schemars::schema_for;
use serde_json::Value;

use crate::policy::document::EgressPolicy;
use crate::policy::document::ProviderDocument;

/// A policy document of any kind.
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(title = "Tollgate policy document")]
#[expect(dead_code, reason = "only its schema is asked for")]
enum Any {
    Policy(Box<EgressPolicy>),
    Provider(Box<ProviderDocument>),
}

/// The JSON Schema of policy documents, for editors; with the line end of a text file.
pub fn schema() -> String {
    let mut schema = schema_for!(Any);
    schema.ensure_object().values_mut().for_each(forbid_null);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

/// Takes `null` out: a key may be left out, but the parser refuses it without a value.
fn forbid_null(schema: &mut Value) {
    match schema {
        Value::Object(entries) => {
            if entries.get("default").is_some_and(Value::is_null) {
                entries.shift_remove("default");
            }
            if let Some(only) = without_null(entries.get_mut("type"), Value::as_str) {
                entries.insert("type".to_owned(), only);
            }
            if let Some(Value::Object(only)) = without_null(entries.get_mut("anyOf"), kind) {
                entries.shift_remove("anyOf");
                entries.extend(only);
            }
            entries.values_mut().for_each(forbid_null);
        }
        Value::Array(all) => all.iter_mut().for_each(forbid_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The type that a choice names.
fn kind(choice: &Value) -> Option<&str> {
    choice.get("type").and_then(Value::as_str)
}

/// Takes `null` out of a list of choices; what is left, where that is one.
fn without_null(
    choices: Option<&mut Value>,
    kind: impl Fn(&Value) -> Option<&str>,
) -> Option<Value> {
    let choices = choices?.as_array_mut()?;
    choices.retain(|one| kind(one) != Some("null"));
    match choices.as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schema_allows_null_nowhere_as_the_parser_does() {
        let text = schema();
        assert!(!text.contains("\"null\"") && !text.contains(": null"), "{text}");
        let schema: Value = serde_json::from_str(&text).unwrap();
        let of = |kind: &str, key: &str| schema["$defs"][kind]["properties"][key].clone();
        assert_eq!(of("PolicySpec", "rollout")["type"], "string");
        assert_eq!(of("PolicySpec", "unknown")["$ref"], "#/$defs/Presume");
        assert!(of("Match", "model")["description"].is_string());
    }
}
