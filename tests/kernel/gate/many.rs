//! Many rules and many calls: what is allowed is never refused, and a decision costs the same however many rules there are.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tollgate_tests::harness::{Process, note, number_from, temp_folder};
use tollgate_tests::lab::clients::load::Load;
use tollgate_tests::lab::clients::run::set_environment;
use tollgate_tests::lab::clients::{Api, Spec};
use tollgate_tests::lab::net::address_of;
use tollgate_tests::lab::{CLIENT_DEADLINE, Lab};

use crate::openssl::lab;
use crate::sensor::Sensor;

use super::place::Place;
use super::policies::{Folder, NO_GROQ, options, policy, wait_call};

/// Allowed calls in continuous integration; `TOLLGATE_GATE_ALLOWED` says how many by hand.
const ALLOWED: u32 = 2_000;
/// Rules of a large set.
const RULES: u32 = 1_000;
/// Rules of a small one.
const FEW: u32 = 10;
/// Batches of connections whose best counts, and connections in each.
const BATCHES: [&str; 2] = ["10", "200"];
/// What a decision may cost with a hundred times as many rules: a cost that grew with them would be a hundredfold.
const RATIO_MAX: f64 = 2.0;
/// Programs that decide: at the connect, and at each message with what it calls.
const DECIDING: [&str; 2] = ["gate_connect4", "gate_message"];

/// Rules about other providers, and about other models of the one that is called.
fn rules(count: u32) -> String {
    let mut text = NO_GROQ.to_owned();
    for number in 1..count {
        let provider =
            if number.is_multiple_of(2) { "openai".to_owned() } else { format!("p{number}") };
        let asked = format!("{{provider: {provider}, model: \"m-{number}-*\"}}");
        writeln!(text, "    - {{name: r{number}, action: deny, match: {asked}}}").unwrap();
    }
    text
}

#[test]
fn allowed_calls_under_a_thousand_rules_are_never_refused() {
    let lab = lab();
    let place = Place::whole("allowed").unwrap();
    let folder = Folder::new(&policy(&place, "enforce", &rules(RULES))).unwrap();
    let sensor = Sensor::start(&options(&place, folder.path())).unwrap();
    // The set is in force.
    wait_call(&place, &lab, "api.groq.com", false);
    let calls = number_from("TOLLGATE_GATE_ALLOWED").unwrap_or(ALLOWED);
    let before = refusals(&sensor);
    let load =
        Load { calls, scenario: "id=allowed,chunks=5,flush=batch".to_owned(), ..Load::default() };
    let figures = place.load(&lab, &load).unwrap();
    note(&format!("{calls} allowed calls under {RULES} rules: {figures:?}"));
    assert_eq!((figures.calls, figures.failed), (u64::from(calls), 0), "{}", sensor.log());
    assert_eq!(refusals(&sensor), before, "an allowed call was refused");
    let after = Spec::new("curl-h1", Api::Chat).host("api.groq.com").scenario("id=denied");
    assert!(place.run(&lab, &after).unwrap().calls[0].error.is_some(), "the set is not in force");
}

/// Decisions that refused something, of this sensor's gate.
fn refusals(sensor: &Sensor) -> usize {
    let is_one = |event: &&Value| {
        event["event.name"] == "tollgate.decision" && event["tollgate.decision"] == "deny"
    };
    sensor.events().iter().filter(is_one).count()
}

/// What one run of the deciding programs costs under so many rules, in nanoseconds.
fn cost(lab: &Lab, place: &Place, count: u32) -> Result<[f64; 2]> {
    let names: Vec<_> = (0..count).map(|number| format!("p{number}")).collect();
    let sensor = place.sensor(&format!("deny = {names:?}\n"))?;
    let folder = temp_folder("cost")?;
    let script = folder.path().join("cost.py");
    fs::write(&script, include_str!("../../clients/cost.py"))?;
    let address = address_of("api.openai.com").context("no address")?.to_string();
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{}", lab.net().client(0)?));
    command.arg(Path::new("/usr/bin/python3")).arg(&script).arg(sensor.pid().to_string());
    command.arg(&place.cgroup).args([&address, "api.openai.com"]).args(BATCHES);
    set_environment(&mut command, folder.path(), &lab.ca_file());
    let process = Process::start(&mut command, &folder.path().join("errors"))?;
    let line = process.line(CLIENT_DEADLINE)?.with_context(|| process.errors())?;
    let told: Value = serde_json::from_str(&line)?;
    note(&format!("{count} rules: {told}"));
    let mut costs = [0.0; 2];
    for (name, cost) in DECIDING.iter().zip(&mut costs) {
        *cost =
            told[*name]["ns"].as_f64().with_context(|| format!("{name} did not run: {told}"))?;
    }
    ensure!(costs.iter().all(|cost| *cost > 0.0), "{told}");
    Ok(costs)
}

#[test]
fn decision_costs_the_same_however_many_rules_there_are() {
    let lab = lab();
    let place = Place::new("cost").unwrap();
    let [few, many] = [FEW, RULES].map(|count| cost(&lab, &place, count).unwrap());
    for ((name, few), many) in DECIDING.iter().zip(few).zip(many) {
        let ratio = many / few;
        note(&format!(
            "{name}: {few:.0} ns with {FEW} rules, {many:.0} ns with {RULES}, ratio {ratio:.2}"
        ));
        assert!(ratio < RATIO_MAX, "{name}: {few} ns with {FEW} rules, {many} ns with {RULES}");
    }
}
