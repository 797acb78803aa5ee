//! The program `patterns` comes in; it runs under the sensor's own probes, and whether every byte is its thread's goes out.
//!
//! usage: preemption PATTERNS THREADS ROUNDS
#![expect(clippy::print_stdout, reason = "a command line tool speaks on standard output")]

use std::collections::HashMap;
use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sensor_user::bpf::{Kernel, Settings};
use sensor_user::capture;
use sensor_user::probes::{Registry, Why};
use tollgate_tests::preemption::{Checker, Tally};

/// Room for everything that the threads make while this program waits for its turn on the one CPU.
const DATA_RING_BYTES: u32 = 128 * 1024 * 1024;
/// The name that `patterns` gives its TLS objects.
const NAME: &str = "api.openai.com";
/// A machine without hardware help needs tens of seconds; more than this is a hang.
const DEADLINE: Duration = Duration::from_mins(3);
/// Longest sleep between two looks at the ring.
const SLEEP: Duration = Duration::from_millis(20);
/// What is counted in the kernel half and means that a record is missing as a whole.
const WHOLE_RECORDS: [&str; 3] = ["record_no_room", "call_table_full", "connection_table_full"];

fn main() -> Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [patterns, threads, rounds] = arguments.as_slice() else {
        bail!("usage: preemption PATTERNS THREADS ROUNDS");
    };
    let mut child = Command::new(patterns)
        .args([threads, rounds])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {patterns}"))?;
    let mut told = BufReader::new(child.stdout.take().context("its output")?);
    let mut line = String::new();
    told.read_line(&mut line).context("waiting for it")?;
    ensure!(line.starts_with("ready "), "it says {line:?}");

    let settings = Settings { data_ring_bytes: DATA_RING_BYTES, hold_client_hello: false };
    let mut kernel = Kernel::load(&settings)?;
    kernel.names()?.hold(&[NAME])?;
    let mut ring = kernel.data_ring()?;
    let counters = kernel.counters()?;
    let mut registry = Registry::default();
    let attached = registry.attach(&mut kernel, child.id(), Why::Connect)?;
    ensure!(!attached.libraries.is_empty(), "no TLS library found in it");

    child.stdin.take().context("its input")?.write_all(b"\n").context("letting it go")?;
    let mut checker = Checker::default();
    let began = Instant::now();
    loop {
        // Asked before the ring is emptied: what it wrote before its end is then in the ring.
        let ended = child.try_wait().context("waiting for its end")?;
        while let Some(bytes) = ring.take() {
            checker.take(&capture::decode(&bytes)?);
        }
        if let Some(status) = ended {
            ensure!(status.success(), "it ended with {status}");
            break;
        }
        if began.elapsed() > DEADLINE {
            child.kill().context("ending it")?;
            bail!("it is not done after {} s", DEADLINE.as_secs());
        }
        ring.wait(Some(SLEEP));
    }
    let mut text = String::new();
    told.read_to_string(&mut text).context("reading its totals")?;
    let missing = counters.read().into_iter().filter(|(name, _)| WHOLE_RECORDS.contains(name));
    judge(&checker, &totals(&text)?, missing.map(|(_, dropped)| dropped.records).sum())
}

/// Lines are `thread ID CALLS BYTES`.
fn totals(text: &str) -> Result<HashMap<u32, Tally>> {
    text.lines()
        .map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            let ["thread", id, calls, bytes] = words.as_slice() else { bail!("it says {line:?}") };
            Ok((id.parse()?, Tally { calls: calls.parse()?, bytes: bytes.parse()? }))
        })
        .collect()
}

fn judge(checker: &Checker, made: &HashMap<u32, Tally>, missing: u64) -> Result<()> {
    let calls: u64 = made.values().map(|tally| tally.calls).sum();
    println!(
        "preemption: {} threads, {calls} calls, {} bytes compared, {} bytes lost, {missing} records lost, {} corrupted",
        made.len(),
        checker.compared,
        checker.lost,
        checker.corrupted
    );
    ensure!(checker.corrupted == 0, "the first: {}", checker.first.as_deref().unwrap_or_default());
    ensure!(
        missing > 0 || checker.tallies() == made,
        "seen {:?}, made {made:?}",
        checker.tallies()
    );
    ensure!(checker.compared > 0, "nothing was captured");
    Ok(())
}
