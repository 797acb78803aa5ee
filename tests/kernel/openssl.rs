//! Every client and API, whole and streamed: one call each, with exact tokens, dollars, process, key, address and times.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tollgate_tests::harness::monotonic_ns;
use tollgate_tests::lab::clients::{Api, CLIENTS, Client, Program, Seen, Spec, titles};
use tollgate_tests::lab::net::Options;
use tollgate_tests::lab::provider::fact::Fact;
use tollgate_tests::lab::{CLIENT_DEADLINE, Lab};

use crate::rows::Rows;
use crate::sensor::Sensor;

/// Counts that no default produces.
pub(crate) const USAGE: &str = "in=1001,cached=32,write=16,out=257,reasoning=19,chunks=5,size=5000";
/// The least step of a duration in an event, in nanoseconds.
const STEP_NS: u64 = 1000;

pub(crate) fn lab() -> Lab {
    Lab::up(&Options::default()).expect("the lab needs root and the packages it names")
}

/// What the provider counted, in the words of the event; a count that was not on the wire is absent.
fn expected_tokens(fact: &Fact) -> [(&'static str, Option<u64>); 5] {
    let usage = fact.usage.filter(|_| fact.usage_on_wire);
    let cached = usage.map(|usage| usage.cached);
    let written = usage.map(|usage| usage.cache_write.saturating_add(usage.cache_write_1h));
    [
        ("gen_ai.usage.input_tokens", usage.map(|usage| usage.all_input())),
        ("gen_ai.usage.output_tokens", usage.map(|usage| usage.output)),
        ("gen_ai.usage.cache_read.input_tokens", cached),
        ("gen_ai.usage.cache_creation.input_tokens", written),
        ("gen_ai.usage.reasoning.output_tokens", usage.map(|usage| usage.reasoning)),
    ]
}

fn assert_tokens(call: &Value, fact: &Fact, what: &str) {
    for (place, (name, count)) in expected_tokens(fact).into_iter().enumerate() {
        let count = match fact.operation.as_str() {
            // The answer is a count of tokens; the call uses none.
            "count_tokens" => None,
            // Embeddings have an input; that there is no output is known, and no total tells otherwise.
            "embeddings" if place != 0 => Some(0),
            _ => count,
        };
        // The providers leave classes out that are zero or that their wire format lacks.
        let seen = call[name].as_u64();
        assert!(
            seen == count || (seen.is_none() && count == Some(0)),
            "{what}: {name} {seen:?} is not {count:?}"
        );
    }
}

/// Compares everything the sensor says of a call with what the provider knows.
pub(crate) fn assert_facts(call: &Value, fact: &Fact, what: &str) {
    assert_tokens(call, fact, what);
    if let (Some(cost), true) = (&fact.cost_usd, fact.usage_on_wire) {
        assert_eq!(call["tollgate.cost.usd"].as_str(), Some(cost.as_str()), "{what}");
    }
    if fact.operation == "count_tokens" {
        assert_eq!(call["tollgate.cost.usd"].as_str(), Some("0"), "{what}");
    }
    assert_eq!(call["http.response.status_code"].as_u64(), Some(u64::from(fact.status)), "{what}");
    assert_eq!(call["server.address"].as_str(), Some(fact.host.as_str()), "{what}");
    assert_eq!(
        call["network.peer.address"].as_str(),
        Some(fact.local.ip().to_string().as_str()),
        "{what}"
    );
    assert_eq!(call["gen_ai.request.model"].as_str(), Some(fact.model.as_str()), "{what}");
    assert_eq!(call["tollgate.coverage"].as_str(), Some("complete"), "{what}");
    let hint = call["tollgate.credential.hint"].as_str().unwrap_or_default();
    assert!(hint.ends_with(&fact.key_last4) && hint.len() < 24, "{what}: {hint}");
    let protocol = match fact.protocol.as_str() {
        "h2" => "2",
        // The version that the handshake names (RFC 6455).
        "websocket" => "13",
        _ => "1.1",
    };
    assert_eq!(call["network.protocol.version"].as_str(), Some(protocol), "{what}");
}

/// Compares what the sensor says of a call, and of the program that made it.
pub(crate) fn assert_same(call: &Value, fact: &Fact, client: &Client, what: &str) {
    assert_facts(call, fact, what);
    let executable = call["process.executable.path"].as_str().unwrap_or_default();
    let name = Path::new(executable).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let wanted = match client.program {
        Program::Python | Program::Grpc => "python",
        Program::Node => "node",
        Program::Curl => "curl",
        Program::Rust(_) | Program::RustBare(_) => "lab-client",
    };
    assert!(name.starts_with(wanted), "{what}: {executable}");
}

/// Every way a client offers, each with an id of its own.
pub(crate) fn ways(client: &Client) -> Vec<(Api, bool)> {
    let all = client.apis.iter().flat_map(|api| [(*api, false), (*api, true)]);
    all.filter(|(api, stream)| !(*stream && matches!(api, Api::Embeddings | Api::CountTokens)))
        .collect()
}

/// Holds the time to first token between what the server's clock says and what the client's does.
///
/// The request begins in the client before it reaches the server, and the first token leaves the server before the
/// client has read it: the server's time is the least. The client's own time, or that of its whole run, is the most.
fn assert_first_token(call: &Value, fact: &Fact, most_ns: u64, what: &str) {
    let least_ns = fact.t_first_token_ns.saturating_sub(fact.t_request_ns);
    let first = call["tollgate.time_to_first_token_ms"].as_f64().unwrap_or(f64::NAN);
    let millis = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64() * 1e3;
    let (least, most) = (millis(least_ns.saturating_sub(STEP_NS)), millis(most_ns));
    assert!((least..=most).contains(&first), "{what}: {first} ms is not in {least} to {most} ms");
}

/// The longest time to first token that the client itself can have seen.
fn longest_ns(seen: &Seen, whole_ns: u64) -> u64 {
    let call = seen.calls.first().cloned().unwrap_or_default();
    // A client that reads text event by event notes the first; others note their first bytes, which hold no token yet.
    let told = if call.chunks > 0 && !call.reads_bytes() { call.t_first_ns } else { call.t_end_ns };
    if told == 0 { whole_ns } else { told.saturating_sub(call.t_start_ns) }
}

pub(crate) fn check(program: Program) {
    let lab = lab();
    // The first call of a program that was never seen may be missed; here each is seen once before it counts.
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let mut rows = Rows::default();
    for client in CLIENTS.iter().filter(|client| client.program == program) {
        for (api, stream) in ways(client) {
            let what = format!("{} {api:?} stream={stream}", client.name);
            let id = what.replace([' ', '='], "-");
            let mut spec = Spec::new(client.name, api).scenario(&format!("id={id},{USAGE}"));
            spec.stream = stream;
            let began = monotonic_ns();
            let running = lab.start(&spec).unwrap();
            let pid = running.pid();
            let seen = running.finish(CLIENT_DEADLINE).unwrap();
            let whole_ns = monotonic_ns().saturating_sub(began);
            assert!(seen.calls.iter().all(|call| call.error.is_none()), "{what}: {seen:?}");
            let facts = lab.facts_of(&id, 1).unwrap();
            let [fact] = facts.as_slice() else { panic!("{what}: {} facts", facts.len()) };
            // Answers to some operations carry no id: the process made this one call and no other.
            let call = sensor.calls_by(pid, 1).unwrap_or_else(|error| panic!("{what}: {error:#}"));
            let [call] = call.as_slice() else { panic!("{what}: {} calls", call.len()) };
            let told = call["gen_ai.response.id"].as_str().unwrap_or_default();
            assert_eq!(told, fact.id, "{what}");
            assert_eq!(call["url.path"].as_str(), Some(fact.path.as_str()), "{what}");
            assert_same(call, fact, client, &what);
            if stream && fact.t_first_token_ns != 0 {
                assert_first_token(call, fact, longest_ns(&seen, whole_ns), &what);
            }
            rows.note(titles::of_client(client), [call.clone()]);
        }
    }
    rows.hold();
}

/// Nothing the sensor writes holds a key or a prompt.
pub(crate) fn assert_private(sensor: &Sensor) {
    sensor.assert_private();
}

#[test]
fn every_python_client_is_reported_exactly() {
    check(Program::Python);
}

#[test]
fn every_node_client_is_reported_exactly() {
    check(Program::Node);
}

#[test]
fn every_curl_client_is_reported_exactly() {
    check(Program::Curl);
}
