//! What is done to the sensor itself, by root: what it refuses goes on, or the node says that it does not.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tollgate_tests::harness::wait_until;

use super::rows::{Row, detected, refused};
use super::stage::{Stage, pins};

pub(super) const ROWS: [Row; 4] = [
    refused(
        "agent stopped",
        "by `SIGSTOP`: verdicts are in the kernel; the decision is told once it runs again",
    ),
    refused("agent killed", "programs and maps are pinned"),
    detected(
        "pin removed",
        "the program is detached with it; the node is not ready until an agent puts it back",
    ),
    detected(
        "link detached",
        "by `bpf` (or `bpftool link detach`): the node is not ready until an agent starts, which attaches its programs again",
    ),
];

/// A minute is promised; the proofs of these tests run every second.
const RED_DEADLINE: Duration = Duration::from_secs(20);

fn plain(stage: &Stage, row: &Row) -> Value {
    let mut spec = stage.spec(row.way);
    spec["way"] = "plain".into();
    spec
}

fn wait_ready(stage: &Stage, status: u16) {
    let is = || stage.sensor.scrape("/readyz").ok().filter(|(code, _)| *code == status).map(drop);
    wait_until(RED_DEADLINE, &format!("readiness {status}"), is).unwrap();
}

#[test]
fn against_the_sensor() {
    let mut stage = Stage::new("tamper", "").unwrap();
    let pid = Pid::from_raw(i32::try_from(stage.sensor.pid()).unwrap()).unwrap();
    let before = stage.decisions().len();
    kill_process(pid, Signal::STOP).unwrap();
    let stopped = stage.attempt(0, &plain(&stage, &ROWS[0]));
    kill_process(pid, Signal::CONT).unwrap();
    let (outcome, leaked) = stopped.unwrap();
    assert!(!leaked, "{outcome}");
    stage.wait_told(before).unwrap();

    stage.sensor.kill().unwrap();
    let (outcome, leaked) = stage.attempt(0, &plain(&stage, &ROWS[1])).unwrap();
    assert!(!leaked, "{outcome}");
    stage.sensor.start_again().unwrap();

    wait_ready(&stage, 200);
    fs::remove_file(pins(&stage.place).unwrap().join("link_gate_state")).unwrap();
    wait_ready(&stage, 503);
    let (outcome, leaked) = stage.attempt(0, &plain(&stage, &ROWS[2])).unwrap();
    assert!(leaked, "{outcome}");
}

#[test]
fn link_detached_by_root() {
    let mut stage = Stage::new("detach", "").unwrap();
    wait_ready(&stage, 200);
    stage.detach(&pins(&stage.place).unwrap().join("link_gate_connect4")).unwrap();
    wait_ready(&stage, 503);
    let (outcome, leaked) = stage.attempt(0, &plain(&stage, &ROWS[3])).unwrap();
    assert!(leaked, "{outcome}");
    stage.sensor.kill().unwrap();
    stage.sensor.start_again().unwrap();
    wait_ready(&stage, 200);
    let mut again = plain(&stage, &ROWS[3]);
    again["scenario"] = "id=attached-again".into();
    let (outcome, leaked) = stage.attempt(0, &again).unwrap();
    assert!(!leaked, "{outcome}");
}
