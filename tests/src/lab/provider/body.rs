//! The pieces of an answer come in; an HTTP body that paces them, breaks where told and files the call's fact goes out.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::HeaderMap;
use tokio::time::{Sleep, sleep};

use crate::harness::monotonic_ns;
use crate::lab::provider::answer::Piece;
use crate::lab::provider::connection::Connection;
use crate::lab::provider::fact::{Outcome, Pending};
use crate::lab::provider::scenario::{Flush, Scenario};

/// Pause before a break, so that what was handed over before it reaches the network.
const BREAK_PAUSE: Duration = Duration::from_millis(10);

/// When pieces go out.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    gap: Duration,
    first: Duration,
    flush: Flush,
    broken: bool,
    length: Option<u64>,
}

impl Pace {
    /// Takes the pace from the knobs; `broken` says that the body ends in a break, `length` what its head promises.
    pub fn new(knobs: &Scenario, broken: bool, length: Option<u64>) -> Self {
        Self { gap: knobs.gap, first: knobs.first, flush: knobs.flush, broken, length }
    }
}

/// The body of one answer.
#[derive(Debug)]
pub struct PacedBody {
    pieces: VecDeque<Piece>,
    /// Fields behind the last piece.
    trailers: Option<HeaderMap>,
    pace: Pace,
    sent_any: bool,
    sent_content: bool,
    wait: Wait,
    pending: Pending,
    connection: Arc<Connection>,
}

/// What stands between now and the next piece.
#[derive(Debug)]
enum Wait {
    /// The pause of the next piece has not been decided.
    Undecided,
    /// A timer runs.
    Timer(Pin<Box<Sleep>>),
    /// The next piece may go.
    Over,
}

impl PacedBody {
    /// Makes a body whose fact is `pending`.
    pub fn new(
        pieces: Vec<Piece>,
        pace: Pace,
        pending: Pending,
        connection: Arc<Connection>,
    ) -> Self {
        Self {
            pieces: pieces.into(),
            trailers: None,
            pace,
            sent_any: false,
            sent_content: false,
            wait: Wait::Undecided,
            pending,
            connection,
        }
    }

    /// Adds fields behind the last piece, unless the body breaks before.
    #[must_use]
    pub fn with_trailers(mut self, fields: HeaderMap) -> Self {
        self.trailers = Some(fields).filter(|_| !self.pace.broken);
        self
    }

    fn poll_wait(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if matches!(self.wait, Wait::Undecided) {
            let pause = self.next_pause();
            let flush = self.sent_any && self.pace.flush == Flush::Each;
            self.wait =
                if pause.is_zero() { Wait::Over } else { Wait::Timer(Box::pin(sleep(pause))) };
            if pause.is_zero() && flush {
                // Having nothing for a moment makes the connection flush what it holds.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        if let Wait::Timer(timer) = &mut self.wait
            && timer.as_mut().poll(context).is_pending()
        {
            return Poll::Pending;
        }
        self.wait = Wait::Undecided;
        Poll::Ready(())
    }

    fn next_pause(&self) -> Duration {
        match self.pieces.front() {
            None if self.pace.broken => BREAK_PAUSE,
            Some(piece) if piece.content && !self.sent_content => self.pace.first,
            Some(_) if self.sent_any => self.pace.gap,
            _ => Duration::ZERO,
        }
    }

    fn send(&mut self, piece: Piece) -> Frame<Bytes> {
        let bytes = u64::try_from(piece.bytes.len()).unwrap_or(0);
        let first = piece.content && !self.sent_content;
        self.sent_any = true;
        self.sent_content |= piece.content;
        self.pace.length = self.pace.length.map(|left| left.saturating_sub(bytes));
        self.pending.update(|fact| {
            fact.response_bytes = fact.response_bytes.saturating_add(bytes);
            fact.chunks = fact.chunks.saturating_add(u64::from(piece.content));
            fact.usage_on_wire |= piece.usage;
            if first {
                fact.t_first_token_ns = monotonic_ns();
            }
        });
        if self.pieces.is_empty() && !self.pace.broken {
            self.connection.expect_request();
            self.pending.end(Outcome::Complete);
        }
        Frame::data(piece.bytes)
    }
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        if this.pieces.is_empty() && !this.pace.broken {
            let trailers = this.trailers.take();
            return Poll::Ready(trailers.map(|fields| Ok(Frame::trailers(fields))));
        }
        if this.poll_wait(context).is_pending() {
            return Poll::Pending;
        }
        if let Some(piece) = this.pieces.pop_front() {
            return Poll::Ready(Some(Ok(this.send(piece))));
        }
        this.pending.end(Outcome::Aborted);
        Poll::Ready(Some(Err(io::Error::other("the scenario breaks the answer here"))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && !self.pace.broken && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.pace.length.map(SizeHint::with_exact).unwrap_or_default()
    }
}
