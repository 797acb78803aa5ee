//! Connections that lead elsewhere: they wait for nothing and are no AI, and however many there are, none to AI is forgotten.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate_tests::harness::{Process, run, temp_folder, wait_until};
use tollgate_tests::lab::clients::run::set_environment;
use tollgate_tests::lab::clients::spec::{OPENAI_KEY, PROMPT};
use tollgate_tests::lab::net::command_in;
use tollgate_tests::lab::{CLIENT_DEADLINE, Lab};

use crate::openssl::lab;
use crate::sensor::Sensor;

const ELSEWHERE: &str = include_str!("../clients/elsewhere.py");
const OPEN: &str = include_str!("../clients/open.py");
/// Sockets that lead nowhere, each a new one: more than twice what the kernel half remembers.
const FLOOD: &str = "import socket\n\
    for _ in range(150000):\n\
    \x20   end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
    \x20   end.connect(('127.0.0.1', 9))\n\
    \x20   end.close()\n";
/// Another service under the domain of a provider.
const STORE: &str = "s3.us-east-1.amazonaws.com";
/// Time in which the end of a connection is told.
const DEADLINE: Duration = Duration::from_secs(20);

/// A script under way.
struct Script {
    process: Process,
    _folder: TempDir,
}

impl Script {
    fn start(lab: &Lab, text: &str, spec: &Value) -> Result<Self> {
        let folder = temp_folder("elsewhere")?;
        let (script, file) = (folder.path().join("script.py"), folder.path().join("spec.json"));
        fs::write(&script, text)?;
        fs::write(&file, spec.to_string())?;
        let mut command = command_in(lab.net().client(0)?, Path::new("/usr/bin/python3"));
        command.arg(&script).arg(&file);
        set_environment(&mut command, folder.path(), &lab.ca_file());
        let process = Process::start(&mut command, &folder.path().join("errors"))?;
        Ok(Self { process, _folder: folder })
    }

    fn number(&self) -> u32 {
        let line = self.process.line(CLIENT_DEADLINE).unwrap();
        let line = line.with_context(|| self.process.errors()).unwrap();
        line.parse().unwrap()
    }

    fn made(&self, event: &Value) -> bool {
        event["process.pid"] == u64::from(self.process.pid())
    }
}

#[test]
fn other_service_of_a_providers_domain_waits_for_nothing_and_is_no_ai() {
    let lab = lab();
    let mut sensor = Sensor::start("hold_client_hello = true").unwrap();
    let hosts = ["www.example.com", STORE, STORE, "bedrock-runtime.us-east-1.amazonaws.com"];
    let spec = json!({"ca": lab.ca_file(), "hosts": hosts});
    let script = Script::start(&lab, ELSEWHERE, &spec).unwrap();
    let [other, first, second, provider] = hosts.map(|_| script.number());
    assert_eq!([first, second], [other; 2], "{}", sensor.log());
    assert!(provider > other, "{provider} segments: nothing was held back\n{}", sensor.log());
    // A stop tells of every connection that has ended.
    sensor.stop().unwrap();
    let mut told = sensor.events();
    told.retain(|event| script.made(event) && event["server.address"] == STORE);
    assert!(told.is_empty(), "{told:#?}");
}

#[test]
fn open_connection_to_ai_is_not_forgotten_for_any_number_of_others() {
    let lab = lab();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let spec = json!({"ca": lab.ca_file(), "key": OPENAI_KEY, "prompt": PROMPT});
    let mut script = Script::start(&lab, OPEN, &spec).unwrap();
    assert_eq!(script.number(), 200);
    run(Command::new("/usr/bin/python3").args(["-c", FLOOD])).unwrap();
    script.process.tell("go").unwrap();
    let ended = wait_until(DEADLINE, "the end of the connection", || {
        let is_it = |event: &Value| event["event.name"] == "tollgate.connection";
        sensor.events().into_iter().find(|event| is_it(event) && script.made(event))
    });
    let ended = ended.unwrap_or_else(|error| panic!("{error:#}\n{}", sensor.log()));
    for bytes in ["bytes_sent", "bytes_received"] {
        let bytes = ended[format!("tollgate.connection.{bytes}")].as_u64();
        assert!(bytes > Some(0), "{ended:#}");
    }
}
