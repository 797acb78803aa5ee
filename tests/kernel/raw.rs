//! Bytes to say and the way to a TLS library come in; a Python process that says just that goes out.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tempfile::TempDir;
use tollgate_tests::harness::{Process, copy_program, temp_folder};
use tollgate_tests::lab::Lab;
use tollgate_tests::lab::clients::run::set_environment;
use tollgate_tests::lab::clients::spec::{OPENAI_KEY, PROMPT};
use tollgate_tests::lab::net::command_in;

/// The script, carried in the test so that it works where the source is not.
const SCRIPT: &str = include_str!("../clients/raw.py");
/// Time in which such a process gets anywhere, on a busy machine too.
const DEADLINE: Duration = Duration::from_mins(1);

/// What a process should do.
pub(crate) struct Raw {
    /// The interpreter.
    pub(crate) python: PathBuf,
    /// Folder in which libraries are looked for first.
    pub(crate) libraries: Option<PathBuf>,
    /// Libraries mapped by path, in this order.
    pub(crate) load: Vec<PathBuf>,
    /// Whether the last of them is called directly, not by Python's own module.
    pub(crate) direct: bool,
    /// Whether the connection is made before the library is there.
    pub(crate) connect_first: bool,
    /// Whether the process waits between its two steps.
    pub(crate) pause: bool,
    /// The requests, written at once.
    pub(crate) messages: Vec<String>,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            python: "/usr/bin/python3".into(),
            libraries: None,
            load: Vec::new(),
            direct: false,
            connect_first: false,
            pause: false,
            messages: Vec::new(),
        }
    }
}

/// A process under way.
pub(crate) struct Talking {
    process: Process,
    _folder: TempDir,
}

impl Raw {
    /// Starts the process in the lab's first client namespace.
    pub(crate) fn start(&self, lab: &Lab) -> Result<Talking> {
        let folder = temp_folder("raw")?;
        let (script, read) = (folder.path().join("raw.py"), folder.path().join("spec.json"));
        fs::write(&script, SCRIPT)?;
        let spec = json!({
            "host": "api.openai.com", "ca": lab.ca_file(), "messages": self.messages,
            "load": self.load, "direct": self.direct, "connect_first": self.connect_first,
            "pause": self.pause,
        });
        fs::write(&read, spec.to_string())?;
        let mut command = command_in(lab.net().client(0)?, &self.python);
        command.arg(&script).arg(&read);
        set_environment(&mut command, folder.path(), &lab.ca_file());
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        let process = Process::start(&mut command, &folder.path().join("errors"))?;
        Ok(Talking { process, _folder: folder })
    }
}

impl Talking {
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits until the process has done its first step.
    pub(crate) fn wait_ready(&self) -> Result<()> {
        let line = self.process.line(DEADLINE)?;
        ensure!(line.as_deref() == Some("ready"), "{line:?}: {}", self.process.errors());
        Ok(())
    }

    /// Lets it do the second.
    pub(crate) fn go(&mut self) -> Result<()> {
        self.process.tell("go")
    }

    /// Waits for the end; gives back the status of each answer.
    pub(crate) fn finish(mut self) -> Result<Vec<u16>> {
        let line = self.process.line(DEADLINE)?;
        let line = line.with_context(|| format!("it failed: {}", self.process.errors()))?;
        self.process.wait(DEADLINE)?;
        serde_json::from_str(&line).with_context(|| format!("reading {line}"))
    }
}

/// A request as bytes; `fields` are further header fields, each with its line's end.
pub(crate) fn message(start: &str, fields: &str, body: &str) -> String {
    let length =
        if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    format!(
        "{start} HTTP/1.1\r\nhost: api.openai.com\r\nauthorization: Bearer {OPENAI_KEY}\r\n\
         {fields}{length}\r\n{body}"
    )
}

/// A whole chat completion with a scenario's knobs.
pub(crate) fn chat(knobs: &str, fields: &str) -> String {
    let body = json!({
        "messages": [{"role": "user", "content": PROMPT}], "model": "gpt-4o-mini",
    });
    let fields = format!("content-type: application/json\r\nx-lab-scenario: {knobs}\r\n{fields}");
    message("POST /v1/chat/completions", &fields, &body.to_string())
}

/// Copies a file under another name and gives back the copy's path.
pub(crate) fn copy(from: &Path, folder: &Path, name: &str) -> Result<PathBuf> {
    let to = folder.join(name);
    copy_program(from, &to)?;
    Ok(to)
}
