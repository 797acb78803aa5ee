//! Connections that are seen whole, in part and not at all come in; each ends with its verdict, and the unseen with an estimate.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tollgate_tests::harness::{note, run, temp_folder, wait_until};
use tollgate_tests::lab::Lab;
use tollgate_tests::lab::clients::golang::BUILDS;
use tollgate_tests::lab::clients::{Api, Spec};

use crate::go::without_name;
use crate::openssl::{USAGE, assert_private, lab};
use crate::sensor::{Sensor, binary};
use crate::stacks::{Order, command};

/// Time in which the end of a connection is reported.
const DEADLINE: Duration = Duration::from_secs(20);
/// Texts with the tokens they are for a real model, and their length compressed.
const TEXTS: &str = include_str!("../corpus/estimate/tokens.tsv");
/// Calls of a program until one lasts long enough to be looked into.
const TRIES: usize = 10;
/// What an estimate may be wrong by, beside a factor of two: heads and handshakes that are longer or shorter than usual.
const SLACK: u64 = 700;

/// Verdicts about connections: those seen whole stand in the event of their end, any other in one of its own.
fn verdicts(sensor: &Sensor) -> Vec<Value> {
    let is_verdict = |event: &Value| match event["event.name"].as_str() {
        Some("tollgate.connection") => event["tollgate.coverage"] == "complete",
        Some("tollgate.coverage") => event["tollgate.coverage.scope"] == "connection",
        _ => false,
    };
    sensor.events().into_iter().filter(is_verdict).collect()
}

/// Waits until a program has so many verdicts, and gives back the last.
fn verdict_of(sensor: &Sensor, executable: &str, count: usize) -> Value {
    let found = wait_until(DEADLINE, "a verdict", || {
        let own = |event: &Value| event["process.executable.path"] == executable;
        let mut own: Vec<_> = verdicts(sensor).into_iter().filter(own).collect();
        (own.len() >= count).then(|| own.pop()).flatten()
    });
    found.unwrap_or_else(|error| panic!("{executable}: {error:#}\n{}", sensor.log()))
}

/// A Go client whose functions are not found, in a folder of its own.
fn blind_program(lab: &Lab, folder: &Path) -> PathBuf {
    let build = BUILDS.iter().find(|build| build.kind == "stripped").unwrap();
    without_name(&build.program(lab.kit()).unwrap(), folder)
}

fn call_blindly(lab: &Lab, program: &Path, spec: Spec) {
    let order = Order { folder: temp_folder("order").unwrap(), spec };
    std::fs::write(order.file(), order.spec.to_json().to_string()).unwrap();
    run(command(lab, &order, program).arg(order.file())).unwrap();
}

fn ask(sensor: &Sensor, arguments: &[&str]) -> String {
    let mut tollgate = Command::new(binary().unwrap());
    tollgate.args(arguments).arg("--config").arg(sensor.config());
    String::from_utf8(run(&mut tollgate).unwrap().stdout).unwrap()
}

#[test]
fn every_connection_ends_with_a_verdict() {
    let lab = lab();
    // One that is older than its probes.
    let spec = Spec::new("openai-sync", Api::Chat).scenario(&format!("id=old,{USAGE}"));
    let mut old = lab.start(&spec.two_phases()).unwrap();
    old.wait_ready(DEADLINE).unwrap();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    sensor.wait_probed(old.pid()).unwrap();
    old.go().unwrap();
    let python = old.pid();
    old.finish(DEADLINE).unwrap();
    let by = |pid: u32| move |event: &Value| event["process.pid"].as_u64() == Some(pid.into());
    let joined = wait_until(DEADLINE, "the verdict of an old connection", || {
        verdicts(&sensor).into_iter().find(by(python))
    });
    let joined = joined.unwrap_or_else(|error| panic!("{error:#}\n{}", sensor.log()));
    assert_eq!(joined["tollgate.coverage"], "truncated", "{joined}");
    assert_eq!(joined["tollgate.coverage.reason"], "joined_late", "{joined}");
    // One that is seen whole.
    let spec = Spec::new("openai-sync", Api::Chat).scenario(&format!("id=new,{USAGE}"));
    let new = lab.start(&spec).unwrap();
    let python = new.pid();
    new.finish(DEADLINE).unwrap();
    let whole = wait_until(DEADLINE, "the verdict of a new connection", || {
        verdicts(&sensor).into_iter().find(by(python))
    });
    let whole = whole.unwrap_or_else(|error| panic!("{error:#}\n{}", sensor.log()));
    assert_eq!(whole["tollgate.coverage"], "complete", "{whole}");
    assert_eq!(whole["gen_ai.provider.name"], "openai", "{whole}");
    // One that nobody can read.
    let folder = temp_folder("unnamed").unwrap();
    let program = blind_program(&lab, folder.path());
    let mut spec = Spec::new("go-blind-h1", Api::Chat).scenario(&format!("id=blind,{USAGE}"));
    spec.prompt = texts().pop().unwrap().prompt;
    // Why it cannot be read is found out while it lives; a call may be over before.
    let reasoned = (1..=TRIES).find_map(|count| {
        call_blindly(&lab, &program, spec.clone());
        let blind = verdict_of(&sensor, program.to_str().unwrap(), count);
        assert_eq!(blind["tollgate.coverage"], "blind", "{blind}");
        let reason = &blind["tollgate.coverage.reason"];
        assert!(reason == "race" || reason == "go_functions_not_found", "{blind}");
        (reason != "race").then_some(blind)
    });
    let blind = reasoned.unwrap_or_else(|| panic!("only races\n{}", sensor.log()));
    assert_eq!(blind["tollgate.cost.basis"], "estimated", "{blind}");
    assert_eq!(blind["tollgate.estimate.model"], "gpt-4o-mini-2024-07-18", "{blind}");
    assert_told(&sensor);
    assert_private(&sensor);
}

/// Metrics, `tollgate status` and `tollgate report` tell what the events tell.
fn assert_told(sensor: &Sensor) {
    // Other tests make calls too: what is counted and what was written are compared at a moment when both agree.
    let agreed = wait_until(DEADLINE, "metrics that agree with the events", || {
        let before = verdicts(sensor);
        let (_, text) = sensor.scrape("/metrics").ok()?;
        let ratio = text.lines().find_map(|line| line.strip_prefix("tollgate_coverage_ratio "))?;
        let ratio: f64 = ratio.parse().ok()?;
        let whole = before.iter().filter(|event| event["tollgate.coverage"] == "complete").count();
        let expected =
            f64::from(u32::try_from(whole).ok()?) / f64::from(u32::try_from(before.len()).ok()?);
        ((ratio - expected).abs() < 1e-9).then_some(text)
    });
    let text = agreed.unwrap_or_else(|error| panic!("{error:#}\n{}", sensor.log()));
    assert!(text.contains(r#"tollgate_coverage_provider_ratio{provider="openai"} "#), "{text}");
    assert!(text.contains(r#"coverage="blind",reason="go_functions_not_found"} "#), "{text}");
    let count = |reason: &str| {
        let is_it = |event: &&Value| event["tollgate.coverage.reason"] == reason;
        format!("{reason} {}", verdicts(sensor).iter().filter(is_it).count())
    };
    let status = wait_until(DEADLINE, "a status that agrees with the events", || {
        let counted = ["go_functions_not_found", "joined_late"].map(count);
        let said = ask(sensor, &["status"]);
        counted.iter().all(|counted| said.contains(counted)).then_some(said)
    });
    let status = status.unwrap_or_else(|error| panic!("{error:#}\n{}", ask(sensor, &["status"])));
    assert!(status.contains("(estimated)"), "{status}");
    let report = wait_until(DEADLINE, "the report", || {
        let said = ask(sensor, &["report", "--format", "json"]);
        let rows: Vec<Value> =
            said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let sum = |name: &str| rows.iter().filter_map(|row| row[name].as_u64()).sum::<u64>();
        let all = ["connections_whole", "connections_partial", "opaque", "opaque_estimated_tokens"];
        all.iter().all(|name| sum(name) > 0).then_some(())
    });
    report.unwrap_or_else(|error| {
        panic!("{error:#}\n{}", ask(sensor, &["report", "--format", "json"]))
    });
    let said = ask(sensor, &["report"]);
    assert!(said.contains("were seen whole") && said.contains("estimated from bytes"), "{said}");
}

/// One text of a known number of tokens.
struct Text {
    file: &'static str,
    prompt: String,
    tokens: u64,
    compressed: u64,
}

fn texts() -> Vec<Text> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/estimate");
    let rows = TEXTS.lines().filter(|line| !line.starts_with('#'));
    rows.map(|row| {
        let [file, tokens, compressed] = row.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{row}")
        };
        let prompt = std::fs::read_to_string(folder.join(file)).unwrap();
        let (tokens, compressed) = (tokens.parse().unwrap(), compressed.parse().unwrap());
        Text { file, prompt, tokens, compressed }
    })
    .collect()
}

/// Prompts and answers with the bytes and tokens of real text, over connections that cannot be read; a token takes a
/// millisecond, as with a fast service.
#[test]
fn estimate_of_what_cannot_be_read_is_right_within_a_factor_of_two() {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let folder = temp_folder("unnamed").unwrap();
    let program = blind_program(&lab, folder.path());
    let (mut verdicts, mut wrong) = (0, Vec::new());
    for text in texts() {
        let bytes = u64::try_from(text.prompt.len()).unwrap();
        let tokens = text.tokens;
        for (kind, knobs) in [
            ("plain", format!("size={bytes},chunks=1,enc=identity,first_ms={tokens}")),
            (
                "compressed",
                format!("size={},chunks=1,enc=identity,first_ms={tokens}", text.compressed),
            ),
            ("stream", format!("size={bytes},chunks={tokens},gap_ms=1")),
        ] {
            let mut spec = Spec::new("go-blind-h1", Api::Chat)
                .scenario(&format!("id=estimate,in={tokens},out={tokens},{knobs}"));
            spec.prompt.clone_from(&text.prompt);
            spec.stream = kind == "stream";
            call_blindly(&lab, &program, spec);
            verdicts += 1;
            let verdict = verdict_of(&sensor, program.to_str().unwrap(), verdicts);
            let guess = |name: &str| verdict[name].as_u64().unwrap();
            let guesses =
                ["tollgate.estimate.input_tokens", "tollgate.estimate.output_tokens"].map(guess);
            let line = format!("{} {kind}: {tokens} in and out, estimated {guesses:?}", text.file);
            note(&line);
            let fits = |guess: u64| {
                guess <= tokens * 2 + SLACK && guess >= (tokens / 2).saturating_sub(SLACK)
            };
            if !guesses.into_iter().all(fits) {
                wrong.push(line);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
