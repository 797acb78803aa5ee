//! Folders and a file come in; whether something in them has changed goes out.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

/// Bytes of news that are read at once.
const NEWS_BYTES: usize = 4096;
/// Begin of what Kubernetes swaps when a mounted `ConfigMap` changes: the link that its files lead through.
const SWAPPED: &[u8] = b"..";

/// News of the kernel about folders.
pub(super) struct News {
    descriptor: OwnedFd,
    /// The one file that matters in a folder, by the folder's watch; in others all do.
    only: HashMap<i32, Vec<u8>>,
}

impl News {
    /// Asks for news about a folder: its files, and links in it, as Kubernetes and `tollgate policy apply` change them.
    pub(super) fn about(folder: Option<&Path>, file: Option<&Path>) -> rustix::io::Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let descriptor = inotify::init(flags)?;
        let what = inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::CLOSE_WRITE
            | inotify::WatchFlags::DELETE;
        let mut only = HashMap::new();
        // A folder is one watch, however often it is asked for: the file is asked for first, and the folder as a whole wins.
        if let Some((place, name)) = file.and_then(|file| file.parent().zip(file.file_name())) {
            let place = if place.as_os_str().is_empty() { Path::new(".") } else { place };
            let watch = inotify::add_watch(&descriptor, place, what)?;
            only.insert(watch, name.as_encoded_bytes().to_vec());
        }
        if let Some(folder) = folder {
            let watch = inotify::add_watch(&descriptor, folder, what)?;
            only.remove(&watch);
        }
        Ok(Self { descriptor, only })
    }

    /// Waits for news; says whether there were any.
    pub(super) fn heard(&self, limit: Duration) -> bool {
        let mut descriptors = [PollFd::new(&self.descriptor, PollFlags::IN)];
        let limit = Timespec::try_from(limit).ok();
        if !poll(&mut descriptors, limit.as_ref()).is_ok_and(|ready| ready > 0) {
            return false;
        }
        let mut room = [MaybeUninit::uninit(); NEWS_BYTES];
        let mut reader = inotify::Reader::new(&self.descriptor, &mut room);
        let mut matters = false;
        while let Ok(event) = reader.next() {
            let name = event.file_name().map(std::ffi::CStr::to_bytes).unwrap_or_default();
            // News that were lost may have been about anything.
            let lost = event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW);
            let is_of = |only: &Vec<u8>| only == name || name.starts_with(SWAPPED);
            matters |= lost || self.only.get(&event.wd()).is_none_or(is_of);
        }
        matters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn all_of_a_folder_matters_and_one_file_of_another() {
        let (policies, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let rows = others.path().join("providers.toml");
        let news = News::about(Some(policies.path()), Some(&rows)).unwrap();
        fs::write(others.path().join("unrelated"), "x").unwrap();
        assert!(!news.heard(SOON));
        fs::write(&rows, "x").unwrap();
        assert!(news.heard(SOON));
        fs::write(policies.path().join("any.yaml"), "x").unwrap();
        assert!(news.heard(SOON));
        fs::write(others.path().join("..data"), "x").unwrap();
        assert!(news.heard(SOON));
        assert!(!news.heard(Duration::ZERO));

        let both = News::about(Some(policies.path()), Some(&policies.path().join("rows"))).unwrap();
        fs::write(policies.path().join("other.yaml"), "x").unwrap();
        assert!(both.heard(SOON));
    }
}
