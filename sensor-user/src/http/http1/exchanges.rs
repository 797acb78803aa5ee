//! Starts and ends of requests and responses come in; each response is given its request, and what is left over ends.

use std::collections::VecDeque;

use crate::http::metrics::Metrics;
use crate::http::{BodyEnd, Event, ExchangeId, Message, Sink};

/// How far the response of an exchange is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Nothing was seen.
    Waiting,
    /// Its beginning fell into a gap.
    Lost,
    /// Its head was seen.
    Open,
    /// It ended before its request did; it is told when the request has ended, too.
    Early { at_ns: u64, end: BodyEnd },
}

/// A request that waits for the end of its exchange.
#[derive(Debug)]
struct Exchange {
    id: ExchangeId,
    started_ns: u64,
    /// When the request's last byte passed.
    ended_ns: u64,
    request_open: bool,
    answer: Answer,
    method: Method,
}

/// What of a request's method decides how its response is read (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Head,
    Connect,
    Other,
    /// The request was not seen.
    Unseen,
}

/// The exchanges of one connection that have not ended, oldest first.
///
/// Responses come in the order of their requests (RFC 9112, 9.3.2). Behind a gap that is not enough: how many
/// responses it swallowed is unknown. A client that does not pipeline sends a request only after the response to
/// the one before, so that the first response behind a gap answers the newest request that is older than it.
/// A gap swallows no response of a request that is younger than the gap.
#[derive(Debug)]
pub(super) struct Exchanges {
    queue: VecDeque<Exchange>,
    next_id: u64,
    pending_max: usize,
    /// Two requests were seen to wait at once, no gap being near.
    pipelines: bool,
    /// When the side of the responses last had a gap, and no response was seen since.
    gap_ns: Option<u64>,
    /// Requests were forgotten whose responses may still come: which one a response answers is not known.
    overrun: bool,
    /// When the last response without a request began.
    orphan_ns: Option<u64>,
}

impl Exchanges {
    pub(super) fn new(pending_max: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            next_id: 0,
            // One whose response is on its way, and one that is being sent.
            pending_max: pending_max.max(2),
            pipelines: false,
            gap_ns: None,
            overrun: false,
            orphan_ns: None,
        }
    }

    fn take_id(&mut self) -> ExchangeId {
        let id = ExchangeId(self.next_id);
        self.next_id = self.next_id.saturating_add(1);
        id
    }

    /// Begins an exchange with its request, whose first byte passed at `at_ns`.
    pub(super) fn begin(
        &mut self,
        at_ns: u64,
        method: Method,
        sink: &mut dyn Sink,
        metrics: &mut Metrics,
    ) -> ExchangeId {
        metrics.requests = metrics.requests.saturating_add(1);
        if self.queue.len() >= self.pending_max {
            let open = self.queue.front().is_some_and(|oldest| oldest.answer == Answer::Open);
            self.abandon(usize::from(open), at_ns, sink, metrics);
            self.overrun = true;
        }
        // What was written at once with the request before did not wait for its response.
        let previous = self.queue.back();
        self.pipelines |= previous.is_some_and(|previous| {
            previous.answer == Answer::Waiting
                && previous.ended_ns == at_ns
                && !previous.request_open
        });
        let id = self.take_id();
        // A response older than this request was taken for one without a request: it may have been this one's.
        let answered = self.orphan_ns.is_some_and(|orphan| at_ns < orphan);
        let answer = if answered { Answer::Lost } else { Answer::Waiting };
        let (started_ns, ended_ns) = (at_ns, at_ns);
        self.queue.push_back(Exchange {
            id,
            started_ns,
            ended_ns,
            request_open: true,
            answer,
            method,
        });
        id
    }

    /// Ends the request of an exchange.
    pub(super) fn end_request(
        &mut self,
        id: ExchangeId,
        at_ns: u64,
        end: BodyEnd,
        sink: &mut dyn Sink,
    ) {
        let Some(index) = self.queue.iter().position(|exchange| exchange.id == id) else { return };
        let Some(exchange) = self.queue.get_mut(index) else { return };
        exchange.request_open = false;
        exchange.ended_ns = at_ns;
        sink.event(id, at_ns, Event::RequestEnd(end));
        if let Answer::Early { at_ns, end } = exchange.answer {
            self.queue.remove(index);
            sink.event(id, at_ns, Event::ResponseEnd(end));
        }
    }

    /// Finds the exchange that a final response belongs to, whose first byte passed at `at_ns`; without one the
    /// response gets an exchange of its own. Exchanges before it can no longer be answered and end.
    pub(super) fn answer(
        &mut self,
        at_ns: u64,
        sink: &mut dyn Sink,
        metrics: &mut Metrics,
    ) -> (ExchangeId, Method) {
        metrics.responses = metrics.responses.saturating_add(1);
        let Some(index) = self.find(at_ns) else {
            metrics.orphan_responses = metrics.orphan_responses.saturating_add(1);
            self.orphan_ns = Some(at_ns);
            return (self.take_id(), Method::Unseen);
        };
        for _ in 0..index {
            self.abandon(0, at_ns, sink, metrics);
        }
        let next_waits = self.queue.get(1).is_some_and(|next| next.started_ns <= at_ns);
        self.pipelines |= next_waits && self.gap_ns.is_none() && index == 0;
        self.gap_ns = None;
        let Some(exchange) = self.queue.front_mut() else {
            return (self.take_id(), Method::Unseen);
        };
        exchange.answer = Answer::Open;
        (exchange.id, exchange.method)
    }

    /// Index of the exchange that a response of that time answers.
    fn find(&self, at_ns: u64) -> Option<usize> {
        let candidates = || {
            self.queue.iter().enumerate().filter(|(_, exchange)| {
                exchange.started_ns <= at_ns
                    && matches!(exchange.answer, Answer::Waiting | Answer::Lost)
            })
        };
        let newest = candidates().next_back().map(|(index, _)| index);
        if self.overrun {
            return None;
        }
        let swallowed = |gap_ns| candidates().any(|(_, exchange)| exchange.started_ns <= gap_ns);
        if !self.pipelines && self.gap_ns.is_some_and(swallowed) {
            return newest;
        }
        // A lost one is the last choice: what was lost may have been an interim response.
        let waiting = candidates().find(|(_, exchange)| exchange.answer == Answer::Waiting);
        waiting.map(|(index, _)| index).or(newest)
    }

    /// Ends the response of an exchange, and with it the exchange.
    pub(super) fn end_response(
        &mut self,
        id: ExchangeId,
        at_ns: u64,
        end: BodyEnd,
        sink: &mut dyn Sink,
    ) {
        let index = self.queue.iter().position(|exchange| exchange.id == id);
        let exchange = index.and_then(|index| self.queue.get_mut(index));
        match exchange {
            Some(exchange) if exchange.request_open => {
                exchange.answer = Answer::Early { at_ns, end }
            }
            _ => {
                index.and_then(|index| self.queue.remove(index));
                sink.event(id, at_ns, Event::ResponseEnd(end));
            }
        }
    }

    /// Removes an exchange because its connection was upgraded; its request has ended then.
    pub(super) fn upgrade(&mut self, id: ExchangeId, at_ns: u64, sink: &mut dyn Sink) {
        let index = self.queue.iter().position(|exchange| exchange.id == id);
        let exchange = index.and_then(|index| self.queue.remove(index));
        if exchange.is_some_and(|exchange| exchange.request_open) {
            sink.event(id, at_ns, Event::RequestEnd(BodyEnd::Aborted));
        }
    }

    /// Takes note of a gap on the side of the responses; `at_head` says that the head of the next one fell into it.
    pub(super) fn lose_response(&mut self, at_head: bool, at_ns: u64) {
        self.gap_ns = Some(at_ns);
        // Behind a gap the newest request is the right one, however many were forgotten.
        self.overrun &= self.pipelines;
        let waiting = self.queue.iter_mut().find(|exchange| exchange.answer == Answer::Waiting);
        if let (true, Some(exchange)) = (at_head, waiting) {
            exchange.answer = Answer::Lost;
        }
    }

    /// Takes note that a side began within a message, where one is given when its rest passed.
    pub(super) fn lose_rest(&mut self, side: Message, cut_ns: Option<u64>) {
        if let (Message::Response, Some(cut_ns)) = (side, cut_ns) {
            self.lose_response(false, cut_ns);
        }
    }

    /// Ends everything with the connection.
    pub(super) fn close(&mut self, at_ns: u64, sink: &mut dyn Sink, metrics: &mut Metrics) {
        while !self.queue.is_empty() {
            self.abandon(0, at_ns, sink, metrics);
        }
    }

    /// Ends an exchange that will not be answered.
    fn abandon(&mut self, index: usize, at_ns: u64, sink: &mut dyn Sink, metrics: &mut Metrics) {
        let Some(exchange) = self.queue.remove(index) else { return };
        if exchange.request_open {
            sink.event(exchange.id, at_ns, Event::RequestEnd(BodyEnd::Aborted));
        }
        let (at_ns, end) = match exchange.answer {
            Answer::Early { at_ns, end } => (at_ns, end),
            Answer::Lost => (at_ns, BodyEnd::Gap),
            Answer::Waiting if self.gap_ns.is_some_and(|gap| exchange.started_ns <= gap) => {
                (at_ns, BodyEnd::Gap)
            }
            Answer::Waiting | Answer::Open => (at_ns, BodyEnd::Aborted),
        };
        if !matches!(exchange.answer, Answer::Early { .. }) {
            metrics.unanswered_requests = metrics.unanswered_requests.saturating_add(1);
        }
        sink.event(exchange.id, at_ns, Event::ResponseEnd(end));
    }
}
