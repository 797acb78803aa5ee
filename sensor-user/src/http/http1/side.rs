//! Bytes of one side come in piece by piece; what the side is in the middle of, and where it was joined, is kept.

use crate::http::http1::body::Body;
use crate::http::http1::collect::{Collector, StartLine};
use crate::http::metrics::Metrics;
use crate::http::sniff;
use crate::http::{Event, ExchangeId, Message};

/// What a side is in the middle of.
///
/// ```text
///  ,-> Head --> Body --> Head …
///  |    |  malformed, gap |
///  '- Search <------------'          101, CONNECT: Opaque
/// ```
#[derive(Debug)]
pub(super) enum State {
    /// A head, or nothing yet of it.
    Head,
    Body(Body, ExchangeId),
    /// Something that cannot be known, up to the next plausible start line.
    Search,
    /// Another protocol.
    Opaque,
}

pub(super) fn start_line(side: Message) -> StartLine {
    match side {
        Message::Request => sniff::request_line,
        Message::Response => sniff::status_line,
    }
}

pub(super) fn body_event(side: Message, bytes: &[u8]) -> Event<'_> {
    match side {
        Message::Request => Event::RequestBody(bytes),
        Message::Response => Event::ResponseBody(bytes),
    }
}

/// The messages of one side.
#[derive(Debug)]
pub(super) struct Messages {
    pub(super) state: State,
    pub(super) collector: Collector,
    /// Bytes came.
    pub(super) heard: bool,
    /// When it was joined, until its first start line is found.
    joined_ns: Option<u64>,
    /// Bytes searched for a start line since the search began.
    searched: usize,
}

impl Messages {
    pub(super) fn new() -> Self {
        Self::in_state(State::Head)
    }

    pub(super) fn in_state(state: State) -> Self {
        let collector = Collector::default();
        Self { state, collector, heard: false, joined_ns: None, searched: 0 }
    }

    /// Searches for a start line. Where the first one of a side that was joined is found behind something else, the
    /// answer says when that came: it was the rest of a message.
    pub(super) fn find(
        &mut self,
        input: &mut &[u8],
        at_ns: u64,
        start_line: StartLine,
    ) -> Option<u64> {
        let before = input.len();
        let found = self.collector.search(input, at_ns, start_line);
        self.searched = self.searched.saturating_add(before.saturating_sub(input.len()));
        if !found {
            return None;
        }
        self.state = State::Head;
        let cut_ns = self.cut_ns();
        self.joined_ns = None;
        cut_ns
    }

    /// When the rest of a message came before which the side was joined and behind which no start line was found yet.
    pub(super) fn cut_ns(&self) -> Option<u64> {
        self.joined_ns.filter(|_| self.searched > self.collector.len())
    }

    /// Takes note that the side was joined; what it said before answers no request that was seen.
    pub(super) fn join(&mut self, at_ns: u64, metrics: &mut Metrics) {
        self.joined_ns = Some(at_ns);
        self.search(metrics);
    }

    pub(super) fn search(&mut self, metrics: &mut Metrics) {
        metrics.resyncs = metrics.resyncs.saturating_add(1);
        self.collector.clear();
        self.searched = 0;
        self.state = State::Search;
    }
}
