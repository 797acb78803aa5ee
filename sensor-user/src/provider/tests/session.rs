//! Messages of responses and realtime sessions come in; the calls that the tracker makes of them are compared.

use crate::http::BodyEnd;
use crate::http::Event;
use crate::http::ExchangeId;
use crate::http::Message;
use crate::http::Sink;
use crate::provider::Call;
use crate::provider::Operation;
use crate::provider::Tracker;
use crate::provider::UsageQuality;
use crate::provider::Verdict;
use crate::provider::tests::counts;
use crate::provider::tests::request;
use crate::provider::tests::response;
use crate::provider::tests::tracker;

const ID: ExchangeId = ExchangeId(0);
const OPENAI: &str = "api.openai.com";
const CREATE: &str = r#"{"type":"response.create","model":"gpt-5.2-codex","input":[{"content":"hi"}],"stream":true}"#;
const COMPLETED: &str = r#"{"type":"response.completed","response":{"id":"resp_1","model":"gpt-5.2-codex-2026",
    "status":"completed","service_tier":"default","usage":{"input_tokens":100,"input_tokens_details":
    {"cached_tokens":60},"output_tokens":7,"output_tokens_details":{"reasoning_tokens":3}}}}"#;

/// A session over which each message comes one nanosecond after the one before.
struct Session {
    tracker: Tracker,
    now: u64,
}

impl Session {
    fn open(host: &str, target: &str) -> Self {
        let mut tracker = tracker("");
        let fields = [("upgrade", "websocket"), ("authorization", "Bearer sk-test-0000")];
        tracker.event(ID, 1, Event::Request(&request("GET", host, target, &fields)));
        tracker.event(ID, 1, Event::RequestEnd(BodyEnd::Complete));
        tracker.event(ID, 2, Event::WebSocket(&response(Some(101), &[("upgrade", "websocket")])));
        Self { tracker, now: 100 }
    }

    fn say(&mut self, of: Message, text: &str, end: BodyEnd) -> &mut Self {
        self.now = self.now.saturating_add(1);
        let (front, back) = text.split_at(text.len() >> 1);
        self.tracker.event(ID, self.now, Event::MessageData(of, front.as_bytes()));
        self.tracker.event(ID, self.now, Event::MessageData(of, back.as_bytes()));
        self.tracker.event(ID, self.now, Event::MessageEnd(of, end));
        self
    }

    fn ask(&mut self, text: &str) -> &mut Self {
        self.say(Message::Request, text, BodyEnd::Complete)
    }

    fn answer(&mut self, text: &str) -> &mut Self {
        self.say(Message::Response, text, BodyEnd::Complete)
    }

    fn lose(&mut self, of: Message) -> &mut Self {
        self.say(of, r#"{"type":"#, BodyEnd::Gap)
    }

    fn end(&mut self) -> Vec<Call> {
        self.tracker.event(ID, 900, Event::ResponseEnd(BodyEnd::Complete));
        self.tracker.close(901);
        self.tracker.take_calls().collect()
    }
}

fn created(id: &str) -> String {
    format!(r#"{{"type":"response.created","response":{{"id":"{id}","status":"in_progress"}}}}"#)
}

fn delta(id: &str) -> String {
    format!(r#"{{"type":"response.output_text.delta","response_id":"{id}","delta":"word"}}"#)
}

fn done(id: &str, output: u32) -> String {
    format!(
        r#"{{"type":"response.done","response":{{"id":"{id}","status":"completed","usage":{{"input_tokens":9,
        "output_tokens":{output},"input_token_details":{{"audio_tokens":4,"cached_tokens":2}}}}}}}}"#
    )
}

#[test]
fn each_response_of_a_responses_session_is_one_call() {
    let mut session = Session::open(OPENAI, "/v1/responses");
    assert_eq!(session.tracker.verdict(), Verdict::Ai);
    for _ in 0..2 {
        session.ask(CREATE).answer(r#"{"type":"codex.rate_limits"}"#).answer(&created("resp_1"));
        session.answer(r#"{"type":"response.output_text.delta","delta":"secret"}"#);
        assert_eq!(session.tracker.in_flight().count(), 1);
        session.answer(COMPLETED);
    }
    let calls = session.end();
    assert_eq!(calls.len(), 2);
    for (call, began) in calls.iter().zip([101_u64, 106]) {
        let at = |step| began.saturating_add(step);
        assert_eq!((call.started_ns, call.first_byte_ns), (began, Some(at(2))));
        assert_eq!((call.first_token_ns, call.ended_ns), (Some(at(3)), at(4)));
        assert_eq!(call.request_model.as_deref(), Some("gpt-5.2-codex"));
        assert_eq!(call.response_model.as_deref(), Some("gpt-5.2-codex-2026"));
        assert_eq!(call.response_id.as_deref(), Some("resp_1"));
        assert_eq!(counts(&call.usage), "in=40 read=60 out=7 think=3");
        assert_eq!((call.usage_quality, call.complete), (UsageQuality::Reported, true));
        assert_eq!((call.operation, call.status), (Operation::Chat, Some(101)));
        assert!(call.stream && call.credential.is_some() && call.error_type.is_none());
    }
}

#[test]
fn a_session_without_a_response_is_no_call() {
    assert!(Session::open(OPENAI, "/v1/responses").end().is_empty());
}

#[test]
fn realtime_responses_are_told_apart_by_their_names() {
    let mut session = Session::open(OPENAI, "/v1/realtime?model=gpt-realtime");
    session.answer(r#"{"type":"session.created","session":{"model":"gpt-realtime-2"}}"#);
    session.ask(r#"{"type":"input_audio_buffer.append","audio":"AAAA"}"#);
    session.ask(r#"{"type":"response.create","response":{"conversation":"none"}}"#);
    session.answer(&created("a"));
    // The server begins one of its own accord, having heard somebody speak.
    session.answer(&created("b")).answer(&delta("b")).answer(&done("b", 5)).answer(&done("a", 6));
    let calls = session.end();
    let told: Vec<_> =
        calls.iter().map(|call| (call.response_id.as_deref(), call.usage.output)).collect();
    assert_eq!(told, [(Some("b"), Some(5)), (Some("a"), Some(6))]);
    assert!(calls.iter().all(|call| call.request_model.as_deref() == Some("gpt-realtime-2")));
    assert!(calls.iter().all(|call| call.usage.input_audio == Some(4)));
    assert_eq!(
        calls.iter().map(|call| call.first_token_ns.is_some()).collect::<Vec<_>>(),
        [true, false]
    );
}

#[test]
fn a_transcription_is_a_call_of_its_own_model() {
    let mut session = Session::open(OPENAI, "/v1/realtime?model=gpt-realtime");
    session.answer(
        r#"{"type":"session.updated","session":{"model":"gpt-realtime","audio":{"input":{"transcription":
        {"model":"gpt-4o-transcribe"}}}}}"#,
    );
    session.answer(
        r#"{"type":"conversation.item.input_audio_transcription.completed","transcript":"hi","usage":
        {"type":"tokens","input_tokens":14,"output_tokens":5,"input_token_details":{"audio_tokens":14}}}"#,
    );
    let calls = session.end();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].operation, Operation::Transcription);
    assert_eq!(calls[0].request_model.as_deref(), Some("gpt-4o-transcribe"));
    assert_eq!((calls[0].usage.input_audio, calls[0].usage.output), (Some(14), Some(5)));
}

#[test]
fn an_error_ends_a_response_with_the_word_and_status_of_the_provider() {
    let mut session = Session::open(OPENAI, "/v1/responses");
    session.ask(CREATE).answer(
        r#"{"type":"error","status":429,"error":{"type":"usage_limit_reached","message":"m"}}"#,
    );
    session.ask(CREATE).answer(COMPLETED);
    let calls = session.end();
    assert_eq!(calls.len(), 2);
    assert_eq!(
        (calls[0].error_type.as_deref(), calls[0].status, calls[0].usage_quality),
        (Some("usage_limit_reached"), Some(429), UsageQuality::Missing)
    );
    assert_eq!((calls[1].error_type.as_deref(), calls[1].usage.output), (None, Some(7)));
}

#[test]
fn an_error_and_the_failure_that_follows_it_are_one_call() {
    const ERROR: &str = r#"{"type":"error","code":"server_error","message":"m"}"#;
    const FAILED: &str = r#"{"type":"response.failed","response":{"id":"resp_1","status":"failed",
        "error":{"code":"server_error","message":"m"}}}"#;
    let mut session = Session::open(OPENAI, "/v1/responses");
    for begun in [false, true] {
        session.ask(CREATE);
        if begun {
            session.answer(&created("resp_1"));
        }
        session.answer(ERROR).answer(FAILED);
    }
    // What nobody asked for and no error has ended is a response of its own.
    session.answer(FAILED).answer(&created("resp_2")).answer(&COMPLETED.replace("_1", "_2"));
    let calls = session.end();
    let told: Vec<_> =
        calls.iter().map(|call| (call.error_type.is_some(), call.usage.output)).collect();
    assert_eq!(told, [(true, None), (true, None), (true, None), (false, Some(7))]);
}

#[test]
fn what_is_lost_or_cut_is_marked() {
    let mut session = Session::open(OPENAI, "/v1/responses");
    session.ask(CREATE).lose(Message::Response).answer(COMPLETED);
    session
        .lose(Message::Request)
        .answer(&created("resp_2"))
        .answer(&COMPLETED.replace("_1", "_2"));
    session.ask(CREATE).answer(&created("resp_3"));
    let calls = session.end();
    let told: Vec<_> =
        calls.iter().map(|c| (c.complete, c.usage.output, c.error_type.as_deref())).collect();
    let expected = [(false, Some(7), None), (false, Some(7), None), (true, None, Some("aborted"))];
    assert_eq!(told, expected);
    assert_eq!(calls[2].usage_quality, UsageQuality::Missing);
}

#[test]
fn responses_that_never_end_are_bounded() {
    let mut session = Session::open(OPENAI, "/v1/responses");
    for _ in 0..100 {
        session.ask(CREATE);
    }
    assert_eq!(session.tracker.in_flight().count(), 32);
    assert_eq!(session.end().len(), 100);
}

#[test]
fn an_unlisted_host_with_such_a_session_is_ai() {
    let mut session = Session::open("gateway.corp.example", "/v1/responses");
    session.ask(CREATE).answer(COMPLETED);
    assert_eq!(session.tracker.verdict(), Verdict::Ai);
    let calls = session.end();
    assert_eq!((calls.len(), calls[0].listed), (1, false));
}

#[test]
fn a_websocket_of_another_api_is_told_once_and_as_incomplete() {
    let mut session =
        Session::open("generativelanguage.googleapis.com", "/ws/x.BidiGenerateContent");
    session.ask(CREATE).answer(COMPLETED);
    let calls = session.end();
    assert_eq!((calls.len(), calls[0].complete), (1, false));
}
