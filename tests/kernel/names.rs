//! Connections whose names agree, contradict each other, hide or imitate: each is told as it is, however its hello is cut.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate_tests::harness::{Process, temp_folder, wait_until};
use tollgate_tests::lab::clients::run::set_environment;
use tollgate_tests::lab::clients::spec::{OPENAI_KEY, PROMPT};
use tollgate_tests::lab::net::{Names, Options, address_of, command_in};
use tollgate_tests::lab::{CLIENT_DEADLINE, Lab};

use crate::sensor::Sensor;

const SCRIPT: &str = include_str!("../clients/say.py");
/// Time in which a connection that has ended is told.
const EVENT_DEADLINE: Duration = Duration::from_secs(20);
/// Names and address of a usual call.
const OPENAI: &str = "api.openai.com";

/// A process that makes connections and stays.
struct Speaker {
    process: Process,
    outcomes: Vec<Value>,
    _folder: TempDir,
}

/// A step: an address or name to go to, the name in the hello, and the host of the request.
fn step(lab: &Lab, [address, name, authority]: [&str; 3]) -> Value {
    json!({
        "address": address, "name": name, "authority": authority, "ca": lab.ca_file(),
        "key": OPENAI_KEY, "prompt": PROMPT, "scenario": "id=named",
    })
}

/// The same with another field.
fn with(mut step: Value, field: &str, value: Value) -> Value {
    step[field] = value;
    step
}

fn speak(lab: &Lab, steps: &[Value]) -> Result<Speaker> {
    let folder = temp_folder("say")?;
    let (script, file) = (folder.path().join("say.py"), folder.path().join("steps.json"));
    fs::write(&script, SCRIPT)?;
    fs::write(&file, Value::from(steps.to_vec()).to_string())?;
    let mut command = command_in(lab.net().client(0)?, Path::new("/usr/bin/python3"));
    command.arg(&script).arg(&file);
    set_environment(&mut command, folder.path(), &lab.ca_file());
    let process = Process::start(&mut command, &folder.path().join("errors"))?;
    let mut outcomes = Vec::new();
    for _ in steps {
        let line = process.line(CLIENT_DEADLINE)?.with_context(|| process.errors())?;
        outcomes.push(serde_json::from_str(&line)?);
    }
    Ok(Speaker { process, outcomes, _folder: folder })
}

/// Events of a kind by a process, once there are so many.
fn told(sensor: &Sensor, speaker: &Speaker, kind: &str, count: usize) -> Vec<Value> {
    let pid = u64::from(speaker.process.pid());
    let found = wait_until(EVENT_DEADLINE, kind, || {
        let mut events = sensor.events();
        events.retain(|event| event["event.name"] == kind && event["process.pid"] == pid);
        (events.len() >= count).then_some(events)
    });
    let events = found.unwrap_or_else(|error| {
        panic!("{error}: {:?}\n{:#?}\n{}", speaker.outcomes, sensor.events(), sensor.log())
    });
    assert_eq!(events.len(), count, "{events:#?}");
    events
}

fn said<'a>(event: &'a Value, place: &str) -> &'a str {
    event[format!("tollgate.names.{place}")].as_str().unwrap_or_default()
}

fn all_said(event: &Value) -> [&str; 5] {
    ["dns", "hello", "library", "authority", "agreement"].map(|place| said(event, place))
}

/// The event whose handshake and request say these names; events of several connections come in no order.
fn of<'a>(events: &'a [Value], [hello, authority]: [&str; 2]) -> &'a Value {
    let found = events
        .iter()
        .find(|event| said(event, "hello") == hello && said(event, "authority") == authority);
    found.unwrap_or_else(|| panic!("{hello}, {authority}: {events:#?}"))
}

fn lab_with(names: Names) -> Lab {
    Lab::up(&Options { names, ..Options::default() }).unwrap()
}

fn address(host: &str) -> String {
    address_of(host).unwrap().to_string()
}

fn assert_statuses(speaker: &Speaker, expected: u64) {
    for outcome in &speaker.outcomes {
        assert_eq!(outcome["status"].as_u64(), Some(expected), "{:?}", speaker.outcomes);
    }
}

/// Tests beside this one make findings too, which are not of this process.
fn assert_no_finding(sensor: &Sensor, speaker: &Speaker) {
    let pid = u64::from(speaker.process.pid());
    let mut found = sensor.events();
    found.retain(|e| e["event.name"] == "tollgate.finding" && e["process.pid"] == pid);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn connection_carries_every_name_and_they_agree_however_the_hello_is_cut() {
    let lab = lab_with(Names::Dns);
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let usual = || step(&lab, [OPENAI, OPENAI, OPENAI]);
    let cuts = ["whole", "records", "bytes", "1", "5", "8", "43", "60", "150", "300"];
    // The first connection makes the process known.
    let mut steps = vec![usual()];
    steps.extend(cuts.map(|cut| with(usual(), "cut", json!(cut))));
    let speaker = speak(&lab, &steps).unwrap();
    assert_statuses(&speaker, 200);
    let events = told(&sensor, &speaker, "tollgate.connection", steps.len());
    let first = events[0]["tls.client.ja4"].as_str().unwrap_or_default();
    assert!(first.starts_with("t13d") && first.len() == 36, "{:#?}", events[0]);
    // Answers are looked at from the first question on; the first of them may come before that.
    let resolved = events.iter().filter(|event| said(event, "dns") == OPENAI).count();
    assert!(resolved >= cuts.len(), "{resolved}: {events:#?}");
    for event in &events {
        let names = all_said(event);
        assert_eq!(names[1], OPENAI, "{event:#}");
        assert_eq!(names[3..], [OPENAI, "agreed"], "{event:#}");
        assert_eq!(event["tls.client.ja4"], first, "{event:#}");
        assert_eq!(event["tollgate.tls.encrypted_hello"], false, "{event:#}");
        assert_eq!(event["network.peer.address"], address(OPENAI), "{event:#}");
        assert!(event["tollgate.connection.bytes_sent"].as_u64() > Some(0), "{event:#}");
        assert!(event["tollgate.connection.bytes_received"].as_u64() > Some(0), "{event:#}");
    }
    // Of the first connection, the library may have been told the name before its probes stood.
    let known = events.iter().filter(|event| said(event, "library") == OPENAI).count();
    assert!(known >= cuts.len(), "{known}: {events:#?}");
    assert_no_finding(&sensor, &speaker);
}

#[test]
fn name_from_dns_over_tcp_is_a_name_from_dns_however_the_answer_is_cut() {
    let lab = lab_with(Names::DnsOverTcp);
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    // The first answer may come before answers are looked at.
    let steps = [(); 3].map(|()| step(&lab, [OPENAI, OPENAI, OPENAI]));
    let speaker = speak(&lab, &steps).unwrap();
    assert_statuses(&speaker, 200);
    let events = told(&sensor, &speaker, "tollgate.connection", steps.len());
    let resolved = events.iter().filter(|event| said(event, "dns") == OPENAI).count();
    assert!(resolved >= 2, "{resolved}: {events:#?}\n{}", sensor.log());
    assert!(sensor.log().contains("dns_question"), "{}", sensor.log());
    assert_no_finding(&sensor, &speaker);
}

#[test]
fn name_from_the_hosts_file_is_not_a_name_from_dns() {
    let lab = lab_with(Names::Hosts);
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    // Of the first connection, the library may have been told the name before its probes stood.
    let steps = [(); 2].map(|()| step(&lab, [OPENAI, OPENAI, OPENAI]));
    let speaker = speak(&lab, &steps).unwrap();
    assert_statuses(&speaker, 200);
    let events = told(&sensor, &speaker, "tollgate.connection", 2);
    let expected = ["", OPENAI, OPENAI, OPENAI, "agreed"];
    assert!(events.iter().any(|event| all_said(event) == expected), "{events:#?}");
    assert!(events.iter().all(|event| said(event, "dns").is_empty()), "{events:#?}");
    assert_no_finding(&sensor, &speaker);
}

#[test]
fn address_in_place_of_a_name_is_told_as_such() {
    let lab = lab_with(Names::Dns);
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let literal = address(OPENAI);
    // The address is known to be an AI provider's once somebody asked DNS for it.
    let usual = || step(&lab, [OPENAI, OPENAI, OPENAI]);
    // A socket of IPv6 goes to the same place by the address in other clothes.
    let dressed = format!("::ffff:{literal}");
    let steps = [
        usual(),
        usual(),
        step(&lab, [&literal, "", &literal]),
        step(&lab, [&dressed, "", &literal]),
    ];
    let speaker = speak(&lab, &steps).unwrap();
    assert_statuses(&speaker, 200);
    let events = told(&sensor, &speaker, "tollgate.connection", steps.len());
    // Its own process asked for the name before, and goes to the address that was the answer.
    let events: Vec<_> = events.iter().filter(|event| said(event, "hello").is_empty()).collect();
    assert_eq!(events.len(), 2, "{events:#?}");
    for event in events {
        assert_eq!(all_said(event), [OPENAI, "", "", &literal, "single"], "{event:#}");
        assert_eq!(event["network.peer.address"], literal, "{event:#}");
        let ja4 = event["tls.client.ja4"].as_str().unwrap_or_default();
        assert!(ja4.starts_with("t13i"), "{event:#}");
    }
    assert_no_finding(&sensor, &speaker);
}

#[test]
fn probed_process_has_no_connection_to_ai_where_it_goes_to_another_service_of_a_provider() {
    let lab = lab_with(Names::Dns);
    let mut sensor = Sensor::start("hold_client_hello = true").unwrap();
    let store = "s3.us-east-1.amazonaws.com";
    let request = format!("GET /bucket HTTP/1.1\r\nhost: {store}\r\nconnection: close\r\n\r\n");
    let steps = [
        step(&lab, [OPENAI, OPENAI, OPENAI]),
        with(step(&lab, [store, store, store]), "writes", json!([request])),
        step(&lab, [OPENAI, OPENAI, OPENAI]),
    ];
    let speaker = speak(&lab, &steps).unwrap();
    assert!(speaker.outcomes[1]["status"].as_u64().is_some(), "{:?}", speaker.outcomes);
    told(&sensor, &speaker, "tollgate.connection", 2);
    // A stop tells of every connection that has ended.
    sensor.stop().unwrap();
    let pid = u64::from(speaker.process.pid());
    let mut events = sensor.events();
    events.retain(|event| event["process.pid"] == pid && event["server.address"] == store);
    assert!(events.is_empty(), "{events:#?}");
}

#[test]
fn host_behind_another_name_is_a_finding_of_its_own() {
    let lab = lab_with(Names::Dns);
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let (front, groq) = ("www.example.com", "api.groq.com");
    let steps = [
        step(&lab, [OPENAI, OPENAI, OPENAI]),
        step(&lab, [OPENAI, OPENAI, groq]),
        step(&lab, [front, front, OPENAI]),
        // Two names of one provider over one connection are what HTTP/2 clients do.
        step(&lab, [OPENAI, OPENAI, "eu.api.openai.com"]),
        step(&lab, [OPENAI, groq, groq]),
    ];
    let speaker = speak(&lab, &steps).unwrap();
    assert_statuses(&speaker, 200);
    let connections = told(&sensor, &speaker, "tollgate.connection", steps.len());
    let agreements = [
        ([OPENAI, OPENAI], "agreed"),
        ([OPENAI, groq], "fronted"),
        ([front, OPENAI], "fronted"),
        ([OPENAI, "eu.api.openai.com"], "fronted"),
        ([groq, groq], "redirected"),
    ];
    for (names, agreement) in agreements {
        assert_eq!(said(of(&connections, names), "agreement"), agreement, "{names:?}");
    }
    let findings = told(&sensor, &speaker, "tollgate.finding", 3);
    for (names, dns) in [([OPENAI, groq], OPENAI), ([front, OPENAI], front)] {
        let event = of(&findings, names);
        assert_eq!(event["tollgate.finding.kind"], "fronting", "{event:#}");
        assert_eq!(all_said(event), [dns, names[0], names[0], names[1], "fronted"], "{event:#}");
    }
    let redirected = findings.iter().find(|e| e["tollgate.finding.kind"] == "redirected").unwrap();
    assert_eq!([said(redirected, "dns"), said(redirected, "hello")], [OPENAI, groq]);
}

#[test]
fn hidden_name_on_the_way_to_ai_and_imitated_name_are_findings() {
    let lab = lab_with(Names::Dns);
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let literal = address(OPENAI);
    let hidden = step(&lab, [&literal, "front.example", OPENAI]);
    let hidden = with(with(hidden, "encrypted", json!(true)), "hello_only", json!(true));
    let steps = [
        step(&lab, [OPENAI, OPENAI, OPENAI]),
        step(&lab, [OPENAI, OPENAI, OPENAI]),
        hidden,
        step(&lab, [&address("llm.internal.example"), "api.0penai.com", "api.0penai.com"]),
    ];
    let speaker = speak(&lab, &steps).unwrap();
    assert_eq!(speaker.outcomes[3]["status"], 200, "{:?}", speaker.outcomes);
    let findings = told(&sensor, &speaker, "tollgate.finding", 2);
    let of_kind = |kind| findings.iter().find(|e| e["tollgate.finding.kind"] == kind).unwrap();
    let hidden = of_kind("encrypted_hello");
    assert_eq!(said(hidden, "hello"), "front.example", "{hidden:#}");
    assert_eq!(hidden["tollgate.tls.encrypted_hello"], true, "{hidden:#}");
    let imitated = of_kind("look_alike");
    assert_eq!(imitated["tollgate.finding.imitates"], OPENAI, "{imitated:#}");
    assert_eq!(said(imitated, "hello"), "api.0penai.com", "{imitated:#}");
}

#[test]
fn first_datagrams_of_quic_tell_the_name_behind_them() {
    const DATAGRAMS: [&[&[u8]]; 3] = [
        &[include_bytes!("../corpus/quic/version-1-0.bin")],
        &[include_bytes!("../corpus/quic/version-2-0.bin")],
        &[
            include_bytes!("../corpus/quic/two-datagrams-0.bin"),
            include_bytes!("../corpus/quic/two-datagrams-1.bin"),
        ],
    ];
    let lab = lab_with(Names::Hosts);
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let mut steps = DATAGRAMS
        .map(|datagrams| json!({"address": address(OPENAI), "datagrams": datagrams}))
        .to_vec();
    steps.push(with(steps[0].clone(), "connects", json!(false)));
    let speaker = speak(&lab, &steps).unwrap();
    let events = told(&sensor, &speaker, "tollgate.coverage", steps.len());
    for event in &events {
        assert_eq!(event["tollgate.coverage.reason"], "quic", "{event:#}");
        assert_eq!(event["server.address"], OPENAI, "{event:#}");
        assert_eq!(said(event, "hello"), OPENAI, "{event:#}");
        assert_eq!(event["network.peer.address"], address(OPENAI), "{event:#}");
        assert!(event["tls.client.ja4"].as_str().unwrap().starts_with("q13d"), "{event:#}");
    }
}

#[test]
fn connection_of_quic_is_told_once_however_often_its_first_datagram_is_sent() {
    let lab = lab_with(Names::Hosts);
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let first = include_bytes!("../corpus/quic/version-1-0.bin").as_slice();
    let other = include_bytes!("../corpus/quic/version-2-0.bin").as_slice();
    let groq = address("api.groq.com");
    // What comes last shows that all before it has been told.
    let steps = [
        json!({"address": address(OPENAI), "datagrams": [first, first, first]}),
        json!({"address": groq, "datagrams": [other]}),
    ];
    let speaker = speak(&lab, &steps).unwrap();
    let events = told(&sensor, &speaker, "tollgate.coverage", 2);
    let peers = [0, 1].map(|at| events[at]["network.peer.address"].as_str().unwrap_or_default());
    assert_eq!(peers, [address(OPENAI).as_str(), groq.as_str()], "{events:#?}");
}
