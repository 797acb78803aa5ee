//! What the sensor could not take is known to the byte, payload is lost before metadata, and the call is told of.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tollgate_tests::harness::wait_until;
use tollgate_tests::lab::clients::{Api, Spec};
use tollgate_tests::lab::net::Options;
use tollgate_tests::lab::provider::fact::Fact;
use tollgate_tests::lab::{CLIENT_DEADLINE, Lab};

use crate::alone;
use crate::sensor::Sensor;

/// Time in which counters that are read once a second are told.
const TOLD_DEADLINE: Duration = Duration::from_secs(20);
/// A ring that holds a fraction of the answer.
const TINY_RING: &str = "hold_client_hello = true\nring_bytes = 65536";
/// The default ring holds all of it.
const ROOMY_RING: &str = "hold_client_hello = true";
/// An answer of more bytes than the tiny ring holds, in fewer reads than its part for headers holds.
const ANSWER: &str = "chunks=600,flush=batch";

/// Sums an attribute over the loss events, of one reason or of all.
fn lost(sensor: &Sensor, reason: Option<&str>, attribute: &str) -> u64 {
    let events = sensor.events();
    let losses = events.iter().filter(|event| event["event.name"] == "tollgate.loss");
    let wanted =
        |event: &&Value| reason.is_none_or(|reason| event["tollgate.loss.reason"] == reason);
    losses.filter(wanted).filter_map(|event| event[attribute].as_u64()).sum()
}

/// Plaintext bytes that the sensor's counters name so.
fn bytes(sensor: &Sensor, fate: &str) -> u64 {
    let (_, text) = sensor.scrape("/metrics").unwrap();
    let series = format!("tollgate_reassembly_bytes_total{{fate=\"{fate}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).unwrap_or(0)
}

/// Makes two calls on one connection; the sensor stands still during the second. Gives back the facts of both.
fn two_calls(lab: &Lab, sensor: &Sensor, id: &str) -> Vec<Fact> {
    let spec = Spec::new("openai-sync", Api::Chat)
        .streamed()
        .two_phases()
        .scenario(&format!("id={id},{ANSWER}"));
    let mut running = lab.start(&spec).unwrap();
    running.wait_ready(CLIENT_DEADLINE).unwrap();
    let first = lab.facts_of(id, 1).unwrap().remove(0);
    sensor.call_of(&first).unwrap();
    let pid = Pid::from_raw(i32::try_from(sensor.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    running.go().unwrap();
    running.finish(CLIENT_DEADLINE).unwrap();
    kill_process(pid, Signal::CONT).unwrap();
    lab.facts_of(id, 2).unwrap()
}

/// What the bytes taken and missing come to together.
#[derive(Clone, Copy, Debug)]
enum Sum {
    /// At least the bodies of the calls, and it stands still.
    AtLeast(u64),
    /// As many as another sensor took of the same calls.
    Is(u64),
}

/// Bytes taken and missing, once the counters have come to the sum.
fn accounted(sensor: &Sensor, wanted: Sum) -> [u64; 2] {
    let mut before = [u64::MAX; 2];
    let settled = wait_until(TOLD_DEADLINE, "the counters", || {
        let now = ["taken", "missing"].map(|fate| bytes(sensor, fate));
        let sum = now.iter().sum::<u64>();
        let is_settled = match wanted {
            Sum::AtLeast(least) => now == before && sum >= least,
            Sum::Is(wanted) => sum == wanted,
        };
        before = now;
        is_settled.then_some(now)
    });
    settled.unwrap_or_else(|error| {
        panic!("{error:#}: {before:?}, wanted {wanted:?}\n{}", sensor.log())
    })
}

#[test]
fn overload_costs_payload_before_metadata_and_is_known_to_the_byte() {
    let _turn = alone();
    let lab = Lab::up(&Options::default()).unwrap();
    let roomy = Sensor::start(ROOMY_RING).unwrap();
    let facts = two_calls(&lab, &roomy, "roomy");
    roomy.call_of(facts.last().unwrap()).unwrap();
    let bodies = facts.iter().map(|fact| fact.request_bytes.saturating_add(fact.response_bytes));
    let [taken, missing] = accounted(&roomy, Sum::AtLeast(bodies.sum()));
    assert_eq!((missing, lost(&roomy, None, "tollgate.loss.records")), (0, 0));
    drop(roomy);

    let tiny = Sensor::start(TINY_RING).unwrap();
    let second = two_calls(&lab, &tiny, "tinyy").pop().unwrap();
    let [kept, missing] = accounted(&tiny, Sum::Is(taken));
    assert!(missing > 0 && kept > 0, "{kept} bytes taken, {missing} missing");
    let told = wait_until(TOLD_DEADLINE, "the loss", || {
        (lost(&tiny, None, "tollgate.loss.bytes") == missing).then_some(())
    });
    told.unwrap_or_else(|error| panic!("{error:#}: {missing} bytes\n{}", tiny.log()));
    assert_eq!(lost(&tiny, Some("payload_no_room"), "tollgate.loss.bytes"), missing);
    assert_eq!(lost(&tiny, Some("record_no_room"), "tollgate.loss.records"), 0, "headers had room");
    let call = tiny.calls().into_iter().next_back().unwrap();
    assert_eq!(call["http.response.status_code"].as_u64(), Some(u64::from(second.status)));
}
