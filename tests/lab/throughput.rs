//! A load over libssl comes in; enough calls a second, each with every event, go out.

use tollgate_tests::lab::clients::load::Load;
use tollgate_tests::lab::net::Options;
use tollgate_tests::lab::provider::fact::Outcome;
use tollgate_tests::lab::{CLIENT_DEADLINE, Lab};

/// Events of one stream of 50 content chunks: the role, the end and the usage come on top.
const EVENTS: u64 = 53;

#[test]
fn twenty_thousand_streams_are_served_whole() {
    let lab = Lab::up(&Options::default()).expect("the lab needs root and the packages it names");
    let load = Load::default();
    let figures = lab.start_load(&load).unwrap().finish(CLIENT_DEADLINE).unwrap();
    assert_eq!((figures.calls, figures.failed), (20_000, 0));
    assert_eq!(figures.events, 20_000 * EVENTS);
    let facts = lab.facts_of("load", 20_000).unwrap();
    assert!(facts.iter().all(|fact| fact.outcome == Outcome::Complete && fact.chunks == 50));
    assert!(facts.iter().all(|fact| fact.request_bytes == 4096 && fact.usage_on_wire));
}

#[test]
fn a_warm_load_with_a_rate_keeps_it() {
    let lab = Lab::up(&Options::default()).expect("the lab needs root and the packages it names");
    let scenario = "id=paced,chunks=5".to_owned();
    let load = Load { calls: 400, rate: 400, warm: true, scenario, ..Load::default() };
    let mut running = lab.start_load(&load).unwrap();
    running.wait_ready(CLIENT_DEADLINE).unwrap();
    lab.facts_of("paced", 8).unwrap();
    running.go().unwrap();
    let figures = running.finish(CLIENT_DEADLINE).unwrap();
    assert_eq!((figures.calls, figures.failed), (400, 0));
    assert!(figures.rate() <= 410, "{}", figures.rate());
    // Eight calls warmed the connections up.
    assert_eq!(lab.facts_of("paced", 408).unwrap().len(), 408);
}
