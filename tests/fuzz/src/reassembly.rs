//! Chunks and losses in any order come in; the bytes handed out must be the truth, each once, outside of true gaps.

use bytes::Bytes;
use sensor_user::reassembly::{Chunk, Config, Direction, Loss, Piece, Start, Table};

/// Offsets used, counted from where the stream begins.
const WINDOW: usize = 2048;
const MILLI: u64 = 1_000_000;
const KEY: u8 = 1;

/// The byte that truly stands at an offset.
fn truth(offset: u64) -> u8 {
    offset.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0]
}

/// What is known of one direction, seen from outside.
struct Oracle {
    base: u64,
    /// Offset of the next byte, counted from `base`; `None` until the direction has begun.
    next: Option<u64>,
    /// Whether data, or the knowledge of its loss, was given for each place.
    given: Vec<(bool, bool)>,
}

impl Oracle {
    fn note(&mut self, place: u64, length: u64, lost: bool) {
        let from = usize::try_from(place).unwrap_or(WINDOW);
        let until = usize::try_from(place.saturating_add(length)).unwrap_or(WINDOW);
        for (data, loss) in self.given.iter_mut().take(until).skip(from) {
            *(if lost { loss } else { data }) = true;
        }
    }

    fn take(&mut self, pieces: &mut Vec<Piece>, first: Option<u64>) {
        for piece in pieces.drain(..) {
            self.next = match piece {
                Piece::Gap { bytes: None, .. } => {
                    assert!(self.next.is_none(), "only a beginning is unknown");
                    first
                }
                Piece::Gap { bytes: Some(missing), .. } => Some(self.gap(missing)),
                Piece::Data { bytes, .. } => Some(self.data(&bytes)),
            };
        }
    }

    /// Checks that nothing given was told as missing; gives the place behind the gap.
    fn gap(&self, missing: u64) -> u64 {
        assert!(missing > 0, "a gap of nothing");
        let next = self.next.unwrap_or(0);
        let until = next.saturating_add(missing);
        for place in next..until {
            let at = usize::try_from(place).ok().and_then(|place| self.given.get(place));
            let (data, loss) = at.copied().unwrap_or_default();
            assert!(!data || loss, "a byte that was given is told as missing");
        }
        until
    }

    /// Checks bytes against the truth; gives the place behind them.
    fn data(&self, bytes: &[u8]) -> u64 {
        assert!(!bytes.is_empty(), "a piece of nothing");
        let mut place = self.next.unwrap_or(0);
        for byte in bytes {
            assert_eq!(*byte, truth(self.base.wrapping_add(place)), "a wrong byte");
            place = place.saturating_add(1);
        }
        place
    }
}

/// Runs one input: a byte of options, then operations of four bytes each.
pub(crate) fn run(data: &[u8]) {
    let Some((options, operations)) = data.split_first() else { return };
    let start = [Start::Fresh, Start::Joined, Start::Unknown][usize::from(*options & 3).min(2)];
    // A direction that was joined may be anywhere, also just before its offset wraps around.
    let base = if start == Start::Fresh {
        0
    } else {
        u64::MAX.wrapping_sub(700).wrapping_mul(u64::from(*options >> 7))
    };
    let config = Config {
        chunks_pending_max: if options & 4 == 0 { 64 } else { 3 },
        bytes_pending_max: if options & 8 == 0 { 1 << 20 } else { 100 },
        bytes_pending_total_max: if options & 16 == 0 { 1 << 20 } else { 60 },
        ..Config::default()
    };
    let mut table = Table::new(&config);
    let _none = table.open(KEY, start, 0);
    let mut oracle = Oracle { base, next: None, given: vec![(false, false); WINDOW] };
    let (mut out, mut first, mut now) = (Vec::new(), None, 0_u64);
    for operation in operations.chunks_exact(4) {
        let [kind, high, low, length] = *operation else { continue };
        let place = u64::from(u16::from_be_bytes([high, low]) & 0x03ff);
        let (length, at_ns) = (u64::from(length), now);
        let offset = base.wrapping_add(place);
        match kind & 7 {
            0 => now = now.saturating_add(MILLI.saturating_mul(length)),
            1 => table.expire(now, |_, _, pieces| out.append(pieces)),
            2 if length > 0 => {
                begin(&mut oracle, &mut first, (start, place, offset));
                oracle.note(place, length, true);
                let _none =
                    table.lose(KEY, Direction::Sent, Loss { offset, at_ns, len: length }, &mut out);
            }
            3..=7 if length > 0 => {
                begin(&mut oracle, &mut first, (start, place, offset));
                oracle.note(place, length, false);
                let bytes: Bytes = (0..length).map(|at| truth(offset.wrapping_add(at))).collect();
                let _none =
                    table.push(KEY, Direction::Sent, Chunk { offset, at_ns, bytes }, &mut out);
            }
            _ => {}
        }
        oracle.take(&mut out, first);
        let bound = config.bytes_pending_max.min(config.bytes_pending_total_max);
        assert!(table.pending_bytes() <= bound, "more is held back than allowed");
    }
    table.close(KEY, now, |_, pieces| out.append(pieces));
    oracle.take(&mut out, first);
    assert_eq!((table.pending_bytes(), table.len()), (0, 0), "something is left after the close");
}

/// Notes where a direction begins: at its first bytes where it was joined, else at offset 0.
fn begin(oracle: &mut Oracle, first: &mut Option<u64>, (start, place, offset): (Start, u64, u64)) {
    if first.is_some() {
        return;
    }
    if start == Start::Joined || start == Start::Unknown && offset != 0 {
        *first = Some(place);
    } else {
        *first = Some(0_u64.wrapping_sub(oracle.base));
        oracle.next = *first;
    }
}
