//! An enforcing agent is ready while its proofs are refused, and not when somebody takes a part of the gate away.

use std::fs;
use std::time::Duration;

use anyhow::Context;
use tollgate_tests::harness::wait_until;

use crate::sensor::Sensor;

use super::place::Place;

/// A minute is promised; the proofs of these tests run every second.
const RED_DEADLINE: Duration = Duration::from_secs(20);

fn wait_ready(sensor: &Sensor) {
    let ready = || sensor.scrape("/readyz").ok().filter(|(status, _)| *status == 200).map(drop);
    wait_until(RED_DEADLINE, "a ready sensor", ready).with_context(|| sensor.log()).unwrap();
}

fn wait_red(sensor: &Sensor, why: &str) {
    let red = || {
        let (status, body) = sensor.scrape("/readyz").ok()?;
        (status == 503 && body.contains(why)).then_some(())
    };
    wait_until(RED_DEADLINE, &format!("readiness to say {why}"), red).unwrap();
}

#[test]
fn every_layer_is_proven_and_a_link_that_is_taken_away_makes_the_node_unready() {
    /// What is taken away, and what readiness then says.
    const CASES: [(&str, &str); 4] = [
        ("link_gate_connect4", "enforcement by links: the link of gate_connect4"),
        ("link_gate_sendmsg6", "enforcement by links: the link of gate_sendmsg6"),
        ("link_gate_state", "enforcement by links: the link of gate_state"),
        ("link_gate_exit", "enforcement by links: the link of gate_exit"),
    ];
    for (link, why) in CASES {
        let place = Place::new(link).unwrap();
        let orders = "deny_paths = [\"openai * /none\"]\n";
        let options = place.options(orders).unwrap();
        let sensor = Sensor::start(&options).unwrap();
        wait_ready(&sensor);
        let (_, metrics) = sensor.scrape("/metrics").unwrap();
        for layer in ["links", "address", "datagram", "name", "content", "change"] {
            let line = format!("tollgate_enforcement_layer_proven{{layer=\"{layer}\"}} 1");
            assert!(metrics.contains(&line), "{layer} is not proven");
        }
        let version = fs::read_dir(&place.pins).unwrap().next().unwrap().unwrap().path();
        fs::remove_file(version.join(link)).unwrap();
        wait_red(&sensor, why);
        let (_, metrics) = sensor.scrape("/metrics").unwrap();
        assert!(metrics.contains("tollgate_agent_ready 0"), "{link}");
    }
}

#[test]
fn probe_that_is_taken_away_makes_a_node_unready_that_judges_content() {
    for (orders, judges) in
        [("deny_paths = [\"openai * /none\"]\n", true), ("deny = [\"groq\"]\n", false)]
    {
        let place = Place::new(&format!("probe-{judges}")).unwrap();
        let options = place.options(orders).unwrap();
        let sensor = Sensor::start(&options).unwrap();
        wait_ready(&sensor);
        let version = fs::read_dir(&place.pins).unwrap().next().unwrap().unwrap().path();
        let own = fs::read_dir(version.join("probes")).unwrap().next().unwrap().unwrap().path();
        fs::remove_dir_all(own).unwrap();
        let line = "tollgate_enforcement_layer_proven{layer=\"content\"} 0";
        let fallen = || sensor.scrape("/metrics").ok().filter(|(_, text)| text.contains(line));
        wait_until(RED_DEADLINE, "the proof to fail", fallen).unwrap();
        let (status, _) = sensor.scrape("/readyz").unwrap();
        assert_eq!(status == 503, judges, "{orders}");
    }
}

#[test]
fn nothing_is_pinned_while_nothing_is_enforced_and_an_agent_told_so_takes_the_gate_away() {
    let place = Place::new("off").unwrap();
    let mut sensor = Sensor::start(&format!("[enforce]\npins = {:?}", place.pins)).unwrap();
    assert!(!place.is_pinned());
    sensor.restart_with(&place.options("").unwrap()).unwrap();
    assert!(place.is_pinned());
    sensor.stop().unwrap();
    assert!(place.is_pinned(), "the gate went with its agent");
    sensor.start_again_with(&format!("[enforce]\npins = {:?}", place.pins)).unwrap();
    assert!(!place.is_pinned(), "a gate stands that nobody asked for");
}
