//! A scraper and an orchestrator ask the sensor beside the lab: what its server answers is held against what happened.

use std::time::Duration;

use tollgate_tests::harness::wait_until;
use tollgate_tests::lab::clients::{Api, Spec};

use crate::openssl::lab;
use crate::sensor::Sensor;

/// Time in which counters that are read once a second are shown.
const SHOWN_DEADLINE: Duration = Duration::from_secs(20);
/// Calls made, each streamed.
const CALLS: u32 = 3;
/// A model that no other test asks for: a sensor sees the calls of all tests that run beside it.
const MODEL: &str = "gpt-4.1-nano";

/// The sum of a metric's series that carry all of these labels; `None` where there is none.
fn value(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let series = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (own, rest) = series.split_once('{').unwrap_or((series, ""));
        (own == name && labels.iter().all(|label| rest.contains(label))).then_some(value)
    });
    series.filter_map(|value| value.parse::<f64>().ok()).reduce(|sum, value| sum + value)
}

/// Whether a row holds: exactly where it names the model, at least where other tests' calls are counted as well.
fn is_right(text: &str, model: &str, (name, labels, count): &(&str, &[&str], f64)) -> bool {
    let told = value(text, name, labels);
    if labels.contains(&model) {
        told == Some(*count)
    } else {
        told.is_some_and(|told| told >= *count)
    }
}

#[test]
fn counters_tell_of_the_calls_that_were_made() {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let usage = "in=1001,cached=32,out=257,reasoning=19,chunks=5";
    let mut spec = Spec::new("openai-sync", Api::Chat)
        .streamed()
        .calls(CALLS, 1)
        .scenario(&format!("id=scraped,{usage}"));
    MODEL.clone_into(&mut spec.model);
    let running = lab.start(&spec).unwrap();
    let pid = running.pid();
    running.finish(tollgate_tests::lab::CLIENT_DEADLINE).unwrap();
    let calls = sensor.calls_by(pid, usize::try_from(CALLS).unwrap()).unwrap();
    let facts = lab.facts_of("scraped", calls.len()).unwrap();
    let model = &*format!(r#"model="{MODEL}""#);
    let token = |class: &str| format!(r#"class="{class}""#);
    let calls = f64::from(CALLS);
    let rows: &[(&str, &[&str], f64)] = &[
        ("tollgate_provider_calls_total", &[model, r#"status="2xx""#], calls),
        ("tollgate_provider_tokens_total", &[model, &token("input")], calls * 1001.0),
        ("tollgate_provider_tokens_total", &[model, &token("cache_read")], calls * 32.0),
        ("tollgate_provider_tokens_total", &[model, &token("output")], calls * (257.0 - 19.0)),
        ("tollgate_provider_tokens_total", &[model, &token("reasoning")], calls * 19.0),
        ("tollgate_provider_call_duration_seconds_count", &[r#"operation="chat""#], calls),
        ("tollgate_provider_first_token_seconds_count", &[r#"provider="openai""#], calls),
        ("tollgate_spend_calls_total", &[r#"basis="reported""#], calls),
        ("tollgate_credential_calls_total", &[r#"kind="openai.project_key""#], calls),
        ("tollgate_http_messages_total", &[r#"protocol="http1""#, "request"], calls),
        ("tollgate_http_messages_total", &[r#"protocol="http1""#, "response"], calls),
        ("tollgate_http_connections_total", &[r#"protocol="http1""#], 1.0),
        ("tollgate_reassembly_bytes_total", &[r#"fate="missing""#], 0.0),
        ("tollgate_capture_ring_bytes", &[r#"ring="data""#], 16.0 * 1024.0 * 1024.0),
        ("tollgate_agent_ready", &[], 1.0),
    ];
    let shown = wait_until(SHOWN_DEADLINE, "the counters of three calls", || {
        let (_, text) = sensor.scrape("/metrics").ok()?;
        let is_right = |(name, labels, count): &(&str, &[&str], f64)| {
            value(&text, name, labels) == Some(*count)
        };
        rows.iter().all(is_right).then_some(text)
    });
    let text = shown.unwrap_or_else(|error| {
        let (_, text) = sensor.scrape("/metrics").unwrap();
        let wrong = rows.iter().filter(|row| !is_right(&text, model, row));
        panic!("{error}: {:?}\n{text}\n{}", wrong.collect::<Vec<_>>(), sensor.log())
    });
    let sent: u64 = facts.iter().map(|fact| fact.response_bytes).sum();
    let taken = value(&text, "tollgate_reassembly_bytes_total", &[r#"fate="taken""#]).unwrap();
    assert!(taken > f64::from(u32::try_from(sent).unwrap()), "{taken} of {sent} bytes were taken");
    for (name, labels) in [
        ("tollgate_agent_resident_memory_bytes", [].as_slice()),
        ("tollgate_capture_records_total", &[r#"ring="data""#]),
        ("tollgate_capture_records_total", &[r#"ring="events""#]),
        ("tollgate_workload_processes_total", &[r#"result="resolved""#]),
        ("tollgate_probes_attachments_total", &[r#"result="attached""#]),
        ("tollgate_spend_cost_usd_total", &[model]),
    ] {
        assert!(value(&text, name, labels).is_some_and(|value| value > 0.0), "{name}\n{text}");
    }
}

#[test]
fn health_and_readiness_are_served_and_nothing_else_is() {
    let sensor = Sensor::start("").unwrap();
    for (path, status, body) in
        [("/healthz", 200, Some("ok\n")), ("/readyz", 200, None), ("/", 404, None)]
    {
        let answer = sensor.scrape(path).unwrap();
        assert_eq!(answer.0, status, "{path}: {}", answer.1);
        assert!(body.is_none_or(|body| body == answer.1), "{path}: {}", answer.1);
    }
}
