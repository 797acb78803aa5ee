//! Programs and a namespace come in; nginx and the lab's AI servers run there, and loads of AI calls against them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bench::net::{Background, Net};
use crate::bench::watch::Programs;
use crate::shell::{output, run};

/// Port of the server that has nothing to do with AI.
pub const PORT: u16 = 8443;
/// Time in which servers start.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// Time in which a load's connections have made their first call.
const READY_DEADLINE: Duration = Duration::from_secs(30);

/// Servers in their namespace.
pub struct Servers<'a> {
    net: &'a Net,
    programs: &'a Programs,
    authority: PathBuf,
    // Ended in this order.
    nginx: Background,
    _lab: Background,
}

/// A load of streamed AI calls: requests of 4 KiB, answers of 50 chunks, keep-alive connections of one process.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Calls in all, besides one of each connection that warms it up.
    pub calls: u32,
    /// Calls a second; 0 for as many as go.
    pub rate: u32,
    /// Connections, each with a thread.
    pub connections: u32,
}

/// What a load tells of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Calls answered whole.
    pub calls: u32,
    /// Calls a second.
    pub rate: f64,
    /// Median time of a call, in microseconds.
    pub median_us: f64,
    /// Time that one call in a hundred exceeds, in microseconds.
    pub p99_us: f64,
}

/// A load whose connections are warm.
pub struct Running<'a> {
    process: Background,
    net: &'a Net,
}

impl<'a> Servers<'a> {
    /// Starts nginx and the lab's AI servers.
    pub fn start(net: &'a Net, programs: &'a Programs) -> Result<Self> {
        make_certificate(net)?;
        let config = net.file("nginx.conf");
        fs::write(&config, nginx_config(net)).context("writing nginx's configuration")?;
        let mut command = net.command("nginx");
        command.arg("-e").arg(net.file("nginx.log")).arg("-c").arg(&config);
        let pid = net.file("nginx.pid");
        let mut nginx = Background::start("nginx", &mut command, &net.file("nginx"))?;
        nginx.wait_until("its process id", START_DEADLINE, || pid.exists())?;
        let (folder, told) = (net.file("lab"), net.file("lab-told"));
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

    /// Starts a load and returns when its connections are warm.
    pub fn load(&self, load: Load) -> Result<Running<'a>> {
        let mut command = self.net.command(&self.programs.load);
        command.args(["127.0.0.1", "443", "api.openai.com"]).arg(&self.authority);
        for number in [load.connections, load.calls, 4096, load.rate, 1] {
            command.arg(number.to_string());
        }
        command.arg("id=bench,chunks=50,flush=batch");
        let out = self.net.file("load");
        let mut process = Background::start_listening("load", &mut command, &out)?;
        process.wait_until("warm connections", READY_DEADLINE, || {
            fs::read_to_string(&out).is_ok_and(|text| text.starts_with("ready"))
        })?;
        Ok(Running { process, net: self.net })
    }

    /// The process of nginx that serves.
    pub fn worker(&self) -> Result<u32> {
        let master = self.nginx.id();
        let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children"));
        let children = children.context("reading the processes of nginx")?;
        children
            .split_whitespace()
            .next()
            .and_then(|id| id.parse().ok())
            .context("nginx has no worker")
    }
}

impl Running<'_> {
    /// Process id of the load.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Starts the calls that count.
    pub fn go(&mut self) -> Result<()> {
        self.process.tell("go\n")
    }

    /// Whether the load still makes calls.
    pub fn is_running(&mut self) -> Result<bool> {
        self.process.is_running()
    }

    /// Waits for the end.
    pub fn finish(mut self) -> Result<Figures> {
        ensure!(self.process.wait()?.success(), "the AI calls failed: {}", self.process.told());
        let text =
            fs::read_to_string(self.net.file("load")).context("reading the load's figures")?;
        let line = text.lines().nth(1).context("a load tells its figures")?;
        let figures: Value = serde_json::from_str(line).context("reading the load's figures")?;
        read(&figures).context("a load tells its figures")
    }
}

fn read(figures: &Value) -> Option<Figures> {
    let number = |name: &str| figures.get(name).and_then(Value::as_f64);
    let calls = u32::try_from(figures.get("calls")?.as_u64()?).ok()?;
    let seconds = (number("ended_ns")? - number("began_ns")?) / 1e9;
    Some(Figures {
        calls,
        rate: f64::from(calls) / seconds,
        median_us: number("p50_ns")? / 1000.0,
        p99_us: number("p99_ns")? / 1000.0,
    })
}

/// Compiles a C program that uses libssl.
pub fn compile(source: &Path, program: &Path) -> Result<()> {
    run(Command::new("cc").args(["-O2", "-o"]).arg(program).arg(source).args([
        "-lssl",
        "-lcrypto",
        "-lpthread",
    ]))
}

fn make_certificate(net: &Net) -> Result<()> {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    openssl.args(["-nodes", "-days", "2", "-subj", "/CN=bench", "-keyout"]);
    openssl.arg(net.file("key.pem")).arg("-out").arg(net.file("certificate.pem"));
    output(&mut openssl).map(drop)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_load_are_read() {
        let text = "{\"calls\":10,\"failed\":0,\"began_ns\":0,\"ended_ns\":2000000000,\"p50_ns\":1500,\"p99_ns\":9000}";
        let figures = read(&serde_json::from_str(text).unwrap());
        assert_eq!(figures, Some(Figures { calls: 10, rate: 5.0, median_us: 1.5, p99_us: 9.0 }));
    }
}
