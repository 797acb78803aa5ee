//! The ways that are tried come in; `docs/evasion.md` holds each with its outcome, and nothing else.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::{hello, identity, kernel, network, requests, sockets, tamper};

/// What comes of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing of the request arrives, and the application is told.
    Refused,
    /// The request arrives, and the sensor tells of it.
    Detected,
    /// The request arrives, and nothing is said.
    NotCovered,
}

/// A way, with what comes of it and why.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// Its name, which is also that in the script where the script does it.
    pub(super) way: &'static str,
    pub(super) outcome: Outcome,
    /// Why it ends so.
    pub(super) why: &'static str,
}

pub(super) const fn refused(way: &'static str, why: &'static str) -> Row {
    Row { way, outcome: Outcome::Refused, why }
}

pub(super) const fn detected(way: &'static str, why: &'static str) -> Row {
    Row { way, outcome: Outcome::Detected, why }
}

pub(super) const fn not_covered(way: &'static str, why: &'static str) -> Row {
    Row { way, outcome: Outcome::NotCovered, why }
}

const GROUPS: [(&str, &[Row]); 7] = [
    ("Sockets and processes", &sockets::ROWS),
    ("ClientHellos", &hello::ROWS),
    ("Identity of the program", &identity::ROWS),
    ("Ways into the kernel", &kernel::ROWS),
    ("Network", &network::ROWS),
    ("Requests of HTTP/1.1", &requests::ROWS),
    ("Against the sensor", &tamper::ROWS),
];

const HEAD: &str = "# Ways around enforcement

Each row is tried by a test, with a process in an enforced cgroup that may not reach a provider (by its name, where nothing else is said). The outcome is what the test demands: a row that is marked refused and leaks fails, and so does one that is marked otherwise and is refused. The table is written by the tests (`tests/kernel/evasion/`).

- **refused**: nothing of the request arrives; the application gets an error, and a `tollgate.decision` says why.
- **detected**: the request arrives, and an event says so.
- **not covered**: the request arrives, and nothing is refused. What helps is said.

Not tried: another kernel module; packets of `AF_PACKET`, which need `CAP_NET_RAW` (take it away).
";

#[test]
fn table_in_the_documents_is_that_of_the_tests() {
    let mut text = HEAD.to_owned();
    for (group, rows) in GROUPS {
        write!(text, "\n## {group}\n\n| way | outcome | why |\n|---|---|---|\n").unwrap();
        for Row { way, outcome, why } in rows {
            let outcome = match outcome {
                Outcome::Refused => "refused",
                Outcome::Detected => "detected",
                Outcome::NotCovered => "not covered",
            };
            writeln!(text, "| {way} | {outcome} | {why} |").unwrap();
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/evasion.md");
    if std::env::var_os("TOLLGATE_BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), text, "run the test with TOLLGATE_BLESS=1");
}
