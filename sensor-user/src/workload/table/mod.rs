//! Starts, forks and ends of processes come in; who a process is, or was, goes out.

mod images;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::workload::Ancestor;
use crate::workload::Config;
use crate::workload::Container;
use crate::workload::Metrics;
use crate::workload::Place;
use crate::workload::Roots;
use crate::workload::Workload;
use crate::workload::cgroup::tree;
use crate::workload::procfs;
use crate::workload::procfs::Facts;
use crate::workload::procfs::Stat;
use crate::workload::runtime::Index;
use crate::workload::table::images::Image;
use crate::workload::table::images::Process;
use crate::workload::users::Users;

/// Ancestors kept of a process.
const ANCESTORS_MAX: usize = 8;
/// Share of the table that is freed at once when it is full, so that a full table is not searched at each insertion.
const EVICTED_SHARE: usize = 16;
/// Nanoseconds in a second.
const NS_PER_SEC: u64 = 1_000_000_000;

/// A process is its id and its start: an id alone is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    pid: u32,
    start_ticks: u64,
}

/// Remembers processes, so that a call is attributed although its process has ended.
#[derive(Debug)]
pub struct Table {
    roots: Roots,
    config: Config,
    users: Users,
    containers: Arc<Index>,
    processes: BTreeMap<Key, Process>,
    /// Processes whose user has changed since this was last asked.
    changed: BTreeSet<u32>,
    metrics: Metrics,
}

impl Table {
    /// Makes an empty table, which knows of containers what `containers` does.
    pub fn new(roots: Roots, config: Config, containers: Arc<Index>) -> Self {
        let users = Users::new(roots.users.clone());
        let (processes, changed) = (BTreeMap::new(), BTreeSet::new());
        let metrics = Metrics::default();
        Self { roots, config, users, containers, processes, changed, metrics }
    }

    /// A process has executed a program: what was known of its executable and arguments is over.
    pub fn observe_exec(&mut self, pid: u32, now: u64) {
        if self.read(pid, now, now).is_none() {
            for (_, process) in self
                .processes
                .range_mut(all_of(pid))
                .filter(|(_, process)| process.ended_ns.is_none())
            {
                process.push(Image { since_ns: now, seen_ns: now, workload: None });
            }
        }
    }

    /// A process was forked: it is read while its parent can still be named.
    pub fn observe_fork(&mut self, parent: u32, child: u32, now: u64) {
        self.resolve(parent, now);
        self.read(child, now, 0);
    }

    /// A process has ended; it stays known for `Config::ended_keep_secs`.
    pub fn observe_exit(&mut self, pid: u32, now: u64) {
        // Until its parent has waited for it, an ended process can still be read in part.
        if self.current(pid).is_none() {
            self.read(pid, now, 0);
        }
        for (_, process) in self.processes.range_mut(all_of(pid)) {
            process.ended_ns.get_or_insert(now);
        }
    }

    /// Who runs under this id now: from memory where the start agrees, else read.
    pub fn resolve(&mut self, pid: u32, now: u64) -> Option<Arc<Workload>> {
        let known = procfs::stat(&self.roots.proc, pid).and_then(|stat| {
            let key = Key { pid, start_ticks: stat.start_ticks };
            self.processes.get(&key).filter(|process| process.ended_ns.is_none())?.newest()
        });
        known.or_else(|| self.read(pid, now, 0))
    }

    /// Looks whether a process that is remembered and runs has another user by now.
    pub fn follow_user(&mut self, pid: u32, now: u64) {
        if let Some(known) = self.current(pid).and_then(Process::newest) {
            self.as_its_user(known, now);
        }
    }

    /// Processes whose user has changed since this was last asked.
    pub fn take_changed(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.changed)
    }

    /// Who runs under this id now, as the process is at this moment: it may have moved, changed its user or executed
    /// another program unseen.
    pub fn refresh(&mut self, pid: u32, now: u64) -> Option<Arc<Workload>> {
        let known = self.resolve(pid, now)?;
        let known = self.as_its_user(known, now);
        let folder = self.roots.proc.join(pid.to_string());
        let cgroups = procfs::text(&folder.join("cgroup")).unwrap_or_default();
        let executable = fs::read_link(folder.join("exe")).unwrap_or_default();
        let is_same = Place::parse(&cgroups).cgroup == known.cgroup
            // A thread of the kernel has none.
            && (executable.as_os_str().is_empty() || executable.to_string_lossy() == known.executable.as_str());
        if !is_same {
            return self.read(pid, now, 0);
        }
        if let Some(container) = known.container.as_ref().filter(|one| one.about().is_none()) {
            // Who was given up may be known to somebody by now.
            let later = self.containers.seen(&container.id, &known.cgroup);
            if later.get().is_some() {
                return self.read(pid, now, 0);
            }
        }
        Some(known)
    }

    /// Processes of a container that run, as far as they are remembered.
    pub fn processes_of(&self, container: &str) -> Vec<u32> {
        let is_in = |workload: &Workload| {
            workload.container.as_ref().is_some_and(|one| one.id == container)
        };
        let running = self.processes.iter().filter(|(_, process)| process.ended_ns.is_none());
        let inside = running.filter(|(_, process)| process.newest().is_some_and(|one| is_in(&one)));
        inside.map(|(key, _)| key.pid).collect()
    }

    /// Who is remembered under this id. Without a start, only where one process alone it could be is known.
    pub fn lookup(&self, pid: u32, start_ticks: Option<u64>) -> Option<Arc<Workload>> {
        self.lookup_at(pid, start_ticks, u64::MAX)
    }

    /// As `lookup`, for the program that the process was executing at `at_ns`.
    pub fn lookup_at(
        &self,
        pid: u32,
        start_ticks: Option<u64>,
        at_ns: u64,
    ) -> Option<Arc<Workload>> {
        if let Some(start_ticks) = start_ticks {
            return self.processes.get(&Key { pid, start_ticks })?.at(at_ns);
        }
        let mut all = self.processes.range(all_of(pid));
        let (_, only) = all.next()?;
        if all.next().is_some() { None } else { only.at(at_ns) }
    }

    /// Who made a call: remembered, else read if the process still runs and is the same. Its user is asked for again: a
    /// program may drop root between its start and its call. `None` is counted.
    pub fn attribute(
        &mut self,
        pid: u32,
        start_ticks: Option<u64>,
        now: u64,
    ) -> Option<Arc<Workload>> {
        let known = self.lookup_at(pid, start_ticks, now);
        let known = known.map(|known| self.as_its_user(known, now));
        let found = known.or_else(|| {
            let read = self.resolve(pid, now)?;
            start_ticks.is_none_or(|start| start == read.start_ticks).then_some(read)
        });
        if found.is_none() {
            self.metrics.unattributed = self.metrics.unattributed.saturating_add(1);
        }
        found
    }

    /// Counters.
    pub fn metrics(&self) -> Metrics {
        self.metrics
    }

    /// Processes remembered.
    pub fn len(&self) -> usize {
        self.processes.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    fn current(&self, pid: u32) -> Option<&Process> {
        self.processes
            .range(all_of(pid))
            .map(|(_, process)| process)
            .find(|process| process.ended_ns.is_none())
    }

    /// What was known of a process; where it still runs and has another user by now, what it is since.
    fn as_its_user(&mut self, known: Arc<Workload>, now: u64) -> Arc<Workload> {
        let key = Key { pid: known.pid, start_ticks: known.start_ticks };
        let process = self.processes.get_mut(&key);
        let Some(image) = process.and_then(|process| process.unseen(&known, now)) else {
            return known;
        };
        let Some(uid) = procfs::effective_user_of(&self.roots.proc, key.pid) else { return known };
        if known.uid.parse() == Ok(uid) {
            image.seen_ns = now;
            return known;
        }
        // From when on, nobody saw: what is not known to be the former user's is the new one's.
        let since_ns = image.seen_ns.saturating_add(1);
        let read = self.read(key.pid, now, since_ns);
        let Some(read) = read.filter(|read| read.start_ticks == key.start_ticks) else {
            return known;
        };
        self.changed.insert(key.pid);
        read
    }

    /// Reads a process as the program that was known of it, or as one that it is since a time other than 0.
    fn read(&mut self, pid: u32, now: u64, since_ns: u64) -> Option<Arc<Workload>> {
        let Some(facts) = procfs::read(&self.roots.proc, pid) else {
            self.metrics.unreadable = self.metrics.unreadable.saturating_add(1);
            return None;
        };
        self.metrics.resolved = self.metrics.resolved.saturating_add(1);
        let key = Key { pid, start_ticks: facts.stat.start_ticks };
        // The first ancestors known are the true ones: an orphan is handed to another parent.
        let first =
            self.processes.get(&key).and_then(Process::newest).map(|known| known.ancestors.clone());
        let ancestors = first.unwrap_or_else(|| ancestors(&self.roots.proc, &facts.stat));
        let workload = Arc::new(self.workload(pid, facts, ancestors));
        self.make_room(key, now);
        // The id was given to a new process: the earlier one has ended, though its end was not reported.
        for (other, process) in self.processes.range_mut(all_of(pid)) {
            if *other != key {
                process.ended_ns.get_or_insert(now);
            }
        }
        let process = self.processes.entry(key).or_default();
        process.touched_ns = now;
        process.push(Image { since_ns, seen_ns: now, workload: Some(Arc::clone(&workload)) });
        Some(workload)
    }

    fn workload(&mut self, pid: u32, facts: Facts, ancestors: Vec<Ancestor>) -> Workload {
        let place = Place::parse(&facts.cgroups);
        let container = self.container(&place, &facts.cgroups);
        Workload {
            pid,
            start_ticks: facts.stat.start_ticks,
            executable: facts.executable,
            command_line: facts.command_line,
            uid: facts.uid.to_string(),
            user: self.users.name(facts.uid),
            login_user: facts
                .login
                .map(|uid| self.users.name(uid).unwrap_or_else(|| uid.to_string())),
            login_session: facts.session,
            cgroup: place.cgroup,
            container: container.map(|container| with_runtime(container, &ancestors)),
            systemd_unit: place.unit,
            ancestors,
        }
    }

    /// The container of a place, by its name or else by the id of its cgroup, with what is known of it.
    fn container(&self, place: &Place, cgroups: &str) -> Option<Container> {
        let container = place.container.clone().or_else(|| {
            if !self.containers.knows_cgroups() {
                return None;
            }
            let found = self.containers.by_cgroup(tree::ids_of(tree::path_of(cgroups)?));
            found.map(|(id, runtime)| Container::new(id, runtime))
        })?;
        let about = self.containers.seen(&container.id, &place.cgroup);
        Some(Container { about, ..container })
    }

    /// Forgets ended processes whose time is over; of a full table, also the longest ended and the least recent ones.
    fn make_room(&mut self, key: Key, now: u64) {
        if self.processes.len() < self.config.processes_max || self.processes.contains_key(&key) {
            return;
        }
        self.expire(now);
        let over = self.processes.len().saturating_add(1).saturating_sub(self.config.processes_max);
        if over == 0 {
            return;
        }
        let share = self.config.processes_max.checked_div(EVICTED_SHARE).unwrap_or_default();
        let mut order: Vec<_> = self
            .processes
            .iter()
            .map(|(key, process)| {
                (process.ended_ns.is_none(), process.ended_ns.unwrap_or(process.touched_ns), *key)
            })
            .collect();
        order.sort_unstable();
        for (_, _, key) in order.into_iter().take(over.max(share)) {
            self.processes.remove(&key);
            self.metrics.evicted = self.metrics.evicted.saturating_add(1);
        }
    }

    /// Forgets ended processes whose time is over; to be called now and then.
    pub fn expire(&mut self, now: u64) {
        let keep_ns = self.config.ended_keep_secs.saturating_mul(NS_PER_SEC);
        self.processes.retain(|_, process| {
            process.ended_ns.is_none_or(|ended| now.saturating_sub(ended) < keep_ns)
        });
    }
}

fn all_of(pid: u32) -> std::ops::RangeInclusive<Key> {
    Key { pid, start_ticks: 0 }..=Key { pid, start_ticks: u64::MAX }
}

/// Parent, grandparent, …; a "parent" that started later than its child is another process under a used id.
fn ancestors(proc: &Path, stat: &Stat) -> Vec<Ancestor> {
    let mut chain = Vec::new();
    let mut child = stat.clone();
    while child.parent != 0 && chain.len() < ANCESTORS_MAX {
        let pid = child.parent;
        let Some(parent) =
            procfs::stat(proc, pid).filter(|parent| parent.start_ticks <= child.start_ticks)
        else {
            break;
        };
        chain.push(Ancestor { pid, executable: procfs::executable_of(proc, pid, &parent.comm) });
        child = parent;
    }
    chain
}

/// With the cgroupfs driver the path does not name the runtime; the shim above the process does.
fn with_runtime(container: Container, ancestors: &[Ancestor]) -> Container {
    let has = |name: &str| {
        ancestors
            .iter()
            .any(|one| one.executable.rsplit('/').next().is_some_and(|file| file.starts_with(name)))
    };
    let runtime = match container.runtime {
        "unknown" if has("containerd-shim") => "containerd",
        "unknown" if has("conmon") => "cri-o",
        known => known,
    };
    Container { runtime, ..container }
}

#[cfg(test)]
mod tests;
