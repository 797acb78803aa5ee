//! A call of `OpenAI`'s responses API comes in; its answer, whole or as typed events, goes out.

use serde_json::{Value, json};

use crate::lab::provider::answer::{Answer, HOLE, Piece, Template, event, padding, quoted, words};
use crate::lab::provider::call::Call;
use crate::lab::provider::chat::CREATED;
use crate::lab::provider::usage::Shape;

/// Answers a call, or a later look at a stored answer (which tells the same usage and costs nothing again).
pub fn answer(call: &Call) -> Answer {
    let id = format!("resp_{}", call.tag);
    let text = words(&call.knobs).concat();
    let done = response(call, &id, Stage::Completed, Some(&text));
    let mut answer =
        if call.is_stream() { stream(call, &id, &text, &done) } else { Answer::whole(200, &done) };
    answer.usage = Some(call.usage);
    answer.id = id;
    answer.served_model.clone_from(&call.served_model);
    answer
}

/// Answers `GET /v1/responses/{id}`: the same usage once more, with the usual text.
pub fn stored(call: &Call, id: &str) -> Answer {
    let text = words(&call.knobs).concat();
    let mut answer = Answer::whole(200, &response(call, id, Stage::Completed, Some(&text)));
    id.clone_into(&mut answer.id);
    answer
}

/// Where in its life a response object stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Begun,
    Completed,
}

fn response(call: &Call, id: &str, stage: Stage, text: Option<&str>) -> Value {
    let completed = stage == Stage::Completed;
    let output = text.map(|text| vec![item(call, "completed", text)]).unwrap_or_default();
    let usage = completed.then(|| call.usage.to_wire(Shape::Responses));
    json!({
        "id": id, "object": "response", "created_at": CREATED,
        "status": if completed { "completed" } else { "in_progress" },
        "background": false, "error": null, "incomplete_details": null, "instructions": null,
        "max_output_tokens": null, "model": call.served_model, "output": output,
        "parallel_tool_calls": true, "previous_response_id": null,
        "reasoning": {"effort": null, "summary": null}, "service_tier": call.tier(), "store": true,
        "temperature": 1.0, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [],
        "top_p": 1.0, "truncation": "disabled", "usage": usage, "user": null, "metadata": {}
    })
}

fn item(call: &Call, status: &str, text: &str) -> Value {
    if call.is_tool_call() {
        let arguments =
            if text.is_empty() { String::new() } else { json!({"text": text}).to_string() };
        return json!({
            "id": format!("fc_{}", call.tag), "type": "function_call", "status": status,
            "arguments": arguments, "call_id": format!("call_{}", call.tag), "name": "look_up"
        });
    }
    let parts = if text.is_empty() { vec![] } else { vec![part(text)] };
    json!({
        "id": format!("msg_{}", call.tag), "type": "message", "status": status,
        "content": parts, "role": "assistant"
    })
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text})
}

/// Numbers events as they are made.
struct Events {
    pieces: Vec<Piece>,
    next: u64,
}

impl Events {
    fn add(&mut self, name: &str, fields: Value) {
        let piece = Piece::frame(event(name, &self.numbered(name, fields)));
        self.pieces.push(piece);
    }

    fn numbered(&mut self, name: &str, fields: Value) -> Value {
        let mut data = json!({"type": name, "sequence_number": self.next});
        self.next = self.next.saturating_add(1);
        if let (Some(data), Value::Object(fields)) = (data.as_object_mut(), fields) {
            data.extend(fields);
        }
        data
    }
}

fn stream(call: &Call, id: &str, text: &str, done: &Value) -> Answer {
    let mut events = Events { pieces: Vec::new(), next: 0 };
    let begun = response(call, id, Stage::Begun, None);
    events.add("response.created", json!({"response": begun}));
    events.add("response.in_progress", json!({"response": begun}));
    let empty = item(call, "in_progress", "");
    events.add("response.output_item.added", json!({"output_index": 0, "item": empty}));
    let item_id = empty.get("id").cloned().unwrap_or_default();
    let place = json!({"item_id": item_id, "output_index": 0, "content_index": 0});
    if call.is_tool_call() {
        let arguments = json!({"text": text}).to_string();
        let kind = "response.function_call_arguments";
        deltas(
            &mut events,
            &format!("{kind}.delta"),
            &json!({"item_id": item_id, "output_index": 0}),
            &tool_words(call),
        );
        events.add(
            &format!("{kind}.done"),
            json!({"item_id": item_id, "output_index": 0, "arguments": arguments}),
        );
    } else {
        events.add("response.content_part.added", merged(&place, json!({"part": part("")})));
        let words: Vec<String> = words(&call.knobs).iter().map(|word| quoted(word)).collect();
        deltas(&mut events, "response.output_text.delta", &place, &words);
        events.add(
            "response.output_text.done",
            merged(&place, json!({"text": text, "logprobs": []})),
        );
        events.add("response.content_part.done", merged(&place, json!({"part": part(text)})));
    }
    let full = item(call, "completed", text);
    events.add("response.output_item.done", json!({"output_index": 0, "item": full}));
    let failed = Events { pieces: Vec::new(), next: events.next };
    let last = events.numbered("response.completed", json!({"response": done}));
    events.pieces.push(Piece::usage(event("response.completed", &last)));
    Answer {
        status: 200,
        pieces: events.pieces,
        stream: true,
        error_event: error(failed).into(),
        ..Answer::default()
    }
}

/// Pieces of the arguments of a tool call, as JSON strings.
fn tool_words(call: &Call) -> Vec<String> {
    let mut pieces = vec![r#""{\"text\":\"""#.to_owned()];
    pieces.extend(words(&call.knobs).iter().map(|word| quoted(word)));
    pieces.push(r#""\"}""#.to_owned());
    pieces
}

fn deltas(events: &mut Events, name: &str, place: &Value, words: &[String]) {
    let data = merged(
        &json!({"type": name, "sequence_number": HOLE}),
        merged(place, json!({"delta": HOLE, "obfuscation": HOLE})),
    );
    let template = Template::event(name, &data);
    for (number, word) in words.iter().enumerate() {
        let sequence = events.next.to_string();
        events.next = events.next.saturating_add(1);
        let filled = template.fill(&[&sequence, word, &quoted(padding(number))]);
        events.pieces.push(Piece::content(filled));
    }
}

fn merged(first: &Value, second: Value) -> Value {
    let mut out = first.clone();
    if let (Some(out), Value::Object(second)) = (out.as_object_mut(), second) {
        out.extend(second);
    }
    out
}

fn error(mut events: Events) -> String {
    let fields =
        json!({"code": "server_error", "message": "The server had an error.", "param": null});
    let data = events.numbered("error", fields);
    event("error", &data)
}
