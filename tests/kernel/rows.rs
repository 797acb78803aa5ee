//! Calls that were compared with the provider's facts come in; the rows of their clients are held against the documents.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tollgate_tests::lab::clients::titles::Title;
use tollgate_tests::matrix;
use tollgate_tests::matrix::Row;

/// Calls by the client that made them.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    calls: BTreeMap<Title, Vec<Value>>,
}

impl Rows {
    /// Notes calls that were reported exactly.
    pub(crate) fn note(&mut self, title: Title, calls: impl IntoIterator<Item = Value>) {
        self.calls.entry(title).or_default().extend(calls);
    }

    /// Holds one row a client.
    pub(crate) fn hold(self) {
        for ((client, version), calls) in self.calls {
            matrix::hold(&row(&client, &version, &calls)).unwrap();
        }
    }
}

/// The row of a client in the documents, by what its calls were.
pub(crate) fn row(client: &str, version: &str, calls: &[Value]) -> Row {
    let word = |name: &str| {
        joined(calls.iter().map(|call| call[name].as_str().unwrap_or("unknown")).collect())
    };
    let protocol = |call: &Value| match call["network.protocol.version"].as_str() {
        // The version that the handshake names (RFC 6455).
        Some("13") => "WebSocket".to_owned(),
        Some(version) => format!("HTTP/{version}"),
        None => "unknown".to_owned(),
    };
    let form = |call: &Value| if call["tollgate.stream"] == true { "streamed" } else { "whole" };
    let protocols: BTreeSet<_> = calls.iter().map(protocol).collect();
    Row {
        client: client.to_owned(),
        version: version.to_owned(),
        stack: word("tls.library"),
        found_by: word("tollgate.tls.resolved_by"),
        protocol: joined(protocols.iter().map(String::as_str).collect()),
        result: format!("exact, each call once: {}", joined(calls.iter().map(form).collect())),
    }
}

/// Holds the row of a client of which nothing is seen, and why.
pub(crate) fn hold_blind((client, version): Title, stack: &str, reason: &str) {
    let row = Row {
        client,
        version,
        stack: stack.to_owned(),
        found_by: "nothing".to_owned(),
        protocol: "unknown".to_owned(),
        result: format!("blind: {reason}"),
    };
    matrix::hold(&row).unwrap();
}

fn joined(words: BTreeSet<&str>) -> String {
    words.into_iter().collect::<Vec<_>>().join(", ")
}
