//! Both directions of an HTTP/2 connection come in, from any point on; its exchanges go out as events (RFC 9113).
//!
//! ```text
//! bytes -> reader (frames, header blocks, HPACK) -> streams (messages, content codings) -> events
//!            '-> hunt (frame boundary behind a gap)
//! ```

use std::fmt;

use crate::http::http2::block::HeaderBlock;
use crate::http::http2::hunt::Hunt;
use crate::http::http2::output::Output;
use crate::http::http2::reader::{Part, Reader, Spoilt};
use crate::http::http2::streams::Streams;
use crate::http::{Config, Message, Sink};
use crate::reassembly::{Direction, Piece};

mod block;
mod body;
mod frame;
mod head;
pub mod hpack;
mod hunt;
mod metrics;
mod output;
mod reader;
mod settings;
mod streams;

pub use metrics::Metrics;

/// One HTTP/2 connection.
pub struct Connection {
    sent: Reader,
    received: Reader,
    /// The direction in which requests go; `None` until something told.
    requests_go: Option<Direction>,
    streams: Streams,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is held may be a prompt or a key.
        f.debug_struct("Connection").field("metrics", &self.metrics()).finish_non_exhaustive()
    }
}

impl Connection {
    /// Makes a connection; `joined` says that its start may not have been seen.
    pub fn new(config: &Config, joined: bool) -> Self {
        Self {
            sent: Reader::new(config, joined),
            received: Reader::new(config, joined),
            requests_go: None,
            streams: Streams::new(config, joined),
        }
    }

    /// What was counted so far.
    pub fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::default();
        self.sent.count(&mut metrics);
        self.received.count(&mut metrics);
        self.streams.count(&mut metrics);
        metrics
    }

    /// Takes the next piece of one direction.
    pub fn push(&mut self, direction: Direction, piece: &Piece, sink: &mut dyn Sink) {
        match piece {
            Piece::Data { at_ns, bytes } => {
                self.data(direction, bytes, &mut Output { sink, at_ns: *at_ns });
            }
            Piece::Gap { at_ns, bytes } => {
                self.gap(direction, *bytes, &mut Output { sink, at_ns: *at_ns });
            }
        }
    }

    /// Ends the connection: whatever is open is aborted.
    pub fn close(&mut self, at_ns: u64, sink: &mut dyn Sink) {
        self.streams.close(&mut Output { sink, at_ns });
    }

    fn reader(&mut self, direction: Direction) -> &mut Reader {
        match direction {
            Direction::Sent => &mut self.sent,
            Direction::Received => &mut self.received,
        }
    }

    /// The traced process is the client until something tells otherwise.
    fn of(&self, direction: Direction) -> Message {
        let requests_go = self.requests_go.unwrap_or(Direction::Sent);
        if direction == requests_go { Message::Request } else { Message::Response }
    }

    fn data(&mut self, direction: Direction, mut input: &[u8], out: &mut Output<'_>) {
        self.streams.expire(out);
        while !input.is_empty() {
            let at_ns = out.at_ns;
            if let Some(hunt) = self.reader(direction).hunt() {
                hunt.feed(&mut input, at_ns);
                self.replay(direction, out);
                out.at_ns = at_ns;
            } else if self.read(direction, &mut input, out) {
                let mut hunt = Hunt::default();
                let refused = self.reader(direction).refused();
                hunt.feed(&mut refused.as_slice(), at_ns);
                self.reader(direction).search(hunt);
            }
        }
    }

    fn gap(&mut self, direction: Direction, missing: Option<u64>, out: &mut Output<'_>) {
        let of = self.of(direction);
        match self.reader(direction).gap(missing) {
            Spoilt::Nothing => {}
            Spoilt::Body(stream) => self.streams.gap(of, stream, missing.unwrap_or(0)),
            Spoilt::All => self.lose(direction, missing.unwrap_or(0), out),
        }
        // A frame whose last bytes are missing has ended.
        self.read(direction, &mut [].as_slice(), out);
    }

    /// Reads what a search holds, from the boundary on that it has found.
    fn replay(&mut self, direction: Direction, out: &mut Output<'_>) {
        while let Some((hunt, mut place)) = self.reader(direction).resume() {
            let mut lost = false;
            while let Some((at_ns, mut run)) = hunt.run(place).filter(|_| !lost) {
                out.at_ns = at_ns;
                let before = run.len();
                lost = self.read(direction, &mut run, out);
                place = place.saturating_add(length(before.saturating_sub(run.len())));
            }
            if lost {
                let refused = place.saturating_sub(length(frame::HEADER_BYTES));
                self.reader(direction).search(hunt.again(refused));
            }
        }
    }

    /// Reads to the end of the input, or to where it is no frame; says whether it came to that.
    fn read(&mut self, direction: Direction, input: &mut &[u8], out: &mut Output<'_>) -> bool {
        while let Some(part) = self.reader(direction).next(input, out.at_ns) {
            let of = self.of(direction);
            match part {
                Part::Preface => self.requests_go(direction, out),
                Part::Data(stream, bytes) => self.streams.data(of, stream, bytes, out),
                Part::EndStream(stream) => self.streams.end(of, stream, out),
                Part::Headers(block) => self.headers(direction, *block, out),
                Part::Settings(settings) => self.reader(opposite(direction)).offer(settings),
                Part::Reset(stream) => self.streams.reset(stream, out),
                Part::GoAway(last) => self.streams.go_away(other(of), last, out),
                Part::NoPreface => self.lose(direction, 0, out),
                Part::Lost => {
                    self.lose(direction, 0, out);
                    return true;
                }
            }
        }
        false
    }

    /// Something of a direction was not seen: messages, and settings that the other one goes by.
    fn lose(&mut self, direction: Direction, missing: u64, out: &mut Output<'_>) {
        self.streams.lose(self.of(direction), missing, out);
        self.reader(opposite(direction)).doubt();
    }

    fn headers(&mut self, direction: Direction, block: HeaderBlock, out: &mut Output<'_>) {
        if self.requests_go.is_none() && block.promised.is_none() {
            // Fields that only one of the two has tell which direction this is.
            if block.fields.is_request() {
                self.requests_go(direction, out);
            } else if block.fields.is_response() {
                self.requests_go(opposite(direction), out);
            }
        }
        match (self.of(direction), block.promised) {
            (Message::Request, _) => self.streams.request(block.stream, block, out),
            (Message::Response, Some(promised)) => self.streams.request(promised, block, out),
            (Message::Response, None) => self.streams.response(block.stream, block, out),
        }
    }

    /// Notes in which direction requests go; what was told under another assumption has ended.
    fn requests_go(&mut self, direction: Direction, out: &mut Output<'_>) {
        if direction != self.requests_go.unwrap_or(Direction::Sent) {
            self.streams.close(out);
        }
        self.requests_go = Some(direction);
    }
}

fn opposite(direction: Direction) -> Direction {
    match direction {
        Direction::Sent => Direction::Received,
        Direction::Received => Direction::Sent,
    }
}

fn other(message: Message) -> Message {
    match message {
        Message::Request => Message::Response,
        Message::Response => Message::Request,
    }
}

/// A length as places count.
fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "an overflow fails the test that has it")]
mod tests;
