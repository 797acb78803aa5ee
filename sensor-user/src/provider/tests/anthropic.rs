//! Exchanges with the Anthropic API come in; usage, its quality and errors are compared.

use crate::http::BodyEnd;
use crate::provider::Operation;
use crate::provider::UsageQuality;
use crate::provider::tests::Story;
use crate::provider::tests::counts;

const HOST: &str = "api.anthropic.com";
const TARGET: &str = "/v1/messages?beta=true";
const ASKED: &str = r#"{"max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"Hi","cache_control":{"type":"ephemeral"}}]}],"model":"claude-sonnet-5-5","stream":true}"#;
const ASKED_LONG: &str = r#"{"system":[{"text":"S","cache_control":{"type":"ephemeral","ttl":"1h"}}],"messages":[],"model":"claude-sonnet-5-5"}"#;

const START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"model\":\"claude-sonnet-5-5-20260901\",\"content\":[],\
\"usage\":{\"input_tokens\":100,\"cache_creation_input_tokens\":300,\"cache_read_input_tokens\":50,\"cache_creation\":{\"ephemeral_5m_input_tokens\":100,\"ephemeral_1h_input_tokens\":200},\"output_tokens\":3,\"service_tier\":\"standard\"}}}\n\n";
const BLOCKS: &str = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n\
event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"He\"}}\n\n";
const DELTA: &str = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":42}}\n\n";
const GROWN: &str = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"input_tokens\":900,\"cache_creation_input_tokens\":700,\
\"cache_read_input_tokens\":60,\"output_tokens\":42,\"server_tool_use\":{\"web_search_requests\":2}}}\n\n";
const STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

#[test]
fn the_delta_overwrites_and_the_split_comes_from_the_start() {
    let events = [START, BLOCKS, DELTA, STOP].concat();
    let call = Story::new(HOST, TARGET, ASKED, &events).call();
    assert_eq!(counts(&call.usage), "in=100 read=50 w5m=100 w1h=200 out=42");
    assert_eq!(
        (call.usage_quality, call.response_id.as_deref()),
        (UsageQuality::Reported, Some("msg_1"))
    );
    assert_eq!(call.response_model.as_deref(), Some("claude-sonnet-5-5-20260901"));
    assert_eq!(
        (call.context.service_tier.as_deref(), call.path.as_str()),
        (Some("standard"), "/v1/messages")
    );
}

#[test]
fn a_surplus_over_the_split_follows_the_request() {
    let events = [START, BLOCKS, GROWN, STOP].concat();
    let call = Story::new(HOST, TARGET, ASKED, &events).call();
    assert_eq!(counts(&call.usage), "in=900 read=60 w5m=500 w1h=200 out=42 web=2");
    assert_eq!(call.usage_quality, UsageQuality::Partial);
    let call = Story::new(HOST, TARGET, ASKED_LONG, &events).call();
    assert_eq!(counts(&call.usage), "in=900 read=60 w5m=100 w1h=600 out=42 web=2");
}

#[test]
fn the_first_token_is_the_first_block_delta() {
    let events = [START, BLOCKS, DELTA, STOP].concat();
    let parts: Vec<&[u8]> = events.split_inclusive("\n\n").map(str::as_bytes).collect();
    let mut tracker = super::tracker("");
    Story::new(HOST, TARGET, ASKED, &events).tell(&mut tracker, 1, (&[ASKED.as_bytes()], &parts));
    assert_eq!(tracker.take_calls().next().unwrap().first_token_ns, Some(403));
}

#[test]
fn a_cut_stream_is_a_lower_bound() {
    let events = [START, BLOCKS].concat();
    for end in [BodyEnd::Aborted, BodyEnd::Gap, BodyEnd::Complete] {
        let call = Story::new(HOST, TARGET, ASKED, &events).cut(end).call();
        assert_eq!(counts(&call.usage), "in=100 read=50 w5m=100 w1h=200 out=3");
        assert_eq!(call.usage_quality, UsageQuality::Partial, "{end:?}");
        assert_eq!(
            call.error_type.as_deref(),
            (end == BodyEnd::Aborted).then_some("aborted"),
            "{end:?}"
        );
        assert_eq!(call.complete, end != BodyEnd::Gap, "{end:?}");
    }
}

#[test]
fn a_stream_joined_after_its_start_is_a_lower_bound() {
    let call = Story::new(HOST, TARGET, ASKED, &[BLOCKS, DELTA, STOP].concat()).call();
    assert_eq!(
        (counts(&call.usage).as_str(), call.usage_quality),
        ("out=42", UsageQuality::Partial)
    );
}

#[test]
fn an_error_inside_a_stream_keeps_the_usage_so_far() {
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let call = Story::new(HOST, TARGET, ASKED, &[START, BLOCKS, error].concat()).call();
    assert_eq!((call.error_type.as_deref(), call.status), (Some("overloaded_error"), Some(200)));
    assert!(call.failed(), "what began with 200 and ended with an error has failed");
    assert_eq!((call.usage_quality, call.usage.input_uncached), (UsageQuality::Partial, Some(100)));
}

#[test]
fn a_whole_message_is_read() {
    let answer = r#"{"id":"msg_2","type":"message","model":"claude-opus-5-5","content":[{"type":"text","text":"\"usage\":{}"}],
        "usage":{"input_tokens":5,"output_tokens":7,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"service_tier":"priority","speed":"fast","inference_geo":"us"}}"#;
    let call = Story::new(HOST, TARGET, ASKED, answer).call();
    assert_eq!(counts(&call.usage), "in=5 read=0 w5m=0 out=7");
    let context = call.context;
    assert_eq!((context.speed.as_deref(), context.geo.as_deref()), (Some("fast"), Some("us")));
    assert_eq!(
        (call.usage_quality, call.stream, call.first_token_ns),
        (UsageQuality::Reported, false, None)
    );
}

#[test]
fn counting_tokens_is_never_billed() {
    let call =
        Story::new(HOST, "/v1/messages/count_tokens", ASKED, r#"{"input_tokens":14}"#).call();
    assert_eq!(
        (call.operation, call.usage_quality),
        (Operation::CountTokens, UsageQuality::Missing)
    );
    assert_eq!(counts(&call.usage), "");
}

#[test]
fn a_refusal_has_its_type() {
    let body = r#"{"type":"error","error":{"type":"rate_limit_error","message":"m"},"request_id":"req_1"}"#;
    let call = Story::new(HOST, TARGET, ASKED, body).status(429).call();
    assert_eq!(call.error_type.as_deref(), Some("rate_limit_error"));
}

#[test]
fn batches_are_named_and_repeated() {
    let story = Story::new(
        HOST,
        "/v1/messages/batches/msgbatch_0123",
        "",
        r#"{"id":"msgbatch_0123","type":"message_batch"}"#,
    );
    let call = Story { method: "GET", ..story }.call();
    assert_eq!(
        (call.operation, call.repeated, call.path.as_str()),
        (Operation::Batch, true, "/v1/messages/batches/{id}")
    );
}

#[test]
fn results_of_a_batch_are_billed_by_figures_that_are_not_read() {
    let line =
        r#"{"custom_id":"a","result":{"type":"succeeded","message":{"usage":{"input_tokens":1}}}}"#;
    let target = "/v1/messages/batches/msgbatch_0123/results";
    let call = Story { method: "GET", ..Story::new(HOST, target, "", line) }.call();
    assert_eq!(
        (call.operation, call.repeated, call.context.unread),
        (Operation::Batch, false, true)
    );
    let content = "/v1/files/file-1/content";
    let asked = format!("{{\"messages\":[]}}\n{line}");
    for (target, body, unread) in [
        (content, line, true),
        (content, &*asked, false),
        (content, "no lines", false),
        (content, "", false),
        ("/v1/files/file-1", line, false),
        ("/v1/containers/cntr_1/files/cfile_1/content", line, false),
    ] {
        let of = |answer_type| {
            let story = Story::new("api.openai.com", target, "", body);
            Story { method: "GET", answer_type, ..story }.call()
        };
        for call in [of("application/json"), of("application/octet-stream")] {
            let found = (call.operation, call.context.unread);
            assert_eq!(found, (Operation::Files, unread), "{target} {body}");
        }
    }
    let lost = Story { method: "GET", ..Story::new("api.openai.com", content, "", "") };
    assert!(lost.cut(BodyEnd::Gap).call().context.unread, "nobody knows what it was");
    let target = "/v1beta/models/gemini-2.5-flash:batchGenerateContent";
    let call = Story::new("generativelanguage.googleapis.com", target, "{}", "{}").call();
    assert_eq!((call.operation, call.context.unread), (Operation::Batch, true));
}
