//! Container runtimes are followed on a thread of their own; what they say is told to the gate, counted, and shown.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::bpf::cgroup;
use crate::report::Metrics;
use crate::workload::Roots;
use crate::workload::runtime;
use crate::workload::runtime::{Index, Source, Standing};

use super::intent::Intent;
use super::threads::{Watched, join, spawn};

/// Threads for files that may lie on a file system that hangs.
const FILE_THREADS: usize = 2;
/// Cgroups within a container that are looked into.
const CGROUPS_MAX: usize = 256;
/// How often a container is looked through for processes that were forked while its others were told.
const ROUNDS_MAX: usize = 4;
/// Time that the doctor gives runtimes to answer.
const EXAMINED: Duration = Duration::from_secs(3);

/// The thread that follows the runtimes.
pub(super) struct Asker {
    thread: JoinHandle<()>,
    /// The thread ends when this is dropped.
    stop: oneshot::Sender<()>,
}

impl Asker {
    /// Starts it; gives what it fills.
    pub(super) fn start(
        config: &runtime::Config,
        watched: Watched,
    ) -> anyhow::Result<(Arc<Index>, Self)> {
        let index = runtime::index(config);
        let (stop, stopped) = oneshot::channel();
        let asked = (config.clone(), Arc::clone(&index));
        let thread = spawn("runtimes", watched, move || run(asked, stopped))?;
        Ok((index, Self { thread, stop }))
    }

    /// Ends it.
    pub(super) fn stop(self) -> anyhow::Result<()> {
        drop(self.stop);
        join("runtimes", self.thread)
    }
}

/// Follows the runtimes of a configuration until the agent stops.
fn run((config, index): (runtime::Config, Arc<Index>), stopped: oneshot::Receiver<()>) {
    let built = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(FILE_THREADS)
        .build();
    let runtime = match built {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "container runtimes cannot be followed");
            return;
        }
    };
    runtime.block_on(async {
        tokio::select! {
            () = runtime::follow(config, Roots::default().users, index) => {
                tracing::error!("a container runtime is not followed any more");
            }
            _ = stopped => {}
        }
    });
    // A thread that a file system holds is not waited for.
    runtime.shutdown_background();
}

/// Asks every runtime once, and says how that went.
pub(super) fn examine(config: &runtime::Config) -> Vec<Source> {
    let index = runtime::index(config);
    let (stop, stopped) = oneshot::channel();
    let asked = (config.clone(), Arc::clone(&index));
    let asker = std::thread::spawn(move || run(asked, stopped));
    index.wait_first(EXAMINED);
    drop(stop);
    // A panic is told of by its own message.
    let _ended = asker.join();
    index.sources()
}

impl Intent {
    /// Tells the gate again about the processes of containers that have become known.
    pub(super) fn tell_resolved(&mut self) {
        for container in self.containers.take_resolved() {
            tracing::debug!(container, "container is known");
            if self.enforcer.is_none() || self.policies.folder().is_none() {
                continue;
            }
            let mut told = HashSet::new();
            // A child forked in between has inherited what its parent was told before.
            (0..ROUNDS_MAX).all(|_| self.tell_more(&container, &mut told));
        }
    }

    /// Tells the gate about the processes of a container that were not told so far; says whether there were any.
    fn tell_more(&mut self, container: &str, told: &mut HashSet<u32>) -> bool {
        let mut new = self.processes_in(container);
        new.retain(|pid| told.insert(*pid));
        for pid in &new {
            self.tell(*pid);
        }
        !new.is_empty()
    }

    /// Processes of a container: those that were seen, and all others in its cgroup.
    fn processes_in(&self, container: &str) -> Vec<u32> {
        let mut pids = self.workloads().processes_of(container);
        let folders: HashSet<_> = pids.iter().filter_map(|pid| cgroup::path_of(*pid)).collect();
        let mut left = CGROUPS_MAX;
        for folder in folders {
            collect(&folder, &mut left, &mut pids);
        }
        pids
    }
}

/// Adds the processes of a cgroup and of those within.
fn collect(folder: &Path, left: &mut usize, pids: &mut Vec<u32>) {
    let Some(rest) = left.checked_sub(1) else { return };
    *left = rest;
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), left, pids);
        }
    }
}

/// Shows how the runtimes fare.
pub(super) struct Runtimes {
    index: Arc<Index>,
    /// What was last said of each.
    told: Vec<Source>,
}

impl Runtimes {
    pub(super) fn new(index: Arc<Index>) -> Self {
        Self { index, told: Vec::new() }
    }

    /// Hands counters and gauges on, logs what has changed, and gives a line for each runtime.
    pub(super) fn publish(
        &mut self,
        metrics: &Metrics,
        counters: &mut BTreeMap<String, u64>,
    ) -> Vec<String> {
        let counted = self.index.metrics();
        for (name, count) in [
            ("lists", counted.lists),
            ("lists_failed", counted.lists_failed),
            ("resolved", counted.resolved),
            ("unresolved", counted.unresolved),
            ("over", counted.over),
        ] {
            counters.insert(format!("runtime.{name}"), count);
            metrics.set_stage_event("runtime", name, count);
        }
        metrics.set_containers(u64::try_from(self.index.known()).unwrap_or(u64::MAX));
        let sources = self.index.sources();
        let mut connected: BTreeMap<&'static str, u64> = BTreeMap::new();
        for (at, source) in sources.iter().enumerate() {
            let count = connected.entry(source.kind).or_default();
            *count = count.saturating_add(u64::from(source.is_connected()));
            let is_same = |told: &Source| {
                told.standing == source.standing && told.connections == source.connections
            };
            if !self.told.get(at).is_some_and(is_same) {
                log(source);
            }
        }
        for (kind, count) in connected {
            metrics.set_runtimes(kind, count);
        }
        let lines = sources.iter().filter_map(line).collect();
        self.told = sources;
        lines
    }
}

fn log(source: &Source) {
    let socket = source.path.display();
    match &source.standing {
        Standing::Connected { who, has_events } => {
            tracing::info!(%socket, who, has_events, "container runtime is followed");
        }
        Standing::Failed(error) => {
            tracing::warn!(%socket, error, "container runtime does not say which containers it has");
        }
        Standing::Absent | Standing::Starting => {
            tracing::debug!(%socket, "no container runtime here");
        }
    }
}

/// One line about a runtime; none where there is none.
pub(super) fn line(source: &Source) -> Option<String> {
    let socket = source.path.display();
    match &source.standing {
        Standing::Absent => None,
        Standing::Starting => Some(format!("{socket} has not answered yet")),
        Standing::Failed(error) => Some(format!("{socket}: {error}")),
        Standing::Connected { who, .. } if source.kind == "podman" => {
            Some(format!("{who} at {socket}: its files are read when a container is seen"))
        }
        Standing::Connected { who, has_events } => {
            let how = if *has_events { "events" } else { "lists only" };
            Some(format!("{who} at {socket}: {} containers, by {how}", source.containers))
        }
    }
}
