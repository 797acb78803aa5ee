//! What was found in each probed process comes in; the TLS library of a connection, and how it was found, goes out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::probes::Carried;
use crate::probes::library;
use crate::report::event::Tls;

/// Processes remembered, also beyond their end: their last records are read later. Then the memory begins anew.
const PROCESSES_MAX: usize = 16_384;
/// Libraries remembered of one process.
const CARRIED_MAX: usize = 16;

/// The TLS libraries of processes: written by the thread that attaches, read by the one that decodes.
#[derive(Debug, Default)]
pub(super) struct Stacks {
    processes: Mutex<HashMap<u32, Vec<Carried>>>,
}

impl Stacks {
    /// Adds what was found in a process.
    pub(super) fn found(&self, pid: u32, carried: &[Carried]) {
        if carried.is_empty() {
            return;
        }
        let mut processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        if processes.len() >= PROCESSES_MAX {
            processes.clear();
        }
        let known = processes.entry(pid).or_default();
        for carried in carried {
            if known.len() < CARRIED_MAX && !known.contains(carried) {
                known.push(*carried);
            }
        }
    }

    /// Forgets an earlier program of the process.
    pub(super) fn restart(&self, pid: u32) {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner).remove(&pid);
    }

    /// The library of a connection of a process, by the family that the kernel half told.
    pub(super) fn of(&self, pid: u32, family: u32) -> Tls {
        let processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        let carried = processes.get(&pid).map(Vec::as_slice).unwrap_or_default();
        let (library, resolution) = library::of_family(carried, family);
        Tls {
            library: library.map(library::Library::as_str),
            resolved_by: resolution.map(library::Resolution::as_str),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::{Library, Resolution};
    use sensor_common::record::FAMILY_OPENSSL;

    #[test]
    fn program_that_replaces_another_has_its_own_libraries() {
        let stacks = Stacks::default();
        let carried = Carried { library: Library::OpenSsl, resolution: Resolution::Structure };
        stacks.found(7, &[carried]);
        let found = stacks.of(7, FAMILY_OPENSSL);
        assert_eq!((found.library, found.resolved_by), (Some("openssl"), Some("structure")));
        stacks.restart(7);
        assert_eq!(stacks.of(7, FAMILY_OPENSSL).resolved_by, None);
    }
}
