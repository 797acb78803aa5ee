//! A lab, an enforced cgroup and a sensor come in; a way is tried there, and what arrived and what was told goes out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tollgate_tests::harness::{Process, temp_folder, wait_until};
use tollgate_tests::lab::clients::run::set_environment;
use tollgate_tests::lab::clients::spec::{OPENAI_KEY, PROMPT};
use tollgate_tests::lab::net::{DNS_ADDRESS, Options, address_of, address_v6_of};
use tollgate_tests::lab::{CLIENT_DEADLINE, Lab};

use crate::gate::place::Place;
use crate::sensor::Sensor;

use super::rows::{Outcome, Row};

const SCRIPTS: [(&str, &str); 4] = [
    ("evade.py", include_str!("../../clients/evade.py")),
    ("around.py", include_str!("../../clients/around.py")),
    ("detach.py", include_str!("../../clients/detach.py")),
    ("say.py", include_str!("../../clients/say.py")),
];
const STATIC: &str = include_str!("../../clients/static.c");
/// The host that is forbidden.
pub(super) const DENIED: &str = "api.groq.com";
/// Another host that is denied, and whose name no test asks for.
pub(super) const UNASKED: &str = "api.x.ai";
/// Time in which a decision is told.
const EVENT_DEADLINE: Duration = Duration::from_secs(20);
/// Clients' certificates and keys of a tunnel, made up for it.
const CERTIFICATE: &str = "certificate.pem";

/// Where ways are tried.
pub(super) struct Stage {
    pub(super) lab: Lab,
    pub(super) place: Place,
    pub(super) sensor: Sensor,
    folder: tempfile::TempDir,
    program: PathBuf,
}

/// What came of a way.
#[derive(Debug)]
pub(super) struct Tried {
    /// What its process saw.
    pub(super) outcome: Value,
    /// Whether it got through.
    pub(super) leaked: bool,
    /// Decisions told since the way began.
    pub(super) decisions: Vec<Value>,
}

impl Stage {
    /// A cgroup that may not reach the provider by name, and whatever else the orders say.
    pub(super) fn new(name: &str, orders: &str) -> Result<Self> {
        let lab = Lab::up(&Options { clients: 2, ..Options::default() })?;
        let place = Place::new(&format!("evade-{name}"))?;
        let sensor = place.sensor(&format!("deny = [\"groq\", \"xai\"]\n{orders}"))?;
        let folder = temp_folder("evade")?;
        for (file, text) in SCRIPTS {
            fs::write(folder.path().join(file), text)?;
        }
        let made = rcgen::generate_simple_self_signed(["tunnel.example".to_owned()])?;
        let certificate = format!("{}{}", made.signing_key.serialize_pem(), made.cert.pem());
        fs::write(folder.path().join(CERTIFICATE), certificate)?;
        let program = folder.path().join("static");
        let source = folder.path().join("static.c");
        fs::write(&source, STATIC)?;
        let mut compiler = Command::new("cc");
        compiler.args(["-static", "-O1", "-o"]).arg(&program).arg(&source);
        ensure!(compiler.status()?.success(), "compiling a static program");
        Ok(Self { lab, place, sensor, folder, program })
    }

    /// What a way is told: it goes to the denied host by its name.
    pub(super) fn spec(&self, way: &str) -> Value {
        let address = address_of(DENIED).map(|address| address.to_string());
        json!({
            "way": way, "address": address, "name": DENIED, "authority": DENIED,
            "ca": self.lab.ca_file(), "key": OPENAI_KEY, "prompt": PROMPT,
            "scenario": format!("id={}", way.replace([' ', ','], "-")),
            "cgroup": self.place.cgroup, "static": self.program,
            "certificate": self.folder.path().join(CERTIFICATE),
            "allowed": address_of("api.openai.com").map(|address| address.to_string()),
            "address6": address_v6_of(DENIED).map(|address| address.to_string()),
            "names": DNS_ADDRESS.to_string(), "tries": 200,
        })
    }

    /// Tries a way in one of the lab's namespaces; what is refused is told.
    pub(super) fn try_in(&self, client: usize, spec: &Value) -> Result<Tried> {
        self.try_by(self.prepared(client)?, spec)
    }

    /// Has a prepared process try a way; what is refused is told.
    pub(super) fn try_by(&self, process: Process, spec: &Value) -> Result<Tried> {
        let told_before = self.decisions().len();
        let (outcome, leaked) = self.outcome(process, spec)?;
        if !leaked {
            self.wait_told(told_before).with_context(|| format!("{outcome} in silence"))?;
        }
        let decisions = self.decisions().split_off(told_before);
        Ok(Tried { outcome, leaked, decisions })
    }

    /// Tries a way that is not refused but told.
    pub(super) fn try_told(&self, client: usize, spec: &Value) -> Result<Tried> {
        let told_before = self.decisions().len();
        let (outcome, leaked) = self.attempt(client, spec)?;
        self.wait_told(told_before).with_context(|| format!("{outcome} in silence"))?;
        let decisions = self.decisions().split_off(told_before);
        Ok(Tried { outcome, leaked, decisions })
    }

    /// Detaches a link as root may do it.
    pub(super) fn detach(&self, pin: &Path) -> Result<()> {
        let mut command = Command::new("/usr/bin/python3");
        let done = command.arg(self.folder.path().join("detach.py")).arg(pin).status()?;
        ensure!(done.success(), "{} is not detached", pin.display());
        Ok(())
    }

    /// Waits until more decisions are told than so many.
    pub(super) fn wait_told(&self, before: usize) -> Result<()> {
        let told = || (self.decisions().len() > before).then_some(());
        wait_until(EVENT_DEADLINE, "a decision", told)
    }

    /// Tries a way; gives what its process saw, and whether anything reached the server that it answered.
    pub(super) fn attempt(&self, client: usize, spec: &Value) -> Result<(Value, bool)> {
        self.outcome(self.prepared(client)?, spec)
    }

    /// A process that waits for a line before it becomes the script, with the same id.
    pub(super) fn prepared(&self, client: usize) -> Result<Process> {
        // Not by `ip`, which hides the cgroups.
        let mut command = Command::new("sh");
        let become_it = format!(
            "read -r line; exec nsenter --net=/run/netns/{} /usr/bin/python3 \"$@\"",
            self.lab.net().client(client)?
        );
        command.args(["-c", &become_it, "sh"]).arg(self.folder.path().join("evade.py"));
        command.arg(self.spec_file());
        set_environment(&mut command, self.folder.path(), &self.lab.ca_file());
        Process::start(&mut command, &self.folder.path().join("errors"))
    }

    fn spec_file(&self) -> PathBuf {
        self.folder.path().join("spec.json")
    }

    /// Has a prepared process try a way.
    pub(super) fn outcome(&self, mut process: Process, spec: &Value) -> Result<(Value, bool)> {
        let scenario = spec["scenario"].as_str().unwrap_or_default();
        let id = scenario.trim_start_matches("id=").to_owned();
        fs::write(self.spec_file(), spec.to_string())?;
        process.tell("go")?;
        let line = process.line(CLIENT_DEADLINE)?.with_context(|| process.errors())?;
        process.wait(CLIENT_DEADLINE)?;
        let outcome: Value = serde_json::from_str(&line)?;
        let answered = outcome["answered"].as_u64().unwrap_or_default() != 0;
        let called = outcome["status"].is_u64();
        if called {
            self.lab.facts_of(&id, 1)?;
        }
        let arrived = self.lab.facts().iter().any(|fact| fact.scenario == id);
        Ok((outcome, answered || called || arrived))
    }

    pub(super) fn decisions(&self) -> Vec<Value> {
        let mut events = self.sensor.events();
        events.retain(|event| event["event.name"] == "tollgate.decision");
        events
    }

    /// Tries each row as the script knows it, and compares what came of it with what the table says.
    pub(super) fn check(&self, rows: &[Row]) {
        let tried: Vec<_> =
            rows.iter().map(|row| (row, self.try_in(0, &self.spec(row.way)))).collect();
        compare(&tried);
    }
}

/// Fails with every row that did not end as the table says.
pub(super) fn compare(tried: &[(&Row, Result<Tried>)]) {
    let wrong: Vec<_> = tried
        .iter()
        .filter(|(row, tried)| match tried {
            Ok(tried) => outcome_of(tried) != row.outcome,
            Err(_) => true,
        })
        .map(|(row, tried)| format!("{} should be {:?}: {tried:#?}", row.way, row.outcome))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn outcome_of(tried: &Tried) -> Outcome {
    if !tried.leaked {
        return Outcome::Refused;
    }
    if tried.decisions.is_empty() { Outcome::NotCovered } else { Outcome::Detected }
}

/// The folder of a gate's pins, of the only version there is.
pub(super) fn pins(place: &Place) -> Result<PathBuf> {
    let mut versions = fs::read_dir(&place.pins)?;
    Ok(versions.next().context("no pins")??.path())
}
