//! Methods and messages of Gemini's and Vertex's gRPC services come in; routes, wanted fields and usage in the words of their
//! JSON go out.

use prost::Message;
use serde_json::Map;
use serde_json::Value;

use crate::provider::Operation;
use crate::provider::Shape;
use crate::provider::grpc::Fact;
use crate::provider::grpc::Field;
use crate::provider::grpc::Plan;
use crate::provider::grpc::Rpc;
use crate::provider::grpc::Usage;
use crate::provider::route::Route;

/// `google.ai.generativelanguage`: `GenerateContentRequest`, and what else has model and contents in these places.
const ASK: Plan =
    &[Field { path: &[2], fact: Fact::Input }, Field { path: &[1], fact: Fact::Model }];
/// `GenerateContentResponse` there.
const ANSWER: Plan = &[
    Field { path: &[1, 1, 1], fact: Fact::Content },
    Field { path: &[1, 2], fact: Fact::Finish },
    Field { path: &[1, 9, 5], fact: Fact::Searches },
    Field { path: &[3], fact: Fact::Usage(Usage::Gemini) },
    Field { path: &[4], fact: Fact::Model },
    Field { path: &[5], fact: Fact::Id },
];

/// `google.cloud.aiplatform`: `GenerateContentRequest`.
const VERTEX_ASK: Plan =
    &[Field { path: &[2], fact: Fact::Input }, Field { path: &[5], fact: Fact::Model }];
/// `GenerateContentResponse` there.
const VERTEX_ANSWER: Plan = &[
    Field { path: &[2, 2, 2], fact: Fact::Content },
    Field { path: &[2, 3], fact: Fact::Finish },
    Field { path: &[2, 7, 1], fact: Fact::Searches },
    Field { path: &[4], fact: Fact::Usage(Usage::Vertex) },
    Field { path: &[11], fact: Fact::Model },
    Field { path: &[13], fact: Fact::Id },
];

/// `CountTokensRequest` and `ComputeTokensRequest` there: an end point, or a model.
const VERTEX_COUNT: Plan = &[
    Field { path: &[2], fact: Fact::Input },
    Field { path: &[4], fact: Fact::Input },
    Field { path: &[1], fact: Fact::Model },
    Field { path: &[3], fact: Fact::Model },
];

fn made(operation: Operation, shape: Shape, asked: Plan, answered: Plan) -> Route {
    Route { rpc: Some(Rpc::new(asked, answered)), ..Route::new(operation, shape) }
}

/// What the model tells: pictures and embeddings are predicted too.
fn predicted() -> Route {
    let rpc = Rpc { by_model: true, ..Rpc::new(ASK, &[]) };
    Route { rpc: Some(rpc), ..Route::new(Operation::Other, Shape::None) }
}

/// Finds what a method of `google.ai.generativelanguage` does.
pub(super) fn gemini(service: &str, name: &str) -> Route {
    match (service, name) {
        ("GenerativeService", "GenerateContent") => {
            made(Operation::Chat, Shape::Gemini, ASK, ANSWER)
        }
        ("GenerativeService", "StreamGenerateContent") => {
            Route { streamed: true, ..made(Operation::Chat, Shape::Gemini, ASK, ANSWER) }
        }
        ("GenerativeService", "BidiGenerateContent") => {
            Route { streamed: true, ..made(Operation::Chat, Shape::None, &[], &[]) }
        }
        ("GenerativeService", "GenerateAnswer") => made(Operation::Chat, Shape::None, ASK, &[]),
        ("GenerativeService", "EmbedContent" | "BatchEmbedContents") => {
            made(Operation::Embeddings, Shape::None, ASK, &[])
        }
        ("GenerativeService", "CountTokens") => made(Operation::CountTokens, Shape::None, ASK, &[]),
        ("PredictionService", _) => predicted(),
        ("ModelService", "GetModel" | "ListModels") => {
            made(Operation::Models, Shape::None, &[], &[])
        }
        ("FileService", _) => made(Operation::Files, Shape::None, &[], &[]),
        _ => made(Operation::Other, Shape::None, &[], &[]),
    }
}

/// Finds what a method of `google.cloud.aiplatform` does.
pub(super) fn vertex(service: &str, name: &str) -> Route {
    match (service, name) {
        ("PredictionService", "GenerateContent") => {
            made(Operation::Chat, Shape::Gemini, VERTEX_ASK, VERTEX_ANSWER)
        }
        ("PredictionService", "StreamGenerateContent") => {
            let route = made(Operation::Chat, Shape::Gemini, VERTEX_ASK, VERTEX_ANSWER);
            Route { streamed: true, ..route }
        }
        ("PredictionService", "EmbedContent") => made(Operation::Embeddings, Shape::None, ASK, &[]),
        // The body that is passed on is the model's own, inside of a message.
        ("PredictionService", "RawPredict") => made(Operation::Chat, Shape::None, ASK, &[]),
        ("PredictionService", "StreamRawPredict") => {
            Route { streamed: true, ..made(Operation::Chat, Shape::None, ASK, &[]) }
        }
        ("PredictionService", "CountTokens") | ("LlmUtilityService", _) => {
            made(Operation::CountTokens, Shape::None, VERTEX_COUNT, &[])
        }
        ("PredictionService", _) => predicted(),
        ("ModelService" | "ModelGardenService", _) => {
            made(Operation::Models, Shape::None, &[], &[])
        }
        _ => made(Operation::Other, Shape::None, &[], &[]),
    }
}

/// The messages of a content call, of which no path tells.
pub(super) fn guessed(provider: &str) -> (Plan, Plan) {
    if provider == "vertex" { (VERTEX_ASK, VERTEX_ANSWER) } else { (ASK, ANSWER) }
}

/// The model that a resource is (`models/m`, `projects/p/locations/eu/publishers/google/models/m`), and its place.
pub(super) fn model(resource: &str) -> (&str, Option<&str>) {
    let after = |name: &str| {
        let mut parts = resource.split('/').skip_while(|part| *part != name).skip(1);
        parts.next().filter(|part| !part.is_empty())
    };
    let is_resource = ["models/", "tunedModels/", "projects/", "publishers/", "endpoints/"]
        .iter()
        .any(|begin| resource.starts_with(begin));
    if !is_resource {
        return (resource, None);
    }
    let named = ["models", "endpoints", "tunedModels"].iter().find_map(|name| after(name));
    (named.unwrap_or(resource), after("locations"))
}

/// `ModalityTokenCount`.
#[derive(Clone, PartialEq, Message)]
struct Part {
    #[prost(int32, tag = "1")]
    modality: i32,
    #[prost(int32, tag = "2")]
    token_count: i32,
}

/// `google.ai.generativelanguage`: `GenerateContentResponse.UsageMetadata`.
#[derive(Clone, PartialEq, Message)]
struct GeminiUsage {
    #[prost(int32, tag = "1")]
    prompt: i32,
    #[prost(int32, tag = "2")]
    candidates: i32,
    #[prost(int32, tag = "3")]
    total: i32,
    #[prost(int32, tag = "4")]
    cached: i32,
    #[prost(message, repeated, tag = "5")]
    prompt_parts: Vec<Part>,
    #[prost(message, repeated, tag = "6")]
    cached_parts: Vec<Part>,
    #[prost(message, repeated, tag = "7")]
    candidate_parts: Vec<Part>,
    #[prost(int32, tag = "8")]
    tool: i32,
    #[prost(message, repeated, tag = "9")]
    tool_parts: Vec<Part>,
    #[prost(int32, tag = "10")]
    thoughts: i32,
}

/// `google.cloud.aiplatform`: `GenerateContentResponse.UsageMetadata`.
#[derive(Clone, PartialEq, Message)]
struct VertexUsage {
    #[prost(int32, tag = "1")]
    prompt: i32,
    #[prost(int32, tag = "2")]
    candidates: i32,
    #[prost(int32, tag = "3")]
    total: i32,
    #[prost(int32, tag = "5")]
    cached: i32,
    #[prost(int32, tag = "8")]
    traffic: i32,
    #[prost(message, repeated, tag = "9")]
    prompt_parts: Vec<Part>,
    #[prost(message, repeated, tag = "10")]
    cached_parts: Vec<Part>,
    #[prost(message, repeated, tag = "11")]
    candidate_parts: Vec<Part>,
    #[prost(message, repeated, tag = "12")]
    tool_parts: Vec<Part>,
    #[prost(int32, tag = "13")]
    tool: i32,
    #[prost(int32, tag = "14")]
    thoughts: i32,
}

/// Reads Gemini's figures; a number that is absent from the message is 0.
pub(super) fn gemini_usage(message: &[u8]) -> Option<Value> {
    let usage = GeminiUsage::decode(message).ok()?;
    Some(told(&usage))
}

/// Reads Vertex's figures, and what traffic the call was.
pub(super) fn vertex_usage(message: &[u8]) -> Option<Value> {
    let VertexUsage {
        prompt,
        candidates,
        total,
        cached,
        traffic,
        prompt_parts,
        cached_parts,
        candidate_parts,
        tool_parts,
        tool,
        thoughts,
    } = VertexUsage::decode(message).ok()?;
    let mut usage = told(&GeminiUsage {
        prompt,
        candidates,
        total,
        cached,
        prompt_parts,
        cached_parts,
        candidate_parts,
        tool,
        tool_parts,
        thoughts,
    });
    let kind = match traffic {
        1 => Some("ON_DEMAND"),
        2 => Some("PROVISIONED_THROUGHPUT"),
        _ => None,
    };
    if let (Some(fields), Some(kind)) = (usage.as_object_mut(), kind) {
        fields.insert("trafficType".to_owned(), kind.into());
    }
    Some(usage)
}

fn told(usage: &GeminiUsage) -> Value {
    let counts = [
        ("promptTokenCount", usage.prompt),
        ("candidatesTokenCount", usage.candidates),
        ("totalTokenCount", usage.total),
        ("cachedContentTokenCount", usage.cached),
        ("toolUsePromptTokenCount", usage.tool),
        ("thoughtsTokenCount", usage.thoughts),
    ];
    let lists = [
        ("promptTokensDetails", &usage.prompt_parts),
        ("cacheTokensDetails", &usage.cached_parts),
        ("candidatesTokensDetails", &usage.candidate_parts),
        ("toolUsePromptTokensDetails", &usage.tool_parts),
    ];
    let mut fields = Map::new();
    fields.extend(counts.map(|(name, count)| (name.to_owned(), count.into())));
    let told = lists.iter().filter(|(_, parts)| !parts.is_empty());
    fields.extend(told.map(|(name, parts)| ((*name).to_owned(), parts.iter().map(part).collect())));
    Value::Object(fields)
}

/// A count of one kind, in JSON's words.
fn part(part: &Part) -> Value {
    const KINDS: [&str; 6] =
        ["MODALITY_UNSPECIFIED", "TEXT", "IMAGE", "VIDEO", "AUDIO", "DOCUMENT"];
    let kind = usize::try_from(part.modality).ok().and_then(|kind| KINDS.get(kind));
    serde_json::json!({ "modality": kind, "tokenCount": part.token_count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_name_model_and_place() {
        const CASES: &[(&str, &str, Option<&str>)] = &[
            ("models/gemini-2.5-flash", "gemini-2.5-flash", None),
            ("tunedModels/own", "own", None),
            (
                "projects/p/locations/eu/publishers/google/models/gemini-2.5-pro",
                "gemini-2.5-pro",
                Some("eu"),
            ),
            ("projects/p/locations/us-central1/endpoints/77", "77", Some("us-central1")),
            ("grok-4", "grok-4", None),
            ("vendor/models-of-its-own", "vendor/models-of-its-own", None),
            ("models/", "models/", None),
        ];
        for (resource, name, place) in CASES {
            assert_eq!(model(resource), (*name, *place), "{resource}");
        }
    }
}
