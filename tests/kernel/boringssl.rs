//! Agents and runtimes with a TLS library of their own, as npm serves them: each call is reported once, exactly.

use std::fs::File;
use std::path::Path;

use sensor_user::probes::Planner;
use serde_json::Value;
use tollgate_tests::harness::note;
use tollgate_tests::lab::Lab;
use tollgate_tests::lab::clients::{Agent, Kit};
use tollgate_tests::lab::provider::fact::Fact;
use tollgate_tests::matrix;

use crate::openssl::{assert_private, lab};
use crate::rows::row;
use crate::sensor::Sensor;

/// Lines about times that are shown of one sensor.
const TIMES_SHOWN: usize = 8;
/// Counts that no default produces.
const USAGE: &str = "in=1001,cached=32,write=16,out=257";
/// Takes all agents of the lab, not only those of every run.
const ALL: &str = "TOLLGATE_ALL_AGENTS";
/// Makes every request longer than a handshake that fails.
const PADDING: &str = " Not a word more than that, as always.";

/// Whether a run takes all agents.
pub(crate) fn all() -> bool {
    std::env::var_os(ALL).is_some()
}

/// Has a program make its calls; returns the model calls that the provider answered.
pub(crate) fn ask(lab: &Lab, agent: &Agent, program: &Path, id: &str) -> Vec<Fact> {
    let before = lab.facts().len();
    let place = (lab.net().client(0).unwrap(), lab.ca_file());
    let padding = PADDING.repeat(128);
    let prompt = format!("Say something, please. [[lab id={id},{USAGE}]]{padding}");
    agent.ask(program, (place.0, &place.1), &prompt).unwrap();
    let facts = lab.facts().split_off(before);
    let is_model = |fact: &Fact| matches!(fact.operation.as_str(), "messages" | "responses");
    facts.into_iter().filter(|fact| is_model(fact) && matches!(fact.status, 101 | 200)).collect()
}

/// Compares each call with what the provider knows of it; returns the calls.
pub(crate) fn assert_exact(
    sensor: &Sensor,
    facts: &[Fact],
    library: &str,
    what: &str,
) -> Vec<Value> {
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
        assert_eq!(call["server.address"].as_str(), Some(fact.host.as_str()), "{what}");
        assert_eq!(call["tls.library"].as_str(), Some(library), "{what}");
        assert_eq!(call["tollgate.coverage"].as_str(), Some("complete"), "{what}");
        // With its ClientHello held back, a process gets its probes after it made the hello.
        let binding = call["tollgate.binding"].as_str().unwrap_or_default();
        assert!(["client_random", "wire_record"].contains(&binding), "{what}: {call}");
        call
    });
    calls.collect()
}

/// Shows how long the first probes and searches took, by the sensor's own log.
pub(crate) fn show_times(sensor: &Sensor, what: &str) {
    let log = sensor.log();
    let said = log.lines().filter_map(|line| {
        let searched = line.contains("file searched") && line.contains("found=true");
        let probed = line.contains("probes set") && !line.contains("probes=0");
        line.split_once("sensor_user::agent").filter(|_| searched || probed)
    });
    // Beside this test, others start processes as well.
    for (_, said) in said.take(TIMES_SHOWN) {
        note(&format!("{what}: {said}"));
    }
}

/// Whether a program needs no search: it has symbols, or a row in the table of builds that comes with the sensor.
fn is_known(program: &Path) -> bool {
    Planner::default().plan(&File::open(program).unwrap()).unwrap().carries_data()
}

fn check(lab: &Lab, agent: &Agent, library: &str) {
    let program = agent.install().unwrap();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let what = agent.title();
    // The first run shows a file that nobody knows; its calls may be over before the search is.
    let shown = if is_known(&program) {
        Vec::new()
    } else {
        let shown = ask(lab, agent, &program, "agent-first");
        sensor.wait_searched(&program).unwrap();
        shown
    };
    let facts = ask(lab, agent, &program, "agent");
    let calls = assert_exact(&sensor, &facts, library, &what);
    // Other tests make calls meanwhile: only what this test's own provider answered counts.
    let (own, _number) = facts[0].id.split_at(facts[0].id.len().saturating_sub(8));
    let counted = |call: &Value| {
        let id = call["gen_ai.response.id"].as_str();
        id.is_some_and(|id| id.starts_with(own) && shown.iter().all(|fact| fact.id != id))
    };
    let reported = sensor.calls().iter().filter(|call| counted(call)).count();
    assert_eq!(reported, calls.len(), "{what}: calls that were not made\n{}", sensor.log());
    // Known by now, so that its probes are set as it starts.
    let again = ask(lab, agent, &program, "agent-again");
    assert_exact(&sensor, &again, library, &what);
    show_times(&sensor, &what);
    assert_private(&sensor);
    matrix::hold(&row(agent.name, agent.version, &calls)).unwrap();
}

#[test]
fn every_call_of_agents_without_symbols_is_reported_once_and_exactly() {
    let lab = lab();
    for agent in Kit::agents(&["Bun", "Claude Code", "opencode"], all()) {
        check(&lab, agent, "boringssl");
    }
}

#[test]
fn every_call_of_agents_on_rustls_is_reported_once_and_exactly() {
    let lab = lab();
    for agent in Kit::agents(&["Codex"], all()) {
        check(&lab, agent, "rustls");
    }
}

#[test]
fn every_call_of_deno_is_reported_once_and_exactly() {
    let lab = lab();
    for agent in Kit::agents(&["Deno", "openai (npm) on Deno"], all()) {
        check(&lab, agent, "rustls");
    }
}

#[test]
fn every_call_of_node_as_npm_serves_it_is_reported_once_and_exactly() {
    let lab = lab();
    for agent in Kit::agents(&["Node"], all()) {
        check(&lab, agent, "openssl");
    }
}
