//! Files of documents come in; which documents they hold by kind and name, and the files without some of them, go out.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use crate::policy::Document;
use crate::policy::Mode;
use crate::policy::Source;
use crate::policy::document::KINDS;
use crate::policy::read;

/// Kind and name of a document: no two of a set share them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Title {
    kind: &'static str,
    name: String,
}

impl fmt::Display for Title {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.kind, self.name)
    }
}

impl Document {
    /// Its kind and name.
    pub fn title(&self) -> Title {
        let [policy, provider] = KINDS;
        let (kind, metadata) = match self {
            Self::Policy(document) => (policy, &document.metadata),
            Self::Provider(document) => (provider, &document.metadata),
        };
        Title { kind, name: metadata.name.value.clone() }
    }

    /// How far it goes, where it is a policy.
    pub fn mode(&self) -> Option<Mode> {
        match self {
            Self::Policy(policy) => Some(policy.spec.mode),
            Self::Provider(_) => None,
        }
    }

    /// Whether it is a policy that refuses calls now: one that has expired does nothing any more.
    pub fn enforces(&self, now: Timestamp) -> bool {
        let Self::Policy(policy) = self else { return false };
        let expires = policy.spec.expires.as_ref().and_then(|text| text.value.parse().ok());
        policy.spec.mode == Mode::Enforce && expires.is_none_or(|expires: Timestamp| expires > now)
    }
}

/// The documents of files by their titles, without those that are wrong.
pub fn titled(sources: &[Source]) -> BTreeMap<Title, Document> {
    let mut ignored = Vec::new();
    let documents = sources.iter().flat_map(|source| read::documents(source, &mut ignored));
    documents.map(|document| (document.title(), document)).collect()
}

/// A file without some of its documents, the others as they were written; nothing where none is left.
pub fn without(source: &Source, is_gone: impl Fn(&Title) -> bool) -> Option<Source> {
    let parts = read::split(&source.text);
    let goes = |part: &read::Part| {
        !part.is_empty() && read::document(part).is_ok_and(|document| is_gone(&document.title()))
    };
    let kept: Vec<_> = parts.iter().enumerate().filter(|(_, part)| !goes(part)).collect();
    if kept.len() == parts.len() {
        return Some(source.clone());
    }
    if kept.iter().all(|(_, part)| part.is_empty()) {
        return None;
    }
    let text = kept.iter().map(|(at, part)| part.written(*at == 0)).collect();
    Some(Source { file: source.file.clone(), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str) -> String {
        format!(
            "apiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {{name: {name}}}\nspec: {{mode: enforce, default: deny}}\n"
        )
    }

    #[test]
    fn file_without_a_document_holds_the_others_as_they_were() {
        let [one, two, three] = ["one", "two", "three"].map(policy);
        let text = format!("# first\n{one}--- # second\n{two}---\n# third\n{three}");
        let source = Source { file: "a.yaml".to_owned(), text: text.clone() };
        let left = |gone: &[&str]| {
            without(&source, |title| gone.contains(&title.name.as_str())).map(|left| left.text)
        };
        assert_eq!(left(&["four"]), Some(text));
        assert_eq!(left(&["two"]), Some(format!("# first\n{one}---\n# third\n{three}")));
        assert_eq!(left(&["one"]), Some(format!("--- # second\n{two}---\n# third\n{three}")));
        assert_eq!(left(&["one", "three"]), Some(format!("--- # second\n{two}")));
        assert_eq!(left(&["one", "two", "three"]), None);
        let text = left(&["two"]).unwrap();
        let names: Vec<_> = titled(&[Source { file: "a.yaml".to_owned(), text }])
            .into_keys()
            .map(|title| title.name)
            .collect();
        assert_eq!(names, ["one", "three"]);
    }

    #[test]
    fn document_of_the_same_name_and_another_kind_is_another_one() {
        let provider = "apiVersion: tollgate/v1\nkind: Provider\nmetadata: {name: one}\nspec: {approved: true}\n";
        let text = format!("{}---\n{provider}", policy("one"));
        let titles: Vec<_> = titled(&[Source { file: "a.yaml".to_owned(), text }])
            .into_keys()
            .map(|title| title.to_string())
            .collect();
        assert_eq!(titles, ["EgressPolicy one", "Provider one"]);
    }
}
