//! Several exchanges of one connection come in; verdicts, bounds and what is known in flight are compared.

use std::sync::Arc;

use crate::http::BodyEnd;
use crate::http::Event;
use crate::http::ExchangeId;
use crate::http::RequestHead;
use crate::http::Sink;
use crate::http::Version;
use crate::provider::Config;
use crate::provider::Operation;
use crate::provider::Tracker;
use crate::provider::UsageQuality;
use crate::provider::Verdict;
use crate::provider::tests::CATALOGUE;
use crate::provider::tests::Story;
use crate::provider::tests::counts;
use crate::provider::tests::request;
use crate::provider::tests::response;
use crate::provider::tests::tracker;
use crate::redact::Redacted;

const ASKED: &str = r#"{"messages":[{"role":"user","content":"hi"}],"model":"m"}"#;
const ANSWER: &str =
    r#"{"id":"c1","model":"m","choices":[{}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
const CHATS: &str = "/v1/chat/completions";

#[test]
fn a_listed_host_is_ai_with_its_first_request() {
    let mut tracker = tracker("");
    assert_eq!(tracker.verdict(), Verdict::Undecided);
    tracker.event(ExchangeId(1), 1, Event::Request(&request("GET", "api.openai.com", "/", &[])));
    assert_eq!(tracker.verdict(), Verdict::Ai);
}

#[test]
fn an_unlisted_host_is_ai_when_path_and_body_agree() {
    let mut tracker = tracker("");
    let story = Story::new("llm.corp.example", CHATS, ASKED, ANSWER);
    story.tell(&mut tracker, 1, (&[story.asked], &[story.answer]));
    let call = tracker.take_calls().next().unwrap();
    assert_eq!(
        (call.provider.as_str(), call.price_provider.as_str(), call.listed),
        ("unlisted", "unlisted", false)
    );
    assert_eq!((call.operation, counts(&call.usage).as_str()), (Operation::Chat, "in=1 out=2"));
    assert_eq!((tracker.verdict(), tracker.metrics().calls_unlisted), (Verdict::Ai, 1));
}

#[test]
fn other_traffic_is_not_ai_after_three_requests() {
    const OTHERS: &[(&str, &str)] = &[
        ("/index.html", ASKED),
        (CHATS, r#"{"model":"m"}"#),
        ("/v1/messages", r#"{"messages":[{}]}"#),
    ];
    let mut tracker = tracker("");
    for (id, (target, body)) in (1..).zip(OTHERS) {
        assert_eq!(tracker.verdict(), Verdict::Undecided);
        let story = Story::new("www.example", target, body, "{}");
        story.tell(&mut tracker, id, (&[story.asked], &[story.answer]));
    }
    assert_eq!(tracker.verdict(), Verdict::NotAi);
    assert_eq!(tracker.take_calls().count(), 0);
}

#[test]
fn a_host_with_other_traffic_counts_only_on_its_ai_paths() {
    let mut tracker = tracker("");
    let other = Story::new("api.cloudflare.com", "/client/v4/zones", "", "{}");
    other.tell(&mut tracker, 1, (&[], &[other.answer]));
    assert_eq!(tracker.verdict(), Verdict::Undecided);
    let run = Story::new(
        "api.cloudflare.com",
        "/client/v4/accounts/0123/ai/run/@cf/meta/llama",
        ASKED,
        r#"{"result":{"usage":{"prompt_tokens":1}}}"#,
    );
    run.tell(&mut tracker, 2, (&[run.asked], &[run.answer]));
    let call = tracker.take_calls().next().unwrap();
    assert_eq!((call.provider.as_str(), call.usage.input_uncached), ("cloudflare_ai", Some(1)));
    assert_eq!(call.path, "/client/v4/accounts/{id}/ai/run/@cf/meta/llama");
}

#[test]
fn back_end_of_an_office_is_a_chat_only_where_its_assistant_is_asked() {
    const CASES: [(&str, &str, Option<&str>); 2] = [
        ("GET", "/searchservice/api/v2/query", None),
        ("POST", "/m365Copilot/Chathub/one", Some("ms_copilot")),
    ];
    for (method, path, provider) in CASES {
        let mut tracker = tracker("");
        let story = Story::new("substrate.office.com", path, "", "{}");
        Story { method, ..story }.tell(&mut tracker, 1, (&[], &[story.answer]));
        let call = tracker.take_calls().next();
        assert_eq!(call.map(|call| call.provider).as_deref(), provider, "{path}");
    }
}

#[test]
fn what_is_no_http_is_not_ai() {
    let mut tracker = tracker("");
    tracker.not_http();
    assert_eq!(tracker.verdict(), Verdict::NotAi);
}

#[test]
fn lost_header_names_leave_host_and_body() {
    let mut tracker = tracker("API.Anthropic.com");
    let story = Story::new(
        "",
        "",
        ASKED,
        r#"{"id":"msg_1","type":"message","model":"m","usage":{"input_tokens":1,"cache_read_input_tokens":5,"output_tokens":2}}"#,
    );
    let story = Story { method: "", asked_type: "", answer_type: "", ..story };
    story.tell(&mut tracker, 1, (&[story.asked], &[story.answer]));
    let call = tracker.take_calls().next().unwrap();
    assert_eq!(
        (call.provider.as_str(), call.server_address.as_str()),
        ("anthropic", "api.anthropic.com")
    );
    assert_eq!(
        (call.operation, counts(&call.usage).as_str()),
        (Operation::Chat, "in=1 read=5 out=2")
    );
}

#[test]
fn credential_retries_and_flight_are_seen_before_the_answer() {
    let mut tracker = tracker("");
    let fields = [("authorization", "Bearer fake-key"), ("x-stainless-retry-count", "2")];
    tracker.event(
        ExchangeId(1),
        5,
        Event::Request(&request("POST", "api.openai.com", CHATS, &fields)),
    );
    tracker.event(ExchangeId(1), 6, Event::RequestBody(ASKED.as_bytes()));
    tracker.event(ExchangeId(1), 7, Event::RequestEnd(BodyEnd::Complete));
    let call = tracker.in_flight().next().unwrap();
    assert_eq!((call.request_model.as_deref(), call.retry_count), (Some("m"), Some(2)));
    assert_eq!(call.credential.as_ref().map(|c| c.secret.expose()), Some(&b"fake-key"[..]));
    tracker.close(9);
    let call = tracker.take_calls().next().unwrap();
    assert_eq!(
        (call.error_type.as_deref(), call.status, call.ended_ns),
        (Some("aborted"), None, 9)
    );
    assert!(call.failed(), "nothing was answered");
    assert_eq!((call.usage_quality, tracker.in_flight().count()), (UsageQuality::Missing, 0));
}

#[test]
fn an_upgraded_connection_is_a_call_that_cannot_be_followed() {
    let mut tracker = tracker("");
    let fields = [
        ("upgrade", "websocket"),
        ("sec-websocket-protocol", "realtime, openai-insecure-api-key.fake-key"),
    ];
    tracker.event(
        ExchangeId(1),
        5,
        Event::Request(&request("GET", "api.openai.com", "/v1/responses", &fields)),
    );
    tracker.event(ExchangeId(1), 6, Event::RequestEnd(BodyEnd::Complete));
    tracker.event(ExchangeId(1), 7, Event::Upgraded(&response(Some(101), &[])));
    let call = tracker.take_calls().next().unwrap();
    assert_eq!(
        (call.operation, call.status, call.complete, call.stream),
        (Operation::Chat, Some(101), false, true)
    );
    assert_eq!(call.credential.map(|c| c.name).as_deref(), Some("sec-websocket-protocol"));
}

/// Tells of a request that was lost, and its answer.
fn tell_lost(tracker: &mut Tracker, id: u64) {
    let id = ExchangeId(id);
    let mut head = request("", "", "", &[]);
    head.headers.incomplete = true;
    tracker.event(id, 10, Event::Request(&head));
    tracker.event(id, 10, Event::RequestEnd(BodyEnd::Gap));
    tracker.event(id, 10, Event::Response(&response(Some(200), &[])));
    tracker.event(id, 11, Event::ResponseBody(ANSWER.as_bytes()));
    tracker.event(id, 12, Event::ResponseEnd(BodyEnd::Complete));
}

#[test]
fn a_request_that_was_lost_is_of_the_host_that_others_name() {
    let mut tracker = tracker("");
    let story = Story::new("api.openai.com", CHATS, ASKED, ANSWER);
    story.tell(&mut tracker, 1, (&[story.asked], &[story.answer]));
    tell_lost(&mut tracker, 2);
    let call = tracker.take_calls().nth(1).unwrap();
    assert_eq!(
        (call.provider.as_str(), counts(&call.usage).as_str(), call.status),
        ("openai", "in=1 out=2", Some(200))
    );
    assert!(!call.complete && !call.head_complete && call.request_model.is_none());
}

#[test]
fn requests_that_were_lost_prove_nothing_about_a_host_that_nobody_named() {
    let mut tracker = tracker("");
    for id in 1..=4 {
        tell_lost(&mut tracker, id);
    }
    assert_eq!((tracker.verdict(), tracker.take_calls().count()), (Verdict::Undecided, 0));
}

#[test]
fn what_a_proxy_is_asked_to_connect_to_is_no_call() {
    let mut tracker = tracker("proxy.corp.example");
    let head = request("CONNECT", "api.openai.com", "api.openai.com:443", &[]);
    for id in 1..=4 {
        tracker.event(ExchangeId(id), 1, Event::Request(&head));
        tracker.event(ExchangeId(id), 2, Event::RequestEnd(BodyEnd::Complete));
        tracker.event(ExchangeId(id), 3, Event::Response(&response(Some(407), &[])));
        tracker.event(ExchangeId(id), 4, Event::ResponseEnd(BodyEnd::Complete));
    }
    // Over HTTP/2 such a request has no path.
    let head = RequestHead { version: Version::Http2, ..head };
    let bare = RequestHead { target: Redacted::new(""), ..head.clone() };
    tracker.event(ExchangeId(5), 5, Event::Request(&bare));
    tracker.event(ExchangeId(5), 6, Event::Upgraded(&response(Some(200), &[])));
    assert_eq!(tracker.verdict(), Verdict::Undecided);
    // One with a path asks the host itself for another protocol (RFC 8441).
    let extended = RequestHead { target: Redacted::new("/v1/responses"), ..head };
    tracker.event(ExchangeId(7), 7, Event::Request(&extended));
    tracker.event(ExchangeId(7), 8, Event::Upgraded(&response(Some(200), &[])));
    let calls: Vec<_> = tracker.take_calls().collect();
    assert_eq!((calls.len(), tracker.verdict()), (1, Verdict::Ai));
}

#[test]
fn exchanges_and_calls_are_bounded_and_losses_counted() {
    let config = Config { exchanges_max: 2, calls_max: 1, ..Config::default() };
    let mut tracker = Tracker::new(Arc::clone(&CATALOGUE), config, "");
    for id in 1..=3 {
        tracker.event(
            ExchangeId(id),
            1,
            Event::Request(&request("POST", "api.openai.com", CHATS, &[])),
        );
    }
    tracker.close(2);
    let metrics = tracker.metrics();
    assert_eq!((metrics.exchanges_dropped, metrics.calls, metrics.calls_dropped), (1, 2, 1));
    assert_eq!(tracker.take_calls().count(), 1);
}

#[test]
fn interleaved_exchanges_keep_apart() {
    let mut tracker = tracker("");
    for id in [1, 3] {
        let head = request("POST", "api.openai.com", CHATS, &[]);
        tracker.event(ExchangeId(id), 1, Event::Request(&head));
    }
    for id in [3, 1] {
        let body = format!(r#"{{"messages":[],"model":"m{id}"}}"#);
        tracker.event(ExchangeId(id), 2, Event::RequestBody(body.as_bytes()));
        tracker.event(ExchangeId(id), 2, Event::RequestEnd(BodyEnd::Complete));
        tracker.event(ExchangeId(id), 3, Event::Response(&response(Some(200), &[])));
        tracker.event(ExchangeId(id), 4, Event::ResponseBody(ANSWER.as_bytes()));
        tracker.event(ExchangeId(id), 5, Event::ResponseEnd(BodyEnd::Complete));
    }
    let models: Vec<_> = tracker.take_calls().filter_map(|call| call.request_model).collect();
    assert_eq!(models, ["m3", "m1"]);
}

#[test]
fn a_gateways_cost_header_counts_for_unlisted_hosts() {
    // An amount below zero says nothing.
    for (cost, expected) in [("3.5e-05", Some(35_000_000)), ("-1000", None)] {
        let mut tracker = tracker("");
        let asks = request("POST", "litellm.corp.example", CHATS, &[]);
        tracker.event(ExchangeId(1), 1, Event::Request(&asks));
        tracker.event(ExchangeId(1), 2, Event::RequestBody(ASKED.as_bytes()));
        tracker.event(ExchangeId(1), 3, Event::RequestEnd(BodyEnd::Complete));
        let head = response(Some(200), &[("x-litellm-response-cost", cost)]);
        tracker.event(ExchangeId(1), 4, Event::Response(&head));
        tracker.event(ExchangeId(1), 5, Event::ResponseBody(ANSWER.as_bytes()));
        tracker.event(ExchangeId(1), 6, Event::ResponseEnd(BodyEnd::Complete));
        let call = tracker.take_calls().next().unwrap();
        assert_eq!(call.usage.reported_picodollars, expected, "{cost}");
    }
}
