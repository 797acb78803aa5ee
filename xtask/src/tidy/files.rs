//! Text files come in; those that are too long, do not say what they are, or carry what belongs nowhere go out.

use crate::tidy::Finding;
use crate::tidy::tree::{File, Tree};

/// A longer Rust file is two files.
const LINES_MAX: usize = 400;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 10] = [
    "types", "common", "util", "utils", "helper", "helpers", "manager", "managers", "misc", "model",
];

/// Leftovers of work, in code.
const LEFTOVERS: [&str; 4] = ["dbg!(", "todo!(", "unimplemented!(", "#[ignore"];

/// Beginnings of paths that only one machine has; each is cut in two so that this file holds none.
const MACHINE_PATHS: [(&str, &str); 6] = [
    ("/work", "/main"),
    ("/work", "/shared"),
    ("/work", "/steering"),
    ("/work", "/.library"),
    ("/tmp", "/shadow"),
    ("/opt/toll", "gate-tools"),
];

/// Checks every text file.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files() {
        check_paths(file, &mut findings);
    }
    for file in tree.rust() {
        check_form(file, &mut findings);
        check_name(file, tree, &mut findings);
        check_leftovers(file, &mut findings);
    }
    findings
}

fn check_form(file: &File, findings: &mut Vec<Finding>) {
    let lines = file.text.lines().count();
    if lines > LINES_MAX {
        let what = format!("{lines} lines, of {LINES_MAX} at most");
        findings.push(Finding::new(&file.path, lines, what, "split it by topic"));
    }
    let sentence = file.text.lines().map_while(|line| line.strip_prefix("//! ")).last();
    if !sentence.is_some_and(|end| end.ends_with(['.', ':', '`'])) {
        let action = "begin with `//! ` and one sentence: what comes in, what goes out";
        findings.push(Finding::new(&file.path, 1, "no sentence on line one", action));
    }
}

fn check_name(file: &File, tree: &Tree, findings: &mut Vec<Finding>) {
    let inside = file.path.split("/src/").nth(1).unwrap_or_else(|| file.name());
    let empty = inside.split(['/', '.']).find(|part| EMPTY_NAMES.contains(part));
    if let Some(name) = empty {
        let action = "name it after what it does";
        findings.push(Finding::new(&file.path, 1, format!("a module called `{name}`"), action));
    }
    let folder = file.path.trim_end_matches(".rs");
    if tree.rust().any(|other| other.path == format!("{folder}/mod.rs")) {
        let action = "move it to mod.rs in its folder";
        findings.push(Finding::new(&file.path, 1, "a module file beside its folder", action));
    }
}

fn check_leftovers(file: &File, findings: &mut Vec<Finding>) {
    for (number, line) in file.code_lines() {
        if let Some(leftover) = LEFTOVERS.iter().find(|leftover| line.contains(**leftover)) {
            let what = format!("`{leftover}` is left over");
            findings.push(Finding::new(&file.path, number, what, "finish it or take it out"));
        }
    }
}

fn check_paths(file: &File, findings: &mut Vec<Finding>) {
    let needles: Vec<_> = MACHINE_PATHS.iter().map(|(one, two)| format!("{one}{two}")).collect();
    for (number, line) in file.lines() {
        if let Some(path) = needles.iter().find(|needle| line.contains(needle.as_str())) {
            let what = format!("{path} is a path of one machine");
            findings.push(Finding::new(
                &file.path,
                number,
                what,
                "name it from the project's root",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "//! Bytes come in; records go out.\n";

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::of(files)).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn good_file_has_no_finding() {
        assert_eq!(found(&[("a/src/lib.rs", GOOD), ("tests/lab/main.rs", GOOD)]), [""; 0]);
    }

    #[test]
    fn file_over_the_limit_or_without_a_sentence_is_found() {
        let long = format!("{GOOD}{}", "\n".repeat(LINES_MAX));
        assert_eq!(found(&[("a/src/lib.rs", &long)]), ["401 lines, of 400 at most"]);
        assert_eq!(found(&[("a/src/lib.rs", "//! placeholder\n")]), ["no sentence on line one"]);
        assert_eq!(found(&[("a/src/lib.rs", "use std::fmt;\n")]), ["no sentence on line one"]);
    }

    #[test]
    fn empty_names_are_found_as_file_and_as_folder() {
        assert_eq!(found(&[("a/src/util.rs", GOOD)]), ["a module called `util`"]);
        assert_eq!(found(&[("a/src/model/gpt.rs", GOOD)]), ["a module called `model`"]);
    }

    #[test]
    fn module_file_beside_its_folder_is_found() {
        let files = [("a/src/x.rs", GOOD), ("a/src/x/mod.rs", GOOD)];
        assert_eq!(found(&files), ["a module file beside its folder"]);
    }

    #[test]
    fn leftovers_are_found_in_code_and_not_in_text() {
        let code = format!("{GOOD}fn a() {{ {}1); }}\n", LEFTOVERS[0]);
        assert_eq!(found(&[("a/src/lib.rs", &code)]).len(), 1);
        let text = format!("{GOOD}const A: &str = \"{}\"; // {}\n", LEFTOVERS[1], LEFTOVERS[2]);
        assert_eq!(found(&[("a/src/lib.rs", &text)]), [""; 0]);
    }

    #[test]
    fn path_of_a_machine_is_found_in_any_text() {
        let (one, two) = MACHINE_PATHS[0];
        assert_eq!(found(&[("README.md", &format!("see {one}{two}/a\n"))]).len(), 1);
    }
}
