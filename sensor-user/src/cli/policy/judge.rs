//! Policies, and facts or recorded events, come in; problems, decisions and differences are written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::bail;
use anyhow::ensure;
use jiff::Timestamp;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::cli::Output;
use crate::cli::policy::changes;
use crate::cli::policy::changes::calls;
use crate::cli::policy::changes::counted;
use crate::cli::policy::changes::is_open;
use crate::cli::policy::changes::text;
use crate::cli::policy::changes::write_open;
use crate::cli::policy::known::Known;
use crate::cli::policy::write::line;
use crate::cli::policy::write::maker;
use crate::cli::policy::write::object;
use crate::policy;
use crate::policy::Decision;
use crate::policy::Effect;
use crate::policy::Engine;
use crate::policy::Given;
use crate::policy::Outlook;
use crate::policy::Problem;
use crate::policy::Set;
use crate::policy::Severity;
use crate::policy::Source;
use crate::policy::rows;
use crate::report::escape;
use crate::store::policies as store;
use crate::store::policies::History;

/// Writes problems, one a line.
fn problems(found: &[Problem], output: Output, out: &mut dyn Write) -> io::Result<()> {
    for problem in found {
        if output == Output::Json {
            let severity = if problem.severity == Severity::Error { "error" } else { "warning" };
            let place = (problem.line, problem.column);
            let object = json!({"file": problem.file, "line": place.0, "column": place.1, "severity": severity, "message": problem.message});
            writeln!(out, "{}", line(&object))?;
        } else {
            writeln!(out, "{}", escape::lines(&problem.to_string()))?;
        }
    }
    Ok(())
}

/// Where the documents of paths are: a folder with versions stands for the one in force.
fn places(paths: &[PathBuf]) -> Vec<PathBuf> {
    paths.iter().map(|path| History::in_force(path)).collect()
}

/// Nobody means no policies by the name of a place: it is the wrong one.
pub(super) fn ensure_some(found: usize, paths: &[PathBuf]) -> anyhow::Result<()> {
    let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    ensure!(found != 0, "no policy document in {}", names.join(", "));
    Ok(())
}

pub(super) fn check(
    (paths, config): (&[PathBuf], Option<&Path>),
    output: Output,
    (out, now): (&mut dyn Write, Timestamp),
) -> anyhow::Result<bool> {
    let sources = store::documents(&places(paths))?;
    let known = Known::read(config)?;
    let Some(set) = read(&sources, &known, output, (&mut *out, now))? else { return Ok(false) };
    ensure_some(set.documents(), paths)?;
    if output == Output::Text {
        writeln!(out, "{} policies with {} rules are right", set.len(), set.rules())?;
    }
    Ok(true)
}

/// Reads documents; what is wrong with them, or odd, is written with its place. None: they are not right.
pub(super) fn read(
    sources: &[Source],
    known: &Known,
    output: Output,
    (out, now): (&mut dyn Write, Timestamp),
) -> anyhow::Result<Option<Set>> {
    let (set, mut found) = match Set::read(sources) {
        Ok(read) => read,
        Err(found) => {
            problems(&found, output, out)?;
            return Ok(None);
        }
    };
    found.extend(known.check(sources, &set, now));
    problems(&found, output, out)?;
    let is_right = found.iter().all(|problem| problem.severity != Severity::Error);
    Ok(is_right.then_some(set))
}

/// Each file is tested by itself, as its rows describe it.
pub(super) fn test(paths: &[PathBuf], output: Output, out: &mut dyn Write) -> anyhow::Result<bool> {
    let (mut held, mut good, mut untested) = (0_usize, true, Vec::new());
    let (files, alone) = store::tested(&places(paths))?;
    ensure_some(files.len().saturating_add(alone.len()), paths)?;
    // As after a policy was renamed: nobody would notice that its rows are not run any more.
    for rows in alone {
        let message = "no policy stands beside these rows".to_owned();
        let (file, severity) = (rows.display().to_string(), Severity::Error);
        problems(&[Problem { file, line: 0, column: 0, severity, message }], output, out)?;
        good = false;
    }
    for source in store::documents(&files)? {
        let engine = match Set::read(std::slice::from_ref(&source)) {
            Ok((set, _)) => Engine::new(set),
            Err(found) => {
                problems(&found, output, out)?;
                good = false;
                continue;
            }
        };
        let Some(tests) = store::tests_of(Path::new(&source.file))? else {
            untested.push(source.file);
            continue;
        };
        let outcome = rows::run(&engine, &tests);
        problems(&outcome.problems, output, out)?;
        good &= outcome.problems.is_empty();
        held = held.saturating_add(outcome.passed_allow).saturating_add(outcome.passed_deny);
    }
    if output == Output::Json {
        writeln!(out, "{}", line(&json!({"held": held, "good": good, "untested": untested})))?;
    } else {
        for file in untested {
            writeln!(out, "{}: no rows beside it", escape::plain(&file))?;
        }
        writeln!(out, "{held} rows hold")?;
    }
    Ok(good)
}

/// Facts of the command line, or of one event.
pub(super) fn given(
    facts: &[String],
    unknown: &[String],
    event: Option<&Path>,
) -> anyhow::Result<Given> {
    if let Some(path) = event {
        let mut line = String::new();
        let read: &mut dyn BufRead = if path == Path::new("-") {
            &mut io::stdin().lock()
        } else {
            &mut BufReader::new(
                File::open(path).with_context(|| format!("reading {}", path.display()))?,
            )
        };
        read.read_line(&mut line).context("reading the event")?;
        let event: Map<String, Value> = serde_json::from_str(&line).context("reading the event")?;
        return Ok(Given::of_event(&event));
    }
    let mut given = Given::default();
    for fact in facts {
        let Some((name, value)) = fact.split_once('=') else { bail!("`{fact}` is no name=value") };
        given.put(name, value).map_err(anyhow::Error::msg)?;
    }
    unknown.iter().try_for_each(|name| given.put_unknown(name)).map_err(anyhow::Error::msg)?;
    Ok(given)
}

fn engine(paths: &[PathBuf]) -> anyhow::Result<Engine> {
    match Set::read(&store::documents(&places(paths))?) {
        Ok((set, _)) => {
            ensure_some(set.documents(), paths)?;
            Ok(Engine::new(set))
        }
        Err(found) => {
            let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
            bail!("the policies are not right\n{}", lines.join("\n"))
        }
    }
}

pub(super) fn explain(
    paths: &[PathBuf],
    given: &Given,
    (now, output): (Timestamp, Output),
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    let engine = engine(paths)?;
    let decision = engine.decide(&given.facts(), now);
    let outlook = engine.outlook(&given.facts(), now);
    if output == Output::Json {
        writeln!(out, "{}", line(&Value::Object(object(&decision))))?;
        return Ok(true);
    }
    let ruling = decision.told();
    writeln!(out, "{} by {}", ruling.effect.as_str(), maker(ruling))?;
    if ruling.policy.is_some() {
        writeln!(
            out,
            "  mode: {}; an enforcing layer would {}",
            ruling.mode.as_str(),
            decision.effect().as_str()
        )?;
    }
    for (name, value) in &ruling.facts {
        writeln!(out, "  because {} is {}", name.as_str(), escape::plain(value))?;
    }
    if let Some(reason) = &ruling.reason {
        writeln!(out, "  reason: {}", escape::plain(reason))?;
    }
    if let Outlook::Open { on } = outlook {
        let names: Vec<_> = on.iter().map(policy::Attribute::as_str).collect();
        writeln!(out, "  could still change with: {}", names.join(", "))?;
    }
    Ok(true)
}

pub(super) fn replay(
    events: &Path,
    paths: &[PathBuf],
    output: Output,
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    let engine = engine(paths)?;
    let calls = calls(events)?;
    let mut sums: BTreeMap<(Effect, String), u64> = BTreeMap::new();
    let mut open = 0_u64;
    for (time, event) in &calls {
        let given = Given::of_event(event);
        let facts = given.facts();
        let decision = engine.decide(&facts, *time);
        open = open.saturating_add(u64::from(is_open(&engine, &facts, *time)));
        let sum = sums.entry((decision.ruling.effect, maker(decision.told()))).or_default();
        *sum = sum.saturating_add(1);
        row(&decision, event, output, out)?;
    }
    if output == Output::Text {
        writeln!(out, "{}", counted(&calls))?;
        for ((effect, maker), sum) in sums.iter().rev() {
            writeln!(out, "{sum:>8} {:<5} {maker}", effect.as_str())?;
        }
        write_open(open, out)?;
    }
    Ok(true)
}

fn row(
    decision: &Decision,
    event: &Map<String, Value>,
    output: Output,
    out: &mut dyn Write,
) -> io::Result<()> {
    let shown = ["time", "process.executable.path", "gen_ai.provider.name", "gen_ai.request.model"];
    if output == Output::Json {
        let mut row = Map::new();
        for name in shown {
            row.extend(event.get(name).map(|value| (name.to_owned(), value.clone())));
        }
        row.extend(object(decision));
        return writeln!(out, "{}", line(&Value::Object(row)));
    }
    if decision.ruling.effect == Effect::Allow {
        return Ok(());
    }
    let [time, executable, provider, model] =
        shown.map(|name| text(event, name).escape_debug().to_string());
    let (effect, maker) = (decision.ruling.effect.as_str(), maker(decision.told()));
    writeln!(out, "{time} {effect:<5} {maker}: {executable} {provider} {model}")
}

pub(super) fn diff(
    (old, new): (&Path, &Path),
    events: &Path,
    output: Output,
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    let (old, new) = (engine(&[old.to_owned()])?, engine(&[new.to_owned()])?);
    changes::write((&old, &new), &changes::recorded(events)?, output, out)?;
    Ok(true)
}
