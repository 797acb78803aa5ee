//! The policies of the repository and files that are wrong come in; what the commands write is compared.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use super::*;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[expect(clippy::disallowed_methods, reason = "a developer's wish, not configuration")]
fn compare(path: &str, text: &str) {
    let path = repository().join(path);
    if std::env::var("TOLLGATE_BLESS").is_ok() {
        fs::write(path, text).unwrap();
        return;
    }
    assert_eq!(fs::read_to_string(path).unwrap(), text, "run the tests with TOLLGATE_BLESS=1");
}

fn run(action: &PolicyAction) -> (bool, String) {
    let mut out = Vec::new();
    let good = action.run(&mut out, "2026-03-02T12:00:00Z".parse().unwrap()).unwrap();
    (good, String::from_utf8(out).unwrap())
}

#[test]
fn every_policy_of_the_repository_is_right_and_holds_to_its_rows() {
    let folder = repository().join("policies");
    let check = PolicyAction::Check { paths: vec![folder.clone()], output: Output::Text };
    assert_eq!(run(&check), (true, "8 policies with 14 rules are right\n".to_owned()));
    let test = PolicyAction::Test { paths: vec![folder.clone()], output: Output::Text };
    let (good, said) = run(&test);
    assert!(good && !said.contains("no rows"), "{said}");
    for source in crate::store::policies::documents(&[folder]).unwrap() {
        let (set, _) = crate::policy::Set::read(std::slice::from_ref(&source)).unwrap();
        let rows = crate::store::policies::tests_of(Path::new(&source.file)).unwrap().unwrap();
        let outcome = crate::policy::rows::run(&crate::policy::Engine::new(set), &rows);
        assert!(outcome.passed_allow > 0 && outcome.passed_deny > 0, "{}", source.file);
    }
}

#[test]
fn row_that_does_not_hold_is_shown_with_what_was_decided() {
    let folder = tempfile::tempdir().unwrap();
    let policies = repository().join("policies");
    fs::copy(policies.join("quic-off.yaml"), folder.path().join("a.yaml")).unwrap();
    let rows = "tests:\n  - name: wrong\n    facts: {transport: [quic]}\n    expect: allow\n";
    fs::write(folder.path().join("a.test.yaml"), rows).unwrap();
    let test = PolicyAction::Test { paths: vec![folder.path().to_owned()], output: Output::Text };
    let (good, said) = run(&test);
    let expected =
        "a.test.yaml:2:5: `wrong`: expected allow, decided deny by `quic`\n0 rows hold\n";
    assert!(!good && said.ends_with(expected), "{said}");
}

#[test]
fn wrong_documents_are_refused_with_line_column_and_nearest_name() {
    let folder = repository().join("tests/corpus/policies_invalid");
    let mut text = String::new();
    for source in crate::store::policies::documents(&[folder]).unwrap() {
        let name = Path::new(&source.file).file_name().unwrap().to_string_lossy().into_owned();
        let source = crate::policy::Source { file: name, text: source.text };
        for problem in crate::policy::Set::read(&[source]).unwrap_err() {
            text.push_str(&problem.to_string());
            text.push('\n');
        }
    }
    assert!(!text.contains("FAKE"), "{text}");
    compare("tests/golden/policies_invalid.txt", &text);
}

#[test]
fn schema_in_the_repository_is_that_of_the_types() {
    compare("policies/schema.json", &run(&PolicyAction::Schema).1);
}

#[test]
fn rules_without_an_effect_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let text = "apiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {name: p}\nspec:\n  mode: observe\n  default: allow\n  rules:\n    - {name: all, action: deny, match: {provider: '*'}}\n    - {name: one, action: deny, match: {provider: opnai, model: gpt-5}}\n    - {name: none, action: deny, match: {model: {in: a, not: a}}}\n";
    fs::write(folder.path().join("p.yaml"), text).unwrap();
    let check = PolicyAction::Check { paths: vec![folder.path().to_owned()], output: Output::Text };
    let (good, said) = run(&check);
    for part in ["did you mean `openai`?", "`one` changes nothing: `all`", "`none` can never match"]
    {
        assert!(good && said.contains(part), "{said}");
    }
}

#[test]
fn recorded_calls_are_replayed_compared_and_explained() {
    let folder = tempfile::tempdir().unwrap();
    let events = folder.path().join("e.jsonl");
    let call = |provider: &str| {
        format!(
            "{{\"time\":\"2026-03-02T12:00:00Z\",\"event.name\":\"tollgate.call\",\"process.executable.path\":\"/usr/bin/curl\",\"gen_ai.provider.name\":\"{provider}\",\"gen_ai.request.model\":\"m\",\"tollgate.coverage\":\"complete\"}}\n"
        )
    };
    fs::write(&events, call("openai") + &call("groq") + "{\"event.name\":\"tollgate.loss\"}\n")
        .unwrap();
    let policy = |name: &str| repository().join("policies").join(name);
    let (old, new) = (policy("observe-everything.yaml"), policy("approved-providers.yaml"));
    let output = Output::Text;
    let replay = PolicyAction::Replay { events: events.clone(), paths: vec![new.clone()], output };
    let (_, said) = run(&replay);
    let row = "2026-03-02T12:00:00Z deny  approved-providers/not-approved: /usr/bin/curl groq m\n2 calls\n";
    assert!(said.starts_with(row), "{said}");
    let (_, said) = run(&PolicyAction::Diff { old, new: new.clone(), events, output });
    assert!(said.ends_with("1 of 2 calls are decided differently\n"), "{said}");
    let fact = vec!["provider=groq".to_owned()];
    let (unknown, at) = (vec!["model".to_owned()], None);
    let (_, said) =
        run(&PolicyAction::Explain { paths: vec![new], fact, unknown, event: None, at, output });
    assert!(said.starts_with("deny by approved-providers/not-approved\n  mode: warn"), "{said}");
}

#[test]
fn connections_without_a_call_are_replayed_and_compared_each_once() {
    let folder = tempfile::tempdir().unwrap();
    let events = folder.path().join("e.jsonl");
    let event = |name: &str, rest: &str| {
        format!(
            "{{\"time\":\"2026-03-02T12:00:00Z\",\"event.name\":\"tollgate.{name}\",\"process.executable.path\":\"/bin/x\",\"gen_ai.provider.name\":\"groq\"{rest}}}\n"
        )
    };
    let blind = |reason: &str| {
        let rest = ",\"tollgate.coverage\":\"blind\",\"tollgate.coverage.scope\":\"connection\",\"tollgate.coverage.reason\":";
        event("coverage", &format!("{rest}\"{reason}\""))
    };
    let ended = |calls: u64| {
        let rest = ",\"tollgate.coverage\":\"complete\",\"tollgate.connection.bytes_received\":9";
        event("connection", &format!("{rest},\"tollgate.connection.calls\":{calls}"))
    };
    let decided = |layer: &str| event("decision", &format!(",\"tollgate.layer\":\"{layer}\""));
    let once = blind("quic") + &blind("race") + &ended(0) + &decided("name");
    // Of each of these another event tells.
    let twice = blind("no_plaintext") + &ended(3) + &decided("call") + &decided("connection");
    fs::write(&events, once + &twice + &event("loss", "")).unwrap();
    let output = Output::Text;
    let paths = vec![repository().join("policies/quic-off.yaml")];
    let replay = |paths| run(&PolicyAction::Replay { events: events.clone(), paths, output }).1;
    let said = replay(paths);
    for part in [
        "deny  quic-off/quic: /bin/x groq -\n",
        "0 calls, 4 connections without one\n       1 deny  quic-off/quic\n",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let policy = |name: &str, mode: &str, wanted: &str| {
        let text = format!(
            "apiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {{name: p}}\nspec:\n  mode: {mode}\n  default: allow\n  rules:\n    - {{name: r, action: deny, match: {{{wanted}}}}}\n"
        );
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let (old, new) = (
        policy("old.yaml", "warn", "provider: groq"),
        policy("new.yaml", "enforce", "provider: groq"),
    );
    let (_, said) = run(&PolicyAction::Diff { old, new, events: events.clone(), output });
    assert_eq!(
        said,
        "       4 /bin/x groq -: deny (p/r, warn) -> deny (p/r, enforce)\n4 of 4 calls and connections are decided differently\n"
    );
    let said = replay(vec![policy("open.yaml", "warn", "provider: groq, model: big")]);
    assert!(
        said.ends_with("4 of them could be decided otherwise: not all that is asked is recorded\n"),
        "{said}"
    );
}

#[test]
fn policies_are_applied_and_taken_back_and_wrong_ones_are_not_applied() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().to_owned();
    let apply = |path: &str| {
        let paths = vec![repository().join(path)];
        run(&PolicyAction::Apply { paths, folder: folder.clone(), dry_run: false })
    };
    assert!(apply("policies/quic-off.yaml").1.starts_with("version 1 is in force"));
    assert!(apply("policies/break-glass.yaml").1.contains("version 2 is in force"));
    assert!(!apply("tests/corpus/policies_invalid/zone.yaml").0);
    let rollback = PolicyAction::Rollback { number: None, folder: folder.clone() };
    assert_eq!(run(&rollback), (true, "version 1 is in force\n".to_owned()));
    let history = PolicyAction::History { folder: folder.clone(), output: Output::Text };
    assert_eq!(run(&history).1, "* 1\n  2\n");
}
