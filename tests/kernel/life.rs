//! The sensor comes and goes: clients older than it, restarts under traffic, and nothing left behind.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tollgate_tests::harness::wait_until;
use tollgate_tests::lab::CLIENT_DEADLINE;
use tollgate_tests::lab::clients::load::Load;
use tollgate_tests::lab::clients::{CLIENTS, Spec};

use crate::openssl::{assert_same, lab};
use crate::sensor::Sensor;

/// Clients that keep their connection from one call to the next, one of each stack and way of sending.
const KEEPING: [&str; 5] = ["openai-sync", "openai-async", "aiohttp", "node-openai", "node-undici"];

#[test]
fn client_older_than_the_sensor_is_seen_on_its_old_connection() {
    let lab = lab();
    for name in KEEPING {
        let client = CLIENTS.iter().find(|client| client.name == name).unwrap();
        let id = format!("older-{name}");
        let spec = Spec::new(name, client.apis[0]).two_phases().scenario(&format!("id={id}"));
        let mut running = lab.start(&spec).unwrap();
        running.wait_ready(CLIENT_DEADLINE).unwrap();
        let sensor = Sensor::start("").unwrap();
        sensor.wait_probed(running.pid()).unwrap();
        running.go().unwrap();
        running.finish(CLIENT_DEADLINE).unwrap();
        let facts = lab.facts_of(&id, 2).unwrap();
        let fact = facts.last().unwrap();
        assert_eq!(
            facts.first().unwrap().connection,
            fact.connection,
            "{name} made a new connection"
        );
        let call = sensor
            .call_of(fact)
            .unwrap_or_else(|error| panic!("{name}: {error:#}\n{}", sensor.log()));
        assert_same(&call, fact, client, name);
    }
}

#[test]
fn killed_ten_times_under_traffic_no_client_sees_an_error() {
    let lab = lab();
    let mut sensor = Sensor::start("").unwrap();
    let load = Load {
        calls: 9_000,
        rate: 300,
        warm: true,
        scenario: "id=killed,chunks=5,flush=batch".to_owned(),
        ..Load::default()
    };
    let mut running = lab.start_load(&load).unwrap();
    running.wait_ready(Duration::from_mins(1)).unwrap();
    running.go().unwrap();
    for _ in 0..10 {
        sensor.kill_and_restart().unwrap();
    }
    let figures = running.finish(Duration::from_mins(4)).unwrap();
    assert_eq!(figures.failed, 0);
    let facts = lab.facts_of("killed", 9_000).unwrap();
    let last = facts.iter().max_by_key(|fact| fact.t_request_ns).unwrap();
    sensor.call_of(last).unwrap_or_else(|error| panic!("{error:#}\n{}", sensor.log()));
}

#[test]
fn signals_are_heard_before_anything_is_attached() {
    let mut sensor = Sensor::spawn("").unwrap();
    let of = format!("/proc/{}", sensor.pid());
    let hears = || {
        // First what it holds: it goes on meanwhile.
        let holds = fs::read_dir(format!("{of}/fd")).unwrap().flatten().any(|entry| {
            fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().contains("bpf"))
        });
        let status = fs::read_to_string(format!("{of}/status")).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
        let hears = [2, 15].iter().all(|signal| caught & (1 << (signal - 1)) != 0);
        assert!(hears || !holds, "it holds programs and a signal would be lost");
        hears.then_some(())
    };
    wait_until(CLIENT_DEADLINE, "the sensor to hear signals", hears).unwrap();
    // It ends as in order, wherever in its start that finds it.
    sensor.stop().unwrap();
}

#[test]
fn threads_that_a_handshake_waits_for_go_before_others() {
    let sensor = Sensor::start("").unwrap();
    // Name and niceness of each thread (proc_pid_stat(5)).
    let of = |stat: String| {
        let (_, named) = stat.split_once('(').unwrap();
        let (name, rest) = named.rsplit_once(')').unwrap();
        (name.to_owned(), rest.split_whitespace().nth(16).unwrap().to_owned())
    };
    let hurried = || {
        let tasks = fs::read_dir(format!("/proc/{}/task", sensor.pid())).unwrap().flatten();
        // One that has ended meanwhile is none of these.
        let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
        let mut names: Vec<_> =
            stats.map(of).filter(|(_, nice)| nice == "-10").map(|(name, _)| name).collect();
        names.sort_unstable();
        (names == ["gate", "intent", "policies", "search"]).then_some(())
    };
    wait_until(CLIENT_DEADLINE, "these four threads, and no other, to hurry", hurried).unwrap();
}

#[test]
fn stopped_sensor_leaves_nothing_within_a_second() {
    let lab = lab();
    let mut sensor = Sensor::start("hold_client_hello = true").unwrap();
    let spec = Spec::new(
        "curl-h1",
        CLIENTS.iter().find(|client| client.name == "curl-h1").unwrap().apis[0],
    );
    lab.run(&spec.scenario("id=stopped")).unwrap();
    let fact = lab.facts_of("stopped", 1).unwrap().remove(0);
    sensor.call_of(&fact).unwrap();
    let pid = sensor.pid();
    let took = sensor.stop().unwrap();
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    // Shared machines are slow; the bound is wide, the figure itself stands in the benchmarks.
    assert!(took < Duration::from_secs(10), "{took:?}");
    let pinned = fs::read_dir("/sys/fs/bpf").into_iter().flatten().flatten();
    assert!(
        pinned.into_iter().all(|entry| !entry.file_name().to_string_lossy().contains("tollgate"))
    );
}
