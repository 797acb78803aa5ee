//! Policies that tell the hosts of one provider apart: the forbidden one is refused by its name, the others are reached.

use std::time::Duration;

use serde_json::Value;
use tollgate_tests::harness::wait_until;
use tollgate_tests::lab::CLIENT_DEADLINE;
use tollgate_tests::lab::clients::{Api, SeenCall, Spec};
use tollgate_tests::lab::provider::fact::Fact;

use crate::openssl::lab;
use crate::sensor::Sensor;

use super::layers::{assert_both, assert_told, both, make_known, specs};
use super::panic::panic;
use super::place::Place;
use super::policies::{Folder, NOTHING, options, policy, wait_call, wait_state};

const CLIENTS: [(&str, u32); 5] =
    [("requests", 1), ("openai-async", 40), ("node-fetch", 40), ("curl-h1", 1), ("curl-h2", 1)];
/// A forbidden host, and another one of the same provider.
const PAIRS: [[&str; 2]; 2] =
    [["eu.api.openai.com", "api.openai.com"], ["myco.openai.azure.com", "other.openai.azure.com"]];
const NO_HOSTS: &str = "    - {name: no-host, action: deny, match: {host: [eu.api.openai.com, myco.openai.azure.com]}}\n";

#[test]
fn host_that_policies_forbid_is_never_told_a_byte_and_other_hosts_of_its_provider_are_reached() {
    let lab = lab();
    let place = Place::whole("hosts").unwrap();
    let folder = Folder::new(&policy(&place, "enforce", NO_HOSTS)).unwrap();
    let sensor = Sensor::start(&options(&place, folder.path())).unwrap();
    wait_state(&sensor, "policies_accepted", 1);
    for (name, at_once) in CLIENTS {
        for (number, [forbidden, open]) in PAIRS.into_iter().enumerate() {
            let [bad, good] = ["denied", "allowed"].map(|what| format!("{what}-{name}-{number}"));
            let [denied, allowed] =
                specs(name, at_once, [(forbidden, Api::Chat, &bad), (open, Api::Chat, &good)]);
            let seen = both(&place, &lab, denied, allowed);
            assert_both(&lab, &sensor, name, [&bad, &good], &seen);
            assert!(lab.facts().iter().all(|fact| fact.sni != forbidden), "{name}");
        }
    }
    assert_eq!(lab.server().stray_bytes(), 0, "a part of a denied request arrived");
    assert_told(&sensor, "name", "test/no-host: ask us", "EACCES");
    let told = sensor.events().into_iter().find(|event| event["tollgate.layer"] == "name");
    assert_eq!(told.unwrap()["gen_ai.provider.name"], "openai");
}

#[test]
fn only_the_hosts_that_policies_allow_are_reached_where_the_rest_is_denied() {
    const ONLY_EU: &str =
        "    - {name: only-eu, action: allow, match: {host: eu.api.openai.com}}\n";
    let lab = lab();
    let place = Place::whole("only-host").unwrap();
    let text = policy(&place, "enforce", ONLY_EU).replace("default: allow", "default: deny");
    let folder = Folder::new(&text).unwrap();
    let sensor = Sensor::start(&options(&place, folder.path())).unwrap();
    wait_state(&sensor, "policies_accepted", 1);
    for host in ["api.openai.com", "api.groq.com", "other.openai.azure.com"] {
        wait_call(&place, &lab, host, false);
    }
    wait_call(&place, &lab, "eu.api.openai.com", true);
    assert!(lab.facts().iter().all(|fact| fact.sni == "eu.api.openai.com"));
}

#[test]
fn model_that_is_forbidden_at_one_host_is_asked_for_at_another() {
    const NOT_THERE: &str = "    - {name: not-there, action: deny, match: {host: eu.api.openai.com, model: gpt-4o-mini}}\n";
    let lab = lab();
    let place = Place::whole("host-model").unwrap();
    let folder = Folder::new(&policy(&place, "enforce", NOT_THERE)).unwrap();
    let sensor = Sensor::start(&options(&place, folder.path())).unwrap();
    wait_state(&sensor, "policies_accepted", 1);
    for (name, at_once) in [("requests", 1), ("node-fetch", 40), ("curl-h1", 1)] {
        make_known(&place, &lab, name);
        let [bad, good] = ["denied", "allowed"].map(|what| format!("model-{what}-{name}"));
        let [forbidden, open] = PAIRS[0];
        let [denied, allowed] =
            specs(name, at_once, [(forbidden, Api::Chat, &bad), (open, Api::Chat, &good)]);
        let [denied, allowed] = both(&place, &lab, denied, allowed);
        assert!(denied.iter().all(|call| call.error.is_some()), "{name}: {denied:?}");
        assert!(allowed.iter().all(SeenCall::is_complete), "{name}\n{}", sensor.log());
        let arrived = |fact: &&_| is_body(fact, &bad);
        assert_eq!(lab.facts().iter().filter(arrived).count(), 0, "{name}\n{}", sensor.log());
    }
    assert_told(&sensor, "content", "test/not-there: ask us", "EACCES");
}

/// Whether a request of a scenario arrived with something in its body.
fn is_body(fact: &Fact, id: &str) -> bool {
    fact.scenario == id && fact.request_bytes > 0
}

#[test]
fn panic_about_a_provider_stops_the_hosts_that_policies_tell_apart() {
    const KNOWN: &str = "    - {name: eu, action: alert, match: {host: eu.api.openai.com}}\n";
    let lab = lab();
    let place = Place::whole("host-panic").unwrap();
    let folder = Folder::new(&policy(&place, "enforce", KNOWN)).unwrap();
    let sensor = Sensor::start(&options(&place, folder.path())).unwrap();
    wait_state(&sensor, "policies_accepted", 1);
    for host in PAIRS[0] {
        wait_call(&place, &lab, host, true);
    }
    let scope = ["--provider", "openai", "--for", "60", "--reason", "a leak"];
    panic(&sensor, &[&["on"], scope.as_slice()].concat()).unwrap();
    for host in PAIRS[0] {
        let spec = Spec::new("curl-h1", Api::Chat).host(host).scenario("id=panic");
        let seen = place.run(&lab, &spec).unwrap();
        assert!(seen.calls.iter().all(|call| call.error.is_some()), "{host}: {seen:?}");
    }
    panic(&sensor, &["off", "--all"]).unwrap();
    wait_call(&place, &lab, PAIRS[0][0], true);
}

#[test]
fn open_connection_to_a_host_that_is_forbidden_later_is_cut_and_one_to_another_host_is_not() {
    let lab = lab();
    let place = Place::whole("host-open").unwrap();
    let closing = |rules| {
        policy(&place, "enforce", rules).replace("  reason:", "  existing: close\n  reason:")
    };
    let mut folder = Folder::new(&closing(NOTHING)).unwrap();
    let sensor = Sensor::start(&options(&place, folder.path())).unwrap();
    let read_twice = || (sensor.log().matches("the gate is told").count() > 1).then_some(());
    wait_until(CLIENT_DEADLINE, "the second reading of the folder", read_twice).unwrap();
    let [forbidden, open] = PAIRS[0].map(|host| place.pulse(&lab, host).unwrap());
    let told = |client: &super::place::Client| -> Value {
        serde_json::from_str(&client.process.line(CLIENT_DEADLINE).unwrap().unwrap()).unwrap()
    };
    for client in [&forbidden, &open] {
        for _ in 0..2 {
            assert_eq!(told(client)["errno"], 0);
        }
    }
    folder.put(&closing(NO_HOSTS)).unwrap();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let change = told(&forbidden);
        assert_ne!(change["errno"], 0, "{change}\n{}", sensor.log());
        seen.push(change["what"].clone());
    }
    assert_ne!(seen[0], seen[1]);
    folder.put(&closing(NOTHING)).unwrap();
    for _ in 0..2 {
        assert_eq!(told(&forbidden)["errno"], 0);
    }
    // The other one tells of changes only, and has had none.
    let change = open.process.line(Duration::ZERO);
    assert!(change.is_err(), "{change:?}");
}
