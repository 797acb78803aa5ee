//! Programs under another name, in another form, or without a library.

use tollgate_tests::harness::wait_until;
use tollgate_tests::lab::CLIENT_DEADLINE;

use super::rows::{Row, refused};
use super::stage::{Stage, compare};

pub(super) const ROWS: [Row; 7] = [
    refused("renamed copy", "the subject is the cgroup, whatever the file is called"),
    refused("symbolic link", "as above"),
    refused("memfd", "a program without a file; as above"),
    refused("static program", "names are read from the socket, not from a library"),
    refused(
        "process id again",
        "the class of a process goes with its last thread, before its id can be another's",
    ),
    refused("first thread ended", "the class of a process is kept until its last thread ends"),
    refused(
        "program of another thread",
        "as above: it takes the id of the first thread, which ends for it",
    ),
];

#[test]
fn identity_of_the_program() {
    Stage::new("identity", "").unwrap().check(&ROWS[..4]);
}

#[test]
fn process_id_of_another() {
    let mut stage = Stage::new("id", "").unwrap();
    // Its class says that nothing is refused to it.
    let mut other = stage.prepared(0).unwrap();
    let free =
        format!("deny = [\"groq\"]\n[[subject]]\nname = \"free\"\nprocesses = [{}]\n", other.pid());
    let options = stage.place.options(&free).unwrap();
    stage.sensor.restart_with(&options).unwrap();
    let mut spec = stage.spec(ROWS[4].way);
    spec["pid"] = other.pid().into();
    other.kill();
    compare(&[(&ROWS[4], stage.try_in(0, &spec))]);
}

#[test]
fn threads_that_end() {
    let mut stage = Stage::new("threads", "").unwrap();
    for row in &ROWS[5..] {
        let process = stage.prepared(0).unwrap();
        let bound = format!(
            "[[subject]]\nname = \"bound\"\nprocesses = [{}]\ndeny = [\"groq\"]\n",
            process.pid()
        );
        let options = stage.place.options(&bound).unwrap();
        stage.sensor.restart_with(&options).unwrap();
        let ready =
            || stage.sensor.scrape("/readyz").ok().filter(|(code, _)| *code == 200).map(drop);
        wait_until(CLIENT_DEADLINE, "readiness", ready).unwrap();
        let spec = stage.spec(row.way);
        compare(&[(row, stage.try_by(process, &spec))]);
    }
}
