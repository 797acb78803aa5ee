//! Folders in which podman keeps its containers come in; what its files say of a container goes into the index.
//!
//! Podman has no service that could be asked: each command works on files. They are read when a container is asked about,
//! and now and then to see whether there are any. CRI-O keeps its containers in the same files; those are not podman's.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::workload::About;

use super::Error;
use super::LIST_BYTES_MAX;
use super::Standing;
use super::grpc::in_time;
use super::index::Wanted;
use super::index::key_of;
use super::pace::QUESTION_PAUSES;
use super::session::Place;
use super::told;

/// Where a user without root keeps containers, below the home.
const OF_USER: &str = ".local/share/containers/storage";
/// Folders of storage drivers that hold the list of containers.
const DRIVERS: [&str; 4] = ["overlay", "vfs", "btrfs", "zfs"];
/// Files with containers; the second has those that go with the machine's uptime.
const LISTS: [&str; 2] = ["containers.json", "volatile-containers.json"];
/// Bytes read of the user database.
const USERS_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// One container in podman's list.
#[derive(Debug, Deserialize)]
struct Container {
    id: String,
    #[serde(default)]
    names: Vec<String>,
    /// JSON within JSON.
    #[serde(default)]
    metadata: String,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default, rename = "image-name")]
    image: String,
    /// CRI-O's alone, as the next.
    #[serde(default, rename = "pod-name")]
    pod_name: Option<IgnoredAny>,
    #[serde(default, rename = "pod-id")]
    pod_id: Option<IgnoredAny>,
}

/// Answers what is asked about containers, for ever, and looks whether podman has come, `every` so long at the latest.
pub(super) async fn follow(
    (folders, users): (Vec<PathBuf>, PathBuf),
    (source, index): Place,
    every: Duration,
) {
    let mut news = index.news();
    // Lists in homes are looked for only with the containers of their users: who had one once is there.
    let mut was_there = false;
    let mut pause = QUESTION_PAUSES[0];
    loop {
        let wanted = index.wanted();
        let is_asked = !wanted.is_empty();
        let (found, outcome) = looked(folders.clone(), users.clone(), wanted).await;
        was_there |= outcome.as_ref().is_ok_and(|is_there| *is_there);
        index.stands(source, standing(outcome, was_there));
        for (id, about) in found {
            index.learn(source, &id, (about, None));
        }
        if is_asked {
            sleep(pause).await;
            pause = pause.saturating_mul(2).min(QUESTION_PAUSES[1]);
            continue;
        }
        pause = QUESTION_PAUSES[0];
        // An index that nobody asks any more is gone.
        if let Ok(Err(_gone)) = timeout(every, news.changed()).await {
            return;
        }
    }
}

fn standing(outcome: Result<bool, Error>, was_there: bool) -> Standing {
    match outcome {
        Ok(_) if was_there => Standing::Connected { who: "podman".to_owned(), has_events: false },
        Ok(_) => Standing::Absent,
        Err(error) => Standing::Failed(told(&error)),
    }
}

/// Looks on a thread of its own: a home may lie on a file system that hangs; then the thread hangs, and nobody waits for it.
async fn looked(folders: Vec<PathBuf>, users: PathBuf, wanted: Vec<Wanted>) -> Found {
    let looked = tokio::task::spawn_blocking(move || look(&folders, &users, &wanted));
    match in_time("podman's files", looked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(ended)) => (Vec::new(), Err(Error::Broken(ended.to_string()))),
        Err(late) => (Vec::new(), Err(late)),
    }
}

/// What was found of containers, by the key of the index, and whether podman keeps any list, if everything could be read.
type Found = (Vec<(String, About)>, Result<bool, Error>);

/// Looks for containers. A user's own files are believed about that user's own containers alone.
fn look(folders: &[PathBuf], users: &Path, wanted: &[Wanted]) -> Found {
    let mut found = Vec::new();
    let (mut is_there, mut failed) = (false, None);
    let homes = homes(users, wanted);
    let of_root = folders.iter().map(|folder| (None, folder.clone()));
    let of_users = homes.into_iter().map(|(uid, home)| (Some(uid), home.join(OF_USER)));
    for (owner, folder) in of_root.chain(of_users) {
        let asked = |id: &str| wanted.iter().any(|one| one.id == id && one.owner == owner);
        let keyed = |(id, about): (String, About)| (key_of(&id, owner), about);
        for file in lists(&folder) {
            match read(&file) {
                Ok(containers) => {
                    let is_empty = containers.is_empty();
                    let own: Vec<_> = containers.into_iter().filter_map(Container::about).collect();
                    is_there |= is_empty || !own.is_empty();
                    found.extend(own.into_iter().filter(|(id, _)| asked(id)).map(keyed));
                }
                // A user who spoils the own list hides the own containers' names, and nothing else.
                Err(_) if owner.is_some() => {}
                Err(error) => failed = Some(error),
            }
        }
    }
    (found, failed.map_or(Ok(is_there), Err))
}

fn lists(folder: &Path) -> impl Iterator<Item = PathBuf> {
    DRIVERS.iter().flat_map(move |driver| {
        let folder = folder.join(format!("{driver}-containers"));
        LISTS.map(|list| folder.join(list)).into_iter().filter(|list| list.exists())
    })
}

/// Reads one list. The file may be a user's: a pipe is not waited for, and a link out of the folder not followed.
fn read(path: &Path) -> Result<Vec<Container>, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(Error::Broken(format!("{} is no file", path.display())));
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(LIST_BYTES_MAX).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    parse(&bytes).map_err(|error| Error::Broken(format!("{}: {error}", path.display())))
}

fn parse(bytes: &[u8]) -> Result<Vec<Container>, serde_json::Error> {
    serde_json::from_slice(bytes)
}

/// What a list says.
pub(super) fn said(bytes: &[u8]) -> Vec<(String, About)> {
    parse(bytes).unwrap_or_default().into_iter().filter_map(Container::about).collect()
}

/// Homes of the users whose containers are asked about.
fn homes(users: &Path, wanted: &[Wanted]) -> Vec<(u32, PathBuf)> {
    if wanted.iter().all(|one| one.owner.is_none()) {
        return Vec::new();
    }
    let mut text = String::new();
    let read =
        File::open(users).and_then(|file| file.take(USERS_BYTES_MAX).read_to_string(&mut text));
    if read.is_err() {
        return Vec::new();
    }
    let home = |line: &str| {
        let mut fields = line.split(':').skip(2);
        let uid: u32 = fields.next()?.parse().ok()?;
        let home = fields.nth(2).filter(|home| home.starts_with('/'))?;
        wanted.iter().any(|one| one.owner == Some(uid)).then(|| (uid, PathBuf::from(home)))
    };
    text.lines().filter_map(home).collect()
}

impl Container {
    /// What is said of it; `None` where it is CRI-O's, which alone knows the pod.
    fn about(self) -> Option<(String, About)> {
        let metadata: Metadata = serde_json::from_str(&self.metadata).unwrap_or_default();
        if metadata.pod_name.is_some() || metadata.pod_id.is_some() {
            return None;
        }
        let name = self.names.first().unwrap_or(&metadata.name);
        let about = About::of("podman").named(name).of_image(&metadata.image);
        // Its labels stand in a database of podman's own.
        Some((self.id, about))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::Arc;
    use std::time::Instant;

    use crate::workload::runtime::Index;
    use crate::workload::runtime::Source;

    /// A list as podman 4.3 writes it.
    const LIST: &str = r#"[{"id":"ID","names":["web"],"image":"9a8b","layer":"77",
        "metadata":"{\"image-name\":\"docker.io/library/nginx:1.27\",\"image-id\":\"9a8b\",\"name\":\"web\",\"created-at\":1}",
        "created":"2026-01-01T00:00:00Z","flags":{"MountLabel":""}}]"#;

    /// A list as CRI-O writes it into the same store: a pod's pause container, and one of its containers.
    const OF_CRI_O: &str = r#"[{"id":"P","names":["k8s_POD_web-7f9c_shop_7f1d_0","P"],"image":"1b2c",
        "metadata":"{\"pod-name\":\"web-7f9c\",\"pod-id\":\"P\",\"image-name\":\"registry.k8s.io/pause:3.9\",\"name\":\"k8s_POD_web-7f9c_shop_7f1d_0\",\"uid\":\"7f1d\",\"namespace\":\"shop\",\"created-at\":1,\"pod\":true}"},
        {"id":"ID","names":["k8s_app_web-7f9c_shop_7f1d_0"],"image":"9a8b",
        "metadata":"{\"pod-id\":\"P\",\"image-name\":\"docker.io/library/nginx:1.27\",\"image-id\":\"9a8b\",\"name\":\"k8s_app_web-7f9c_shop_7f1d_0\",\"metadata-name\":\"app\",\"created-at\":1}"}]"#;

    fn put(folder: &Path, id: &str) {
        put_list(folder, "containers.json", &LIST.replace("ID", id));
    }

    fn put_list(folder: &Path, name: &str, list: &str) {
        let place = folder.join("overlay-containers");
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join(name), list).unwrap();
    }

    fn wanted(id: &str, owner: Option<u32>) -> Wanted {
        Wanted { id: id.to_owned(), owner }
    }

    #[test]
    fn container_is_found_with_its_name_and_image() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "aa");
        let folders = [folder.path().to_owned()];
        let (found, outcome) = look(&folders, Path::new("/none"), &[wanted("aa", None)]);
        assert!(outcome.unwrap());
        let [(id, about)] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((id.as_str(), about.name.as_deref()), ("aa", Some("web")));
        assert_eq!(about.image.as_deref(), Some("docker.io/library/nginx:1.27"));
        assert_eq!((&about.labels, &about.pod), (&None, &None));
        let (found, _) = look(&folders, Path::new("/none"), &[wanted("ab", None)]);
        assert!(found.is_empty());
    }

    #[test]
    fn containers_of_cri_o_in_the_same_store_are_not_podmans() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().to_owned()];
        let all = ["aa", "bb", "P"].map(|id| wanted(id, None));
        let looked = || {
            let (found, outcome) = look(&folders, Path::new("/none"), &all);
            let ids: Vec<_> = found.into_iter().map(|(id, _)| id).collect();
            (ids, outcome.unwrap())
        };
        assert_eq!(looked(), (Vec::new(), false));
        put_list(folder.path(), "volatile-containers.json", &OF_CRI_O.replace("ID", "bb"));
        assert_eq!(looked(), (Vec::new(), false));
        assert!(said(OF_CRI_O.as_bytes()).is_empty());
        // Podman beside it.
        put(folder.path(), "aa");
        assert_eq!(looked(), (vec!["aa".to_owned()], true));
        // Its last container is gone.
        put_list(folder.path(), "containers.json", "[]");
        assert_eq!(looked(), (Vec::new(), true));
    }

    #[test]
    fn podman_is_absent_until_it_keeps_a_list_and_is_asked_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let made = || Arc::new(Index::new(10, vec![Source::new("podman", folder.path())]));
        let index = made();
        index.stands(0, Standing::Absent);
        let _cell = index.seen("aa", "/machine.slice/libpod-aa.scope");
        assert!(index.is_asking());
        let index = made();
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let places = (vec![folder.path().to_owned()], PathBuf::from("/none"));
        let every = Duration::from_millis(10);
        tokio.spawn(follow(places, (0, Arc::clone(&index)), every));
        let bound = Instant::now();
        let wait = |is_it: &dyn Fn() -> bool| {
            while !is_it() {
                assert!(bound.elapsed() < Duration::from_mins(1), "{:?}", index.sources());
                std::thread::yield_now();
            }
        };
        wait(&|| index.sources()[0].standing == Standing::Absent);
        put(folder.path(), "aa");
        wait(&|| index.sources()[0].is_connected());
        let cell = index.seen("aa", "/machine.slice/libpod-aa.scope");
        wait(&|| cell.get().is_some());
        tokio.shutdown_background();
    }

    #[test]
    fn files_of_a_user_are_believed_about_that_users_containers_alone() {
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("passwd");
        let home = folder.path().display();
        fs::write(&users, format!("root:x:0:0::/root:/bin/sh\nana:x:1000:1000::{home}:/bin/sh\n"))
            .unwrap();
        put(&folder.path().join(OF_USER), "aa");
        for (owner, is_found) in [(Some(1000), true), (Some(1001), false), (None, false)] {
            let (found, outcome) = look(&[], &users, &[wanted("aa", owner)]);
            assert_eq!(outcome.unwrap(), is_found);
            let ids: Vec<_> = found.iter().map(|(id, _)| id.as_str()).collect();
            assert_eq!(ids, if is_found { vec!["1000/aa"] } else { Vec::new() }, "{owner:?}");
        }
    }

    #[test]
    fn pipe_link_and_nonsense_are_errors_and_nobody_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("containers.json");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert!(read(&path).is_err());
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(matches!(read(&path), Err(Error::Read { .. })));
        fs::remove_file(&path).unwrap();
        for text in ["", "{}", "[{}]", "[{\"id\":1}]", "[{\"id\":\"a\",\"names\":[1]}]"] {
            fs::write(&path, text).unwrap();
            assert!(matches!(read(&path), Err(Error::Broken(_))), "{text}");
        }
        fs::write(&path, r#"[{"id":"a","metadata":"{"}]"#).unwrap();
        let (_, about) = read(&path).unwrap().remove(0).about().unwrap();
        assert_eq!((about.name, about.image), (None, None));
    }
}
