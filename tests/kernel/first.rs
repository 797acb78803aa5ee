//! The first request of a process: how often it is missed, by wire delay, with and without holding the ClientHello.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tollgate_tests::harness::{copy_program, note, run, temp_folder, wait_until};
use tollgate_tests::lab::ca::Authority;
use tollgate_tests::lab::clients::spec::OPENAI_KEY;
use tollgate_tests::lab::net::{DNS_ADDRESS, Names, Options, address_of, command_in};
use tollgate_tests::lab::{CLIENT_DEADLINE, Lab};

use crate::sensor::Sensor;

/// Programs, each never seen before, for one figure.
const PROGRAMS: u32 = 8;
/// One-way delays of the wire, in milliseconds.
const DELAYS: [u64; 3] = [0, 5, 20];

/// A copy of curl under a name of its own: a program that the sensor has never seen.
fn unseen_program(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    copy_program(Path::new("/usr/bin/curl"), &path).unwrap();
    path
}

/// One whole chat completion by curl.
fn call(lab: &Lab, program: &Path, id: &str) {
    call_with(lab, program, id, &[]);
}

/// One whole chat completion by curl with options of its own.
fn call_with(lab: &Lab, program: &Path, id: &str, options: &[&str]) {
    let body = format!(
        "{{\"messages\":[{{\"role\":\"user\",\"content\":\"Say something, please.\"}}],\"model\":\"gpt-4o-mini\",\"user\":\"{id}\"}}"
    );
    let mut command = command_in(lab.net().client(0).unwrap(), program);
    command.args(["--silent", "--http1.1", "--max-time", "30", "--cacert"]).arg(lab.ca_file());
    command.args(["--header", &format!("authorization: Bearer {OPENAI_KEY}")]);
    command.args([
        "--header",
        "content-type: application/json",
        "--header",
        &format!("x-lab-scenario: id={id}"),
    ]);
    command.args(options);
    command.args(["--data", &body, "https://api.openai.com/v1/chat/completions"]);
    run(&mut command).unwrap();
}

/// How many first calls of unseen programs the sensor missed.
fn missed(lab: &Lab, sensor: &Sensor, folder: &Path, series: &str) -> u32 {
    let mut missed = 0_u32;
    for number in 0..PROGRAMS {
        let id = format!("{series}-{number}");
        call(lab, &unseen_program(folder, &id), &id);
        let fact = lab.facts_of(&id, 1).unwrap().remove(0);
        missed = missed.saturating_add(u32::from(sensor.soon_call_of(&fact).is_none()));
    }
    missed
}

#[test]
fn held_client_hello_loses_no_first_request_at_any_delay() {
    let mut lab = Lab::up(&Options::default()).unwrap();
    let folder = temp_folder("unseen").unwrap();
    let held = Sensor::start("hold_client_hello = true").unwrap();
    for delay in DELAYS {
        if delay != 0 {
            lab.delay(Duration::from_millis(delay)).unwrap();
        }
        let count = missed(&lab, &held, folder.path(), &format!("held-{delay}"));
        assert_eq!(count, 0, "with {delay} ms of delay\n{}", held.log());
    }
}

#[test]
fn first_requests_are_missed_less_the_longer_the_wire() {
    let mut lab = Lab::up(&Options::default()).unwrap();
    let folder = temp_folder("unseen").unwrap();
    let sensor = Sensor::start("").unwrap();
    let mut figures = Vec::new();
    for delay in DELAYS {
        if delay != 0 {
            lab.delay(Duration::from_millis(delay)).unwrap();
        }
        let count = missed(&lab, &sensor, folder.path(), &format!("unheld-{delay}"));
        figures.push((delay, count));
    }
    let shown: Vec<_> = figures
        .iter()
        .map(|(delay, count)| format!("{count} of {PROGRAMS} at {delay} ms"))
        .collect();
    note(&format!("first requests missed without hold: {}", shown.join(", ")));
    assert_eq!(figures.last().map(|(_, count)| *count), Some(0), "{figures:?}\n{}", sensor.log());
}

#[test]
fn learnt_program_never_loses_its_first_request() {
    let mut lab = Lab::up(&Options::default()).unwrap();
    let folder = temp_folder("learnt").unwrap();
    let mut sensor = Sensor::start("hold_client_hello = true").unwrap();
    let program = unseen_program(folder.path(), "learnt");
    call(&lab, &program, "learning");
    let fact = lab.facts_of("learning", 1).unwrap().remove(0);
    sensor.call_of(&fact).unwrap();
    // What was learnt outlives the sensor; now nothing is held back.
    sensor.restart_with("hold_client_hello = false").unwrap();
    let missed = |lab: &Lab, series: &str| {
        let runs = (0..PROGRAMS).filter(|number| {
            let id = format!("{series}-{number}");
            call(lab, &program, &id);
            let fact = lab.facts_of(&id, 1).unwrap().remove(0);
            sensor.soon_call_of(&fact).is_none()
        });
        runs.count()
    };
    let at_once = missed(&lab, "learnt-0");
    note(&format!("first requests of a learnt program missed at 0 ms: {at_once} of {PROGRAMS}"));
    lab.delay(Duration::from_millis(5)).unwrap();
    assert_eq!(missed(&lab, "learnt-5"), 0, "{}", sensor.log());
}

#[test]
fn program_that_made_no_call_in_sight_is_learnt_by_its_client_hello() {
    let lab = Lab::up(&Options::default()).unwrap();
    let folder = temp_folder("unsaid").unwrap();
    let sensor = Sensor::start("").unwrap();
    let program = unseen_program(folder.path(), "unsaid");
    // It trusts somebody else than the lab: its ClientHello is all that it says.
    let other = folder.path().join("other.pem");
    Authority::new().unwrap().write_pem(&other).unwrap();
    let mut command = command_in(lab.net().client(0).unwrap(), &program);
    command.args(["--silent", "--cacert"]).arg(&other).arg("https://api.openai.com/v1/models");
    assert!(!command.status().unwrap().success());
    let knows = |what: &str| {
        let found = || sensor.log().contains(what).then_some(());
        wait_until(CLIENT_DEADLINE, what, found).unwrap_or_else(|error| {
            panic!("{error:#}\n{}", sensor.log());
        });
    };
    knows("program is learnt");
    call(&lab, &program, "unsaid");
    knows("why=\"learned\"");
}

#[test]
fn dns_question_shows_intent_before_the_connection() {
    let mut lab = Lab::up(&Options { names: Names::Dns, ..Options::default() }).unwrap();
    lab.delay(Duration::from_millis(5)).unwrap();
    let folder = temp_folder("asking").unwrap();
    let sensor = Sensor::start("").unwrap();
    let program = unseen_program(folder.path(), "asking");
    call(&lab, &program, "asking");
    let fact = lab.facts_of("asking", 1).unwrap().remove(0);
    sensor.call_of(&fact).unwrap_or_else(|error| panic!("{error:#}\n{}", sensor.log()));
    assert!(
        sensor.log().contains("dns_question") || sensor.log().contains("connect"),
        "{}",
        sensor.log()
    );
}

#[test]
fn question_over_a_socket_that_was_never_connected_is_its_senders() {
    let lab = Lab::up(&Options { names: Names::Dns, ..Options::default() }).unwrap();
    let sensor = Sensor::start("").unwrap();
    // As musl asks: a datagram to an address, on a socket that leads nowhere.
    let script = "import os, socket, sys\n\
        name = b''.join(bytes([len(part)]) + part for part in b'api.openai.com'.split(b'.')) + bytes(1)\n\
        question = bytes([1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]) + name + bytes([0, 1, 0, 1])\n\
        end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
        end.sendto(question, (sys.argv[1], 53))\n\
        print(os.getpid(), len(end.recv(512)))\n";
    let mut command = command_in(lab.net().client(0).unwrap(), &lab.kit().python);
    command.args(["-c", script, &DNS_ADDRESS.to_string()]);
    let printed = String::from_utf8(run(&mut command).unwrap().stdout).unwrap();
    let pid = printed.split(' ').next().unwrap();
    // The process may have ended before it is looked at; nothing but its question tells of it.
    let its = format!("pid={pid} ");
    let line = || sensor.log().lines().find(|line| line.contains(&its)).map(str::to_owned);
    wait_until(CLIENT_DEADLINE, "the question", line).unwrap_or_else(|error| {
        panic!("{error:#} of {pid}\n{}", sensor.log());
    });
}

#[test]
fn address_of_an_answer_shows_intent_at_the_connection() {
    let mut lab = Lab::up(&Options { names: Names::Dns, ..Options::default() }).unwrap();
    lab.delay(Duration::from_millis(5)).unwrap();
    let folder = temp_folder("answered").unwrap();
    let sensor = Sensor::start("").unwrap();
    for id in ["answered-0", "answered-1"] {
        call(&lab, &unseen_program(folder.path(), id), id);
    }
    let by_address = || sensor.log().matches("why=\"connect\"").count();
    // These ask nobody: they are told the address, one of them in the clothes of IPv6.
    let address = address_of("api.openai.com").unwrap();
    for (id, told) in [("told-0", address.to_string()), ("told-1", format!("[::ffff:{address}]"))] {
        let before = by_address();
        let told = format!("api.openai.com:443:{told}");
        let program = unseen_program(folder.path(), id);
        call_with(&lab, &program, id, &["--resolve", &told]);
        let fact = lab.facts_of(id, 1).unwrap().remove(0);
        sensor.call_of(&fact).unwrap_or_else(|error| panic!("{error:#}\n{}", sensor.log()));
        assert!(by_address() > before, "{id}\n{}", sensor.log());
    }
}
