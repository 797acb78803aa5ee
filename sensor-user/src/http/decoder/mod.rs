//! Contiguous pieces of both directions of a connection come in; the protocol is found out, its events go out.

use crate::http::http1;
use crate::http::http2;
use crate::http::{Config, Metrics, Sink};
use crate::reassembly::{Direction, Piece};

mod undecided;

use undecided::{Found, Undecided};

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Anything else: the connection is followed no further.
    Other,
}

/// Decoder of one connection.
///
/// ```text
/// Undecided --> Http1 | Http2
///     '-------> Other   (first bytes are neither, or too many were searched)
/// ```
#[derive(Debug)]
pub struct Decoder {
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Undecided(Box<Undecided>),
    Http1(Direction, Box<http1::Connection>),
    Http2(Box<http2::Connection>),
    Other,
}

impl Decoder {
    /// Makes the decoder of a connection of which nothing was seen yet.
    pub fn new(config: &Config) -> Self {
        Self { stage: Stage::Undecided(Box::new(Undecided::new(config))) }
    }

    /// What the connection speaks; `None` until enough was seen.
    pub fn protocol(&self) -> Option<Protocol> {
        match self.stage {
            Stage::Undecided(_) => None,
            Stage::Http1(..) => Some(Protocol::Http1),
            Stage::Http2(_) => Some(Protocol::Http2),
            Stage::Other => Some(Protocol::Other),
        }
    }

    /// Whether it is known to speak HTTP and not known to be the end that answers.
    pub fn asks(&self) -> bool {
        match self.stage {
            Stage::Http1(requests_go, _) => requests_go == Direction::Sent,
            Stage::Http2(_) => true,
            Stage::Undecided(_) | Stage::Other => false,
        }
    }

    /// What an HTTP/1 connection has counted; `None` for every other one.
    pub fn metrics(&self) -> Option<Metrics> {
        match &self.stage {
            Stage::Http1(_, connection) => Some(connection.metrics()),
            _ => None,
        }
    }

    /// What an HTTP/2 connection has counted; `None` for every other one.
    pub fn http2_metrics(&self) -> Option<http2::Metrics> {
        match &self.stage {
            Stage::Http2(connection) => Some(connection.metrics()),
            _ => None,
        }
    }

    /// Takes the next piece of one direction.
    pub fn push(&mut self, direction: Direction, piece: Piece, sink: &mut dyn Sink) {
        match &mut self.stage {
            Stage::Http1(_, connection) => connection.push(direction, &piece, sink),
            Stage::Http2(connection) => connection.push(direction, &piece, sink),
            Stage::Other => {}
            Stage::Undecided(undecided) => {
                let found = undecided.push(direction, piece);
                if let Some(stage) = found.map(|found| begin(undecided, found, sink)) {
                    self.stage = stage;
                }
            }
        }
    }

    /// Ends what is told of a connection that may have gone on: its process has ended, or it is followed no further.
    pub fn abandon(&mut self, at_ns: u64, sink: &mut dyn Sink) {
        if let Stage::Http1(_, connection) = &mut self.stage {
            connection.abandon(at_ns, sink);
        } else {
            self.close(at_ns, sink);
        }
    }

    /// Ends the connection, which its ends have closed.
    pub fn close(&mut self, at_ns: u64, sink: &mut dyn Sink) {
        match &mut self.stage {
            Stage::Http1(_, connection) => connection.close(at_ns, sink),
            Stage::Http2(connection) => connection.close(at_ns, sink),
            Stage::Undecided(_) | Stage::Other => {}
        }
    }
}

/// Hands what was held back to the protocol found.
fn begin(undecided: &mut Undecided, found: Found, sink: &mut dyn Sink) -> Stage {
    let pieces = undecided.take_held();
    match found {
        Found::Http1(requests_go) => {
            let mut connection = http1::Connection::new(undecided.config(), requests_go);
            pieces.for_each(|(direction, piece)| connection.push(direction, &piece, sink));
            Stage::Http1(requests_go, Box::new(connection))
        }
        Found::Http2 => {
            let mut connection = http2::Connection::new(undecided.config(), undecided.is_joined());
            pieces.for_each(|(direction, piece)| connection.push(direction, &piece, sink));
            Stage::Http2(Box::new(connection))
        }
        Found::Other => Stage::Other,
    }
}

#[cfg(test)]
mod tests;
