//! Other builds of OpenSSL than the system's, old and new, shared and static: each is found and its calls are exact.

use std::path::Path;

use tollgate_tests::lab::clients::runtimes::{self, NODES, Pair};
use tollgate_tests::lab::clients::{Api, CLIENTS, Running, Spec};
use tollgate_tests::lab::provider::fact::Fact;
use tollgate_tests::lab::{CLIENT_DEADLINE, Lab};

use crate::openssl::{assert_same, lab};
use crate::raw::{Raw, chat};
use crate::sensor::Sensor;

/// Counts that no default produces.
const USAGE: &str = "in=1001,cached=32,out=257,reasoning=19,chunks=5";

/// A call by a library's own functions, with another one of the system mapped in no case.
fn assert_library_is_seen(libraries: &Pair, id: &str, direct: bool) {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let knobs = format!("id={id},in=71,out=17");
    let raw = Raw {
        load: libraries.to_vec(),
        direct,
        messages: vec![chat(&knobs, ""), chat(&knobs, "connection: close\r\n")],
        ..Raw::default()
    };
    let talking = raw.start(&lab).unwrap();
    let pid = talking.pid();
    assert_eq!(talking.finish().unwrap(), [200, 200]);
    let facts = lab.facts_of(id, 2).unwrap();
    for fact in &facts {
        let call =
            sensor.call_of(fact).unwrap_or_else(|error| panic!("{error:#}\n{}", sensor.log()));
        assert_eq!(call["process.pid"].as_u64(), Some(u64::from(pid)), "{call}");
        assert_eq!(call["gen_ai.usage.input_tokens"].as_u64(), Some(71), "{call}");
        assert_eq!(call["gen_ai.usage.output_tokens"].as_u64(), Some(17), "{call}");
        assert_eq!(call["server.address"], "api.openai.com", "{call}");
        let address = fact.local.ip().to_string();
        assert_eq!(call["network.peer.address"].as_str(), Some(address.as_str()), "{call}");
    }
}

#[test]
fn openssl_1_1_of_debian_is_seen() {
    assert_library_is_seen(&runtimes::debian_1_1().unwrap(), "debian-1.1", true);
}

#[test]
fn openssl_1_1_that_a_package_carries_is_seen() {
    let lab = lab();
    assert_library_is_seen(&runtimes::bundled_1_1(lab.kit()).unwrap(), "bundled-1.1", true);
}

#[test]
fn openssl_3_that_a_package_carries_is_seen() {
    let lab = lab();
    assert_library_is_seen(&runtimes::bundled_3(lab.kit()).unwrap(), "bundled-3", true);
}

/// One streamed and one whole call of a Node of another release.
fn assert_node_is_seen(lab: &Lab, sensor: &Sensor, node: &Path, id: &str) {
    let mut kit = lab.kit().clone();
    kit.node = node.to_owned();
    for (name, stream) in [("node-fetch", true), ("node-http2", false)] {
        let row = CLIENTS.iter().find(|client| client.name == name).unwrap();
        let own = format!("{id}-{name}");
        let mut spec = Spec::new(name, Api::Chat).scenario(&format!("id={own},{USAGE}"));
        spec.stream = stream;
        let namespace = lab.net().client(0).unwrap();
        let running = Running::start(&kit, namespace, &lab.ca_file(), &spec).unwrap();
        let pid = running.pid();
        running.finish(CLIENT_DEADLINE).unwrap();
        let facts: Vec<Fact> = lab.facts_of(&own, 1).unwrap();
        let calls = sensor.calls_by(pid, 1).unwrap_or_else(|error| panic!("{own}: {error:#}"));
        assert_same(&calls[0], &facts[0], row, &own);
        let executable = calls[0]["process.executable.path"].as_str().unwrap();
        assert_eq!(executable, node.display().to_string(), "{own}");
    }
}

#[test]
fn every_line_of_node_is_seen() {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    for version in NODES {
        let node = runtimes::node(version).unwrap();
        let node = std::fs::canonicalize(node).unwrap();
        assert_node_is_seen(&lab, &sensor, &node, &format!("node-{version}"));
    }
}
