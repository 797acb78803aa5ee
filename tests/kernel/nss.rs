//! Clients with NSS: each call is reported with exact tokens, dollars, process, key and address.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use tollgate_tests::harness::run;
use tollgate_tests::lab::Lab;
use tollgate_tests::lab::clients::titles;

use crate::openssl::{assert_private, lab};
use crate::rows::Rows;
use crate::sensor::Sensor;
use crate::stacks::{Order, Stack, check, command};

/// A client by Python's bindings.
const SCRIPT: &str = include_str!("../clients/nss.py");
const STACK: Stack = Stack { library: "nss", resolved_by: "symbols", protocol: "http/1.1" };

/// Makes a database that trusts the lab's authority; gives back its folder.
fn database(lab: &Lab, order: &Order) -> std::path::PathBuf {
    let folder = order.folder.path().join("nss");
    fs::create_dir(&folder).unwrap();
    let place = format!("sql:{}", folder.display());
    run(Command::new("certutil").args(["-N", "--empty-password", "-d", &place])).unwrap();
    let mut add = Command::new("certutil");
    add.args(["-A", "-n", "lab", "-t", "C,,", "-d", &place, "-i"]).arg(lab.ca_file());
    run(&mut add).unwrap();
    folder
}

#[test]
fn python_with_nss_is_reported_exactly() {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let calls = check((&lab, &sensor), "python-nss", STACK, |order| {
        let script = order.folder.path().join("by_nss.py");
        fs::write(&script, SCRIPT).unwrap();
        let mut command = command(&lab, order, Path::new("/usr/bin/python3"));
        command.arg(script).arg(order.file()).arg(database(&lab, order));
        command
    });
    assert_private(&sensor);
    let mut rows = Rows::default();
    rows.note(titles::of_distribution("python3-nss"), calls);
    rows.hold();
}

#[test]
fn client_of_the_nss_project_is_reported_exactly() {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let calls = check((&lab, &sensor), "tstclnt", STACK, |order| {
        let (url, body) = (order.spec.url(), order.spec.request_body().to_string());
        let path = url.splitn(4, '/').nth(3).unwrap();
        let host = &order.spec.host;
        let mut head = format!("POST /{path} HTTP/1.1\r\nhost: {host}\r\n");
        for (name, value) in order.spec.request_headers() {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        let length = body.len();
        let said = order.folder.path().join("said");
        fs::write(
            &said,
            format!("{head}content-length: {length}\r\nconnection: close\r\n\r\n{body}"),
        )
        .unwrap();
        let mut command = command(&lab, order, Path::new("sh"));
        command.args(["-c", "exec tstclnt \"$@\" <\"$0\""]).arg(said);
        command.args(["-4", "-h", host, "-p", "443", "-d"]);
        command.arg(format!("sql:{}", database(&lab, order).display()));
        command
    });
    assert_private(&sensor);
    let mut rows = Rows::default();
    rows.note(titles::of_distribution("tstclnt of NSS"), calls);
    rows.hold();
}
