//! Records of the plaintext ring come in; which of them hold bytes that are not their own thread's goes out.
//!
//! The byte at offset O of every stream of a thread follows from the thread id (`tests/clients/patterns.c`), so a byte
//! of another thread, of another place or of nowhere is told for certain.

use std::collections::HashMap;

use sensor_common::record::{FLAG_NO_ROOM, FLAG_SENT, FLAG_UNREADABLE, Header};
use sensor_user::capture::{Body, Record};

/// Bytes after which a pattern begins again, as in `patterns.c`.
const PERIOD: usize = 65_521;
/// Largest payload of a record; patterns are kept so much longer, to be compared in one piece.
const PAYLOAD_MAX: usize = sensor_common::limits::TIER_HUGE;

/// One direction of one TLS object.
#[derive(Debug, Default)]
struct Stream {
    thread: u32,
    /// Offset of the next byte.
    next: u64,
}

/// What one thread's records came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls that moved bytes.
    pub calls: u64,
    /// Bytes they moved, captured or lost.
    pub bytes: u64,
}

/// Compares every record with what its thread must have written or read.
#[derive(Debug, Default)]
pub struct Checker {
    patterns: HashMap<u32, Vec<u8>>,
    streams: HashMap<(u64, bool), Stream>,
    tallies: HashMap<u32, Tally>,
    /// Payload bytes compared.
    pub compared: u64,
    /// Bytes that had no room or could not be read.
    pub lost: u64,
    /// Records that are not as their thread made them.
    pub corrupted: u64,
    /// What was wrong with the first of them.
    pub first: Option<String>,
}

impl Checker {
    /// Takes one record.
    pub fn take(&mut self, record: &Record<'_>) {
        let wrong = match record.body {
            Body::Data(payload) => self.data(&record.header, payload),
            Body::Commit => self.commit(&record.header),
            _ => None,
        };
        if let Some(wrong) = wrong {
            self.corrupted = self.corrupted.saturating_add(1);
            self.first.get_or_insert_with(|| format!("{wrong}: {:?}", record.header));
        }
    }

    /// What was seen of each thread.
    pub fn tallies(&self) -> &HashMap<u32, Tally> {
        &self.tallies
    }

    fn data(&mut self, header: &Header, payload: &[u8]) -> Option<&'static str> {
        let sent = header.flags & FLAG_SENT != 0;
        let stream = self
            .streams
            .entry((header.connection, sent))
            .or_insert_with(|| Stream { thread: header.tid, next: 0 });
        let (thread, expected) = (stream.thread, stream.next);
        stream.next = header.offset.saturating_add(u64::from(header.call_len));
        let tally = self.tallies.entry(thread).or_default();
        tally.bytes = tally.bytes.saturating_add(u64::from(header.call_len));
        // A read is one record: the library hands out at most one TLS record a call. A write is counted at its return.
        tally.calls = tally.calls.saturating_add(u64::from(!sent));
        if header.tid != thread {
            return Some("a thread in another's connection");
        }
        if header.offset != expected {
            return Some("not the next offset");
        }
        if header.flags & (FLAG_NO_ROOM | FLAG_UNREADABLE) != 0 {
            self.lost = self.lost.saturating_add(u64::from(header.call_len));
            return (header.captured != 0).then_some("bytes of a record that says it has none");
        }
        if header.captured != header.call_len {
            return Some("fewer bytes than the call moved");
        }
        let pattern = self.patterns.entry(thread).or_insert_with(|| pattern_of(thread));
        let from = usize::try_from(header.offset).unwrap_or(0).checked_rem(PERIOD).unwrap_or(0);
        self.compared = self.compared.saturating_add(u64::from(header.captured));
        let own = pattern.get(from..from.saturating_add(payload.len()));
        (own != Some(payload)).then_some("bytes that are not the thread's")
    }

    fn commit(&mut self, header: &Header) -> Option<&'static str> {
        let Some(stream) = self.streams.get(&(header.connection, true)) else {
            return Some("a return without its write");
        };
        let tally = self.tallies.entry(stream.thread).or_default();
        tally.calls = tally.calls.saturating_add(1);
        let whole = header.aux == u64::from(header.call_len)
            && header.offset.saturating_add(header.aux) == stream.next;
        if header.tid != stream.thread {
            return Some("a return on another thread");
        }
        (!whole).then_some("a return that does not fit its write")
    }
}

/// xorshift64 from the thread id, as in `patterns.c`.
fn pattern_of(thread: u32) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(thread);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    let mut pattern: Vec<u8> = (0..PERIOD).map(|_| next()).collect();
    pattern.extend_from_within(..PAYLOAD_MAX);
    pattern
}

#[cfg(test)]
mod tests {
    use sensor_common::record::HEADER_LEN;
    use zerocopy::FromBytes;

    use super::*;

    fn read(thread: u32, offset: u64, length: u32) -> Header {
        let mut header = Header::read_from_bytes(&[0; HEADER_LEN]).unwrap();
        (header.tid, header.offset, header.connection) = (thread, offset, u64::from(thread));
        (header.call_len, header.captured) = (length, length);
        header
    }

    fn check(records: &[(Header, &[u8])]) -> (u64, u64) {
        let mut checker = Checker::default();
        for (header, payload) in records {
            checker.take(&Record { header: *header, body: Body::Data(payload) });
        }
        (checker.corrupted, checker.compared)
    }

    #[test]
    fn own_bytes_pass_and_one_changed_byte_does_not() {
        let own = pattern_of(7);
        let records = [(read(7, 0, 300), &own[..300]), (read(7, 300, 9000), &own[300..9300])];
        assert_eq!(check(&records), (0, 9300));
        let mut changed = own[300..9300].to_vec();
        changed[8999] ^= 1;
        assert_eq!(check(&[records[0], (records[1].0, &changed)]), (1, 9300));
    }

    #[test]
    fn bytes_thread_or_offset_of_another_are_corruption() {
        let (own, other) = (pattern_of(7), pattern_of(8));
        assert_eq!(check(&[(read(7, 0, 16), &other[..16])]).0, 1);
        assert_eq!(check(&[(read(7, 5, 16), &own[5..21])]).0, 1);
        let mut foreign = read(7, 16, 16);
        foreign.tid = 8;
        assert_eq!(check(&[(read(7, 0, 16), &own[..16]), (foreign, &own[16..32])]).0, 1);
    }
}
