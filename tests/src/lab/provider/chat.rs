//! A chat or legacy completion call comes in; its answer in `OpenAI`'s format or a dialect of it goes out.

use serde_json::{Value, json};

use crate::lab::provider::answer::{Answer, HOLE, Piece, Template, event, padding, quoted, words};
use crate::lab::provider::call::{Call, Dialect, Operation, StreamOptions};
use crate::lab::provider::usage::Shape;

/// Creation time in every answer, a constant so that two runs write the same bytes.
pub const CREATED: u64 = 1_780_000_000;

/// Last event of a stream.
const DONE: &str = "data: [DONE]\n\n";

/// Comment that keeps a connection open while `OpenRouter` waits for the provider behind it.
const COMMENT: &str = ": OPENROUTER PROCESSING\n\n";

/// Event with which a stream fails after its head has promised success.
const ERROR: &str = "data: {\"error\":{\"message\":\"The server had an error while processing your request. Sorry about that!\",\"type\":\"server_error\",\"param\":null,\"code\":null}}\n\n";

/// Answers a chat or legacy completion call.
pub fn answer(call: &Call) -> Answer {
    let id = match (call.operation, call.dialect) {
        (Operation::Completions, _) => format!("cmpl-{}", call.tag),
        (_, Dialect::OpenRouter) => format!("gen-{}", call.tag),
        (_, Dialect::Mistral) => call.tag.clone(),
        _ => format!("chatcmpl-{}", call.tag),
    };
    let mut answer = if call.is_stream() { stream(call, &id) } else { whole(call, &id) };
    answer.id = id;
    answer.served_model.clone_from(&call.served_model);
    answer.usage = Some(call.usage);
    answer.cost_usd = (call.dialect == Dialect::OpenRouter).then(|| cost(call));
    answer.error_event = ERROR.into();
    answer
}

fn whole(call: &Call, id: &str) -> Answer {
    let text = words(&call.knobs).concat();
    let choice = match call.operation {
        Operation::Completions => {
            json!({"text": text, "index": 0, "logprobs": null, "finish_reason": "stop"})
        }
        _ if call.is_tool_call() => json!({
            "index": 0,
            "message": {
                "role": "assistant", "content": null, "refusal": null,
                "tool_calls": [{
                    "id": format!("call_{}", call.tag), "type": "function",
                    "function": {"name": "look_up", "arguments": json!({"text": text}).to_string()}
                }]
            },
            "logprobs": null, "finish_reason": "tool_calls"
        }),
        _ => json!({
            "index": 0,
            "message": {"role": "assistant", "content": text, "refusal": null, "annotations": []},
            "logprobs": null, "finish_reason": "stop"
        }),
    };
    let mut body = envelope(call, id, "chat.completion");
    set(&mut body, "choices", json!([choice]));
    set(&mut body, "usage", usage_of(call));
    Answer::text(200, Template::text(&body.to_string()).fill(&[&cost(call)]))
}

fn stream(call: &Call, id: &str) -> Answer {
    let options = call.asked.stream_options.unwrap_or_default();
    let chunk = |choices: Value| {
        let mut body = envelope(call, id, "chat.completion.chunk");
        set(&mut body, "choices", choices);
        if options.include_usage {
            set(&mut body, "usage", Value::Null);
        }
        body
    };
    let mut pieces = Vec::new();
    match call.dialect {
        Dialect::OpenRouter => pieces.push(Piece::frame(COMMENT)),
        // Azure tells what its filter thinks of the prompt before any choice.
        Dialect::Azure => {
            let mut first = chunk(json!([]));
            set(
                &mut first,
                "prompt_filter_results",
                json!([{"prompt_index": 0, "content_filter_results": {}}]),
            );
            pieces.push(Piece::frame(event("", &first)));
        }
        _ => {}
    }
    pieces.extend(contents(call, options, &chunk));
    let finish = if call.is_tool_call() { "tool_calls" } else { "stop" };
    let last = match call.operation {
        Operation::Completions => {
            json!([{"text": "", "index": 0, "logprobs": null, "finish_reason": finish}])
        }
        _ => json!([{"index": 0, "delta": {}, "logprobs": null, "finish_reason": finish}]),
    };
    pieces.extend(ending(call, options, chunk(last), chunk(json!([]))));
    pieces.push(Piece::frame(DONE));
    Answer { status: 200, pieces, stream: true, ..Answer::default() }
}

/// Makes the chunks that carry text (or the arguments of a tool call).
fn contents(call: &Call, options: StreamOptions, chunk: &dyn Fn(Value) -> Value) -> Vec<Piece> {
    let tool = call.is_tool_call();
    let choice = |delta: Value| match call.operation {
        Operation::Completions => {
            json!([{"text": HOLE, "index": 0, "logprobs": null, "finish_reason": null}])
        }
        _ => json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}]),
    };
    let mut pieces = Vec::new();
    if call.operation == Operation::Chat {
        let first = if tool {
            json!({"role": "assistant", "content": null, "tool_calls": [{
                "index": 0, "id": format!("call_{}", call.tag), "type": "function",
                "function": {"name": "look_up", "arguments": "{\"text\":\""}
            }]})
        } else {
            json!({"role": "assistant", "content": "", "refusal": null})
        };
        pieces.push(Piece::frame(event("", &chunk(choice(first)))));
    }
    let delta = if tool {
        json!({"tool_calls": [{"index": 0, "function": {"arguments": HOLE}}]})
    } else {
        json!({"content": HOLE})
    };
    let mut body = chunk(choice(delta));
    let padded = call.dialect == Dialect::OpenAi && options.include_obfuscation != Some(false);
    if padded {
        set(&mut body, "obfuscation", json!(HOLE));
    }
    let template = Template::event("", &body);
    for (place, word) in words(&call.knobs).iter().enumerate() {
        let filled = template.fill(&[&quoted(word), &quoted(padding(place))]);
        pieces.push(Piece::content(filled));
    }
    if tool {
        pieces.push(Piece::frame(template.fill(&[r#""\"}""#, "\"\""])));
    }
    pieces
}

/// Makes the last chunks, with the usage where the dialect puts it.
fn ending(call: &Call, options: StreamOptions, mut last: Value, mut extra: Value) -> Vec<Piece> {
    match call.dialect {
        Dialect::Mistral => {
            set(&mut last, "usage", usage_of(call));
            return vec![Piece::usage(event("", &last))];
        }
        Dialect::Groq => {
            set(
                &mut last,
                "x_groq",
                json!({"id": format!("req_{}", call.tag), "usage": usage_of(call)}),
            );
            return vec![Piece::usage(event("", &last))];
        }
        _ => {}
    }
    let mut pieces = vec![Piece::frame(event("", &last))];
    if options.include_usage || call.dialect == Dialect::OpenRouter {
        set(&mut extra, "usage", usage_of(call));
        pieces.push(Piece::usage(Template::event("", &extra).fill(&[&cost(call)])));
    }
    pieces
}

fn envelope(call: &Call, id: &str, object: &str) -> Value {
    let object = if call.operation == Operation::Completions { "text_completion" } else { object };
    let mut body =
        json!({"id": id, "object": object, "created": CREATED, "model": call.served_model});
    match call.dialect {
        Dialect::OpenAi | Dialect::Azure => {
            set(&mut body, "service_tier", json!(call.tier()));
            set(&mut body, "system_fingerprint", json!("fp_lab0000000"));
        }
        Dialect::OpenRouter => set(&mut body, "provider", json!("Lab")),
        _ => {}
    }
    body
}

fn usage_of(call: &Call) -> Value {
    let mut usage = call.usage.to_wire(Shape::Chat);
    match call.dialect {
        Dialect::DeepSeek => {
            set(&mut usage, "prompt_cache_hit_tokens", call.usage.cached.into());
            set(&mut usage, "prompt_cache_miss_tokens", call.usage.input.into());
        }
        Dialect::OpenRouter => set(&mut usage, "cost", json!(HOLE)),
        _ => {}
    }
    usage
}

/// Returns what `OpenRouter` says it charges: a micro-dollar an input token and two an output token.
fn cost(call: &Call) -> String {
    let micros = call.usage.output.saturating_mul(2).saturating_add(call.usage.all_input());
    let (dollars, rest) = (micros.checked_div(1_000_000), micros.checked_rem(1_000_000));
    format!("{}.{:06}", dollars.unwrap_or(0), rest.unwrap_or(0))
}

fn set(body: &mut Value, name: &str, value: Value) {
    if let Some(fields) = body.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}
