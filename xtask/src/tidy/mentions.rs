//! Documents come in; files and commands that they name and that do not exist go out.

use clap::CommandFactory;

use crate::tidy::Finding;
use crate::tidy::tree::{File, Tree};

/// Ends of names that make a word in code a file.
const ENDS: [&str; 10] =
    [".rs", ".toml", ".md", ".yaml", ".txt", ".json", ".sh", ".tsv", ".jsonl", "/"];

/// Where the path of a file may begin.
const BEGINNINGS: [&str; 2] = ["", "sensor-user/src/"];

/// Checks the documents at the root.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_document = |file: &&File| file.end() == "md" && !file.path.contains('/');
    for file in tree.files().iter().filter(is_document) {
        for (line, mention) in mentions(file) {
            if let Some(what) = problem(tree, mention) {
                findings.push(Finding::new(&file.path, line, what, "correct the document"));
            }
        }
    }
    findings
}

/// What stands between back ticks, and the lines of fenced blocks.
fn mentions(file: &File) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    file.lines().flat_map(move |(number, line)| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        let whole = (fenced && !is_fence).then_some(line.trim());
        let quoted =
            line.split('`').skip(1).step_by(2).filter(move |_| whole.is_none() && !is_fence);
        whole.into_iter().chain(quoted).map(move |text| (number, text)).collect::<Vec<_>>()
    })
}

fn problem(tree: &Tree, mention: &str) -> Option<String> {
    if let Some(rest) = mention.trim_start_matches("$ ").strip_prefix("cargo xtask ") {
        let task = rest.split(' ').next().unwrap_or_default();
        let known = crate::Arguments::command();
        let is_known = known.get_subcommands().any(|command| command.get_name() == task);
        return (!is_known).then(|| format!("there is no `cargo xtask {task}`"));
    }
    if !is_path(mention) || BEGINNINGS.iter().any(|start| tree.has(&format!("{start}{mention}"))) {
        return None;
    }
    Some(format!("there is no file `{mention}`"))
}

/// Paths of the project have no blanks or wildcards and no root; made files stand in `target`.
fn is_path(mention: &str) -> bool {
    let is_plain = |next: char| next.is_ascii_alphanumeric() || "./_-".contains(next);
    let is_ours = !mention.starts_with(['/', '.', '-']) && !mention.starts_with("target/");
    // A bare name with an end may be a file of the reader's own.
    let has_folder = mention.contains('/');
    is_ours && has_folder && mention.chars().all(is_plain) && ENDS.iter().any(|end| mention.ends_with(end))
        // Names in capitals stand for names.
        && !mention.split(['/', '.']).any(|part| part.len() > 1 && part.chars().all(|next| next.is_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let tree = Tree::of(&[("README.md", text), ("sensor-user/src/http/mod.rs", "")]);
        check(&tree).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn paths_that_exist_and_words_that_are_no_paths_pass() {
        assert_eq!(
            found("see `http/mod.rs`, `http/`, `sensor-user/src/http/` and `and/or`, `/proc/`"),
            [""; 0]
        );
        assert_eq!(found("make `provider/NAME.rs` and look at `target/bpf/a.txt`"), [""; 0]);
    }

    #[test]
    fn path_that_is_gone_is_found() {
        assert_eq!(found("see `http/gone.rs`"), ["there is no file `http/gone.rs`"]);
    }

    #[test]
    fn task_that_does_not_exist_is_found_in_text_and_in_blocks() {
        assert_eq!(found("`cargo xtask run` and\n```sh\ncargo xtask test\n```\n"), [""; 0]);
        assert_eq!(
            found("```sh\ncargo xtask fly --high\n```\n"),
            ["there is no `cargo xtask fly`"]
        );
    }
}
