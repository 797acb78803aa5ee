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
use crate::cli::policy::write::line;
use crate::cli::policy::write::maker;
use crate::policy::Decision;
use crate::policy::Engine;
use crate::policy::Facts;
use crate::policy::Given;
use crate::policy::Outlook;
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
    /// Whether they are calls, not connections without one.
    pub(super) is_call: bool,
    /// How many.
    pub(super) calls: u64,
}

/// Layers that refuse a connection before it has come about: nothing else is recorded of it.
const EARLY: [&str; 3] = ["address", "name", "quic"];

/// What an event is to a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Call,
    /// A connection without a decoded call.
    Connection,
}

/// What is to be judged of an event; nothing where another event tells of the same.
fn kind(event: &Map<String, Value>) -> Option<Kind> {
    let text = |name: &str| event.get(name).and_then(Value::as_str);
    let number = |name: &str| event.get(name).and_then(Value::as_u64).unwrap_or(0);
    let is_one = match text("event.name")? {
        "tollgate.call" => return Some(Kind::Call),
        "tollgate.connection" => {
            // Where nothing came back, it has not come about.
            number("tollgate.connection.calls") == 0
                && number("tollgate.connection.bytes_received") != 0
        }
        // Those of which a TLS object was seen have an event of their own.
        "tollgate.coverage" => {
            text("tollgate.coverage.scope") == Some("connection")
                && text("tollgate.coverage") == Some("blind")
                && text("tollgate.coverage.reason") != Some("no_plaintext")
        }
        "tollgate.decision" => {
            let layer = text("tollgate.layer").unwrap_or_default();
            EARLY.contains(&layer) && text("tollgate.decision") != Some("unseen")
        }
        _ => false,
    };
    is_one.then_some(Kind::Connection)
}

/// How many calls, and connections without one.
pub(super) fn counted(events: &[(Timestamp, Map<String, Value>)]) -> String {
    let is_call = |(_, event): &&(Timestamp, _)| kind(event) == Some(Kind::Call);
    let calls = events.iter().filter(is_call).count();
    match events.len().saturating_sub(calls) {
        0 => format!("{calls} calls"),
        others => format!("{calls} calls, {others} connections without one"),
    }
}

/// Recorded calls, and connections without one, each with its time.
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
        if kind(&event).is_none() {
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
        is_call: kind(&event) == Some(Kind::Call),
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
            is_call: true,
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
    let (mut all, mut open) = (0_u64, 0_u64);
    for one in seen {
        all = all.saturating_add(one.calls);
        let facts = one.given.facts();
        let (before, after) = (old.decide(&facts, one.time), new.decide(&facts, one.time));
        if [old, new].iter().any(|engine| is_open(engine, &facts, one.time)) {
            open = open.saturating_add(one.calls);
        }
        let mode = |one: &Decision| one.is_notable().then_some(one.ruling.mode);
        let effects = |one: &Decision| (one.ruling.effect, one.effect(), mode(one));
        if effects(&before) == effects(&after) {
            continue;
        }
        let [who, provider, model] = one.shown.clone();
        let modes = mode(&before).zip(mode(&after));
        let with_mode = modes.is_some_and(|(before, after)| before != after);
        let sum = sums
            .entry([who, provider, model, told(&before, with_mode), told(&after, with_mode)])
            .or_default();
        *sum = sum.saturating_add(one.calls);
    }
    for ([who, provider, model, before, after], sum) in &sums {
        if output == Output::Json {
            let row = json!({"process.executable.path": who, "gen_ai.provider.name": provider,
                "gen_ai.request.model": model, "before": before, "after": after, "calls": sum});
            writeln!(out, "{}", line(&row))?;
        } else {
            writeln!(out, "{sum:>8} {who} {provider} {model}: {before} -> {after}")?;
        }
    }
    if output == Output::Text {
        let changed: u64 = sums.values().sum();
        let has_others = seen.iter().any(|one| !one.is_call);
        let what = if has_others { "calls and connections" } else { "calls" };
        writeln!(out, "{changed} of {all} {what} are decided differently")?;
        write_open(open, out)?;
    }
    Ok(())
}

/// A decision for people: its effect, who made it, and the mode of that where it is asked for.
fn told(one: &Decision, with_mode: bool) -> String {
    let ruling = one.told();
    let mode = Some(ruling.mode.as_str()).filter(|_| with_mode && ruling.policy.is_some());
    let mode = mode.map(|mode| format!(", {mode}")).unwrap_or_default();
    format!("{} ({}{mode})", ruling.effect.as_str(), maker(ruling))
}

/// Whether more than was recorded could change what is decided.
pub(super) fn is_open(engine: &Engine, facts: &Facts<'_>, time: Timestamp) -> bool {
    matches!(engine.outlook(facts, time), Outlook::Open { .. })
}

/// Says of how many more than was recorded would have to be known.
pub(super) fn write_open(open: u64, out: &mut dyn Write) -> anyhow::Result<()> {
    if open != 0 {
        writeln!(
            out,
            "{open} of them could be decided otherwise: not all that is asked is recorded"
        )?;
    }
    Ok(())
}
