//! Policies in force and files that are applied come in; what is in force afterwards, and what is said of it, is compared.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use super::*;

fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
    )
}

const ENFORCE: &str = "mode: enforce, default: deny";
const OBSERVE: &str = "mode: observe, default: deny";

struct Place(tempfile::TempDir);

impl Place {
    /// Files that hold policies, of which those of the folder `first` are in force.
    fn new(files: &[(&str, String)]) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            fs::create_dir_all(place.path(name).parent().unwrap()).unwrap();
            fs::write(place.path(name), text).unwrap();
        }
        let (good, said) = place.apply("first").unwrap();
        assert!(good && said.contains("version 1 is in force"), "{said}");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn order(&self, path: &Path) -> Apply {
        let (paths, folder) = (vec![path.to_owned()], self.path("policies"));
        Apply { paths, folder, replace: false, dry_run: false }
    }

    fn apply(&self, name: &str) -> anyhow::Result<(bool, String)> {
        run(&PolicyAction::Apply(self.order(&self.path(name))))
    }

    /// Names of the files in force, with their texts.
    fn in_force(&self) -> Vec<(String, String)> {
        let sources = versions::in_force(&self.path("policies")).unwrap();
        sources
            .into_iter()
            .map(|source| (versions::bare(&source.file).to_owned(), source.text))
            .collect()
    }

    /// What is decided about a call of a user at a time.
    fn decided(&self, user: &str, at: &str) -> String {
        let paths = vec![self.path("policies")];
        let fact = vec![format!("loginUser={user}"), "provider=groq".to_owned()];
        let (unknown, event, at) = (Vec::new(), None, Some(at.parse().unwrap()));
        let output = Output::Text;
        let explain = PolicyAction::Explain { paths, fact, unknown, event, at, output };
        run(&explain).unwrap().1.lines().next().unwrap().to_owned()
    }
}

fn run(action: &PolicyAction) -> anyhow::Result<(bool, String)> {
    let mut out = Vec::new();
    let good = action.run(&mut out, "2026-03-02T12:00:00Z".parse().unwrap())?;
    Ok((good, String::from_utf8(out).unwrap()))
}

#[test]
fn break_glass_lifts_other_policies_for_its_people_and_its_time_alone() {
    let guard = policy("no-groq", ENFORCE);
    let place = Place::new(&[("first/guard.yaml", guard.clone())]);
    let now = "2026-03-02T12:00:00Z";
    assert_eq!(place.decided("oncall-1", now), "deny by no-groq (default)");
    let glass = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/break-glass.yaml");
    let dry = Apply { dry_run: true, ..place.order(&glass) };
    let (good, said) = run(&PolicyAction::Apply(dry)).unwrap();
    let expected =
        "comes: EgressPolicy break-glass (enforce)\nwould put 2 policies with 1 rules into force\n";
    assert!(good && said.ends_with(expected), "{said}");
    assert_eq!(place.in_force(), [("guard.yaml".to_owned(), guard.clone())]);
    let (good, said) = run(&PolicyAction::Apply(place.order(&glass))).unwrap();
    assert!(good && said.ends_with("version 2 is in force: 2 policies with 1 rules\n"), "{said}");
    assert_eq!(place.decided("oncall-1", now), "alert by break-glass (default)");
    assert_eq!(place.decided("ada", now), "deny by no-groq (default)");
    assert_eq!(place.decided("oncall-1", "2099-01-02T00:00:00Z"), "deny by no-groq (default)");
    // The file is in force as it was written.
    let expected =
        [("guard.yaml", guard), ("break-glass.yaml", fs::read_to_string(glass).unwrap())];
    assert_eq!(place.in_force(), expected.map(|(name, text)| (name.to_owned(), text)));
}

#[test]
fn file_takes_the_place_of_documents_of_its_names_alone() {
    let [one, two] = ["one", "two"].map(|name| policy(name, ENFORCE));
    let changed = policy("one", OBSERVE);
    let both = format!("# both\n{one}---\n# the second\n{two}");
    let place = Place::new(&[("first/both.yaml", both), ("new.yaml", changed.clone())]);
    let (_, said) = place.apply("new.yaml").unwrap();
    assert!(said.contains("changes: EgressPolicy one (observe)\nversion 2 is in force"), "{said}");
    let expected = [("both.yaml", format!("---\n# the second\n{two}")), ("new.yaml", changed)];
    assert_eq!(place.in_force(), expected.map(|(name, text)| (name.to_owned(), text)));
    let (_, said) = place.apply("new.yaml").unwrap();
    assert!(said.contains("no document differs from those in force\n"), "{said}");
    assert_eq!(place.in_force().len(), 2);
}

#[test]
fn who_applies_waits_for_another_and_joins_what_is_in_force_by_then() {
    let [one, two, three] = ["one", "two", "three"].map(|name| policy(name, ENFORCE));
    let place = Place::new(&[("first/one.yaml", one.clone()), ("three.yaml", three)]);
    let history = crate::store::policies::History::new(&place.path("policies"));
    let lock = history.lock().unwrap();
    std::thread::scope(|scope| {
        let (done, outcome) = std::sync::mpsc::sync_channel(1);
        let place = &place;
        scope.spawn(move || done.send(place.apply("three.yaml").unwrap()).unwrap());
        let early = outcome.recv_timeout(std::time::Duration::from_millis(200));
        assert!(early.is_err(), "{early:?}");
        let documents = [("one.yaml", one), ("two.yaml", two)]
            .map(|(file, text)| crate::policy::Source { file: file.to_owned(), text });
        history.apply(&documents).unwrap();
        drop(lock);
        let (good, said) = outcome.recv_timeout(std::time::Duration::from_mins(1)).unwrap();
        assert!(good && said.contains("version 3 is in force"), "{said}");
    });
    let names: Vec<_> = place.in_force().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["one.yaml", "two.yaml", "three.yaml"]);
    let rollback = PolicyAction::Rollback { number: None, folder: place.path("policies") };
    assert!(run(&rollback).unwrap().0, "the lock is let go of");
}

#[test]
fn folder_says_what_leaves_and_does_not_lift_an_enforcing_policy_unasked() {
    let over = format!("{ENFORCE}, expires: 2026-01-01T00:00:00Z");
    let place = Place::new(&[
        ("first/guard.yaml", policy("guard", ENFORCE)),
        ("first/over.yaml", policy("over", &over)),
        ("first/watch.yaml", policy("watch", OBSERVE)),
        ("second/guard.yaml", policy("guard", ENFORCE)),
        ("third/watch.yaml", policy("watch", OBSERVE)),
    ]);
    // One that has expired refuses nothing any more.
    let (good, said) = place.apply("second").unwrap();
    let expected =
        "leaves: EgressPolicy over (enforce)\nleaves: EgressPolicy watch (observe)\nversion 2";
    assert!(good && said.contains(expected), "{said}");
    let refused = place.apply("third").unwrap_err().to_string();
    assert!(refused.contains("EgressPolicy guard") && refused.contains("--replace"), "{refused}");
    assert_eq!(place.in_force()[0].0, "guard.yaml");
    let replace = Apply { replace: true, ..place.order(&place.path("third")) };
    let (good, said) = run(&PolicyAction::Apply(replace)).unwrap();
    let expected =
        "comes: EgressPolicy watch (observe)\nleaves: EgressPolicy guard (enforce)\nversion 3";
    assert!(good && said.contains(expected), "{said}");
}

#[test]
fn place_without_documents_comes_never_into_force() {
    let place = Place::new(&[
        ("first/guard.yaml", policy("guard", ENFORCE)),
        ("empty/notes.txt", String::new()),
        ("blank.yaml", "# later\n".to_owned()),
    ]);
    for name in ["empty", "blank.yaml"] {
        let replace = Apply { replace: true, ..place.order(&place.path(name)) };
        let refused = [place.apply(name), run(&PolicyAction::Apply(replace))];
        for refused in refused.map(|done| done.unwrap_err().to_string()) {
            assert!(refused.contains("no policy document in"), "{refused}");
        }
    }
    assert_eq!(place.in_force()[0].0, "guard.yaml");
}

#[test]
fn what_is_odd_is_told_before_it_is_in_force() {
    let over = policy("over", &format!("{ENFORCE}, expires: 2026-01-01T00:00:00Z"));
    let place = Place::new(&[("first/guard.yaml", policy("guard", ENFORCE)), ("over.yaml", over)]);
    let (good, said) = place.apply("over.yaml").unwrap();
    assert!(good && said.contains("warning: the policy has expired"), "{said}");
}

#[test]
fn version_in_force_that_is_gone_is_no_reason_to_drop_it_unasked() {
    let place = Place::new(&[("first/guard.yaml", policy("guard", ENFORCE))]);
    fs::remove_dir_all(place.path("policies/versions/1")).unwrap();
    let refused = place.apply("first").unwrap_err().to_string();
    assert!(refused.contains("give --replace"), "{refused}");
    let replace = Apply { replace: true, ..place.order(&place.path("first")) };
    let (good, said) = run(&PolicyAction::Apply(replace)).unwrap();
    assert!(good && said.contains("is in force: 1 policies"), "{said}");
}
