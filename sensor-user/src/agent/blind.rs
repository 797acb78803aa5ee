//! Sockets of processes whose TLS cannot be seen come in; what the network tells of their connections goes out.

use std::collections::{HashMap, VecDeque};

use sensor_common::record::Socket;

/// Blind processes remembered; then the memory begins anew.
const PROCESSES_MAX: usize = 4096;
/// Connections whose process may yet turn out to be blind.
const WAITING_MAX: usize = 1024;
/// How long a process may take to be found blind, in nanoseconds.
const WAIT_NS: u64 = 2_000_000_000;

/// A connection to an AI provider that ended without its TLS object having been seen.
#[derive(Clone, Debug)]
pub(super) struct Unseen {
    /// Its socket, with byte counts and times.
    pub(super) socket: Socket,
    /// The name in its ClientHello.
    pub(super) name: Option<String>,
    /// When it ended.
    pub(super) at_ns: u64,
}

/// Blind processes, and ended connections that wait for a judgement of theirs.
#[derive(Debug, Default)]
pub(super) struct Blind {
    reasons: HashMap<u32, &'static str>,
    waiting: VecDeque<Unseen>,
}

impl Blind {
    /// Notes that a process has no TLS library that is known.
    pub(super) fn judge(&mut self, pid: u32, reason: &'static str) {
        if self.reasons.len() >= PROCESSES_MAX {
            self.reasons.clear();
        }
        self.reasons.insert(pid, reason);
    }

    /// Takes an ended connection; the oldest that waits gives way.
    pub(super) fn ended(&mut self, unseen: Unseen) {
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(unseen);
    }

    /// Gives out the connections of blind processes, with the reason; those that waited in vain were seen otherwise.
    pub(super) fn take(&mut self, now_ns: u64) -> Vec<(Unseen, &'static str)> {
        let reasons = &self.reasons;
        let mut found = Vec::new();
        self.waiting.retain(|unseen| {
            if let Some(reason) = reasons.get(&unseen.socket.tgid) {
                found.push((unseen.clone(), *reason));
                return false;
            }
            unseen.at_ns.saturating_add(WAIT_NS) > now_ns
        });
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unseen(tgid: u32) -> Unseen {
        Unseen { socket: Socket { tgid, ..Socket::default() }, name: None, at_ns: 1 }
    }

    #[test]
    fn connection_that_ends_before_the_judgement_is_told_after_it() {
        let mut blind = Blind::default();
        blind.ended(unseen(7));
        assert!(blind.take(2).is_empty());
        blind.judge(7, "jsse");
        let told: Vec<_> = blind.take(3).into_iter().map(|(_, reason)| reason).collect();
        assert_eq!(told, ["jsse"]);
        assert!(blind.take(4).is_empty());
    }

    #[test]
    fn connection_of_a_process_that_is_seen_is_dropped() {
        let mut blind = Blind::default();
        blind.ended(unseen(7));
        assert!(blind.take(WAIT_NS + 1).is_empty());
        blind.judge(7, "jsse");
        assert!(blind.take(WAIT_NS + 2).is_empty());
    }
}
