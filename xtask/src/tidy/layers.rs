//! The sources of the agent come in; uses of a later stage, and of the world by pure stages, go out.

use crate::tidy::Finding;
use crate::tidy::tree::{File, Tree};

/// Where the stages stand.
const SOURCES: &str = "sensor-user/src/";

/// What a stage may touch besides bytes and numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Files, sockets, clocks and tasks.
    Edge,
    /// Nothing: bytes and times come in as arguments.
    Pure,
}

struct Stage {
    name: &'static str,
    side: Side,
    uses: &'static [&'static str],
}

const fn edge(name: &'static str, uses: &'static [&'static str]) -> Stage {
    Stage { name, side: Side::Edge, uses }
}

const fn pure(name: &'static str, uses: &'static [&'static str]) -> Stage {
    Stage { name, side: Side::Pure, uses }
}

/// The stages in the order of the path. A row may name only rows above it, so that a cycle cannot be written down.
const STAGES: [Stage; 17] = [
    edge("bpf", &[]),
    edge("workload", &[]),
    edge("probes", &["bpf"]),
    edge("capture", &["bpf"]),
    pure("destination", &[]),
    pure("reassembly", &[]),
    pure("http", &["reassembly"]),
    pure("provider", &["http"]),
    pure("credential", &["provider"]),
    pure("spend", &["provider"]),
    pure("secrets", &["http", "provider", "credential"]),
    pure("policy", &["workload", "destination", "provider", "credential", "spend", "secrets"]),
    edge("store", &["credential", "spend", "policy"]),
    edge("fleet", &["credential", "spend", "policy"]),
    edge("enforce", &["bpf", "provider", "credential", "policy"]),
    edge("audit", &["policy", "enforce"]),
    edge(
        "report",
        &[
            "workload",
            "capture",
            "destination",
            "reassembly",
            "http",
            "provider",
            "credential",
            "spend",
            "policy",
            "store",
        ],
    ),
];

/// Files that know all stages, and so may not be named by one.
const ROOTS: [&str; 5] = ["lib", "main", "cli", "config", "agent"];

/// What every stage may name.
const FREE: [&str; 1] = ["redact"];

/// Words that a pure stage has no use for.
const WORLD: [&str; 12] = [
    "tokio",
    "SystemTime",
    "Instant",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
    "ToSocketAddrs",
    "aya",
    "rustix",
];

/// Modules of `std` that a pure stage has no use for.
const WORLD_MODULES: [&str; 4] = ["fs", "env", "process", "thread"];

/// Checks every file of every stage.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = check_table(&STAGES);
    for file in tree.under(SOURCES, ".rs") {
        check_paths(file, &mut findings);
        let Some(stage) = stage_of(file) else { continue };
        check_uses(file, stage, &mut findings);
        if stage.side == Side::Pure {
            check_world(file, &mut findings);
        }
        if stage.name != "bpf" {
            check_kernel_access(file, &mut findings);
        }
    }
    findings
}

fn check_table(stages: &[Stage]) -> Vec<Finding> {
    let mut known: Vec<&str> = Vec::new();
    let mut findings = Vec::new();
    for stage in stages {
        for used in stage.uses.iter().filter(|used| !known.contains(used)) {
            let what = format!("{} names {used}, which stands below it", stage.name);
            findings.push(Finding::new(file!(), 1, what, "let a row name only rows above it"));
        }
        known.push(stage.name);
    }
    findings
}

fn stage_of(file: &File) -> Option<&'static Stage> {
    let inside = file.path.strip_prefix(SOURCES)?;
    let name = inside.split(['/', '.']).next()?;
    STAGES.iter().find(|stage| stage.name == name)
}

fn check_paths(file: &File, findings: &mut Vec<Finding>) {
    for (number, line) in file.code_lines() {
        if line.contains("crate::{") {
            findings.push(Finding::new(
                &file.path,
                number,
                "a group of paths",
                "one `use crate::stage::Item;` a line",
            ));
        }
        if line.contains("super::super") {
            findings.push(Finding::new(
                &file.path,
                number,
                "`super::super`",
                "name the path from `crate`",
            ));
        }
    }
    let inside = file.path.strip_prefix(SOURCES).unwrap_or_default();
    let name = inside.split(['/', '.']).next().unwrap_or_default();
    if stage_of(file).is_none() && !ROOTS.contains(&name) && !FREE.contains(&name) {
        let what = format!("`{name}` is neither a stage nor a root file");
        findings.push(Finding::new(
            &file.path,
            1,
            what,
            "give it a row in xtask/src/tidy/layers.rs",
        ));
    }
}

fn check_uses(file: &File, stage: &Stage, findings: &mut Vec<Finding>) {
    for (number, line) in file.code_lines() {
        for name in names_after(line, "crate::").filter(|name| *name != stage.name) {
            let is_free = FREE.contains(&name) || stage.uses.contains(&name);
            let is_item = !name.starts_with(|first: char| first.is_ascii_lowercase());
            if !is_free && !is_item {
                let what = format!("{} may not use {name}", stage.name);
                let action =
                    "pass a value in, or add the edge to the table in xtask/src/tidy/layers.rs";
                findings.push(Finding::new(&file.path, number, what, action));
            }
        }
    }
}

fn check_world(file: &File, findings: &mut Vec<Finding>) {
    for (number, line) in file.product_lines() {
        let word = words(line).find(|word| WORLD.contains(word));
        let module = WORLD_MODULES.iter().find(|module| {
            let grouped = line.contains("std::{") && words(line).any(|word| word == **module);
            grouped || names_after(line, "std::").any(|name| name == **module)
        });
        if let Some(name) = word.or(module.copied()) {
            let what = format!("a pure stage names `{name}`");
            let action = "take time and bytes as arguments; do this in an edge stage or in `agent`";
            findings.push(Finding::new(&file.path, number, what, action));
        }
    }
}

/// Only `bpf` talks to the kernel's BPF side, and only there may code be unsafe.
fn check_kernel_access(file: &File, findings: &mut Vec<Finding>) {
    for (number, line) in file.code_lines() {
        if words(line).any(|word| word == "aya") || line.contains("(unsafe_code") {
            let action = "put it behind a function of `sensor-user/src/bpf/`";
            findings.push(Finding::new(
                &file.path,
                number,
                "`aya` or unsafe code outside `bpf`",
                action,
            ));
        }
    }
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|next: char| !(next.is_alphanumeric() || next == '_'))
}

/// The first name behind each occurrence of a path prefix that begins a path.
fn names_after<'a>(line: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(prefix).filter_map(move |(at, _)| {
        let (before, rest) = line.split_at_checked(at)?;
        let is_inner =
            before.ends_with(|last: char| last.is_alphanumeric() || last == '_' || last == ':');
        let name = rest.strip_prefix(prefix).and_then(|rest| words(rest).next());
        name.filter(|name| !is_inner && !name.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&Tree::of(&[(path, text)])).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn earlier_stages_may_be_used_and_later_ones_not() {
        let allowed =
            "use crate::http::Event;\nuse crate::redact::Redacted;\nuse crate::provider::Call;\n";
        assert_eq!(found("sensor-user/src/provider/a.rs", allowed), [""; 0]);
        let later =
            found("sensor-user/src/http/a.rs", "//! crate::spend\nuse crate::provider::Call;\n");
        assert_eq!(later, ["http may not use provider"]);
        assert_eq!(found("sensor-user/src/http.rs", "use crate::config::Config;\n").len(), 1);
    }

    #[test]
    fn groups_and_climbing_are_refused_everywhere() {
        let text = "use crate::{http, spend};\nuse super::super::a;\n";
        assert_eq!(found("sensor-user/src/agent/mod.rs", text).len(), 2);
    }

    #[test]
    fn pure_stage_names_no_world_outside_its_tests() {
        let path = "sensor-user/src/spend/a.rs";
        for bad in
            ["use std::fs;", "use std::{fmt, fs};", "use std::time::Instant;", "tokio::spawn(a);"]
        {
            assert_eq!(found(path, bad).len(), 1, "{bad}");
        }
        assert_eq!(
            found(path, "use std::net::IpAddr;\n#[cfg(test)]\nmod tests { use std::fs; }"),
            [""; 0]
        );
        assert_eq!(found("sensor-user/src/workload/a.rs", "use std::fs;"), [""; 0]);
    }

    #[test]
    fn aya_and_unsafe_code_stay_in_their_stage() {
        assert_eq!(found("sensor-user/src/bpf/a.rs", "use aya::Ebpf;"), [""; 0]);
        assert_eq!(found("sensor-user/src/probes/a.rs", "use aya::Ebpf;").len(), 1);
    }

    #[test]
    fn unknown_folder_needs_a_row() {
        assert_eq!(found("sensor-user/src/extra/mod.rs", "").len(), 1);
    }

    #[test]
    fn row_that_names_a_later_row_is_found() {
        assert_eq!(check_table(&[edge("a", &["b"]), edge("b", &[])]).len(), 1);
        assert_eq!(check_table(&STAGES), []);
    }
}
