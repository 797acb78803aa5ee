//! The tree comes in; providers, TLS libraries, sinks, metrics, policies and data rows without their proof go out.

use crate::tidy::Finding;
use crate::tidy::tree::{File, Tree};

const PROVIDER_ROWS: &str = "sensor-user/data/providers.toml";
const PROVIDERS: &str = "sensor-user/src/provider/";
const PROVIDER_TESTS: &str = "sensor-user/src/provider/tests/";
const LIBRARIES: &str = "sensor-user/src/probes/";
const REPORT: &str = "sensor-user/src/report/";
const SINKS: &str = "sensor-user/src/report/sinks/";
const METRICS_GOLDEN: &str = "tests/golden/metrics.txt";

/// Checks everything that must have a proof.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    check_providers(tree, &mut findings);
    check_libraries(tree, &mut findings);
    check_sinks(tree, &mut findings);
    check_metrics(tree, &mut findings);
    check_policies(tree, &mut findings);
    for file in tree.under("sensor-user/data/", ".toml") {
        check_rows(file, &mut findings);
    }
    findings
}

/// One row of a data file.
#[derive(Default)]
struct Row<'a> {
    line: usize,
    lines: Vec<&'a str>,
}

impl<'a> Row<'a> {
    fn value(&self, key: &str) -> Option<&'a str> {
        let is_key = |line: &&'a str| line.strip_prefix(key)?.trim_start().strip_prefix('=');
        self.lines.iter().find_map(is_key).map(|value| value.trim().trim_matches('"'))
    }
}

/// Rows begin with `[[kind]]`.
fn rows(file: &File) -> Vec<Row<'_>> {
    let mut rows = Vec::<Row<'_>>::new();
    for (line, text) in file.lines() {
        if text.starts_with("[[") {
            rows.push(Row { line, lines: Vec::new() });
        } else if let Some(row) = rows.last_mut() {
            row.lines.push(text);
        }
    }
    rows
}

fn check_rows(file: &File, findings: &mut Vec<Finding>) {
    for row in rows(file) {
        if row.value("source").is_none_or(str::is_empty) {
            let action = "say where it was seen";
            findings.push(Finding::new(&file.path, row.line, "a row without `source`", action));
        }
        // A rule is proven by what it finds and what it leaves, a fact by the day on which it was seen.
        let is_rule = row.value("example").is_some() && row.value("negative").is_some();
        if !is_rule && !is_date(row.value("checked").unwrap_or_default()) {
            let action =
                "write `checked = YYYY-MM-DD`, or `example` and `negative` where it is a rule";
            findings.push(Finding::new(&file.path, row.line, "a row without a date", action));
        }
    }
}

fn is_date(text: &str) -> bool {
    let text = text.trim_matches('"');
    let is_form = |(at, next): (usize, char)| {
        if at == 4 || at == 7 { next == '-' } else { next.is_ascii_digit() }
    };
    text.len() == 10 && text.chars().enumerate().all(is_form)
}

/// Each API has a file, and tests that speak to one of its hosts, whole and streamed.
fn check_providers(tree: &Tree, findings: &mut Vec<Finding>) {
    let Some(file) = tree.file(PROVIDER_ROWS) else { return };
    let mut done = Vec::new();
    for row in rows(file) {
        let Some(api) = row.value("api") else { continue };
        if done.contains(&api) {
            continue;
        }
        done.push(api);
        if !tree.has(&format!("{PROVIDERS}{api}.rs")) {
            let what = format!("the API `{api}` has no file");
            findings.push(Finding::new(PROVIDER_ROWS, row.line, what, "write provider/API.rs"));
        }
        let hosts = hosts_of(file, api);
        let spoken = tree.under(PROVIDER_TESTS, ".rs").filter(|test| speaks_to(test, &hosts));
        let names: Vec<_> = spoken.flat_map(test_names).collect();
        let streamed = names.iter().filter(|name| name.contains("stream")).count();
        if streamed == 0 || streamed == names.len() {
            let what = format!("the API `{api}` is not tested both whole and streamed");
            let action = "tell one exchange of each kind with a host of it in provider/tests/";
            findings.push(Finding::new(PROVIDER_ROWS, row.line, what, action));
        }
    }
}

/// Fixed parts of the host names of every row with an API.
fn hosts_of<'a>(file: &'a File, api: &str) -> Vec<&'a str> {
    let mut hosts = Vec::new();
    for row in rows(file).iter().filter(|row| row.value("api") == Some(api)) {
        let list = row.lines.iter().skip_while(|line| !line.starts_with("hosts"));
        for line in list {
            let quoted = line.split('"').skip(1).step_by(2);
            hosts.extend(quoted.filter_map(|host| host.split('*').max_by_key(|part| part.len())));
            if line.contains(']') {
                break;
            }
        }
    }
    hosts
}

fn speaks_to(test: &File, hosts: &[&str]) -> bool {
    test.strings().any(|(_, text)| hosts.iter().any(|host| text.contains(host)))
}

fn test_names(file: &File) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    file.code_lines().filter_map(move |(_, line)| {
        let line = line.trim();
        let name = line.strip_prefix("fn ").and_then(|rest| rest.split('(').next());
        let was_test = is_test;
        is_test = line == "#[test]";
        name.filter(|_| was_test)
    })
}

/// A file of `probes` that names a library stands for one.
fn check_libraries(tree: &Tree, findings: &mut Vec<Finding>) {
    for file in tree.under(LIBRARIES, ".rs") {
        let declared = file.product_lines().find(|(_, line)| line.contains("const LIBRARY: &str"));
        let Some((line, _)) = declared else { continue };
        let test = format!("tests/kernel/{}.rs", file.stem());
        if !tree.has(&test) {
            let what = format!("the TLS library has no {test}");
            findings.push(Finding::new(
                &file.path,
                line,
                what,
                "capture a real client of it there",
            ));
        }
    }
}

/// Each sink compares its output with a golden file.
fn check_sinks(tree: &Tree, findings: &mut Vec<Finding>) {
    let Some(list) = tree.file("sensor-user/src/report/sinks/mod.rs") else { return };
    for (line, text) in list.product_lines() {
        let name = text.trim().strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';'));
        let Some(name) = name else { continue };
        let mut files = tree.under(SINKS, ".rs").filter(|file| {
            let inside = file.path.strip_prefix(SINKS).unwrap_or_default();
            inside.split(['/', '.']).next() == Some(name)
        });
        if !files.any(|file| file.strings().any(|(_, text)| text.contains("tests/golden/"))) {
            let what = format!("the sink `{name}` has no golden output");
            findings.push(Finding::new(
                &list.path,
                line,
                what,
                "compare it with a file of tests/golden/",
            ));
        }
    }
}

fn check_metrics(tree: &Tree, findings: &mut Vec<Finding>) {
    let golden = tree.file(METRICS_GOLDEN).map(|file| file.text.as_str()).unwrap_or_default();
    for file in tree.under(REPORT, ".rs") {
        for (line, text) in file.strings().filter(|(line, _)| !file.is_test_line(*line)) {
            if is_metric(text) && !golden.contains(text) {
                let what = format!("the metric {text} is not in {METRICS_GOLDEN}");
                findings.push(Finding::new(
                    &file.path,
                    line,
                    what,
                    "run the tests with TOLLGATE_BLESS=1",
                ));
            }
        }
    }
}

fn is_metric(text: &str) -> bool {
    let is_name = |next: char| next.is_ascii_lowercase() || next.is_ascii_digit() || next == '_';
    text.starts_with("tollgate_") && text.chars().all(is_name)
}

/// Each policy has rows that it allows and rows that it denies.
fn check_policies(tree: &Tree, findings: &mut Vec<Finding>) {
    let is_policy = |file: &&File| !file.path.ends_with(".test.yaml");
    for file in tree.under("policies/", ".yaml").filter(is_policy) {
        let rows = tree.file(&file.path.replace(".yaml", ".test.yaml"));
        let rows = rows.map(|rows| rows.text.as_str()).unwrap_or_default();
        let has = |effect: &str| rows.contains(&format!("expect: {effect}\n"));
        // A policy that refuses nothing tells of something.
        if !has("allow") || !(has("deny") || has("alert")) {
            let action =
                "write NAME.test.yaml beside it with a row that is allowed and one that is denied";
            findings.push(Finding::new(&file.path, 1, "a policy without test rows", action));
        }
    }
}

#[cfg(test)]
mod tests;
