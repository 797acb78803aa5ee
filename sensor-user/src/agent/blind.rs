//! Sockets whose TLS was not seen come in; once it is certain that nobody saw them, they go out with the reason.

use std::collections::{HashMap, HashSet, VecDeque};

use sensor_common::record::Socket;

use super::notice::Greeting;

/// Blind processes remembered; then the memory begins anew.
const PROCESSES_MAX: usize = 4096;
/// Connections whose process may yet turn out to be blind.
const WAITING_MAX: usize = 1024;
/// How long a process may take to be found blind, in nanoseconds.
const WAIT_NS: u64 = 2_000_000_000;

/// A connection to an AI provider that ended without a TLS object of its own.
#[derive(Clone, Debug)]
pub(super) struct Unseen {
    /// Its socket, with byte counts and times.
    pub(super) socket: Socket,
    /// What its ClientHello said.
    pub(super) greeting: Greeting,
    /// When it ended.
    pub(super) at_ns: u64,
}

/// Blind processes, and ended connections that wait for a judgement of theirs.
#[derive(Debug, Default)]
pub(super) struct Blind {
    judged: HashMap<u32, Judged>,
    waiting: VecDeque<Unseen>,
    /// Connections that were seen and whose socket is not known: one of those that wait is each of them.
    seen: VecDeque<Seen>,
    /// Sockets of connections that said something else than HTTP.
    foreign: HashSet<u64>,
}

/// A connection that was seen, and ended, without its socket being known.
#[derive(Clone, Debug)]
struct Seen {
    pid: u32,
    name: Option<String>,
    at_ns: u64,
}

impl Seen {
    fn is(&self, unseen: &Unseen) -> bool {
        let apart = self.at_ns.abs_diff(unseen.at_ns);
        self.pid == unseen.socket.tgid && self.name == unseen.greeting.name && apart < WAIT_NS
    }
}

/// Sockets remembered that speak no HTTP; then the memory begins anew.
const FOREIGN_MAX: usize = 4096;

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

    /// Notes that a connection of a process was seen which may be any of its sockets.
    pub(super) fn was_seen(&mut self, pid: u32, name: Option<String>, at_ns: u64) {
        if self.seen.len() >= WAITING_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back(Seen { pid, name, at_ns });
    }

    /// Notes that what a connection says cannot be read.
    pub(super) fn speaks_no_http(&mut self, cookie: u64) {
        if self.foreign.len() >= FOREIGN_MAX {
            self.foreign.clear();
        }
        self.foreign.insert(cookie);
    }

    /// Whether what a connection said could not be read; asked once, at its end.
    pub(super) fn spoke_no_http(&mut self, cookie: u64) -> bool {
        self.foreign.remove(&cookie)
    }

    /// Gives out the connections of blind processes, and those that have waited in vain to be claimed, each with its
    /// reason.
    pub(super) fn take(&mut self, now_ns: u64) -> Vec<(Unseen, &'static str)> {
        let (judged, seen) = (&self.judged, &mut self.seen);
        let mut found = Vec::new();
        self.waiting.retain(|unseen| {
            let judged = judged.get(&unseen.socket.tgid);
            if let Some(judged) = judged.filter(|judged| judged.made(&unseen.socket)) {
                found.push((unseen.clone(), judged.reason));
                return false;
            }
            if let Some(at) = seen.iter().position(|seen| seen.is(unseen)) {
                seen.remove(at);
                return false;
            }
            if unseen.at_ns.saturating_add(WAIT_NS) > now_ns {
                return true;
            }
            found.push((unseen.clone(), why(&unseen.greeting)));
            false
        });
        seen.retain(|seen| seen.at_ns.saturating_add(WAIT_NS) > now_ns);
        found
    }
}

/// Why a connection of a process that is not blind was not seen.
fn why(greeting: &Greeting) -> &'static str {
    match (greeting.ai, greeting.probed) {
        (false, _) => "no_client_hello",
        // The process had no probes yet when it greeted, and had said all before it got them.
        (true, false) => "race",
        (true, true) => "unbound",
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
        Unseen { socket, greeting: Greeting::default(), at_ns: connected_ns }
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
    fn connection_that_nobody_saw_is_told_with_its_reason() {
        for (ai, probed, reason) in
            [(true, false, "race"), (true, true, "unbound"), (false, false, "no_client_hello")]
        {
            let mut blind = Blind::default();
            let greeting = Greeting { ai, probed, ..Greeting::default() };
            blind.ended(Unseen { greeting, ..unseen(7) });
            assert!(blind.take(WAIT_NS).is_empty());
            let told: Vec<_> =
                blind.take(WAIT_NS + 1).into_iter().map(|(_, reason)| reason).collect();
            assert_eq!(told, [reason]);
            assert!(blind.take(WAIT_NS + 2).is_empty());
        }
    }

    #[test]
    fn connection_that_was_seen_accounts_for_one_socket() {
        let mut blind = Blind::default();
        blind.was_seen(7, None, 1);
        blind.was_seen(7, Some("another".to_owned()), 1);
        blind.was_seen(8, None, 1);
        blind.ended(unseen(7));
        blind.ended(unseen(7));
        assert_eq!(blind.take(WAIT_NS + 1).len(), 1);
    }
}
