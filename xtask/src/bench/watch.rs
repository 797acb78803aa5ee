//! A way to watch TLS calls comes in; the program that watches runs, and what it has told goes out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

use crate::bench::net::{Background, Net};

/// Time in which a watcher is ready.
const READY_DEADLINE: Duration = Duration::from_secs(30);
/// What bpftrace needs to set its probes once it has said that it is ready.
const PROBES_SETTLE: Duration = Duration::from_secs(1);

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
    /// All of them, in the order of a round.
    pub const ALL: [Self; 3] = [Self::Nobody, Self::Tollgate, Self::Bpftrace];

    /// Name in a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Tollgate => "Tollgate",
            Self::Bpftrace => "bpftrace script",
        }
    }
}

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
    /// The library that all of them use.
    pub libssl: PathBuf,
}

/// A watcher at work.
pub struct Watching {
    process: Option<Background>,
    told: PathBuf,
}

/// Starts a watcher and waits until its probes stand; `attach` is when the sensor sets them.
pub fn start(watcher: Watcher, net: &Net, programs: &Programs, attach: &str) -> Result<Watching> {
    let told = net.file(watcher.name());
    let process = match watcher {
        Watcher::Nobody => None,
        Watcher::Tollgate => {
            let mut command = Command::new(&programs.tollgate);
            command.args(["run", "--output", "json", "--listen", "none", "--log", "warn"]);
            command.args(["--attach", attach, "--state"]).arg(net.file("state"));
            let mut process = Background::start("tollgate", &mut command, &told)?;
            process.wait_until("readiness", READY_DEADLINE, || {
                count(&told, "\"tollgate.agent.state\":\"started\"") > 0
            })?;
            Some(process)
        }
        Watcher::Bpftrace => {
            let script = TRACER.replace("LIBSSL", &programs.libssl.to_string_lossy());
            let mut command = Command::new("bpftrace");
            command.args(["-B", "line", "-e", &script]);
            let mut process = Background::start("bpftrace", &mut command, &told)?;
            process.wait_until("readiness", READY_DEADLINE, || count(&told, "ready") > 0)?;
            sleep(PROBES_SETTLE);
            Some(process)
        }
    };
    Ok(Watching { process, told })
}

impl Watching {
    /// Process id of the watcher.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Background::id)
    }

    /// Lines that hold a text, of those told so far.
    pub fn count(&self, text: &str) -> usize {
        count(&self.told, text)
    }

    /// Calls that the sensor has told of.
    pub fn calls(&self) -> usize {
        self.count("\"event.name\":\"tollgate.call\"")
    }

    /// Losses that the sensor has told of.
    pub fn losses(&self) -> usize {
        self.count("\"event.name\":\"tollgate.loss\"")
    }

    /// Waits until the sensor has told of so many calls, or time is up.
    pub fn wait_for_calls(&self, calls: usize, deadline: Duration) {
        let pause = Duration::from_millis(50);
        let mut waited = Duration::ZERO;
        while self.process.is_some() && self.calls() < calls && waited < deadline {
            sleep(pause);
            waited = waited.saturating_add(pause);
        }
    }

    /// Ends the watcher and waits until its probes are gone with it.
    pub fn stop(mut self) -> Result<()> {
        self.process.as_mut().map_or(Ok(()), Background::stop)
    }
}

fn count(file: &Path, text: &str) -> usize {
    fs::read_to_string(file)
        .map_or(0, |told| told.lines().filter(|line| line.contains(text)).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_and_a_missing_file_has_none() {
        let file = std::env::temp_dir().join(format!("xtask-watch-{}", std::process::id()));
        fs::write(&file, "a call\nno\ntwo call call\n").unwrap();
        assert_eq!((count(&file, "call"), count(Path::new("/no-such-file"), "call")), (2, 0));
        fs::remove_file(&file).unwrap();
    }

    #[test]
    fn tracer_watches_the_four_functions_at_both_ends() {
        for name in ["SSL_write,", "SSL_read,", "SSL_write_ex,", "SSL_read_ex"] {
            assert_eq!(TRACER.matches(&format!("probe:LIBSSL:{name}")).count(), 2, "{name}");
        }
    }
}
