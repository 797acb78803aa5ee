//! Chunks of many connections come in, each with its key; the pieces of each go out, and whoever is idle is forgotten.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use crate::reassembly::{Chunk, Config, Direction, Loss, Metrics, Piece, Start, Stream};

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// Entries of the order of use that may be out of date for each one that is not, before they are swept out.
const STALE_MAX: usize = 3;

/// A connection that gave way; what it held back is lost with it.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evicted<K>(pub K);

/// One direction of a connection.
#[derive(Debug)]
struct Half {
    stream: Stream,
    /// It stands in the list of those that hold something back.
    listed: bool,
}

#[derive(Debug)]
struct Connection {
    /// Tells this connection from an earlier one with the same key.
    serial: u64,
    seen_ns: u64,
    sent: Half,
    received: Half,
}

impl Connection {
    fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Sent => &mut self.sent,
            Direction::Received => &mut self.received,
        }
    }

    fn pending_bytes(&self) -> u64 {
        self.sent.stream.pending_bytes().saturating_add(self.received.stream.pending_bytes())
    }
}

/// When a connection was used; out of date where it was used again or is gone.
#[derive(Debug)]
struct Use<K> {
    key: K,
    serial: u64,
    seen_ns: u64,
}

/// Both directions of all connections.
#[derive(Debug)]
pub struct Table<K> {
    config: Config,
    connections: HashMap<K, Connection>,
    /// Oldest first; each connection has one entry that may be too old, and is moved when that is noticed.
    uses: VecDeque<Use<K>>,
    /// Directions that hold something back.
    waiting: Vec<(K, Direction)>,
    next_serial: u64,
    pending_bytes: u64,
    metrics: Metrics,
}

impl<K: Copy + Eq + Hash> Table<K> {
    /// Makes an empty table.
    pub fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            connections: HashMap::new(),
            uses: VecDeque::new(),
            waiting: Vec::new(),
            next_serial: 0,
            pending_bytes: 0,
            metrics: Metrics::default(),
        }
    }

    /// What was counted so far.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Connections followed now.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether no connection is followed.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Bytes held back by all connections.
    pub fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }

    /// Says what is known of a connection's start, before its first chunk; later it changes nothing.
    pub fn open(&mut self, key: K, start: Start, now_ns: u64) -> Option<Evicted<K>> {
        if self.connections.contains_key(&key) {
            return None;
        }
        let evicted = if self.connections.len() >= self.config.connections_max.max(1) {
            self.evict_oldest()
        } else {
            None
        };
        let serial = self.next_serial;
        self.next_serial = self.next_serial.saturating_add(1);
        let half = || Half { stream: Stream::new(&self.config, start), listed: false };
        let (sent, received) = (half(), half());
        self.connections.insert(key, Connection { serial, seen_ns: now_ns, sent, received });
        self.uses.push_back(Use { key, serial, seen_ns: now_ns });
        self.sweep();
        evicted
    }

    /// Takes a chunk of one direction; appends to `out` what can be handed out now. A connection not seen before is
    /// opened with `Start::Unknown`, and another one may have to give way to it.
    pub fn push(
        &mut self,
        key: K,
        direction: Direction,
        chunk: Chunk,
        out: &mut Vec<Piece>,
    ) -> Option<Evicted<K>> {
        let at_ns = chunk.at_ns;
        self.with_stream(key, (direction, at_ns), out, |stream, metrics, out| {
            stream.push(chunk, metrics, out);
        })
    }

    /// Takes the knowledge that bytes of one direction will never come.
    pub fn lose(
        &mut self,
        key: K,
        direction: Direction,
        loss: Loss,
        out: &mut Vec<Piece>,
    ) -> Option<Evicted<K>> {
        self.with_stream(key, (direction, loss.at_ns), out, |stream, metrics, out| {
            stream.lose(loss, metrics, out);
        })
    }

    /// Gives up missing parts that have been waited for long enough; calls `out` for each direction with its pieces.
    pub fn expire(&mut self, now_ns: u64, mut out: impl FnMut(K, Direction, &mut Vec<Piece>)) {
        let mut pieces = Vec::new();
        let (connections, metrics) = (&mut self.connections, &mut self.metrics);
        let total = &mut self.pending_bytes;
        self.waiting.retain(|(key, direction)| {
            let Some(connection) = connections.get_mut(key) else { return false };
            let Half { stream, listed } = connection.half(*direction);
            let before = stream.pending_bytes();
            stream.expire(now_ns, metrics, &mut pieces);
            *total = total.saturating_sub(before.saturating_sub(stream.pending_bytes()));
            *listed = stream.is_waiting();
            if !pieces.is_empty() {
                out(*key, *direction, &mut pieces);
                pieces.clear();
            }
            *listed
        });
    }

    /// Forgets connections that have been idle for too long, and calls `out` with the key of each.
    pub fn evict_idle(&mut self, now_ns: u64, mut out: impl FnMut(Evicted<K>)) {
        let idle_ns = self.config.idle_secs_max.saturating_mul(NANOS_PER_SEC);
        while self
            .uses
            .front()
            .is_some_and(|oldest| now_ns.saturating_sub(oldest.seen_ns) >= idle_ns)
        {
            let Some(oldest) = self.uses.pop_front() else { break };
            let Some(seen_ns) = self.last_seen(&oldest) else { continue };
            if now_ns.saturating_sub(seen_ns) < idle_ns {
                self.uses.push_back(Use { seen_ns, ..oldest });
                continue;
            }
            self.forget(oldest.key);
            self.metrics.evicted_idle = self.metrics.evicted_idle.saturating_add(1);
            out(Evicted(oldest.key));
        }
    }

    /// Ends a connection: what it held back is handed out with its gaps, then it is forgotten.
    pub fn close(&mut self, key: K, at_ns: u64, mut out: impl FnMut(Direction, &mut Vec<Piece>)) {
        let Some(mut connection) = self.remove(key) else { return };
        let mut pieces = Vec::new();
        for direction in [Direction::Sent, Direction::Received] {
            connection.half(direction).stream.end(at_ns, &mut self.metrics, &mut pieces);
            if !pieces.is_empty() {
                out(direction, &mut pieces);
                pieces.clear();
            }
        }
    }

    fn with_stream(
        &mut self,
        key: K,
        (direction, at_ns): (Direction, u64),
        out: &mut Vec<Piece>,
        act: impl FnOnce(&mut Stream, &mut Metrics, &mut Vec<Piece>),
    ) -> Option<Evicted<K>> {
        let evicted = self.open(key, Start::Unknown, at_ns);
        let Some(connection) = self.connections.get_mut(&key) else { return evicted };
        connection.seen_ns = connection.seen_ns.max(at_ns);
        let Half { stream, listed } = connection.half(direction);
        let before = stream.pending_bytes();
        act(stream, &mut self.metrics, out);
        let others = self.pending_bytes.saturating_sub(before);
        if others.saturating_add(stream.pending_bytes()) > self.config.bytes_pending_total_max {
            stream.flush(at_ns, &mut self.metrics, out);
        }
        self.pending_bytes = others.saturating_add(stream.pending_bytes());
        if stream.is_waiting() && !*listed {
            *listed = true;
            self.waiting.push((key, direction));
        }
        evicted
    }

    fn remove(&mut self, key: K) -> Option<Connection> {
        let connection = self.connections.remove(&key)?;
        self.pending_bytes = self.pending_bytes.saturating_sub(connection.pending_bytes());
        if connection.sent.listed || connection.received.listed {
            self.waiting.retain(|(waiting, _)| *waiting != key);
        }
        Some(connection)
    }

    /// Removes a connection that nobody has closed, with what it held back.
    fn forget(&mut self, key: K) {
        let bytes = self.remove(key).map_or(0, |connection| connection.pending_bytes());
        self.metrics.evicted_bytes = self.metrics.evicted_bytes.saturating_add(bytes);
    }

    /// When the connection of an entry was last used; `None` where it is gone.
    fn last_seen(&self, used: &Use<K>) -> Option<u64> {
        let connection = self.connections.get(&used.key)?;
        (connection.serial == used.serial).then_some(connection.seen_ns)
    }

    /// Forgets the connection idle longest.
    fn evict_oldest(&mut self) -> Option<Evicted<K>> {
        while let Some(oldest) = self.uses.pop_front() {
            match self.last_seen(&oldest) {
                None => {}
                Some(seen_ns) if seen_ns > oldest.seen_ns => {
                    self.uses.push_back(Use { seen_ns, ..oldest });
                }
                Some(_) => {
                    self.forget(oldest.key);
                    let counter = &mut self.metrics.evicted_over_connections;
                    *counter = counter.saturating_add(1);
                    return Some(Evicted(oldest.key));
                }
            }
        }
        None
    }

    /// Keeps the order of use in proportion to the connections.
    fn sweep(&mut self) {
        if self.uses.len() > self.connections.len().saturating_mul(STALE_MAX).max(64) {
            let connections = &self.connections;
            self.uses.retain(|used| {
                connections
                    .get(&used.key)
                    .is_some_and(|connection| connection.serial == used.serial)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn reused_keys_do_not_pile_up() {
        let mut table = Table::new(&Config::default());
        for at_ns in 0..10_000 {
            let chunk = Chunk { offset: 0, at_ns, bytes: Bytes::from_static(b"x") };
            assert_eq!(table.push(7, Direction::Sent, chunk, &mut Vec::new()), None);
            table.close(7, at_ns, |_, _| panic!("nothing was held back"));
            assert!(table.uses.len() <= 65);
        }
        assert!(table.is_empty());
    }
}
