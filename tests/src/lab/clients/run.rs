//! A specification and a namespace come in; a running client goes out, and at its end what it saw.

use std::env::var_os;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::harness::{Process, temp_folder};
use crate::lab::clients::install::Kit;
use crate::lab::clients::rust::RustClient;
use crate::lab::clients::seen::{Seen, SeenCall};
use crate::lab::clients::spec::{Program, Spec};
use crate::lab::net::command_in;

/// Scripts, carried in the harness so that it works where the source is not.
const SCRIPTS: &[(Program, &str, &str)] = &[
    (Program::Python, "client.py", include_str!("../../../clients/client.py")),
    (Program::Grpc, "client.py", include_str!("../../../clients/client.py")),
    (Program::Node, "client.mjs", include_str!("../../../clients/client.mjs")),
    (Program::Curl, "client.sh", include_str!("../../../clients/client.sh")),
];

/// Under which names libraries look for the authorities that they trust.
const AUTHORITY_NAMES: [&str; 5] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
];

/// A client process in a namespace.
#[derive(Debug)]
pub struct Running {
    process: Process,
    lines: Vec<String>,
    // Kept for the files in it; removed when the client is dropped.
    _folder: TempDir,
}

impl Running {
    /// Starts a client; `ca` is the file that makes it trust the lab.
    pub fn start(kit: &Kit, namespace: &str, ca: &Path, spec: &Spec) -> Result<Self> {
        let folder = temp_folder("client")?;
        let mut command = prepare(kit, namespace, ca, folder.path(), spec)?;
        let process = Process::start(&mut command, &folder.path().join("errors"))?;
        Ok(Self { process, lines: Vec::new(), _folder: folder })
    }

    /// Returns the client's process id (`ip netns exec` becomes the client); curl is a child of it.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits until the first phase is over and the client holds its connections open.
    pub fn wait_ready(&mut self, deadline: Duration) -> Result<()> {
        loop {
            let line = self.process.line(deadline)?;
            let line =
                line.with_context(|| format!("the client ended early: {}", self.process.errors()))?;
            if line == "ready" {
                return Ok(());
            }
            self.lines.push(line);
        }
    }

    /// Starts the second phase.
    pub fn go(&mut self) -> Result<()> {
        self.process.tell("go")
    }

    /// Waits for the end and returns what the client saw.
    pub fn finish(mut self, deadline: Duration) -> Result<Seen> {
        while let Some(line) = self.process.line(deadline)? {
            self.lines.push(line);
        }
        let status = self.process.wait(deadline)?;
        ensure!(status.success(), "the client ended with {status}: {}", self.process.errors());
        let last = self.lines.pop().context("the client printed nothing")?;
        if last == r#"{"calls":"above"}"# {
            let calls = self.lines.iter().map(|line| SeenCall::from_line(line));
            return Ok(Seen { calls: calls.collect::<Result<_>>()? });
        }
        Seen::from_line(&last)
    }
}

/// Sets the environment of every client: nothing of ours, and the lab's authority under each name that is read.
pub fn set_environment(command: &mut Command, home: &Path, ca: &Path) {
    command.env_clear().env("HOME", home).env("LANG", "C.UTF-8");
    command.env("PATH", var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into()));
    for name in AUTHORITY_NAMES {
        command.env(name, ca);
    }
}

/// Builds the command of a client, with its files in `folder`, for a test that starts it in its own way.
pub fn prepare(
    kit: &Kit,
    namespace: &str,
    ca: &Path,
    folder: &Path,
    spec: &Spec,
) -> Result<Command> {
    let mut command = build(kit, namespace, folder, spec)?;
    set_environment(&mut command, folder, ca);
    command.env("LAB_MODULES", &kit.node_folder);
    Ok(command)
}

fn build(kit: &Kit, namespace: &str, folder: &Path, spec: &Spec) -> Result<Command> {
    let row = spec.row()?;
    let read = folder.join("spec.json");
    fs::write(&read, spec.to_json().to_string()).context("writing the specification")?;
    Ok(match row.program {
        Program::Python | Program::Grpc => {
            let script = write_script(folder, row.program)?;
            arg(command_in(namespace, &kit.python), &[&script, &read])
        }
        Program::Node => {
            let script = write_script(folder, row.program)?;
            arg(command_in(namespace, &kit.node), &[&script, &read])
        }
        Program::Rust(provider) => {
            arg(command_in(namespace, &RustClient::built(provider)?.whole), &[&read])
        }
        Program::RustBare(provider) => {
            arg(command_in(namespace, &RustClient::built(provider)?.bare), &[&read])
        }
        Program::Curl => {
            let script = write_script(folder, row.program)?;
            let mut command = arg(command_in(namespace, Path::new("sh")), &[&script, folder]);
            let body = folder.join("body");
            fs::write(&body, spec.request_body().to_string()).context("writing the body")?;
            command.args([spec.phases.to_string(), spec.count.to_string()]);
            command.arg(body).arg(spec.url());
            add_curl_options(&mut command, spec);
            command
        }
    })
}

fn write_script(folder: &Path, program: Program) -> Result<PathBuf> {
    let (_, name, text) =
        SCRIPTS.iter().find(|(owner, _, _)| *owner == program).context("a script is missing")?;
    let path = folder.join(name);
    fs::write(&path, text).context("writing a client's script")?;
    Ok(path)
}

fn arg(mut command: Command, paths: &[&Path]) -> Command {
    command.args(paths);
    command
}

fn add_curl_options(command: &mut Command, spec: &Spec) {
    let protocol = if spec.client == "curl-h2" { "--http2" } else { "--http1.1" };
    let patience = spec.timeout_secs.to_string();
    command.args(["--silent", "--compressed", protocol, "--max-time", &patience]);
    for (name, value) in spec.request_headers() {
        command.arg("--header").arg(format!("{name}: {value}"));
    }
}
