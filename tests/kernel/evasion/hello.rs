//! ClientHellos that are cut, slow, hidden or left out.

use serde_json::{Value, json};
use tollgate_tests::lab::net::address_of;

use super::rows::{Row, detected, not_covered, refused};
use super::stage::{DENIED, Stage, UNASKED, compare};

pub(super) const ROWS: [Row; 16] = [
    refused("hello cut at each byte", "parts pass until the last, which completes the name"),
    refused("hello in single bytes", "as above"),
    refused("hello in several records", "a hello that cannot be read counts as a forbidden one"),
    refused("slow hello", "parts 11 s apart: a hello that takes over 10 s cannot be read"),
    refused("hello in vectors", "`sendmsg` with one byte a vector: the message is read as a whole"),
    refused(
        "no name, known address",
        "without a name the address decides, where DNS or the orders know it",
    ),
    not_covered(
        "no name, unknown address",
        "an address nobody asked for is nobody's (here from a file of hosts): the call is reported, not refused; call such addresses `dedicated`",
    ),
    refused("host behind an allowed name", "the request is judged too, where content is"),
    detected(
        "hidden name (ECH)",
        "to an address that DNS gave for the denied name, under another name: browsers hide names too, so it is told as `name_hidden`",
    ),
    refused("hidden name (ECH), no opaque", "the same with `refuse_opaque = true`"),
    refused(
        "hello longer than is read",
        "with tickets or offers of more than 4 KiB: the name stands in the first of them",
    ),
    refused(
        "name behind what is read",
        "the same, padded before its name: a hello whose name is not read counts as a forbidden one",
    ),
    refused(
        "hello of no version",
        "in a record of SSL 3.0, as servers overlook that: it is read like any other",
    ),
    refused("hello of any version", "in a record of version 0.0; as above"),
    refused("records of any version", "the same in two records: a hello that cannot be read"),
    refused(
        "hello of SSL 2.0",
        "which servers of today take too (RFC 5246, E.2): it has no name, so it cannot be read",
    ),
];

/// A way of the script under the name of a row, with other fields.
fn with(stage: &Stage, row: &Row, changes: &[(&str, Value)]) -> Value {
    let mut spec = stage.spec(row.way);
    for (field, value) in changes {
        spec[*field] = value.clone();
    }
    spec
}

#[test]
fn cut_and_slow_hellos() {
    let stage = Stage::new("cuts", "").unwrap();
    let tried: Vec<_> = ROWS[..5]
        .iter()
        .map(|row| (row, stage.try_in(0, &with(&stage, row, &[("slow", json!(11))]))))
        .collect();
    let tries = tried[0].1.as_ref().unwrap().outcome["tried"].as_u64().unwrap_or_default();
    assert!(tries > 200, "{tries} cuts were tried");
    compare(&tried);
}

#[test]
fn hellos_without_the_name() {
    let nameless = [("way", json!("plain")), ("name", json!(""))];
    let known = format!(
        "[[dedicated]]\nprovider = \"groq\"\naddresses = [\"{}\"]\n",
        address_of(DENIED).unwrap()
    );
    let behind = [
        ("way", json!("plain")),
        ("name", json!("api.openai.com")),
        ("address", json!(address_of("api.openai.com").unwrap().to_string())),
    ];
    // Other tests ask for the name of the other denied provider, and the sensor hears the answers to all.
    let unasked = json!(address_of(UNASKED).unwrap().to_string());
    let unknown = [("way", json!("plain")), ("name", json!("")), ("address", unasked)];
    let content = "deny_paths = [\"openai * /none\"]\n";
    let cases = [
        (&ROWS[5], known.as_str(), nameless.as_slice()),
        (&ROWS[6], "", unknown.as_slice()),
        (&ROWS[7], content, behind.as_slice()),
    ];
    for (place, (row, orders, changes)) in cases.into_iter().enumerate() {
        let stage = Stage::new(&format!("nameless-{place}"), orders).unwrap();
        compare(&[(row, stage.try_in(0, &with(&stage, row, changes)))]);
    }
}

#[test]
fn hellos_that_hide_another() {
    for (row, refuses) in [(&ROWS[8], false), (&ROWS[9], true)] {
        let orders = format!("refuse_opaque = {refuses}\n");
        let stage = Stage::new(&format!("hidden-{refuses}"), &orders).unwrap();
        let tries = if refuses { 200 } else { 40 };
        let changes = [
            ("way", json!(ROWS[8].way)),
            ("name", json!("www.example.com")),
            ("tries", json!(tries)),
        ];
        compare(&[(row, stage.try_told(0, &with(&stage, row, &changes)))]);
    }
}

#[test]
fn hellos_that_are_long_or_of_no_version() {
    let stage = Stage::new("lengths", "").unwrap();
    let long = [("way", json!("plain")), ("long", json!(true))];
    compare(&[
        (&ROWS[10], stage.try_in(0, &with(&stage, &ROWS[10], &long))),
        (&ROWS[11], stage.try_in(0, &stage.spec(ROWS[11].way))),
    ]);
    stage.check(&ROWS[12..]);
}
