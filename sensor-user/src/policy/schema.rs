//! The types of policy documents come in; their JSON Schema goes out.

use schemars::JsonSchema;
use schemars::schema_for;

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
    let schema = schema_for!(Any);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}
