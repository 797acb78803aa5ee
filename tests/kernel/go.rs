//! Clients of net/http, built by three toolchains, with and without symbols and at any address: one call each, exactly.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use memchr::memmem;
use serde_json::Value;
use tollgate_tests::harness::{copy_program, temp_folder, wait_until};
use tollgate_tests::lab::clients::Api;
use tollgate_tests::lab::clients::golang::BUILDS;
use tollgate_tests::lab::clients::titles;

use crate::openssl::{assert_private, lab};
use crate::rows::{Rows, hold_blind};
use crate::sensor::Sensor;
use crate::stacks::{Stack, call, check, command};

/// Time in which the end of a connection is reported.
const DEADLINE: Duration = Duration::from_secs(20);
/// A name in the table of functions, and one of the same length that nobody looks for.
const NAMED: &[u8] = b"\0crypto/tls.(*Conn).Write\0";
const UNNAMED: &[u8] = b"\0crypto/tls.(*Conn).Wr1te\0";

#[test]
fn every_go_client_is_reported_exactly() {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let mut rows = Rows::default();
    for build in BUILDS {
        let program = build.program(lab.kit()).unwrap();
        for (suffix, protocol) in [("h1", "http/1.1"), ("h2", "h2")] {
            let client = format!("go-{}-{}-{suffix}", build.version, build.kind);
            let stack = Stack { library: "go", resolved_by: "structure", protocol };
            let calls = check((&lab, &sensor), &client, stack, |order| {
                let mut command = command(&lab, order, &program);
                command.arg(order.file());
                command
            });
            rows.note(titles::of_go(&build), calls);
        }
    }
    assert_private(&sensor);
    rows.hold();
}

/// The program, with another name for a function that is looked for: it runs as before.
pub(crate) fn without_name(program: &Path, folder: &Path) -> PathBuf {
    let mut bytes = fs::read(program).unwrap();
    let at = memmem::find(&bytes, NAMED).unwrap();
    bytes.iter_mut().skip(at).zip(UNNAMED).for_each(|(byte, new)| *byte = *new);
    let (changed, unnamed) = (folder.join("changed"), folder.join("unnamed"));
    fs::write(&changed, bytes).unwrap();
    fs::set_permissions(&changed, Permissions::from_mode(0o755)).unwrap();
    copy_program(&changed, &unnamed).unwrap();
    unnamed
}

#[test]
fn go_program_whose_functions_are_not_found_is_blind_with_the_reason() {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let folder = temp_folder("unnamed").unwrap();
    let build = BUILDS.iter().find(|build| build.kind == "stripped").unwrap();
    let program = without_name(&build.program(lab.kit()).unwrap(), folder.path());
    let fact = call(&lab, ("go-unnamed-h1", Api::Chat, false), |order| {
        let mut command = command(&lab, order, &program);
        command.arg(order.file());
        command
    });
    let is_blind = |event: &Value| {
        event["event.name"] == "tollgate.coverage"
            && event["process.executable.path"].as_str() == program.to_str()
    };
    let blind = wait_until(DEADLINE, "the end of the connection", || {
        let blind: Vec<_> = sensor.events().into_iter().filter(is_blind).collect();
        blind.iter().any(|event| !event["server.address"].is_null()).then_some(blind)
    });
    let blind = blind.unwrap_or_else(|error| panic!("{error:#}\n{}", sensor.log()));
    for event in &blind {
        assert_eq!(event["tollgate.coverage"], "blind", "{event}");
        assert_eq!(event["tollgate.coverage.reason"], "go_functions_not_found", "{event}");
    }
    let [_process, connection] = blind.as_slice() else { panic!("{blind:?}") };
    assert_eq!(connection["server.address"], fact.host.as_str());
    // What is sealed is longer than what is said.
    let bytes = |name: &str| connection[name].as_u64().unwrap();
    assert!(bytes("tollgate.connection.bytes_sent") > fact.request_bytes, "{connection}");
    assert!(bytes("tollgate.connection.bytes_received") > fact.response_bytes, "{connection}");
    let own = |call: &Value| call["process.executable.path"].as_str() == program.to_str();
    assert!(!sensor.calls().iter().any(own));
    let (client, version) = titles::of_go(build);
    let title = (client, format!("{version}, names removed"));
    hold_blind(title, "go", "go_functions_not_found");
}
