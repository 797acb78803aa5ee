//! Clients of gRPC come in, whose TLS is inside of its own library; their calls go out, one each, with exact tokens.

use serde_json::Value;
use tollgate_tests::lab::clients::{Api, Program, Spec};
use tollgate_tests::lab::{CLIENT_DEADLINE, Lab};

use crate::openssl::{USAGE, assert_facts, assert_private, check, lab};
use crate::sensor::Sensor;

const CLIENTS: [&str; 2] = ["xai-sdk-sync", "xai-sdk-async"];

/// Runs one client; gives back the calls that its process was seen to make.
fn calls(lab: &Lab, sensor: &Sensor, spec: &Spec, count: usize) -> Vec<Value> {
    let running = lab.start(spec).unwrap();
    let pid = running.pid();
    running.finish(CLIENT_DEADLINE).unwrap();
    sensor.calls_by(pid, count).unwrap_or_else(|error| panic!("{}: {error:#}", spec.scenario))
}

#[test]
fn every_client_of_grpc_is_reported_exactly() {
    check(Program::Grpc);
}

#[test]
fn a_refused_call_has_the_status_of_grpc_and_no_price() {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    for client in CLIENTS {
        let spec = Spec::new(client, Api::Grok).scenario(&format!("id={client},fail=1"));
        let calls = calls(&lab, &sensor, &spec, 1);
        let call = &calls[0];
        assert_eq!(call["http.response.status_code"], 200, "{call}");
        assert_eq!(call["rpc.grpc.status_code"], 8, "{call}");
        assert_eq!(call["error.type"], "RESOURCE_EXHAUSTED", "{call}");
        assert_eq!(call["tollgate.cost.usd"], "0", "{call}");
        assert_eq!(call["gen_ai.request.model"], "grok-4", "{call}");
    }
    assert_private(&sensor);
}

#[test]
fn each_try_is_a_call_of_its_own() {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let mut spec = Spec::new(CLIENTS[0], Api::Grok).scenario("id=tried,fail=1,status=14");
    spec.max_retries = 1;
    let calls = calls(&lab, &sensor, &spec, 2);
    let told = |name: &str| calls.iter().map(|call| call[name].as_u64()).collect::<Vec<_>>();
    assert_eq!(told("rpc.grpc.status_code"), [Some(14), Some(0)]);
    assert_eq!(told("http.request.resend_count"), [None, Some(1)]);
}

#[test]
fn a_stream_that_fails_keeps_what_it_told() {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let spec = Spec::new(CLIENTS[0], Api::Grok).streamed();
    let calls = calls(&lab, &sensor, &spec.scenario(&format!("id=fails,error=2,{USAGE}")), 1);
    let call = &calls[0];
    assert_eq!(call["rpc.grpc.status_code"], 14, "{call}");
    assert_eq!(call["error.type"], "UNAVAILABLE", "{call}");
    assert_eq!(call["tollgate.usage.quality"], "partial", "{call}");
    assert_eq!(call["gen_ai.usage.input_tokens"], 1049, "{call}");
}

#[test]
fn compressed_messages_are_read() {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    for stream in [false, true] {
        let id = format!("gzip-{stream}");
        let mut spec = Spec::new(CLIENTS[0], Api::Grok);
        spec.stream = stream;
        let spec = spec.scenario(&format!("id={id},enc=gzip,{USAGE}"));
        let calls = calls(&lab, &sensor, &spec, 1);
        let facts = lab.facts_of(&id, 1).unwrap();
        assert_eq!(facts[0].encoding, "gzip");
        assert_facts(&calls[0], &facts[0], &id);
    }
}
