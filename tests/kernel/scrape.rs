//! A scraper and an orchestrator ask the sensor beside the lab: what its server answers is held against its events.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tollgate_tests::harness::wait_until;
use tollgate_tests::lab::CLIENT_DEADLINE;
use tollgate_tests::lab::clients::{Api, Spec};

use crate::openssl::lab;
use crate::sensor::Sensor;

/// Time in which counters that are read once a second are shown.
const SHOWN_DEADLINE: Duration = Duration::from_secs(20);
/// Calls of each kind.
const CALLS: u32 = 3;
/// A model that no other test asks for: a sensor sees the calls of all tests that run beside it.
const MODEL: &str = "gpt-4.1-nano";
/// Counters that are sums over events and nothing else.
const SUMS: [&str; 9] = [
    "tollgate_capture_bindings_total",
    "tollgate_credential_calls_total",
    "tollgate_provider_call_duration_seconds_count",
    "tollgate_provider_calls_total",
    "tollgate_provider_failed_calls_total",
    "tollgate_provider_first_token_seconds_count",
    "tollgate_provider_tokens_total",
    "tollgate_spend_calls_total",
    "tollgate_spend_cost_usd_total",
];
/// How far a sum of dollars in floating point may be from the exact one.
const DOLLARS_OFF_MAX: f64 = 1e-12;

/// Series by name and labels, the labels in order.
type Series = BTreeMap<String, f64>;

fn key(name: &str, labels: &[(&str, &str)]) -> String {
    let mut labels: Vec<_> =
        labels.iter().map(|(label, value)| format!("{label}={value:?}")).collect();
    labels.sort_unstable();
    format!("{name}{{{}}}", labels.join(","))
}

/// The series of an exposition.
fn series(text: &str) -> Series {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let read = lines.filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}')?.split(',').filter_map(|label| {
            let (label, value) = label.split_once('=')?;
            Some((label, value.trim_matches('"')))
        });
        Some((key(name, &labels.collect::<Vec<_>>()), value.parse().ok()?))
    });
    read.collect()
}

/// Tokens of a call by class, as far as its event tells them; the event adds classes up, the counter does not.
fn tokens(call: &Value) -> Vec<(&'static str, u64)> {
    let count = |name: &str| call[format!("gen_ai.usage.{name}_tokens")].as_u64();
    let [read, written, reasoning] =
        ["cache_read.input", "cache_creation.input", "reasoning.output"].map(count);
    let less = |sum: u64, parts: [Option<u64>; 2]| {
        parts.into_iter().flatten().fold(sum, |rest, part| rest.checked_sub(part).unwrap())
    };
    let classes = [
        ("input", count("input").map(|sum| less(sum, [read, written]))),
        ("cache_read", read),
        ("cache_creation", written),
        ("output", count("output").map(|sum| less(sum, [reasoning, None]))),
        ("reasoning", reasoning),
    ];
    classes.into_iter().filter_map(|(class, count)| Some((class, count?))).collect()
}

/// The sums that counters must show after these calls.
fn sums(calls: &[Value]) -> Series {
    let mut sums = Series::new();
    let mut add = |name: &str, labels: &[(&str, &str)], more: f64| {
        *sums.entry(key(name, labels)).or_default() += more;
    };
    for call in calls {
        let text = |name: &str| call[name].as_str().unwrap_or_default();
        let provider = ("provider", text("gen_ai.provider.name"));
        let operation = ("operation", text("gen_ai.operation.name"));
        let basis = ("basis", text("tollgate.cost.basis"));
        let answered = call["gen_ai.response.model"].as_str();
        let model = ("model", answered.unwrap_or(text("gen_ai.request.model")));
        let status = call["http.response.status_code"].as_u64();
        let status = status.map_or("none".to_owned(), |status| format!("{}xx", status / 100));
        let coverage = ("coverage", text("tollgate.coverage"));
        let all = [provider, operation, model, ("status", status.as_str()), coverage];
        add("tollgate_provider_calls_total", &all, 1.0);
        let erred = call["error.type"].as_str().is_some_and(|word| word != "aborted");
        if erred || status == "none" {
            let labels = [provider, ("status", status.as_str())];
            add("tollgate_provider_failed_calls_total", &labels, 1.0);
        }
        add("tollgate_provider_call_duration_seconds_count", &[provider, operation], 1.0);
        if call["tollgate.time_to_first_token_ms"].is_number() {
            add("tollgate_provider_first_token_seconds_count", &[provider], 1.0);
        }
        for (class, count) in tokens(call) {
            let count = f64::from(u32::try_from(count).unwrap());
            add("tollgate_provider_tokens_total", &[provider, model, ("class", class)], count);
        }
        add("tollgate_spend_calls_total", &[provider, basis], 1.0);
        if let Some(dollars) = call["tollgate.cost.usd"].as_str() {
            let labels = [provider, model, basis];
            add("tollgate_spend_cost_usd_total", &labels, dollars.parse().unwrap());
        }
        let method = call["tollgate.binding"].as_str().unwrap_or("unbound");
        add("tollgate_capture_bindings_total", &[("method", method)], 1.0);
        if let Some(fingerprint) = call["tollgate.credential.fingerprint"].as_str() {
            let kind = ("kind", text("tollgate.credential.kind"));
            add("tollgate_credential_calls_total", &[("fingerprint", fingerprint), kind], 1.0);
        }
    }
    sums
}

/// What is shown and does not lie between the sums before and behind the scrape; calls of other tests may end between.
fn wrong(before: &Series, shown: &Series, behind: &Series) -> Vec<String> {
    let is_sum = |key: &&String| SUMS.iter().any(|name| key.split('{').next() == Some(*name));
    let names = shown.keys().filter(is_sum).chain(before.keys());
    names
        .filter(|key| {
            let at = |series: &Series| series.get(*key).copied().unwrap_or_default();
            let (least, most) = (at(before) - DOLLARS_OFF_MAX, at(behind) + DOLLARS_OFF_MAX);
            !(least..=most).contains(&at(shown))
        })
        .map(|key| {
            format!(
                "{key}: {:?} to {:?}, shown {:?}",
                before.get(key),
                behind.get(key),
                shown.get(key)
            )
        })
        .collect()
}

/// Makes calls that are served whole and streamed, and one that is refused.
fn make_calls(sensor: &Sensor) {
    let lab = lab();
    let knobs = |id: &str| format!("id={id},in=1001,cached=32,out=257,reasoning=19,chunks=5");
    let served = Spec::new("openai-sync", Api::Chat).calls(CALLS, 1);
    let refused = Spec::new("openai-sync", Api::Chat).scenario("id=refused,fail=1,status=429");
    let other = Spec::new("anthropic-sync", Api::Messages).scenario(&knobs("other"));
    for (mut spec, count) in
        [(served.streamed().scenario(&knobs("scraped")), CALLS), (refused, 1), (other, 1)]
    {
        if spec.model.starts_with("gpt") {
            MODEL.clone_into(&mut spec.model);
        }
        let running = lab.start(&spec).unwrap();
        let pid = running.pid();
        running.finish(CLIENT_DEADLINE).unwrap();
        sensor.calls_by(pid, usize::try_from(count).unwrap()).unwrap();
    }
}

#[test]
fn counters_are_the_sums_of_the_events() {
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    make_calls(&sensor);
    let compared = wait_until(SHOWN_DEADLINE, "the counters", || {
        let before = sums(&sensor.calls());
        let shown = series(&sensor.scrape("/metrics").ok()?.1);
        let wrong = wrong(&before, &shown, &sums(&sensor.calls()));
        wrong.is_empty().then_some(shown)
    });
    let shown = compared.unwrap_or_else(|error| {
        let (_, text) = sensor.scrape("/metrics").unwrap();
        let sums = sums(&sensor.calls());
        panic!("{error}: {:#?}\n{}", wrong(&sums, &series(&text), &sums), sensor.log())
    });
    // The sums of this test's own calls are known beforehand.
    let own = |name: &str, label: &str| -> f64 {
        let named = shown.iter().filter(|(key, _)| key.starts_with(name) && key.contains(MODEL));
        named.filter(|(key, _)| key.contains(label)).map(|(_, value)| value).sum()
    };
    let calls = f64::from(CALLS);
    for (name, label, expected) in [
        ("tollgate_provider_calls_total{", r#"status="2xx""#, calls),
        ("tollgate_provider_calls_total{", r#"status="4xx""#, 1.0),
        ("tollgate_provider_tokens_total{", r#"class="input""#, calls * 1001.0),
        ("tollgate_provider_tokens_total{", r#"class="cache_read""#, calls * 32.0),
        ("tollgate_provider_tokens_total{", r#"class="output""#, calls * (257.0 - 19.0)),
        ("tollgate_provider_tokens_total{", r#"class="reasoning""#, calls * 19.0),
    ] {
        assert!((own(name, label) - expected).abs() < 0.5, "{name}{label}: {shown:#?}");
    }
    for name in [
        "tollgate_agent_ready{}",
        "tollgate_agent_resident_memory_bytes{}",
        r#"tollgate_capture_records_total{ring="data"}"#,
        r#"tollgate_capture_records_total{ring="events"}"#,
    ] {
        assert!(shown.get(name).is_some_and(|value| *value > 0.0), "{name}: {shown:#?}");
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
