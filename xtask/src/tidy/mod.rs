//! The source tree comes in; each place that breaks a house rule goes out, with what to do about it.

mod files;
mod layers;
mod lexer;
mod manifests;
mod mentions;
mod proofs;
mod prototypes;
mod tree;

use std::fmt;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::shell::{print, root};
use crate::tidy::tree::Tree;

/// A family of house rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Check {
    /// Which stage may use which.
    Layers,
    /// Length, first line and names of files.
    Files,
    /// What every member of the workspace inherits, and reasons of dependencies.
    Manifests,
    /// Tests, golden files and sources that a thing needs.
    Proofs,
    /// What the documents name exists.
    Mentions,
    /// C prototypes of the probes.
    Prototypes,
}

/// A place that breaks a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    path: String,
    line: usize,
    what: String,
    action: &'static str,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>, action: &'static str) -> Self {
        Self { path: path.to_owned(), line, what: what.into(), action }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}: {}", self.path, self.line, self.what, self.action)
    }
}

impl Check {
    fn findings(self, tree: &Tree) -> Vec<Finding> {
        match self {
            Self::Layers => layers::check(tree),
            Self::Files => files::check(tree),
            Self::Manifests => manifests::check(tree),
            Self::Proofs => proofs::check(tree),
            Self::Mentions => mentions::check(tree),
            Self::Prototypes => prototypes::check(tree),
        }
    }
}

/// Runs the checks given, or all, and prints what they find.
pub fn run(checks: &[Check]) -> Result<()> {
    let tree = Tree::read(&root()?)?;
    let checks = if checks.is_empty() { Check::value_variants() } else { checks };
    let mut findings: Vec<_> = checks.iter().flat_map(|check| check.findings(&tree)).collect();
    findings.sort();
    for finding in &findings {
        print(&finding.to_string());
    }
    if !findings.is_empty() {
        bail!("{} place(s) break a house rule", findings.len());
    }
    print(&format!("tidy: {} files hold to the house rules", tree.files().len()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The findings of one check in the real tree, as text.
    fn findings(check: Check) -> Vec<String> {
        let tree = Tree::read(&root().unwrap()).unwrap();
        check.findings(&tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn stages_use_only_earlier_stages() {
        assert_eq!(findings(Check::Layers), [""; 0]);
    }

    #[test]
    fn files_are_short_and_say_what_they_are() {
        assert_eq!(findings(Check::Files), [""; 0]);
    }

    #[test]
    fn members_inherit_lints_and_dependencies_have_reasons() {
        assert_eq!(findings(Check::Manifests), [""; 0]);
    }

    #[test]
    fn what_needs_a_proof_has_one() {
        assert_eq!(findings(Check::Proofs), [""; 0]);
    }

    #[test]
    fn what_the_documents_name_exists() {
        assert_eq!(findings(Check::Mentions), [""; 0]);
    }

    #[test]
    fn probes_carry_the_prototypes_of_the_tables() {
        assert_eq!(findings(Check::Prototypes), [""; 0]);
    }
}
