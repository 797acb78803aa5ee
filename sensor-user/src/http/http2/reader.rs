//! Bytes of one direction come in, split anywhere; what its frames say goes out, header blocks decoded.

use crate::http::Config;
use crate::http::http2::block::{Block, HeaderBlock};
use crate::http::http2::frame::{self, HEADER_BYTES, Header, Kind};
use crate::http::http2::hunt::Hunt;
use crate::http::http2::metrics::Metrics;
use crate::http::http2::settings::{Settings, SettingsReader};

/// RFC 9113, 3.4: what a client sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame headers refused before a direction is given up: a lawful peer sends none, and each costs a search.
const REFUSALS_MAX: u64 = 1000;

/// What the bytes said.
pub(super) enum Part<'a> {
    /// The client's connection preface.
    Preface,
    /// Bytes of a stream's body, padding taken off.
    Data(u32, &'a [u8]),
    /// The body of a stream has ended. (A header block that ends a stream says so itself.)
    EndStream(u32),
    Headers(Box<HeaderBlock>),
    Settings(Settings),
    /// A stream was reset.
    Reset(u32),
    /// The other side's streams above this one are not going to be answered.
    GoAway(u32),
    /// The frame header that `Reader::refused` shows is none: a boundary must be looked for.
    Lost,
    /// What began like the preface is none: a boundary must be looked for behind it.
    NoPreface,
}

/// What missing bytes have spoilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoilt {
    /// Nothing beyond the frame they belong to.
    Nothing,
    /// The body of one stream.
    Body(u32),
    /// Everything: nobody knows what was in between.
    All,
}

/// A frame whose payload is being read.
#[derive(Clone, Copy)]
struct Payload {
    header: Header,
    /// Bytes left of it, padding included.
    left: u32,
    padding: u32,
    /// Octets still to come of what says how to read the rest.
    prefix_left: u32,
    /// The rest cannot be understood: bytes before it are missing, or it breaks the format.
    mute: bool,
}

/// Where in the connection a direction stands.
///
/// ```text
/// Start --> Frame <--> Payload
///   |        |  ^         |  a gap that reaches beyond the frame
///   '------> Lost <-------'  (back to Frame where a chain of frame headers was found)
///             '--> GivenUp      (after too many that were none)
/// ```
enum State {
    /// So many octets of the preface were seen.
    Start(usize),
    Frame,
    Payload(Payload),
    Lost(Hunt),
    /// Nothing is looked at any more.
    GivenUp,
}

/// Reader of one direction.
pub(super) struct Reader {
    state: State,
    joined: bool,
    /// Whether the next frame must be `SETTINGS`, as the first one must (RFC 9113, 3.4).
    first: bool,
    /// A frame header, or the prefix of a payload, as far as it has come.
    octets: [u8; HEADER_BYTES],
    filled: usize,
    frame_ns: u64,
    /// Longest payload that settings allow, in bytes.
    announced: u32,
    block: Block,
    settings: SettingsReader,
    resyncs: u64,
    refusals: u64,
}

impl Reader {
    pub(super) fn new(config: &Config, joined: bool) -> Self {
        Self {
            state: State::Start(0),
            joined,
            first: true,
            octets: [0; HEADER_BYTES],
            filled: 0,
            frame_ns: 0,
            announced: frame::PAYLOAD_BYTES_INITIAL,
            block: Block::new(config, joined),
            settings: SettingsReader::default(),
            resyncs: 0,
            refusals: 0,
        }
    }

    /// Adds what was counted.
    pub(super) fn count(&self, metrics: &mut Metrics) {
        metrics.resyncs = metrics.resyncs.saturating_add(self.resyncs);
        let given_up = u64::from(matches!(self.state, State::GivenUp));
        metrics.directions_given_up = metrics.directions_given_up.saturating_add(given_up);
        self.block.count(metrics);
    }

    /// Takes settings of the other side: they are about what comes in this direction.
    pub(super) fn offer(&mut self, settings: Settings) {
        self.announced = settings.payload_bytes.unwrap_or(0).max(self.announced);
        self.block.offer(settings.table_bytes);
    }

    /// Notes that settings of the other side may not have been seen.
    pub(super) fn doubt(&mut self) {
        self.block.doubt();
    }

    /// The search for a boundary, while one is going on.
    pub(super) fn hunt(&mut self) -> Option<&mut Hunt> {
        match &mut self.state {
            State::Lost(hunt) => Some(hunt),
            _ => None,
        }
    }

    /// Ends the search if it has found a boundary; what it holds from there on is to be read.
    pub(super) fn resume(&mut self) -> Option<(Hunt, u64)> {
        let State::Lost(hunt) = &mut self.state else { return None };
        let place = hunt.find(self.announced)?;
        let hunt = std::mem::take(hunt);
        self.first = false;
        self.enter(State::Frame);
        Some((hunt, place))
    }

    /// Goes on searching with `hunt`, unless there was enough of that.
    pub(super) fn search(&mut self, hunt: Hunt) {
        let enough = self.refusals > REFUSALS_MAX;
        self.enter(if enough { State::GivenUp } else { State::Lost(hunt) });
    }

    /// The octets that were no frame header, after `Part::Lost`.
    pub(super) fn refused(&self) -> [u8; HEADER_BYTES] {
        self.octets
    }

    /// Passes over missing bytes.
    pub(super) fn gap(&mut self, missing: Option<u64>) -> Spoilt {
        let missing = missing.map(|missing| u32::try_from(missing).unwrap_or(u32::MAX));
        match (&mut self.state, missing) {
            (_, Some(0)) | (State::GivenUp, _) => Spoilt::Nothing,
            (State::Payload(payload), Some(missing)) if missing <= payload.left => {
                payload.left = payload.left.saturating_sub(missing);
                // Neither a prefix nor a setting can be put together from what is on both sides of a gap.
                payload.mute |= payload.prefix_left > 0 || payload.header.kind == Kind::Settings;
                payload.prefix_left = 0;
                if payload.header.is_header_block() {
                    self.block.spoil();
                }
                match payload.header.kind {
                    Kind::Data => Spoilt::Body(payload.header.stream),
                    _ => Spoilt::Nothing,
                }
            }
            _ => {
                self.lose();
                self.search(Hunt::behind_gap());
                Spoilt::All
            }
        }
    }

    fn lose(&mut self) {
        self.resyncs = self.resyncs.saturating_add(1);
        self.block.lose();
        self.state = State::Lost(Hunt::default());
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.filled = 0;
    }

    /// Reads on until something is said; `None` where more bytes are needed, or a search goes on.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8], at_ns: u64) -> Option<Part<'a>> {
        loop {
            let part = match self.state {
                State::Lost(_) => return None,
                State::GivenUp => {
                    *input = &[];
                    return None;
                }
                State::Start(_) if input.is_empty() => return None,
                State::Start(matched) => self.start(matched, input),
                State::Frame => self.header_octet(take_octet(input)?, at_ns),
                State::Payload(payload) if payload.left == 0 => {
                    let part = self.end(&payload);
                    self.enter(State::Frame);
                    part
                }
                State::Payload(payload) if payload.prefix_left > 0 => {
                    self.prefix_octet(payload, take_octet(input)?);
                    None
                }
                State::Payload(_) if input.is_empty() => return None,
                State::Payload(payload) => self.content(payload, input),
            };
            if part.is_some() {
                return part;
            }
        }
    }

    /// Compares with the preface; a server sends none.
    fn start(&mut self, matched: usize, input: &mut &[u8]) -> Option<Part<'static>> {
        let octet = input.first()?;
        if PREFACE.get(matched) != Some(octet) {
            match matched {
                0 if self.joined => self.enter(State::Lost(Hunt::behind_gap())),
                0 => self.enter(State::Frame),
                // Octets of the preface cannot begin a frame: its length would be millions.
                _ if self.joined => self.enter(State::Lost(Hunt::default())),
                _ => {
                    self.lose();
                    return Some(Part::NoPreface);
                }
            }
            return None;
        }
        take_octet(input)?;
        let matched = matched.saturating_add(1);
        if matched < PREFACE.len() {
            self.state = State::Start(matched);
            return None;
        }
        // Whoever sees the preface has not come too late.
        self.block.know();
        self.enter(State::Frame);
        Some(Part::Preface)
    }

    /// Takes one octet of a frame header; with the last one its payload begins.
    fn header_octet(&mut self, octet: u8, at_ns: u64) -> Option<Part<'static>> {
        if self.filled == 0 {
            self.frame_ns = at_ns;
        }
        if !self.keep(octet, HEADER_BYTES) {
            return None;
        }
        let header = Header::new(self.octets);
        let is_first = header.kind == Kind::Settings && !header.has(frame::ACK);
        if !header.is_legal(self.announced)
            || !self.block.allows(&header)
            || self.first && !is_first
        {
            self.refusals = self.refusals.saturating_add(1);
            self.lose();
            return Some(Part::Lost);
        }
        self.first = false;
        let mut mute = false;
        match header.kind {
            Kind::Headers | Kind::PushPromise => self.block.begin(&header, self.frame_ns),
            Kind::Continuation => mute = !self.block.is_open(),
            Kind::Settings => self.settings = SettingsReader::default(),
            _ => {}
        }
        let prefix_left = header.prefix_bytes();
        self.enter(State::Payload(Payload {
            header,
            left: header.length,
            padding: 0,
            prefix_left,
            mute,
        }));
        None
    }

    /// Takes one octet of what says how to read the rest of a payload.
    fn prefix_octet(&mut self, mut payload: Payload, octet: u8) {
        payload.left = payload.left.saturating_sub(1);
        payload.prefix_left = payload.prefix_left.saturating_sub(1);
        self.keep(octet, HEADER_BYTES);
        if payload.prefix_left == 0 {
            let padded = payload.header.is_padded();
            if padded {
                payload.padding = self.octets.first().copied().map_or(0, u32::from);
            }
            // RFC 9113, 6.1: padding that does not fit into the payload is an error.
            payload.mute |= payload.padding > payload.left;
            if payload.header.kind == Kind::PushPromise {
                self.block.promise(self.word(usize::from(padded)));
            }
        }
        self.state = State::Payload(payload);
    }

    /// Takes what stands between prefix and padding, as far as it has come.
    fn content<'a>(&mut self, mut payload: Payload, input: &mut &'a [u8]) -> Option<Part<'a>> {
        let content = payload.left.saturating_sub(payload.padding);
        let within = if content == 0 { payload.left } else { content };
        let length = usize::try_from(within).unwrap_or(usize::MAX).min(input.len());
        let (bytes, rest) = input.split_at_checked(length)?;
        *input = rest;
        payload.left = payload.left.saturating_sub(u32::try_from(length).unwrap_or(u32::MAX));
        self.state = State::Payload(payload);
        if content == 0 || payload.mute {
            return None;
        }
        match payload.header.kind {
            Kind::Data => return Some(Part::Data(payload.header.stream, bytes)),
            Kind::Settings => self.settings.push(bytes),
            _ if payload.header.is_header_block() => self.block.append(bytes),
            _ => {}
        }
        None
    }

    /// Ends a frame.
    fn end(&mut self, payload: &Payload) -> Option<Part<'static>> {
        let header = payload.header;
        match header.kind {
            Kind::Data if header.has(frame::END_STREAM) => Some(Part::EndStream(header.stream)),
            Kind::Headers | Kind::PushPromise | Kind::Continuation => {
                if payload.mute {
                    self.block.spoil();
                }
                let whole = header.has(frame::END_HEADERS);
                if whole { self.block.finish().map(Box::new).map(Part::Headers) } else { None }
            }
            Kind::Settings if header.has(frame::ACK) => {
                self.block.acknowledge();
                None
            }
            Kind::Settings => Some(Part::Settings(self.settings.finish(payload.mute))),
            Kind::ResetStream => Some(Part::Reset(header.stream)),
            Kind::GoAway if !payload.mute => Some(Part::GoAway(self.word(0) & 0x7fff_ffff)),
            _ => None,
        }
    }

    /// Keeps an octet until `needed` are there.
    fn keep(&mut self, octet: u8, needed: usize) -> bool {
        if let Some(place) = self.octets.get_mut(self.filled) {
            *place = octet;
        }
        self.filled = self.filled.saturating_add(1);
        self.filled >= needed
    }

    /// Four of the octets kept, as a number.
    fn word(&self, at: usize) -> u32 {
        let octets = self.octets.get(at..).and_then(|octets| octets.first_chunk().copied());
        u32::from_be_bytes(octets.unwrap_or_default())
    }
}

/// Takes the first octet.
fn take_octet(input: &mut &[u8]) -> Option<u8> {
    let (first, rest) = input.split_first()?;
    *input = rest;
    Some(*first)
}
