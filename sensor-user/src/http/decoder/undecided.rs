//! The first pieces of a connection come in and are held back; which protocol they begin goes out.

use std::collections::VecDeque;
use std::fmt;

use memchr::memchr;

use crate::http::Config;
use crate::http::sniff::{self, Shape};
use crate::reassembly::{Direction, Piece};

/// Pieces held back until the protocol is known; a start line rarely takes more than one.
const HELD_PIECES_MAX: usize = 256;
/// How often `sniff_bytes_max` may pass in one direction while the other one says less: an answer that was joined may
/// have a long rest, and the next request is found behind it. Who only ever pushes has sent more.
const ALONE_MAX: u64 = 64;
/// RFC 9113, 6.5: the type of the frame each side begins with.
const SETTINGS: u8 = 4;

/// What was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// HTTP/1, its requests in that direction.
    Http1(Direction),
    Http2,
    Other,
}

/// What is remembered of one direction until the protocol is known.
#[derive(Default)]
struct Start {
    /// When bytes were found to be missing: what follows may be the middle of anything.
    joined_ns: Option<u64>,
    /// Bytes that may become a start line.
    begun: Vec<u8>,
    /// Bytes looked at.
    searched_bytes: usize,
    /// Bytes that passed, those that are known to be missing among them.
    passed_bytes: u64,
}

/// A connection whose protocol is not known yet.
#[derive(Debug)]
pub(super) struct Undecided {
    config: Config,
    sent: Start,
    received: Start,
    held: VecDeque<(Direction, Piece)>,
    /// Bytes of what is held.
    held_bytes: usize,
}

impl Undecided {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            sent: Start::default(),
            received: Start::default(),
            held: VecDeque::new(),
            held_bytes: 0,
        }
    }

    /// Looks at the next piece, and holds it back where it may be the beginning of a message.
    pub(super) fn push(&mut self, direction: Direction, piece: Piece) -> Option<Found> {
        let start = match direction {
            Direction::Sent => &mut self.sent,
            Direction::Received => &mut self.received,
        };
        let bytes = match &piece {
            Piece::Data { bytes, .. } => bytes.clone(),
            Piece::Gap { at_ns, bytes } => {
                start.joined_ns = Some(*at_ns);
                start.begun.clear();
                start.pass(bytes.unwrap_or(0));
                self.let_go(direction);
                return self.is_spent().then_some(Found::Other);
            }
        };
        let joined = start.joined_ns.is_some();
        start.searched_bytes = start.searched_bytes.saturating_add(bytes.len());
        start.pass(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        match start.look(direction, &bytes) {
            Look::Found(found) => {
                self.hold(direction, piece);
                return Some(found);
            }
            Look::Begun => self.hold(direction, piece),
            Look::Nothing if joined => self.let_go(direction),
            Look::Nothing => return Some(Found::Other),
        }
        (self.is_spent() || self.holds_too_much()).then_some(Found::Other)
    }

    fn hold(&mut self, direction: Direction, piece: Piece) {
        self.held_bytes = self.held_bytes.saturating_add(length(&piece));
        self.held.push_back((direction, piece));
    }

    /// Lets go of what one direction was thought to begin.
    fn let_go(&mut self, direction: Direction) {
        self.held.retain(|(held, _)| *held != direction);
        self.held_bytes = self.held.iter().map(|(_, piece)| length(piece)).sum();
    }

    /// Whether more is held back than a beginning takes: pieces may each end like the beginning of a line.
    fn holds_too_much(&self) -> bool {
        self.held.len() > HELD_PIECES_MAX || self.held_bytes > self.config.sniff_bytes_max
    }

    /// Whether enough was searched: of both directions, or of one that goes on alone.
    fn is_spent(&self) -> bool {
        let bytes_max = self.config.sniff_bytes_max;
        let alone_max = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_mul(ALONE_MAX);
        let sides = [&self.sent, &self.received];
        sides.iter().all(|side| side.searched_bytes > bytes_max)
            || sides.iter().any(|side| side.passed_bytes > alone_max)
    }

    /// The bounds the connection was made with.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Whether a direction was joined after its start, or has lost a part of it.
    pub(super) fn is_joined(&self) -> bool {
        self.sent.joined_ns.is_some() || self.received.joined_ns.is_some()
    }

    /// What was held back, in order; each direction that was joined begins with a gap.
    pub(super) fn take_held(&mut self) -> impl Iterator<Item = (Direction, Piece)> + use<> {
        let joined = [
            (Direction::Sent, self.sent.joined_ns),
            (Direction::Received, self.received.joined_ns),
        ];
        let gaps = joined.into_iter().filter_map(|(direction, joined_ns)| {
            joined_ns.map(|at_ns| (direction, Piece::Gap { at_ns, bytes: None }))
        });
        self.held_bytes = 0;
        gaps.chain(std::mem::take(&mut self.held))
    }
}

/// Bytes that a piece takes.
fn length(piece: &Piece) -> usize {
    match piece {
        Piece::Data { bytes, .. } => bytes.len(),
        Piece::Gap { .. } => 0,
    }
}

/// What one piece says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Found(Found),
    /// Its end may be the beginning of a message.
    Begun,
    Nothing,
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Start({} bytes, joined {:?})", self.begun.len(), self.joined_ns)
    }
}

impl Start {
    /// Counts bytes that passed.
    fn pass(&mut self, bytes: u64) {
        self.passed_bytes = self.passed_bytes.saturating_add(bytes);
    }

    fn look(&mut self, direction: Direction, bytes: &[u8]) -> Look {
        if !self.begun.is_empty() {
            self.begun.extend_from_slice(bytes);
            let begun = std::mem::take(&mut self.begun);
            let look = self.look_at(direction, &begun);
            if look == Look::Begun && self.begun.is_empty() {
                self.begun = begun;
            }
            // What began with the piece before was nothing; where anything may come, this piece may begin something.
            if look != Look::Nothing || self.joined_ns.is_none() {
                return look;
            }
        }
        let look = self.look_at(direction, bytes);
        if look == Look::Begun && self.begun.is_empty() {
            self.begun.extend_from_slice(bytes);
        }
        look
    }

    /// Looks at the beginning of the bytes, and where the start was not seen, at the beginning of each line.
    fn look_at(&mut self, direction: Direction, bytes: &[u8]) -> Look {
        let joined = self.joined_ns.is_some();
        let first = look_at_start(direction, bytes, (!joined).then_some(SETTINGS));
        if first != Look::Nothing || !joined {
            return first;
        }
        let mut rest = bytes;
        while let Some(feed) = memchr(b'\n', rest) {
            rest = rest.get(feed.saturating_add(1)..).unwrap_or_default();
            match look_at_line(direction, rest) {
                Look::Nothing => {}
                Look::Begun if rest.is_empty() => return Look::Nothing,
                Look::Begun => {
                    self.begun = rest.to_vec();
                    return Look::Begun;
                }
                found @ Look::Found(_) => return found,
            }
        }
        Look::Nothing
    }
}

/// Looks for the beginning of either protocol.
fn look_at_start(direction: Direction, bytes: &[u8], first_frame: Option<u8>) -> Look {
    let http2 = [sniff::preface(bytes), sniff::frames(bytes, first_frame)];
    if http2.contains(&Shape::Yes) {
        return Look::Found(Found::Http2);
    }
    match look_at_line(direction, bytes) {
        Look::Nothing if http2.contains(&Shape::Maybe) => Look::Begun,
        look => look,
    }
}

/// Looks for a start line of HTTP/1.
fn look_at_line(direction: Direction, bytes: &[u8]) -> Look {
    let other = match direction {
        Direction::Sent => Direction::Received,
        Direction::Received => Direction::Sent,
    };
    match (sniff::request_line(bytes), sniff::status_line(bytes)) {
        (Shape::Yes, _) => Look::Found(Found::Http1(direction)),
        (_, Shape::Yes) => Look::Found(Found::Http1(other)),
        (Shape::No, Shape::No) => Look::Nothing,
        _ => Look::Begun,
    }
}
