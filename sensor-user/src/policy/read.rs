//! Texts of files come in; typed documents, or problems with line, column and the nearest known name, go out.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_saphyr::Error;
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::options::MergeKeyPolicy;

use crate::policy::document::API_VERSION;
use crate::policy::document::At;
use crate::policy::document::EgressPolicy;
use crate::policy::document::KINDS;
use crate::policy::document::ProviderDocument;
use crate::policy::document::given;
use crate::policy::problem::Problem;
use crate::policy::problem::Severity;
use crate::policy::problem::advice;

/// Bytes of one file: a thousand rules take about 200 KiB.
pub(super) const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Documents in one file.
pub(super) const DOCUMENTS_MAX: usize = 1024;
/// Lines of a file with several documents: each is read behind as many empty lines as stand before it.
const LINES_MAX: u64 = 65_536;
/// Bytes of the mark that parts documents; blanks stand for it in the document behind it.
const MARK_BYTES: usize = 3;
/// Depth of nested collections; documents need ten.
const DEPTH_MAX: usize = 32;

/// A file with policy documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name, as problems show it.
    pub file: String,
    /// What stands in it.
    pub text: String,
}

/// One document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// Says which calls may leave.
    Policy(Box<EgressPolicy>),
    /// Adds to the catalogue.
    Provider(Box<ProviderDocument>),
}

/// The head that tells how the rest is to be read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default, deserialize_with = "given")]
    api_version: Option<At<String>>,
    #[serde(default, deserialize_with = "given")]
    kind: Option<At<String>>,
}

/// Reads all documents of a file, the first problem of each document is noted.
pub(super) fn documents(source: &Source, problems: &mut Vec<Problem>) -> Vec<Document> {
    let whole = |message: String| Problem {
        file: source.file.clone(),
        line: 0,
        column: 0,
        severity: Severity::Error,
        message,
    };
    if source.text.len() > FILE_BYTES_MAX {
        problems.push(whole(format!("is longer than {FILE_BYTES_MAX} bytes")));
        return Vec::new();
    }
    let parts = split(&source.text);
    if parts.len() > DOCUMENTS_MAX {
        problems.push(whole(format!("holds more than {DOCUMENTS_MAX} documents")));
        return Vec::new();
    }
    if parts.last().is_some_and(|last| last.lines_before > LINES_MAX) {
        let many =
            format!("holds several documents in more than {LINES_MAX} lines: use several files");
        problems.push(whole(many));
        return Vec::new();
    }
    let mut documents = Vec::new();
    for part in parts.iter().filter(|part| !part.is_empty()) {
        match document(part) {
            Ok(document) => documents.push(document),
            Err((line, column, message)) => {
                problems.push(Problem { line, column, ..whole(message) });
            }
        }
    }
    documents
}

/// Line, column and what is wrong.
pub(super) type Fault = (u64, u64, String);

/// Whether the head stands in lines of its own and tells of a policy: then the text is read once, where reading the head
/// takes as long as reading all. A line at the margin is no content of another value (YAML 1.2, 8.1), and a key that stands
/// twice is refused when the rest is read.
fn is_plain_policy(text: &str) -> bool {
    let stands = |wanted: &str| text.lines().any(|line| line.trim_end() == wanted);
    stands(&format!("apiVersion: {API_VERSION}")) && stands("kind: EgressPolicy")
}

/// Reads one document of a file.
pub(super) fn document(part: &Part) -> Result<Document, Fault> {
    let text = part.placed();
    if is_plain_policy(&part.text) {
        return Ok(Document::Policy(Box::new(parse(&text)?)));
    }
    let head: Head = parse(&text)?;
    let missing = |message: String| Err((part.lines_before.saturating_add(1), 1, message));
    let Some(version) = head.api_version else {
        return missing(format!("apiVersion is missing: write `apiVersion: {API_VERSION}`"));
    };
    if version.value != API_VERSION {
        let message = format!("unknown apiVersion `{}`: this is `{API_VERSION}`", version.value);
        return Err((version.line, version.column, message));
    }
    let Some(kind) = head.kind else {
        return missing(format!("kind is missing: write one of `{}`", KINDS.join("`, `")));
    };
    match kind.value.as_str() {
        "EgressPolicy" => Ok(Document::Policy(parse(&text)?)),
        "Provider" => Ok(Document::Provider(parse(&text)?)),
        other => {
            let message = format!("unknown kind `{other}`; {}", advice(other, KINDS));
            Err((kind.line, kind.column, message))
        }
    }
}

/// Reads the one document of a file that is of no kind, as the rows of tests are.
pub(super) fn single<T: DeserializeOwned>(source: &Source) -> Result<T, Problem> {
    let (line, column, message) = match parse(&source.text) {
        Ok(value) if source.text.len() <= FILE_BYTES_MAX => return Ok(value),
        Ok(_) => (0, 0, format!("is longer than {FILE_BYTES_MAX} bytes")),
        Err(fault) => fault,
    };
    Err(Problem { file: source.file.clone(), line, column, severity: Severity::Error, message })
}

/// One document of a file.
#[derive(Default)]
pub(super) struct Part {
    text: String,
    lines_before: u64,
}

/// Parts the documents of a file. A line that begins with `---` or `...` and a blank ends a document wherever it stands
/// (YAML 1.2, 9.1.2: such a line may not be content).
pub(super) fn split(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut current = Part::default();
    for (lines_before, line) in (0_u64..).zip(text.split_inclusive('\n')) {
        let mark = line.get(..MARK_BYTES).filter(|mark| *mark == "---" || *mark == "...");
        let rest = line.get(MARK_BYTES..).unwrap_or_default();
        if mark.is_none() || !(rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])) {
            current.text.push_str(line);
            continue;
        }
        parts.push(std::mem::replace(&mut current, Part { text: String::new(), lines_before }));
        current.text.push_str("   ");
        current.text.push_str(rest);
    }
    parts.push(current);
    parts
}

impl Part {
    pub(super) fn is_empty(&self) -> bool {
        self.text.lines().map(str::trim_start).all(|line| line.is_empty() || line.starts_with('#'))
    }

    /// The text as it stood in its file; each but the first begins with the mark that parts documents.
    pub(super) fn written(&self, is_first: bool) -> String {
        match self.text.get(MARK_BYTES..) {
            Some(rest) if !is_first => format!("---{rest}"),
            _ => self.text.clone(),
        }
    }

    /// The text behind as many empty lines as there are before it in its file, so that every place in it is true.
    fn placed(&self) -> String {
        let lines = usize::try_from(self.lines_before).unwrap_or(usize::MAX).min(FILE_BYTES_MAX);
        let mut text = "\n".repeat(lines);
        text.push_str(&self.text);
        text
    }
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            max_documents: 1,
            max_aliases: 0,
            max_anchors: 0,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| fault(&error))
}

/// The place and the text of a reader's error.
fn fault(error: &Error) -> Fault {
    let error = error.without_snippet();
    let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
    let message = match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            format!("unknown field `{field}`; {}", advice(field, expected.iter().copied()))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            format!("unknown value `{variant}`; {}", advice(variant, expected.iter().copied()))
        }
        Error::SerdeMissingField { field, .. } => format!("field `{field}` is missing"),
        Error::DuplicateMappingKey { key, .. } => {
            format!("`{}` stands twice", key.as_deref().unwrap_or("a key"))
        }
        Error::Message { msg, .. } => msg.clone(),
        Error::Budget { .. } => {
            "goes beyond the bounds of a document: no anchors, no aliases, 32 levels".to_owned()
        }
        other => other.to_string(),
    };
    (line, column, message)
}
