//! `tollgate panic` stops open and new connections of its scope, without an agent too, and ends by itself.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tollgate_tests::harness::{monotonic_ns, note, wait_until};
use tollgate_tests::lab::CLIENT_DEADLINE;
use tollgate_tests::lab::clients::{Api, SeenCall, Spec};

use crate::openssl::lab;
use crate::sensor::{Sensor, binary};

use super::place::{Client, Place};

/// Between the command's return and the first refusal, at the median of the rounds.
const IN_FORCE_MAX_NS: i128 = 10_000_000;
const ROUNDS: usize = 5;
/// `EACCES`, `ECONNABORTED`: a refused write, and a connection that was cut.
const REFUSED: [i64; 2] = [13, 103];

/// Runs `tollgate panic`; gives what it printed and when it had ended.
pub(super) fn panic(sensor: &Sensor, arguments: &[&str]) -> Result<(String, u64)> {
    let output = Command::new(binary()?)
        .args(["panic", "--config"])
        .arg(sensor.config())
        .args(arguments)
        .output()
        .context("running tollgate panic")?;
    let ended = monotonic_ns();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok((String::from_utf8(output.stdout)?, ended))
}

/// The next change of one kind that the script tells.
fn change(pulse: &Client, what: &str) -> Value {
    loop {
        let line = pulse.process.line(CLIENT_DEADLINE).unwrap().unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        if told["what"] == what {
            return told;
        }
    }
}

/// Waits for a change of both kinds; gives them as `new`, `open`.
fn changes(pulse: &Client) -> [Value; 2] {
    let mut found = [None, None];
    while found.iter().any(Option::is_none) {
        let line = pulse.process.line(CLIENT_DEADLINE).unwrap().unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        let place = usize::from(told["what"] == "open");
        found[place] = Some(told);
    }
    found.map(Option::unwrap)
}

#[test]
fn panic_is_in_force_for_open_and_new_connections_when_the_command_returns() {
    let lab = lab();
    let place = Place::new("panic").unwrap();
    let sensor = place.sensor("").unwrap();
    let pulse = place.pulse(&lab, "api.openai.com").unwrap();
    for told in changes(&pulse) {
        assert_eq!(told["errno"], 0, "{told}");
    }
    let mut late = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        let on = ["on", "--workload", "test", "--for", "60", "--reason", "a leak"];
        let (text, returned) = panic(&sensor, &on).unwrap();
        assert!(text.starts_with("panic is on for 60 s; "), "{text}");
        for (told, late) in changes(&pulse).into_iter().zip(&mut late) {
            assert!(REFUSED.contains(&told["errno"].as_i64().unwrap()), "{told}");
            // What was under way when the command returned may pass; what began later may not.
            let at = told["at_ns"].as_u64().unwrap();
            let began = told["began_ns"].as_u64().unwrap();
            late.push([at, began].map(|ns| i128::from(ns) - i128::from(returned)));
        }
        let (status, _) = panic(&sensor, &["status"]).unwrap();
        assert!(status.ends_with(" s more, workload test: a leak\n"), "{status}");
        let (text, _) = panic(&sensor, &["off", "--workload", "test"]).unwrap();
        assert_eq!(text, "1 panics lifted\n");
        for told in changes(&pulse) {
            assert_eq!(told["errno"], 0, "{told}");
        }
    }
    for (what, mut late) in ["new", "open"].into_iter().zip(late) {
        late.sort_unstable();
        note(&format!("{what} connections refused after the return, ns (answer, try): {late:?}"));
        assert!(late[ROUNDS / 2][0] < IN_FORCE_MAX_NS, "{what}: {late:?}");
    }
    assert_eq!(panic(&sensor, &["status"]).unwrap().0, "no panic is on\n");
}

#[test]
fn panic_outlives_the_agent_and_ends_by_itself() {
    const SECONDS: u64 = 3;
    let lab = lab();
    let place = Place::new("alone").unwrap();
    let mut sensor = place.sensor("").unwrap();
    let pulse = place.pulse(&lab, "api.openai.com").unwrap();
    for told in changes(&pulse) {
        assert_eq!(told["errno"], 0, "{told}");
    }
    sensor.kill().unwrap();
    let on = ["on", "--workload", "test", "--for", &SECONDS.to_string(), "--reason", "alone"];
    let began = monotonic_ns();
    let (_, returned) = panic(&sensor, &on).unwrap();
    assert!(REFUSED.contains(&change(&pulse, "new")["errno"].as_i64().unwrap()));
    let lifted = change(&pulse, "new");
    assert_eq!(lifted["errno"], 0, "{lifted}");
    let lifted = lifted["at_ns"].as_u64().unwrap();
    let wanted = Duration::from_secs(SECONDS).as_nanos();
    // The end was set after the command began, and before it returned.
    let least = u128::from(lifted.saturating_sub(began));
    assert!(least >= wanted, "{least} ns, returned after {} ns", returned.saturating_sub(began));
    let most = u128::from(lifted.saturating_sub(returned));
    assert!(most < wanted + Duration::from_secs(2).as_nanos(), "{most} ns");
}

#[test]
fn panic_about_one_provider_leaves_the_others_alone() {
    let lab = lab();
    let place = Place::whole("scope").unwrap();
    let sensor = place.sensor("").unwrap();
    let call = |host: &str| {
        let spec = Spec::new("curl-h1", Api::Chat).host(host).scenario("id=scope");
        place.run(&lab, &spec).unwrap().calls.remove(0)
    };
    let on = ["on", "--provider", "fireworks", "--for", "60", "--reason", "an outage"];
    panic(&sensor, &on).unwrap();
    let (status, _) = panic(&sensor, &["status"]).unwrap();
    assert!(status.ends_with(" s more, provider fireworks: an outage\n"), "{status}");
    let refused = call("api.fireworks.ai");
    assert!(refused.error.is_some(), "{refused:?}");
    assert!(call("api.openai.com").is_complete());
    panic(&sensor, &["off", "--all"]).unwrap();
    assert!(call("api.fireworks.ai").is_complete());
    let told = || {
        let events = sensor.events();
        let is_told = |event: &Value| {
            event["event.name"] == "tollgate.decision" && event["tollgate.reason"] == "an outage"
        };
        events.iter().any(is_told).then_some(())
    };
    wait_until(CLIENT_DEADLINE, "the decision's event", told).unwrap();
}

#[test]
fn panic_stands_without_a_gate_of_the_agent_and_leaves_nothing_behind() {
    let lab = lab();
    let place = Place::whole("bare").unwrap();
    let options = format!("[enforce]\npins = {:?}", place.pins);
    let sensor = Sensor::start(&options).unwrap();
    let call = || {
        let host = "api.fireworks.ai";
        let spec = Spec::new("curl-h1", Api::Chat).host(host).scenario("id=bare");
        place.run(&lab, &spec).unwrap().calls.remove(0)
    };
    assert!(call().is_complete());
    assert!(!place.is_pinned(), "something is pinned although nothing is enforced");
    let on = ["on", "--provider", "fireworks", "--for", "600", "--reason", "an outage"];
    panic(&sensor, &on).unwrap();
    let refused: SeenCall = call();
    assert!(refused.error.is_some(), "{refused:?}");
    panic(&sensor, &["off", "--all"]).unwrap();
    assert!(call().is_complete());
    assert!(!place.is_pinned(), "a lifted panic left something pinned");
}
