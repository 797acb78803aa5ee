//! A client with a TLS library of its own comes in as a command; its calls are held against the provider's facts.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use tollgate_tests::harness::{run, temp_folder};
use tollgate_tests::lab::Lab;
use tollgate_tests::lab::clients::run::set_environment;
use tollgate_tests::lab::clients::{Api, Spec};
use tollgate_tests::lab::net::command_in;
use tollgate_tests::lab::provider::fact::Fact;

use crate::openssl::{USAGE, assert_facts};
use crate::sensor::Sensor;

/// What the sensor should say of the client's TLS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stack {
    /// `tls.library`.
    pub(crate) library: &'static str,
    /// `tollgate.tls.resolved_by`.
    pub(crate) resolved_by: &'static str,
    /// Protocol that the client agrees on.
    pub(crate) protocol: &'static str,
}

/// One call to make: its specification, as a file and as a value, in a folder of its own.
pub(crate) struct Order {
    /// Holds the files.
    pub(crate) folder: TempDir,
    /// The specification.
    pub(crate) spec: Spec,
}

impl Order {
    /// The specification as a file.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("spec.json")
    }

    /// The body of the request as a file.
    pub(crate) fn body(&self) -> PathBuf {
        self.folder.path().join("body")
    }
}

/// A command in the lab's first client namespace, with the environment of every client.
pub(crate) fn command(lab: &Lab, order: &Order, program: &Path) -> Command {
    let mut command = command_in(lab.net().client(0).unwrap(), program);
    set_environment(&mut command, order.folder.path(), &lab.ca_file());
    command
}

/// Has a client make a whole and a streamed call of two APIs, and compares what the sensor says of each; gives the calls
/// back.
pub(crate) fn check(
    (lab, sensor): (&Lab, &Sensor),
    client: &str,
    stack: Stack,
    make: impl Fn(&Order) -> Command,
) -> Vec<Value> {
    let ways =
        [(Api::Chat, false), (Api::Chat, true), (Api::Messages, false), (Api::Messages, true)];
    let calls = ways.map(|(api, stream)| {
        let what = format!("{client} {api:?} stream={stream}");
        let fact = call(lab, (client, api, stream), &make);
        assert_eq!(fact.protocol, stack.protocol, "{what}");
        let call = sensor
            .call_of(&fact)
            .unwrap_or_else(|error| panic!("{what}: {error:#}\n{}", sensor.log()));
        assert_facts(&call, &fact, &what);
        assert_stack(&call, stack, &what);
        call
    });
    calls.into()
}

/// Has a client make one call; gives back what the provider says of it.
pub(crate) fn call(
    lab: &Lab,
    (client, api, stream): (&str, Api, bool),
    make: impl Fn(&Order) -> Command,
) -> Fact {
    let what = format!("{client} {api:?} stream={stream}");
    let id = what.replace([' ', '='], "-");
    let mut spec = Spec::new(client, api).scenario(&format!("id={id},{USAGE}"));
    spec.stream = stream;
    let order = Order { folder: temp_folder("order").unwrap(), spec };
    std::fs::write(order.file(), order.spec.to_json().to_string()).unwrap();
    std::fs::write(order.body(), order.spec.request_body().to_string()).unwrap();
    run(&mut make(&order)).unwrap_or_else(|error| panic!("{what}: {error:#}"));
    let mut facts = lab.facts_of(&id, 1).unwrap();
    assert_eq!(facts.len(), 1, "{what}");
    facts.remove(0)
}

fn assert_stack(call: &Value, stack: Stack, what: &str) {
    let told = |name: &str| call[name].as_str().unwrap_or("unknown");
    assert_eq!(told("tls.library"), stack.library, "{what}");
    assert_eq!(told("tollgate.tls.resolved_by"), stack.resolved_by, "{what}");
    // The first connection of a program that was never seen is older than its probes.
    let binding = call["tollgate.binding"].as_str();
    assert!(matches!(binding, Some("client_random" | "wire_record")), "{what}: {binding:?}");
}
