//! Processes that live for a moment, and one with the number of another: a call is its own process's or nobody's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tollgate_tests::harness::{note, temp_folder, wait_until};
use tollgate_tests::lab::Lab;
use tollgate_tests::lab::clients::spec::{OPENAI_KEY, PROMPT};
use tollgate_tests::lab::net::command_in;

use crate::openssl::lab;
use crate::raw::copy;
use crate::sensor::Sensor;

/// Processes of the run.
const PROCESSES: usize = 200;
/// Processes at once.
const AT_ONCE: usize = 4;
/// Processes that carry probes for other tests beside this one, at most.
const OTHERS_MAX: i32 = 40;
/// Time in which the sensor sees that processes have ended and takes their probes away.
const GONE_DEADLINE: Duration = Duration::from_secs(20);
/// Tries to get a process of a certain number on a machine where others start processes, too.
const TRIES: usize = 200;
/// The process number given last; whoever writes it chooses the next one.
const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

/// A program that is a copy of curl under a name of its own.
fn program(folder: &Path, name: &str) -> std::path::PathBuf {
    let path = copy(Path::new("/usr/bin/curl"), folder, name).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// One call, of a process that becomes `program`.
fn call(lab: &Lab, program: &Path, knobs: &str) -> Command {
    let body = json!({"messages": [{"role": "user", "content": PROMPT}], "model": "gpt-4o-mini"});
    let mut command = command_in(lab.net().client(0).unwrap(), program);
    command.args(["--silent", "--http1.1", "--max-time", "30", "--cacert"]).arg(lab.ca_file());
    command.args(["--header", &format!("authorization: Bearer {OPENAI_KEY}")]);
    command.args(["--header", "content-type: application/json"]);
    command.args(["--header", &format!("x-lab-scenario: {knobs}"), "--data", &body.to_string()]);
    command.arg("https://api.openai.com/v1/chat/completions");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Lets the sensor see the program once, so that later processes of it are known from their start.
fn learn(lab: &Lab, sensor: &Sensor, program: &Path, id: &str) -> u32 {
    let mut first = call(lab, program, &format!("id={id}")).spawn().unwrap();
    assert!(first.wait().unwrap().success());
    let fact = lab.facts_of(id, 1).unwrap().remove(0);
    sensor.call_of(&fact).unwrap_or_else(|error| panic!("{error:#}\n{}", sensor.log()));
    first.id()
}

#[test]
fn moment_of_a_process_is_attributed_rightly_or_not_at_all() {
    let (lab, folder) = (lab(), temp_folder("short").unwrap());
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let programs = ["moment-one", "moment-two"].map(|name| program(folder.path(), name));
    for program in &programs {
        learn(&lab, &sensor, program, &program.file_name().unwrap().to_string_lossy());
    }
    let files_before = files_beside_probes(&sensor).unwrap();
    // Process by id of its one call: number, program.
    let mut made: BTreeMap<String, (u32, usize)> = BTreeMap::new();
    let (mut running, mut lives): (Vec<(Child, Instant)>, Vec<Duration>) = (Vec::new(), Vec::new());
    for number in 0..PROCESSES {
        if running.len() == AT_ONCE {
            let (mut oldest, began) = running.remove(0);
            assert!(oldest.wait().unwrap().success());
            lives.push(began.elapsed());
        }
        let which = number % programs.len();
        // The number of tokens is the process's own, so that calls cannot be mixed up unnoticed.
        let knobs = format!("id=moment,in={},out=7", number + 1);
        let child = call(&lab, &programs[which], &knobs).spawn().unwrap();
        made.insert((number + 1).to_string(), (child.id(), which));
        running.push((child, Instant::now()));
    }
    assert!(running.iter_mut().all(|(child, _)| child.wait().unwrap().success()));
    let facts = lab.facts_of("moment", PROCESSES).unwrap();
    let ids: BTreeSet<_> = facts.iter().map(|fact| fact.id.as_str()).collect();
    let calls = || -> Vec<_> {
        let calls = sensor.calls().into_iter();
        calls
            .filter(|call| ids.contains(call["gen_ai.response.id"].as_str().unwrap_or("")))
            .collect()
    };
    let all = wait_until(Duration::from_secs(20), "every call", || {
        let calls = calls();
        (calls.len() == PROCESSES).then_some(calls)
    });
    let calls = all.unwrap_or_else(|error| panic!("{error}: {}\n{}", calls().len(), sensor.log()));
    let mut unattributed = 0;
    for call in &calls {
        let own = call["gen_ai.usage.input_tokens"].as_u64().unwrap().to_string();
        let (pid, which) = made[&own];
        assert_eq!(call["process.pid"].as_u64(), Some(u64::from(pid)), "{call}");
        match call["process.executable.path"].as_str() {
            Some(path) => assert_eq!(Path::new(path), programs[which], "{call}"),
            None => unattributed += 1,
        }
    }
    lives.sort_unstable();
    note(&format!(
        "{PROCESSES} processes, half of which lived less than {:?}: all calls seen, {unattributed} without a process",
        lives[lives.len() / 2]
    ));
    let series = r#"tollgate_workload_unattributed_calls_total{missing="process"} "#;
    let counted = wait_until(GONE_DEADLINE, "the count of calls without a process", || {
        (figure(&sensor, series)? == unattributed).then_some(())
    });
    counted.unwrap();
    let gone = wait_until(GONE_DEADLINE, "the probes of ended processes to be gone", || {
        (figure(&sensor, "tollgate_probes_processes ")? < OTHERS_MAX).then_some(())
    });
    gone.unwrap();
    let files = wait_until(GONE_DEADLINE, "the files of ended processes to be closed", || {
        let files = files_beside_probes(&sensor)?;
        (files < files_before + PROCESSES / 4).then_some(files)
    });
    files.unwrap_or_else(|error| {
        panic!("{error}: {files_before} files became {:?}", files_beside_probes(&sensor))
    });
}

/// Files that the sensor holds besides those of probes: it also probes the processes of tests that run beside this one.
fn files_beside_probes(sensor: &Sensor) -> Option<usize> {
    let (_, text) = sensor.scrape("/metrics").ok()?;
    let probes = text.lines().filter_map(|line| {
        let (series, count) = line.rsplit_once(' ')?;
        series.starts_with("tollgate_probes_attached{").then(|| count.parse::<usize>().ok())?
    });
    open_files(sensor).checked_sub(probes.sum())
}

/// A figure of the sensor's metrics; one that is not shown yet is zero.
fn figure(sensor: &Sensor, series: &str) -> Option<i32> {
    let (_, text) = sensor.scrape("/metrics").ok()?;
    let told = text.lines().find_map(|line| line.strip_prefix(series));
    told.map_or(Some(0), |figure| figure.parse().ok())
}

/// Files that the sensor holds open: each probe is one or more of them.
fn open_files(sensor: &Sensor) -> usize {
    fs::read_dir(format!("/proc/{}/fd", sensor.pid())).unwrap().count()
}

#[test]
fn process_with_the_number_of_another_is_not_taken_for_it() {
    let (lab, folder) = (lab(), temp_folder("reused").unwrap());
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let [one, two] = ["reused-one", "reused-two"].map(|name| program(folder.path(), name));
    learn(&lab, &sensor, &two, "learn-two");
    for number in 0..TRIES {
        let pid = learn(&lab, &sensor, &one, &format!("first-{number}"));
        let id = format!("second-{number}");
        let mut second = call(&lab, &two, &format!("id={id}"));
        let last = fs::read_to_string(LAST_PID).unwrap();
        fs::write(LAST_PID, (pid - 1).to_string()).unwrap();
        let mut second = second.spawn().unwrap();
        // No other test's process gets the number of another.
        fs::write(LAST_PID, last.trim()).unwrap();
        let is_reused = second.id() == pid;
        assert!(second.wait().unwrap().success());
        if !is_reused {
            continue;
        }
        let [first, second] = [format!("first-{number}"), id].map(|id| {
            let fact = lab.facts_of(&id, 1).unwrap().remove(0);
            sensor.call_of(&fact).unwrap_or_else(|error| panic!("{error:#}\n{}", sensor.log()))
        });
        for (call, program) in [(&first, &one), (&second, &two)] {
            assert_eq!(call["process.pid"].as_u64(), Some(u64::from(pid)), "{call}");
            let path = call["process.executable.path"].as_str();
            assert!(path.is_none_or(|path| Path::new(path) == program), "{call}");
        }
        assert!(second["process.executable.path"].is_string(), "{second}");
        assert_ne!(first["process.start_time"], second["process.start_time"]);
        return;
    }
    panic!("no process got the number of another in {TRIES} tries");
}
