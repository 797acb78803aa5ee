//! Small trees come in, with a proof and without; the findings are compared.

use super::*;

fn found(files: &[(&str, &str)]) -> Vec<String> {
    check(&Tree::of(files)).into_iter().map(|finding| finding.what).collect()
}

const ROWS: &str = "[[provider]]\nid = \"a\"\napi = \"alpha\"\nhosts = [\n    \"api.alpha.example\",\n]\n\
                    source = \"docs\"\nchecked = 2026-01-02\n";

#[test]
fn api_needs_a_file_and_both_kinds_of_test() {
    let test =
        "#[test]\nfn a_whole_chat() { at(\"api.alpha.example\") }\n#[test]\nfn a_stream() {}\n";
    let file = ("sensor-user/src/provider/alpha.rs", "");
    assert_eq!(
        found(&[(PROVIDER_ROWS, ROWS), file, ("sensor-user/src/provider/tests/a.rs", test)]),
        [""; 0]
    );
    let whole_only = test.replace("fn a_stream", "fn b");
    let findings =
        found(&[(PROVIDER_ROWS, ROWS), ("sensor-user/src/provider/tests/a.rs", &whole_only)]);
    assert_eq!(
        findings,
        ["the API `alpha` has no file", "the API `alpha` is not tested both whole and streamed"]
    );
}

#[test]
fn row_needs_a_source_and_a_date() {
    let path = "sensor-user/data/prices/overrides.toml";
    assert_eq!(
        found(&[(path, "[[price]]\nsource = \"page\"\nchecked = \"2026-01-02\"\n")]),
        [""; 0]
    );
    let rule = "[[kind]]\nsource = \"page\"\nexample = \"sk-a\"\nnegative = \"sk\"\n";
    assert_eq!(found(&[(path, rule)]), [""; 0]);
    let bare = found(&[(path, "[[price]]\nrates = \"input=1\"\n")]);
    assert_eq!(bare, ["a row without `source`", "a row without a date"]);
    let vague = found(&[(path, "[[price]]\nsource = \"page\"\nchecked = \"last week\"\n")]);
    assert_eq!(vague, ["a row without a date"]);
}

#[test]
fn library_needs_a_kernel_test_of_its_name() {
    let library = ("sensor-user/src/probes/gnutls.rs", "pub const LIBRARY: &str = \"gnutls\";\n");
    assert_eq!(found(&[library]), ["the TLS library has no tests/kernel/gnutls.rs"]);
    assert_eq!(found(&[library, ("tests/kernel/gnutls.rs", "")]), [""; 0]);
    assert_eq!(found(&[("sensor-user/src/probes/elf.rs", "pub fn a() {}\n")]), [""; 0]);
}

#[test]
fn sink_needs_golden_output() {
    let list =
        ("sensor-user/src/report/sinks/mod.rs", "pub mod siem;\n#[cfg(test)]\npub mod sample;\n");
    assert_eq!(found(&[list]), ["the sink `siem` has no golden output"]);
    let sink = (
        "sensor-user/src/report/sinks/siem/tests.rs",
        "const A: &str = \"../tests/golden/siem.txt\";",
    );
    assert_eq!(found(&[list, sink]), [""; 0]);
}

#[test]
fn metric_needs_its_line_in_the_golden_file() {
    let code =
        ("sensor-user/src/report/metrics.rs", "a(\"tollgate_a_total\", \"tollgate_{name}\");\n");
    assert_eq!(found(&[code]).len(), 1);
    assert_eq!(found(&[code, (METRICS_GOLDEN, "# TYPE tollgate_a_total counter\n")]), [""; 0]);
}

#[test]
fn policy_needs_an_allowed_and_a_denied_row() {
    let policy = ("policies/egress.yaml", "kind: EgressPolicy\n");
    assert_eq!(
        found(&[policy, ("policies/egress.test.yaml", "expect: allow\n")]),
        ["a policy without test rows"]
    );
    assert_eq!(
        found(&[policy, ("policies/egress.test.yaml", "expect: allow\nexpect: deny\n")]),
        [""; 0]
    );
}
