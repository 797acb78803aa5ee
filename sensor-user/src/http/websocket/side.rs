//! Bytes that one side of a WebSocket sent come in; its messages go out, control frames left out.

use memchr::memchr;

use crate::http::websocket::frame::{self, Frame, HEADER_BYTES_MAX, Opcode, Parsed};
use crate::http::websocket::inflate::Inflater;
use crate::http::{BodyEnd, Message};

/// Bytes unmasked in one step: a share of the processor's cache.
const STEP_BYTES: usize = 16 * 1024;
/// Letters of the first key of a JSON object that is taken for the beginning of a message.
const KEY_LETTERS_MAX: usize = 32;

/// What a side tells.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told<'a> {
    Data(&'a [u8]),
    End(BodyEnd),
}

/// What a side is in the middle of.
///
/// ```text
///  ,-> Header --> Payload --> Header …
///  |      | malformed, gap       | gap over its end
///  '--- Search <-----------------'          close frame, unknown extension: Over
/// ```
#[derive(Debug)]
enum State {
    Header,
    Payload {
        frame: Frame,
        left: u64,
    },
    /// Something that cannot be known, up to the next certain beginning of a message.
    Search,
    Over,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) messages: u64,
    pub(super) malformed: u64,
    pub(super) resyncs: u64,
    pub(super) undecodable: u64,
}

/// The messages of one side.
#[derive(Debug)]
pub(super) struct Side {
    of: Message,
    state: State,
    header: Vec<u8>,
    /// How the message under way would end, and whether it is compressed.
    message: Option<(BodyEnd, bool)>,
    inflater: Option<Box<Inflater>>,
    unmasked: Vec<u8>,
    pub(super) counts: Counts,
}

impl Side {
    pub(super) fn new(of: Message, inflater: Option<Inflater>, followed: bool) -> Self {
        Self {
            of,
            state: if followed { State::Header } else { State::Over },
            header: Vec::new(),
            message: None,
            inflater: inflater.map(Box::new),
            unmasked: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Whether the side has said that it will send nothing more.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Takes the next bytes.
    pub(super) fn push(&mut self, input: &[u8], out: &mut dyn FnMut(Told<'_>)) {
        let mut input = input;
        while !input.is_empty() {
            match &mut self.state {
                State::Over => return,
                State::Search => self.search(&mut input),
                State::Header => self.head(&mut input, out),
                State::Payload { frame, left } => {
                    let frame = *frame;
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    let take = take.min(STEP_BYTES);
                    let (data, rest) = input.split_at_checked(take).unwrap_or((input, &[]));
                    let phase = frame.payload_bytes.saturating_sub(*left);
                    *left = left.saturating_sub(u64::try_from(take).unwrap_or(u64::MAX));
                    input = rest;
                    self.payload(frame, phase, data, out);
                    self.end_frame(out);
                }
            }
        }
    }

    /// Passes over missing bytes: `None` is any number of them.
    pub(super) fn gap(&mut self, missing: Option<u64>, out: &mut dyn FnMut(Told<'_>)) {
        match &mut self.state {
            State::Over | State::Search => {}
            State::Payload { frame, left } if missing.is_some_and(|missing| missing <= *left) => {
                *left = left.saturating_sub(missing.unwrap_or(0));
                if !frame.opcode.is_control() {
                    self.spoil(BodyEnd::Gap);
                }
                self.end_frame(out);
            }
            State::Header | State::Payload { .. } => self.lose(out),
        }
    }

    /// Ends with the connection.
    pub(super) fn close(&mut self, out: &mut dyn FnMut(Told<'_>)) {
        if let Some((end, _)) = self.message.take() {
            // Whether broken compression shows before the end depends on what comes together: that it ended is certain.
            out(Told::End(if end == BodyEnd::Gap { end } else { BodyEnd::Aborted }));
        }
        self.state = State::Over;
    }

    fn head(&mut self, input: &mut &[u8], out: &mut dyn FnMut(Told<'_>)) {
        let had = self.header.len();
        let room = HEADER_BYTES_MAX.saturating_sub(had);
        self.header.extend(input.iter().take(room));
        match frame::parse(&self.header, self.of, self.inflater.is_some()) {
            Parsed::More => *input = &[],
            Parsed::Malformed => self.malformed(out),
            Parsed::Frame(frame) => {
                let taken = frame.header_bytes.saturating_sub(had);
                *input = input.get(taken..).unwrap_or_default();
                self.header.clear();
                self.begin(frame, out);
            }
        }
    }

    fn begin(&mut self, frame: Frame, out: &mut dyn FnMut(Told<'_>)) {
        self.state = State::Payload { frame, left: frame.payload_bytes };
        // RFC 6455, 5.4: a message begins after the end of the one before, and is continued before its own.
        let starts = matches!(frame.opcode, Opcode::Text | Opcode::Binary);
        if !frame.opcode.is_control() && starts == self.message.is_some() {
            return self.malformed(out);
        }
        if starts {
            let known = !frame.compressed || self.inflater.as_mut().is_some_and(|i| i.begin());
            let end = if known { BodyEnd::Complete } else { BodyEnd::Undecodable };
            self.message = Some((end, frame.compressed));
        }
        self.end_frame(out);
    }

    fn payload(&mut self, frame: Frame, phase: u64, data: &[u8], out: &mut dyn FnMut(Told<'_>)) {
        let Some((BodyEnd::Complete, compressed)) = self.message else { return };
        if frame.opcode.is_control() {
            return;
        }
        let data = match frame.mask {
            Some(mask) => {
                frame::unmask(data, mask, phase, &mut self.unmasked);
                self.unmasked.as_slice()
            }
            None => data,
        };
        let Some(inflater) = self.inflater.as_mut().filter(|_| compressed) else {
            return out(Told::Data(data));
        };
        if inflater.push(data, &mut |data| out(Told::Data(data))).is_err() {
            self.spoil(BodyEnd::Undecodable);
        }
    }

    /// Goes on to the next frame where this one is at its end.
    fn end_frame(&mut self, out: &mut dyn FnMut(Told<'_>)) {
        let State::Payload { frame, left: 0 } = self.state else { return };
        self.state = if frame.opcode == Opcode::Close { State::Over } else { State::Header };
        if frame.opcode.is_control() || !frame.last {
            return;
        }
        if let (Some((BodyEnd::Complete, true)), Some(inflater)) =
            (self.message, &mut self.inflater)
            && inflater.end(&mut |data| out(Told::Data(data))).is_err()
        {
            self.spoil(BodyEnd::Undecodable);
        }
        if let Some((end, _)) = self.message.take() {
            let counts = &mut self.counts;
            counts.messages = counts.messages.saturating_add(1);
            let undecodable = u64::from(end == BodyEnd::Undecodable);
            counts.undecodable = counts.undecodable.saturating_add(undecodable);
            out(Told::End(end));
        }
    }

    /// The rest of the message under way cannot be known.
    fn spoil(&mut self, end: BodyEnd) {
        let Some((known, compressed)) = &mut self.message else { return };
        if *known == BodyEnd::Complete {
            *known = end;
        }
        if let Some(inflater) = self.inflater.as_mut().filter(|_| *compressed) {
            inflater.lose();
        }
    }

    fn malformed(&mut self, out: &mut dyn FnMut(Told<'_>)) {
        self.counts.malformed = self.counts.malformed.saturating_add(1);
        self.lose(out);
    }

    /// Where the next frame begins is unknown: a message under way, or one that was missed, ends here.
    fn lose(&mut self, out: &mut dyn FnMut(Told<'_>)) {
        self.counts.resyncs = self.counts.resyncs.saturating_add(1);
        // What was missed may have been compressed.
        if let Some(inflater) = &mut self.inflater {
            inflater.lose();
        }
        self.message = None;
        self.header.clear();
        self.state = State::Search;
        out(Told::End(BodyEnd::Gap));
    }

    /// Looks for a frame that begins an uncompressed message with a JSON object: nothing else is certain.
    fn search(&mut self, input: &mut &[u8]) {
        const TEXT: u8 = 0x81;
        while let Some(at) = memchr(TEXT, input) {
            let rest = input.get(at..).unwrap_or_default();
            if self.is_beginning(rest) {
                *input = rest;
                self.state = State::Header;
                return;
            }
            *input = rest.get(1..).unwrap_or_default();
        }
        *input = &[];
    }

    fn is_beginning(&mut self, bytes: &[u8]) -> bool {
        let Parsed::Frame(frame) = frame::parse(bytes, self.of, false) else { return false };
        let payload = bytes.get(frame.header_bytes..).unwrap_or_default();
        let front = payload.get(..KEY_LETTERS_MAX.saturating_add(4)).unwrap_or(payload);
        match frame.mask {
            Some(mask) => {
                frame::unmask(front, mask, 0, &mut self.unmasked);
                begins_object(&self.unmasked)
            }
            None => begins_object(front),
        }
    }
}

/// Whether the bytes are `{"`, a word, and `":`.
fn begins_object(bytes: &[u8]) -> bool {
    let Some(key) = bytes.strip_prefix(b"{\"") else { return false };
    let letters = key.iter().take_while(|byte| byte.is_ascii_lowercase() || **byte == b'_').count();
    (2..=KEY_LETTERS_MAX).contains(&letters)
        && key.get(letters..).is_some_and(|rest| rest.starts_with(b"\":"))
}
