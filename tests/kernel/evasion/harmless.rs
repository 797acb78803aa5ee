//! Traffic that only looks like that to a provider comes in; it passes, and nothing is told of it.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate_tests::harness::{Process, temp_folder};
use tollgate_tests::lab::CLIENT_DEADLINE;
use tollgate_tests::lab::net::{address_of, command_in};

use super::stage::{DENIED, Stage};

const ALLOWED: &str = "api.openai.com";

/// What was told, once a call to the denied host is among it: nothing of what came before is missing then.
fn told_so_far(stage: &Stage) -> Vec<Value> {
    let tried = stage.try_in(0, &stage.spec("plain")).unwrap();
    assert!(!tried.leaked, "{tried:#?}");
    stage.decisions()
}

/// A server of plain HTTP at the addresses of the lab's providers, on port 8080, and its folder.
pub(super) fn neighbour(stage: &Stage) -> (Process, TempDir) {
    let folder = temp_folder("neighbour").unwrap();
    let mut command = command_in(stage.lab.net().server(), Path::new("/usr/bin/python3"));
    command.args(["-u", "-m", "http.server", "8080", "--directory"]).arg(folder.path());
    let server = Process::start(&mut command, &folder.path().join("errors")).unwrap();
    let ready = server.line(CLIENT_DEADLINE).unwrap();
    assert!(ready.is_some_and(|line| line.starts_with("Serving")), "{}", server.errors());
    (server, folder)
}

#[test]
fn long_hello_to_an_allowed_host_is_answered() {
    let stage = Stage::new("long", "").unwrap();
    let mut spec = stage.spec("plain");
    let address = address_of(ALLOWED).unwrap().to_string();
    for field in ["name", "authority"] {
        spec[field] = json!(ALLOWED);
    }
    spec["address"] = json!(address);
    spec["long"] = json!(true);
    let (outcome, _) = stage.attempt(0, &spec).unwrap();
    assert_eq!(outcome["status"], 200, "{outcome}");
}

#[test]
fn message_that_begins_like_a_record_passes() {
    let stage = Stage::new("alike", "refuse_opaque = true\n").unwrap();
    let (outcome, _) = stage.attempt(0, &stage.spec("like records")).unwrap();
    assert_eq!(outcome["answered"], 19, "{outcome}");
    let denied = address_of(DENIED).unwrap().to_string();
    let told = told_so_far(&stage);
    assert!(told.iter().all(|event| event["network.peer.address"] == denied.as_str()), "{told:#?}");
}

#[test]
fn plain_text_to_another_port_of_a_denied_address_passes() {
    let stage = Stage::new("neighbour", "refuse_opaque = true\n").unwrap();
    let _neighbour = neighbour(&stage);
    let (outcome, _) = stage.attempt(0, &stage.spec("plain text")).unwrap();
    assert_eq!(outcome["refused"], true, "{outcome}");
    let heard = outcome["heard"].as_str().unwrap_or_default();
    assert!(heard.starts_with("HTTP/1.0 200"), "{outcome}");
    let told = told_so_far(&stage);
    assert!(told.len() > 1, "{told:#?}");
    assert!(told.iter().all(|event| event["network.peer.port"] != 8080), "{told:#?}");
}
