//! A way to watch TLS calls comes in; the program that watches runs, and what it has told goes out.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use crate::bench::Bench;
use crate::bench::net::Background;

/// Time in which a watcher is ready.
const READY_DEADLINE: Duration = Duration::from_secs(30);
/// What bpftrace needs to set its probes once it has said that it is ready.
const PROBES_SETTLE: Duration = Duration::from_secs(1);
/// How often the sensor's words are looked at.
const PAUSE: Duration = Duration::from_millis(100);
/// A sensor that tells of nothing for so long has told of everything that was.
const SETTLED_AFTER: Duration = Duration::from_millis(400);
/// A sensor that tells of no call for so long will not tell of those that are missing.
const TOLD_DEADLINE: Duration = Duration::from_secs(4);

/// What the sensor logs: how long it takes to set probes.
const LOG: &str = "warn,sensor_user::agent=debug";
/// In every event about a call, and about losses.
const CALL: &str = "\"event.name\":\"tollgate.call\"";
const LOSS: &str = "\"event.name\":\"tollgate.loss\"";

/// The least that a tracer of TLS calls does: notes the buffer at the entry, and at the return adds up the bytes.
/// Real ones also copy the bytes out, which costs more.
const TRACER: &str = "interval:ms:200 /@ready == 0/ { printf(\"ready\\n\"); @ready = 1; }
uprobe:LIBSSL:SSL_write, uprobe:LIBSSL:SSL_read, uprobe:LIBSSL:SSL_write_ex, uprobe:LIBSSL:SSL_read_ex { @buffer[tid] = arg1; }
uretprobe:LIBSSL:SSL_write, uretprobe:LIBSSL:SSL_read, uretprobe:LIBSSL:SSL_write_ex, uretprobe:LIBSSL:SSL_read_ex
/@buffer[tid]/ { @bytes[probe] = sum(retval); delete(@buffer[tid]); }";

/// Who watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watcher {
    /// Nobody: what everything is compared with.
    Nobody,
    /// This project's sensor.
    Tollgate,
    /// A bpftrace script on the same functions.
    Bpftrace,
}

impl Watcher {
    /// Name in a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Tollgate => "Tollgate",
            Self::Bpftrace => "bpftrace script",
        }
    }
}

/// Name of the configuration of a sensor that enforces.
pub const ENFORCING: &str = "enforcing.toml";

/// Programs that are measured and that measure.
pub struct Programs {
    /// The sensor.
    pub tollgate: PathBuf,
    /// The lab's servers.
    pub lab: PathBuf,
    /// The lab's load generator.
    pub load: PathBuf,
    /// Pairs of TLS calls.
    pub pair: PathBuf,
    /// Connections and packets.
    pub connect: PathBuf,
    /// Connections by turns.
    pub enforced: PathBuf,
    /// The library that all of them use.
    pub libssl: PathBuf,
}

/// When the sensor sets probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// In processes that show intent.
    Intent,
    /// In all processes with a TLS library.
    Eager,
    /// In processes that show intent, by a sensor that enforces as the file [`ENFORCING`] of the run says.
    Enforcing,
}

/// A watcher at work.
pub struct Watching {
    process: Option<Background>,
    told: PathBuf,
    /// How far the sensor's words were read, and the calls told of so far.
    read: Cell<(u64, usize)>,
    /// From the start of the sensor until it says that it sees everything.
    pub ready_after: Duration,
}

/// Starts a watcher and waits until its probes stand.
pub fn start(watcher: Watcher, bench: &Bench<'_>, attach: Attach) -> Result<Watching> {
    let told = bench.net.file(watcher.name());
    let began = Instant::now();
    let process = match watcher {
        Watcher::Nobody => None,
        Watcher::Tollgate => {
            let mut command = Command::new(&bench.programs.tollgate);
            command.args(["run", "--output", "json", "--listen", "none", "--log", LOG]);
            // What was learnt under one way to attach changes nothing for the other.
            let (attach, state) = match attach {
                Attach::Eager => ("eager", "eager"),
                Attach::Intent => ("intent", "intent"),
                Attach::Enforcing => ("intent", "enforcing"),
            };
            if state == "enforcing" {
                command.arg("--config").arg(bench.net.file(ENFORCING));
            }
            command.args(["--attach", attach, "--state"]).arg(bench.net.file(state));
            let mut process = Background::start("tollgate", &mut command, &told)?;
            process.wait_until("readiness", READY_DEADLINE, || {
                count(&told, "\"tollgate.agent.state\":\"started\"") > 0
            })?;
            Some(process)
        }
        Watcher::Bpftrace => {
            let script = TRACER.replace("LIBSSL", &bench.programs.libssl.to_string_lossy());
            let mut command = Command::new("bpftrace");
            command.args(["-B", "line", "-e", &script]);
            let mut process = Background::start("bpftrace", &mut command, &told)?;
            process.wait_until("readiness", READY_DEADLINE, || count(&told, "ready") > 0)?;
            sleep(PROBES_SETTLE);
            Some(process)
        }
    };
    Ok(Watching { process, told, read: Cell::default(), ready_after: began.elapsed() })
}

impl Watching {
    /// Process id of the watcher.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Background::id)
    }

    /// What the watcher has told so far.
    pub fn text(&self) -> String {
        fs::read_to_string(&self.told).unwrap_or_default()
    }

    /// The file that what it tells goes to.
    pub fn told(&self) -> PathBuf {
        self.told.clone()
    }

    /// What the watcher said on standard error.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Background::told).unwrap_or_default()
    }

    /// Calls that the sensor has told of.
    pub fn calls(&self) -> usize {
        let (offset, calls) = self.read.get();
        // A load makes many megabytes of events: only what is new is read.
        let fresh = read_from(&self.told, offset).unwrap_or_default();
        // The last line may still be written.
        let whole = fresh.rfind('\n').map_or("", |end| fresh.get(..=end).unwrap_or_default());
        let calls = calls.saturating_add(whole.matches(CALL).count());
        let more = u64::try_from(whole.len()).unwrap_or(0);
        self.read.set((offset.saturating_add(more), calls));
        calls
    }

    /// Records that the sensor says were lost, by reason.
    pub fn losses(&self) -> BTreeMap<String, u64> {
        losses(&self.text())
    }

    /// Waits until the sensor has told of so many calls, or tells of no more.
    pub fn wait_for_calls(&self, calls: usize) {
        self.wait_until_quiet(calls, TOLD_DEADLINE);
    }

    /// Waits until the sensor has told of what was before: it tells of nothing more for a while.
    pub fn settle(&self) {
        self.wait_until_quiet(usize::MAX, SETTLED_AFTER);
    }

    fn wait_until_quiet(&self, calls: usize, quiet: Duration) {
        let (mut told, mut since) = (self.calls(), Instant::now());
        while self.process.is_some() && told < calls && since.elapsed() < quiet {
            sleep(PAUSE);
            let now = self.calls();
            if now != told {
                (told, since) = (now, Instant::now());
            }
        }
    }

    /// Ends the watcher, waits until its probes are gone with it, and says how long that took.
    pub fn stop(mut self) -> Result<Duration> {
        let began = Instant::now();
        self.process.as_mut().map_or(Ok(()), Background::stop)?;
        Ok(began.elapsed())
    }
}

fn read_from(file: &Path, offset: u64) -> io::Result<String> {
    let mut file = File::open(file)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

fn count(file: &Path, text: &str) -> usize {
    fs::read_to_string(file).map_or(0, |told| told.matches(text).count())
}

/// Records that are lost as the events tell, by reason.
pub fn losses(told: &str) -> BTreeMap<String, u64> {
    let mut losses = BTreeMap::new();
    for line in told.lines().filter(|line| line.contains(LOSS)) {
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        let reason = event.get("tollgate.loss.reason").and_then(Value::as_str).unwrap_or("unknown");
        let records = event.get("tollgate.loss.records").and_then(Value::as_u64).unwrap_or(1);
        let sum: &mut u64 = losses.entry(reason.to_owned()).or_default();
        *sum = sum.saturating_add(records);
    }
    losses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_once_as_their_lines_are_finished() {
        let told = std::env::temp_dir().join(format!("xtask-watch-{}", std::process::id()));
        let read = Cell::default();
        let watching =
            Watching { process: None, told: told.clone(), read, ready_after: Duration::ZERO };
        assert_eq!(watching.calls(), 0);
        fs::write(&told, format!("{{{CALL}}}\n{{{LOSS}}}\n{{{CALL}")).unwrap();
        assert_eq!((watching.calls(), watching.calls()), (1, 1));
        fs::write(&told, format!("{{{CALL}}}\n{{{LOSS}}}\n{{{CALL}}}\n")).unwrap();
        assert_eq!(watching.calls(), 2);
        fs::remove_file(&told).unwrap();
    }

    #[test]
    fn losses_are_added_up_by_reason() {
        let event = |records| {
            format!(
                "{{{LOSS},\"tollgate.loss.reason\":\"payload_no_room\",\"tollgate.loss.records\":{records}}}\n"
            )
        };
        let told = [event(3), event(4)].concat();
        assert_eq!(losses(&told), BTreeMap::from([("payload_no_room".to_owned(), 7)]));
    }

    #[test]
    fn tracer_watches_the_four_functions_at_both_ends() {
        for name in ["SSL_write,", "SSL_read,", "SSL_write_ex,", "SSL_read_ex"] {
            assert_eq!(TRACER.matches(&format!("probe:LIBSSL:{name}")).count(), 2, "{name}");
        }
    }
}
