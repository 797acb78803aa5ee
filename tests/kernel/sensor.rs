//! A configuration comes in; a running sensor goes out, with the events it has written so far.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tollgate_tests::harness::{temp_folder, wait_until};
use tollgate_tests::lab::clients::spec::{ANTHROPIC_KEY, OPENAI_KEY, PROMPT, XAI_KEY};
use tollgate_tests::lab::provider::fact::Fact;

/// Time in which the sensor loads its programs, on a machine that runs all tests at once.
const START_DEADLINE: Duration = Duration::from_mins(1);
/// Time in which a call that has ended is reported.
const EVENT_DEADLINE: Duration = Duration::from_secs(20);

/// Time after which a call that was not reported counts as missed.
const SOON: Duration = Duration::from_secs(2);

/// What nothing that the sensor says may hold: the keys and the prompt of the clients, and the words of every answer.
const SECRETS: [&str; 6] =
    [OPENAI_KEY, ANTHROPIC_KEY, XAI_KEY, PROMPT, "w\u{f6}rd0", "no to your prompt"];
/// Bytes of an answer to a scrape: far above what the bounded label sets allow.
const SCRAPE_BYTES_MAX: u64 = 16 << 20;

/// File of more rows for the table of builds, where a test wants some.
const ROWS: &str = "tls_offsets.toml";
/// More rows for the catalogue of providers, in the folder of a sensor that has some.
const PROVIDERS: &str = "providers.toml";

/// A running sensor; killed when dropped, and all it said by then looked through for secrets.
pub(crate) struct Sensor {
    child: Child,
    folder: TempDir,
    starts: u32,
    options: String,
}

impl Sensor {
    /// Starts a sensor of this test's own; `options` are lines of its `[capture]` section.
    pub(crate) fn start(options: &str) -> Result<Self> {
        Self::start_with(options, &[])
    }

    /// Starts a sensor with more rows for its table of builds.
    pub(crate) fn start_with_rows(options: &str, rows: &str) -> Result<Self> {
        Self::start_with(options, &[(ROWS, rows)])
    }

    /// Starts a sensor with more rows for its catalogue of providers.
    pub(crate) fn start_with_providers(options: &str, rows: &str) -> Result<Self> {
        Self::start_with(options, &[(PROVIDERS, rows)])
    }

    /// Starts a sensor and does not wait for it.
    pub(crate) fn spawn(options: &str) -> Result<Self> {
        Self::spawn_with(options, &[])
    }

    fn start_with(options: &str, files: &[(&str, &str)]) -> Result<Self> {
        let sensor = Self::spawn_with(options, files)?;
        sensor.wait_started()?;
        Ok(sensor)
    }

    fn spawn_with(options: &str, files: &[(&str, &str)]) -> Result<Self> {
        let folder = temp_folder("sensor")?;
        for (name, text) in files {
            fs::write(folder.path().join(name), text)?;
        }
        let child = spawn(folder.path(), options, 0)?;
        Ok(Self { child, folder, starts: 1, options: options.to_owned() })
    }

    /// The file of those rows.
    pub(crate) fn providers(&self) -> PathBuf {
        self.folder.path().join(PROVIDERS)
    }

    /// Kills the sensor without warning.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill().context("killing the sensor")?;
        self.child.wait().context("waiting for the sensor").map(drop)
    }

    /// Kills the sensor without warning and starts it again on the same state.
    pub(crate) fn kill_and_restart(&mut self) -> Result<()> {
        self.kill()?;
        self.start_again()
    }

    /// Starts a sensor that has ended again, on the same state.
    pub(crate) fn start_again(&mut self) -> Result<()> {
        self.child = spawn(self.folder.path(), &self.options, self.starts)?;
        self.starts = self.starts.saturating_add(1);
        self.wait_started()
    }

    /// Starts a sensor that has ended again, on the same state with other options.
    pub(crate) fn start_again_with(&mut self, options: &str) -> Result<()> {
        options.clone_into(&mut self.options);
        self.start_again()
    }

    /// Stops the sensor and starts it again on the same state with other options.
    pub(crate) fn restart_with(&mut self, options: &str) -> Result<()> {
        self.stop()?;
        self.start_again_with(options)
    }

    /// Its configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("tollgate.toml")
    }

    /// The call that answered with the fact's id, if it is reported before a later, certain call of the same sensor
    /// would be: the records of a call are decoded within a tenth of a second.
    pub(crate) fn soon_call_of(&self, fact: &Fact) -> Option<Value> {
        let found = wait_until(SOON, "the call's event", || {
            self.calls().into_iter().find(|call| call["gen_ai.response.id"] == fact.id.as_str())
        });
        found.ok()
    }

    /// Asks the sensor to stop; gives back how long that took.
    pub(crate) fn stop(&mut self) -> Result<Duration> {
        let pid = rustix::process::Pid::from_child(&self.child);
        let began = std::time::Instant::now();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the sensor ended with {status}: {}", self.log());
        Ok(began.elapsed())
    }

    /// Process id of the sensor.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_started(&self) -> Result<()> {
        let started = |event: &Value| {
            event["event.name"] == "tollgate.agent" && event["tollgate.agent.state"] == "started"
        };
        let wanted = usize::try_from(self.starts)?;
        let found = wait_until(START_DEADLINE, "the sensor to start", || {
            (self.events().iter().filter(|event| started(event)).count() >= wanted).then_some(())
        });
        found.with_context(|| self.log())
    }

    /// Waits until the sensor holds a probe in the process: its breakpoints are in the process's memory then, and only
    /// the sensor's own count of probed processes tells.
    pub(crate) fn wait_probed(&self, pid: u32) -> Result<()> {
        let log = || self.log();
        let found = wait_until(START_DEADLINE, "probes in the process", || {
            log()
                .lines()
                .any(|line| line.contains(&format!("pid={pid} ")) && line.contains("probes set"))
                .then_some(())
        });
        found.with_context(log)
    }

    /// Waits until the sensor has searched a file for its functions.
    pub(crate) fn wait_searched(&self, file: &Path) -> Result<()> {
        let wanted = format!("file searched bytes={} ", fs::metadata(file)?.len());
        let found = wait_until(START_DEADLINE, "the search of a file", || {
            self.log().contains(&wanted).then_some(())
        });
        found.with_context(|| self.log())
    }

    /// Every event written so far, over all starts.
    pub(crate) fn events(&self) -> Vec<Value> {
        (0..self.starts)
            .filter_map(|start| fs::read_to_string(events_file(self.folder.path(), start)).ok())
            .flat_map(|text| {
                text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<_>>()
            })
            .collect()
    }

    /// Calls made by a process or by a child of it, once there are `count` of them, in the order they ended.
    pub(crate) fn calls_by(&self, pid: u32, count: usize) -> Result<Vec<Value>> {
        let is_by = |call: &Value| {
            ["process.pid", "process.parent_pid"]
                .iter()
                .any(|name| call[*name].as_u64() == Some(u64::from(pid)))
        };
        let found = wait_until(EVENT_DEADLINE, "the calls of a process", || {
            let calls: Vec<_> = self.calls().into_iter().filter(is_by).collect();
            (calls.len() >= count).then_some(calls)
        });
        let calls =
            found.with_context(|| format!("{count} calls of process {pid}\n{}", self.log()))?;
        ensure!(calls.len() == count, "{} calls instead of {count}: {calls:?}", calls.len());
        Ok(calls)
    }

    /// Asks the sensor's server for a path; gives back status and body.
    pub(crate) fn scrape(&self, path: &str) -> Result<(u16, String)> {
        let log = self.log();
        let told = log.lines().filter(|line| line.contains("metrics and health are served"));
        let address = told.filter_map(|line| line.split("address=").nth(1)).next_back();
        let address = address.and_then(|rest| rest.split_whitespace().next());
        let mut stream = TcpStream::connect(address.context("no address in the log")?)?;
        stream.set_read_timeout(Some(EVENT_DEADLINE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: sensor\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(SCRAPE_BYTES_MAX).read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        Ok((status, body.to_owned()))
    }

    /// All files the sensor has written: events, logs, state.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files = fs::read_dir(self.folder.path()).into_iter().flatten().flatten();
        let state = fs::read_dir(self.folder.path().join("state")).into_iter().flatten().flatten();
        let paths = files.chain(state).map(|entry| entry.path());
        paths.filter_map(|path| Some((path.clone(), fs::read(&path).ok()?))).collect()
    }

    /// Asserts that nothing the sensor has said, exported or written holds a key, a prompt or an answer.
    pub(crate) fn assert_private(&self) {
        let mut said = self.files();
        // A sensor that has been stopped serves no more.
        said.extend(self.scrape("/metrics").map(|(_, text)| ("/metrics".into(), text.into())));
        for (place, bytes) in said {
            for secret in SECRETS {
                let found = memchr::memmem::find(&bytes, secret.as_bytes());
                assert!(
                    found.is_none(),
                    "a secret of {} bytes in {}",
                    secret.len(),
                    place.display()
                );
            }
        }
    }

    /// What the sensor said on standard error.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The calls reported so far.
    pub(crate) fn calls(&self) -> Vec<Value> {
        self.events().into_iter().filter(|event| event["event.name"] == "tollgate.call").collect()
    }

    /// Waits until the call that answered with the fact's id is reported; fails where it is reported more than once.
    pub(crate) fn call_of(&self, fact: &Fact) -> Result<Value> {
        let found = wait_until(EVENT_DEADLINE, "the call's event", || {
            let calls: Vec<_> = self
                .calls()
                .into_iter()
                .filter(|call| call["gen_ai.response.id"] == fact.id.as_str())
                .collect();
            (!calls.is_empty()).then_some(calls)
        });
        let calls = found
            .with_context(|| format!("no event for {} {} {}", fact.scenario, fact.id, fact.path))?;
        ensure!(calls.len() == 1, "{} events for {}", calls.len(), fact.id);
        calls.into_iter().next().context("one call")
    }
}

impl Drop for Sensor {
    fn drop(&mut self) {
        // After a failure the first message is the one to read.
        if !std::thread::panicking() {
            self.assert_private();
        }
        // A sensor that has already ended needs no killing.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn events_file(folder: &Path, start: u32) -> PathBuf {
    folder.join(format!("events.{start}.jsonl"))
}

fn spawn(folder: &Path, options: &str, start: u32) -> Result<Child> {
    let config = folder.join("tollgate.toml");
    let state = folder.join("state");
    let row = |(key, name): (&str, &str)| {
        let file = folder.join(name);
        if file.exists() { format!("{key} = {file:?}\n") } else { String::new() }
    };
    let rows = [("tls_offsets", ROWS), ("providers", PROVIDERS)].map(row).concat();
    let text = format!(
        "[log]\nlevel = \"warn,sensor_user::agent=debug\"\n[capture]\n{options}\n[files]\n{rows}state = {:?}\n[report]\nlisten = \"127.0.0.1:0\"\n[control]\nsocket = {:?}\n",
        state.display().to_string(),
        folder.join("agent.sock").display().to_string()
    );
    fs::write(&config, text)?;
    let events = File::create(events_file(folder, start))?;
    let log = File::options().append(true).create(true).open(folder.join("log"))?;
    Command::new(binary()?)
        .args(["run", "--output", "json", "--config"])
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(events)
        .stderr(log)
        .spawn()
        .context("starting the sensor")
}

/// The sensor under test: `TOLLGATE_BIN`, or the one built beside this test, or the release build.
pub(crate) fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("TOLLGATE_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(3).context("a target folder")?;
    let beside = own.ancestors().nth(2).context("a profile folder")?.join("tollgate");
    let release = target.join("release/tollgate");
    [beside, release].into_iter().find(|path| path.is_file()).context(
        "the sensor is not built: run `cargo xtask build`, or the tests by `cargo xtask test`",
    )
}
