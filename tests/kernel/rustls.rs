//! A Rust client with its TLS inside comes in, with symbols and without; its calls go out, one each, with exact tokens.

use serde_json::Value;
use tollgate_tests::lab::Lab;
use tollgate_tests::lab::clients::{Api, CLIENTS, Client, Program, Provider, Spec, titles};

use crate::openssl::{USAGE, assert_private, assert_same, lab, ways};
use crate::rows::Rows;
use crate::sensor::Sensor;

/// Connections of one process after the other, so that objects are used again.
const CALLS: u32 = 40;

/// Compares one call; gives it back where it has an id to be found by.
fn check_way(
    lab: &Lab,
    sensor: &Sensor,
    (client, api, stream): (&Client, Api, bool),
) -> Option<Value> {
    let what = format!("{} {api:?} stream={stream}", client.name);
    let id = what.replace([' ', '='], "-");
    let mut spec = Spec::new(client.name, api).scenario(&format!("id={id},{USAGE}"));
    spec.stream = stream;
    let seen = lab.run(&spec).unwrap();
    assert!(seen.calls.iter().all(|call| call.error.is_none()), "{what}: {seen:?}");
    let facts = lab.facts_of(&id, 1).unwrap();
    let [fact] = facts.as_slice() else { panic!("{what}: {} facts", facts.len()) };
    assert_eq!(fact.protocol, client.protocol, "{what}");
    if matches!(api, Api::CountTokens | Api::Embeddings) {
        // These answers carry no id: the call is found by its path.
        return None;
    }
    let call =
        sensor.call_of(fact).unwrap_or_else(|error| panic!("{what}: {error:#}\n{}", sensor.log()));
    assert_same(&call, fact, client, &what);
    assert_eq!(call["tls.library"], "rustls", "{what}");
    let way = if matches!(client.program, Program::Rust(_)) { "symbols" } else { "structure" };
    assert_eq!(call["tollgate.tls.resolved_by"], way, "{what}");
    assert_eq!(call["tollgate.binding"], "wire_record", "{what}");
    Some(call)
}

fn check(program: Program) {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let mut rows = Rows::default();
    for client in CLIENTS.iter().filter(|client| client.program == program) {
        for (api, stream) in ways(client) {
            rows.note(titles::of_client(client), check_way(&lab, &sensor, (client, api, stream)));
        }
    }
    assert_private(&sensor);
    rows.hold();
}

#[test]
fn every_rustls_client_with_symbols_is_reported_exactly() {
    check(Program::Rust(Provider::AwsLc));
}

#[test]
fn every_rustls_client_without_symbols_is_reported_exactly() {
    check(Program::RustBare(Provider::AwsLc));
}

/// Whole and streamed; AES-GCM and `ChaCha20`, in TLS 1.3 and 1.2.
#[test]
fn every_rustls_client_on_ring_with_symbols_is_reported_exactly() {
    check(Program::Rust(Provider::Ring));
}

#[test]
fn every_rustls_client_on_ring_without_symbols_is_reported_exactly() {
    check(Program::RustBare(Provider::Ring));
}

/// Each answer closes its connection: the next one seals and opens with objects at addresses that were used before.
#[test]
fn objects_that_are_used_again_are_not_mixed_up() {
    check_again("reqwest-bare-h1");
}

#[test]
fn objects_of_ring_that_are_used_again_are_not_mixed_up() {
    check_again("reqwest-ring-bare-h1");
}

fn check_again(client: &str) {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let spec = Spec::new(client, Api::Chat)
        .scenario(&format!("id=again,close=1,{USAGE}"))
        .calls(CALLS, 1)
        .streamed();
    let seen = lab.run(&spec).unwrap();
    assert!(seen.calls.iter().all(|call| call.error.is_none()), "{seen:?}");
    let facts = lab.facts_of("again", usize::try_from(CALLS).unwrap()).unwrap();
    let mut connections: Vec<_> = facts.iter().map(|fact| fact.connection).collect();
    connections.dedup();
    assert_eq!(connections.len(), facts.len(), "each call has a connection of its own");
    for fact in &facts {
        let call =
            sensor.call_of(fact).unwrap_or_else(|error| panic!("{error:#}\n{}", sensor.log()));
        let client = spec.row().unwrap();
        assert_same(&call, fact, client, &fact.id);
        let port = call["network.local.port"].as_u64();
        assert!(port.is_none_or(|port| port == u64::from(fact.peer.port())), "{call}");
    }
}
