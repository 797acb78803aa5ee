//! Programs with a TLS library of their own and no symbols: each of their calls is reported once, with exact tokens.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tollgate_tests::harness::{note, run, temp_folder};
use tollgate_tests::lab::clients::{Agent, Api, Kit, Running, Spec};
use tollgate_tests::lab::provider::fact::Fact;
use tollgate_tests::lab::{CLIENT_DEADLINE, Lab};

use crate::openssl::{assert_private, lab};
use crate::sensor::Sensor;

/// Counts that no default produces.
const USAGE: &str = "in=1001,cached=32,write=16,out=257";
/// Takes all agents of the lab, not only those of every run.
const ALL: &str = "TOLLGATE_ALL_AGENTS";

/// Has a program make its calls; returns the model calls that the provider answered.
fn ask(lab: &Lab, agent: &Agent, program: &Path, id: &str) -> Vec<Fact> {
    let before = lab.facts().len();
    let place = (lab.net().client(0).unwrap(), lab.ca_file());
    let prompt = format!("Say something, please. [[lab id={id},{USAGE}]]");
    agent.ask(program, (place.0, &place.1), &prompt).unwrap();
    let facts = lab.facts().split_off(before);
    facts.into_iter().filter(|fact| fact.operation == "messages" && fact.status == 200).collect()
}

fn assert_exact(sensor: &Sensor, facts: &[Fact], what: &str) -> Vec<Value> {
    assert!(!facts.is_empty(), "{what} made no call");
    let calls = facts.iter().map(|fact| {
        let call = sensor
            .call_of(fact)
            .unwrap_or_else(|error| panic!("{what}: {error:#}\n{}", sensor.log()));
        let usage = fact.usage.unwrap();
        for (name, count) in [
            ("gen_ai.usage.input_tokens", usage.all_input()),
            ("gen_ai.usage.output_tokens", usage.output),
        ] {
            assert_eq!(call[name].as_u64(), Some(count), "{what}: {name} in {call}");
        }
        if let Some(cost) = &fact.cost_usd {
            assert_eq!(call["tollgate.cost.usd"].as_str(), Some(cost.as_str()), "{what}");
        }
        assert_eq!(call["server.address"].as_str(), Some("api.anthropic.com"), "{what}");
        assert_eq!(call["tls.library"].as_str(), Some("boringssl"), "{what}");
        assert_eq!(call["tollgate.coverage"].as_str(), Some("complete"), "{what}");
        // With its ClientHello held back, a process gets its probes after it made the hello.
        let binding = call["tollgate.binding"].as_str().unwrap_or_default();
        assert!(["client_random", "wire_record"].contains(&binding), "{what}: {call}");
        call
    });
    calls.collect()
}

#[test]
fn every_call_of_agents_without_symbols_is_reported_once_and_exactly() {
    let lab = lab();
    let all = std::env::var_os(ALL).is_some();
    for agent in Kit::agents(all) {
        let program = agent.install().unwrap();
        let sensor = Sensor::start("hold_client_hello = true").unwrap();
        let what = agent.title();
        let facts = ask(&lab, agent, &program, "agent");
        let calls = assert_exact(&sensor, &facts, &what);
        let reported =
            sensor.calls().iter().filter(|call| call["gen_ai.response.id"].is_string()).count();
        assert_eq!(
            reported,
            calls.len(),
            "{what}: calls that the provider did not see\n{}",
            sensor.log()
        );
        note(&format!(
            "{what}: {} calls, by {}",
            calls.len(),
            calls[0]["tollgate.tls.resolved_by"]
        ));
        assert_private(&sensor);
    }
}

/// A copy of a program with another build-id: what a build would be that nobody knows.
fn unknown_build(program: &Path, folder: &Path) -> PathBuf {
    let copy = folder.join("unknown");
    fs::copy(program, &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    let note_of = Command::new("readelf").args(["-n"]).arg(program).output().unwrap();
    let text = String::from_utf8(note_of.stdout).unwrap();
    let id = text.split("Build ID: ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let id: Vec<u8> = id
        .as_bytes()
        .as_chunks::<2>()
        .0
        .iter()
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    let mut bytes = fs::read(&copy).unwrap();
    let at = bytes.windows(id.len()).position(|window| window == id).unwrap();
    bytes[at] ^= 0xff;
    fs::write(&copy, bytes).unwrap();
    copy
}

#[test]
fn build_that_nobody_knows_is_found_by_a_search() {
    let lab = lab();
    let agent = Kit::agents(false).next().unwrap();
    let folder = temp_folder("unknown").unwrap();
    let program = unknown_build(&agent.install().unwrap(), folder.path());
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    // The first run shows the file; its calls may be over before the search is.
    let _first = ask(&lab, agent, &program, "unknown-first");
    let facts = ask(&lab, agent, &program, "unknown-second");
    for call in assert_exact(&sensor, &facts, "an unknown build of Bun") {
        assert_eq!(call["tollgate.tls.resolved_by"].as_str(), Some("signature"));
    }
}

/// A copy of Node without any name of the TLS library: stripped, and those it exports renamed.
fn nameless_node(node: &Path, folder: &Path) -> PathBuf {
    let copy = folder.join("node");
    run(Command::new("strip").arg("--strip-all").arg("-o").arg(&copy).arg(node)).unwrap();
    let sections = Command::new("readelf").args(["-SW"]).arg(&copy).output().unwrap();
    let sections = String::from_utf8(sections.stdout).unwrap();
    let line = sections.lines().find(|line| line.contains(" .dynstr ")).unwrap();
    let fields: Vec<_> = line.split_whitespace().skip_while(|field| *field != ".dynstr").collect();
    let number = |at: usize| usize::from_str_radix(fields[at], 16).unwrap();
    let (offset, size) = (number(3), number(4));
    let mut bytes = fs::read(&copy).unwrap();
    let names = &mut bytes[offset..offset + size];
    for at in 1..names.len().saturating_sub(4) {
        if names[at - 1] == 0 && [&b"SSL_"[..], b"BIO_"].contains(&&names[at..at + 4]) {
            names[at] = b'X';
        }
    }
    fs::write(&copy, bytes).unwrap();
    copy
}

#[test]
fn openssl_without_names_is_found_by_its_errors() {
    let lab = lab();
    let folder = temp_folder("nameless").unwrap();
    let node = nameless_node(&lab.kit().node, folder.path());
    let kit = Kit { node, ..lab.kit().clone() };
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    for (number, counts) in [false, true].into_iter().enumerate() {
        let id = format!("nameless-{number}");
        let spec = Spec::new("node-fetch", Api::Messages).scenario(&format!("id={id},{USAGE}"));
        let client = Running::start(&kit, lab.net().client(0).unwrap(), &lab.ca_file(), &spec);
        client.unwrap().finish(CLIENT_DEADLINE).unwrap();
        let facts = lab.facts_of(&id, 1).unwrap();
        // The first run shows the file; its call may be over before the search is.
        if counts {
            let call = sensor.call_of(&facts[0]);
            let call = call.unwrap_or_else(|error| panic!("{error:#}\n{}", sensor.log()));
            assert_eq!(call["gen_ai.usage.output_tokens"].as_u64(), Some(257), "{call}");
            assert_eq!(call["tls.library"].as_str(), Some("openssl"));
            assert_eq!(call["tollgate.tls.resolved_by"].as_str(), Some("structure"));
        }
    }
}
