//! A panic about a key or a model stops its requests, of processes that nothing else judges too, and no others.

use std::process::Command;

use serde_json::Value;
use tollgate_tests::harness::wait_until;
use tollgate_tests::lab::clients::{Api, SeenCall, Spec};
use tollgate_tests::lab::provider::fact::Fact;
use tollgate_tests::lab::{CLIENT_DEADLINE, Lab};

use crate::openssl::lab;
use crate::sensor::{Sensor, binary};

use super::layers::{OTHER_KEY, assert_both, assert_told, both, make_known, specs};
use super::panic::panic;
use super::place::{Client, Place};

/// Clients with the calls they make at once.
const CLIENTS: [(&str, u32); 4] =
    [("requests", 1), ("aiohttp", 40), ("node-fetch", 40), ("curl-h1", 1)];
/// A model that no other test asks for: a panic about it is about every process of the machine.
const MODEL: &str = "gpt-4.1-nano";

/// The fingerprint under which the sensor tells of a key.
fn fingerprint_of(lab: &Lab, place: &Place, sensor: &Sensor) -> String {
    let mut known = Spec::new("requests", Api::Chat).scenario("id=fingerprint");
    OTHER_KEY.clone_into(&mut known.api_key);
    place.run(lab, &known).unwrap();
    let fact = lab.facts_of("fingerprint", 1).unwrap().remove(0);
    let call = sensor.call_of(&fact).unwrap();
    call["tollgate.credential.fingerprint"].as_str().unwrap().to_owned()
}

#[test]
fn panic_about_a_key_stops_its_requests_and_those_with_another_key_pass() {
    let lab = lab();
    let place = Place::whole("panic-key").unwrap();
    // Nothing but the panic judges content.
    let sensor = place.sensor("").unwrap();
    let fingerprint = fingerprint_of(&lab, &place, &sensor);
    for (name, _) in CLIENTS {
        make_known(&place, &lab, name);
    }
    let on = ["on", "--key", &fingerprint, "--for", "600", "--reason", "that key leaked"];
    panic(&sensor, &on).unwrap();
    let (status, _) = panic(&sensor, &["status"]).unwrap();
    assert!(status.ends_with(&format!(", key {fingerprint}: that key leaked\n")), "{status}");
    for (name, at_once) in CLIENTS {
        let (bad, good) = (format!("leaked-{name}"), format!("safe-{name}"));
        let host = "api.openai.com";
        let [mut denied, allowed] =
            specs(name, at_once, [(host, Api::Chat, &bad), (host, Api::Chat, &good)]);
        OTHER_KEY.clone_into(&mut denied.api_key);
        let seen = both(&place, &lab, denied, allowed);
        assert_both(&lab, &sensor, name, [&bad, &good], &seen);
    }
    assert_eq!(lab.server().stray_bytes(), 0, "a part of a denied request arrived");
    assert_told(&sensor, "content", "that key leaked", "EACCES");
    assert_eq!(panic(&sensor, &["off", "--key", &fingerprint]).unwrap().0, "1 panics lifted\n");
    let mut again = Spec::new("requests", Api::Chat).scenario("id=again");
    OTHER_KEY.clone_into(&mut again.api_key);
    assert!(place.run(&lab, &again).unwrap().calls[0].is_complete());
}

/// A client that has made two calls on one connection, and waits.
fn waiting(place: &Place, lab: &Lab, id: &str) -> Client {
    let mut spec =
        Spec::new("requests", Api::Chat).calls(2, 1).two_phases().scenario(&format!("id={id}"));
    MODEL.clone_into(&mut spec.model);
    let client = place.start(lab, &spec).unwrap();
    while client.process.line(CLIENT_DEADLINE).unwrap().as_deref() != Some("ready") {}
    client
}

/// Has it make two more; none of them arrives.
fn assert_stopped(lab: &Lab, mut client: Client, id: &str) {
    client.process.tell("go").unwrap();
    let seen = client.finish().unwrap();
    let failed = seen.calls.iter().filter(|call| call.error.is_some()).count();
    assert_eq!(failed, 2, "{seen:?}");
    // A model stands in the body; the head may leave in a write of its own.
    let bodies = |fact: &&Fact| fact.scenario == id && fact.request_bytes > 0;
    let facts = lab.facts();
    let arrived = facts.iter().filter(bodies).count();
    assert_eq!(arrived, 2, "more arrived than the calls before the panic: {facts:#?}");
}

#[test]
fn panic_about_a_model_stops_open_connections_also_without_an_agent_and_ends_by_itself() {
    const SECONDS: &str = "12";
    let lab = lab();
    for (orders, what) in [("", "unjudged"), ("deny_paths = [\"openai * /none\"]\n", "judged")] {
        let place = Place::whole(&format!("panic-{what}")).unwrap();
        let mut sensor = place.sensor(orders).unwrap();
        make_known(&place, &lab, "requests");
        let [first, second, third] = ["open", "alone", "after"].map(|one| format!("{one}-{what}"));
        let [client, orphan, mut patient] =
            [&first, &second, &third].map(|id| waiting(&place, &lab, id));
        let on = ["on", "--model", MODEL, "--for", "600", "--reason", "a wrong model"];
        panic(&sensor, &on).unwrap();
        assert_stopped(&lab, client, &first);
        let mut other = Spec::new("requests", Api::Chat).scenario("id=other-model");
        "gpt-4o".clone_into(&mut other.model);
        assert!(place.run(&lab, &other).unwrap().calls[0].is_complete(), "{}", sensor.log());
        panic(&sensor, &["off", "--all"]).unwrap();

        // A process that was probed stays so when its agent is gone.
        sensor.kill().unwrap();
        let on = ["on", "--model", MODEL, "--for", SECONDS, "--reason", "alone"];
        panic(&sensor, &on).unwrap();
        // Nobody but the pinned maps can say what it is about.
        let (status, _) = panic(&sensor, &["status"]).unwrap();
        assert!(status.ends_with(&format!(", model {MODEL}: alone\n")), "{status}");
        assert_stopped(&lab, orphan, &second);
        let is_over = || {
            let (told, _) = panic(&sensor, &["status"]).unwrap();
            (told == "no panic is on\n").then_some(())
        };
        wait_until(CLIENT_DEADLINE, "the panic to end", is_over).unwrap();
        patient.process.tell("go").unwrap();
        let seen = patient.finish().unwrap();
        assert!(seen.calls.iter().all(SeenCall::is_complete), "{seen:?}");
        assert_eq!(lab.facts_of(&third, 4).unwrap().len(), 4);
    }
}

#[test]
fn call_over_http_2_that_a_panic_is_about_is_told_and_its_connection_is_cut() {
    let lab = lab();
    let place = Place::whole("panic-h2").unwrap();
    let sensor = place.sensor("").unwrap();
    make_known(&place, &lab, "httpx-h2");
    let on = ["on", "--model", MODEL, "--for", "600", "--reason", "a wrong model"];
    panic(&sensor, &on).unwrap();
    let mut spec = Spec::new("httpx-h2", Api::Chat).two_phases().scenario("id=shared");
    MODEL.clone_into(&mut spec.model);
    let mut client = place.start(&lab, &spec).unwrap();
    while client.process.line(CLIENT_DEADLINE).unwrap().as_deref() != Some("ready") {}
    assert_told(&sensor, "request", "a wrong model", "ECONNABORTED");
    client.process.tell("go").unwrap();
    client.finish().unwrap();
}

#[test]
fn panic_about_a_key_is_refused_where_nobody_is_judged() {
    let place = Place::new("panic-nobody").unwrap();
    let sensor = Sensor::start(&format!("[enforce]\npins = {:?}", place.pins)).unwrap();
    let output = Command::new(binary().unwrap())
        .args(["panic", "--config"])
        .arg(sensor.config())
        .args(["on", "--key", &"0".repeat(32), "--for", "60", "--reason", "x"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("enforce.enabled"), "{said}");
    assert!(!place.is_pinned());
    let told =
        sensor.events().iter().any(|event: &Value| event["event.name"] == "tollgate.decision");
    assert!(!told);
}
