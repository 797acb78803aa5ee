//! Sample events come in; the text that Prometheus reads is compared.

use super::*;
use crate::report::coverage::Provider;
use crate::report::sinks::sample;

fn value<'a>(text: &'a str, series: &str) -> &'a str {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series))
        .unwrap_or_else(|| panic!("{series} in:\n{text}"));
    line.trim()
}

#[test]
fn golden_file_holds_every_metric() {
    let metrics = Metrics::new(200).unwrap();
    sample::compare(
        "metrics.txt",
        include_str!("../../../../tests/golden/metrics.txt"),
        &metrics.description(),
    );
}

#[test]
fn names_follow_the_convention() {
    for line in Metrics::new(200).unwrap().description().lines() {
        let mut words = line.split(' ');
        let (name, kind) = (words.next().unwrap(), words.next().unwrap());
        assert!(name.starts_with("tollgate_"), "{line}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
        assert_eq!(name.ends_with("_seconds"), kind == "histogram", "{line}");
        assert!(line.ends_with('.'), "{line}");
    }
}

#[test]
fn call_is_counted_with_tokens_dollars_and_times() {
    let metrics = Metrics::new(200).unwrap();
    for event in sample::events() {
        metrics.observe(&event);
    }
    let text = metrics.text().unwrap();
    let model = r#"model="gpt-4o-mini-2024-07-18",provider="openai""#;
    let series = r#"tollgate_provider_calls_total{coverage="complete",model="gpt-4o-mini-2024-07-18",operation="chat",provider="openai",status="2xx"}"#;
    assert_eq!(value(&text, series), "2");
    for (class, count) in
        [("input", "360"), ("cache_read", "2048"), ("output", "368"), ("reasoning", "256")]
    {
        assert_eq!(
            value(&text, &format!(r#"tollgate_provider_tokens_total{{class="{class}",{model}}}"#)),
            count
        );
    }
    assert_eq!(
        value(&text, &format!(r#"tollgate_spend_cost_usd_total{{basis="reported",{model}}}"#)),
        "0.000582"
    );
    let key =
        r#"tollgate_credential_cost_usd_total{fingerprint="9f3c2e1a00112233445566778899aabb"}"#;
    assert_eq!(value(&text, key), "0.000582");
    assert_eq!(
        value(&text, r#"tollgate_provider_first_token_seconds_count{provider="openai"}"#),
        "2"
    );
    assert_eq!(
        value(&text, r#"tollgate_workload_unattributed_calls_total{missing="process"}"#),
        "1"
    );
    assert_eq!(
        value(&text, r#"tollgate_capture_lost_bytes_total{reason="payload_no_room"}"#),
        "98304"
    );
    assert!(value(&text, "tollgate_agent_resident_memory_bytes").len() > 6);
}

fn presumed(provider: Provider) -> Provider {
    Provider { presumed: true, ..provider }
}

#[test]
fn share_of_connections_seen_whole_is_that_of_their_verdicts() {
    let metrics = Metrics::new(1).unwrap();
    let mut whole = None;
    for event in sample::events() {
        metrics.observe(&event);
        whole = whole.or(matches!(event, Event::Connection(_)).then_some(event));
    }
    metrics.observe(&whole.unwrap());
    let mut process = sample::truncated();
    process.scope = crate::report::coverage::Scope::Process;
    metrics.observe(&Event::Coverage(Box::new(process)));
    let mut other = sample::truncated();
    other.provider = None;
    metrics.observe(&Event::Coverage(Box::new(other)));
    // What only the name of a host stands for that carries other traffic too, does not count.
    for event in sample::events() {
        match event {
            Event::Connection(mut connection) => {
                connection.provider = connection.provider.take().map(presumed);
                metrics.observe(&Event::Connection(connection));
            }
            Event::Coverage(mut coverage) => {
                coverage.provider = coverage.provider.take().map(presumed);
                metrics.observe(&Event::Coverage(coverage));
            }
            _ => {}
        }
    }
    let text = metrics.text().unwrap();
    // Two whole, two in part, one blind; the second provider is beyond the bound.
    for (series, expected) in [
        ("tollgate_coverage_ratio ", "0.4"),
        (r#"tollgate_coverage_provider_ratio{provider="anthropic"} "#, "0.5"),
        (r#"tollgate_coverage_provider_ratio{provider="other"} "#, "0"),
        (r#"tollgate_coverage_missing_bytes_total{bound="exact"} "#, "65536"),
        (r#"tollgate_coverage_estimated_cost_usd_total{provider="anthropic"} "#, "0.25758"),
    ] {
        assert_eq!(value(&text, series), expected, "{series}");
    }
    let covered = metrics.covered();
    assert_eq!(covered.reasons.get("no_room"), Some(&2));
    assert_eq!((covered.missing_bytes, covered.estimated_tokens), (65_536, 17_860));
}

#[test]
fn call_that_failed_within_its_answer_is_counted_as_failed() {
    let metrics = Metrics::new(200).unwrap();
    let mut event = sample::call();
    metrics.observe(&Event::Call(Box::new(event.clone())));
    event.call.error_type = Some("overloaded_error".to_owned());
    metrics.observe(&Event::Call(Box::new(event)));
    metrics.observe(&sample::bare());
    let text = metrics.text().unwrap();
    for status in ["2xx", "none"] {
        let series = format!(
            r#"tollgate_provider_failed_calls_total{{provider="openai",status="{status}"}}"#
        );
        assert_eq!(value(&text, &series), "1", "{status}");
    }
}

#[test]
fn models_beyond_the_bound_are_counted_as_other() {
    let metrics = Metrics::new(200).unwrap();
    let mut call = sample::call();
    for number in 0..250 {
        call.call.response_model = Some(format!("made-up-{number}"));
        metrics.observe(&Event::Call(Box::new(call.clone())));
    }
    let text = metrics.text().unwrap();
    let models =
        text.lines().filter(|line| line.starts_with("tollgate_provider_calls_total{")).count();
    assert_eq!(models, 201);
    assert_eq!(value(&text, r#"tollgate_report_labels_folded_total{label="model"}"#), "50");
}

#[test]
fn ten_thousand_small_amounts_add_up_exactly() {
    let metrics = Metrics::new(200).unwrap();
    let call = Event::Call(Box::new(sample::call()));
    for _ in 0..10_000 {
        metrics.observe(&call);
    }
    let text = metrics.text().unwrap();
    let key =
        r#"tollgate_credential_cost_usd_total{fingerprint="9f3c2e1a00112233445566778899aabb"}"#;
    assert_eq!(value(&text, key), "2.91");
}

#[test]
fn counter_kept_elsewhere_only_grows() {
    let metrics = Metrics::new(200).unwrap();
    for absolute in [3, 7, 7, 2, 4] {
        metrics.set_stage_event("http", "requests", absolute);
    }
    let text = metrics.text().unwrap();
    assert_eq!(
        value(&text, r#"tollgate_agent_stage_events_total{event="requests",stage="http"}"#),
        "11"
    );
}

#[test]
fn what_stages_count_is_shown_as_it_grows() {
    let metrics = Metrics::new(200).unwrap();
    let mut stages = StageMetrics::default();
    for bytes in [100, 250] {
        stages.reassembly.bytes = bytes;
        stages.reassembly.gaps_waited = 1;
        stages.http1.resyncs = 2;
        stages.http2.requests = bytes;
        stages.provider.bodies_broken = 3;
        stages.workload.resolved = 4;
        stages.protocols.http2 = 5;
        metrics.set_stages(&stages);
    }
    let text = metrics.text().unwrap();
    let shown = [
        (r#"tollgate_reassembly_bytes_total{fate="taken"}"#, "250"),
        (r#"tollgate_reassembly_gaps_total{reason="waited"}"#, "1"),
        (r#"tollgate_http_faults_total{fault="resync",protocol="http1"}"#, "2"),
        (r#"tollgate_http_messages_total{message="request",protocol="http2"}"#, "250"),
        (r#"tollgate_http_connections_total{protocol="http2"}"#, "5"),
        ("tollgate_provider_broken_bodies_total", "3"),
        (r#"tollgate_workload_processes_total{result="resolved"}"#, "4"),
    ];
    for (series, count) in shown {
        assert_eq!(value(&text, &format!("{series} ")), count, "{series}");
    }
}

#[test]
fn a_repeated_answer_adds_no_tokens() {
    let metrics = Metrics::new(200).unwrap();
    let mut event = sample::call();
    metrics.observe(&Event::Call(Box::new(event.clone())));
    event.call.repeated = true;
    metrics.observe(&Event::Call(Box::new(event)));
    let text = metrics.text().unwrap();
    let model = r#"model="gpt-4o-mini-2024-07-18",provider="openai""#;
    let series = format!(r#"tollgate_provider_tokens_total{{class="input",{model}}}"#);
    assert_eq!(value(&text, &series), "180");
}
