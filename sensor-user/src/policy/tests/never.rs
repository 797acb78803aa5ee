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

/// Matches of rules with what is said of them; nothing where they are right.
fn check(cases: &[(&str, &str)]) {
    for (asked, expected) in cases {
        let said = refused(format!(
            "apiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {{name: p}}\nspec:\n  mode: enforce\n  default: allow\n  rules: [{{name: r, action: deny, match: {{{asked}}}}}]\n"
        ));
        assert_eq!(said.is_empty(), expected.is_empty(), "{asked}: {said}");
        assert!(said.contains(expected), "{asked}: {said}");
    }
}

#[test]
fn host_of_a_rule_is_written_as_hosts_are_held_against_it() {
    check(&[
        ("host: 'api.openai.com:443'", "did you mean `api.openai.com`?"),
        ("host: '*.openai.com.'", "did you mean `*.openai.com`?"),
        ("host: '.openai.com'", "did you mean `openai.com`?"),
        ("host: ':443'", "is no host name"),
        ("host: ['api.openai.com', '2001:db8::1', '**.corp.example']", ""),
    ]);
}

#[test]
fn window_of_no_day_is_refused() {
    check(&[
        ("time: {zone: UTC, days: []}", "t:7:67: an empty list names no day"),
        ("time: {zone: UTC, days: [mon]}", ""),
        ("time: {zone: UTC}", ""),
    ]);
}

#[test]
fn kind_of_a_key_is_one_of_those_there_are() {
    check(&[
        ("credentialKind: openai.proj_key", "did you mean `openai.project_key`?"),
        ("credentialKind: {in: '*', not: antropic.api_key}", "unknown kind of key"),
        ("credentialKind: ['anthropic.*', unknown, jwt, openai.project_key]", ""),
    ]);
}

#[test]
fn brackets_and_braces_are_no_wildcards() {
    check(&[
        ("model: 'gpt-[45]*'", "pattern `gpt-[45]*` holds `[`, which is no wildcard here"),
        ("model: 'gpt-{4,5}*'", "pattern `gpt-{4,5}*` holds `{`, which is no wildcard here"),
        ("provider: {in: '*', not: 'groq]'}", "pattern `groq]` holds `]`"),
        ("host: 'api[12].example.com'", "is no host name"),
        ("host: '[2001:db8::1]'", ""),
        ("executable: '/srv/app[1]/{id}.js', labels: {x: '{}'}", ""),
    ]);
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

#[test]
fn host_belongs_to_one_provider() {
    let document = |name: &str, hosts: &str| {
        format!(
            "---\napiVersion: tollgate/v1\nkind: Provider\nmetadata: {{name: {name}}}\nspec: {{hosts: [{hosts}]}}\n"
        )
    };
    let two = |one: &str, other: &str| refused(document("a", one) + &document("b", other));
    let said = two("llm.corp.example", "x.example, LLM.corp.example");
    assert!(said.contains("`LLM.corp.example` is a host of provider `a` already"), "{said}");
    assert!(two("a.example, a.example", "b.example").contains("provider `a` already"));
    assert_eq!(two("a.example", "b.example"), "");
}
