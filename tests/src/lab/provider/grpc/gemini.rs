//! A call of Gemini's comes in as a message; its answer, in the messages that its SDK knows, goes out.

use prost::Message;

use crate::lab::provider::answer::{Answer, Piece, words};
use crate::lab::provider::grpc::{Call, count, pieces};
use crate::lab::provider::usage::Usage;

/// `FinishReason.STOP`.
const STOP: i32 = 1;

/// What matters of `GenerateContentRequest`.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, tag = "1")]
    model: String,
}

/// `Part`, of text.
#[derive(Clone, PartialEq, Message)]
struct Part {
    #[prost(string, tag = "2")]
    text: String,
}

/// `Content`.
#[derive(Clone, PartialEq, Message)]
struct Content {
    #[prost(message, repeated, tag = "1")]
    parts: Vec<Part>,
    #[prost(string, tag = "2")]
    role: String,
}

/// `Candidate`.
#[derive(Clone, PartialEq, Message)]
struct Candidate {
    #[prost(message, optional, tag = "1")]
    content: Option<Content>,
    #[prost(int32, tag = "2")]
    finish_reason: i32,
}

/// `GenerateContentResponse.UsageMetadata`.
#[derive(Clone, PartialEq, Message)]
struct UsageMetadata {
    #[prost(int32, tag = "1")]
    prompt: i32,
    #[prost(int32, tag = "2")]
    candidates: i32,
    #[prost(int32, tag = "3")]
    total: i32,
    #[prost(int32, tag = "4")]
    cached: i32,
    #[prost(int32, tag = "10")]
    thoughts: i32,
}

/// `GenerateContentResponse`.
#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(message, repeated, tag = "1")]
    candidates: Vec<Candidate>,
    #[prost(message, optional, tag = "3")]
    usage_metadata: Option<UsageMetadata>,
    #[prost(string, tag = "4")]
    model_version: String,
    #[prost(string, tag = "5")]
    id: String,
}

/// The model that a request names, as people do.
pub(super) fn model(message: &[u8]) -> Option<String> {
    let resource = Request::decode(message).ok()?.model;
    resource.rsplit('/').next().map(str::to_owned)
}

/// Answers whole.
pub(super) fn whole(call: &Call) -> Answer {
    let bytes = response(call, &words(&call.knobs).concat(), Some(call.usage));
    let piece = Piece { bytes: bytes.into(), content: true, usage: true };
    Answer { pieces: vec![piece], ..named(call) }
}

/// Answers in parts; the last one has the figures.
pub(super) fn stream(call: &Call) -> Answer {
    let part = |_: u64, word: &str| response(call, word, None);
    let last = response(call, "", Some(call.usage));
    Answer { pieces: pieces(call, part, last), stream: true, ..named(call) }
}

fn named(call: &Call) -> Answer {
    Answer {
        id: call.tag.clone(),
        model: call.model.clone(),
        served_model: call.model.clone(),
        usage: Some(call.usage),
        ..Answer::default()
    }
}

fn response(call: &Call, text: &str, usage: Option<Usage>) -> Vec<u8> {
    let parts = vec![Part { text: text.to_owned() }];
    let content = Some(Content { parts, role: "model".to_owned() });
    let finish_reason = if usage.is_some() { STOP } else { 0 };
    let response = Response {
        candidates: vec![Candidate { content, finish_reason }],
        usage_metadata: usage.map(|usage| metadata(&usage)),
        model_version: call.model.clone(),
        id: call.tag.clone(),
    };
    response.encode_to_vec()
}

fn metadata(usage: &Usage) -> UsageMetadata {
    let prompt = usage.all_input();
    UsageMetadata {
        prompt: count(prompt),
        candidates: count(usage.output.saturating_sub(usage.reasoning)),
        total: count(prompt.saturating_add(usage.output)),
        cached: count(usage.cached),
        thoughts: count(usage.reasoning),
    }
}
