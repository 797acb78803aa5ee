//! A folder of versions and editors that are commands come in; what an edit puts into force, says and keeps is compared.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use super::*;
use crate::store::Entry;
use crate::store::Figures;
use crate::store::Store;
use crate::store::Use;

/// Documents in force: two files.
const FIRST: &str = "apiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {name: first}\nspec:\n  mode: observe\n  default: allow\n  rules:\n    - {name: no-groq, action: deny, match: {provider: groq}}\n";
const SECOND: &str = "apiVersion: tollgate/v1\nkind: EgressPolicy\nmetadata: {name: second}\nspec:\n  mode: warn\n  default: allow\n";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(documents: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = documents
            .iter()
            .map(|(name, text)| {
                let path = folder.path().join(name);
                fs::write(&path, text).unwrap();
                path
            })
            .collect();
        let made = Self(folder);
        let folder = made.versions();
        let apply = PolicyAction::Apply(Apply { paths, folder, replace: false, dry_run: false });
        assert!(run(&apply).unwrap().0);
        made
    }

    fn versions(&self) -> PathBuf {
        self.0.path().join("policies")
    }

    /// An edit that puts a text in the place of the one that is opened.
    fn edit(&self, name: Option<&str>, text: &str) -> Edit {
        let new = self.0.path().join("new.yaml");
        fs::write(&new, text).unwrap();
        let state = self.0.path().join("state");
        let config = self.0.path().join("tollgate.toml");
        fs::write(&config, format!("[files]\nstate = {state:?}\n")).unwrap();
        Edit {
            name: name.map(str::to_owned),
            folder: self.versions(),
            from: None,
            events: None,
            config: Some(config),
            editor: Some(format!("cp {}", new.display())),
            dry_run: false,
        }
    }

    fn in_force(&self) -> Vec<(String, String)> {
        let mut files: Vec<_> = fs::read_dir(self.versions().join("current"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.retain(|path| !path.ends_with(".before"));
        files.sort();
        let named = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        };
        files.iter().map(named).collect()
    }
}

fn run(action: &PolicyAction) -> anyhow::Result<(bool, String)> {
    let mut out = Vec::new();
    let good = action.run(&mut out, "2026-03-02T12:00:00Z".parse().unwrap())?;
    Ok((good, String::from_utf8(out).unwrap()))
}

/// The draft that a message names; taken away by the test.
fn draft(said: &str) -> (PathBuf, String) {
    let path = said.rsplit_once("--from ").unwrap().1.lines().next().unwrap();
    let text = fs::read_to_string(path).unwrap();
    fs::remove_file(path).unwrap();
    (PathBuf::from(path), text)
}

#[test]
fn edit_puts_one_changed_file_into_force_and_says_what_changes() {
    let folder = Folder::new(&[("first.yaml", FIRST), ("second.yaml", SECOND)]);
    let events = folder.0.path().join("e.jsonl");
    let call = "{\"time\":\"2026-03-02T12:00:00Z\",\"event.name\":\"tollgate.call\",\"process.executable.path\":\"/usr/bin/curl\",\"gen_ai.provider.name\":\"groq\",\"gen_ai.request.model\":\"m\",\"tollgate.coverage\":\"complete\"}\n";
    fs::write(&events, call).unwrap();
    let changed = FIRST.replace("action: deny", "action: alert");
    let edit = Edit { events: Some(events), ..folder.edit(Some("first"), &changed) };
    let (good, said) = run(&PolicyAction::Edit(edit)).unwrap();
    for part in [
        "--- first.yaml (in force)\n+++ first.yaml\n",
        "-    - {name: no-groq, action: deny,",
        "+    - {name: no-groq, action: alert,",
        "1 /usr/bin/curl groq m: deny (first/no-groq) -> alert (first/no-groq)\n",
        "1 of 1 calls are decided differently\n",
        "version 2 is in force: 2 policies with 1 rules\n",
    ] {
        assert!(good && said.contains(part), "{part}: {said}");
    }
    // Names of files do not grow with the versions.
    let expected = [("0000-first.yaml", changed.as_str()), ("0001-second.yaml", SECOND)];
    let expected = expected.map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!(folder.in_force(), expected);
}

#[test]
fn dry_run_changes_nothing_and_keeps_the_text() {
    let folder = Folder::new(&[("first.yaml", FIRST)]);
    let changed = FIRST.replace("groq", "openai");
    let edit = Edit { dry_run: true, ..folder.edit(None, &changed) };
    let (good, said) = run(&PolicyAction::Edit(edit)).unwrap();
    assert!(good && said.contains("would put 1 policies with 1 rules into force"), "{said}");
    assert!(said.contains("no decisions are compared: opening the inventory"), "{said}");
    let (path, kept) = draft(&said);
    assert_eq!(kept, changed);
    assert!(path.to_string_lossy().ends_with("first.yaml"), "{path:?}");
    assert_eq!(folder.in_force(), [("0000-first.yaml".to_owned(), FIRST.to_owned())]);
}

#[test]
fn decisions_about_what_the_inventory_has_seen_are_compared() {
    let folder = Folder::new(&[("first.yaml", FIRST)]);
    let state = folder.0.path().join("state");
    fs::create_dir(&state).unwrap();
    let mut store = Store::open(&state).unwrap();
    let row = |provider: &str, user: &str, calls| Entry {
        used: Use {
            provider: provider.to_owned(),
            model: "m".to_owned(),
            program: "curl".to_owned(),
            user: user.to_owned(),
            ..Use::default()
        },
        figures: Figures { calls, last_seen: 5, ..Figures::default() },
        ..Entry::default()
    };
    store.add(&[row("groq", "ana", 3), row("openai", "ana", 4), row("groq", "bob", 0)]).unwrap();
    let changed = FIRST.replace("action: deny", "action: alert");
    let edit = Edit { dry_run: true, ..folder.edit(None, &changed) };
    let (good, said) = run(&PolicyAction::Edit(edit)).unwrap();
    for part in [
        "3 ana curl groq m: deny (first/no-groq) -> alert (first/no-groq)\n",
        "3 of 7 calls are decided differently\n",
    ] {
        assert!(good && said.contains(part), "{part}: {said}");
    }
    draft(&said);
}

#[test]
fn text_that_is_wrong_is_told_with_its_place_and_can_be_gone_on_with() {
    let folder = Folder::new(&[("first.yaml", FIRST)]);
    let wrong = FIRST.replace("provider: groq", "provder: groq");
    let (good, said) = run(&PolicyAction::Edit(folder.edit(None, &wrong))).unwrap();
    assert!(
        !good && said.contains("first.yaml:8:45: unknown field `provder`; did you mean"),
        "{said}"
    );
    let (path, kept) = draft(&said);
    assert_eq!(kept, wrong);
    assert_eq!(folder.in_force()[0].1, FIRST);
    // The kept text is what the next edit begins with.
    fs::write(&path, &wrong).unwrap();
    let mended = Edit {
        from: Some(path.clone()),
        editor: Some("sed -i s/provder/provider/".to_owned()),
        ..folder.edit(None, "")
    };
    let (good, said) = run(&PolicyAction::Edit(mended)).unwrap();
    assert!(good && said.contains("nothing was changed"), "{said}");
    fs::remove_file(path).unwrap();
}

#[test]
fn whatever_ends_an_edit_leaves_its_text() {
    let folder = Folder::new(&[("first.yaml", FIRST)]);
    let failing =
        Edit { editor: Some("sh -c 'echo x >>$0; exit 3'".to_owned()), ..folder.edit(None, "") };
    let error = format!("{:#}", run(&PolicyAction::Edit(failing)).unwrap_err());
    assert!(error.contains("exit status: 3"), "{error}");
    assert_eq!(draft(&error.replace(": the editor", "\n")).1, format!("{FIRST}x\n"));
    // Somebody else puts a version into force while the editor is open.
    let changed = FIRST.replace("groq", "openai");
    let late = folder.0.path().join("late.sh");
    let second = folder.versions().join("versions/1/0001-second.yaml");
    let script = format!("printf '%s' \"$1\" >'{}'; cp '{}' \"$2\"\n", second.display(), "%");
    fs::write(&late, script.replace('%', &folder.0.path().join("new.yaml").display().to_string()))
        .unwrap();
    let raced = Edit {
        editor: Some(format!("sh {} '{SECOND}'", late.display())),
        ..folder.edit(None, &changed)
    };
    let error = format!("{:#}", run(&PolicyAction::Edit(raced)).unwrap_err());
    assert!(error.contains("another version came into force meanwhile"), "{error}");
    assert_eq!(draft(&error.replace(": another", "\n")).1, changed);
}

#[test]
fn file_is_chosen_by_its_name_or_that_of_its_policy() {
    let folder = Folder::new(&[("a.yaml", FIRST), ("b.yaml", SECOND)]);
    let said = |name: Option<&str>| match run(&PolicyAction::Edit(folder.edit(name, SECOND))) {
        Ok((_, said)) => said,
        Err(error) => format!("{error:#}"),
    };
    assert!(said(None).contains("name one of: a.yaml, b.yaml"), "{}", said(None));
    assert!(said(Some("c")).contains("no file or policy `c` is in force"), "{}", said(Some("c")));
    for name in ["b", "b.yaml", "second"] {
        assert_eq!(said(Some(name)), "nothing was changed\n");
    }
    let empty = Edit { folder: Path::new("/nowhere").to_owned(), ..folder.edit(None, "") };
    let error = format!("{:#}", run(&PolicyAction::Edit(empty)).unwrap_err());
    assert!(error.contains("no policy is in force in /nowhere"), "{error}");
}
