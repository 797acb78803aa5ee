//! A decision comes in; its lines for people, or its JSON object, go out.

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::policy::Decision;
use crate::policy::Ruling;
use crate::report::escape;

/// The decision as JSON, with the names that events carry.
pub(super) fn object(decision: &Decision) -> Map<String, Value> {
    let ruling = decision.told();
    let facts: Map<_, _> =
        ruling.facts.iter().map(|(name, value)| (name.as_str().to_owned(), json!(value))).collect();
    let mut object = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            object.insert(name.to_owned(), value);
        }
    };
    put("tollgate.decision", Some(json!(ruling.effect.as_str())));
    put("tollgate.policy", ruling.policy.as_deref().map(|name| json!(name)));
    put("tollgate.rule", ruling.rule.as_deref().map(|name| json!(name)));
    put("tollgate.mode", ruling.policy.as_ref().map(|_| json!(ruling.mode.as_str())));
    put("tollgate.reason", ruling.reason.as_deref().map(|reason| json!(reason)));
    put("tollgate.presumed", ruling.presumed.then_some(json!(true)));
    put("tollgate.binding", Some(json!(decision.effect().as_str())));
    put("facts", Some(Value::Object(facts)));
    object
}

/// What made a decision, on one line.
pub(super) fn maker(ruling: &Ruling) -> String {
    let maker = match (ruling.policy.as_deref(), ruling.rule.as_deref()) {
        (Some(policy), Some(rule)) => format!("{policy}/{rule}"),
        (Some(policy), None) => format!("{policy} (default)"),
        (None, _) => "no policy".to_owned(),
    };
    escape::plain(&maker).into_owned()
}

/// A line of JSON whose texts steer no terminal, without its end.
pub(super) fn line(value: &Value) -> String {
    escape::json(&value.to_string()).into_owned()
}
