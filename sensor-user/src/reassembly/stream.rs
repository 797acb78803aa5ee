//! Chunks and losses of one direction come in, in any order; pieces go out in order, each byte once.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;

use crate::reassembly::{Chunk, Config, Loss, Metrics, Piece};

/// Offsets wrap: what lies less than half the number space ahead is ahead, everything else is behind.
const HALF: u64 = 1 << 63;

const NANOS_PER_MILLI: u64 = 1_000_000;

/// What is known of a direction's beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// It was seen from offset 0 on; a first chunk with another offset came too early.
    Fresh,
    /// It was joined after its start, whatever its first offset says.
    Joined,
    /// Nothing: it was joined if its first offset is not 0.
    #[default]
    Unknown,
}

/// Bytes, or the knowledge that there are none.
enum Content {
    Data(Bytes),
    Lost(u64),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if matches!(self, Self::Data(_)) { "Data" } else { "Lost" };
        write!(f, "{kind}({} bytes)", self.len())
    }
}

impl Content {
    fn len(&self) -> u64 {
        match self {
            Self::Data(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Self::Lost(len) => *len,
        }
    }

    /// Bytes of memory that are held.
    fn held(&self) -> u64 {
        match self {
            Self::Data(_) => self.len(),
            Self::Lost(_) => 0,
        }
    }

    /// Cuts off everything from `at` on and returns it.
    fn split_off(&mut self, at: u64) -> Self {
        match self {
            Self::Data(bytes) => {
                let at = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                Self::Data(bytes.split_off(at))
            }
            Self::Lost(len) => {
                let at = at.min(*len);
                let rest = Self::Lost(len.saturating_sub(at));
                *len = at;
                rest
            }
        }
    }
}

/// A part of the direction that cannot be handed out yet, or is about to be.
#[derive(Debug)]
struct Segment {
    offset: u64,
    at_ns: u64,
    content: Content,
}

impl Segment {
    fn end(&self) -> u64 {
        self.offset.wrapping_add(self.content.len())
    }
}

/// Why a missing part is not waited for any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GivenUp {
    Waited,
    OverChunks,
    OverBytes,
    OverTotal,
    AtEnd,
}

/// One direction of a connection.
#[derive(Debug)]
pub struct Stream {
    start: Start,
    started: bool,
    /// Offset of the next byte to hand out.
    next: u64,
    /// Segments behind a missing part, in order, without overlap.
    pending: VecDeque<Segment>,
    pending_bytes: u64,
    gap_wait_ns: u64,
    chunks_max: usize,
    bytes_max: u64,
}

impl Stream {
    /// Makes a direction of which nothing was seen yet.
    pub fn new(config: &Config, start: Start) -> Self {
        Self {
            start,
            started: false,
            next: 0,
            pending: VecDeque::new(),
            pending_bytes: 0,
            gap_wait_ns: config.gap_wait_ms.saturating_mul(NANOS_PER_MILLI),
            chunks_max: config.chunks_pending_max,
            bytes_max: config.bytes_pending_max,
        }
    }

    /// Bytes held back behind a missing part.
    pub fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }

    /// Whether anything is held back.
    pub fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Takes a chunk; appends to `out` what can be handed out now.
    pub fn push(&mut self, chunk: Chunk, metrics: &mut Metrics, out: &mut Vec<Piece>) {
        let Chunk { offset, at_ns, bytes } = chunk;
        let content = Content::Data(bytes);
        metrics.chunks = metrics.chunks.saturating_add(1);
        metrics.bytes = metrics.bytes.saturating_add(content.len());
        self.take(Segment { offset, at_ns, content }, metrics, out);
    }

    /// Takes the knowledge that bytes will never come; they are not waited for.
    pub fn lose(&mut self, loss: Loss, metrics: &mut Metrics, out: &mut Vec<Piece>) {
        let Loss { offset, at_ns, len } = loss;
        metrics.lost_bytes = metrics.lost_bytes.saturating_add(len);
        self.take(Segment { offset, at_ns, content: Content::Lost(len) }, metrics, out);
    }

    /// Gives up missing parts that have been waited for long enough.
    pub fn expire(&mut self, now_ns: u64, metrics: &mut Metrics, out: &mut Vec<Piece>) {
        // The part is missing since the first of the segments behind it came.
        while let Some(since_ns) = self.pending.iter().map(|segment| segment.at_ns).min() {
            if now_ns.saturating_sub(since_ns) < self.gap_wait_ns {
                break;
            }
            self.give_up(GivenUp::Waited, now_ns, metrics, out);
        }
    }

    /// Ends the direction: everything held back is handed out, missing parts as gaps.
    pub fn end(&mut self, at_ns: u64, metrics: &mut Metrics, out: &mut Vec<Piece>) {
        while self.is_waiting() {
            self.give_up(GivenUp::AtEnd, at_ns, metrics, out);
        }
    }

    /// Gives up all missing parts because too much is held back in all.
    pub(super) fn flush(&mut self, at_ns: u64, metrics: &mut Metrics, out: &mut Vec<Piece>) {
        while self.is_waiting() {
            self.give_up(GivenUp::OverTotal, at_ns, metrics, out);
        }
    }

    fn take(&mut self, mut segment: Segment, metrics: &mut Metrics, out: &mut Vec<Piece>) {
        if segment.content.len() == 0 {
            return;
        }
        if !self.started {
            self.begin(&segment, metrics, out);
        }
        let ahead = segment.offset.wrapping_sub(self.next);
        if ahead >= HALF {
            let seen = ahead.wrapping_neg();
            metrics.duplicate_bytes =
                metrics.duplicate_bytes.saturating_add(seen.min(segment.content.len()));
            if seen >= segment.content.len() {
                return;
            }
            segment.content = segment.content.split_off(seen);
            segment.offset = self.next;
        }
        if self.pending.is_empty() && segment.offset == self.next {
            self.hand_out(segment, metrics, out);
            return;
        }
        let at_ns = segment.at_ns;
        if segment.offset != self.next {
            metrics.reordered_chunks = metrics.reordered_chunks.saturating_add(1);
        }
        self.insert(segment, metrics);
        self.drain(metrics, out);
        while self.pending.len() > self.chunks_max {
            self.give_up(GivenUp::OverChunks, at_ns, metrics, out);
        }
        while self.pending_bytes > self.bytes_max {
            self.give_up(GivenUp::OverBytes, at_ns, metrics, out);
        }
    }

    /// Decides with the first bytes where the direction begins.
    fn begin(&mut self, first: &Segment, metrics: &mut Metrics, out: &mut Vec<Piece>) {
        self.started = true;
        if self.start == Start::Joined || self.start == Start::Unknown && first.offset != 0 {
            self.next = first.offset;
            metrics.joined_streams = metrics.joined_streams.saturating_add(1);
            out.push(Piece::Gap { at_ns: first.at_ns, bytes: None });
        }
    }

    fn hand_out(&mut self, segment: Segment, metrics: &mut Metrics, out: &mut Vec<Piece>) {
        self.next = segment.end();
        match segment.content {
            Content::Data(bytes) => out.push(Piece::Data { at_ns: segment.at_ns, bytes }),
            Content::Lost(len) => gap(segment.at_ns, len, metrics, out),
        }
    }

    /// Puts a segment among the pending ones; where they overlap, the older one stays.
    fn insert(&mut self, mut segment: Segment, metrics: &mut Metrics) {
        let place = |offset: u64| offset.wrapping_sub(self.next);
        let mut index =
            self.pending.partition_point(|other| place(other.offset) <= place(segment.offset));
        if let Some(before) = index.checked_sub(1).and_then(|before| self.pending.get(before)) {
            let covered = place(before.end()).saturating_sub(place(segment.offset));
            if !trim_front(&mut segment, covered, metrics) {
                return;
            }
        }
        // The part before each segment that follows is new, the part it covers is not.
        while let Some(behind) = self.pending.get(index) {
            let free = behind.offset.wrapping_sub(segment.offset);
            if free >= segment.content.len() {
                break;
            }
            let covered = behind.content.len();
            let rest = segment.content.split_off(free);
            let rest = Segment { offset: behind.offset, at_ns: segment.at_ns, content: rest };
            if free > 0 {
                self.hold(index, segment);
                index = index.saturating_add(1);
            }
            index = index.saturating_add(1);
            segment = rest;
            if !trim_front(&mut segment, covered, metrics) {
                return;
            }
        }
        self.hold(index, segment);
    }

    fn hold(&mut self, index: usize, segment: Segment) {
        self.pending_bytes = self.pending_bytes.saturating_add(segment.content.held());
        self.pending.insert(index, segment);
    }

    /// Hands out the pending segments up to the next missing part.
    fn drain(&mut self, metrics: &mut Metrics, out: &mut Vec<Piece>) {
        while let Some(segment) = self.pending.pop_front() {
            if segment.offset != self.next {
                self.pending.push_front(segment);
                break;
            }
            self.pending_bytes = self.pending_bytes.saturating_sub(segment.content.held());
            self.hand_out(segment, metrics, out);
        }
    }

    /// Tells of the first missing part, and hands out what stands behind it.
    fn give_up(&mut self, why: GivenUp, at_ns: u64, metrics: &mut Metrics, out: &mut Vec<Piece>) {
        let Some(first) = self.pending.front() else { return };
        let counter = match why {
            GivenUp::Waited => &mut metrics.gaps_waited,
            GivenUp::OverChunks => &mut metrics.gaps_over_chunks,
            GivenUp::OverBytes => &mut metrics.gaps_over_bytes,
            GivenUp::OverTotal => &mut metrics.gaps_over_total,
            GivenUp::AtEnd => &mut metrics.gaps_at_end,
        };
        *counter = counter.saturating_add(1);
        gap(at_ns, first.offset.wrapping_sub(self.next), metrics, out);
        self.next = first.offset;
        self.drain(metrics, out);
    }
}

/// Tells of missing bytes.
fn gap(at_ns: u64, len: u64, metrics: &mut Metrics, out: &mut Vec<Piece>) {
    metrics.gap_bytes = metrics.gap_bytes.saturating_add(len);
    out.push(Piece::Gap { at_ns, bytes: Some(len) });
}

/// Drops the first `covered` bytes of a segment; `false` where nothing is left.
fn trim_front(segment: &mut Segment, covered: u64, metrics: &mut Metrics) -> bool {
    let covered = covered.min(segment.content.len());
    metrics.duplicate_bytes = metrics.duplicate_bytes.saturating_add(covered);
    segment.content = segment.content.split_off(covered);
    segment.offset = segment.offset.wrapping_add(covered);
    segment.content.len() > 0
}
