//! What outlives an agent comes in; it is opened, or, where it is damaged, set aside and begun anew: the machine is watched.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context;

use crate::config::Config;
use crate::probes::learned::Learned;
use crate::report::Metrics;
use crate::store;
use crate::store::Store;

use super::clock::Clock;
use super::status::Status;

/// Name of the memory of programs in the state folder.
const MEMORY: &str = "learned.json";

/// Opens the inventory of the state folder; none where a damaged one cannot be set aside.
pub fn open_inventory(config: &Config, metrics: &Metrics) -> anyhow::Result<Option<Store>> {
    inventory(&config.files.state, metrics, &mark())
}

/// Opens the memory of programs in the state folder; one that is not kept where a damaged one cannot be set aside.
pub(super) fn open_memory(state: &Path, status: &Status) -> anyhow::Result<Learned> {
    memory(state, status, &mark())
}

/// What the names of files end in that were set aside now.
fn mark() -> String {
    format!(".broken-{}", Clock::of_machine().now().strftime("%Y%m%dT%H%M%SZ"))
}

fn inventory(state: &Path, metrics: &Metrics, mark: &str) -> anyhow::Result<Option<Store>> {
    let damaged = match Store::open(state) {
        Err(damaged @ store::Error::Damaged { .. }) => super::chain(&damaged),
        // One that is locked, or may not be opened, is not broken: it stays where it is.
        opened => return Ok(Some(opened?)),
    };
    metrics.set_stage_event("store", "damaged", 1);
    match Store::set_aside(state, mark) {
        Ok(aside) => {
            let aside = aside.display();
            tracing::error!(damaged, %aside, "the inventory is set aside, and a new one begun");
            Ok(Some(Store::open(state)?))
        }
        Err(error) => {
            tracing::error!(damaged, %error, "the inventory cannot be set aside, and none is kept");
            metrics.set_stage_event("store", "not_kept", 1);
            Ok(None)
        }
    }
}

fn memory(state: &Path, status: &Status, mark: &str) -> anyhow::Result<Learned> {
    let path = state.join(MEMORY);
    let reading = || format!("reading the learnt programs {}", path.display());
    let damaged = match Learned::open(&path) {
        Err(damaged) if damaged.kind() == io::ErrorKind::InvalidData => damaged,
        opened => return opened.with_context(reading),
    };
    status.memory_damaged();
    let aside = state.join(format!("{MEMORY}{mark}"));
    match fs::rename(&path, &aside) {
        Ok(()) => {
            let aside = aside.display();
            tracing::error!(%damaged, %aside, "the memory of programs is set aside, and begun anew");
            Learned::open(&path).with_context(reading)
        }
        Err(error) => {
            tracing::error!(%damaged, %error, "the memory of programs cannot be set aside, and is not kept");
            Ok(Learned::default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &str = ".broken-1";
    /// Leads into a folder that is not there.
    const NOWHERE: &str = ".broken/1";

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    fn damaged(status: &Status) -> u64 {
        let counters = status.counters();
        counters.into_iter().find(|(name, _)| *name == "memory_damaged").unwrap().1
    }

    #[test]
    fn damaged_inventory_is_set_aside_once_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new(10).unwrap();
        fs::write(folder.path().join(store::FILE_NAME), [b'x'; 4096]).unwrap();
        let opened = inventory(folder.path(), &metrics, MARK).unwrap().unwrap();
        assert!(opened.entries(0).unwrap().is_empty());
        drop(opened);
        assert_eq!(metrics.counted_by("store"), [("damaged", 1)]);
        let aside = folder.path().join("inventory.db.broken-1");
        assert_eq!(fs::read(&aside).unwrap(), [b'x'; 4096]);
        assert!(inventory(folder.path(), &metrics, ".broken-2").unwrap().is_some());
        assert!(!folder.path().join("inventory.db.broken-2").exists());
    }

    #[test]
    fn inventory_that_cannot_be_set_aside_is_done_without() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new(10).unwrap();
        fs::write(folder.path().join(store::FILE_NAME), [b'x'; 4096]).unwrap();
        assert!(inventory(folder.path(), &metrics, NOWHERE).unwrap().is_none());
        let mut counted = metrics.counted_by("store");
        counted.sort_unstable();
        assert_eq!(counted, [("damaged", 1), ("not_kept", 1)]);
        assert_eq!(names(folder.path()), [store::FILE_NAME]);
    }

    #[test]
    fn what_cannot_be_opened_is_no_damage_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new(10).unwrap();
        for name in [store::FILE_NAME, MEMORY] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let error = format!("{:#}", inventory(folder.path(), &metrics, MARK).unwrap_err());
        assert!(error.contains("/inventory.db"), "{error}");
        let status = Status::default();
        let error = format!("{:#}", memory(folder.path(), &status, MARK).unwrap_err());
        assert!(error.contains("/learned.json"), "{error}");
        assert_eq!((metrics.counted_by("store").len(), damaged(&status)), (0, 0));
        assert_eq!(names(folder.path()), [store::FILE_NAME, MEMORY]);
    }

    #[test]
    fn damaged_memory_is_set_aside_and_told() {
        for broken in [b"[{".as_slice(), b"\xff\xfe[]"] {
            let folder = tempfile::tempdir().unwrap();
            let status = Status::default();
            fs::write(folder.path().join(MEMORY), broken).unwrap();
            let learned = memory(folder.path(), &status, MARK).unwrap();
            assert_eq!(learned.commands().count(), 0);
            assert_eq!(damaged(&status), 1);
            assert_eq!(fs::read(folder.path().join("learned.json.broken-1")).unwrap(), broken);
            memory(folder.path(), &status, MARK).unwrap();
            assert_eq!(damaged(&status), 1);
            fs::write(folder.path().join(MEMORY), broken).unwrap();
            memory(folder.path(), &status, NOWHERE).unwrap();
            assert_eq!(damaged(&status), 2);
        }
    }
}
