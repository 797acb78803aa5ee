//! Clients with GnuTLS, wget and libcurl: one call each, with exact tokens, dollars, process, key and address.

use std::path::Path;

use tollgate_tests::lab::clients::titles;

use crate::openssl::{assert_private, lab};
use crate::rows::Rows;
use crate::sensor::Sensor;
use crate::stacks::{Stack, check, command};

/// Client of the library that git and others of the distribution use.
const LIBCURL: &str = include_str!("../clients/gnutls.py");

#[test]
fn wget_is_reported_exactly() {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let stack = Stack { library: "gnutls", resolved_by: "symbols", protocol: "http/1.1" };
    let calls = check((&lab, &sensor), "wget", stack, |order| {
        let mut command = command(&lab, order, Path::new("wget"));
        command.args(["--quiet", "--tries=1", "--timeout=60", "--output-document=/dev/null"]);
        command.arg(format!("--ca-certificate={}", lab.ca_file().display()));
        command.arg(format!("--post-file={}", order.body().display()));
        for (name, value) in order.spec.request_headers() {
            command.arg(format!("--header={name}: {value}"));
        }
        command.arg(order.spec.url());
        command
    });
    assert_private(&sensor);
    let mut rows = Rows::default();
    rows.note(titles::of_distribution("wget"), calls);
    rows.hold();
}

#[test]
fn libcurl_with_gnutls_is_reported_exactly() {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let mut rows = Rows::default();
    for (client, protocol) in [("libcurl-h1", "http/1.1"), ("libcurl-h2", "h2")] {
        let stack = Stack { library: "gnutls", resolved_by: "symbols", protocol };
        let calls = check((&lab, &sensor), client, stack, |order| {
            let script = order.folder.path().join("gnutls.py");
            std::fs::write(&script, LIBCURL).unwrap();
            let mut command = command(&lab, order, Path::new("/usr/bin/python3"));
            command.arg(script).arg(order.file()).arg(lab.ca_file());
            command
        });
        rows.note(titles::of_distribution("libcurl with GnuTLS, as git has it"), calls);
    }
    assert_private(&sensor);
    rows.hold();
}
