//! A call of Anthropic's messages API comes in; its answer, whole or as typed events, goes out.

use serde_json::{Value, json};

use crate::lab::provider::answer::{Answer, HOLE, Piece, Template, event, quoted, words};
use crate::lab::provider::call::Call;
use crate::lab::provider::usage::Shape;

/// Event with which a stream fails after its head has promised success.
const ERROR: &str = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";

/// Output tokens that the first event of a stream tells: a placeholder, not the count.
const OUTPUT_PLACEHOLDER: u64 = 1;

/// Answers a call.
pub fn answer(call: &Call) -> Answer {
    let id = format!("msg_{}", call.tag);
    let mut answer = if call.is_stream() { stream(call, &id) } else { whole(call, &id) };
    answer.id = id;
    answer.served_model.clone_from(&call.served_model);
    answer.usage = Some(call.usage);
    answer.error_event = ERROR.into();
    answer
}

fn stop_reason(call: &Call) -> &'static str {
    if call.is_tool_call() { "tool_use" } else { "end_turn" }
}

fn message(call: &Call, id: &str, content: &Value, stop: &Value, usage: &Value) -> Value {
    json!({
        "id": id, "type": "message", "role": "assistant", "model": call.served_model,
        "content": content, "stop_reason": stop, "stop_sequence": null, "usage": usage
    })
}

fn whole(call: &Call, id: &str) -> Answer {
    let text = words(&call.knobs).concat();
    let block = if call.is_tool_call() {
        json!({"type": "tool_use", "id": format!("toolu_{}", call.tag), "name": "look_up", "input": {"text": text}})
    } else {
        json!({"type": "text", "text": text})
    };
    let usage = call.usage.to_wire(Shape::Messages);
    Answer::whole(200, &message(call, id, &json!([block]), &json!(stop_reason(call)), &usage))
}

fn stream(call: &Call, id: &str) -> Answer {
    let mut opening = call.usage.to_wire(Shape::Messages);
    if let Some(output) = opening.get_mut("output_tokens") {
        *output = OUTPUT_PLACEHOLDER.into();
    }
    let start = message(call, id, &json!([]), &Value::Null, &opening);
    let mut pieces =
        vec![frame("message_start", &json!({"type": "message_start", "message": start}))];
    let block = if call.is_tool_call() {
        json!({"type": "tool_use", "id": format!("toolu_{}", call.tag), "name": "look_up", "input": {}})
    } else {
        json!({"type": "text", "text": ""})
    };
    let data = json!({"type": "content_block_start", "index": 0, "content_block": block});
    pieces.push(frame("content_block_start", &data));
    pieces.push(frame("ping", &json!({"type": "ping"})));
    pieces.extend(deltas(call));
    pieces.push(frame("content_block_stop", &json!({"type": "content_block_stop", "index": 0})));
    // The counts here are cumulative and carry no split by lifetime.
    let usage = json!({
        "input_tokens": call.usage.input, "cache_read_input_tokens": call.usage.cached,
        "cache_creation_input_tokens": call.usage.cache_write.saturating_add(call.usage.cache_write_1h),
        "output_tokens": call.usage.output
    });
    let last = json!({
        "type": "message_delta",
        "delta": {"stop_reason": stop_reason(call), "stop_sequence": null}, "usage": usage
    });
    pieces.push(Piece::usage(event("message_delta", &last)));
    pieces.push(frame("message_stop", &json!({"type": "message_stop"})));
    Answer { status: 200, pieces, stream: true, ..Answer::default() }
}

fn frame(name: &str, data: &Value) -> Piece {
    Piece::frame(event(name, data))
}

fn deltas(call: &Call) -> Vec<Piece> {
    let tool = call.is_tool_call();
    let delta = if tool {
        json!({"type": "input_json_delta", "partial_json": HOLE})
    } else {
        json!({"type": "text_delta", "text": HOLE})
    };
    let data = json!({"type": "content_block_delta", "index": 0, "delta": delta});
    let template = Template::event("content_block_delta", &data);
    let mut pieces = Vec::new();
    if tool {
        pieces.push(Piece::frame(template.fill(&[r#""{\"text\":\"""#])));
    }
    pieces.extend(
        words(&call.knobs).iter().map(|word| Piece::content(template.fill(&[&quoted(word)]))),
    );
    if tool {
        pieces.push(Piece::frame(template.fill(&[r#""\"}""#])));
    }
    pieces
}
