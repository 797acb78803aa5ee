//! A folder of versions and what to do with it come in; the folder is changed, and what came of it is written.

use std::io::Write;
use std::path::Path;

use jiff::Timestamp;
use serde_json::json;

use crate::cli::Output;
use crate::cli::policy::judge::ensure_some;
use crate::cli::policy::judge::read;
use crate::cli::policy::known::Known;
use crate::policy::Document;
use crate::policy::Set;
use crate::policy::Source;
use crate::policy::Title;
use crate::policy::titled;
use crate::report::escape;
use crate::store::policies as store;
use crate::store::policies::History;

/// The documents in force; none where the folder is not there yet.
pub(super) fn in_force(folder: &Path) -> Result<Vec<Source>, store::Error> {
    let place = History::in_force(folder);
    if place == folder && !place.exists() { Ok(Vec::new()) } else { store::documents(&[place]) }
}

/// Keeps checked documents as a new version and puts it into force; who calls holds the lock of the folder.
pub(super) fn put(
    folder: &Path,
    sources: &[Source],
    set: &Set,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let named = sources
        .iter()
        .map(|source| Source { file: bare(&source.file).to_owned(), text: source.text.clone() });
    let number = History::new(folder).apply(&named.collect::<Vec<_>>())?;
    tell(number, set, out)
}

/// The name of a file, without the number that a version puts before it.
pub(super) fn bare(file: &str) -> &str {
    let path = Path::new(file);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or(file);
    let is_version = path.parent().is_some_and(|folder| folder.ends_with("current"));
    match name.split_once('-') {
        Some((number, rest)) if is_version && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            rest
        }
        _ => name,
    }
}

/// Says by name what comes into force, what changes, and what leaves.
pub(super) fn differences(
    old: &[Source],
    new: &[Source],
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let (old, new) = (titled(old), titled(new));
    let mut lines = Vec::new();
    let mut line = |what: &str, title: &Title, document: &Document| {
        let mode = document.mode().map(|mode| format!(" ({})", mode.as_str()));
        lines.push(format!("{what}: {title}{}", mode.unwrap_or_default()));
    };
    for (title, document) in &new {
        match old.get(title) {
            None => line("comes", title, document),
            Some(before) if before != document => line("changes", title, document),
            Some(_) => {}
        }
    }
    let leaving = old.iter().filter(|(title, _)| !new.contains_key(title));
    leaving.for_each(|(title, document)| line("leaves", title, document));
    if lines.is_empty() {
        lines.push("no document differs from those in force".to_owned());
    }
    lines.iter().try_for_each(|line| writeln!(out, "{}", escape::plain(line)))?;
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
    // A folder without versions is not made for the sake of the lock.
    history.earlier(to)?;
    let _lock = history.lock()?;
    let (number, place) = history.earlier(to)?;
    let new = store::documents(std::slice::from_ref(&place))?;
    let known = Known::read(None)?;
    let Some(set) = read(&new, &known, Output::Text, (&mut *out, now))? else {
        return Ok(false);
    };
    ensure_some(set.documents(), &[place])?;
    // What is in force may be what nobody can read any more.
    let old = in_force(folder).unwrap_or_default();
    differences(&old, &new, out)?;
    history.put_into_force(number)?;
    tell(number, &set, out)?;
    Ok(true)
}

fn tell(number: u64, set: &Set, out: &mut dyn Write) -> anyhow::Result<()> {
    let (policies, rules) = (set.len(), set.rules());
    writeln!(out, "version {number} is in force: {policies} policies with {rules} rules")?;
    Ok(())
}
