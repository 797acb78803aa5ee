//! Exchanges with the `OpenAI` API and Azure come in; operations, models, usage and times are compared.

use crate::http::BodyEnd;
use crate::provider::Operation;
use crate::provider::UsageQuality;
use crate::provider::tests::Story;
use crate::provider::tests::counts;
use crate::provider::tests::facts;

const CHAT: &str = r#"{"messages":[{"role":"user","content":"Hi \"model\":\"x\""}],"model":"gpt-4o","stream":false}"#;
const HOST: &str = "api.openai.com";
const CHATS: &str = "/v1/chat/completions";

const CHAT_ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4o-2024-08-06","choices":[{"message":{"content":"Hello","annotations":[]}}],
"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":2}},
"service_tier":"default"}"#;

const CHAT_EVENTS: &str = "data: {\"id\":\"chatcmpl-1\",\"model\":\"gpt-4o-2024-08-06\",\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}],\"usage\":null,\"obfuscation\":\"a\"}\n\n\
data: {\"id\":\"chatcmpl-1\",\"model\":\"gpt-4o-2024-08-06\",\"choices\":[{\"delta\":{\"content\":\"Hel\"}}],\"usage\":null}\n\n\
data: {\"id\":\"chatcmpl-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":12}}\n\ndata: [DONE]\n\n";

#[test]
fn a_whole_chat_is_read() {
    let call = Story::new(HOST, CHATS, CHAT, CHAT_ANSWER).call();
    assert_eq!(
        facts(&call),
        "openai chat Some(\"gpt-4o\") Some(\"gpt-4o-2024-08-06\") Some(\"chatcmpl-1\") stream=false None Reported \
        in=5 read=4 out=12 think=2 PriceContext { service_tier: Some(\"default\"), batch: false, speed: None, geo: None, unread: false } token=false"
    );
    assert_eq!((call.path.as_str(), call.protocol_version, call.listed), (CHATS, "1.1", true));
    assert_eq!((call.started_ns, call.first_byte_ns, call.ended_ns), (100, Some(300), 900_000));
    assert!(call.complete && !call.repeated);
}

#[test]
fn a_streamed_chat_carries_its_usage_in_the_last_chunk() {
    let call = Story::new(HOST, CHATS, CHAT, CHAT_EVENTS).call();
    assert_eq!(
        (counts(&call.usage).as_str(), call.usage_quality),
        ("in=9 out=12", UsageQuality::Reported)
    );
    assert!(call.stream && call.error_type.is_none());
}

#[test]
fn the_first_token_is_the_first_event_with_content() {
    let events: Vec<&[u8]> = CHAT_EVENTS.split_inclusive("\n\n").map(str::as_bytes).collect();
    let mut tracker = super::tracker("");
    Story::new(HOST, CHATS, CHAT, CHAT_EVENTS).tell(&mut tracker, 1, (&[CHAT.as_bytes()], &events));
    let call = tracker.take_calls().next().unwrap();
    assert_eq!(call.first_token_ns, Some(401));
}

#[test]
fn a_cut_stream_without_usage_is_missing_and_aborted() {
    let (begun, _) = CHAT_EVENTS.split_once("data: {\"id\":\"chatcmpl-1\",\"choices\":[]").unwrap();
    let call = Story::new(HOST, CHATS, CHAT, begun).cut(BodyEnd::Aborted).call();
    assert_eq!(
        (call.usage_quality, call.error_type.as_deref()),
        (UsageQuality::Missing, Some("aborted"))
    );
    assert_eq!(call.response_model.as_deref(), Some("gpt-4o-2024-08-06"));
    assert!(call.status == Some(200) && !call.failed(), "whoever has read enough cancels");
}

#[test]
fn a_stream_closed_behind_its_last_chunk_is_whole() {
    let (events, _) = CHAT_EVENTS.split_once("data: [DONE]").unwrap();
    let call = Story::new(HOST, CHATS, CHAT, events).cut(BodyEnd::Aborted).call();
    assert_eq!((call.usage_quality, call.error_type), (UsageQuality::Reported, None));
}

#[test]
fn a_stream_without_usage_is_missing_not_zero() {
    let events = "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0}]}}]}\n\ndata: [DONE]\n\n";
    let call = Story::new(HOST, CHATS, CHAT, events).call();
    assert_eq!((counts(&call.usage).as_str(), call.usage_quality), ("", UsageQuality::Missing));
    assert!(call.first_token_ns.is_some());
}

const RESPONSE_EVENTS: &str = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\",\"model\":\"gpt-6-sol\",\"usage\":null,\"output\":[],\"service_tier\":\"auto\",\"error\":null}}\n\n\
event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"He\",\"obfuscation\":\"zz\"}\n\n\
event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\",\"model\":\"gpt-6-sol\",\"service_tier\":\"flex\",\"error\":null,\
\"output\":[{\"type\":\"web_search_call\"},{\"type\":\"message\",\"content\":[{\"type\":\"output_text\",\"text\":\"He\"}]}],\
\"usage\":{\"input_tokens\":20,\"input_tokens_details\":{\"cached_tokens\":5},\"output_tokens\":7,\"output_tokens_details\":{\"reasoning_tokens\":3}}}}\n\n";

#[test]
fn a_streamed_response_is_read() {
    let asked = r#"{"input":"x","model":"gpt-6-sol","stream":true,"service_tier":"priority"}"#;
    let call = Story::new("eu.api.openai.com", "/v1/responses", asked, RESPONSE_EVENTS).call();
    assert_eq!(counts(&call.usage), "in=15 read=5 out=7 think=3 web=1 files=0");
    assert_eq!(
        (call.context.service_tier.as_deref(), call.context.geo.as_deref()),
        (Some("flex"), Some("eu"))
    );
    assert_eq!(
        (call.response_id.as_deref(), call.usage_quality),
        (Some("resp_1"), UsageQuality::Reported)
    );
    assert!(call.first_token_ns.is_some() && call.error_type.is_none());
}

#[test]
fn a_failed_response_has_the_providers_error() {
    let events = "data: {\"type\":\"response.failed\",\"response\":{\"id\":\"resp_1\",\"error\":{\"code\":\"server_error\",\"message\":\"m\"},\"usage\":null}}\n\n";
    let call = Story::new(HOST, "/v1/responses", CHAT, events).call();
    assert_eq!(
        (call.error_type.as_deref(), call.usage_quality),
        (Some("server_error"), UsageQuality::Missing)
    );
}

#[test]
fn a_stored_response_is_repeated_and_a_background_one_has_no_usage_yet() {
    let stored = r#"{"id":"resp_1","model":"m","output":[{"type":"message"}],"usage":{"input_tokens":1,"output_tokens":2},"error":null}"#;
    let story = Story::new(HOST, "/v1/responses/resp_0123456789", "", stored);
    let call = Story { method: "GET", ..story }.call();
    assert_eq!(
        (call.operation, call.repeated, call.path.as_str()),
        (Operation::Other, true, "/v1/responses/{id}")
    );
    assert_eq!((call.response_id.as_deref(), call.usage.output), (Some("resp_1"), Some(2)));
    let queued = r#"{"id":"resp_1","status":"queued","model":"m","usage":null,"error":null}"#;
    let call = Story::new(HOST, "/v1/responses", CHAT, queued).call();
    assert_eq!(
        (call.repeated, call.usage_quality, call.error_type),
        (false, UsageQuality::Missing, None)
    );
}

#[test]
fn refusals_carry_no_usage_but_the_providers_word() {
    const CASES: &[(u16, &str, &str)] = &[
        (
            429,
            r#"{"error":{"message":"m","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
            "rate_limit_exceeded",
        ),
        (
            429,
            r#"{"error":{"message":"m","type":"insufficient_quota","code":"insufficient_quota"},"usage":{"prompt_tokens":5}}"#,
            "insufficient_quota",
        ),
        (
            401,
            r#"{"error":{"message":"Incorrect key","type":"invalid_request_error","code":"invalid_api_key"}}"#,
            "invalid_request_error",
        ),
        (400, r#"{"error":{"message":"m","type":"a prompt that leaked here"}}"#, "400"),
        (502, "<html>bad gateway</html>", "502"),
        (500, "", "500"),
    ];
    for (status, body, expected) in CASES {
        let call = Story::new(HOST, CHATS, CHAT, body).status(*status).call();
        assert_eq!(call.error_type.as_deref(), Some(*expected));
        assert_eq!((counts(&call.usage).as_str(), call.usage_quality), ("", UsageQuality::Missing));
    }
}

#[test]
fn azure_takes_the_deployment_for_the_model_asked_for() {
    let asked = r#"{"messages":[],"model":"gpt-4o"}"#;
    let target = "/openai/deployments/prod-east/chat/completions?api-version=2024-10-21";
    let call = Story::new("corp.openai.azure.com", target, asked, CHAT_ANSWER).call();
    assert_eq!(
        (call.provider.as_str(), call.price_provider.as_str()),
        ("azure.ai.openai", "azure")
    );
    assert_eq!(
        (call.request_model.as_deref(), call.response_model.as_deref()),
        (Some("prod-east"), Some("gpt-4o-2024-08-06"))
    );
    assert_eq!(call.path, "/openai/deployments/{id}/chat/completions");
}

#[test]
fn decisions_have_prices_of_their_own() {
    let asked = r#"{"model":"gpt-6-luna","input":"x","questions":[{"type":"predicate"}]}"#;
    let answer = r#"{"answers":[{"type":"predicate","probability":0.5}],"model":"gpt-6-luna","usage":{"input_tokens":1000,
        "input_tokens_details":{"cached_tokens":0,"cache_write_tokens":0},"output_tokens":0,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":1000}}"#;
    let call = Story::new("eu.api.openai.com", "/v1/decisions", asked, answer).call();
    assert_eq!(
        (call.provider.as_str(), call.price_provider.as_str(), call.operation),
        ("openai", "openai-decisions", Operation::Chat)
    );
    assert_eq!(counts(&call.usage), "in=1000 read=0 w30m=0 out=0 think=0");
    assert_eq!(call.usage_quality, UsageQuality::Reported);
    // Others that speak the language have no such prices.
    let call = Story::new("api.groq.com", "/openai/v1/decisions", asked, answer).call();
    assert_eq!((call.price_provider.as_str(), call.operation), ("groq", Operation::Other));
}

#[test]
fn other_operations_are_named() {
    let form = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\n\r\n\u{1}\r\n--b\r\n\
        Content-Disposition: form-data; name=\"model\"\r\n\r\ngpt-4o-transcribe\r\n--b--\r\n";
    let answer = r#"{"text":"t","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":0,"audio_tokens":14},"output_tokens":45}}"#;
    let story = Story::new(HOST, "/v1/audio/transcriptions", form, answer);
    let call = Story { asked_type: "multipart/form-data; boundary=b", ..story }.call();
    assert_eq!(
        (call.operation, call.request_model.as_deref()),
        (Operation::Transcription, Some("gpt-4o-transcribe"))
    );
    assert_eq!(counts(&call.usage), "in=14 in_audio=14 out=45");

    let answer = r#"{"object":"list","data":[{"embedding":[0.1,0.2]}],"model":"e","usage":{"prompt_tokens":8,"total_tokens":8}}"#;
    let call = Story::new(HOST, "/v1/embeddings", r#"{"input":["a"],"model":"e"}"#, answer).call();
    assert_eq!(
        (call.operation, counts(&call.usage).as_str()),
        (Operation::Embeddings, "in=8 out=0")
    );

    let batch = r#"{"id":"batch_1","object":"batch","model":"m","errors":null,"usage":{"input_tokens":10,"output_tokens":20}}"#;
    let story = Story::new(HOST, "/v1/batches/batch_0123456", "", batch);
    let call = Story { method: "GET", ..story }.call();
    assert_eq!((call.operation, call.repeated, call.context.batch), (Operation::Batch, true, true));
    assert_eq!(counts(&call.usage), "in=10 out=20");

    let counted = r#"{"object":"response.input_tokens","input_tokens":123}"#;
    let call = Story::new(HOST, "/v1/responses/input_tokens", CHAT, counted).call();
    assert_eq!(
        (call.operation, call.usage_quality),
        (Operation::CountTokens, UsageQuality::Missing)
    );
}
