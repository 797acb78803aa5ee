//! The configuration of the agent and documents come in; which providers it knows by them, and what of that is wrong, goes out.

use std::fs;
use std::path::Path;

use anyhow::Context;
use jiff::Timestamp;

use crate::config::Config;
use crate::policy;
use crate::policy::Problem;
use crate::policy::Set;
use crate::policy::Severity;
use crate::policy::Source;
use crate::provider::Catalogue;

/// Providers as the agent of a configuration knows them before it reads documents.
pub(super) struct Known {
    /// Rows of `files.providers`.
    rows: String,
    catalogue: Catalogue,
}

impl Known {
    /// Reads the rows that a configuration names. Where none is given, that of this machine says it, if it can be read.
    pub(super) fn read(config: Option<&Path>) -> anyhow::Result<Self> {
        match (Self::of(config), config) {
            (Ok(known), _) => Ok(known),
            (Err(error), Some(_)) => Err(error),
            (Err(_), None) => Ok(Self { rows: String::new(), catalogue: Catalogue::bundled()? }),
        }
    }

    fn of(config: Option<&Path>) -> anyhow::Result<Self> {
        let path = Config::find(config)?.files.providers;
        let rows = if path.as_os_str().is_empty() {
            String::new()
        } else {
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?
        };
        let catalogue = Catalogue::with_overrides(&rows)?;
        Ok(Self { rows, catalogue })
    }

    /// What can never have an effect in documents, and what the catalogue refuses of them.
    pub(super) fn check(&self, sources: &[Source], set: &Set, now: Timestamp) -> Vec<Problem> {
        let names: Vec<_> =
            self.catalogue.providers().iter().map(|provider| provider.name.as_str()).collect();
        let mut found = policy::lint(sources, &names, now);
        found.extend(self.refused(set));
        found
    }

    /// What the catalogue refuses of the providers that documents add.
    pub(super) fn refused(&self, set: &Set) -> Option<Problem> {
        let error = Catalogue::with_local(&self.rows, set.providers()).err()?;
        Some(Problem {
            file: "providers".to_owned(),
            line: 0,
            column: 0,
            severity: Severity::Error,
            message: error.to_string(),
        })
    }
}
