//! A watcher comes in; how many requests a saturated TLS server answers beside some AI calls, and what these cost, goes out.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bench::net::{Background, Net, processor_seconds};
use crate::bench::watch::{self, Programs, Watcher};
use crate::shell::{output, run};

/// Port of the server that has nothing to do with AI.
const PORT: u16 = 8443;
/// Connections that saturate it.
const CONNECTIONS: u32 = 32;
/// AI calls a second beside it.
const CALLS_A_SECOND: u32 = 20;
/// Calls and calls a second of the load that only the AI servers see.
const LOAD_CALLS: u32 = 5000;
const LOAD_CALLS_A_SECOND: u32 = 500;
/// Time in which servers start.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// Time in which the sensor tells of the last calls.
const TOLD_DEADLINE: Duration = Duration::from_secs(5);

/// What one round of the saturated server came to.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Requests a second.
    pub requests: f64,
    /// Processor time of the server for a request, in microseconds: what else runs on the machine disturbs it less.
    pub server_us: f64,
    /// AI calls made beside it.
    pub calls_made: u64,
    /// AI calls that the watcher told of.
    pub calls_seen: usize,
}

/// What a load of AI calls cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Calls made.
    pub calls_made: u64,
    /// Calls that the watcher told of.
    pub calls_seen: usize,
    /// Losses that the watcher told of.
    pub losses: usize,
    /// Processor time of the watcher for 1,000 calls, in milliseconds.
    pub processor_ms: f64,
    /// Median time of a call as its client sees it, in microseconds.
    pub median_us: f64,
}

/// Servers in their namespace.
pub struct Servers<'a> {
    net: &'a Net,
    programs: &'a Programs,
    authority: PathBuf,
    // Ended in this order.
    nginx: Background,
    _lab: Background,
}

impl<'a> Servers<'a> {
    /// Starts nginx and the lab's AI servers.
    pub fn start(net: &'a Net, programs: &'a Programs) -> Result<Self> {
        let (key, certificate) = (net.file("key.pem"), net.file("certificate.pem"));
        let mut openssl = Command::new("openssl");
        openssl.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ]);
        openssl
            .args(["-days", "2", "-subj", "/CN=bench", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate);
        output(&mut openssl)?;
        let config = net.file("nginx.conf");
        fs::write(&config, nginx_config(net)).context("writing nginx's configuration")?;
        let mut command = net.command("nginx");
        command.arg("-e").arg(net.file("nginx.log")).arg("-c").arg(&config);
        let pid = net.file("nginx.pid");
        let mut nginx = Background::start("nginx", &mut command, &net.file("nginx"))?;
        nginx.wait_until("its process id", START_DEADLINE, || pid.exists())?;
        let folder = net.file("lab");
        let told = net.file("lab-told");
        let mut command = Command::new(&programs.lab);
        command
            .args(["serve", "--namespace", net.name(), "--address", "127.0.0.1", "--folder"])
            .arg(&folder);
        let mut lab = Background::start("lab", &mut command, &told)?;
        lab.wait_until("its address", START_DEADLINE, || {
            fs::read_to_string(&told).is_ok_and(|text| text.contains("tls"))
        })?;
        Ok(Self { net, programs, authority: folder.join("ca.pem"), nginx, _lab: lab })
    }

    /// Saturates nginx while a few AI calls are made.
    pub fn round(&self, watcher: Watcher, seconds: u32) -> Result<Round> {
        let watching = watch::start(watcher, self.net, self.programs, "intent")?;
        let mut load = self.load(CALLS_A_SECOND.saturating_mul(seconds), CALLS_A_SECOND, 2)?;
        let mut wrk = self.net.command("wrk");
        wrk.args([
            "-t1",
            &format!("-c{CONNECTIONS}"),
            &format!("-d{seconds}s"),
            "--timeout",
            "10s",
        ]);
        let worker = self.worker()?;
        let before = processor_seconds(worker)?;
        let told = output(wrk.arg(format!("https://127.0.0.1:{PORT}/")))?;
        let used = processor_seconds(worker)? - before;
        let requests = requests_a_second(&told)
            .with_context(|| format!("reading the words of wrk: {told}"))?;
        let server_us = used * 1e6 / (requests * f64::from(seconds));
        ensure!(load.wait()?.success(), "the AI calls failed: {}", load.told());
        let (calls_made, _) = self.figures()?;
        watching.wait_for_calls(usize::try_from(calls_made)?, TOLD_DEADLINE);
        let calls_seen = watching.calls();
        watching.stop()?;
        Ok(Round { requests, server_us, calls_made, calls_seen })
    }

    /// Makes AI calls alone, and measures what the watcher needs for them.
    pub fn cost(&self, watcher: Watcher) -> Result<Cost> {
        let watching = watch::start(watcher, self.net, self.programs, "intent")?;
        let used = |id: Option<u32>| id.map_or(Ok(0.0), processor_seconds);
        let before = used(watching.id())?;
        let mut load = self.load(LOAD_CALLS, LOAD_CALLS_A_SECOND, 8)?;
        ensure!(load.wait()?.success(), "the AI calls failed: {}", load.told());
        let (calls_made, median_us) = self.figures()?;
        watching.wait_for_calls(usize::try_from(calls_made)?, TOLD_DEADLINE);
        let seconds = used(watching.id())? - before;
        let thousands =
            u32::try_from(calls_made).map(f64::from).context("fewer calls are made")? / 1000.0;
        let (calls_seen, losses) = (watching.calls(), watching.losses());
        watching.stop()?;
        Ok(Cost {
            calls_made,
            calls_seen,
            losses,
            processor_ms: seconds * 1000.0 / thousands,
            median_us,
        })
    }

    /// The process of nginx that serves.
    fn worker(&self) -> Result<u32> {
        let master = self.nginx.id();
        let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children"));
        let children = children.context("reading the processes of nginx")?;
        children
            .split_whitespace()
            .next()
            .and_then(|id| id.parse().ok())
            .context("nginx has no worker")
    }

    /// Streamed calls of 50 chunks with requests of 4 KiB, over keep-alive connections of one process.
    fn load(&self, calls: u32, rate: u32, connections: u32) -> Result<Background> {
        let mut command = self.net.command(&self.programs.load);
        command.args(["127.0.0.1", "443", "api.openai.com"]).arg(&self.authority);
        for number in [connections, calls, 4096, rate, 0] {
            command.arg(number.to_string());
        }
        command.arg("id=bench,chunks=50,flush=batch");
        Background::start("load", &mut command, &self.net.file("load"))
    }

    /// Calls that the last load has made, and their median time in microseconds.
    fn figures(&self) -> Result<(u64, f64)> {
        let text =
            fs::read_to_string(self.net.file("load")).context("reading the load's figures")?;
        let figures: Value = serde_json::from_str(&text).context("reading the load's figures")?;
        let calls =
            figures.get("calls").and_then(Value::as_u64).context("a load counts its calls")?;
        let median =
            figures.get("p50_ns").and_then(Value::as_f64).context("a load has a median")?;
        Ok((calls, median / 1000.0))
    }
}

/// Compiles the load generator of the lab.
pub fn compile_load(source: &std::path::Path, program: &std::path::Path) -> Result<()> {
    run(Command::new("cc").args(["-O2", "-o"]).arg(program).arg(source).args([
        "-lssl",
        "-lcrypto",
        "-lpthread",
    ]))
}

fn nginx_config(net: &Net) -> String {
    let file = |name: &str| net.file(name).to_string_lossy().into_owned();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("    {what}_temp_path {};\n", file(what)))
        .concat();
    format!(
        "daemon off;\nuser root;\nworker_processes 1;\npid {};\nerror_log {};\nevents {{ worker_connections 1024; }}\n\
         http {{\n    access_log off;\n    keepalive_requests 1000000000;\n{temporary}    server {{\n        \
         listen 127.0.0.1:{PORT} ssl;\n        ssl_certificate {};\n        ssl_certificate_key {};\n        \
         location / {{ return 200 \"{}\"; }}\n    }}\n}}\n",
        file("nginx.pid"),
        file("nginx.log"),
        file("certificate.pem"),
        file("key.pem"),
        "x".repeat(1024),
    )
}

/// Reads wrk's figure; `None` where requests have failed.
fn requests_a_second(told: &str) -> Option<f64> {
    let failed = ["Non-2xx", "Socket errors"].iter().any(|word| told.contains(word));
    let number = told.lines().find_map(|line| line.strip_prefix("Requests/sec:"))?;
    number.trim().parse().ok().filter(|_| !failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_wrk_are_read_and_failures_are_not_taken_for_speed() {
        let good = "  123 requests in 1.00s\nRequests/sec:  12345.67\nTransfer/sec: 1MB\n";
        assert!(requests_a_second(good).is_some_and(|speed| (speed - 12_345.67).abs() < 1e-6));
        assert_eq!(requests_a_second(&format!("  Socket errors: read 3\n{good}")), None);
        assert_eq!(requests_a_second("unable to connect"), None);
    }
}
