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
    judged: HashMap<u32, Judged>,
    waiting: VecDeque<Unseen>,
}

/// A blind process.
#[derive(Clone, Copy, Debug)]
struct Judged {
    reason: &'static str,
    /// When it ended; its number may be given to another process then.
    ended_ns: Option<u64>,
}

impl Judged {
    /// Whether the process is the one that made the connection.
    fn made(&self, socket: &Socket) -> bool {
        self.ended_ns.is_none_or(|ended| socket.connected_ns <= ended)
    }
}

impl Blind {
    /// Notes that a process has no TLS library that is known; says whether that is news.
    pub(super) fn judge(&mut self, pid: u32, reason: &'static str) -> bool {
        if self.judged.len() >= PROCESSES_MAX {
            self.judged.clear();
        }
        let before = self.judged.insert(pid, Judged { reason, ended_ns: None });
        before.is_none_or(|before| before.ended_ns.is_some())
    }

    /// Notes the end of a process; what it connected may end later.
    pub(super) fn exited(&mut self, pid: u32, at_ns: u64) {
        if let Some(judged) = self.judged.get_mut(&pid) {
            judged.ended_ns = Some(at_ns);
        }
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
        let judged = &self.judged;
        let mut found = Vec::new();
        self.waiting.retain(|unseen| {
            let judged = judged.get(&unseen.socket.tgid);
            if let Some(judged) = judged.filter(|judged| judged.made(&unseen.socket)) {
                found.push((unseen.clone(), judged.reason));
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
        made_at(tgid, 1)
    }

    fn made_at(tgid: u32, connected_ns: u64) -> Unseen {
        let socket = Socket { tgid, connected_ns, ..Socket::default() };
        Unseen { socket, name: None, at_ns: connected_ns }
    }

    #[test]
    fn connection_that_ends_before_the_judgement_is_told_after_it() {
        let mut blind = Blind::default();
        blind.ended(unseen(7));
        assert!(blind.take(2).is_empty());
        assert!(blind.judge(7, "jsse") && !blind.judge(7, "jsse"));
        let told: Vec<_> = blind.take(3).into_iter().map(|(_, reason)| reason).collect();
        assert_eq!(told, ["jsse"]);
        assert!(blind.take(4).is_empty());
    }

    #[test]
    fn later_process_of_the_same_number_is_not_judged() {
        let mut blind = Blind::default();
        blind.judge(7, "jsse");
        blind.exited(7, 5);
        blind.ended(made_at(7, 4));
        blind.ended(made_at(7, 6));
        let told: Vec<_> = blind.take(7).into_iter().map(|(unseen, _)| unseen.at_ns).collect();
        assert_eq!(told, [4]);
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
