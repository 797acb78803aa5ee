//! A number of calls and a rate come in; a load over libssl runs in a namespace, and its figures go out.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tempfile::TempDir;

use crate::harness::{Process, temp_folder};
use crate::lab::clients::install::Kit;
use crate::lab::clients::run::set_environment;
use crate::lab::net::{address_of, command_in};

/// What a load should be.
#[derive(Clone, Debug)]
pub struct Load {
    /// Host called.
    pub host: String,
    /// Connections, each with a thread and keep-alive.
    pub connections: u32,
    /// Streamed chat calls in all.
    pub calls: u32,
    /// Bytes of each request body.
    pub request_bytes: u32,
    /// Calls a second, 0 for as many as go.
    pub rate: u32,
    /// Whether each connection makes one call and then waits for [`RunningLoad::go`].
    pub warm: bool,
    /// Knobs of the calls.
    pub scenario: String,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            host: "api.openai.com".to_owned(),
            connections: 8,
            calls: 20_000,
            request_bytes: 4096,
            rate: 0,
            warm: false,
            scenario: "id=load,chunks=50,flush=batch".to_owned(),
        }
    }
}

/// The figures of a load. Times are nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Figures {
    /// Calls answered whole.
    pub calls: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Events with JSON in all answers.
    pub events: u64,
    /// Bytes of all answers, heads and framing included.
    pub bytes: u64,
    /// First call.
    pub began_ns: u64,
    /// End of the last call.
    pub ended_ns: u64,
    /// Median time of a call.
    pub p50_ns: u64,
    /// Time that one call in a hundred exceeds.
    pub p99_ns: u64,
}

impl Figures {
    /// Returns the calls a second.
    pub fn rate(&self) -> u64 {
        let nanos = self.ended_ns.saturating_sub(self.began_ns).max(1);
        self.calls.saturating_mul(1_000_000_000).checked_div(nanos).unwrap_or(0)
    }
}

/// Builds the command of a load, for a test that starts it in its own way.
pub fn prepare(kit: &Kit, namespace: &str, ca: &Path, load: &Load) -> Result<Command> {
    let address = address_of(&load.host).context("no such host")?;
    let mut command = command_in(namespace, &kit.load);
    command.args([&address.to_string(), "443", &load.host]).arg(ca);
    for number in [load.connections, load.calls, load.request_bytes, load.rate] {
        command.arg(number.to_string());
    }
    command.args([if load.warm { "1" } else { "0" }, &load.scenario]);
    Ok(command)
}

/// A load generator in a namespace.
#[derive(Debug)]
pub struct RunningLoad {
    process: Process,
    _folder: TempDir,
}

impl RunningLoad {
    /// Starts a load; `ca` is the file that makes it trust the lab.
    pub fn start(kit: &Kit, namespace: &str, ca: &Path, load: &Load) -> Result<Self> {
        let folder = temp_folder("load")?;
        let mut command = prepare(kit, namespace, ca, load)?;
        set_environment(&mut command, folder.path(), ca);
        let process = Process::start(&mut command, &folder.path().join("errors"))?;
        Ok(Self { process, _folder: folder })
    }

    /// Returns the generator's process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits until every connection has made its first call (for a warm load).
    pub fn wait_ready(&self, deadline: Duration) -> Result<()> {
        let line = self.process.line(deadline)?;
        ensure!(line.as_deref() == Some("ready"), "no warm load: {}", self.process.errors());
        Ok(())
    }

    /// Starts the calls that count (of a warm load).
    pub fn go(&mut self) -> Result<()> {
        self.process.tell("go")
    }

    /// Waits for the end and returns the figures.
    pub fn finish(self, deadline: Duration) -> Result<Figures> {
        let line = self.process.line(deadline)?;
        let line = line.with_context(|| format!("the load failed: {}", self.process.errors()))?;
        serde_json::from_str(&line).with_context(|| format!("reading {line}"))
    }
}
