//! Programs under another name, in another form, or without a library.

use super::rows::{Row, refused};
use super::stage::Stage;

pub(super) const ROWS: [Row; 4] = [
    refused("renamed copy", "the subject is the cgroup, whatever the file is called"),
    refused("symbolic link", "as above"),
    refused("memfd", "a program without a file; as above"),
    refused("static program", "names are read from the socket, not from a library"),
];

#[test]
fn identity_of_the_program() {
    Stage::new("identity", "").unwrap().check(&ROWS);
}
