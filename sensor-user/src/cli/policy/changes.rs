//! Two sets of policies and calls that were seen come in; for which of these the decision changes is written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use jiff::Timestamp;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::cli::Output;
use crate::cli::policy::write::maker;
use crate::policy::Decision;
use crate::policy::Engine;
use crate::policy::Given;
use crate::report::inventory::given;
use crate::store::Store;

/// Bytes of one recorded event; what is longer is no event of ours.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// Calls of one kind that were seen.
pub(super) struct Seen {
    /// When.
    pub(super) time: Timestamp,
    /// What is known of them.
    pub(super) given: Given,
    /// Who, provider, model: fit to be shown.
    pub(super) shown: [String; 3],
    /// How many.
    pub(super) calls: u64,
}

/// Recorded calls, each with its time.
pub(super) fn calls(path: &Path) -> anyhow::Result<Vec<(Timestamp, Map<String, Value>)>> {
    let file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
    let mut calls = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| format!("reading {}", path.display()))?;
        if line.trim().is_empty() || line.len() > EVENT_BYTES_MAX {
            continue;
        }
        let place = || format!("{}:{}", path.display(), number.saturating_add(1));
        let event: Map<String, Value> = serde_json::from_str(&line).with_context(place)?;
        if event.get("event.name").and_then(Value::as_str) != Some("tollgate.call") {
            continue;
        }
        let time = event.get("time").and_then(Value::as_str).unwrap_or_default();
        calls.push((time.parse().with_context(place)?, event));
    }
    Ok(calls)
}

/// A text of an event.
pub(super) fn text<'a>(event: &'a Map<String, Value>, name: &str) -> &'a str {
    event.get(name).and_then(Value::as_str).unwrap_or("-")
}

/// Recorded calls.
pub(super) fn recorded(path: &Path) -> anyhow::Result<Vec<Seen>> {
    let names = ["process.executable.path", "gen_ai.provider.name", "gen_ai.request.model"];
    let seen = |(time, event): (Timestamp, Map<String, Value>)| Seen {
        time,
        given: Given::of_event(&event),
        shown: names.map(|name| text(&event, name).escape_debug().to_string()),
        calls: 1,
    };
    Ok(calls(path)?.into_iter().map(seen).collect())
}

/// Uses that the inventory of a state folder holds.
pub(super) fn inventory(state: &Path, now: Timestamp) -> anyhow::Result<Vec<Seen>> {
    let entries = Store::open_to_read(state)?.entries(0)?;
    let entries = entries.iter().filter(|entry| entry.figures.calls > 0);
    let seen = entries.map(|entry| {
        let used = &entry.used;
        let who = [&used.user, &used.program].map(String::as_str).join(" ");
        let shown = [&who, &used.provider, &used.model];
        Seen {
            time: now,
            given: given(entry),
            shown: shown.map(|text| text.trim().escape_debug().to_string()),
            calls: entry.figures.calls,
        }
    });
    Ok(seen.collect())
}

/// Writes what is decided differently.
pub(super) fn write(
    (old, new): (&Engine, &Engine),
    seen: &[Seen],
    output: Output,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut sums: BTreeMap<[String; 5], u64> = BTreeMap::new();
    let mut all = 0_u64;
    for one in seen {
        all = all.saturating_add(one.calls);
        let facts = one.given.facts();
        let (before, after) = (old.decide(&facts, one.time), new.decide(&facts, one.time));
        let effects = |one: &Decision| (one.ruling.effect, one.effect());
        if effects(&before) == effects(&after) {
            continue;
        }
        let [who, provider, model] = one.shown.clone();
        let told =
            |one: &Decision| format!("{} ({})", one.ruling.effect.as_str(), maker(one.told()));
        let sum = sums.entry([who, provider, model, told(&before), told(&after)]).or_default();
        *sum = sum.saturating_add(one.calls);
    }
    for ([who, provider, model, before, after], sum) in &sums {
        if output == Output::Json {
            let line = json!({"process.executable.path": who, "gen_ai.provider.name": provider,
                "gen_ai.request.model": model, "before": before, "after": after, "calls": sum});
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "{sum:>8} {who} {provider} {model}: {before} -> {after}")?;
        }
    }
    if output == Output::Text {
        let changed: u64 = sums.values().sum();
        writeln!(out, "{changed} of {all} calls are decided differently")?;
    }
    Ok(())
}
