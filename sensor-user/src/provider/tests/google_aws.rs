//! Exchanges with Gemini, Vertex, Bedrock and Cohere come in; models, usage and errors are compared.

use crate::http::BodyEnd;
use crate::provider::Operation;
use crate::provider::UsageQuality;
use crate::provider::frames::tests::message;
use crate::provider::tests::Story;
use crate::provider::tests::counts;

const GEMINI: &str = "generativelanguage.googleapis.com";
const CONTENTS: &str = r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#;

const CHUNKS: [&str; 2] = [
    r#"{"candidates":[{"content":{"parts":[{"text":"H"}]}}],"usageMetadata":{"promptTokenCount":10,"totalTokenCount":10},"modelVersion":"gemini-2.5-flash","responseId":"r1"}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"i"}]},"finishReason":"STOP","groundingMetadata":{"webSearchQueries":["a","b","","a"]}}],
        "usageMetadata":{"promptTokenCount":10,"cachedContentTokenCount":4,"candidatesTokenCount":2,"thoughtsTokenCount":8,"totalTokenCount":20},"modelVersion":"gemini-2.5-flash"}"#,
];

#[test]
fn a_gemini_stream_is_read_as_events_and_as_an_array() {
    let one_line = CHUNKS[1].replace('\n', "");
    let events = format!("data: {}\r\n\r\ndata: {one_line}\r\n\r\n", CHUNKS[0]);
    let array = format!("[{}\n,\r\n{}]", CHUNKS[0], CHUNKS[1]);
    for answer in [events, array] {
        let target =
            "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse&key=not-a-real-key";
        let call = Story::new(GEMINI, target, CONTENTS, &answer).call();
        assert_eq!(counts(&call.usage), "in=6 read=4 out=10 think=8 web=2");
        assert_eq!(
            (call.provider.as_str(), call.price_provider.as_str()),
            ("gcp.gemini", "google")
        );
        assert_eq!(
            (call.request_model.as_deref(), call.response_id.as_deref()),
            (Some("gemini-2.5-flash"), Some("r1"))
        );
        assert_eq!((call.stream, call.usage_quality), (true, UsageQuality::Reported));
        assert!(call.first_token_ns.is_some() && !call.path.contains("key"));
        assert_eq!(
            call.credential.map(|c| (c.location, c.name)),
            Some(("query", "key".to_owned()))
        );
    }
}

#[test]
fn a_cut_gemini_stream_is_a_lower_bound() {
    let events = format!("data: {}\n\n", CHUNKS[0]);
    let call =
        Story::new(GEMINI, "/v1beta/models/m:streamGenerateContent?alt=sse", CONTENTS, &events);
    let call = call.cut(BodyEnd::Aborted).call();
    assert_eq!(
        (call.usage_quality, call.error_type.as_deref()),
        (UsageQuality::Partial, Some("aborted"))
    );
}

#[test]
fn gemini_in_the_words_of_openai_counts_thoughts_as_output() {
    let asked = r#"{"model":"gemini-2.5-flash","messages":[{"role":"user","content":"hi"}]}"#;
    let answer = r#"{"id":"c1","object":"chat.completion","model":"gemini-2.5-flash","choices":[{"message":{"content":"x"}}],
        "usage":{"completion_tokens":3,"prompt_tokens":9,"total_tokens":105}}"#;
    let call = Story::new(GEMINI, "/v1beta/openai/chat/completions", asked, answer).call();
    assert_eq!(counts(&call.usage), "in=9 out=96 think=93");
}

const INTERACT: &str = r#"{"model":"gemini-3.8-flash","input":"hi"}"#;
const INTERACTION: &str = r#"{"id":"i1","object":"interaction","model":"gemini-3.8-flash","status":"completed","service_tier":"flex","steps":[{"type":"model_output"}],"usage":{"total_input_tokens":107,"total_cached_tokens":100,"total_output_tokens":20,"total_thought_tokens":22,"total_tool_use_tokens":5,"total_tokens":154}}"#;

#[test]
fn a_whole_interaction_is_read_and_a_stored_one_is_repeated() {
    let story = Story::new(GEMINI, "/v1beta/interactions", INTERACT, INTERACTION);
    let stored = Story { method: "GET", target: "/v1beta/interactions/i1", asked: b"", ..story };
    for (story, operation) in [(story, Operation::Chat), (stored, Operation::Other)] {
        let call = story.call();
        assert_eq!((call.operation, call.repeated), (operation, operation == Operation::Other));
        assert_eq!(counts(&call.usage), "in=12 read=100 out=42 think=22");
        assert_eq!(
            (call.response_model.as_deref(), call.response_id.as_deref()),
            (Some("gemini-3.8-flash"), Some("i1"))
        );
        assert_eq!(
            (call.usage_quality, call.context.service_tier.as_deref()),
            (UsageQuality::Reported, Some("flex"))
        );
    }
}

#[test]
fn a_streamed_interaction_is_whole_behind_its_last_event() {
    let events = format!(
        "event: interaction.created\ndata: {{\"event_type\":\"interaction.created\",\"interaction\":{{\"id\":\"i1\",\"status\":\"in_progress\",\"model\":\"gemini-3.8-flash\"}}}}\n\n\
        event: step.delta\ndata: {{\"event_type\":\"step.delta\",\"index\":0,\"delta\":{{\"type\":\"text\",\"text\":\"x\"}}}}\n\n\
        event: interaction.completed\ndata: {{\"event_type\":\"interaction.completed\",\"interaction\":{INTERACTION}}}\n\n"
    );
    let story = Story::new(GEMINI, "/v1beta/interactions", INTERACT, &events);
    let call = story.cut(BodyEnd::Aborted).call();
    assert_eq!(counts(&call.usage), "in=12 read=100 out=42 think=22");
    assert_eq!(
        (call.response_model.as_deref(), call.response_id.as_deref()),
        (Some("gemini-3.8-flash"), Some("i1"))
    );
    assert_eq!((call.usage_quality, call.error_type), (UsageQuality::Reported, None));
    assert!(call.stream && call.first_token_ns.is_some());
    assert_eq!(call.context.service_tier.as_deref(), Some("flex"));
}

#[test]
fn gemini_errors_have_their_status_word() {
    let body = r#"{"error":{"code":429,"message":"Quota","status":"RESOURCE_EXHAUSTED"}}"#;
    for body in [body.to_owned(), format!("[{body}]")] {
        let call = Story::new(GEMINI, "/v1beta/models/m:generateContent", CONTENTS, &body)
            .status(429)
            .call();
        assert_eq!(call.error_type.as_deref(), Some("RESOURCE_EXHAUSTED"));
    }
}

#[test]
fn claude_on_vertex_is_read_as_messages_with_its_region() {
    let target = "/v1/projects/corp-prod/locations/europe-west1/publishers/anthropic/models/claude-sonnet-5-5:rawPredict";
    let answer = r#"{"id":"msg_vrtx_1","type":"message","model":"claude-sonnet-5-5","usage":{"input_tokens":5,"output_tokens":7}}"#;
    let asked = r#"{"anthropic_version":"vertex-2023-10-16","messages":[]}"#;
    let call = Story::new("europe-west1-aiplatform.googleapis.com", target, asked, answer).call();
    assert_eq!(
        (counts(&call.usage).as_str(), call.context.geo.as_deref()),
        ("in=5 out=7", Some("europe-west1"))
    );
    assert_eq!(call.request_model.as_deref(), Some("claude-sonnet-5-5"));
    assert!(call.path.starts_with("/v1/projects/{id}/locations/europe-west1/"));
}

const BEDROCK: &str = "bedrock-runtime.us-east-1.amazonaws.com";
const TURN: &str = r#"{"messages":[{"role":"user","content":[{"text":"hi"}]}]}"#;

#[test]
fn a_whole_converse_is_read() {
    let target = "/model/eu.anthropic.claude-haiku-4-5-20251001-v1%3A0/converse";
    let answer = r#"{"output":{"message":{"content":[{"text":"x"}]}},"stopReason":"end_turn","usage":{"inputTokens":30,"outputTokens":6,"totalTokens":36},"serviceTier":{"type":"flex"}}"#;
    let call = Story::new(BEDROCK, target, TURN, answer).call();
    assert_eq!(
        (call.provider.as_str(), counts(&call.usage).as_str()),
        ("aws.bedrock", "in=30 out=6")
    );
    assert_eq!(call.request_model.as_deref(), Some("eu.anthropic.claude-haiku-4-5-20251001-v1:0"));
    assert_eq!(
        (call.context.geo.as_deref(), call.context.service_tier.as_deref()),
        (Some("us-east-1"), Some("flex"))
    );
}

#[test]
fn an_arn_of_a_profile_is_the_model_that_it_names() {
    let target = "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.anthropic.claude-opus-5-5/converse";
    let answer =
        r#"{"stopReason":"end_turn","usage":{"inputTokens":30,"outputTokens":6,"totalTokens":36}}"#;
    let call = Story::new(BEDROCK, target, TURN, answer).call();
    assert_eq!(call.request_model.as_deref(), Some("us.anthropic.claude-opus-5-5"));
    assert_eq!(
        (counts(&call.usage).as_str(), call.path.as_str()),
        ("in=30 out=6", "/model/{id}/converse")
    );
}

fn framed(payloads: &[&str]) -> Vec<u8> {
    let headers = b"\x0b:event-type\x07\x00\x05chunk";
    payloads.iter().flat_map(|payload| message(headers, payload.as_bytes())).collect()
}

#[test]
fn a_converse_stream_is_read() {
    let answer = framed(&[
        r#"{"p":"ab","role":"assistant"}"#,
        r#"{"contentBlockIndex":0,"delta":{"text":"He"},"p":"abc"}"#,
        r#"{"stopReason":"end_turn"}"#,
        r#"{"metrics":{"latencyMs":1},"usage":{"inputTokens":30,"outputTokens":6,"cacheReadInputTokens":2}}"#,
    ]);
    let story = Story::new(BEDROCK, "/model/m/converse-stream", TURN, "");
    let story =
        Story { answer: &answer, answer_type: "application/vnd.amazon.eventstream", ..story };
    let call = story.call();
    assert_eq!(
        (counts(&call.usage).as_str(), call.usage_quality),
        ("in=30 read=2 out=6", UsageQuality::Reported)
    );
    assert!(call.stream && call.first_token_ns.is_some());
    let cut = Story { answer: &answer[..150], end: BodyEnd::Aborted, ..story }.call();
    assert_eq!(
        (cut.usage_quality, cut.error_type.as_deref()),
        (UsageQuality::Missing, Some("aborted"))
    );
}

#[test]
fn an_invoke_stream_is_unwrapped() {
    // The events of the model, in base64 as the service wraps them.
    let answer = framed(&[
        // {"type":"message_start","message":{"id":"m1","usage":{"input_tokens":7,"output_tokens":1}}}
        r#"{"bytes":"eyJ0eXBlIjoibWVzc2FnZV9zdGFydCIsIm1lc3NhZ2UiOnsiaWQiOiJtMSIsInVzYWdlIjp7ImlucHV0X3Rva2VucyI6Nywib3V0cHV0X3Rva2VucyI6MX19fQ==","p":"x"}"#,
        // {"type":"message_delta","usage":{"output_tokens":9}}
        r#"{"bytes":"eyJ0eXBlIjoibWVzc2FnZV9kZWx0YSIsInVzYWdlIjp7Im91dHB1dF90b2tlbnMiOjl9fQ=="}"#,
    ]);
    let story =
        Story::new(BEDROCK, "/model/anthropic.claude-x/invoke-with-response-stream", TURN, "");
    let call =
        Story { answer: &answer, answer_type: "application/vnd.amazon.eventstream", ..story }
            .call();
    assert_eq!(
        (counts(&call.usage).as_str(), call.response_id.as_deref()),
        ("in=7 out=9", Some("m1"))
    );
    assert_eq!(call.usage_quality, UsageQuality::Reported);
}

#[test]
fn an_aws_refusal_has_the_name_of_its_exception() {
    let body = r#"{"__type":"com.amazon.coral#ThrottlingException","message":"slow down"}"#;
    let call = Story::new(BEDROCK, "/model/m/converse", TURN, body).status(429).call();
    assert_eq!(call.error_type.as_deref(), Some("ThrottlingException"));
}

#[test]
fn cohere_streams_end_with_billed_units() {
    let events = "event: message-start\ndata: {\"type\":\"message-start\",\"id\":\"c1\"}\n\n\
        event: content-delta\ndata: {\"type\":\"content-delta\",\"delta\":{\"message\":{\"content\":{\"text\":\"x\"}}}}\n\n\
        event: message-end\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"COMPLETE\",\"usage\":{\"billed_units\":{\"input_tokens\":5,\"output_tokens\":6},\"tokens\":{\"input_tokens\":70,\"output_tokens\":6}}}}\n\n";
    let call =
        Story::new("api.cohere.com", "/v2/chat", r#"{"model":"command-a","messages":[]}"#, events)
            .call();
    assert_eq!(
        (counts(&call.usage).as_str(), call.usage_quality),
        ("in=5 out=6", UsageQuality::Reported)
    );
    assert!(call.first_token_ns.is_some());
    let answer = r#"{"id":"r","results":[],"meta":{"billed_units":{"search_units":1}}}"#;
    let call = Story::new(
        "api.cohere.com",
        "/v2/rerank",
        r#"{"model":"rerank-v3.5","query":"q","documents":["d"]}"#,
        answer,
    )
    .call();
    assert_eq!((call.operation, counts(&call.usage).as_str()), (Operation::Rerank, "units=1"));
}
