//! A switch of the machine that a killed agent has left on comes in; the next agent puts it off, and leaves a stranger's alone.

use std::fs;
use std::path::Path;

use crate::alone;
use crate::sensor::Sensor;

/// Has the kernel hurry.
const SWITCH: &str = "/sys/kernel/rcu_expedited";

/// Puts the switch off, however the test ends.
struct Off;

impl Drop for Off {
    fn drop(&mut self) {
        let _off = fs::write(SWITCH, "0");
    }
}

fn switch() -> String {
    fs::read_to_string(SWITCH).unwrap().trim().to_owned()
}

#[test]
fn switch_that_a_killed_agent_left_on_is_put_off_and_that_of_another_is_not() {
    let _turn = alone();
    if !Path::new(SWITCH).exists() {
        tollgate_tests::harness::note("this kernel has no rcu_expedited: nothing to be left on");
        return;
    }
    let _off = Off;
    let mut sensor = Sensor::start("").unwrap();
    sensor.kill().unwrap();
    fs::write(SWITCH, "1").unwrap();
    sensor.start_again().unwrap();
    assert_eq!(switch(), "0", "{}", sensor.log());
    // A stop is an end in order: what is on afterwards is somebody else's.
    sensor.stop().unwrap();
    fs::write(SWITCH, "1").unwrap();
    sensor.start_again().unwrap();
    assert_eq!(switch(), "1", "{}", sensor.log());
}
