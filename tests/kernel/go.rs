//! Clients of net/http, built by two toolchains, with and without symbols and at any address: one call each, exactly.

use tollgate_tests::lab::clients::golang::BUILDS;

use crate::openssl::{assert_private, lab};
use crate::sensor::Sensor;
use crate::stacks::{Stack, check, command};

#[test]
fn every_go_client_is_reported_exactly() {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    for build in BUILDS {
        let program = build.program(lab.kit()).unwrap();
        for (suffix, protocol) in [("h1", "http/1.1"), ("h2", "h2")] {
            let client = format!("go-{}-{}-{suffix}", build.version, build.kind);
            let stack = Stack { library: "go", resolved_by: "structure", protocol };
            check((&lab, &sensor), &client, stack, |order| {
                let mut command = command(&lab, order, &program);
                command.arg(order.file());
                command
            });
        }
    }
    assert_private(&sensor);
}
