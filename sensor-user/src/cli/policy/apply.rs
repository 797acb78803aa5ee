//! Files and folders come in; they are joined to what is in force, checked, compared, and put into force as a new version.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::ensure;
use clap::Args;
use jiff::Timestamp;

use crate::cli::Output;
use crate::cli::policy::DEFAULT_FOLDER;
use crate::cli::policy::judge::ensure_some;
use crate::cli::policy::judge::read;
use crate::cli::policy::known::Known;
use crate::cli::policy::versions::differences;
use crate::cli::policy::versions::in_force;
use crate::cli::policy::versions::put;
use crate::policy::Source;
use crate::policy::titled;
use crate::policy::without;
use crate::store::policies as store;

/// Options of `tollgate policy apply`.
#[derive(Clone, Debug, Args)]
pub struct Apply {
    /// Files, which join what is in force or take the place of documents of their kind and name; or a folder, which takes
    /// the place of all of it.
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    /// Folder that keeps the versions.
    #[arg(long, default_value = DEFAULT_FOLDER)]
    pub folder: PathBuf,
    /// Put only what the paths hold into force, also where policies in mode `enforce` leave by that.
    #[arg(long)]
    pub replace: bool,
    /// Only say what would be put into force.
    #[arg(long)]
    pub dry_run: bool,
}

impl Apply {
    /// Puts policies into force. False: they are not right.
    pub(super) fn run(&self, out: &mut dyn Write, now: Timestamp) -> anyhow::Result<bool> {
        let given = store::documents(&self.paths)?;
        // Who applies at the same time waits, and joins what is in force by then.
        let _lock =
            (!self.dry_run).then(|| store::History::new(&self.folder).lock()).transpose()?;
        let old = self.old()?;
        let is_whole = self.replace || self.paths.iter().any(|path| path.is_dir());
        let documents = titled(&given).len();
        let new = if is_whole { given } else { joined(&old, given) };
        // What is refused here would keep the agent from all that the documents add.
        let known = Known::read(None)?;
        let Some(set) = read(&new, &known, Output::Text, (&mut *out, now))? else {
            return Ok(false);
        };
        ensure_some(documents, &self.paths)?;
        differences(&old, &new, out)?;
        if !self.replace {
            ensure_none_leaves(&old, &new, now)?;
        }
        if self.dry_run {
            let (policies, rules) = (set.len(), set.rules());
            writeln!(out, "would put {policies} policies with {rules} rules into force")?;
            return Ok(true);
        }
        put(&self.folder, &new, &set, out)?;
        Ok(true)
    }

    /// What is in force until now.
    fn old(&self) -> anyhow::Result<Vec<Source>> {
        match in_force(&self.folder) {
            // What nobody can read is not kept from being replaced.
            Err(_) if self.replace => Ok(Vec::new()),
            read => read.context("what is in force cannot be kept; to drop it, give --replace"),
        }
    }
}

/// What is in force, with the given documents in the place of those of their kind and name. Files that hold none of these
/// stay as they are.
fn joined(old: &[Source], given: Vec<Source>) -> Vec<Source> {
    let new = titled(&given);
    let kept = old.iter().filter_map(|source| without(source, |title| new.contains_key(title)));
    kept.chain(given).collect()
}

/// Refuses what would lift refusals by leaving them out.
fn ensure_none_leaves(old: &[Source], new: &[Source], now: Timestamp) -> anyhow::Result<()> {
    let (old, new) = (titled(old), titled(new));
    let leaving: Vec<_> = old
        .iter()
        .filter(|(title, document)| document.enforces(now) && !new.contains_key(title))
        .map(|(title, _)| title.to_string())
        .collect();
    ensure!(
        leaving.is_empty(),
        "in mode enforce, and not among what would be in force: {}; to lift them, give --replace; to keep them, apply files instead of a folder",
        leaving.join(", ")
    );
    Ok(())
}
