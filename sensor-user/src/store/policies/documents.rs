//! Paths of files and folders come in; the policy documents in them, and the rows beside them, go out.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use crate::policy::Source;
use crate::store::policies::Error;

/// Files in one folder of policies.
const FILES_MAX: usize = 4096;
/// Bytes read of one file: more than the reader of documents takes, so that it refuses what is longer.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024 + 1;
/// What the name of a file of documents ends with.
const ENDINGS: [&str; 2] = [".yaml", ".yml"];
/// What the name of a file of test rows ends with.
const TEST_ENDING: &str = ".test.yaml";

/// Reads the documents of files, and of the files of folders, in the order of their names.
pub fn documents(paths: &[PathBuf]) -> Result<Vec<Source>, Error> {
    files(paths)?.iter().filter(|file| !is_test(file)).map(|file| read(file)).collect()
}

/// Files of documents whose rows are to be run, and rows that no file of documents stands beside. Rows stand for the
/// documents beside them, so that they can be named themselves.
pub fn tested(paths: &[PathBuf]) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Error> {
    let (mut found, mut alone, mut known) = (Vec::new(), Vec::new(), HashSet::new());
    for file in files(paths)? {
        let documents = if is_test(&file) { documents_beside(&file) } else { Some(file.clone()) };
        match documents {
            Some(documents) if known.insert(documents.clone()) => found.push(documents),
            Some(_) => {}
            None => alone.push(file),
        }
    }
    Ok((found, alone))
}

/// Reads the rows beside a file of documents, where there are any.
pub fn tests_of(file: &Path) -> Result<Option<Source>, Error> {
    let tests = file.with_extension("test.yaml");
    if tests.exists() { read(&tests).map(Some) } else { Ok(None) }
}

/// The files themselves, and those of the folders.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(inside(path)?);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

/// The file of documents that rows are of, where it is there.
fn documents_beside(rows: &Path) -> Option<PathBuf> {
    let name = rows.file_name()?.to_str()?.strip_suffix(TEST_ENDING)?;
    let beside = ENDINGS.map(|ending| rows.with_file_name(format!("{name}{ending}")));
    beside.into_iter().find(|file| file.is_file())
}

/// The files of a folder that hold documents or rows; hidden ones, as Kubernetes keeps its own, are left out.
fn inside(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let unread = |source: io::Error| Error::Read { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unread)? {
        let name = entry.map_err(unread)?.file_name();
        let text = name.to_string_lossy();
        if text.starts_with('.') || !ENDINGS.iter().any(|ending| text.ends_with(ending)) {
            continue;
        }
        if files.len() >= FILES_MAX {
            return Err(Error::Many { path: folder.to_owned(), max: FILES_MAX });
        }
        files.push(folder.join(&name));
    }
    files.sort();
    Ok(files)
}

fn is_test(file: &Path) -> bool {
    file.to_string_lossy().ends_with(TEST_ENDING)
}

fn read(file: &Path) -> Result<Source, Error> {
    let unread = |source: io::Error| Error::Read { path: file.to_owned(), source };
    let mut bytes = Vec::new();
    fs::File::open(file)
        .map_err(unread)?
        .take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(unread)?;
    let text = String::from_utf8(bytes)
        .map_err(|error| unread(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    Ok(Source { file: file.display().to_string(), text })
}
