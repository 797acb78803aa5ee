//! Subjects in a cgroup of the test's own get orders: what is denied never arrives, what is allowed is not harmed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;
use tollgate_tests::harness::{Process, temp_folder, wait_until};
use tollgate_tests::lab::clients::run::prepare;
use tollgate_tests::lab::clients::{Api, Seen, SeenCall, Spec};
use tollgate_tests::lab::{CLIENT_DEADLINE, Lab};

use crate::openssl::lab;
use crate::sensor::Sensor;

/// Denied calls of each client, and as many allowed ones beside them.
const CALLS: u32 = 40;
/// Clients with the calls they make at once: blocking, asyncio, Node, and one process a call.
const CLIENTS: [(&str, u32); 4] =
    [("openai-sync", 1), ("openai-async", CALLS), ("node-openai", CALLS), ("curl-h1", 1)];

/// A cgroup and a folder of pins that go with the test.
struct Place {
    cgroup: PathBuf,
    pins: PathBuf,
    folder: TempDir,
}

impl Place {
    fn new(name: &str) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let root = mounts
            .lines()
            .find_map(|line| {
                let mut fields = line.split(' ').skip(1);
                let point = fields.next()?;
                (fields.next()? == "cgroup2").then(|| PathBuf::from(point))
            })
            .context("no cgroup v2 is mounted")?;
        let own = format!("gate-test-{}-{name}", std::process::id());
        let cgroup = root.join(&own);
        fs::create_dir(&cgroup)?;
        Ok(Self { cgroup, pins: Path::new("/sys/fs/bpf").join(own), folder: temp_folder("gate")? })
    }

    /// Starts a sensor with these orders for the cgroup.
    fn sensor(&self, orders: &str) -> Result<Sensor> {
        let file = self.folder.path().join("orders.toml");
        let text = format!("[[subject]]\nname = \"test\"\ncgroups = [{:?}]\n{orders}", self.cgroup);
        fs::write(&file, text)?;
        Sensor::start(&format!(
            "[enforce]\nenabled = true\npins = {:?}\norders = {file:?}",
            self.pins
        ))
    }

    /// Starts a client that is in the cgroup from its first instruction on.
    fn start(&self, lab: &Lab, spec: &Spec) -> Result<(Process, TempDir)> {
        let folder = temp_folder("client")?;
        let client = lab.net().client(0)?;
        let bare = prepare(lab.kit(), client, &lab.ca_file(), folder.path(), spec)?;
        let mut command = Command::new("sh");
        let enter = format!("echo $$ >{}/cgroup.procs; exec \"$@\"", self.cgroup.display());
        command.args(["-c", &enter, "sh"]).arg(bare.get_program()).args(bare.get_args());
        command.env_clear();
        command.envs(bare.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let process = Process::start(&mut command, &folder.path().join("errors"))?;
        Ok((process, folder))
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

fn finish((mut process, _folder): (Process, TempDir)) -> Result<Seen> {
    let mut lines = Vec::new();
    while let Some(line) = process.line(CLIENT_DEADLINE)? {
        lines.push(line);
    }
    let last = lines.pop().with_context(|| process.errors())?;
    if last == r#"{"calls":"above"}"# {
        let calls = lines.iter().map(|line| SeenCall::from_line(line)).collect::<Result<_>>()?;
        return Ok(Seen { calls });
    }
    Seen::from_line(&last)
}

#[test]
fn denied_requests_never_arrive_and_allowed_ones_beside_them_do() {
    let lab = lab();
    let place = Place::new("content").unwrap();
    let orders = "deny_paths = [\"openai POST /v1/embeddings\"]\nreason = \"no embeddings here\"\n";
    let sensor = place.sensor(orders).unwrap();
    for (name, at_once) in CLIENTS {
        // The first call of a program that was never seen may be missed; here each is seen once before it counts.
        let seen = place.start(&lab, &Spec::new(name, Api::Chat).scenario("id=known"));
        finish(seen.unwrap()).unwrap();
        let (bad, good) = (format!("denied-{name}"), format!("allowed-{name}"));
        let spec = |api, id: &str| {
            Spec::new(name, api).calls(CALLS, at_once).scenario(&format!("id={id}"))
        };
        let denied = place.start(&lab, &spec(Api::Embeddings, &bad)).unwrap();
        let allowed = place.start(&lab, &spec(Api::Chat, &good)).unwrap();
        let (denied, allowed) = (finish(denied).unwrap(), finish(allowed).unwrap());
        let count = usize::try_from(CALLS).unwrap();
        assert_eq!((denied.calls.len(), allowed.calls.len()), (count, count), "{name}");
        for call in &denied.calls {
            assert!(call.error.is_some(), "{name}: a denied call succeeded: {call:?}");
        }
        for call in &allowed.calls {
            assert!(call.is_complete(), "{name}: an allowed call failed: {call:?}");
        }
        assert_eq!(lab.facts_of(&good, count).unwrap().len(), count, "{name}");
        let arrived = lab.facts().into_iter().filter(|fact| fact.scenario == bad).count();
        assert_eq!(arrived, 0, "{name}: denied requests arrived\n{}", sensor.log());
    }
    let told = || {
        let events = sensor.events();
        let told = events.iter().any(|event| {
            event["event.name"] == "tollgate.decision"
                && event["tollgate.layer"] == "content"
                && event["tollgate.reason"] == "no embeddings here"
        });
        told.then_some(())
    };
    wait_until(CLIENT_DEADLINE, "the decision's event", told).unwrap();
}

#[test]
fn denied_name_stays_denied_while_the_agent_is_killed_and_starts_again() {
    /// Deaths of the agent.
    const ROUNDS: u32 = 10;
    let lab = lab();
    let place = Place::new("name").unwrap();
    let mut sensor = place.sensor("deny = [\"openai\"]\n").unwrap();
    let spec = Spec::new("curl-h1", Api::Chat).calls(20, 1).scenario("id=dead");
    for _ in 0..ROUNDS {
        let denied = place.start(&lab, &spec).unwrap();
        sensor.kill_and_restart().unwrap();
        let seen = finish(denied).unwrap();
        assert!(seen.calls.iter().all(|call| call.error.is_some()), "{seen:?}");
    }
    let arrived = lab.facts().into_iter().filter(|fact| fact.scenario == "dead").count();
    assert_eq!(arrived, 0);
    let elsewhere = Spec::new("curl-h1", Api::Messages).scenario("id=free");
    let seen = finish(place.start(&lab, &elsewhere).unwrap()).unwrap();
    assert!(seen.calls.iter().all(SeenCall::is_complete), "{seen:?}");
}
