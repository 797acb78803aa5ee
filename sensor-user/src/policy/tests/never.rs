//! Documents that could never match come in; what refuses them is compared.

use crate::policy::Set;
use crate::policy::Source;

/// What is wrong with a text; nothing where it is right.
fn refused(text: String) -> String {
    let source = Source { file: "t".to_owned(), text };
    let found = Set::read(&[source]).map_or_else(|found| found, |_| Vec::new());
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn provider(spec: &str) -> String {
    refused(format!(
        "apiVersion: tollgate/v1\nkind: Provider\nmetadata: {{name: corp}}\nspec: {{{spec}}}\n"
    ))
}

#[test]
fn host_of_a_provider_has_no_dot_at_an_end() {
    const CASES: [(&str, &str); 5] = [
        ("llm.corp.example.", "did you mean `llm.corp.example`?"),
        (".corp.example", "did you mean `corp.example`?"),
        ("a..corp.example", "`a..corp.example` is no host name"),
        (".", "`.` is no host name"),
        ("llm.corp.example", ""),
    ];
    for (host, expected) in CASES {
        let said = provider(&format!("hosts: ['{host}']"));
        assert_eq!(said.is_empty(), expected.is_empty(), "{host}: {said}");
        assert!(said.contains(expected), "{host}: {said}");
    }
}
