//! Workloads that ask for AI names, or whose library needs it, come in; packets that arrive are looked at for these alone.
//!
//! A hook costs every packet it is attached for, and most of a machine never asks for an AI name. The first answer of a
//! workload may come before the hook stands, where the resolver is on the machine: its name is in the ClientHello too.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::bpf::cgroup;
use crate::bpf::{Kernel, PacketLink};
use crate::probes::Carried;

use super::intent::Intent;

/// Time after its last sign of need in which a workload is listened to.
const IDLE_NS: u64 = 600_000_000_000;
/// Workloads that are listened to one by one; for more of them, the whole machine is.
const WORKLOADS_MAX: usize = 128;

/// What is listened to.
#[derive(Debug, Default)]
pub(super) struct Listening {
    places: HashMap<PathBuf, Place>,
    /// Running processes whose library needs it.
    paired: HashSet<u32>,
}

#[derive(Debug)]
struct Place {
    _link: PacketLink,
    last_ns: u64,
}

impl Listening {
    /// Has packets that arrive for the cgroup of a process looked at; for the whole machine where that cannot be.
    fn need(&mut self, kernel: &mut Kernel, pid: u32, now: u64) {
        let Some(root) = cgroup::root_path() else { return };
        let own = cgroup::path_of(pid).filter(|_| self.places.len() < WORKLOADS_MAX);
        let places = [Some(root.as_path()), own.as_deref()];
        for place in places.into_iter().flatten() {
            if let Some(known) = self.places.get_mut(place) {
                known.last_ns = now;
                return;
            }
        }
        if own.is_some_and(|own| self.add(kernel, &own, now)) {
            return;
        }
        if self.add(kernel, &root, now) {
            // What the machine's hook sees need not be seen twice.
            self.places.retain(|path, _| *path == root);
        }
    }

    fn add(&mut self, kernel: &mut Kernel, path: &Path, now: u64) -> bool {
        let opened = File::open(path).map_err(|error| error.to_string());
        let listened =
            opened.and_then(|cgroup| kernel.listen(&cgroup).map_err(|error| super::chain(&error)));
        match listened {
            Ok(link) => {
                tracing::debug!(cgroup = %path.display(), "arriving packets are looked at");
                self.places.insert(path.to_owned(), Place { _link: link, last_ns: now });
                true
            }
            Err(error) => {
                tracing::warn!(cgroup = %path.display(), %error, "arriving packets are not seen here");
                false
            }
        }
    }
}

impl Intent {
    /// A process asks for an AI name.
    pub(super) fn listen_for_answers(&mut self, pid: u32, now: u64) {
        self.listening.need(&mut self.kernel, pid, now);
    }

    /// Some libraries seal and open with different objects, which only the packets bring together.
    pub(super) fn listen_for_records(&mut self, pid: u32, carried: &[Carried], now: u64) {
        if carried.iter().any(|carried| carried.library.is_paired_by_packets()) {
            self.listening.paired.insert(pid);
            self.listening.need(&mut self.kernel, pid, now);
        }
    }

    /// A process has ended, or has lost its probes.
    pub(super) fn forget_listener(&mut self, pid: u32) {
        self.listening.paired.remove(&pid);
    }

    /// Goes on listening for those that still need it, and ends the rest.
    pub(super) fn look_over_listening(&mut self, now: u64) {
        let paired: Vec<_> = self.listening.paired.iter().copied().collect();
        for pid in paired {
            self.listening.need(&mut self.kernel, pid, now);
        }
        self.listening.places.retain(|_, place| now.saturating_sub(place.last_ns) < IDLE_NS);
    }
}
