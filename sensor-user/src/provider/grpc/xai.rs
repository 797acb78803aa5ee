//! Methods and messages of xAI's gRPC services come in; routes, wanted fields and usage in the words of its JSON go out.

use prost::Message;
use serde_json::Value;
use serde_json::json;

use crate::provider::Dialect;
use crate::provider::Operation;
use crate::provider::Shape;
use crate::provider::grpc::Fact;
use crate::provider::grpc::Field;
use crate::provider::grpc::Plan;
use crate::provider::grpc::Rpc;
use crate::provider::grpc::Usage;
use crate::provider::route::Route;

/// `xai_api.ServiceTier`.
const TIERS: &[&str] = &["", "default", "priority"];

/// `GetCompletionsRequest`: the messages, or the response that they go on from.
const COMPLETION: Plan = &[
    Field { path: &[1], fact: Fact::Input },
    Field { path: &[22], fact: Fact::Input },
    Field { path: &[2], fact: Fact::Model },
    Field { path: &[31], fact: Fact::Tier(TIERS) },
];
/// `GetChatCompletionResponse`.
const COMPLETED: Plan = &[
    Field { path: &[1], fact: Fact::Id },
    Field { path: &[6], fact: Fact::Model },
    Field { path: &[9], fact: Fact::Usage(Usage::Sampling) },
    Field { path: &[15], fact: Fact::Tier(TIERS) },
];
/// `GetDeferredCompletionResponse`, which holds one once it is done.
const DEFERRED: Plan = &[
    Field { path: &[1, 1], fact: Fact::Id },
    Field { path: &[1, 6], fact: Fact::Model },
    Field { path: &[1, 9], fact: Fact::Usage(Usage::Sampling) },
    Field { path: &[1, 15], fact: Fact::Tier(TIERS) },
];
/// `GetChatCompletionChunk`: text, tool calls and reasoning of a delta.
const CHUNK: Plan = &[
    Field { path: &[1], fact: Fact::Id },
    Field { path: &[2, 1, 1], fact: Fact::Content },
    Field { path: &[2, 1, 3], fact: Fact::Content },
    Field { path: &[2, 1, 4], fact: Fact::Content },
    Field { path: &[2, 1, 5], fact: Fact::Content },
    Field { path: &[4], fact: Fact::Model },
    Field { path: &[6], fact: Fact::Usage(Usage::Sampling) },
    Field { path: &[12], fact: Fact::Tier(TIERS) },
];
/// `SampleTextRequest`, `GenerateVideoRequest` and `ExtendVideoRequest`.
const SAMPLE: Plan =
    &[Field { path: &[1], fact: Fact::Input }, Field { path: &[3], fact: Fact::Model }];
/// `SampleTextResponse`, whole or a part of a stream.
const SAMPLED: Plan = &[
    Field { path: &[1], fact: Fact::Id },
    Field { path: &[2, 3], fact: Fact::Content },
    Field { path: &[6], fact: Fact::Model },
    Field { path: &[9], fact: Fact::Usage(Usage::Sampling) },
];
/// `CompactContextRequest`.
const COMPACT: Plan =
    &[Field { path: &[2], fact: Fact::Input }, Field { path: &[1], fact: Fact::Model }];
/// `CompactContextResponse`.
const COMPACTED: Plan = &[
    Field { path: &[1], fact: Fact::Id },
    Field { path: &[4], fact: Fact::Usage(Usage::Sampling) },
];
/// `EmbedRequest`, `GenerateImageRequest` and `TokenizeTextRequest`.
const MADE: Plan =
    &[Field { path: &[1], fact: Fact::Input }, Field { path: &[2], fact: Fact::Model }];
/// `EmbedResponse`, which counts embeddings and no tokens.
const EMBEDDED: Plan =
    &[Field { path: &[1], fact: Fact::Id }, Field { path: &[4], fact: Fact::Model }];
/// `ImageResponse`.
const PICTURED: Plan = &[
    Field { path: &[2], fact: Fact::Model },
    Field { path: &[3], fact: Fact::Usage(Usage::Sampling) },
];

/// A completion, whole or in parts, of which no path tells.
pub(super) const GUESSED: (Plan, Plan) = (
    COMPLETION,
    &[
        Field { path: &[1], fact: Fact::Id },
        Field { path: &[2, 1, 1], fact: Fact::Content },
        Field { path: &[4], fact: Fact::Model },
        Field { path: &[6], fact: Fact::UsageOrModel },
        Field { path: &[9], fact: Fact::Usage(Usage::Sampling) },
    ],
);

/// Finds what a method of `xai_api` does.
pub(super) fn route(service: &str, name: &str) -> Route {
    let sampled = Shape::Chat(Dialect::Xai);
    let made = |operation, shape, asked, answered| {
        let rpc = Some(Rpc::new(asked, answered));
        Route { rpc, ..Route::new(operation, shape) }
    };
    match (service, name) {
        ("Chat", "GetCompletion") => made(Operation::Chat, sampled, COMPLETION, COMPLETED),
        ("Chat", "GetCompletionChunk") => {
            Route { streamed: true, ..made(Operation::Chat, sampled, COMPLETION, CHUNK) }
        }
        // The figures come when it is fetched.
        ("Chat", "StartDeferredCompletion") => made(Operation::Chat, Shape::None, COMPLETION, &[]),
        ("Chat", "GetDeferredCompletion") => {
            Route { repeated: true, ..made(Operation::Other, sampled, &[], DEFERRED) }
        }
        ("Chat", "GetStoredCompletion") => {
            Route { repeated: true, ..made(Operation::Other, sampled, &[], COMPLETED) }
        }
        ("Chat", "CompactContext") => made(Operation::Chat, sampled, COMPACT, COMPACTED),
        ("Sample", "SampleText") => made(Operation::TextCompletion, sampled, SAMPLE, SAMPLED),
        ("Sample", "SampleTextStreaming") => {
            Route { streamed: true, ..made(Operation::TextCompletion, sampled, SAMPLE, SAMPLED) }
        }
        ("Embedder", "Embed") => made(Operation::Embeddings, Shape::None, MADE, EMBEDDED),
        ("Image", "GenerateImage") => made(Operation::ImageGeneration, sampled, MADE, PICTURED),
        ("Tokenize", _) => made(Operation::CountTokens, Shape::None, MADE, &[]),
        ("Models", _) => made(Operation::Models, Shape::None, &[], &[]),
        ("Files", _) => made(Operation::Files, Shape::None, &[], &[]),
        ("BatchMgmt", _) => made(Operation::Batch, Shape::None, &[], &[]),
        ("Video", "GenerateVideo" | "ExtendVideo") => {
            made(Operation::Other, Shape::None, SAMPLE, &[])
        }
        _ => made(Operation::Other, Shape::None, &[], &[]),
    }
}

/// `xai_api.SamplingUsage`.
#[derive(Clone, PartialEq, Message)]
struct SamplingUsage {
    #[prost(int32, tag = "1")]
    completion_tokens: i32,
    #[prost(int32, tag = "2")]
    prompt_tokens: i32,
    #[prost(int32, tag = "3")]
    total_tokens: i32,
    #[prost(int32, tag = "5")]
    prompt_image_tokens: i32,
    #[prost(int32, tag = "6")]
    reasoning_tokens: i32,
    #[prost(int32, tag = "7")]
    cached_prompt_text_tokens: i32,
    #[prost(int64, optional, tag = "11")]
    cost_in_usd_ticks: Option<i64>,
}

/// Reads the figures; a number that is absent from the message is 0, but for the cost.
pub(super) fn usage(message: &[u8]) -> Option<Value> {
    let usage = SamplingUsage::decode(message).ok()?;
    Some(json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_prompt_text_tokens,
            "image_tokens": usage.prompt_image_tokens
        },
        "completion_tokens_details": { "reasoning_tokens": usage.reasoning_tokens },
        "cost_in_usd_ticks": usage.cost_in_usd_ticks
    }))
}
