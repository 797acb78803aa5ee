//! Checked documents come in; versions of them in a folder, of which one is current, go out.
//!
//! ```text
//! FOLDER/versions/1/ … versions/7/    one folder a version, never changed once it has its name
//! FOLDER/current -> versions/7        changed by one rename, so that a reader sees one version whole
//! ```

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;

use crate::policy::Source;
use crate::store::policies::Error;

/// Versions kept; the oldest goes when there is one more.
const VERSIONS_MAX: usize = 50;
/// The link to the version in force.
const CURRENT: &str = "current";

/// A folder with versions of policies.
#[derive(Clone, Debug)]
pub struct History {
    folder: PathBuf,
}

/// One version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its number; a later one is greater.
    pub number: u64,
    /// Whether it is in force.
    pub is_current: bool,
}

impl History {
    /// Takes a folder, which need not be there yet.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Where the documents in force are: those of the current version, else those of the folder itself. A link that leads
    /// nowhere is handed out too: reading it says so, where the folder itself would look as if nothing were in force.
    pub fn in_force(folder: &Path) -> PathBuf {
        let current = folder.join(CURRENT);
        let is_place = |found: fs::Metadata| found.is_symlink() || found.is_dir();
        if fs::symlink_metadata(&current).is_ok_and(is_place) { current } else { folder.to_owned() }
    }

    /// The versions kept, the oldest first.
    pub fn versions(&self) -> Result<Vec<Version>, Error> {
        let folder = self.folder.join("versions");
        let current =
            fs::read_link(self.folder.join(CURRENT)).ok().and_then(|target| number(&target));
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(Error::Read { path: folder, source }),
        };
        let mut numbers: Vec<u64> =
            entries.flatten().filter_map(|entry| number(&entry.path())).collect();
        numbers.sort_unstable();
        let version = |number| Version { number, is_current: current == Some(number) };
        Ok(numbers.into_iter().map(version).collect())
    }

    /// Keeps documents as a new version and puts it into force. Names of files must differ.
    pub fn apply(&self, sources: &[Source]) -> Result<u64, Error> {
        let versions = self.versions()?;
        let number = versions.last().map_or(1, |last| last.number.saturating_add(1));
        let folder = self.folder.join("versions");
        let draft = folder.join(format!(".draft-{number}"));
        let unwritten = |path: &Path, source| Error::Write { path: path.to_owned(), source };
        if draft.exists() {
            fs::remove_dir_all(&draft).map_err(|source| unwritten(&draft, source))?;
        }
        fs::create_dir_all(&draft).map_err(|source| unwritten(&draft, source))?;
        for (at, source) in sources.iter().enumerate() {
            let name = Path::new(&source.file).file_name().unwrap_or_default().to_string_lossy();
            let path = draft.join(format!("{at:04}-{name}"));
            let mut file =
                fs::File::create_new(&path).map_err(|source| unwritten(&path, source))?;
            file.write_all(source.text.as_bytes())
                .and_then(|()| file.sync_all())
                .map_err(|source| unwritten(&path, source))?;
        }
        let path = folder.join(number.to_string());
        fs::rename(&draft, &path).map_err(|source| unwritten(&path, source))?;
        self.point(number)?;
        let over = versions.len().saturating_add(1).saturating_sub(VERSIONS_MAX);
        for old in versions.iter().filter(|version| !version.is_current).take(over) {
            let path = folder.join(old.number.to_string());
            fs::remove_dir_all(&path).map_err(|source| unwritten(&path, source))?;
        }
        Ok(number)
    }

    /// Puts a kept version into force: the one of that number, else the one before the current.
    pub fn rollback(&self, to: Option<u64>) -> Result<u64, Error> {
        let versions = self.versions()?;
        let current =
            versions.iter().find(|version| version.is_current).map(|version| version.number);
        let number = match to {
            Some(number) => {
                versions
                    .iter()
                    .find(|version| version.number == number)
                    .ok_or(Error::NoVersion { number })?
                    .number
            }
            None => {
                versions
                    .iter()
                    .rev()
                    .find(|version| current.is_some_and(|current| version.number < current))
                    .ok_or(Error::NoEarlier)?
                    .number
            }
        };
        self.point(number)?;
        Ok(number)
    }

    fn point(&self, number: u64) -> Result<(), Error> {
        let (draft, current) = (self.folder.join(".current"), self.folder.join(CURRENT));
        let unwritten = |source| Error::Write { path: current.clone(), source };
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(unwritten(error));
            }
            _ => {}
        }
        symlink(Path::new("versions").join(number.to_string()), &draft).map_err(unwritten)?;
        fs::rename(&draft, &current).map_err(unwritten)
    }
}

fn number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::policies::documents;

    fn source(text: &str) -> Source {
        Source { file: "a.yaml".to_owned(), text: text.to_owned() }
    }

    #[test]
    fn version_is_applied_whole_and_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::new(folder.path());
        assert_eq!(history.versions().unwrap(), []);
        assert!(matches!(history.rollback(None), Err(Error::NoEarlier)));
        for (number, text) in [(1, "one"), (2, "two"), (3, "three")] {
            assert_eq!(history.apply(&[source(text)]).unwrap(), number);
        }
        let read = || documents(&[History::in_force(folder.path())]).unwrap().remove(0).text;
        assert_eq!(read(), "three");
        assert_eq!(history.rollback(None).unwrap(), 2);
        assert_eq!(read(), "two");
        assert_eq!(history.rollback(Some(1)).unwrap(), 1);
        assert!(matches!(history.rollback(Some(9)), Err(Error::NoVersion { number: 9 })));
        assert_eq!(read(), "one");
        let current: Vec<_> =
            history.versions().unwrap().iter().map(|one| one.is_current).collect();
        assert_eq!(current, [true, false, false]);
    }

    #[test]
    fn version_in_force_that_is_not_there_is_an_error_and_not_an_empty_folder() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::new(folder.path());
        assert_eq!(history.apply(&[source("one")]).unwrap(), 1);
        fs::remove_dir_all(folder.path().join("versions/1")).unwrap();
        let read = documents(&[History::in_force(folder.path())]);
        assert!(matches!(read, Err(Error::Read { .. })), "{read:?}");
    }

    #[test]
    fn only_so_many_versions_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::new(folder.path());
        for number in 1..=53 {
            assert_eq!(history.apply(&[source("x")]).unwrap(), number);
        }
        let kept = history.versions().unwrap();
        assert_eq!((kept.len(), kept[0].number), (VERSIONS_MAX, 4));
    }
}
