//! Where the key of fingerprints stands comes in; the key goes out, made at first start: all of it or nothing.

use std::fs;
use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;

use crate::config::Files;
use crate::credential;
use crate::credential::FleetKey;

/// Reads the key of fingerprints, or makes one at first start.
pub(super) fn fleet_key(files: &Files) -> anyhow::Result<FleetKey> {
    let own = files.own_fleet_key();
    let configured = &files.fleet_key;
    if !configured.as_os_str().is_empty() && *configured != own {
        return read(configured);
    }
    if is_there(&own)? {
        return read_own(&own);
    }
    // Of two agents that start at once, one makes the key, and the other finds it.
    let folder = fs::File::open(&files.state)
        .and_then(|folder| folder.lock().map(|()| folder))
        .with_context(|| format!("locking the state folder {}", files.state.display()))?;
    if is_there(&own)? { read_own(&own) } else { make(&own, &folder) }
}

/// A link that leads nowhere is there too: the key it was made for is elsewhere, and is not replaced by another one.
fn is_there(path: &Path) -> anyhow::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => {
            Err(error).with_context(|| format!("looking for the fleet key {}", path.display()))
        }
    }
}

fn read(path: &Path) -> anyhow::Result<FleetKey> {
    let reading = || format!("reading the fleet key {}", path.display());
    let text = fs::read_to_string(path).with_context(reading)?;
    FleetKey::parse(&text).with_context(reading)
}

fn read_own(path: &Path) -> anyhow::Result<FleetKey> {
    read(path).map_err(|error| {
        let refused = error.downcast_ref::<credential::Error>();
        if refused != Some(&credential::Error::Empty) {
            return error;
        }
        anyhow::anyhow!(
            "the fleet key {} is empty: delete it, and a new key is made (fingerprints change)",
            path.display()
        )
    })
}

/// Writes beside the file and renames: a full disk or a crash leaves no file that only looks like a key.
fn make(path: &Path, folder: &fs::File) -> anyhow::Result<FleetKey> {
    let mut bytes = [0u8; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .context("asking for random bytes")?;
    let key = FleetKey::new(bytes);
    let draft = path.with_extension("key.new");
    let made = write(&draft, &key)
        .and_then(|()| fs::rename(&draft, path))
        .and_then(|()| folder.sync_all());
    if made.is_err() {
        // Where it was not even begun, there is nothing to remove.
        let _removed = fs::remove_file(&draft);
    }
    made.with_context(|| format!("making the fleet key {}", path.display()))?;
    Ok(key)
}

fn write(path: &Path, key: &FleetKey) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(key.to_text().expose())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;
    use std::thread;

    use super::*;

    const NAME: &str = "fleet.key";

    fn files(state: &Path) -> Files {
        Files { state: state.to_owned(), ..Files::default() }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn key_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let key = fleet_key(&files(folder.path())).unwrap();
        assert!(fleet_key(&files(folder.path())).unwrap() == key);
        assert_eq!(names(folder.path()), [NAME]);
        let mode = fs::metadata(folder.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn agents_that_start_at_once_have_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let starts: Vec<_> = (0..8)
            .map(|_| {
                let files = files(folder.path());
                thread::spawn(move || fleet_key(&files).unwrap())
            })
            .collect();
        let keys: Vec<_> = starts.into_iter().map(|start| start.join().unwrap()).collect();
        assert!(keys.windows(2).all(|pair| pair[0] == pair[1]));
        assert_eq!(names(folder.path()), [NAME]);
    }

    #[test]
    fn link_that_leads_nowhere_is_told_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let target = folder.path().join("gone");
        symlink(&target, &path).unwrap();
        let error = format!("{:#}", fleet_key(&files(folder.path())).unwrap_err());
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert_eq!(fs::read_link(&path).unwrap(), target);
        assert_eq!(names(folder.path()), [NAME]);
    }

    #[test]
    fn full_disk_leaves_no_key_and_the_next_start_makes_one() {
        let folder = tempfile::tempdir().unwrap();
        symlink("/dev/full", folder.path().join("fleet.key.new")).unwrap();
        let error = format!("{:#}", fleet_key(&files(folder.path())).unwrap_err());
        let path = folder.path().join(NAME).display().to_string();
        assert!(error.contains(&path) && error.contains("No space left"), "{error}");
        assert!(names(folder.path()).is_empty());
        fleet_key(&files(folder.path())).unwrap();
        assert_eq!(names(folder.path()), [NAME]);
    }

    #[test]
    fn empty_key_says_where_it_is_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        fs::write(&path, "").unwrap();
        let own = format!("{:#}", fleet_key(&files(folder.path())).unwrap_err());
        let told = "is empty: delete it, and a new key is made (fingerprints change)";
        assert_eq!(own, format!("the fleet key {} {told}", path.display()));
        assert!(fs::read(&path).unwrap().is_empty(), "nobody else deletes a key");
        // One that a fleet shares is not made here.
        let state = files(Path::new("/nowhere"));
        let error = format!("{:#}", fleet_key(&Files { fleet_key: path, ..state }).unwrap_err());
        assert!(error.contains("no key in the file") && !error.contains(told), "{error}");
        let missing = PathBuf::from("/nowhere/key");
        assert!(fleet_key(&Files { fleet_key: missing, ..files(folder.path()) }).is_err());
    }
}
