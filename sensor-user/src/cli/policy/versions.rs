//! A folder of versions and what to do with it come in; the folder is changed, and what came of it is written.

use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use serde_json::json;

use crate::cli::Output;
use crate::cli::policy::judge::problems;
use crate::cli::policy::known::Known;
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
    let (set, mut found) = match Set::read(&sources) {
        Ok(read) => read,
        Err(found) => {
            problems(&found, Output::Text, out)?;
            return Ok(false);
        }
    };
    // What is refused here would keep the agent from all that the documents add.
    let refused = Known::read(None)?.refused(&set);
    let is_right = refused.is_none();
    found.extend(refused);
    problems(&found, Output::Text, out)?;
    if !is_right {
        return Ok(false);
    }
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

/// Lists versions.
pub(super) fn history(folder: &Path, output: Output, out: &mut dyn Write) -> anyhow::Result<bool> {
    for version in History::new(folder).versions()? {
        if output == Output::Json {
            writeln!(out, "{}", json!({"version": version.number, "current": version.is_current}))?;
        } else {
            writeln!(out, "{} {}", if version.is_current { "*" } else { " " }, version.number)?;
        }
    }
    Ok(true)
}

/// Puts an earlier version into force.
pub(super) fn rollback(
    to: Option<u64>,
    folder: &Path,
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    let number = History::new(folder).rollback(to)?;
    writeln!(out, "version {number} is in force")?;
    Ok(true)
}
