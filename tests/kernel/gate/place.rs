//! A name comes in; a cgroup, a folder of pins and a sensor with orders for that cgroup go out, and clients inside it.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Once, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;
use tollgate_tests::harness::{Process, note, number_from, temp_folder, wait_until};
use tollgate_tests::lab::clients::load::{self, Figures, Load};
use tollgate_tests::lab::clients::run::{prepare, set_environment};
use tollgate_tests::lab::clients::{Seen, SeenCall, Spec};
use tollgate_tests::lab::net::command_in;
use tollgate_tests::lab::{CLIENT_DEADLINE, Lab};

use crate::sensor::Sensor;

/// Denied calls of each client, and as many allowed ones beside them.
const CALLS: u32 = 100;

/// Time for many calls of one process.
const LOAD_DEADLINE: Duration = Duration::from_mins(10);

/// Begin of the names of what tests of the gate make: the id of the test's process and a name of its own follow.
const OWN: &str = "gate-test-";
/// Where what the gate keeps beyond its agent is pinned.
const PINS: &str = "/sys/fs/bpf";

/// Takes away the gates of tests that were killed: they stand on, and hold the sockets of the tests that come after.
fn sweep(root: &Path) {
    let is_left = |name: &str| {
        let pid = name.strip_prefix(OWN).and_then(|rest| rest.split('-').next());
        pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
    };
    for folder in [Path::new(PINS), root] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if !entry.file_name().to_str().is_some_and(is_left) {
                continue;
            }
            let left = entry.path();
            // Another test may be at the same work; a cgroup goes once what runs in it has ended.
            if folder == root {
                let _ended = fs::write(left.join("cgroup.kill"), "1");
                let gone = || fs::remove_dir(&left).ok().or((!left.exists()).then_some(()));
                let _removed = wait_until(CLIENT_DEADLINE, "the end of what a test left", gone);
            } else {
                let _removed = fs::remove_dir_all(&left);
            }
            note(&format!("{} of a test that was killed is taken away", left.display()));
        }
    }
}

/// Calls of each kind: those of continuous integration, or as many as `TOLLGATE_GATE_CALLS` says.
pub(super) fn calls() -> u32 {
    number_from("TOLLGATE_GATE_CALLS").unwrap_or(CALLS)
}

/// A cgroup and a folder of pins that go with the test.
pub(crate) struct Place {
    pub(crate) cgroup: PathBuf,
    pub(crate) pins: PathBuf,
    folder: TempDir,
    _turn: Turn,
}

/// A socket has one watcher, and a gate that refuses something to everybody watches all that are made: it has the machine
/// to itself. Gates that are about their own cgroup go side by side.
static TURNS: RwLock<()> = RwLock::new(());

/// Held for its drop.
#[expect(dead_code, reason = "held for its drop")]
enum Turn {
    Shared(RwLockReadGuard<'static, ()>),
    Whole(RwLockWriteGuard<'static, ()>),
}

/// A client that runs in the cgroup.
pub(super) struct Client {
    pub(super) process: Process,
    _folder: TempDir,
}

impl Place {
    /// A place for a gate that is about its cgroup alone.
    pub(crate) fn new(name: &str) -> Result<Self> {
        Self::make(name, Turn::Shared(TURNS.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// A place for a gate that refuses something to everybody.
    pub(crate) fn whole(name: &str) -> Result<Self> {
        Self::make(name, Turn::Whole(TURNS.write().unwrap_or_else(PoisonError::into_inner)))
    }

    fn make(name: &str, turn: Turn) -> Result<Self> {
        static SWEPT: Once = Once::new();
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let root = mounts
            .lines()
            .find_map(|line| {
                let mut fields = line.split(' ').skip(1);
                let point = fields.next()?;
                (fields.next()? == "cgroup2").then(|| PathBuf::from(point))
            })
            .context("no cgroup v2 is mounted")?;
        SWEPT.call_once(|| sweep(&root));
        let own = format!("{OWN}{}-{name}", std::process::id());
        let cgroup = root.join(&own);
        fs::create_dir(&cgroup)?;
        let pins = Path::new(PINS).join(own);
        Ok(Self { cgroup, pins, folder: temp_folder("gate")?, _turn: turn })
    }

    /// Lines of a configuration with these orders for the cgroup; the class is called `test`.
    pub(crate) fn options(&self, orders: &str) -> Result<String> {
        let file = self.folder.path().join("orders.toml");
        let text = format!("[[subject]]\nname = \"test\"\ncgroups = [{:?}]\n{orders}", self.cgroup);
        fs::write(&file, text)?;
        Ok(format!(
            "[enforce]\nenabled = true\nproof_seconds = 1\npins = {:?}\norders = {file:?}",
            self.pins
        ))
    }

    /// Starts a sensor with these orders for the cgroup.
    pub(crate) fn sensor(&self, orders: &str) -> Result<Sensor> {
        Sensor::start(&self.options(orders)?)
    }

    /// Has a command start in the cgroup, from its first instruction on.
    pub(super) fn inside(&self, bare: &Command) -> Command {
        let mut command = Command::new("sh");
        let enter = format!("echo $$ >{}/cgroup.procs; exec \"$@\"", self.cgroup.display());
        command.args(["-c", &enter, "sh"]).arg(bare.get_program()).args(bare.get_args());
        command.env_clear();
        command.envs(bare.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    }

    /// Starts a client in the cgroup.
    pub(super) fn start(&self, lab: &Lab, spec: &Spec) -> Result<Client> {
        let folder = temp_folder("client")?;
        let namespace = lab.net().client(0)?;
        let bare = prepare(lab.kit(), namespace, &lab.ca_file(), folder.path(), spec)?;
        let process = Process::start(&mut self.inside(&bare), &folder.path().join("errors"))?;
        Ok(Client { process, _folder: folder })
    }

    /// Runs a client in the cgroup to its end.
    pub(super) fn run(&self, lab: &Lab, spec: &Spec) -> Result<Seen> {
        self.start(lab, spec)?.finish()
    }

    /// Runs a load in the cgroup to its end.
    pub(super) fn load(&self, lab: &Lab, load: &Load) -> Result<Figures> {
        let folder = temp_folder("load")?;
        let mut bare = load::prepare(lab.kit(), lab.net().client(0)?, &lab.ca_file(), load)?;
        set_environment(&mut bare, folder.path(), &lab.ca_file());
        let process = Process::start(&mut self.inside(&bare), &folder.path().join("errors"))?;
        let line = process.line(LOAD_DEADLINE)?.with_context(|| process.errors())?;
        serde_json::from_str(&line).with_context(|| format!("reading {line}"))
    }

    /// Has one curl process make the calls of two specifications by turns; gives what it saw of each.
    pub(super) fn curl(&self, lab: &Lab, pair: [&Spec; 2]) -> Result<[Vec<SeenCall>; 2]> {
        let folder = temp_folder("curl")?;
        let mut lines = Vec::new();
        for number in 0..pair[0].count {
            for (turn, spec) in pair.iter().enumerate() {
                lines.push(transfer(folder.path(), spec, (number, turn))?);
            }
        }
        let config = folder.path().join("config");
        fs::write(&config, lines.join("next\n"))?;
        let mut bare = command_in(lab.net().client(0)?, Path::new("curl"));
        bare.arg("--config").arg(&config);
        set_environment(&mut bare, folder.path(), &lab.ca_file());
        let process = Process::start(&mut self.inside(&bare), &folder.path().join("errors"))?;
        let mut seen = [Vec::new(), Vec::new()];
        while let Some(line) = process.line(CLIENT_DEADLINE)? {
            let (turn, line) = line.split_once(' ').context("a line without its turn")?;
            let call = SeenCall::from_line(line)?;
            seen.get_mut(turn.parse::<usize>()?).context("an unknown turn")?.push(call);
        }
        Ok(seen)
    }

    /// Starts the script that asks again and again whether it may connect and write.
    pub(super) fn pulse(&self, lab: &Lab, host: &str) -> Result<Client> {
        let folder = temp_folder("pulse")?;
        let script = folder.path().join("pulse.py");
        fs::write(&script, include_str!("../../clients/pulse.py"))?;
        let mut bare = command_in(lab.net().client(0)?, &lab.kit().python);
        bare.arg(&script).arg(host);
        set_environment(&mut bare, folder.path(), &lab.ca_file());
        let process = Process::start(&mut self.inside(&bare), &folder.path().join("errors"))?;
        Ok(Client { process, _folder: folder })
    }

    /// Whether anything of the gate is pinned.
    pub(super) fn is_pinned(&self) -> bool {
        fs::metadata(&self.pins).is_ok_and(|meta| meta.nlink() > 0)
    }
}

/// Options of one transfer of curl, as its configuration files have them.
fn transfer(folder: &Path, spec: &Spec, (number, turn): (u32, usize)) -> Result<String> {
    let (body, answer) = (format!("body.{turn}"), format!("answer.{turn}.{number}"));
    fs::write(folder.join(&body), spec.request_body().to_string())?;
    let file = folder.join(&answer);
    let line = format!(
        "{turn} {{\\\"status\\\":\\\"%{{http_code}}\\\",\\\"exit\\\":%{{exitcode}},\\\"protocol\\\":\\\"%{{http_version}}\\\",\\\"file\\\":\\\"{}\\\"}}\\n",
        file.display()
    );
    let protocol = if spec.client == "curl-h2" { "http2" } else { "http1.1" };
    let mut text = format!(
        "silent\ncompressed\n{protocol}\nmax-time = {}\nurl = \"{}\"\ndata-binary = \"@{}\"\noutput = {file:?}\nwrite-out = \"{line}\"\n",
        spec.timeout_secs,
        spec.url(),
        folder.join(&body).display()
    );
    for (name, value) in spec.request_headers() {
        writeln!(text, "header = \"{name}: {value}\"")?;
    }
    Ok(text)
}

impl Client {
    /// Waits for the end and gives what the client saw.
    pub(super) fn finish(self) -> Result<Seen> {
        let mut lines = Vec::new();
        while let Some(line) = self.process.line(LOAD_DEADLINE)? {
            lines.push(line);
        }
        let last = lines.pop().with_context(|| self.process.errors())?;
        if last == r#"{"calls":"above"}"# {
            let calls =
                lines.iter().map(|line| SeenCall::from_line(line)).collect::<Result<_>>()?;
            return Ok(Seen { calls });
        }
        Seen::from_line(&last)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What the gate has pinned goes with its folder; a cgroup goes once its last process is reaped.
        let _unpinned = fs::remove_dir_all(&self.pins);
        let gone = || fs::remove_dir(&self.cgroup).ok();
        let _removed = wait_until(CLIENT_DEADLINE, "an empty cgroup", gone);
    }
}
