//! Checked documents come in; versions of them in a folder, of which one is current, go out.
//!
//! ```text
//! FOLDER/versions/1/ … versions/7/    one folder a version, never changed once it has its name
//! FOLDER/versions/7/.before           the number of the version that was in force before it
//! FOLDER/current -> versions/7        changed by one rename, so that a reader sees one version whole
//! ```

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use jiff::Timestamp;

use crate::policy::Source;
use crate::store::policies::Error;

/// Versions kept; the oldest goes when there is one more.
const VERSIONS_MAX: usize = 50;
/// The link to the version in force.
const CURRENT: &str = "current";
/// The file that says what a version came after; hidden, so that nobody takes it for documents.
const BEFORE: &str = ".before";

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
    /// When it was made, as its folder says.
    pub made: Option<Timestamp>,
    /// The version that was in force before it, where one was.
    pub before: Option<u64>,
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

    /// Makes others who would change the folder wait until what is handed out is dropped: who joins documents to those in
    /// force would else drop what came into force meanwhile. The folder itself is locked, so that nothing in it changes.
    pub fn lock(&self) -> Result<fs::File, Error> {
        let failed = |source| Error::Lock { path: self.folder.clone(), source };
        fs::create_dir_all(&self.folder).map_err(failed)?;
        let folder = fs::File::open(&self.folder).map_err(failed)?;
        folder.lock().map_err(failed)?;
        Ok(folder)
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
        let version = |number: u64| {
            let place = folder.join(number.to_string());
            let is_current = current == Some(number);
            Version { number, is_current, made: made(&place), before: before(&place) }
        };
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
        if let Some(current) = versions.iter().find(|version| version.is_current) {
            let path = draft.join(BEFORE);
            fs::write(&path, current.number.to_string())
                .map_err(|source| unwritten(&path, source))?;
        }
        let path = folder.join(number.to_string());
        fs::rename(&draft, &path).map_err(|source| unwritten(&path, source))?;
        self.put_into_force(number)?;
        let over = versions.len().saturating_add(1).saturating_sub(VERSIONS_MAX);
        for old in versions.iter().filter(|version| !version.is_current).take(over) {
            let path = folder.join(old.number.to_string());
            fs::remove_dir_all(&path).map_err(|source| unwritten(&path, source))?;
        }
        Ok(number)
    }

    /// A kept version and the place of its documents: the one of that number, else the one that was in force before the
    /// current. The next lower number may be one that was gone back from.
    pub fn earlier(&self, to: Option<u64>) -> Result<(u64, PathBuf), Error> {
        let versions = self.versions()?;
        let before = || {
            versions.iter().find(|version| version.is_current).and_then(|current| current.before)
        };
        let number = to.or_else(before).ok_or(Error::NoEarlier)?;
        if !versions.iter().any(|version| version.number == number) {
            return Err(Error::NoVersion { number });
        }
        Ok((number, self.folder.join("versions").join(number.to_string())))
    }

    /// Puts a kept version into force.
    pub fn put_into_force(&self, number: u64) -> Result<(), Error> {
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

/// When a version was made: nothing comes into its folder later.
fn made(version: &Path) -> Option<Timestamp> {
    let modified = fs::metadata(version).ok()?.modified().ok()?;
    let seconds = modified.duration_since(UNIX_EPOCH).ok()?.as_secs();
    Timestamp::from_second(i64::try_from(seconds).ok()?).ok()
}

fn before(version: &Path) -> Option<u64> {
    fs::read_to_string(version.join(BEFORE)).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::policies::documents;

    fn source(text: &str) -> Source {
        Source { file: "a.yaml".to_owned(), text: text.to_owned() }
    }

    /// Goes back as `tollgate policy rollback` does.
    fn back(history: &History, to: Option<u64>) -> Result<u64, Error> {
        let (number, _) = history.earlier(to)?;
        history.put_into_force(number)?;
        Ok(number)
    }

    #[test]
    fn version_is_applied_whole_and_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::new(folder.path());
        assert_eq!(history.versions().unwrap(), []);
        assert!(matches!(back(&history, None), Err(Error::NoEarlier)));
        for (number, text) in [(1, "one"), (2, "two"), (3, "three")] {
            assert_eq!(history.apply(&[source(text)]).unwrap(), number);
        }
        let read = || documents(&[History::in_force(folder.path())]).unwrap().remove(0).text;
        assert_eq!(read(), "three");
        assert_eq!(back(&history, None).unwrap(), 2);
        assert_eq!(read(), "two");
        assert_eq!(back(&history, Some(1)).unwrap(), 1);
        assert!(matches!(back(&history, Some(9)), Err(Error::NoVersion { number: 9 })));
        assert!(matches!(back(&history, None), Err(Error::NoEarlier)));
        assert_eq!(read(), "one");
        let versions = history.versions().unwrap();
        let known: Vec<_> = versions.iter().map(|one| (one.is_current, one.before)).collect();
        assert_eq!(known, [(true, None), (false, Some(1)), (false, Some(2))]);
        assert!(versions.iter().all(|one| one.made.is_some()), "{versions:?}");
    }

    #[test]
    fn version_that_was_gone_back_from_is_not_gone_back_to() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::new(folder.path());
        for text in ["one", "two", "bad"] {
            history.apply(&[source(text)]).unwrap();
        }
        assert_eq!(back(&history, None).unwrap(), 2);
        assert_eq!(history.apply(&[source("four")]).unwrap(), 4);
        assert_eq!(back(&history, None).unwrap(), 2);
        assert_eq!(back(&history, None).unwrap(), 1);
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
