//! Folders and a file come in; whether something in them has changed goes out.

use std::collections::HashMap;
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::fs::inotify::{ReadFlags, WatchFlags};

/// Bytes of news that are read at once.
const NEWS_BYTES: usize = 4096;
/// Begin of what Kubernetes swaps when a mounted `ConfigMap` changes: the link that its files lead through.
const SWAPPED: &[u8] = b"..";

/// What is asked for about a place: its files, and links in it, as Kubernetes and `tollgate policy apply` change them, and
/// whether it goes away itself.
const WANTED: WatchFlags = WatchFlags::MOVED_TO
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::DELETE_SELF);
/// Says that a place is not the watched one any more.
const GONE: ReadFlags =
    ReadFlags::MOVE_SELF.union(ReadFlags::DELETE_SELF).union(ReadFlags::IGNORED);

/// Device and inode of a place; none where nothing is there.
type Identity = Option<(u64, u64)>;

/// News of the kernel about folders.
pub(super) struct News {
    descriptor: OwnedFd,
    /// The one file that matters in a folder, by the folder's watch; in others all do.
    only: HashMap<i32, Vec<u8>>,
    folder: Option<PathBuf>,
    file: Option<PathBuf>,
    /// The places that are watched. A watch follows what it was set to, wherever that is moved; whether its path leads
    /// elsewhere (a folder that was replaced, a link in it that was swapped) only the path says.
    watched: [Identity; 2],
    /// A watch is gone, and no other could be set yet.
    is_gone: bool,
}

impl News {
    /// Asks for news about a folder and a file; of a place that is not there yet, they begin when it is.
    pub(super) fn about(folder: Option<&Path>, file: Option<&Path>) -> rustix::io::Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let descriptor = inotify::init(flags)?;
        let (folder, file) = (folder.map(Path::to_owned), file.map(Path::to_owned));
        let [is_folder, mut is_place] = places(folder.as_deref(), file.as_deref());
        let mut only = HashMap::new();
        // A folder is one watch, however often it is asked for: the file is asked for first, and the folder as a whole wins.
        if let Some((place, name)) = file.as_deref().and_then(around) {
            match watch(&descriptor, place)? {
                Some(watch) => {
                    only.insert(watch, name.to_vec());
                }
                None => is_place = None,
            }
        }
        let mut watched = [is_folder, is_place];
        if let Some(folder) = &folder {
            match watch(&descriptor, folder)? {
                Some(watch) => {
                    only.remove(&watch);
                }
                None => watched = [None, is_place],
            }
        }
        Ok(Self { descriptor, only, folder, file, watched, is_gone: false })
    }

    /// Waits for news; says whether there were any.
    pub(super) fn heard(&mut self, limit: Duration) -> bool {
        let matters = self.read(limit);
        let places = places(self.folder.as_deref(), self.file.as_deref());
        let is_elsewhere = places != self.watched;
        if !is_elsewhere && !self.is_gone {
            return matters;
        }
        match Self::about(self.folder.as_deref(), self.file.as_deref()) {
            Ok(news) => {
                *self = news;
                true
            }
            Err(error) => {
                if !self.is_gone {
                    tracing::warn!(%error, "a folder was replaced, and its changes are not noticed until it can be watched");
                }
                (self.watched, self.is_gone) = (places, true);
                matters || is_elsewhere
            }
        }
    }

    /// Waits for what the kernel says of the watched places.
    fn read(&mut self, limit: Duration) -> bool {
        let mut descriptors = [PollFd::new(&self.descriptor, PollFlags::IN)];
        let limit = Timespec::try_from(limit).ok();
        if !poll(&mut descriptors, limit.as_ref()).is_ok_and(|ready| ready > 0) {
            return false;
        }
        let mut room = [MaybeUninit::uninit(); NEWS_BYTES];
        let mut reader = inotify::Reader::new(&self.descriptor, &mut room);
        let (mut matters, mut is_gone) = (false, false);
        while let Ok(event) = reader.next() {
            let name = event.file_name().map(std::ffi::CStr::to_bytes).unwrap_or_default();
            is_gone |= event.events().intersects(GONE);
            // News that were lost may have been about anything.
            let lost = event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            let is_of = |only: &Vec<u8>| only == name || name.starts_with(SWAPPED);
            matters |= lost || self.only.get(&event.wd()).is_none_or(is_of);
        }
        self.is_gone |= is_gone;
        matters
    }
}

/// The folder of a file, and the file's name in it.
fn around(file: &Path) -> Option<(&Path, &[u8])> {
    let (place, name) = file.parent().zip(file.file_name())?;
    let place = if place.as_os_str().is_empty() { Path::new(".") } else { place };
    Some((place, name.as_encoded_bytes()))
}

/// Where the paths of the folder, and of the folder of the file, lead now.
fn places(folder: Option<&Path>, file: Option<&Path>) -> [Identity; 2] {
    let identity = |place: &Path| fs::metadata(place).ok().map(|found| (found.dev(), found.ino()));
    [folder.and_then(identity), file.and_then(around).and_then(|(place, _)| identity(place))]
}

/// Sets a watch; none where the place is not there.
fn watch(descriptor: &OwnedFd, place: &Path) -> rustix::io::Result<Option<i32>> {
    match inotify::add_watch(descriptor, place, WANTED) {
        Ok(watch) => Ok(Some(watch)),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn all_of_a_folder_matters_and_one_file_of_another() {
        let (policies, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let rows = others.path().join("providers.toml");
        let mut news = News::about(Some(policies.path()), Some(&rows)).unwrap();
        fs::write(others.path().join("unrelated"), "x").unwrap();
        assert!(!news.heard(SOON));
        fs::write(&rows, "x").unwrap();
        assert!(news.heard(SOON));
        fs::write(policies.path().join("any.yaml"), "x").unwrap();
        assert!(news.heard(SOON));
        fs::write(others.path().join("..data"), "x").unwrap();
        assert!(news.heard(SOON));
        assert!(!news.heard(Duration::ZERO));

        let rows = policies.path().join("rows");
        let mut both = News::about(Some(policies.path()), Some(&rows)).unwrap();
        fs::write(policies.path().join("other.yaml"), "x").unwrap();
        assert!(both.heard(SOON));
    }

    #[test]
    fn file_that_is_moved_away_is_news() {
        let (policies, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(policies.path().join("deny.yaml"), "x").unwrap();
        let mut news = News::about(Some(policies.path()), None).unwrap();
        fs::rename(policies.path().join("deny.yaml"), others.path().join("deny.yaml")).unwrap();
        assert!(news.heard(SOON));
    }

    #[test]
    fn folder_that_is_replaced_or_linked_elsewhere_is_news_and_watched_from_then_on() {
        let root = tempfile::tempdir().unwrap();
        let [folder, old, new, link] =
            ["policies", "old", "new", "link"].map(|name| root.path().join(name));
        fs::create_dir(&folder).unwrap();
        fs::create_dir(&new).unwrap();
        let mut news = News::about(Some(&folder), None).unwrap();
        fs::rename(&folder, &old).unwrap();
        assert!(news.heard(SOON));
        // It is missed once, not at every look.
        assert!(!news.heard(Duration::ZERO));
        fs::rename(&new, &folder).unwrap();
        assert!(news.heard(Duration::ZERO));
        fs::remove_dir(&old).unwrap();
        assert!(!news.heard(Duration::ZERO));
        fs::write(folder.join("any.yaml"), "x").unwrap();
        assert!(news.heard(SOON));

        fs::create_dir(&old).unwrap();
        symlink(&old, &link).unwrap();
        let mut linked = News::about(Some(&link), None).unwrap();
        fs::remove_file(&link).unwrap();
        symlink(&folder, &link).unwrap();
        assert!(linked.heard(Duration::ZERO));
        fs::remove_dir(&old).unwrap();
        assert!(!linked.heard(Duration::ZERO));
        fs::write(folder.join("other.yaml"), "x").unwrap();
        assert!(linked.heard(SOON));
    }

    #[test]
    fn folder_that_is_made_again_is_watched_whatever_its_number_is() {
        let root = tempfile::tempdir().unwrap();
        let (folder, rows) =
            (root.path().join("policies"), root.path().join("rows/providers.toml"));
        fs::create_dir(&folder).unwrap();
        let mut news = News::about(Some(&folder), Some(&rows)).unwrap();
        for _ in 0..3 {
            // File systems give the number of a folder that was removed to the next one.
            fs::remove_dir_all(&folder).unwrap();
            fs::create_dir(&folder).unwrap();
            assert!(news.heard(SOON));
            fs::write(folder.join("any.yaml"), "x").unwrap();
            assert!(news.heard(SOON));
        }
        fs::create_dir(root.path().join("rows")).unwrap();
        assert!(news.heard(Duration::ZERO));
        fs::write(&rows, "x").unwrap();
        assert!(news.heard(SOON));
    }
}
