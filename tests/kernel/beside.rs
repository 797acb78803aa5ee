//! Python packages with a TLS library of their own, in processes that have the interpreter's too: each call exactly once.

use tollgate_tests::lab::clients::beside::{PACKAGES, Package, interpreter};
use tollgate_tests::lab::clients::titles;

use crate::openssl::{assert_private, lab};
use crate::rows::Rows;
use crate::sensor::Sensor;
use crate::stacks::{Stack, check, command};

const CLIENT: &str = include_str!("../clients/beside.py");

/// The sensor has never seen the script: the library that speaks is found while the ClientHello waits.
#[test]
fn library_beside_that_of_the_interpreter_is_found_at_the_first_call() {
    let lab = lab();
    let python = interpreter(lab.kit()).unwrap();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let mut rows = Rows::default();
    for package in PACKAGES {
        let Package { name, library, resolved_by, protocol, .. } = package;
        let stack = Stack { library, resolved_by, protocol };
        let calls = check((&lab, &sensor), name, stack, |order| {
            let script = order.folder.path().join("beside.py");
            std::fs::write(&script, CLIENT).unwrap();
            let mut command = command(&lab, order, &python);
            command.arg(script).arg(name).arg(order.file()).arg(lab.ca_file());
            command
        });
        rows.note(titles::of_beside(&package), calls);
    }
    assert_private(&sensor);
    rows.hold();
}
