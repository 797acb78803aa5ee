//! Bodies as the providers document them go out as inputs, whole and streamed.

use crate::Seed;

/// Options: bits 0-1 the target, 2-3 the content type, 4-5 the status, 6-7 how the answer ends.
const EVENTS: u8 = 1 << 2;
const REFUSED: u8 = 2 << 4;
const ABORTED: u8 = 1 << 6;

const CHAT: &str = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Hi \"model\":\"x\""}],"stream":true,"stream_options":{"include_usage":true}}"#;
const CHAT_ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4o-2024-08-06","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":2006,"completion_tokens":300,"total_tokens":2306,"prompt_tokens_details":{"cached_tokens":1920,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":64}},"service_tier":"default"}"#;
const CHAT_EVENTS: &str = "data: {\"id\":\"c1\",\"model\":\"gpt-4o\",\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}],\"usage\":null}\n\n\
    data: {\"id\":\"c1\",\"model\":\"gpt-4o\",\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n\
    data: {\"id\":\"c1\",\"choices\":[],\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":2,\"cost\":0.000123}}\n\ndata: [DONE]\n\n";
const RESPONSES: &str = r#"{"model":"gpt-5","input":"hi","stream":true,"service_tier":"flex","tools":[{"type":"web_search"}]}"#;
const RESPONSES_ANSWER: &str = r#"{"id":"resp_1","object":"response","status":"completed","model":"gpt-5","output":[{"type":"web_search_call"},{"type":"message"}],"usage":{"input_tokens":100,"input_tokens_details":{"cached_tokens":20},"output_tokens":50,"output_tokens_details":{"reasoning_tokens":30}},"service_tier":"flex"}"#;
const RESPONSES_EVENTS: &str = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\",\"model\":\"gpt-5\",\"usage\":null}}\n\n\
    event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"Hi\"}\n\n\
    event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\",\"model\":\"gpt-5\",\"usage\":{\"input_tokens\":9,\"output_tokens\":4}}}\n\n";
const MESSAGES: &str = r#"{"model":"claude-sonnet-5-5","max_tokens":64,"messages":[{"role":"user","content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral","ttl":"1h"}}]}],"stream":true}"#;
const MESSAGES_ANSWER: &str = r#"{"id":"msg_1","type":"message","model":"claude-sonnet-5-5","content":[{"type":"text","text":"Hello"}],"stop_reason":"end_turn","usage":{"input_tokens":21,"cache_creation_input_tokens":188086,"cache_read_input_tokens":5,"cache_creation":{"ephemeral_5m_input_tokens":456,"ephemeral_1h_input_tokens":100},"output_tokens":393,"service_tier":"standard","server_tool_use":{"web_search_requests":1}}}"#;
const MESSAGES_EVENTS: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"claude-sonnet-5-5\",\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\n\
    event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n\
    event: ping\ndata: {\"type\":\"ping\"}\n\n\
    event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":15}}\n\n\
    event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
const CONTENTS: &str = r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#;
const GEMINI_CHUNK: &str = r#"{"candidates":[{"content":{"parts":[{"text":"i"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":10,"cachedContentTokenCount":4,"candidatesTokenCount":2,"thoughtsTokenCount":8,"totalTokenCount":20},"modelVersion":"gemini-2.5-flash","responseId":"r1"}"#;
const CONVERSE: &str = r#"{"messages":[{"role":"user","content":[{"text":"hi"}]}]}"#;
const CONVERSE_ANSWER: &str = r#"{"output":{"message":{"content":[{"text":"x"}]}},"stopReason":"end_turn","usage":{"inputTokens":30,"outputTokens":6,"totalTokens":36},"serviceTier":{"type":"flex"}}"#;
const COHERE: &str =
    r#"{"model":"command-a","messages":[{"role":"user","content":"hi"}],"stream":true}"#;
const COHERE_EVENTS: &str = "event: message-start\ndata: {\"type\":\"message-start\",\"id\":\"c1\"}\n\n\
    event: content-delta\ndata: {\"type\":\"content-delta\",\"delta\":{\"message\":{\"content\":{\"text\":\"x\"}}}}\n\n\
    event: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"usage\":{\"billed_units\":{\"input_tokens\":5,\"output_tokens\":6}}}}\n\n";
const RERANKED: &str = r#"{"id":"r","results":[],"meta":{"billed_units":{"search_units":1}}}"#;
const REFUSAL: &str = r#"{"error":{"message":"slow down","type":"rate_limit_error","code":429,"status":"RESOURCE_EXHAUSTED"},"__type":"x#ThrottlingException"}"#;
const OLLAMA: &str = r#"{"model":"llama3","messages":[{"role":"user","content":"hi"}]}"#;
const OLLAMA_LINES: &str = "{\"model\":\"llama3\",\"message\":{\"content\":\"H\"},\"done\":false}\n\
    {\"model\":\"llama3\",\"done\":true,\"prompt_eval_count\":26,\"eval_count\":29}\n";

fn story(options: u8, asked: &str, answer: impl AsRef<[u8]>) -> Vec<u8> {
    [&[options], asked.as_bytes(), &[0xff], answer.as_ref()].concat()
}

/// A message of an event stream, its checksums left at zero.
fn framed(payloads: &[&str]) -> Vec<u8> {
    let headers = b"\x0b:event-type\x07\x00\x05chunk";
    let number = |length: usize| u32::try_from(length).unwrap_or(0).to_be_bytes();
    let message = |payload: &&str| {
        let total = number(payload.len() + headers.len() + 16);
        [&total[..], &number(headers.len()), &[0; 4], headers, payload.as_bytes(), &[0; 4]].concat()
    };
    payloads.iter().flat_map(message).collect()
}

/// All seeds of this file.
pub(crate) fn seeds() -> Vec<Seed> {
    let gemini_events = format!("data: {GEMINI_CHUNK}\r\n\r\n");
    let converse = framed(&[
        r#"{"contentBlockIndex":0,"delta":{"text":"He"},"p":"abc"}"#,
        r#"{"metrics":{"latencyMs":1},"usage":{"inputTokens":30,"outputTokens":6,"cacheReadInputTokens":2}}"#,
    ]);
    // {"type":"message_delta","usage":{"output_tokens":9}}, in base64 as the service wraps it.
    let invoked = framed(&[
        r#"{"bytes":"eyJ0eXBlIjoibWVzc2FnZV9kZWx0YSIsInVzYWdlIjp7Im91dHB1dF90b2tlbnMiOjl9fQ=="}"#,
    ]);
    vec![
        ("provider_openai_chat", "whole", story(0, CHAT, CHAT_ANSWER)),
        ("provider_openai_chat", "events", story(EVENTS, CHAT, CHAT_EVENTS)),
        ("provider_openai_chat", "cut", story(EVENTS | ABORTED, CHAT, &CHAT_EVENTS[..200])),
        ("provider_openai_chat", "refused", story(REFUSED, CHAT, REFUSAL)),
        (
            "provider_openai_chat",
            "embeddings",
            story(
                2,
                r#"{"model":"text-embedding-3-small","input":["a"]}"#,
                r#"{"data":[],"model":"text-embedding-3-small","usage":{"prompt_tokens":8,"total_tokens":8}}"#,
            ),
        ),
        ("provider_openai_responses", "whole", story(0, RESPONSES, RESPONSES_ANSWER)),
        ("provider_openai_responses", "events", story(EVENTS, RESPONSES, RESPONSES_EVENTS)),
        (
            "provider_openai_responses",
            "cut",
            story(EVENTS | ABORTED, RESPONSES, &RESPONSES_EVENTS[..150]),
        ),
        ("provider_anthropic", "whole", story(0, MESSAGES, MESSAGES_ANSWER)),
        ("provider_anthropic", "events", story(EVENTS, MESSAGES, MESSAGES_EVENTS)),
        ("provider_anthropic", "cut", story(EVENTS | ABORTED, MESSAGES, &MESSAGES_EVENTS[..250])),
        ("provider_anthropic", "refused", story(REFUSED, MESSAGES, REFUSAL)),
        ("provider_azure", "whole", story(0, CHAT, CHAT_ANSWER)),
        ("provider_azure", "responses", story(EVENTS | 1, RESPONSES, RESPONSES_EVENTS)),
        ("provider_compatible", "whole", story(0, CHAT, CHAT_ANSWER)),
        ("provider_compatible", "events", story(EVENTS, CHAT, CHAT_EVENTS)),
        ("provider_compatible", "messages", story(EVENTS | 2, MESSAGES, MESSAGES_EVENTS)),
        ("provider_unlisted", "chat", story(EVENTS, CHAT, CHAT_EVENTS)),
        ("provider_unlisted", "ollama", story(1 | 2 << 2, OLLAMA, OLLAMA_LINES)),
        ("provider_unlisted", "messages", story(EVENTS | 2, MESSAGES, MESSAGES_EVENTS)),
        ("provider_gemini", "whole", story(0, CONTENTS, GEMINI_CHUNK)),
        ("provider_gemini", "events", story(EVENTS | 1, CONTENTS, &gemini_events)),
        (
            "provider_gemini",
            "array",
            story(2, CONTENTS, format!("[{GEMINI_CHUNK}\n,\r\n{GEMINI_CHUNK}]")),
        ),
        ("provider_gemini", "refused", story(REFUSED, CONTENTS, REFUSAL)),
        ("provider_bedrock", "converse", story(0, CONVERSE, CONVERSE_ANSWER)),
        ("provider_bedrock", "converse-stream", story(EVENTS | 1, CONVERSE, converse)),
        ("provider_bedrock", "invoke-stream", story(EVENTS | 2, MESSAGES, invoked)),
        ("provider_bedrock", "refused", story(REFUSED, CONVERSE, REFUSAL)),
        ("provider_cohere", "events", story(EVENTS, COHERE, COHERE_EVENTS)),
        (
            "provider_cohere",
            "rerank",
            story(2, r#"{"model":"rerank-v3.5","query":"q","documents":["d"]}"#, RERANKED),
        ),
    ]
}
