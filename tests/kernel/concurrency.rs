//! Many calls at once: each is reported on its own connection, and under load every call is seen or counted as lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tollgate_tests::harness::wait_until;
use tollgate_tests::lab::clients::load::Load;
use tollgate_tests::lab::clients::{Api, CLIENTS, Spec};

use crate::openssl::{assert_same, lab};
use crate::sensor::Sensor;

/// Calls in one process at the same time.
const AT_ONCE: u32 = 40;
/// Calls of the load.
const CALLS: u32 = 20_000;

fn forty_at_once(name: &'static str) {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let client = CLIENTS.iter().find(|client| client.name == name).unwrap();
    let id = format!("forty-{name}");
    let spec = Spec::new(name, client.apis[0])
        .calls(AT_ONCE, AT_ONCE)
        .scenario(&format!("id={id},first_ms=300"));
    lab.run(&spec).unwrap();
    let facts = lab.facts_of(&id, usize::try_from(AT_ONCE).unwrap()).unwrap();
    assert_eq!(facts.len(), usize::try_from(AT_ONCE).unwrap());
    for fact in &facts {
        let call = sensor
            .call_of(fact)
            .unwrap_or_else(|error| panic!("{name}: {error:#}\n{}", sensor.log()));
        assert_same(&call, fact, client, name);
        assert_ne!(call["tollgate.binding"].as_str(), Some("unique"), "{name}: bound by guess");
    }
    let ids: BTreeSet<_> = facts.iter().map(|fact| fact.id.clone()).collect();
    assert_eq!(ids.len(), facts.len());
}

#[test]
fn forty_calls_of_one_node_process_are_not_mixed() {
    forty_at_once("node-openai");
}

#[test]
fn forty_calls_of_one_asyncio_process_are_not_mixed() {
    forty_at_once("openai-async");
}

#[test]
fn under_load_every_call_is_seen_or_counted_as_lost() {
    let lab = lab();
    let sensor = Sensor::start("").unwrap();
    let load = Load {
        calls: CALLS,
        warm: true,
        scenario: "id=load,chunks=50,flush=batch".to_owned(),
        ..Load::default()
    };
    let mut running = lab.start_load(&load).unwrap();
    running.wait_ready(Duration::from_mins(1)).unwrap();
    running.go().unwrap();
    let figures = running.finish(Duration::from_mins(5)).unwrap();
    assert_eq!((figures.calls, figures.failed), (u64::from(CALLS), 0));
    // One call of each connection warms it up: the program was never seen before, and these may pass before the probes.
    let all = usize::try_from(CALLS.saturating_add(load.connections)).unwrap();
    let mut facts = lab.facts_of("load", all).unwrap();
    facts.retain(|fact| fact.t_request_ns >= figures.began_ns);
    assert_eq!(facts.len(), usize::try_from(CALLS).unwrap());
    let seen = || {
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for call in sensor.calls() {
            if let Some(id) = call["gen_ai.response.id"].as_str() {
                *seen.entry(id.to_owned()).or_default() += 1;
            }
        }
        seen
    };
    let lost = || -> u64 {
        let losses = sensor.events();
        losses.iter().filter_map(|event| event["tollgate.loss.records"].as_u64()).sum()
    };
    let accounted = wait_until(Duration::from_mins(1), "every call to be accounted for", || {
        let seen = seen();
        let missing = facts.iter().filter(|fact| !seen.contains_key(&fact.id)).count();
        (missing == 0 || lost() >= u64::try_from(missing).ok()?).then_some((seen, missing))
    });
    let (seen, missing) = accounted.unwrap_or_else(|error| {
        let seen = seen();
        let missing: Vec<_> =
            facts.iter().filter(|fact| !seen.contains_key(&fact.id)).take(3).collect();
        panic!(
            "{error:#}: {} calls seen, {} records lost, as {missing:?}\n{}",
            seen.len(),
            lost(),
            sensor.log()
        )
    });
    assert!(seen.values().all(|count| *count == 1), "a call was reported twice");
    assert!(missing == 0 || lost() > 0);
}

#[test]
fn api_of_the_load_is_chat() {
    // The load speaks chat completions; the sums above rely on their ids.
    assert!(CLIENTS.iter().any(|client| client.apis.contains(&Api::Chat)));
}
