//! NSS's own client sends a request over TLS: one call each, with exact tokens, dollars, process, key and address.

use std::fmt::Write;
use std::fs::File;
use std::path::Path;

use crate::openssl::{assert_private, lab};
use crate::sensor::Sensor;
use crate::stacks::{Stack, check, command};

#[test]
fn nss_client_is_reported_exactly() {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let stack = Stack { library: "nss", resolved_by: "symbols", protocol: "http/1.1" };
    check((&lab, &sensor), "tstclnt", stack, |order| {
        let body = order.spec.request_body().to_string();
        let url = order.spec.url();
        let (host, path) = url.trim_start_matches("https://").split_once('/').unwrap();
        let mut request = format!("POST /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
        for (name, value) in order.spec.request_headers() {
            write!(request, "{name}: {value}\r\n").unwrap();
        }
        write!(request, "content-length: {}\r\n\r\n{body}", body.len()).unwrap();
        let file = order.folder.path().join("request");
        std::fs::write(&file, request).unwrap();
        let mut command = command(&lab, order, Path::new("tstclnt"));
        // Without a database of certificates, and so without a check of the lab's.
        command.args(["-D", "-o", "-b", "-h", host, "-p", "443"]);
        command.stdin(File::open(file).unwrap());
        command
    });
    assert_private(&sensor);
}
