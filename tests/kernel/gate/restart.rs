//! The agent dies and comes back while clients call: what is denied stays denied at every moment.

use std::time::Instant;

use tollgate_tests::harness::number_from;
use tollgate_tests::lab::CLIENT_DEADLINE;
use tollgate_tests::lab::clients::{Api, SeenCall, Spec};

use crate::openssl::lab;

use super::place::Place;

/// Deaths of the agent in each test, or as many as `TOLLGATE_GATE_ROUNDS` says.
fn rounds() -> u32 {
    number_from("TOLLGATE_GATE_ROUNDS").unwrap_or(3)
}

#[test]
fn denied_name_stays_denied_while_the_agent_is_killed_and_starts_again() {
    let lab = lab();
    let place = Place::new("dead-name").unwrap();
    let mut sensor = place.sensor("deny = [\"groq\"]\n").unwrap();
    for round in 0..rounds() {
        let denied = Spec::new("openai-async", Api::Chat)
            .host("api.groq.com")
            .calls(400, 10)
            .scenario("id=dead");
        let good = format!("alive-{round}");
        let allowed = Spec::new("openai-async", Api::Chat).scenario(&format!("id={good}"));
        let running = place.start(&lab, &denied.beside(allowed)).unwrap();
        sensor.kill_and_restart().unwrap();
        let seen = running.finish().unwrap();
        let (allowed, denied): (Vec<_>, Vec<_>) =
            seen.calls.into_iter().partition(|call| call.beside);
        assert!(denied.iter().all(|call| call.error.is_some()), "a denied call succeeded");
        let failed = allowed.iter().find(|call| !call.is_complete());
        assert!(failed.is_none(), "{failed:?}\n{}", sensor.log());
    }
    assert!(lab.facts().iter().all(|fact| fact.scenario != "dead" && fact.sni != "api.groq.com"));
}

#[test]
fn denied_request_stays_denied_on_probed_processes_while_the_agent_is_killed_and_starts_again() {
    let lab = lab();
    let place = Place::new("dead-path").unwrap();
    let orders = "deny_paths = [\"openai POST /v1/embeddings\"]\n";
    let mut sensor = place.sensor(orders).unwrap();
    let known = Spec::new("aiohttp", Api::Chat).scenario("id=known");
    place.run(&lab, &known).unwrap();
    for round in 0..rounds() {
        let (bad, good) = ("dead-path".to_owned(), format!("alive-path-{round}"));
        let spec = |api, id: &str| {
            Spec::new("aiohttp", api).two_phases().calls(100, 10).scenario(&format!("id={id}"))
        };
        let both = spec(Api::Embeddings, &bad).beside(spec(Api::Chat, &good));
        let mut running = place.start(&lab, &both).unwrap();
        let began = Instant::now();
        while running.process.line(CLIENT_DEADLINE).unwrap().as_deref() != Some("ready") {
            assert!(began.elapsed() < CLIENT_DEADLINE, "the client is not ready");
        }
        sensor.kill().unwrap();
        running.process.tell("go").unwrap();
        sensor.start_again().unwrap();
        let seen = running.finish().unwrap();
        let (allowed, denied): (Vec<_>, Vec<_>) =
            seen.calls.into_iter().partition(|call| call.beside);
        assert!(denied.iter().all(|call| call.error.is_some()), "a denied call succeeded");
        let failed: Vec<&SeenCall> = allowed.iter().filter(|call| !call.is_complete()).collect();
        assert!(failed.is_empty(), "{} failed: {:?}\n{}", failed.len(), failed[0], sensor.log());
    }
    assert!(lab.facts().iter().all(|fact| fact.scenario != "dead-path"));
    assert_eq!(lab.server().stray_bytes(), 0, "a part of a denied request arrived");
}
