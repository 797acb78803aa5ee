//! A chat of xAI's comes in as a message; its answer, in the messages that its SDK knows, goes out.

use prost::Message;

use crate::lab::provider::answer::{Answer, Piece, words};
use crate::lab::provider::chat::CREATED;
use crate::lab::provider::grpc::{Call, count, pieces};
use crate::lab::provider::usage::Usage;

/// `ROLE_ASSISTANT`.
const ASSISTANT: i32 = 2;
/// `REASON_STOP`.
const STOP: i32 = 3;
/// xAI's ticks in a micro-dollar.
const TICKS_A_MICRO: i64 = 10_000;

/// What matters of `GetCompletionsRequest`.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, tag = "2")]
    model: String,
}

/// `SamplingUsage`.
#[derive(Clone, PartialEq, Message)]
struct SamplingUsage {
    #[prost(int32, tag = "1")]
    completion_tokens: i32,
    #[prost(int32, tag = "2")]
    prompt_tokens: i32,
    #[prost(int32, tag = "3")]
    total_tokens: i32,
    #[prost(int32, tag = "4")]
    prompt_text_tokens: i32,
    #[prost(int32, tag = "6")]
    reasoning_tokens: i32,
    #[prost(int32, tag = "7")]
    cached_prompt_text_tokens: i32,
    #[prost(int64, optional, tag = "11")]
    cost_in_usd_ticks: Option<i64>,
}

/// `CompletionMessage`, and the first fields of `Delta`.
#[derive(Clone, PartialEq, Message)]
struct Said {
    #[prost(string, tag = "1")]
    content: String,
    #[prost(int32, tag = "2")]
    role: i32,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

/// `CompletionOutput`.
#[derive(Clone, PartialEq, Message)]
struct Output {
    #[prost(int32, tag = "1")]
    finish_reason: i32,
    #[prost(message, optional, tag = "3")]
    message: Option<Said>,
}

/// `GetChatCompletionResponse`.
#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, repeated, tag = "2")]
    outputs: Vec<Output>,
    #[prost(message, optional, tag = "5")]
    created: Option<Timestamp>,
    #[prost(string, tag = "6")]
    model: String,
    #[prost(string, tag = "7")]
    system_fingerprint: String,
    #[prost(message, optional, tag = "9")]
    usage: Option<SamplingUsage>,
    #[prost(int32, tag = "15")]
    service_tier: i32,
}

/// `CompletionOutputChunk`.
#[derive(Clone, PartialEq, Message)]
struct OutputChunk {
    #[prost(message, optional, tag = "1")]
    delta: Option<Said>,
    #[prost(int32, tag = "3")]
    finish_reason: i32,
}

/// `GetChatCompletionChunk`.
#[derive(Clone, PartialEq, Message)]
struct Chunk {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, repeated, tag = "2")]
    outputs: Vec<OutputChunk>,
    #[prost(message, optional, tag = "3")]
    created: Option<Timestamp>,
    #[prost(string, tag = "4")]
    model: String,
    #[prost(message, optional, tag = "6")]
    usage: Option<SamplingUsage>,
    #[prost(int32, tag = "12")]
    service_tier: i32,
}

/// The model that a request names.
pub(super) fn model(message: &[u8]) -> Option<String> {
    Request::decode(message).ok().map(|request| request.model)
}

/// Answers whole.
pub(super) fn whole(call: &Call) -> Answer {
    let content = words(&call.knobs).concat();
    let message = Some(Said { content, role: ASSISTANT });
    let response = Response {
        id: call.tag.clone(),
        outputs: vec![Output { finish_reason: STOP, message }],
        created: Some(created()),
        model: served(call),
        system_fingerprint: "fp_lab".to_owned(),
        usage: Some(usage(&call.usage, None)),
        service_tier: tier(call),
    };
    let piece = Piece { bytes: response.encode_to_vec().into(), content: true, usage: true };
    Answer { pieces: vec![piece], ..named(call) }
}

/// Answers in parts, each with the usage so far.
pub(super) fn stream(call: &Call) -> Answer {
    let chunk = |content: &str, finish_reason, usage| {
        let delta = Some(Said { content: content.to_owned(), role: ASSISTANT });
        let chunk = Chunk {
            id: call.tag.clone(),
            outputs: vec![OutputChunk { delta, finish_reason }],
            created: Some(created()),
            model: served(call),
            usage: Some(usage),
            service_tier: tier(call),
        };
        chunk.encode_to_vec()
    };
    let part = |number, word: &str| chunk(word, 0, usage(&call.usage, Some(number)));
    let last = chunk("", STOP, usage(&call.usage, None));
    Answer { pieces: pieces(call, part, last), stream: true, ..named(call) }
}

fn named(call: &Call) -> Answer {
    let micros = micros(&call.usage);
    let (dollars, rest) = (micros.checked_div(1_000_000), micros.checked_rem(1_000_000));
    Answer {
        id: call.tag.clone(),
        model: call.model.clone(),
        served_model: served(call),
        usage: Some(call.usage),
        cost_usd: Some(format!("{}.{:06}", dollars.unwrap_or(0), rest.unwrap_or(0))),
        ..Answer::default()
    }
}

/// The figures; of a stream under way, those of so many words.
fn usage(usage: &Usage, words: Option<u64>) -> SamplingUsage {
    // Reasoning stands beside the completion.
    let completed = usage.output.saturating_sub(usage.reasoning);
    let completed = words.map_or(completed, |words| words.min(completed));
    let prompt = usage.all_input();
    let ticks = i64::try_from(micros(usage)).unwrap_or(i64::MAX).saturating_mul(TICKS_A_MICRO);
    SamplingUsage {
        completion_tokens: count(completed),
        prompt_tokens: count(prompt),
        total_tokens: count(prompt.saturating_add(completed).saturating_add(usage.reasoning)),
        prompt_text_tokens: count(prompt),
        reasoning_tokens: count(usage.reasoning),
        cached_prompt_text_tokens: count(usage.cached),
        cost_in_usd_ticks: words.is_none().then_some(ticks),
    }
}

/// What the call costs: a micro-dollar an input token and two an output token.
fn micros(usage: &Usage) -> u64 {
    usage.output.saturating_mul(2).saturating_add(usage.all_input())
}

fn created() -> Timestamp {
    Timestamp { seconds: i64::try_from(CREATED).unwrap_or(0) }
}

fn served(call: &Call) -> String {
    call.knobs.served.clone().unwrap_or_else(|| call.model.clone())
}

/// `SERVICE_TIER_PRIORITY` where the scenario says so, else `SERVICE_TIER_DEFAULT`.
fn tier(call: &Call) -> i32 {
    if call.knobs.tier.as_deref() == Some("priority") { 2 } else { 1 }
}
