//! What is wrong with a document, or odd about it, and where, comes in; one line of text goes out.

use std::fmt;

use crate::policy::document::At;

/// Likeness, from 0 to 1, from which on another name is suggested.
const LIKE: f64 = 0.75;
/// Names listed where none is near.
const LISTED_MAX: usize = 12;

/// Problems told of one folder: who mends these sees the others then.
const PROBLEMS_MAX: usize = 1_000;

/// Whether a problem stops a document from coming into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not, but somebody should look.
    Warning,
}

/// Something about a document, with its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// Name of the file.
    pub file: String,
    /// Line, from one; 0 where the file as a whole is meant.
    pub line: u64,
    /// Column, from one.
    pub column: u64,
    /// Whether it stops the document.
    pub severity: Severity,
    /// What it is.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.file)?;
        if self.line != 0 {
            write!(out, ":{}:{}", self.line, self.column)?;
        }
        let severity = if self.severity == Severity::Warning { "warning: " } else { "" };
        write!(out, ": {severity}{}", self.message)
    }
}

/// Collects the problems of one file.
#[derive(Debug)]
pub(super) struct Notes<'a> {
    file: &'a str,
    found: &'a mut Vec<Problem>,
}

impl<'a> Notes<'a> {
    pub(super) fn new(file: &'a str, found: &'a mut Vec<Problem>) -> Self {
        Self { file, found }
    }

    /// Notes an error at a value.
    pub(super) fn error<T>(&mut self, at: &At<T>, message: impl Into<String>) {
        self.push(at, Severity::Error, message.into());
    }

    /// Notes a warning at a value.
    pub(super) fn warning<T>(&mut self, at: &At<T>, message: impl Into<String>) {
        self.push(at, Severity::Warning, message.into());
    }

    /// Whether nothing more is told: then nothing more has to be looked for.
    pub(super) fn is_full(&self) -> bool {
        self.found.len() > PROBLEMS_MAX
    }

    fn push<T>(&mut self, at: &At<T>, severity: Severity, message: String) {
        if self.is_full() {
            return;
        }
        let is_last = self.found.len() == PROBLEMS_MAX;
        let message = if is_last { "and more, which is not told".to_owned() } else { message };
        let (line, column) = (at.line, at.column);
        let problem = Problem { file: self.file.to_owned(), line, column, severity, message };
        self.found.push(problem);
    }
}

/// What was probably meant instead of an unknown name.
pub(crate) fn advice<'a, N: IntoIterator<Item = &'a str>>(unknown: &str, known: N) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let nearest = known
        .iter()
        .map(|name| (strsim::jaro_winkler(unknown, name), name))
        .filter(|(likeness, _)| *likeness >= LIKE)
        .max_by(|left, right| left.0.total_cmp(&right.0));
    match nearest {
        Some((_, name)) => format!("did you mean `{name}`?"),
        None if known.len() <= LISTED_MAX => format!("known here: `{}`", known.join("`, `")),
        None => "no known name is near it".to_owned(),
    }
}
