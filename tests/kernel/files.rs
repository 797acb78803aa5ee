//! Programs and libraries that are deleted, replaced, mapped late or from a path of their own: their calls are seen.

use std::fs;
use std::path::{Path, PathBuf};

use tollgate_tests::harness::temp_folder;
use tollgate_tests::lab::Lab;
use tollgate_tests::lab::net::{Names, Options};

use crate::openssl::lab;
use crate::raw::{Raw, Talking, chat, copy};
use crate::sensor::Sensor;

/// Closes the connection behind its answer.
const CLOSE: &str = "connection: close\r\n";

/// The system's library of that name.
fn library(name: &str) -> PathBuf {
    let places = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"];
    let mut found = places.iter().map(|place| Path::new(place).join(name));
    found.find(|path| path.exists()).expect("OpenSSL 3 is installed")
}

/// Lets a process do its second step, and holds its call against what the provider did.
fn assert_seen(lab: &Lab, sensor: &Sensor, mut talking: Talking, id: &str) -> serde_json::Value {
    let pid = talking.pid();
    talking.go().unwrap();
    assert_eq!(talking.finish().unwrap(), [200]);
    let fact = lab.facts_of(id, 1).unwrap().remove(0);
    let call = sensor.call_of(&fact).unwrap_or_else(|error| panic!("{error:#}\n{}", sensor.log()));
    assert_eq!(call["process.pid"].as_u64(), Some(u64::from(pid)));
    assert_eq!(call["gen_ai.usage.input_tokens"].as_u64(), Some(71));
    assert_eq!(call["gen_ai.usage.output_tokens"].as_u64(), Some(17));
    call
}

fn knobs(id: &str) -> String {
    format!("id={id},in=71,out=17")
}

#[test]
fn program_and_library_replaced_after_the_start_are_seen() {
    let (lab, folder) = (lab(), temp_folder("replaced").unwrap());
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let python = fs::canonicalize("/usr/bin/python3").unwrap();
    let program = copy(&python, folder.path(), "runner").unwrap();
    let libraries = ["libssl.so.3", "libcrypto.so.3"]
        .map(|name| copy(&library(name), folder.path(), name).unwrap());
    let raw = Raw {
        python: program.clone(),
        libraries: Some(folder.path().to_owned()),
        pause: true,
        messages: vec![chat(&knobs("replaced"), CLOSE)],
        ..Raw::default()
    };
    let talking = raw.start(&lab).unwrap();
    talking.wait_ready().unwrap();
    let maps = fs::read_to_string(format!("/proc/{}/maps", talking.pid())).unwrap();
    assert!(maps.contains(&libraries[0].display().to_string()), "the copy is what is used");
    // As a package manager does it: another file takes the name, then that is gone too.
    let other = copy(Path::new("/bin/true"), folder.path(), "other").unwrap();
    fs::rename(&other, &program).unwrap();
    for library in &libraries {
        fs::remove_file(library).unwrap();
    }
    let call = assert_seen(&lab, &sensor, talking, "replaced");
    let executable = call["process.executable.path"].as_str().unwrap();
    assert!(executable.starts_with(&program.display().to_string()), "{executable}");
}

#[test]
fn library_mapped_from_a_path_of_its_own_is_seen() {
    let (lab, folder) = (lab(), temp_folder("private").unwrap());
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let load =
        [("libcrypto.so.3", "libcrypto-8f3a1c07.so.3"), ("libssl.so.3", "libssl-2be61d90.so.3")]
            .map(|(name, private)| copy(&library(name), folder.path(), private).unwrap());
    let raw = Raw {
        load: load.to_vec(),
        pause: true,
        messages: vec![chat(&knobs("private"), CLOSE)],
        ..Raw::default()
    };
    let talking = raw.start(&lab).unwrap();
    talking.wait_ready().unwrap();
    let maps = fs::read_to_string(format!("/proc/{}/maps", talking.pid())).unwrap();
    assert!(maps.contains("libssl-2be61d90.so.3") && !maps.contains("/libssl.so.3"), "{maps}");
    assert_seen(&lab, &sensor, talking, "private");
}

#[test]
fn library_mapped_after_intent_was_shown_is_seen() {
    let lab = Lab::up(&Options { names: Names::Dns, ..Options::default() }).unwrap();
    let sensor = Sensor::start("hold_client_hello = true").unwrap();
    let raw = Raw {
        connect_first: true,
        pause: true,
        messages: vec![chat(&knobs("late"), CLOSE)],
        ..Raw::default()
    };
    let talking = raw.start(&lab).unwrap();
    talking.wait_ready().unwrap();
    let pid = talking.pid();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    assert!(!maps.contains("libssl"), "the library is not there yet");
    // The name it asked for has shown what the process is about, and that it has no library was seen.
    sensor.wait_probed(pid).unwrap();
    assert_seen(&lab, &sensor, talking, "late");
}
