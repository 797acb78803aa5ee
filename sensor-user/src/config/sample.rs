//! The fields of all sections, with their comments and defaults, come in; the sample file goes out and is compared.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use toml::Table;
use toml::Value;

use super::*;

/// Sections in the order of the file, each with the name of its type and the source that documents its fields.
const SECTIONS: [(&str, &str, &str); 13] = [
    ("log", "Log", include_str!("sections.rs")),
    ("capture", "Capture", include_str!("sections.rs")),
    ("files", "Files", include_str!("sections.rs")),
    ("policy", "Policy", include_str!("sections.rs")),
    ("enforce", "Config", include_str!("../enforce/mod.rs")),
    ("report", "Report", include_str!("sections.rs")),
    ("workload", "Config", include_str!("../workload/config.rs")),
    ("runtimes", "Config", include_str!("../workload/runtime/config.rs")),
    ("reassembly", "Config", include_str!("../reassembly/mod.rs")),
    ("http", "Config", include_str!("../http/config.rs")),
    ("provider", "Config", include_str!("../provider/tracker.rs")),
    ("store", "Config", include_str!("../store/mod.rs")),
    ("control", "Control", include_str!("sections.rs")),
];

const HEAD: &str = "# Configuration of Tollgate. Every key stands here with its default: take the `#` before a key away to change it.\n";

/// Fields of a struct in their order, each with its comment.
fn fields(source: &str, name: &str) -> Vec<(String, Vec<String>)> {
    let (_, body) = source.split_once(&format!("pub struct {name} {{\n")).unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    let mut fields = Vec::new();
    let mut comment = Vec::new();
    for line in body.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            comment.push(text.replace('`', ""));
        } else if let Some((field, _)) =
            line.strip_prefix("pub ").and_then(|field| field.split_once(':'))
        {
            fields.push((field.to_owned(), std::mem::take(&mut comment)));
        }
    }
    fields
}

fn sample() -> String {
    let defaults = Table::try_from(Config::default()).unwrap();
    let whole: BTreeMap<_, _> = fields(include_str!("mod.rs"), "Config").into_iter().collect();
    assert_eq!(whole.len(), SECTIONS.len());
    let mut text = HEAD.to_owned();
    for (section, name, source) in SECTIONS {
        writeln!(text, "\n# {}\n[{section}]", whole[section].join("\n# ")).unwrap();
        for (field, comment) in fields(source, name) {
            assert!(!comment.is_empty(), "{section}.{field} has no comment");
            let value: &Value = &defaults[section][&field];
            writeln!(text, "# {}\n#{field} = {value}", comment.join("\n# ")).unwrap();
        }
    }
    text
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a developer's wish, not configuration")]
fn sample_in_the_repository_is_current() {
    if std::env::var("TOLLGATE_BLESS").is_ok() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(Path::new(file!()));
        fs::write(file.ancestors().nth(4).unwrap().join("deploy/tollgate.toml"), sample()).unwrap();
        return;
    }
    assert_eq!(
        SAMPLE,
        sample(),
        "deploy/tollgate.toml is not current: run the tests with TOLLGATE_BLESS=1"
    );
}

#[test]
fn sample_names_every_key_and_reads_as_the_defaults() {
    let sample = sample();
    let live: String = sample
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if !key.starts_with(' ') => format!("{key}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    assert_eq!(Config::parse(&live, Path::new("sample")).unwrap(), Config::default());
    assert_eq!(live.parse::<Table>().unwrap(), Table::try_from(Config::default()).unwrap());
    assert_eq!(Config::parse(&sample, Path::new("sample")).unwrap(), Config::default());
}
