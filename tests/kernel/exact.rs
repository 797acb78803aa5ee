//! Calls that fail, are tried again, break off or share a connection: one event each, and it says what happened.

use serde_json::Value;
use tollgate_tests::lab::clients::{Api, CLIENTS, Client, Spec};
use tollgate_tests::lab::provider::fact::{Fact, Outcome};
use tollgate_tests::lab::{CLIENT_DEADLINE, Lab};

use crate::openssl::{assert_same, lab};
use crate::raw::{Raw, chat, message};
use crate::sensor::Sensor;

/// Counts that no default produces.
const USAGE: &str = "in=1001,cached=32,out=257,reasoning=19,chunks=5";
/// Tries of an SDK, of which the last one is served.
const TRIES: usize = 3;

fn row(name: &str) -> &'static Client {
    CLIENTS.iter().find(|client| client.name == name).unwrap()
}

/// Runs one client; gives back the calls that its process was seen to make, and the provider's facts.
fn calls(lab: &Lab, sensor: &Sensor, spec: &Spec, count: usize) -> (Vec<Value>, Vec<Fact>) {
    let running = lab.start(spec).unwrap();
    let pid = running.pid();
    // A client that gives up says so; what is compared is what the provider and the sensor saw.
    running.finish(CLIENT_DEADLINE).unwrap();
    let id = spec.scenario.split([',', '=']).nth(1).unwrap();
    let mut facts = lab.facts_of(id, count).unwrap();
    facts.sort_by_key(|fact| fact.number);
    let calls = sensor.calls_by(pid, count).unwrap_or_else(|error| panic!("{id}: {error:#}"));
    (calls, facts)
}

fn assert_no_tokens(call: &Value, what: &str) {
    let fields = call.as_object().unwrap();
    let metered = fields.keys().filter(|name| name.starts_with("gen_ai.usage."));
    assert_eq!(metered.collect::<Vec<_>>(), Vec::<&String>::new(), "{what}: {call}");
}

/// No tokens and no amount: they are not known, which is not zero.
fn assert_unmetered(call: &Value, what: &str) {
    assert_no_tokens(call, what);
    assert!(call["tollgate.cost.usd"].is_null(), "{what}: {call}");
    assert_eq!(call["tollgate.cost.basis"], "unknown", "{what}: {call}");
}

/// No tokens, and an amount that is known to be zero: providers bill nothing for a request that they refused or failed
/// before they made anything, and nothing for what makes no tokens (lists, deletions).
fn assert_unbilled(call: &Value, what: &str) {
    assert_no_tokens(call, what);
    assert_eq!(call["tollgate.cost.usd"], "0", "{what}: {call}");
    assert_eq!(call["tollgate.cost.basis"], "reported", "{what}: {call}");
}

#[test]
fn each_try_of_an_sdk_is_a_call_of_its_own() {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    for (name, api, status) in [
        ("openai-sync", Api::Chat, 429),
        ("openai-async", Api::Responses, 500),
        ("anthropic-sync", Api::Messages, 529),
        ("node-openai", Api::Chat, 503),
        ("node-anthropic", Api::Messages, 429),
    ] {
        let what = format!("tried-{name}");
        let knobs = format!("id={what},fail={},status={status},{USAGE}", TRIES - 1);
        let mut spec = Spec::new(name, api).scenario(&knobs);
        spec.max_retries = u32::try_from(TRIES - 1).unwrap();
        let (calls, facts) = calls(&lab, &sensor, &spec, TRIES);
        for (number, (call, fact)) in calls.iter().zip(&facts).enumerate() {
            let seen = call["http.response.status_code"].as_u64();
            assert_eq!(seen, Some(u64::from(fact.status)), "{what}: {call}");
            let resent = call["http.request.resend_count"].as_u64();
            assert_eq!(resent, fact.retry.map(u64::from), "{what}: {call}");
            if number + 1 < TRIES {
                assert_eq!(fact.status, status, "{what}");
                assert!(call["error.type"].is_string(), "{what}: {call}");
                assert_unbilled(call, &what);
            } else {
                assert_same(call, fact, row(name), &what);
                assert!(call["error.type"].is_null(), "{what}: {call}");
            }
        }
    }
}

#[test]
fn tool_calls_are_counted_like_any_answer() {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    for (name, api) in [
        ("openai-sync", Api::Chat),
        ("openai-async", Api::Responses),
        ("anthropic-async", Api::Messages),
        ("node-openai", Api::Responses),
    ] {
        for stream in [false, true] {
            let what = format!("tool-{name}-{stream}");
            let mut spec = Spec::new(name, api).scenario(&format!("id={what},tools=1,{USAGE}"));
            spec.stream = stream;
            let (calls, facts) = calls(&lab, &sensor, &spec, 1);
            assert_same(&calls[0], &facts[0], row(name), &what);
        }
    }
}

#[test]
fn stream_that_the_server_breaks_off_is_a_lower_bound() {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    for (name, api) in [
        ("openai-sync", Api::Chat),
        ("openai-async", Api::Responses),
        ("anthropic-sync", Api::Messages),
        ("node-anthropic", Api::Messages),
        ("curl-h2", Api::Chat),
        ("curl-h2", Api::Messages),
    ] {
        let what = format!("broken-{name}-{api:?}");
        let spec = Spec::new(name, api).streamed().scenario(&format!("id={what},abort=2,{USAGE}"));
        let (calls, facts) = calls(&lab, &sensor, &spec, 1);
        let (call, fact) = (&calls[0], &facts[0]);
        assert_eq!(fact.outcome, Outcome::Aborted, "{what}");
        assert_eq!(call["error.type"], "aborted", "{what}: {call}");
        assert_eq!(call["gen_ai.response.id"], fact.id.as_str(), "{what}");
        assert!(call["tollgate.time_to_first_token_ms"].is_number(), "{what}: {call}");
        if api == Api::Messages {
            // The start of the stream told the input; the output is what was told by then, not what it would be.
            let usage = fact.usage.unwrap();
            assert_eq!(
                call["gen_ai.usage.input_tokens"].as_u64(),
                Some(usage.all_input()),
                "{what}"
            );
            let output = call["gen_ai.usage.output_tokens"].as_u64();
            assert!(output.is_none_or(|output| output < usage.output), "{what}: {call}");
            assert_eq!(call["tollgate.usage.quality"], "partial", "{what}: {call}");
            assert_eq!(call["tollgate.cost.basis"], "estimated", "{what}: {call}");
        } else {
            assert_unmetered(call, &what);
            assert_eq!(call["tollgate.usage.quality"], "missing", "{what}: {call}");
        }
    }
}

#[test]
fn stream_that_the_client_leaves_ends_then() {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    for name in ["curl-h1", "curl-h2"] {
        let what = format!("left-{name}");
        let knobs = format!("id={what},in=9,out=9,chunks=600,gap_ms=50");
        let mut spec = Spec::new(name, Api::Chat).streamed().scenario(&knobs);
        spec.timeout_secs = 2;
        let (calls, facts) = calls(&lab, &sensor, &spec, 1);
        assert_eq!(facts[0].outcome, Outcome::ClientGone, "{what}");
        assert_eq!(calls[0]["error.type"], "aborted", "{what}: {}", calls[0]);
        assert_unmetered(&calls[0], &what);
    }
}

#[test]
fn stream_that_ends_in_an_error_says_so() {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    for (name, api) in
        [("curl-h1", Api::Chat), ("curl-h2", Api::Responses), ("curl-h1", Api::Messages)]
    {
        let what = format!("failed-{name}-{api:?}");
        let spec = Spec::new(name, api).streamed().scenario(&format!("id={what},error=2,{USAGE}"));
        let (calls, _) = calls(&lab, &sensor, &spec, 1);
        let kind = calls[0]["error.type"].as_str().unwrap_or_default();
        assert!(!kind.is_empty() && kind != "aborted", "{what}: {}", calls[0]);
        assert_ne!(calls[0]["tollgate.usage.quality"], "reported", "{what}: {}", calls[0]);
    }
}

#[test]
fn calls_that_share_connections_are_told_apart() {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    for (name, at_once) in
        [("openai-sync", 1), ("aiohttp", 4), ("node-undici", 4), ("httpx-h2", 4), ("curl-h2", 1)]
    {
        let what = format!("shared-{name}");
        let knobs = format!("id={what},{USAGE}");
        let spec = Spec::new(name, row(name).apis[0]).calls(12, at_once).scenario(&knobs);
        let (_, facts) = calls(&lab, &sensor, &spec, 12);
        let mut connections: Vec<_> = facts.iter().map(|fact| fact.connection).collect();
        connections.sort_unstable();
        connections.dedup();
        assert!(connections.len() <= usize::try_from(at_once).unwrap(), "{what}: {connections:?}");
        for fact in &facts {
            assert_same(&sensor.call_of(fact).unwrap(), fact, row(name), &what);
        }
    }
}

#[test]
fn requests_for_other_hosts_on_a_connection_to_ai_hide_no_call_behind_them() {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let other = "GET / HTTP/1.1\r\nhost: files.example\r\n\r\n";
    // More than those after which a connection with another name would not be looked at any more.
    let mut messages = vec![other.to_owned(); 5];
    messages.push(chat("id=behind-others,in=1001,out=7", "connection: close\r\n"));
    let talking = Raw { messages, ..Raw::default() }.start(&lab).unwrap();
    talking.finish().unwrap();
    let fact = lab.facts_of("behind-others", 1).unwrap().remove(0);
    let call = sensor.call_of(&fact).unwrap_or_else(|error| panic!("{error:#}\n{}", sensor.log()));
    assert_eq!(call["gen_ai.usage.input_tokens"], 1001, "{call}");
    // It is known as the connection that it was from the handshake on: that is what is cut where a policy says so.
    assert!(call["network.peer.address"].is_string(), "{call}");
    assert_eq!(call["tollgate.tls.name_hidden"], false, "{call}");
}

#[test]
fn pipelined_requests_of_every_kind_are_one_call_each() {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let knobs = |number: u32| format!("id=piped,in={number},out=7");
    let raw = Raw {
        messages: vec![
            chat(&knobs(1001), ""),
            message("HEAD /v1/models", "", ""),
            chat(&knobs(1002), "expect: 100-continue\r\n"),
            message("DELETE /v1/files/file-abc123", "", ""),
            message("GET /v1/models", "", ""),
            chat(&knobs(1003), "connection: close\r\n"),
        ],
        ..Raw::default()
    };
    let talking = raw.start(&lab).unwrap();
    let pid = talking.pid();
    let mut statuses = talking.finish().unwrap();
    // RFC 9110, 15.2: an interim response is no answer of its own.
    statuses.retain(|status| *status != 100);
    assert_eq!(statuses, [200, 200, 200, 204, 200, 200]);
    let calls = sensor.calls_by(pid, statuses.len()).unwrap();
    let told: Vec<_> = calls
        .iter()
        .map(|call| {
            let text = |name: &str| call[name].as_str().unwrap_or_default().to_owned();
            let input = call["gen_ai.usage.input_tokens"].as_u64();
            let status = call["http.response.status_code"].as_u64();
            (text("http.request.method"), text("gen_ai.operation.name"), status, input)
        })
        .collect();
    let expected = [
        ("POST", "chat", 200, Some(1001)),
        ("HEAD", "models", 200, None),
        ("POST", "chat", 200, Some(1002)),
        ("DELETE", "files", 204, None),
        ("GET", "models", 200, None),
        ("POST", "chat", 200, Some(1003)),
    ];
    let expected = expected.map(|(method, operation, status, input)| {
        (method.to_owned(), operation.to_owned(), Some(status), input)
    });
    assert_eq!(told, expected);
    for call in calls.iter().filter(|call| call["gen_ai.operation.name"] != "chat") {
        assert_unbilled(call, "no completion");
    }
}

#[test]
fn pipelined_requests_that_are_not_answered_end_once_each() {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let knobs = |number: u32| format!("id=unanswered,in={number},out=7");
    // The server closes behind the answer to the second of them.
    let fields = ["", "connection: close\r\n", "", ""];
    let messages = (1001..).zip(fields).map(|(number, fields)| chat(&knobs(number), fields));
    let raw = Raw { messages: messages.collect(), ..Raw::default() };
    let talking = raw.start(&lab).unwrap();
    let pid = talking.pid();
    assert_eq!(talking.finish().unwrap(), [200, 200]);
    let calls = sensor.calls_by(pid, fields.len()).unwrap();
    let status = |call: &Value| call["http.response.status_code"].as_u64();
    let input = |call: &Value| call["gen_ai.usage.input_tokens"].as_u64();
    let (answered, others): (Vec<_>, Vec<_>) =
        calls.iter().partition(|call| status(call).is_some());
    let told: Vec<_> = answered.into_iter().map(|call| (status(call), input(call))).collect();
    assert_eq!(told, [(Some(200), Some(1001)), (Some(200), Some(1002))]);
    for call in others {
        assert_eq!(call["error.type"], "aborted", "{call}");
        assert_eq!(call["gen_ai.request.model"], "gpt-4o-mini", "{call}");
        assert_unmetered(call, "not answered");
    }
}
