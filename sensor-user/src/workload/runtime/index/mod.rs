//! Containers that processes run in, and what runtimes say of containers, come in; each container's facts go out, now or later.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use tokio::sync::watch;

use crate::workload::About;
use crate::workload::runtime::Source;
use crate::workload::runtime::Standing;

/// Containers that runtimes are asked about at once; what comes beyond them is counted and asked about later.
const WANTED_MAX: usize = 256;
/// How long runtimes are asked about a container that none of them knows.
const WANTED_FOR: Duration = Duration::from_secs(5);
/// Time after which a container that nobody knew is asked about again, when another process of it is seen.
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// How long a container is remembered after its end, so that its last calls still find it.
const KEEP: Duration = Duration::from_mins(2);

/// What is known of one container, shared by all who ask; empty until a runtime has said it.
pub(in crate::workload) type Cell = Arc<OnceLock<About>>;

/// What runtimes say, by container. One lock, held for a look-up only: who asks never waits for a runtime.
#[derive(Debug)]
pub struct Index {
    inner: Mutex<Inner>,
    /// Wakes those who wait for the first lists.
    listed: Condvar,
    /// Counts the containers that are asked about.
    news: watch::Sender<u64>,
}

/// What the index counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Full lists taken.
    pub lists: u64,
    /// Full lists that failed, or were longer than is read.
    pub lists_failed: u64,
    /// Containers that became known after a process of theirs was seen.
    pub resolved: u64,
    /// Containers that no runtime knew in time.
    pub unresolved: u64,
    /// Containers that were not kept or not asked about because there were too many.
    pub over: u64,
}

/// A container that somebody should say something about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::workload::runtime) struct Wanted {
    pub(in crate::workload::runtime) id: String,
    /// The user under whose session it runs, where its cgroup says so.
    pub(in crate::workload::runtime) owner: Option<u32>,
}

#[derive(Debug, Default)]
struct Inner {
    containers_max: usize,
    /// By [`key_of`].
    entries: HashMap<String, Entry>,
    by_cgroup: HashMap<u64, String>,
    /// Entries that are asked about.
    wanted: usize,
    /// Containers with processes that have become known.
    resolved: HashSet<String>,
    sources: Vec<Source>,
    counted: Metrics,
}

#[derive(Debug, Default)]
struct Entry {
    cell: Cell,
    /// Who says so.
    source: Option<usize>,
    cgroup: Option<u64>,
    gone: Option<Instant>,
    wanted: Option<Want>,
    asked: Option<Instant>,
    /// Whether a process of it was seen.
    is_seen: bool,
}

#[derive(Clone, Copy, Debug)]
struct Want {
    until: Instant,
    owner: Option<u32>,
}

impl Index {
    /// An index of at most so many containers, with the sources that will be asked.
    pub fn new(containers_max: usize, sources: Vec<Source>) -> Self {
        let inner = Inner { containers_max, sources, ..Inner::default() };
        Self { inner: Mutex::new(inner), listed: Condvar::new(), news: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a container in which a process was seen; where nothing is, runtimes are asked.
    pub(in crate::workload) fn seen(&self, id: &str, cgroup: &str) -> Cell {
        let now = Instant::now();
        // A session within a container is none of the host's.
        let owner = owner_of(cgroup.rsplit_once(id).map_or(cgroup, |(above, _)| above));
        let key = key_of(id, owner);
        let mut inner = self.lock();
        if !inner.sources.iter().any(Source::is_asked) {
            return Cell::default();
        }
        if !inner.entries.contains_key(&key) && !inner.make_room(now) {
            return Cell::default();
        }
        let may_ask = inner.wanted < WANTED_MAX;
        let entry = inner.entries.entry(key).or_default();
        entry.is_seen = true;
        let cell = Arc::clone(&entry.cell);
        let is_due = entry.cell.get().is_none()
            && entry.wanted.is_none()
            && entry.asked.is_none_or(|asked| now.duration_since(asked) >= ASK_AGAIN);
        if is_due && may_ask {
            let until = now.checked_add(WANTED_FOR).unwrap_or(now);
            entry.wanted = Some(Want { until, owner });
            entry.asked = Some(now);
            inner.wanted = inner.wanted.saturating_add(1);
            drop(inner);
            self.news.send_modify(|asked| *asked = asked.wrapping_add(1));
        } else if is_due {
            inner.counted.over = inner.counted.over.saturating_add(1);
        }
        cell
    }

    /// The container that a cgroup belongs to, by the ids of the cgroup and of those above it, the innermost first.
    pub(in crate::workload) fn by_cgroup(
        &self,
        mut ids: impl Iterator<Item = u64>,
    ) -> Option<(String, &'static str)> {
        let inner = self.lock();
        let (id, entry) = ids.find_map(|cgroup| {
            let id = inner.by_cgroup.get(&cgroup)?;
            Some((id, inner.entries.get(id)?))
        })?;
        Some((id_of(id).to_owned(), entry.cell.get()?.runtime))
    }

    /// Whether containers are known by their cgroup's id.
    pub(in crate::workload) fn knows_cgroups(&self) -> bool {
        !self.lock().by_cgroup.is_empty()
    }

    /// Containers to be asked about. Those that nobody knew in time are given up and counted.
    pub(in crate::workload::runtime) fn wanted(&self) -> Vec<Wanted> {
        let now = Instant::now();
        let mut inner = self.lock();
        if inner.wanted == 0 {
            return Vec::new();
        }
        let (mut wanted, mut late) = (Vec::new(), 0_u64);
        for (key, entry) in &mut inner.entries {
            let Some(want) = entry.wanted else { continue };
            if want.until <= now {
                entry.wanted = None;
                late = late.saturating_add(1);
            } else {
                wanted.push(Wanted { id: id_of(key).to_owned(), owner: want.owner });
            }
        }
        inner.wanted = wanted.len();
        inner.counted.unresolved = inner.counted.unresolved.saturating_add(late);
        wanted
    }

    /// Tells when there is somebody new to be asked about.
    pub(in crate::workload::runtime) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Takes what a source says of a container; with it the id of the container's cgroup, where that is known. The source
    /// of a user speaks of that user's containers alone.
    pub(in crate::workload::runtime) fn learn(
        &self,
        source: usize,
        id: &str,
        (about, cgroup): (About, Option<u64>),
    ) {
        let mut inner = self.lock();
        let key = key_of(id, inner.sources.get(source).and_then(Source::owner));
        if !inner.entries.contains_key(&key) && !inner.make_room(Instant::now()) {
            return;
        }
        let entry = inner.entries.entry(key.clone()).or_default();
        let was_wanted = entry.wanted.take().is_some();
        let is_new = entry.cell.get().is_none();
        if entry.cell.get() != Some(&about) {
            // Who asked before keeps what it was told; who asks from now on is told this.
            entry.cell = if is_new { Arc::clone(&entry.cell) } else { Cell::default() };
            // A cell is filled under the lock only.
            let _filled = entry.cell.set(about);
        }
        let is_seen = entry.is_seen;
        (entry.source, entry.gone) = (Some(source), None);
        let (before, after) = (entry.cgroup, cgroup.or(entry.cgroup));
        entry.cgroup = after;
        if before != after
            && let Some(before) = before
        {
            inner.by_cgroup.remove(&before);
        }
        if let Some(cgroup) = after {
            inner.by_cgroup.insert(cgroup, key);
        }
        if was_wanted {
            inner.wanted = inner.wanted.saturating_sub(1);
        }
        if is_new && is_seen {
            inner.counted.resolved = inner.counted.resolved.saturating_add(1);
            inner.resolved.insert(id_of(id).to_owned());
        }
    }

    /// A container has ended; it stays known for a while.
    pub(in crate::workload::runtime) fn gone(&self, id: &str) {
        if let Some(entry) = self.lock().entries.get_mut(id) {
            entry.gone.get_or_insert_with(Instant::now);
        }
    }

    /// A source has given its full list: what it named before and does not name now has ended.
    pub(in crate::workload::runtime) fn listed(&self, source: usize, ids: &HashSet<String>) {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.counted.lists = inner.counted.lists.saturating_add(1);
        for (key, entry) in &mut inner.entries {
            if entry.source == Some(source) && !ids.contains(id_of(key)) {
                entry.gone.get_or_insert(now);
            }
        }
        if let Some(source) = inner.sources.get_mut(source) {
            source.containers = u64::try_from(ids.len()).unwrap_or(u64::MAX);
            source.lists = source.lists.saturating_add(1);
        }
        inner.forget(now);
    }

    /// A full list could not be had.
    pub(in crate::workload::runtime) fn list_failed(&self) {
        let mut inner = self.lock();
        inner.counted.lists_failed = inner.counted.lists_failed.saturating_add(1);
    }

    /// A source has come to a standing; the first one ends the wait for it.
    pub(in crate::workload::runtime) fn stands(&self, source: usize, standing: Standing) {
        let mut inner = self.lock();
        if let Some(source) = inner.sources.get_mut(source) {
            let was_connected = source.is_connected();
            source.standing = standing;
            let is_new = source.is_connected() && !was_connected;
            source.connections = source.connections.saturating_add(u64::from(is_new));
        }
        drop(inner);
        self.listed.notify_all();
    }

    /// Waits until every source has given its first list or is known to give none, but no longer than `limit`.
    pub fn wait_first(&self, limit: Duration) {
        let is_open = |inner: &mut Inner| {
            inner.sources.iter().any(|source| source.standing == Standing::Starting)
        };
        // Who is late is asked again anyway: the outcome of the wait changes nothing.
        let _waited = self.listed.wait_timeout_while(self.lock(), limit, is_open);
    }

    /// Containers with processes that have become known since this was last asked.
    pub fn take_resolved(&self) -> Vec<String> {
        self.lock().resolved.drain().collect()
    }

    /// Whether somebody is being asked about a container.
    pub fn is_asking(&self) -> bool {
        self.lock().wanted != 0
    }

    /// Containers whose facts are known.
    pub fn known(&self) -> usize {
        self.lock().entries.values().filter(|entry| entry.cell.get().is_some()).count()
    }

    /// How the sources stand.
    pub fn sources(&self) -> Vec<Source> {
        self.lock().sources.clone()
    }

    /// Counters.
    pub fn metrics(&self) -> Metrics {
        self.lock().counted
    }
}

impl Inner {
    /// Whether one more container can be kept; the longest ended one goes for it.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.entries.len() < self.containers_max {
            return true;
        }
        self.forget(now);
        if self.entries.len() < self.containers_max {
            return true;
        }
        let ended = self.entries.iter().filter_map(|(id, entry)| Some((entry.gone?, id)));
        let Some(oldest) = ended.min().map(|(_, id)| id.clone()) else {
            self.counted.over = self.counted.over.saturating_add(1);
            return false;
        };
        self.remove(&oldest);
        true
    }

    /// Forgets containers that ended a while ago, and those nobody knew.
    fn forget(&mut self, now: Instant) {
        let is_over = |entry: &Entry| {
            let unknown = entry.cell.get().is_none() && entry.wanted.is_none();
            let since = entry.gone.or(entry.asked.filter(|_| unknown));
            since.is_some_and(|since| now.duration_since(since) >= KEEP)
        };
        let over: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| is_over(entry))
            .map(|(id, _)| id.clone())
            .collect();
        for id in over {
            self.remove(&id);
        }
    }

    fn remove(&mut self, id: &str) {
        let Some(entry) = self.entries.remove(id) else { return };
        if entry.wanted.is_some() {
            self.wanted = self.wanted.saturating_sub(1);
        }
        if let Some(cgroup) = entry.cgroup {
            self.by_cgroup.remove(&cgroup);
        }
    }
}

/// Under what a container is kept: who names a cgroup like another's container is not taken for it. Root is no such user.
pub(in crate::workload::runtime) fn key_of(id: &str, owner: Option<u32>) -> String {
    owner.filter(|uid| *uid != 0).map_or_else(|| id.to_owned(), |uid| format!("{uid}/{id}"))
}

/// The id in a key; no name of a cgroup holds a `/`.
fn id_of(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}

/// The user of a session's cgroup: `/user.slice/user-1000.slice/…`.
fn owner_of(cgroup: &str) -> Option<u32> {
    let (_, rest) = cgroup.split_once("/user-")?;
    rest.split_once(".slice")?.0.parse().ok()
}

#[cfg(test)]
mod tests;
