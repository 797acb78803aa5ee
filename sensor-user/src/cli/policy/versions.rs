//! A folder of versions and what to do with it come in; the folder is changed, and what came of it is written.

use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::json;

use crate::cli::Output;
use crate::cli::policy::judge::ensure_some;
use crate::cli::policy::judge::problems;
use crate::cli::policy::judge::read;
use crate::policy::Set;
use crate::policy::Source;
use crate::store::policies as store;
use crate::store::policies::History;

/// Puts policies into force.
pub(super) fn apply(
    paths: &[PathBuf],
    folder: &Path,
    dry_run: bool,
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    let sources = store::documents(paths)?;
    let (set, warnings) = match Set::read(&sources) {
        Ok(read) => read,
        Err(found) => {
            problems(&found, Output::Text, out)?;
            return Ok(false);
        }
    };
    problems(&warnings, Output::Text, out)?;
    let (policies, rules) = (set.len(), set.rules());
    if dry_run {
        writeln!(out, "would put {policies} policies with {rules} rules into force")?;
        return Ok(true);
    }
    put(folder, &sources, (policies, rules), out)?;
    Ok(true)
}

/// Keeps checked documents as a new version and puts it into force.
pub(super) fn put(
    folder: &Path,
    sources: &[Source],
    (policies, rules): (usize, usize),
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let number = History::new(folder).apply(sources)?;
    writeln!(out, "version {number} is in force: {policies} policies with {rules} rules")?;
    Ok(())
}

/// Lists versions: when each came, and after which, which is what a rollback from it leads to.
pub(super) fn history(folder: &Path, output: Output, out: &mut dyn Write) -> anyhow::Result<bool> {
    for version in History::new(folder).versions()? {
        let (number, before) = (version.number, version.before);
        let made = version.made.map(|time| time.to_string());
        if output == Output::Json {
            let line = json!({"version": number, "current": version.is_current, "made": made, "before": before});
            writeln!(out, "{line}")?;
        } else {
            let mark = if version.is_current { "*" } else { " " };
            let after = before.map(|before| format!(" after {before}")).unwrap_or_default();
            writeln!(out, "{mark} {number} {}{after}", made.as_deref().unwrap_or("-"))?;
        }
    }
    Ok(true)
}

/// Puts an earlier version into force, where it still can be.
pub(super) fn rollback(
    to: Option<u64>,
    folder: &Path,
    (out, now): (&mut dyn Write, Timestamp),
) -> anyhow::Result<bool> {
    let history = History::new(folder);
    let (number, place) = history.earlier(to)?;
    let sources = store::documents(std::slice::from_ref(&place))?;
    let Some(set) = read(&sources, Output::Text, (&mut *out, now))? else { return Ok(false) };
    ensure_some(set.documents(), &[place])?;
    history.put_into_force(number)?;
    in_force(number, &set, out)
}

fn in_force(number: u64, set: &Set, out: &mut dyn Write) -> anyhow::Result<bool> {
    let (policies, rules) = (set.len(), set.rules());
    writeln!(out, "version {number} is in force: {policies} policies with {rules} rules")?;
    Ok(true)
}
