//! Events come in; one line of text for each goes out, bodies joined, so that tests can compare them.

use bytes::Bytes;

use crate::http::{AfterGap, Event, ExchangeId, Message, Sink};
use crate::reassembly::{Direction, Piece};

/// Keeps what a decoder said.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    pub(super) lines: Vec<String>,
    /// Whether bytes behind a gap are wanted.
    pub(super) resume: bool,
}

impl Recorder {
    /// Appends to the line of the same body, though the other side may have spoken since.
    fn body(&mut self, id: u64, side: char, bytes: &[u8]) {
        assert!(!bytes.is_empty(), "an empty part of a body says nothing");
        let (prefix, gap) = (format!("{id} {side} "), format!("{id} gap {side} "));
        let ended = format!("{id} {side}. ");
        let text = bytes.escape_ascii().to_string();
        let last = self
            .lines
            .iter_mut()
            .rev()
            .find(|line| [&prefix, &gap, &ended].iter().any(|start| line.starts_with(*start)));
        match last {
            Some(line) if line.starts_with(&prefix) => line.push_str(&text),
            _ => self.lines.push(prefix + &text),
        }
    }
}

impl Sink for Recorder {
    fn event(&mut self, ExchangeId(id): ExchangeId, at_ns: u64, event: Event<'_>) {
        match event {
            Event::Request(head) => {
                let target = head.target.expose().escape_ascii();
                let method = head.method.escape_ascii();
                let host = head.authority.escape_ascii();
                self.lines.push(format!("{id} {method} {target} at {host} @{at_ns}"));
            }
            Event::RequestBody(bytes) => self.body(id, '>', bytes),
            Event::RequestEnd(end) => self.lines.push(format!("{id} >| {end:?}")),
            Event::Response(head) => {
                self.lines.push(format!("{id} {} @{at_ns}", head.status.unwrap_or_default()));
            }
            Event::ResponseBody(bytes) => self.body(id, '<', bytes),
            Event::Trailers(_) => self.lines.push(format!("{id} trailers @{at_ns}")),
            Event::ResponseEnd(end) => self.lines.push(format!("{id} <| {end:?}")),
            Event::Upgraded(head) => {
                self.lines.push(format!("{id} upgraded {}", head.status.unwrap_or_default()));
            }
            Event::WebSocket(_) => self.lines.push(format!("{id} websocket @{at_ns}")),
            Event::MessageData(of, bytes) => self.body(id, side(of), bytes),
            Event::MessageEnd(of, end) => self.lines.push(format!("{id} {}. {end:?}", side(of))),
        }
    }

    fn body_gap(
        &mut self,
        ExchangeId(id): ExchangeId,
        _at_ns: u64,
        of: Message,
        missing: u64,
    ) -> AfterGap {
        self.lines.push(format!("{id} gap {} {missing}", side(of)));
        if self.resume { AfterGap::Resume } else { AfterGap::Withhold }
    }
}

fn side(of: Message) -> char {
    if of == Message::Request { '>' } else { '<' }
}

/// One step of a conversation: who spoke, and what.
pub(super) type Said = (Direction, &'static [u8]);

/// The pieces of a conversation; each step happens ten nanoseconds after the one before.
pub(super) fn pieces(conversation: &[Said]) -> Vec<(Direction, Piece)> {
    let steps = conversation.iter().zip((10..).step_by(10));
    steps.map(|((direction, bytes), step)| (*direction, data(step, bytes))).collect()
}

/// A piece of plaintext.
pub(super) fn data(at_ns: u64, bytes: &[u8]) -> Piece {
    Piece::Data { at_ns, bytes: Bytes::copy_from_slice(bytes) }
}

/// The same pieces, the one at `index` cut in two at `at`.
pub(super) fn cut(
    pieces: &[(Direction, Piece)],
    index: usize,
    at: usize,
) -> Vec<(Direction, Piece)> {
    let mut cut = pieces.to_vec();
    if let (direction, Piece::Data { at_ns, bytes }) = pieces[index].clone() {
        cut[index].1 = Piece::Data { at_ns, bytes: bytes.slice(at..) };
        cut.insert(index, (direction, Piece::Data { at_ns, bytes: bytes.slice(..at) }));
    }
    cut
}
