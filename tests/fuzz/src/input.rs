//! Bytes of the fuzzer come in; steps of a conversation, and cuts that depend on nothing but the input, go out.

use bytes::Bytes;
use sensor_user::reassembly::{Direction, Piece};

/// Ends a step; twice in a row it stands for itself.
const MARK: u8 = 0xff;

/// Option of a conversation: the bytes behind a gap in a body are wanted.
pub(crate) const RESUME: u8 = 1;
/// Option: bounds that short inputs can reach.
pub(crate) const NARROW: u8 = 1 << 1;
/// Option: HTTP/1 requests are received, HTTP/2 was joined.
pub(crate) const TURNED: u8 = 1 << 2;
/// Option: the protocol is to be found out.
pub(crate) const SNIFFED: u8 = 1 << 3;
/// Option: HTTP/2's preface comes first.
pub(crate) const PREFACED: u8 = 1 << 4;

/// Whether an option is set.
pub(crate) fn has(options: u8, option: u8) -> bool {
    options & option != 0
}

/// Longest input whose bytes are also fed one by one; beyond, that costs more executions than it finds.
pub(crate) const SINGLE_MAX: usize = 512;

/// A small generator (xorshift); the same input makes the same choices.
pub(crate) struct Choices(u64);

impl Choices {
    pub(crate) fn of(data: &[u8]) -> Self {
        // FNV-1a, so that every byte counts.
        let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self(data.iter().fold(0xcbf2_9ce4_8422_2325, mix) | 1)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 8).unwrap_or(0).checked_rem(bound).unwrap_or(0)
    }

    /// The bytes in parts: some short, some long, none empty.
    pub(crate) fn parts<'a>(&mut self, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let mut parts = Vec::new();
        while !bytes.is_empty() {
            let most = if self.below(2) == 0 { 8 } else { bytes.len() };
            let (part, rest) = bytes.split_at(self.below(most).saturating_add(1).min(bytes.len()));
            parts.push(part);
            bytes = rest;
        }
        parts
    }
}

/// How an input is cut into pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Not at all.
    Whole,
    /// Where the generator says.
    Anywhere,
    /// Into single bytes.
    Single,
}

/// Something that happens on a connection.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Said(Direction, Vec<u8>),
    Missing(Direction, Option<u64>),
}

/// Whether everything was seen: only then does a cut change nothing. Behind missing bytes the start of a piece is
/// a hint where a message may begin.
pub(crate) fn is_gapless(steps: &[Step]) -> bool {
    !steps.iter().any(|step| matches!(step, Step::Missing(..)))
}

/// Splits an input at its marks; the byte behind a mark says what the step is:
///
/// `S` and `R` bytes that were sent or received, `s` and `r` missing bytes (one byte: how many; 0 is unknown),
/// `F` and `f` an HTTP/2 frame that was sent or received (type, flags, stream, payload), so that its length is right.
pub(crate) fn conversation(data: &[u8]) -> Vec<Step> {
    let mut steps = Vec::new();
    for segment in segments(data) {
        let Some((tag, rest)) = segment.split_first() else { continue };
        let missing = || rest.first().map(|count| u64::from(*count)).filter(|count| *count != 0);
        match tag {
            b'S' => steps.push(Step::Said(Direction::Sent, rest.to_vec())),
            b'R' => steps.push(Step::Said(Direction::Received, rest.to_vec())),
            b's' => steps.push(Step::Missing(Direction::Sent, missing())),
            b'r' => steps.push(Step::Missing(Direction::Received, missing())),
            b'F' => steps.extend(frame(rest).map(|frame| Step::Said(Direction::Sent, frame))),
            b'f' => steps.extend(frame(rest).map(|frame| Step::Said(Direction::Received, frame))),
            _ => {}
        }
    }
    steps
}

/// RFC 9113, 4.1, with a stream of one byte.
fn frame(parts: &[u8]) -> Option<Vec<u8>> {
    let [kind, flags, stream, payload @ ..] = parts else { return None };
    let length = u32::try_from(payload.len()).ok()?.to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], *kind, *flags, 0, 0, 0, *stream];
    frame.extend_from_slice(payload);
    Some(frame)
}

fn segments(data: &[u8]) -> Vec<Vec<u8>> {
    let mut segments = vec![Vec::new()];
    let mut bytes = data.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let is_mark = byte == MARK && bytes.next_if_eq(&MARK).is_none();
        match segments.last_mut() {
            Some(segment) if !is_mark => segment.push(byte),
            _ => segments.push(Vec::new()),
        }
    }
    segments
}

/// The pieces of a conversation; each step has its own time, its pieces share it.
pub(crate) fn pieces(steps: &[Step], cut: Cut, choices: &mut Choices) -> Vec<(Direction, Piece)> {
    let mut pieces = Vec::new();
    for (step, at_ns) in steps.iter().zip(1..) {
        match step {
            Step::Missing(direction, bytes) => {
                pieces.push((*direction, Piece::Gap { at_ns, bytes: *bytes }));
            }
            Step::Said(direction, said) => {
                let parts = match cut {
                    Cut::Whole => vec![said.as_slice()],
                    Cut::Anywhere => choices.parts(said),
                    Cut::Single => said.chunks(1).collect(),
                };
                let parts = parts.into_iter().filter(|part| !part.is_empty());
                pieces.extend(parts.map(|part| {
                    (*direction, Piece::Data { at_ns, bytes: Bytes::copy_from_slice(part) })
                }));
            }
        }
    }
    pieces
}
