//! Documents in a folder say what is refused: as soon as they are there, and only if all of them are right.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use serde_json::Value;
use tempfile::TempDir;
use tollgate_tests::harness::{monotonic_ns, note, temp_folder, wait_until};
use tollgate_tests::lab::clients::{Api, SeenCall, Spec};
use tollgate_tests::lab::{CLIENT_DEADLINE, Lab};

use crate::openssl::lab;
use crate::sensor::{Sensor, binary};

use super::place::Place;

/// Sets of rules with reasons of their own, which together are more than the kernel keeps the words of.
const SETS: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];
const RULES_OF_A_SET: usize = 1000;
/// Rules of a large set.
const RULES: usize = 1000;
/// Between the change of the folder and the first refusal, at the median of the rounds: of a build that is hardly optimised,
/// on a machine that runs other tests. The figure itself is told.
const IN_FORCE_MAX_NS: i128 = 1_000_000_000;
const ROUNDS: usize = 3;

/// A folder as Kubernetes mounts a `ConfigMap`: its files lead through one link, which is changed by one rename.
pub(super) struct Folder {
    folder: TempDir,
    versions: u32,
}

impl Folder {
    pub(super) fn new(text: &str) -> Result<Self> {
        let mut folder = Self { folder: temp_folder("policies")?, versions: 0 };
        folder.put(text)?;
        symlink("..data/policies.yaml", folder.path().join("policies.yaml"))?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Puts another text in the place of the documents.
    pub(super) fn put(&mut self, text: &str) -> Result<()> {
        self.versions = self.versions.saturating_add(1);
        let name = format!("..{}", self.versions);
        fs::create_dir(self.path().join(&name))?;
        fs::write(self.path().join(&name).join("policies.yaml"), text)?;
        let next = self.path().join("..data_tmp");
        symlink(&name, &next)?;
        fs::rename(next, self.path().join("..data"))?;
        Ok(())
    }
}

/// One policy for the test's own cgroup.
pub(super) fn policy(place: &Place, mode: &str, rules: &str) -> String {
    let cgroup = place.cgroup.file_name().unwrap_or_default().to_string_lossy();
    format!(
        "apiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {{name: test}}\nspec:\n  mode: {mode}\n  default: allow\n  reason: ask us\n  subjects:\n    - cgroup: \"/{cgroup}\"\n  rules:\n{rules}"
    )
}

pub(super) const NO_GROQ: &str = "    - {name: no-groq, action: deny, match: {provider: groq}}\n";
pub(super) const NOTHING: &str =
    "    - {name: nothing, action: deny, match: {provider: none-such}}\n";
pub(super) const NO_MINI: &str =
    "    - {name: no-mini, action: deny, match: {provider: openai, model: gpt-4o-mini}}\n";

pub(super) fn options(place: &Place, folder: &Path) -> String {
    format!(
        "[policy]\nfolder = {folder:?}\n[enforce]\nenabled = true\nproof_seconds = 1\npins = {:?}",
        place.pins
    )
}

fn call(place: &Place, lab: &Lab, host: &str, id: &str) -> SeenCall {
    let spec = Spec::new("curl-h1", Api::Chat).host(host).scenario(&format!("id={id}"));
    place.run(lab, &spec).unwrap().calls.remove(0)
}

/// Waits for an event that all of these say.
pub(super) fn wait_event(sensor: &Sensor, wanted: &[(&str, Value)]) -> Value {
    let found = || {
        let is_it = |event: &Value| wanted.iter().all(|(name, value)| event[*name] == *value);
        sensor.events().into_iter().find(is_it)
    };
    wait_until(CLIENT_DEADLINE, &format!("an event with {wanted:?}"), found)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", sensor.log()))
}

/// Calls until the outcome is the wanted one.
pub(super) fn wait_call(place: &Place, lab: &Lab, host: &str, passes: bool) {
    let tried = || (call(place, lab, host, "tried").is_complete() == passes).then_some(());
    wait_until(CLIENT_DEADLINE, &format!("calls to {host} to pass: {passes}"), tried).unwrap();
}

pub(super) fn wait_state(sensor: &Sensor, state: &str, count: usize) {
    let told = || {
        let events = sensor.events();
        let told = events.iter().filter(|event| event["tollgate.agent.state"] == state);
        (told.count() >= count).then_some(())
    };
    wait_until(CLIENT_DEADLINE, state, told)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", sensor.log()));
}

pub(super) fn status(sensor: &Sensor) -> Value {
    let config: PathBuf = sensor.config();
    let output = Command::new(binary().unwrap())
        .args(["status", "--output", "json", "--config"])
        .arg(config)
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn folder_that_changes_changes_what_is_refused_and_a_bad_document_changes_nothing() {
    let lab = lab();
    let place = Place::whole("policies").unwrap();
    let mut folder = Folder::new(&policy(&place, "enforce", NOTHING)).unwrap();
    let sensor = Sensor::start(&options(&place, folder.path())).unwrap();
    wait_state(&sensor, "policies_accepted", 1);
    assert!(call(&place, &lab, "api.groq.com", "before").is_complete());
    wait_event(
        &sensor,
        &[("event.name", "tollgate.call".into()), ("tollgate.decision", "allow".into())],
    );

    folder.put(&policy(&place, "enforce", NO_GROQ)).unwrap();
    wait_call(&place, &lab, "api.groq.com", false);
    let refused = call(&place, &lab, "api.groq.com", "denied");
    assert!(refused.error.is_some(), "{refused:?}\n{}", sensor.log());
    assert!(call(&place, &lab, "api.openai.com", "allowed").is_complete());
    wait_event(
        &sensor,
        &[
            ("event.name", "tollgate.decision".into()),
            ("tollgate.reason", "test/no-groq: ask us".into()),
        ],
    );

    folder.put(&policy(&place, "enforce", "    - {name: broken, action: denny}\n")).unwrap();
    wait_state(&sensor, "policies_refused", 1);
    let refused = call(&place, &lab, "api.groq.com", "denied");
    assert!(refused.error.is_some(), "the last good policy is not in force: {refused:?}");
    let told = || {
        let text = status(&sensor)["policies"].as_str().unwrap_or_default().to_owned();
        text.contains("denny").then_some(())
    };
    wait_until(CLIENT_DEADLINE, "the status to say what is wrong", told).unwrap();

    folder.put(&policy(&place, "warn", NO_GROQ)).unwrap();
    wait_call(&place, &lab, "api.groq.com", true);
    let judged = [
        ("tollgate.decision", "deny".into()),
        ("tollgate.policy", "test".into()),
        ("tollgate.rule", "no-groq".into()),
        ("tollgate.policy.mode", "warn".into()),
    ];
    let with = |name: &str| [judged.as_slice(), &[("event.name", name.into())]].concat();
    wait_event(&sensor, &with("tollgate.call"));
    let decision = wait_event(&sensor, &with("tollgate.decision"));
    assert_eq!(decision["tollgate.enforced"], false);
    assert!(lab.facts().iter().all(|fact| fact.scenario != "denied"));
}

#[test]
fn policy_in_mode_enforce_on_a_node_that_enforces_nothing_makes_it_unready() {
    let place = Place::new("unready").unwrap();
    let folder = Folder::new(&policy(&place, "enforce", NO_GROQ)).unwrap();
    let options =
        format!("[policy]\nfolder = {:?}\n[enforce]\npins = {:?}", folder.path(), place.pins);
    let sensor = Sensor::start(&options).unwrap();
    let red = || {
        let missing = status(&sensor)["missing"].to_string();
        missing.contains("enforce.enabled is off").then_some(())
    };
    wait_until(CLIENT_DEADLINE, "the status to say what is missing", red).unwrap();
    assert!(!place.is_pinned());
}

#[test]
fn change_of_a_thousand_rules_is_in_force_for_open_and_new_connections() {
    let lab = lab();
    let place = Place::whole("many").unwrap();
    let many = |last: &str| {
        let rule = |number| {
            let called = format!("name: r{number}, action: deny");
            format!("    - {{{called}, match: {{provider: p{number}, model: \"m-{number}-*\"}}}}")
        };
        let rules: Vec<_> = (0..RULES).map(rule).collect();
        let mut rules = rules.join("\n") + "\n";
        rules.push_str(last);
        policy(&place, "enforce", &rules).replace("  reason:", "  existing: close\n  reason:")
    };
    let mut folder = Folder::new(&many("")).unwrap();
    let sensor = Sensor::start(&options(&place, folder.path())).unwrap();
    // The folder is read again once its watch stands: who is seen then, before it has entered its cgroup, is known by the
    // one it came from.
    let read_twice = || (sensor.log().matches("the gate is told").count() > 1).then_some(());
    wait_until(CLIENT_DEADLINE, "the second reading of the folder", read_twice).unwrap();
    let pulse = place.pulse(&lab, "api.groq.com").unwrap();
    let next = || -> Value {
        serde_json::from_str(&pulse.process.line(CLIENT_DEADLINE).unwrap().unwrap()).unwrap()
    };
    let both = |passes: bool| {
        let mut late = 0;
        let mut seen = Vec::new();
        while seen.len() < 2 {
            let told = next();
            assert_eq!(told["errno"] == 0, passes, "{told}\n{}", sensor.log());
            late = late.max(told["at_ns"].as_u64().unwrap());
            seen.push(told["what"].clone());
        }
        assert_ne!(seen[0], seen[1]);
        late
    };
    both(true);
    let mut late = Vec::new();
    for _ in 0..ROUNDS {
        folder.put(&many(NO_GROQ)).unwrap();
        let changed = monotonic_ns();
        late.push(i128::from(both(false)) - i128::from(changed));
        folder.put(&many("")).unwrap();
        both(true);
    }
    late.sort_unstable();
    note(&format!("{RULES} rules changed; open and new connections refused after, ns: {late:?}"));
    assert!(late[ROUNDS / 2] < IN_FORCE_MAX_NS, "{late:?}");
}

#[test]
fn policies_come_into_force_and_tell_why_however_many_reasons_there_were_before() {
    let lab = lab();
    let place = Place::whole("reasons").unwrap();
    let set = |name: &str| {
        let rule = |number| {
            let matched = format!("{{provider: openai, model: {name}-{number}}}");
            format!("    - {{name: {name}-{number}, action: deny, match: {matched}}}\n")
        };
        policy(&place, "enforce", &(0..RULES_OF_A_SET).map(rule).collect::<String>())
    };
    let mut folder = Folder::new(&policy(&place, "enforce", NOTHING)).unwrap();
    let sensor = Sensor::start(&options(&place, folder.path())).unwrap();
    wait_call(&place, &lab, "api.openai.com", true);
    for name in SETS {
        folder.put(&set(name)).unwrap();
        let why = format!("test/{name}-{}: ask us", RULES_OF_A_SET / 2);
        // The engine may cut a call before the gate is told: it is called until the gate itself has said why.
        let is_told = |event: &Value| {
            event["tollgate.layer"] == "content" && event["tollgate.reason"] == why.as_str()
        };
        let refused = || {
            let mut spec = Spec::new("curl-h1", Api::Chat).scenario(&format!("id={name}"));
            spec.model = format!("{name}-{}", RULES_OF_A_SET / 2);
            let seen = place.run(&lab, &spec).unwrap().calls.remove(0);
            (seen.error.is_some() && sensor.events().iter().any(is_told)).then_some(())
        };
        wait_until(CLIENT_DEADLINE, &format!("the {name} set to be in force"), refused)
            .unwrap_or_else(|error| panic!("{error:#}\n{}", sensor.log()));
    }
}
