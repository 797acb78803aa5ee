//! Every client and API come in; equal identifiers, models, usage and text on both sides go out.

use std::collections::BTreeSet;

use tollgate_tests::lab::clients::{Api, CLIENTS, Client, Program, SeenCall, Spec};
use tollgate_tests::lab::net::Options;
use tollgate_tests::lab::provider::fact::{Fact, Outcome};
use tollgate_tests::lab::{CLIENT_DEADLINE, Lab};

/// Counts that no default produces.
const USAGE: &str = "in=1001,cached=32,write=16,out=257,reasoning=19,chunks=5,size=5000";

/// Bytes of text that `size` asks for.
const TEXT_BYTES: u64 = 5000;

fn lab() -> Lab {
    Lab::up(&Options::default()).expect("the lab needs root and the packages it names")
}

fn assert_agree(call: &SeenCall, fact: &Fact, what: &str) {
    assert_eq!(call.error, None, "{what}");
    assert_eq!((call.status, fact.status, fact.outcome), (200, 200, Outcome::Complete), "{what}");
    // LangChain replaces the identifier of a stream by one of its own.
    if !(what.starts_with("langchain") && fact.stream) {
        assert_eq!(call.id, fact.id, "{what}");
    }
    assert_eq!(call.usage(), fact.usage.filter(|_| fact.usage_on_wire), "{what}");
    assert!(fact.t_request_ns <= fact.t_first_token_ns, "{what}");
    assert!(fact.t_first_token_ns <= fact.t_end_ns, "{what}");
    assert!(call.t_start_ns <= fact.t_end_ns, "{what}");
}

fn check_every_way(lab: &Lab, client: &Client) {
    let ways = client.apis.iter().flat_map(|api| [(*api, false), (*api, true)]);
    for (api, stream) in ways {
        let text = !matches!(api, Api::Embeddings | Api::CountTokens);
        if stream && !text {
            continue;
        }
        let what = format!("{} {api:?} stream={stream}", client.name);
        let id = what.replace([' ', '='], "-");
        // LangChain leaves cache writes out of a stream's usage.
        let usage = if client.name == "langchain-openai" {
            USAGE.replace("write=16,", "")
        } else {
            USAGE.to_owned()
        };
        let mut spec = Spec::new(client.name, api).scenario(&format!("id={id},{usage}"));
        spec.stream = stream;
        let seen = lab.run(&spec).unwrap();
        let facts = lab.facts_of(&id, 1).unwrap();
        let ([call], [fact]) = (seen.calls.as_slice(), facts.as_slice()) else {
            panic!("{what}: {} calls, {} facts", seen.calls.len(), facts.len());
        };
        assert_agree(call, fact, &what);
        assert_eq!(
            (fact.protocol.as_str(), fact.stream, fact.tls),
            (client.protocol, stream, true),
            "{what}"
        );
        assert_eq!(
            (fact.host.as_str(), fact.sni.as_str()),
            (spec.host.as_str(), spec.host.as_str()),
            "{what}"
        );
        assert!(spec.api_key.ends_with(&fact.key_last4) && fact.key_last4.len() == 4, "{what}");
        assert_eq!(fact.model, spec.model, "{what}");
        if text {
            assert_eq!((call.text_bytes, &call.model), (TEXT_BYTES, &fact.served_model), "{what}");
            assert_eq!((call.chunks, fact.chunks), if stream { (5, 5) } else { (1, 1) }, "{what}");
        }
        assert_eq!(fact.usage.is_some(), api != Api::CountTokens, "{what}");
    }
}

fn check_program(program: Program) {
    let lab = lab();
    for client in CLIENTS.iter().filter(|client| client.program == program) {
        check_every_way(&lab, client);
    }
}

#[test]
fn every_python_client_sees_what_the_server_served() {
    check_program(Program::Python);
}

#[test]
fn clients_of_grpc_see_what_the_server_served() {
    check_program(Program::Grpc);
}

#[test]
fn every_node_client_sees_what_the_server_served() {
    check_program(Program::Node);
}

#[test]
fn curl_sees_what_the_server_served() {
    check_program(Program::Curl);
}

#[test]
fn forty_calls_at_once_in_one_process_all_agree() {
    const CASES: &[&str] = &["node-openai", "node-http2", "openai-async", "aiohttp", "openai-sync"];
    let lab = lab();
    for client in CASES {
        let spec = Spec::new(client, Api::Chat).streamed().calls(40, 40);
        let spec = spec.scenario(&format!("id={client},chunks=10,gap_ms=30"));
        let seen = lab.run(&spec).unwrap();
        let facts = lab.facts_of(client, 40).unwrap();
        let seen_ids: BTreeSet<_> = seen.calls.iter().map(|call| call.id.clone()).collect();
        let ids: BTreeSet<_> = facts.iter().map(|fact| fact.id.clone()).collect();
        assert_eq!((seen_ids.len(), &seen_ids), (40, &ids), "{client}");
        for call in &seen.calls {
            let fact = facts.iter().find(|fact| fact.id == call.id).unwrap();
            assert_agree(call, fact, client);
        }
        // They were really under way at once: some call began before an earlier one ended.
        let (first_end, last_start) = (
            facts.iter().map(|fact| fact.t_end_ns).min().unwrap(),
            facts.iter().map(|fact| fact.t_request_ns).max().unwrap(),
        );
        let ran_together = facts.iter().filter(|fact| fact.t_request_ns < first_end).count();
        assert!(ran_together >= 10, "{client}: {ran_together} at once, {first_end} {last_start}");
    }
}

#[test]
fn a_second_phase_uses_the_connection_of_the_first() {
    const CASES: &[(&str, Api)] = &[
        ("openai-sync", Api::Chat),
        ("openai-async", Api::Responses),
        ("anthropic-sync", Api::Messages),
        ("httpx-h2", Api::Chat),
        ("requests", Api::Chat),
        ("aiohttp", Api::Chat),
        ("node-openai", Api::Chat),
        ("node-anthropic", Api::Messages),
        ("node-http2", Api::Chat),
        ("node-undici", Api::Chat),
        ("curl-h1", Api::Chat),
        ("curl-h2", Api::Chat),
    ];
    let lab = lab();
    for (client, api) in CASES {
        let spec = Spec::new(client, *api).scenario(&format!("id={client}")).two_phases();
        let mut running = lab.start(&spec).unwrap();
        running.wait_ready(CLIENT_DEADLINE).unwrap();
        let before = lab.facts_of(client, 1).unwrap();
        assert_eq!(before.len(), 1, "{client}");
        running.go().unwrap();
        let seen = running.finish(CLIENT_DEADLINE).unwrap();
        let facts = lab.facts_of(client, 2).unwrap();
        assert_eq!((seen.calls.len(), facts.len()), (2, 2), "{client}");
        assert_eq!(facts[0].connection, facts[1].connection, "{client}");
        for (call, fact) in seen.calls.iter().zip(&facts) {
            assert_agree(call, fact, client);
        }
    }
}

#[test]
fn a_client_that_reuses_nothing_opens_a_connection_for_each_call() {
    let lab = lab();
    for client in ["openai-sync", "node-undici"] {
        let mut spec = Spec::new(client, Api::Chat).calls(3, 1).scenario(&format!("id={client}"));
        spec.reuse = false;
        lab.run(&spec).unwrap();
        let facts = lab.facts_of(client, 3).unwrap();
        let connections: BTreeSet<_> = facts.iter().map(|fact| fact.connection).collect();
        assert_eq!(connections.len(), 3, "{client}");
    }
}

#[test]
fn every_dialect_is_understood_by_the_clients_that_speak_it() {
    const CASES: &[(&str, &str, bool, bool)] = &[
        // host, client, asks for usage, usage on the wire of a stream
        ("myco.openai.azure.com", "openai-sync", true, true),
        ("myco.openai.azure.com", "node-openai", false, false),
        ("api.groq.com", "curl-h2", false, true),
        ("api.deepseek.com", "openai-async", true, true),
        ("api.deepseek.com", "node-openai", false, false),
        ("openrouter.ai", "openai-sync", false, true),
        ("api.mistral.ai", "node-openai", false, true),
        ("llm.internal.example", "openai-sync", true, true),
        ("eu.api.openai.com", "langchain-openai", false, false),
    ];
    let lab = lab();
    for (number, (host, client, asks, told)) in CASES.iter().enumerate() {
        let id = format!("d{number}");
        let spec = Spec::new(client, Api::Chat).host(host).streamed().scenario(&format!("id={id}"));
        let seen = lab.run(&Spec { include_usage: *asks, ..spec }).unwrap();
        let facts = lab.facts_of(&id, 1).unwrap();
        assert_agree(&seen.calls[0], &facts[0], client);
        assert_eq!(
            (facts[0].host.as_str(), facts[0].usage_on_wire),
            (*host, *told),
            "{client} at {host}"
        );
        assert_eq!(facts[0].cost_usd.is_some(), *host == "openrouter.ai", "{host}");
    }
}
