//! The host's user database comes in; names of user ids go out.

use std::collections::HashMap;
use std::fs;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::SystemTime;

/// Bytes read of the user database; a hundred thousand users fit.
const BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Names of the host's users, read again when the file has changed. `getpwnam` is not used: it would load NSS
/// modules into the agent, and a statically linked agent has none.
#[derive(Debug)]
pub(super) struct Users {
    path: PathBuf,
    /// Modification time and size of what was read.
    version: Option<(SystemTime, u64)>,
    names: HashMap<u32, String>,
}

impl Users {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, version: None, names: HashMap::new() }
    }

    /// Name of a user; `None` where the database has none.
    pub(super) fn name(&mut self, uid: u32) -> Option<String> {
        self.refresh();
        self.names.get(&uid).cloned()
    }

    fn refresh(&mut self) {
        let version = fs::metadata(&self.path)
            .ok()
            .and_then(|file| Some((file.modified().ok()?, file.len())));
        if version == self.version {
            return;
        }
        let mut text = Vec::new();
        let read =
            File::open(&self.path).and_then(|file| file.take(BYTES_MAX).read_to_end(&mut text));
        if read.is_ok() {
            self.names = parse(&String::from_utf8_lossy(&text));
            self.version = version;
        }
    }
}

/// Reads `name:password:uid:…` lines; of several names for one id the first wins, as in `getpwuid`.
fn parse(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        let (Some(name), _, Some(uid)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if let (false, Ok(uid)) = (name.is_empty(), uid.parse()) {
            names.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_name_of_an_id_wins_and_broken_lines_are_passed_over() {
        let names = parse(
            "root:x:0:0::/root:/bin/sh\n\n# note\ntoor:x:0:\nana:x:1000:1000\nbad:x:y\n:x:5\nshort:x\n",
        );
        assert_eq!(names.len(), 2);
        assert_eq!(names[&0], "root");
        assert_eq!(names[&1000], "ana");
    }

    #[test]
    fn changed_database_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwd");
        let mut users = Users::new(path.clone());
        assert_eq!(users.name(7), None);
        fs::write(&path, "ana:x:7:7\n").unwrap();
        assert_eq!(users.name(7).as_deref(), Some("ana"));
        fs::write(&path, "ana:x:7:7\nbert:x:8:8\n").unwrap();
        assert_eq!(users.name(8).as_deref(), Some("bert"));
    }
}
