//! Calls that are neither chat, responses nor messages come in, and refusals; their answers go out.

use serde_json::{Value, json};

use crate::lab::provider::answer::Answer;
use crate::lab::provider::call::{Call, Operation};
use crate::lab::provider::chat::CREATED;
use crate::lab::provider::usage::Shape;

/// Numbers in an embedding: enough to look like one.
const DIMENSIONS: u16 = 48;

/// Groups of four letters that write as many 32-bit zeros in base64.
const BASE64_GROUPS: usize = 64;

/// Models that a list names.
const MODELS: &[&str] = &["gpt-4o", "gpt-4o-mini", "text-embedding-3-small", "claude-sonnet-4-5"];

/// Images or embeddings in one answer.
const ITEMS_MAX: usize = 2048;

/// A small picture in base64: nothing reads it.
const PICTURE: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=";

/// Answers a call.
pub fn answer(call: &Call) -> Answer {
    let mut answer = match call.operation {
        Operation::Embeddings => embeddings(call),
        Operation::Images => images(call),
        Operation::Moderations => moderations(call),
        Operation::CountTokens => {
            Answer::whole(200, &json!({"input_tokens": call.usage.all_input()}))
        }
        Operation::MessageBatches => message_batch(call),
        Operation::Files => file(call),
        Operation::Batches => batch(call),
        _ => models(),
    };
    answer.usage = call.operation.shape().map(|_| call.usage);
    answer
}

/// Refuses a call the way its service words a refusal.
pub fn refusal(operation: Option<Operation>, status: u16, retry_after: Option<u64>) -> Answer {
    let anthropic = operation.is_some_and(Operation::is_anthropic);
    let (kind, code, text) = match (status, anthropic) {
        (400, true) => ("invalid_request_error", "", "The request is not valid."),
        (400, false) => ("invalid_request_error", "invalid_value", "The request is not valid."),
        (401, true) => ("authentication_error", "", "invalid x-api-key"),
        (401, false) => ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
        (404, true) => ("not_found_error", "", "Not found"),
        (404, false) => ("invalid_request_error", "unknown_url", "Unknown request URL."),
        (429, true) => {
            ("rate_limit_error", "", "This request would exceed your organization's rate limit.")
        }
        (429, false) => ("requests", "rate_limit_exceeded", "Rate limit reached for requests."),
        (529, _) => ("overloaded_error", "", "Overloaded"),
        (_, true) => ("api_error", "", "Internal server error"),
        (_, false) => {
            ("server_error", "", "The server had an error while processing your request.")
        }
    };
    let body = if anthropic {
        json!({"type": "error", "error": {"type": kind, "message": text}})
    } else {
        json!({"error": {"message": text, "type": kind, "param": null, "code": code}})
    };
    let mut answer = Answer::whole(status, &body);
    answer.headers.extend(retry_after.map(|secs| ("retry-after", secs.to_string())));
    answer
}

fn embeddings(call: &Call) -> Answer {
    let count = match &call.asked.input {
        Some(Value::Array(list)) if list.first().is_some_and(|first| !first.is_number()) => {
            list.len()
        }
        _ => 1,
    };
    let embedding = if call.asked.encoding_format.as_deref() == Some("base64") {
        json!("AAAA".repeat(BASE64_GROUPS))
    } else {
        Value::from((0..DIMENSIONS).map(|n| f64::from(n) / 1024.0).collect::<Vec<_>>())
    };
    let data: Vec<Value> = (0..count.min(ITEMS_MAX))
        .map(|index| json!({"object": "embedding", "index": index, "embedding": embedding}))
        .collect();
    let usage = call.usage.to_wire(Shape::Embeddings);
    let body = json!({"object": "list", "data": data, "model": call.served_model, "usage": usage});
    named(call, Answer::whole(200, &body))
}

fn images(call: &Call) -> Answer {
    let count = usize::try_from(call.asked.n.unwrap_or(1)).unwrap_or(1).min(ITEMS_MAX);
    let data = vec![json!({"b64_json": PICTURE}); count];
    let usage = call.usage.to_wire(Shape::Responses);
    named(call, Answer::whole(200, &json!({"created": CREATED, "data": data, "usage": usage})))
}

fn moderations(call: &Call) -> Answer {
    let id = format!("modr-{}", call.tag);
    let result = json!({"flagged": false, "categories": {}, "category_scores": {}});
    let body = json!({"id": id, "model": call.served_model, "results": [result]});
    let mut answer = named(call, Answer::whole(200, &body));
    answer.id = id;
    answer
}

fn named(call: &Call, mut answer: Answer) -> Answer {
    answer.served_model.clone_from(&call.served_model);
    answer
}

fn file(call: &Call) -> Answer {
    let id = format!("file-{}", call.tag);
    let body = json!({
        "id": id, "object": "file", "bytes": 0, "created_at": CREATED, "filename": "lab.jsonl",
        "purpose": "batch", "status": "processed"
    });
    Answer { id, ..Answer::whole(200, &body) }
}

fn batch(call: &Call) -> Answer {
    let id = format!("batch_{}", call.tag);
    let body = json!({
        "id": id, "object": "batch", "endpoint": "/v1/chat/completions", "errors": null,
        "input_file_id": "file-lab", "completion_window": "24h", "status": "validating",
        "created_at": CREATED, "request_counts": {"total": 0, "completed": 0, "failed": 0}
    });
    Answer { id, ..Answer::whole(200, &body) }
}

fn message_batch(call: &Call) -> Answer {
    let id = format!("msgbatch_{}", call.tag);
    let body = json!({
        "id": id, "type": "message_batch", "processing_status": "in_progress",
        "request_counts": {"processing": 1, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
        "ended_at": null, "created_at": "2026-05-28T20:26:40Z", "expires_at": "2026-05-29T20:26:40Z",
        "archived_at": null, "cancel_initiated_at": null, "results_url": null
    });
    Answer { id, ..Answer::whole(200, &body) }
}

fn models() -> Answer {
    let data: Vec<Value> = MODELS
        .iter()
        .map(|id| json!({"id": id, "object": "model", "created": CREATED, "owned_by": "lab"}))
        .collect();
    Answer::whole(200, &json!({"object": "list", "data": data}))
}
