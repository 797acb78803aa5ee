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

fn check(path: PathBuf) -> PolicyAction {
    PolicyAction::Check { paths: vec![path], config: None, output: Output::Text }
}

#[test]
fn every_policy_of_the_repository_is_right_and_holds_to_its_rows() {
    let folder = repository().join("policies");
    let check = check(folder.clone());
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
fn rows_are_run_by_their_own_name_and_those_without_a_policy_are_an_error() {
    let test = |path: &Path| {
        run(&PolicyAction::Test { paths: vec![path.to_owned()], output: Output::Text })
    };
    let folder = tempfile::tempdir().unwrap();
    let (policies, rows) = (repository().join("policies"), folder.path().join("a.test.yaml"));
    fs::copy(policies.join("quic-off.test.yaml"), &rows).unwrap();
    for path in [folder.path(), &rows] {
        let (good, said) = test(path);
        let expected = "a.test.yaml: no policy stands beside these rows\n0 rows hold\n";
        assert!(!good && said.ends_with(expected), "{said}");
    }
    fs::copy(policies.join("quic-off.yaml"), folder.path().join("a.yaml")).unwrap();
    let (good, said) = test(folder.path());
    assert!(good && !said.contains("0 rows hold"), "{said}");
    assert_eq!(test(&rows), (true, said));
}

#[test]
fn folder_with_versions_stands_for_the_one_in_force_and_a_place_without_documents_is_an_error() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join("policies");
    let documents =
        crate::store::policies::documents(&[repository().join("policies/quic-off.yaml")]);
    crate::store::policies::History::new(&folder).apply(&documents.unwrap()).unwrap();
    let events = state.path().join("e.jsonl");
    fs::write(&events, "").unwrap();
    let nowhere = state.path().join("empty");
    fs::create_dir(&nowhere).unwrap();
    let output = Output::Text;
    let on = |folder: &Path| {
        let (paths, events) = (vec![folder.to_owned()], events.clone());
        let (fact, unknown, event, at) = (vec!["transport=quic".to_owned()], vec![], None, None);
        let (old, new) = (folder.to_owned(), folder.to_owned());
        [
            PolicyAction::Check { paths: paths.clone(), config: None, output },
            PolicyAction::Test { paths: paths.clone(), output },
            PolicyAction::Explain { paths: paths.clone(), fact, unknown, event, at, output },
            PolicyAction::Replay { events: events.clone(), paths, output },
            PolicyAction::Diff { old, new, events, output },
        ]
    };
    let said: Vec<_> = on(&folder).iter().map(|action| run(action).1).collect();
    assert!(said[0].ends_with("1 policies with 2 rules are right\n"), "{said:?}");
    assert!(said[1].contains("0000-quic-off.yaml: no rows beside it"), "{said:?}");
    assert!(said[2].starts_with("deny by quic-off/"), "{said:?}");
    for action in on(&nowhere) {
        let refused = action.run(&mut Vec::new(), "2026-03-02T12:00:00Z".parse().unwrap());
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("no policy document in"), "{action:?}: {refused}");
    }
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
    let text = "apiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {name: p}\nspec:\n  mode: observe\n  default: allow\n  rules:\n    - {name: all, action: deny, match: {provider: '*'}}\n    - {name: one, action: deny, match: {provider: opnai, model: gpt-5}}\n    - {name: none, action: deny, match: {model: {in: a, not: a}}}\n    - {name: wide, action: deny, match: {model: 'gpt-*'}}\n    - {name: narrow, action: allow, match: {model: 'gpt-4*'}}\n";
    fs::write(folder.path().join("p.yaml"), text).unwrap();
    let check = check(folder.path().to_owned());
    let (good, said) = run(&check);
    for part in [
        "did you mean `openai`?",
        "`one` changes nothing: `all`",
        "`none` can never match",
        "`narrow` changes nothing: `wide`",
    ] {
        assert!(good && said.contains(part), "{said}");
    }
}

#[test]
fn texts_of_an_event_steer_no_terminal() {
    const POLICY: &str = "apiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {name: p}\nspec:\n  mode: observe\n  default: allow\n  reason: \"ask \\e[2J us\"\n  rules: [{name: a, action: deny, match: {model: \"*\"}}]\n";
    let folder = tempfile::tempdir().unwrap();
    let (policy, event) = (folder.path().join("p.yaml"), folder.path().join("e.json"));
    fs::write(&policy, POLICY).unwrap();
    fs::write(
        &event,
        "{\"time\":\"2026-03-02T12:00:00Z\",\"event.name\":\"tollgate.call\",\"gen_ai.request.model\":\"\\u001b]0;x\\u0007\\u001b[2J\\u009b\",\"tollgate.coverage\":\"complete\"}\n",
    )
    .unwrap();
    for output in [Output::Text, Output::Json] {
        let (paths, fact, unknown) = (vec![policy.clone()], Vec::new(), Vec::new());
        let event_of = Some(event.clone());
        let explain =
            PolicyAction::Explain { paths, fact, unknown, event: event_of, at: None, output };
        let paths = vec![policy.clone()];
        let replay = PolicyAction::Replay { events: event.clone(), paths, output };
        for action in [explain, replay] {
            let (_, said) = run(&action);
            assert!(said.contains("deny"), "{said}");
            assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{said:?}");
        }
    }
}

/// What the check says of a document.
fn checked(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("p.yaml"), text).unwrap();
    run(&check(folder.path().to_owned())).1
}

#[test]
fn provider_without_hosts_that_nobody_knows_is_warned_of_wherever_it_is_named() {
    const APPROVED: &str = "apiVersion: tollgate/v1\nkind: Provider\nmetadata: {name: opnai}\nspec: {approved: true}\n";
    const RULE: &str = "---\napiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {name: p}\nspec:\n  mode: observe\n  default: deny\n  rules: [{name: a, action: allow, match: {provider: opnai}}]\n";
    let said = checked(&format!("{APPROVED}{RULE}"));
    assert_eq!(said.matches("did you mean `openai`?").count(), 2, "{said}");
    assert!(
        said.contains(":3:18: warning: no provider `opnai` is known, and no `hosts`"),
        "{said}"
    );
    assert!(!checked(&APPROVED.replace("opnai", "openai")).contains("warning"));
}

#[test]
fn rule_for_nobody_among_the_subjects_is_warned_of() {
    const NOBODY: &str = "can never match: it asks for nobody whom `subjects` describes";
    const CASES: [(&str, &str, bool); 8] = [
        ("{namespace: team-a}", "namespace: team-b", true),
        ("{namespace: team-a}, {namespace: 'infra-*'}", "namespace: team-*", false),
        ("{namespace: 'team-*'}", "namespace: 'infra-*'", true),
        ("{namespace: 'team-*'}", "namespace: {not: 'team-*'}", true),
        ("{namespace: {in: '*', not: team-b}}", "namespace: team-b", true),
        ("{labels: {app: web}}", "labels: {app: db}", true),
        ("{labels: {app: web}}", "labels: {tier: db}", false),
        // Of parents there are several.
        ("{parent: /bin/a}", "parent: /bin/b", false),
    ];
    for (subjects, asked, is_warned) in CASES {
        let said = checked(&format!(
            "apiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {{name: p}}\nspec:\n  mode: observe\n  default: allow\n  subjects: [{subjects}]\n  rules: [{{name: a, action: deny, match: {{{asked}}}}}]\n"
        ));
        assert_eq!(said.contains(NOBODY), is_warned, "{subjects} {asked}: {said}");
    }
}

#[test]
fn providers_of_the_configuration_are_known_and_not_contradicted() {
    const RULE: &str = "apiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {name: p}\nspec:\n  mode: observe\n  default: deny\n  rules: [{name: a, action: allow, match: {provider: corp_llm}}]\n";
    let folder = tempfile::tempdir().unwrap();
    let [config, rows, policy] =
        ["tollgate.toml", "rows.toml", "p.yaml"].map(|name| folder.path().join(name));
    fs::write(&config, format!("[files]\nproviders = {rows:?}\n")).unwrap();
    fs::write(&rows, "[[provider]]\nid = \"corp_llm\"\ncategory = \"gateway\"\nhosts = [\"llm.corp.example\"]\nsource = \"s\"\nchecked = 2026-11-28\n").unwrap();
    let says = |config: Option<&PathBuf>, more: &str| {
        fs::write(&policy, format!("{RULE}{more}")).unwrap();
        let (paths, config) = (vec![policy.clone()], config.cloned());
        run(&PolicyAction::Check { paths, config, output: Output::Text })
    };
    assert_eq!(says(Some(&config), ""), (true, "1 policies with 1 rules are right\n".to_owned()));
    assert!(says(None, "").1.contains("no provider `corp_llm` is known"));
    let more = "---\napiVersion: tollgate/v1\nkind: Provider\nmetadata: {name: corp_llm}\nspec: {hosts: [ai.corp.example], category: chat-app}\n";
    let (is_right, said) = says(Some(&config), more);
    assert!(!is_right && said.contains("\"corp_llm\" of policies"), "{said}");
}

#[test]
fn recorded_calls_are_replayed_compared_and_explained() {
    let folder = tempfile::tempdir().unwrap();
    let events = folder.path().join("e.jsonl");
    let call = |provider: &str| {
        format!(
            "{{\"time\":\"2026-03-02T12:00:00Z\",\"event.name\":\"tollgate.call\",\"process.executable.path\":\"/usr/bin/curl\",\"gen_ai.provider.name\":\"{provider}\",\"gen_ai.request.model\":\"m\",\"tollgate.tls.name_hidden\":false,\"tollgate.coverage\":\"complete\"}}\n"
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
        run(&PolicyAction::Apply(Apply {
            paths,
            folder: folder.clone(),
            replace: false,
            dry_run: false,
        }))
    };
    assert!(apply("policies/quic-off.yaml").1.contains("version 1 is in force: 1 policies"));
    assert!(apply("policies/break-glass.yaml").1.contains("version 2 is in force: 2 policies"));
    assert!(!apply("tests/corpus/policies_invalid/zone.yaml").0);
    let rollback = PolicyAction::Rollback { number: None, folder: folder.clone() };
    let (good, said) = run(&rollback);
    assert!(good && said.ends_with("version 1 is in force: 1 policies with 2 rules\n"), "{said}");
    let history = PolicyAction::History { folder: folder.clone(), output: Output::Text };
    let said = run(&history).1;
    let lines: Vec<Vec<&str>> =
        said.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((&lines[0][..2], lines[0].len()), (&["*", "1"][..], 3), "{said}");
    assert_eq!((lines[1][0], &lines[1][2..]), ("2", &["after", "1"][..]), "{said}");
}

#[test]
fn version_that_is_not_right_any_more_is_not_gone_back_to() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().to_owned();
    let sources =
        crate::store::policies::documents(&[repository().join("policies/quic-off.yaml")]).unwrap();
    let versions = crate::store::policies::History::new(&folder);
    versions.apply(&sources).unwrap();
    versions.apply(&sources).unwrap();
    let kept = folder.join("versions/1/0000-quic-off.yaml");
    let rollback = PolicyAction::Rollback { number: None, folder };
    fs::write(&kept, "kind: Nonsense\n").unwrap();
    let (good, said) = run(&rollback);
    assert!(!good && said.contains("0000-quic-off.yaml:1:1: apiVersion is missing"), "{said}");
    fs::remove_file(&kept).unwrap();
    let refused = rollback.run(&mut Vec::new(), "2026-03-02T12:00:00Z".parse().unwrap());
    assert!(refused.unwrap_err().to_string().contains("no policy document in"));
    assert!(versions.versions().unwrap()[1].is_current);
}
