//! Records and pieces of one connection come in; how much of its plaintext was seen, and why not all, goes out.

use sensor_common::record::{FLAG_FRESH, FLAG_NO_ROOM, FLAG_PROBATION, FLAG_UNREADABLE, Socket};

use crate::reassembly::Piece;
use crate::report::coverage::Missing;
use crate::report::event::Seen;

/// Bytes after which a connection of TLS has carried a request: a handshake that failed sends less.
pub(super) const REQUEST_SENT_MIN: u64 = 4096;

/// Reasons that the kernel half gives with a record, the gravest first.
const REASONS: [(u32, &str); 3] = [
    (FLAG_NO_ROOM, "no_room"),
    (FLAG_UNREADABLE, "unreadable"),
    (FLAG_PROBATION, "left_out_on_probation"),
];

/// What was and was not seen so far.
#[derive(Debug, Default)]
pub(super) struct Missed {
    seen_bytes: u64,
    gap_bytes: u64,
    flags: u32,
}

/// How much was seen, and where that is not all, why not and how much is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) seen: Seen,
    pub(super) reason: &'static str,
    pub(super) missing: Option<Missing>,
}

impl Missed {
    /// Takes the flags of a record.
    pub(super) fn observe(&mut self, flags: u32) {
        self.flags |= flags;
    }

    /// Whether the connection was seen from its start on.
    pub(super) fn is_fresh(&self) -> bool {
        self.flags & FLAG_FRESH != 0
    }

    /// Takes a piece of either direction.
    pub(super) fn piece(&mut self, piece: &Piece) {
        match piece {
            Piece::Data { bytes, .. } => {
                let bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                self.seen_bytes = self.seen_bytes.saturating_add(bytes);
            }
            Piece::Gap { bytes, .. } => {
                self.gap_bytes = self.gap_bytes.saturating_add(bytes.unwrap_or(0));
            }
        }
    }

    /// Judges a connection that has ended.
    pub(super) fn judge(&self, socket: Option<&Socket>) -> Judgement {
        let sent = socket.map_or(0, |socket| socket.bytes_sent);
        let wire = socket.map(|socket| sent.saturating_add(socket.bytes_received));
        if self.seen_bytes == 0 && self.gap_bytes == 0 && sent >= REQUEST_SENT_MIN {
            return Judgement { seen: Seen::Blind, reason: "no_plaintext", missing: None };
        }
        if !self.is_fresh() {
            // What the wire carried is more than what is missing: it holds the handshake and the frame of each record.
            let missing = wire.filter(|bytes| *bytes > 0).map(|bytes| Missing {
                bytes: bytes.saturating_sub(self.seen_bytes).max(self.gap_bytes),
                exact: false,
            });
            return Judgement { seen: Seen::Truncated, reason: "joined_late", missing };
        }
        if self.gap_bytes > 0 {
            let known = REASONS.iter().find(|(flag, _)| self.flags & flag != 0);
            let reason = known.map_or("record_lost", |(_, reason)| *reason);
            let missing = Some(Missing { bytes: self.gap_bytes, exact: true });
            return Judgement { seen: Seen::Truncated, reason, missing };
        }
        Judgement { seen: Seen::Complete, reason: "", missing: None }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// One that was seen from its start on.
    fn fresh() -> Missed {
        let mut missed = Missed::default();
        missed.observe(FLAG_FRESH);
        missed
    }

    fn data(bytes: usize) -> Piece {
        Piece::Data { at_ns: 0, bytes: Bytes::from(vec![0; bytes]) }
    }

    fn socket(bytes_sent: u64) -> Socket {
        Socket { bytes_sent, bytes_received: 10_000, ..Socket::default() }
    }

    #[test]
    fn connection_without_a_gap_is_complete() {
        let mut missed = fresh();
        missed.piece(&data(5_000));
        assert_eq!(missed.judge(Some(&socket(6_000))).seen, Seen::Complete);
        assert_eq!(missed.judge(None).seen, Seen::Complete);
    }

    #[test]
    fn gap_is_known_to_the_byte_with_its_reason() {
        let mut missed = fresh();
        missed.piece(&data(5_000));
        missed.piece(&Piece::Gap { at_ns: 0, bytes: Some(70) });
        missed.piece(&Piece::Gap { at_ns: 0, bytes: Some(7) });
        let judged = missed.judge(Some(&socket(6_000)));
        assert_eq!(judged.missing, Some(Missing { bytes: 77, exact: true }));
        assert_eq!((judged.seen, judged.reason), (Seen::Truncated, "record_lost"));
        missed.observe(FLAG_UNREADABLE);
        assert_eq!(missed.judge(None).reason, "unreadable");
    }

    #[test]
    fn what_came_before_the_probes_is_bounded_by_the_wire() {
        let mut missed = Missed::default();
        missed.piece(&data(5_000));
        missed.piece(&Piece::Gap { at_ns: 0, bytes: None });
        let judged = missed.judge(Some(&socket(6_000)));
        assert_eq!(judged.missing, Some(Missing { bytes: 11_000, exact: false }));
        assert_eq!((judged.seen, judged.reason), (Seen::Truncated, "joined_late"));
        assert_eq!(missed.judge(None).missing, None);
    }

    #[test]
    fn connection_that_carried_a_request_and_showed_nothing_is_blind() {
        let missed = fresh();
        let judged = missed.judge(Some(&socket(6_000)));
        assert_eq!((judged.seen, judged.reason), (Seen::Blind, "no_plaintext"));
        assert_eq!(missed.judge(Some(&socket(600))).seen, Seen::Complete);
    }
}
