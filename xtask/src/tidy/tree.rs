//! A folder comes in; the text files of the project go out, Rust files with their code told from comments and tests.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::tidy::lexer::Code;

/// Folders that hold what was built or found, not what was written.
const SKIPPED: [&str; 6] =
    ["target", ".git", "node_modules", "artifacts", "corpus-found", "__pycache__"];

/// Ends of the names of files that people write.
const WRITTEN: [&str; 13] = [
    ".rs", ".toml", ".md", ".yaml", ".yml", ".sh", ".py", ".mjs", ".c", ".service", ".json",
    ".txt", "/run",
];

/// Larger text files are data.
const BYTES_MAX: u64 = 1 << 20;

/// One text file.
pub struct File {
    /// Path inside the project, with `/`.
    pub path: String,
    /// The whole text.
    pub text: String,
    /// Of a Rust file, its code.
    pub code: Option<Code>,
}

impl File {
    /// Takes a text under a path.
    pub fn new(path: &str, text: &str) -> Self {
        let code = (end_of(path) == "rs").then(|| Code::new(text));
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }

    /// The last part of the path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The name without its end.
    pub fn stem(&self) -> &str {
        self.name().split('.').next().unwrap_or_default()
    }

    /// The end of the name.
    pub fn end(&self) -> &str {
        end_of(&self.path)
    }

    /// Whether the whole file is test code.
    pub fn is_test(&self) -> bool {
        let in_package_of_tests = self.path.starts_with("tests/");
        in_package_of_tests || self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }

    /// Numbered lines of the text, from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    /// Numbered lines of Rust code with comments and the insides of strings blanked out.
    pub fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.code.iter().flat_map(|code| &code.lines);
        (1..).zip(lines.map(String::as_str))
    }

    /// The same without test modules; nothing where the whole file is test code.
    pub fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code_lines().filter(|(number, _)| !self.is_test_line(*number))
    }

    /// Strings of Rust code with the line that each begins on.
    pub fn strings(&self) -> impl Iterator<Item = (usize, &str)> {
        let strings = self.code.iter().flat_map(|code| &code.strings);
        strings.map(|(line, text)| (*line, text.as_str()))
    }

    /// Whether a line is test code.
    pub fn is_test_line(&self, number: usize) -> bool {
        self.is_test() || self.code.as_ref().is_some_and(|code| code.is_test(number))
    }
}

/// The end of a file's name behind its last dot.
fn end_of(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(_, end)| end)
}

/// All text files of the project, by path.
pub struct Tree {
    files: Vec<File>,
    /// Paths of everything, data and folders included.
    paths: Vec<String>,
}

impl Tree {
    /// Reads a folder.
    pub fn read(root: &Path) -> Result<Self> {
        let mut tree = Self { files: Vec::new(), paths: Vec::new() };
        tree.add(root, "")?;
        tree.files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(tree)
    }

    fn add(&mut self, folder: &Path, prefix: &str) -> Result<()> {
        let entries = fs::read_dir(folder);
        for entry in entries.with_context(|| format!("listing {}", folder.display()))? {
            let entry = entry.context("listing a folder")?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            let kind = entry.metadata().with_context(|| format!("looking at {path}"))?;
            if SKIPPED.contains(&name.as_str()) {
                continue;
            }
            if kind.is_dir() {
                self.add(&entry.path(), &format!("{path}/"))?;
                self.paths.push(path);
                continue;
            }
            if kind.len() <= BYTES_MAX && WRITTEN.iter().any(|end| path.ends_with(end)) {
                let text = fs::read_to_string(entry.path());
                self.files
                    .push(File::new(&path, &text.with_context(|| format!("reading {path}"))?));
            }
            self.paths.push(path);
        }
        Ok(())
    }

    /// A tree made of texts, for tests of the rules.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let files: Vec<_> = files.iter().map(|(path, text)| File::new(path, text)).collect();
        Self { paths: files.iter().map(|file| file.path.clone()).collect(), files }
    }

    /// Every text file.
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// Rust files.
    pub fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.code.is_some())
    }

    /// Text files whose path begins and ends so.
    pub fn under<'a>(&'a self, prefix: &'a str, end: &'a str) -> impl Iterator<Item = &'a File> {
        let is_there =
            move |file: &&File| file.path.starts_with(prefix) && file.path.ends_with(end);
        self.files.iter().filter(is_there)
    }

    /// One text file.
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Whether a file or folder stands at a path.
    pub fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        self.paths.iter().any(|known| {
            let rest = known.strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_files_exist_and_parts_of_names_do_not() {
        let tree = Tree::of(&[("a/b/c.rs", "")]);
        assert!(tree.has("a/b") && tree.has("a/b/") && tree.has("a/b/c.rs"));
        assert!(!tree.has("a/b/c") && !tree.has("b"));
    }

    #[test]
    fn test_code_is_told_by_folder_and_by_module() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n";
        let file = File::new("x/src/a.rs", text);
        let product: Vec<_> = file.product_lines().map(|(number, _)| number).collect();
        assert_eq!(product, [1, 6]);
        assert_eq!(File::new("x/src/tests/a.rs", text).product_lines().count(), 0);
    }
}
