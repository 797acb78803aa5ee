//! Each client runs its work many times with and without the sensor: it ends the same, and how long it takes is compared.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::json;
use tollgate_tests::harness::{note, number_from, wait_until};
use tollgate_tests::lab::clients::{CLIENTS, SeenCall, Spec};
use tollgate_tests::lab::net::Options;
use tollgate_tests::lab::{CLIENT_DEADLINE, Lab};

use crate::alone;
use crate::sensor::Sensor;

/// Runs of each client in continuous integration; `TOLLGATE_RUNS` says how many by hand.
const RUNS: u32 = 4;
/// Turns in which they are made, half of them beside a sensor.
const TURNS: u32 = 4;
/// One client of each stack and protocol.
const ASKED: [&str; 9] = [
    "curl-h1",
    "curl-h2",
    "requests",
    "httpx-h2",
    "openai-sync",
    "node-fetch",
    "node-http2",
    "reqwest-h2",
    "reqwest-bare-h1",
];

/// Runs a client so many times; each run has to end well.
fn turn(lab: &Lab, name: &str, id: &str, count: u32) -> Vec<Duration> {
    let client = CLIENTS.iter().find(|client| client.name == name).unwrap();
    let spec = Spec::new(name, client.apis[0]).scenario(&format!("id={id}"));
    let one = |_| {
        let began = Instant::now();
        let seen = lab.run(&spec).unwrap_or_else(|error| panic!("{id}: {error:#}"));
        assert!(seen.calls.iter().all(SeenCall::is_complete), "{id}: {seen:?}");
        began.elapsed()
    };
    (0..count).map(one).collect()
}

/// Waits until every call of a turn is reported.
fn wait_seen(lab: &Lab, sensor: &Sensor, id: &str, count: u32) {
    let facts = lab.facts_of(id, usize::try_from(count).unwrap()).unwrap();
    let ids: BTreeSet<_> = facts.iter().map(|fact| fact.id.as_str()).collect();
    let seen = || {
        let calls = sensor.calls();
        let told = calls.iter().filter_map(|call| call["gen_ai.response.id"].as_str());
        told.filter(|id| ids.contains(id)).count()
    };
    let all = || (seen() == ids.len()).then_some(());
    wait_until(CLIENT_DEADLINE, "the calls of a turn", all)
        .unwrap_or_else(|error| panic!("{id}: {error}: {} of {count}\n{}", seen(), sensor.log()));
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}

#[test]
fn clients_end_the_same_with_and_without_the_sensor() {
    let _turn = alone();
    let lab = Lab::up(&Options::default()).unwrap();
    let runs = number_from("TOLLGATE_RUNS").unwrap_or(RUNS);
    let each = runs.div_ceil(TURNS / 2);
    let mut times: BTreeMap<(&str, bool), Vec<Duration>> = BTreeMap::new();
    for number in 0..TURNS {
        // Alone, beside, beside, alone: a drift of the machine favours nobody.
        let beside = matches!(number % 4, 1 | 2);
        let sensor = beside.then(|| Sensor::start("hold_client_hello = true").unwrap());
        for name in ASKED {
            let id = format!("runs-{name}-{number}");
            turn(&lab, name, &format!("first-{id}"), 1);
            times.entry((name, beside)).or_default().extend(turn(&lab, name, &id, each));
            if let Some(sensor) = &sensor {
                wait_seen(&lab, sensor, &id, each);
            }
        }
    }
    for name in ASKED {
        let [alone, beside] =
            [false, true].map(|beside| median(&mut times.get_mut(&(name, beside)).unwrap()[..]));
        let told = json!({"client": name, "runs": runs, "alone_ms": alone, "beside_ms": beside});
        note(&format!("runs: {told}"));
    }
}
