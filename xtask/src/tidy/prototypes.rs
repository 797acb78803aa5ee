//! Probes of the kernel half and tables of the agent come in; prototypes that do not agree go out.

use crate::tidy::Finding;
use crate::tidy::tree::{File, Tree};

/// Where the probes of TLS functions stand: `tls.rs` and its siblings.
const PROBES: &str = "sensor-ebpf/src/tls";

/// Where the tables of functions stand.
const TABLES: &str = "sensor-user/src/probes/";

/// Where the names of tail-called programs stand, which are attached to no function.
const NAMES: &str = "sensor-common/src/names.rs";

/// A probe of the kernel half.
struct Probe<'a> {
    line: usize,
    name: &'a str,
    prototype: Option<String>,
}

/// Checks both directions: every probe is of a table, every prototype of a table has its probe.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let tables: Vec<_> = tree.under(TABLES, ".rs").filter(|file| !file.is_test()).collect();
    let known: Vec<&str> =
        tables.iter().flat_map(|file| product_strings(file)).map(|(_, text)| text).collect();
    let mut told = Vec::new();
    for file in tree.under(PROBES, ".rs") {
        for probe in probes(file) {
            if probe.prototype.as_deref().is_some_and(|told| told.starts_with("none")) {
                check_tail(tree, file, &probe, &mut findings);
                continue;
            }
            check_probe(file, &probe, &known, &mut findings);
            told.extend(probe.prototype);
        }
    }
    for file in tables {
        for (line, text) in product_strings(file).filter(|(_, text)| is_prototype(text)) {
            if !told.iter().any(|prototype| prototype == text) {
                let what = format!("no probe carries `{text}`");
                let action = "write it as `/// proto: …` above the probe";
                findings.push(Finding::new(&file.path, line, what, action));
            }
        }
    }
    findings
}

/// A program that says `proto: none` is only ever tail-called, and so has a name that both halves know.
fn check_tail(tree: &Tree, file: &File, probe: &Probe<'_>, findings: &mut Vec<Finding>) {
    let mut names = tree.file(NAMES).into_iter().flat_map(File::strings);
    if !names.any(|(_, name)| name == probe.name) {
        let what = format!("{NAMES} does not name `{}`", probe.name);
        let action = "name it there, or give it the prototype of its function";
        findings.push(Finding::new(&file.path, probe.line, what, action));
    }
}

fn check_probe(file: &File, probe: &Probe<'_>, known: &[&str], findings: &mut Vec<Finding>) {
    let mut add =
        |what: String, action| findings.push(Finding::new(&file.path, probe.line, what, action));
    let name = probe.name;
    if !known.contains(&name) {
        add(format!("no table attaches `{name}`"), "give it a row in sensor-user/src/probes/");
    }
    let Some(prototype) = &probe.prototype else {
        add(
            format!("`{name}` has no prototype"),
            "write `/// proto: int SSL_read(SSL *ssl, …);` above it",
        );
        return;
    };
    if !known.contains(&prototype.as_str()) {
        add(format!("no table has `{prototype}`"), "let the comment and the row be the same text");
    }
    let function = function_of(prototype).unwrap_or_default();
    if !known.contains(&function) {
        add(format!("no table names `{function}`"), "correct the C name in the prototype");
    }
}

fn product_strings(file: &File) -> impl Iterator<Item = (usize, &str)> {
    file.strings().filter(|(line, _)| !file.is_test_line(*line))
}

fn is_prototype(text: &str) -> bool {
    text.ends_with(");") && function_of(text).is_some()
}

/// The C name in `int SSL_read(SSL *ssl, void *buf, int num);`.
fn function_of(prototype: &str) -> Option<&str> {
    let (head, _) = prototype.split_once('(')?;
    head.rsplit([' ', '*']).next().filter(|name| !name.is_empty() && head.contains(' '))
}

/// Functions marked as probes, with the prototype of their comment.
fn probes(file: &File) -> Vec<Probe<'_>> {
    let mut found = Vec::new();
    let (mut prototype, mut is_probe) = (None, false);
    for (line, text) in file.lines() {
        let text = text.trim();
        if let Some(told) = text.strip_prefix("/// proto: ") {
            prototype = Some(told.to_owned());
        } else if text.starts_with("#[uprobe") || text.starts_with("#[uretprobe") {
            is_probe = true;
        } else if let Some(rest) = text.strip_prefix("pub fn ").filter(|_| is_probe) {
            let name = rest.split('(').next().unwrap_or_default();
            found.push(Probe { line, name, prototype: prototype.take() });
            is_probe = false;
        } else if !text.starts_with("///") && !text.starts_with("#[") {
            prototype = None;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str =
        "const A: Row = row(\"SSL_read\", \"int SSL_read(SSL *ssl);\", \"tls_read\");\n";
    const PROBE: &str =
        "/// proto: int SSL_read(SSL *ssl);\n#[uprobe]\npub fn tls_read(ctx: C) -> u32 {\n";

    fn found(table: &str, probe: &str) -> Vec<String> {
        let tree = Tree::of(&[
            ("sensor-user/src/probes/openssl.rs", table),
            ("sensor-ebpf/src/tls.rs", probe),
        ]);
        check(&tree).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn probe_and_row_that_agree_pass() {
        assert_eq!(found(TABLE, PROBE), [""; 0]);
    }

    #[test]
    fn probe_without_prototype_or_row_is_found() {
        let bare = PROBE.replace("/// proto: int SSL_read(SSL *ssl);\n", "");
        assert_eq!(found(TABLE, &bare)[0], "`tls_read` has no prototype");
        let other = PROBE.replace("tls_read", "tls_peek");
        assert_eq!(found(TABLE, &other), ["no table attaches `tls_peek`"]);
    }

    #[test]
    fn prototypes_that_differ_are_found_on_both_sides() {
        let other = PROBE.replace("SSL *ssl", "SSL *ssl, int num");
        assert_eq!(
            found(TABLE, &other),
            [
                "no table has `int SSL_read(SSL *ssl, int num);`",
                "no probe carries `int SSL_read(SSL *ssl);`"
            ]
        );
    }

    #[test]
    fn program_without_a_function_is_named_in_both_halves() {
        let tail = "/// proto: none (only ever tail-called)\n#[uprobe]\npub fn copy() {\n";
        let told = found("", tail);
        assert_eq!(told, ["sensor-common/src/names.rs does not name `copy`"]);
        let names = (NAMES, "pub const COPY: &str = \"copy\";\n");
        assert_eq!(check(&Tree::of(&[("sensor-ebpf/src/tls_copy.rs", tail), names])), []);
    }

    #[test]
    fn c_name_is_found_behind_a_pointer() {
        assert_eq!(function_of("SSL *SSL_new(SSL_CTX *ctx);"), Some("SSL_new"));
        assert_eq!(function_of("no prototype"), None);
    }
}
