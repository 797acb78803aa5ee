//! A person's wish to see the sensor comes in; it is built and started, alone or with the lab's AI clients beside it.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::build::{self, Profile};
use crate::setup::{self, Missing, TEST};
use crate::shell::{say, target};

/// Time in which the sensor attaches before the lab's first client starts.
const ATTACH_DEADLINE: Duration = Duration::from_secs(2);

/// Time in which the sensor detaches.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Sets up, builds, and becomes the sensor.
pub fn sensor(arguments: &[String]) -> Result<()> {
    setup::machine(Missing::Install)?;
    let tools = setup::tools(&[], Missing::Install)?;
    let tollgate = build::all(&tools, Profile::Release)?;
    let error = Command::new(&tollgate).arg("run").args(arguments).exec();
    Err(error).with_context(|| format!("starting {}", tollgate.display()))
}

/// What calls in the demonstration: what most visitors have themselves.
const CLIENTS: [&str; 6] = [
    "openai-sync",
    "anthropic-sync",
    "langchain-openai",
    "node-openai",
    "node-anthropic",
    "curl-h2",
];
/// One-way delay in milliseconds to the demonstration's provider: that of one in the same part of the world.
const DELAY_MS: &str = "10";

/// Sets up, builds, and shows the sensor at work on the lab's clients: no key and no internet are needed.
pub fn demo() -> Result<()> {
    setup::machine(Missing::Install)?;
    let tools = setup::tools(TEST, Missing::Install)?;
    let tollgate = build::all(&tools, Profile::Release)?;
    let lab = build::program("tollgate-tests", "lab", Profile::Release)?;
    // The clients are installed first, so that nothing stands between the sensor's start and their calls.
    crate::shell::step("installing the lab's clients", || {
        crate::shell::run(Command::new(&lab).arg("install").stdout(File::create("/dev/null")?))
    })?;
    let folder = target()?.join("demo");
    fs::create_dir_all(&folder).context("making the demo's folder")?;
    let log = folder.join("lab.log");
    let mut sensor = Command::new(&tollgate).arg("run").spawn().context("starting tollgate")?;
    let ended = wait(&mut sensor, ATTACH_DEADLINE)?;
    ensure!(ended.is_none(), "the sensor ended at once; what to do: {} doctor", tollgate.display());
    say(&format!("the lab's clients call now; their side is in {}", log.display()));
    let out = File::create(&log).context("making the lab's log")?;
    let mut command = Command::new(&lab);
    command.args(["demo", "--load", "0", "--delay", DELAY_MS]);
    command
        .args(CLIENTS.iter().flat_map(|name| ["--client", name]))
        .stderr(out.try_clone().context("sharing the log")?);
    let done = command.stdout(out).status().context("starting the lab");
    stop(&mut sensor)?;
    ensure!(done?.success(), "the lab failed; see {}", log.display());
    Ok(())
}

/// Asks a process to end and waits for it.
fn stop(process: &mut Child) -> Result<()> {
    let id = Pid::from_child(process);
    kill_process(id, Signal::INT).context("asking the sensor to stop")?;
    match wait(process, STOP_DEADLINE)? {
        Some(true) => Ok(()),
        Some(false) => bail!("the sensor failed while it stopped"),
        None => {
            process.kill().context("ending the sensor")?;
            bail!("the sensor did not stop within {} s", STOP_DEADLINE.as_secs())
        }
    }
}

/// Whether a process has ended well, or `None` where it still runs at the deadline.
fn wait(process: &mut Child, deadline: Duration) -> Result<Option<bool>> {
    let start = Instant::now();
    while start.elapsed() < deadline {
        if let Some(status) = process.try_wait().context("waiting for a process")? {
            return Ok(Some(status.success()));
        }
        sleep(POLL);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_that_stops_on_request_is_told_from_one_that_fails() {
        let start = |script: &str| Command::new("sh").args(["-c", script]).spawn().unwrap();
        assert_eq!(wait(&mut start("exit 0"), STOP_DEADLINE).unwrap(), Some(true));
        assert_eq!(wait(&mut start("exit 1"), STOP_DEADLINE).unwrap(), Some(false));
        let mut patient = start("exec sleep 60");
        assert_eq!(wait(&mut patient, Duration::from_millis(40)).unwrap(), None);
        assert!(stop(&mut patient).is_err(), "sleep does not end well when interrupted");
    }
}
