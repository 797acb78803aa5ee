//! Many programs, each with a TLS library of its own, come and go: probes are set and taken away, and nothing stays.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use memchr::memmem::find;
use serde_json::json;
use tollgate_tests::harness::{copy_program, note, number_from, temp_folder, wait_until};
use tollgate_tests::lab::Lab;
use tollgate_tests::lab::clients::spec::{OPENAI_KEY, PROMPT};
use tollgate_tests::lab::net::{Options, command_in};

use crate::alone;
use crate::sensor::Sensor;

/// Processes and programs in continuous integration; `TOLLGATE_CHURN` says how many processes by hand, a fiftieth of that
/// are the programs.
const PROCESSES: u32 = 400;
/// Processes of one program.
const RUNS: u32 = 50;
/// Processes at once.
const AT_ONCE: usize = 4;
/// The head of the note that holds a file's build-id: lengths, type and owner.
const BUILD_ID: &[u8] = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";
/// Folder and file of the library that curl is linked with.
const LIBRARIES: (&str, &str) = ("/usr/lib/x86_64-linux-gnu", "libssl.so.3");
/// Time in which what has ended is taken away.
const GONE_DEADLINE: Duration = Duration::from_mins(1);
/// What the sensor may hold more than before.
const FILES_SPARE: usize = 50;
/// Resident memory by which the second half of the processes may add to that of the first, in KiB.
const GROWTH_MAX: usize = 8 << 10;

fn copy(from: &Path, folder: &Path, name: &str) -> PathBuf {
    let to = folder.join(name);
    copy_program(from, &to).unwrap();
    to
}

/// A program under a name of its own, with a TLS library that no other program has.
fn program(folder: &Path, number: u32) -> PathBuf {
    let own = folder.join(format!("churn-{number}"));
    fs::create_dir(&own).unwrap();
    let library = copy(&Path::new(LIBRARIES.0).join(LIBRARIES.1), &own, LIBRARIES.1);
    let mut bytes = fs::read(&library).unwrap();
    let head = find(&bytes, BUILD_ID).unwrap();
    let id = &mut bytes[head..][BUILD_ID.len()..];
    id[..4].copy_from_slice(&number.to_be_bytes());
    fs::write(&library, bytes).unwrap();
    copy(Path::new("/usr/bin/curl"), &own, &format!("churn-{number}"))
}

/// One call, of a process that becomes `program`.
fn start(lab: &Lab, program: &Path, id: &str) -> Child {
    let body = json!({"messages": [{"role": "user", "content": PROMPT}], "model": "gpt-4o-mini"});
    let mut command: Command = command_in(lab.net().client(0).unwrap(), program);
    command.env("LD_LIBRARY_PATH", program.parent().unwrap());
    command.args(["--silent", "--http1.1", "--max-time", "60", "--cacert"]).arg(lab.ca_file());
    command.args(["--header", &format!("authorization: Bearer {OPENAI_KEY}")]);
    command.args(["--header", "content-type: application/json"]);
    command.args(["--header", &format!("x-lab-scenario: id={id}"), "--data", &body.to_string()]);
    command.arg("https://api.openai.com/v1/chat/completions");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Files that the sensor holds open, and its resident memory in KiB.
fn held(sensor: &Sensor) -> (usize, usize) {
    let process = PathBuf::from(format!("/proc/{}", sensor.pid()));
    let files = fs::read_dir(process.join("fd")).unwrap().count();
    let status = fs::read_to_string(process.join("status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (files, resident.trim().trim_end_matches(" kB").parse().unwrap())
}

#[test]
fn programs_that_come_and_go_leave_nothing_in_the_sensor() {
    let _turn = alone();
    let (lab, folder) = (Lab::up(&Options::default()).unwrap(), temp_folder("churn").unwrap());
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let processes = number_from("TOLLGATE_CHURN").unwrap_or(PROCESSES);
    let programs: Vec<_> =
        (0..processes.div_ceil(RUNS)).map(|number| program(folder.path(), number)).collect();
    // On a busy machine the first run of a program may be over before anybody knows it: that is not what is asked here.
    for (number, program) in programs.iter().enumerate() {
        let id = format!("learn-{number}");
        assert!(start(&lab, program, &id).wait().unwrap().success());
        let fact = lab.facts_of(&id, 1).unwrap().remove(0);
        let _missed_on_a_busy_machine = sensor.soon_call_of(&fact);
    }
    let (files_before, _) = held(&sensor);
    let mut running: Vec<Child> = Vec::new();
    let mut resident = Vec::new();
    for (program, number) in programs.iter().cycle().zip(0..processes) {
        if number.is_multiple_of(processes.div_ceil(4)) {
            resident.push(held(&sensor).1);
        }
        if running.len() == AT_ONCE {
            assert!(running.remove(0).wait().unwrap().success());
        }
        running.push(start(&lab, program, "churn"));
    }
    assert!(running.iter_mut().all(|child| child.wait().unwrap().success()));
    let facts = lab.facts_of("churn", usize::try_from(processes).unwrap()).unwrap();
    let ids: BTreeSet<_> = facts.iter().map(|fact| fact.id.clone()).collect();
    let seen = || {
        let calls = sensor.calls();
        let told = calls.iter().filter_map(|call| call["gen_ai.response.id"].as_str());
        told.filter(|id| ids.contains(*id)).count()
    };
    let all = wait_until(GONE_DEADLINE, "every call", || (seen() == ids.len()).then_some(()));
    all.unwrap_or_else(|error| panic!("{error}: {} of {}\n{}", seen(), ids.len(), sensor.log()));
    let gone = wait_until(GONE_DEADLINE, "what ended programs needed to be let go", || {
        let (files, _) = held(&sensor);
        (files.saturating_sub(files_before) < FILES_SPARE).then_some(files)
    });
    let (files, at_end) = held(&sensor);
    resident.push(at_end);
    note(&format!(
        "{processes} processes of {} programs: {} calls, {files_before} files became {files}, resident KiB by quarters {resident:?}",
        programs.len(),
        ids.len()
    ));
    gone.unwrap();
    assert!(at_end.saturating_sub(resident[2]) < GROWTH_MAX, "{resident:?} KiB");
}
