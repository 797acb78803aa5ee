//! Commands whose reader has gone, or whose disk is full, come in; how they end, and what they say of it, is compared.

use std::fs;
use std::fs::File;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};

use tollgate_tests::harness::temp_folder;

use crate::sensor::binary;

/// Commands that say more than one line and need nothing.
const COMMANDS: [&[&str]; 4] =
    [&["config", "sample"], &["completions", "bash"], &["man"], &["policy", "schema"]];

/// Runs the sensor's command with that standard output.
fn run(arguments: &[&str], out: impl Into<Stdio>) -> Output {
    let mut command = Command::new(binary().unwrap());
    command.args(arguments).stdin(Stdio::null()).stdout(out).stderr(Stdio::piped());
    command.spawn().unwrap().wait_with_output().unwrap()
}

/// An output that nobody reads. Of a pipe, a child that another test starts at that moment would hold the other end too.
fn unread() -> OwnedFd {
    let (output, reader) = UnixStream::pair().unwrap();
    reader.shutdown(Shutdown::Both).unwrap();
    output.into()
}

#[test]
fn command_whose_reader_has_gone_ends_without_a_word() {
    for arguments in COMMANDS {
        let ended = run(arguments, unread());
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!((ended.status.code(), said.as_str()), (Some(141), ""), "{arguments:?}");
    }
}

#[test]
fn command_whose_disk_is_full_says_so() {
    for arguments in COMMANDS {
        let ended = run(arguments, File::options().write(true).open("/dev/full").unwrap());
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{arguments:?}");
        assert!(said.contains("No space left on device"), "{arguments:?}: {said}");
    }
}

#[test]
fn sensor_whose_reader_has_gone_ends_well() {
    let folder = temp_folder("unread").unwrap();
    let config = folder.path().join("tollgate.toml");
    let text = format!(
        "[log]\nlevel = \"error\"\n[files]\nstate = {:?}\n[report]\nlisten = \"127.0.0.1:0\"\n[control]\nsocket = {:?}\n",
        folder.path().join("state").display().to_string(),
        folder.path().join("agent.sock").display().to_string()
    );
    fs::write(&config, text).unwrap();
    let path = config.display().to_string();
    let ended = run(&["run", "--output", "json", "--config", &path], unread());
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), said.as_str()), (Some(0), ""));
}
