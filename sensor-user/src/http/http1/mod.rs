//! Both directions of an HTTP/1 connection come in; its exchanges go out as events (RFC 9112).

use bytes::Bytes;

use crate::http::metrics::Metrics;
use crate::http::websocket;
use crate::http::{AfterGap, BodyEnd, Config, Event, ExchangeId, Message, Sink};
use crate::reassembly::{Direction, Piece};

mod body;
mod chunked;
mod collect;
mod exchanges;
mod fields;
mod head;
mod side;

use body::{Body, Progress};
use collect::Taken;
use exchanges::{Exchanges, Method};
use head::Framing;
use side::{Messages, State, body_event, start_line};

/// One HTTP/1 connection.
#[derive(Debug)]
pub struct Connection {
    config: Config,
    requests_go: Direction,
    requests: Messages,
    responses: Messages,
    exchanges: Exchanges,
    /// What the connection went over to.
    websocket: Option<Box<websocket::Connection>>,
    metrics: Metrics,
}

impl Connection {
    /// Makes a connection whose requests go in the direction `requests_go`.
    pub fn new(config: &Config, requests_go: Direction) -> Self {
        Self {
            config: config.clone(),
            requests_go,
            requests: Messages::new(),
            responses: Messages::new(),
            exchanges: Exchanges::new(config.exchanges_pending_max),
            websocket: None,
            metrics: Metrics::default(),
        }
    }

    /// What was counted so far.
    pub fn metrics(&self) -> Metrics {
        let mut metrics = self.metrics;
        if let Some(websocket) = &self.websocket {
            websocket.count(&mut metrics);
        }
        metrics
    }

    /// Takes the next piece of one direction.
    pub fn push(&mut self, direction: Direction, piece: &Piece, sink: &mut dyn Sink) {
        let side = if direction == self.requests_go { Message::Request } else { Message::Response };
        match piece {
            Piece::Data { at_ns, bytes } => self.data(side, bytes, *at_ns, sink),
            Piece::Gap { at_ns, bytes } => self.gap(side, *bytes, *at_ns, sink),
        }
    }

    /// Ends the connection, which its ends have closed.
    pub fn close(&mut self, at_ns: u64, sink: &mut dyn Sink) {
        // RFC 9112, 8: a body framed by nothing else is complete when the connection closes.
        self.end((at_ns, BodyEnd::Complete), sink);
    }

    /// Ends what is told of a connection that may have gone on.
    pub fn abandon(&mut self, at_ns: u64, sink: &mut dyn Sink) {
        self.end((at_ns, BodyEnd::Aborted), sink);
    }

    /// Ends everything; bodies that nothing frames but the connection end as given.
    fn end(&mut self, (at_ns, unframed): (u64, BodyEnd), sink: &mut dyn Sink) {
        for side in [Message::Request, Message::Response] {
            let state = std::mem::replace(&mut self.messages(side).state, State::Opaque);
            let State::Body(body, id) = state else { continue };
            let whole = body.ends_with_connection();
            let end = body.finish(if whole { unframed } else { BodyEnd::Aborted });
            self.end_body(side, (end, id), at_ns, sink);
        }
        self.exchanges.lose_rest(Message::Response, self.responses.cut_ns());
        self.exchanges.close(at_ns, sink, &mut self.metrics);
        if let Some(websocket) = &mut self.websocket {
            websocket.close(at_ns, sink);
        }
    }

    fn messages(&mut self, side: Message) -> &mut Messages {
        match side {
            Message::Request => &mut self.requests,
            Message::Response => &mut self.responses,
        }
    }

    fn data(&mut self, side: Message, bytes: &Bytes, at_ns: u64, sink: &mut dyn Sink) {
        let mut input: &[u8] = bytes;
        self.messages(side).heard = true;
        while !input.is_empty() {
            let messages = self.messages(side);
            match &mut messages.state {
                State::Opaque => {
                    let followed = self.websocket.as_mut();
                    return followed.map_or((), |it| it.push(side, input, at_ns, sink));
                }
                State::Search => {
                    let cut_ns = messages.find(&mut input, at_ns, start_line(side));
                    self.exchanges.lose_rest(side, cut_ns);
                }
                State::Body(body, id) => {
                    let id = *id;
                    let mut out = |data: &[u8]| sink.event(id, at_ns, body_event(side, data));
                    let progress = body.push(&mut input, &mut out);
                    self.progress(side, progress, at_ns, sink);
                }
                State::Head => self.head(side, &mut input, at_ns, sink),
            }
        }
    }

    /// Goes on to the next message where a body has ended.
    fn progress(&mut self, side: Message, progress: Progress, at_ns: u64, sink: &mut dyn Sink) {
        if progress == Progress::More {
            return;
        }
        let State::Body(body, id) = std::mem::replace(&mut self.messages(side).state, State::Head)
        else {
            return;
        };
        let end = if progress == Progress::Done { BodyEnd::Complete } else { BodyEnd::Aborted };
        let end = body.finish(end);
        if progress == Progress::Broken {
            let counter = &mut self.metrics.malformed_bodies;
            *counter = counter.saturating_add(u64::from(end != BodyEnd::Gap));
            self.search(side);
        }
        self.end_body(side, (end, id), at_ns, sink);
    }

    fn end_body(
        &mut self,
        side: Message,
        (end, id): (BodyEnd, ExchangeId),
        at_ns: u64,
        sink: &mut dyn Sink,
    ) {
        let metrics = &mut self.metrics;
        metrics.gap_bodies = metrics.gap_bodies.saturating_add(u64::from(end == BodyEnd::Gap));
        metrics.undecodable_bodies =
            metrics.undecodable_bodies.saturating_add(u64::from(end == BodyEnd::Undecodable));
        match side {
            Message::Request => self.exchanges.end_request(id, at_ns, end, sink),
            Message::Response => self.exchanges.end_response(id, at_ns, end, sink),
        }
    }

    /// Takes bytes of a head, and acts on it once it is whole.
    fn head(&mut self, side: Message, input: &mut &[u8], at_ns: u64, sink: &mut dyn Sink) {
        let (bytes_max, fields_max) = (self.config.head_bytes_max, self.config.header_fields_max);
        let messages = self.messages(side);
        let (taken, count) = messages.collector.take(input, at_ns, bytes_max, start_line(side));
        *input = input.get(count..).unwrap_or_default();
        let (parsed, first_ns) = match taken {
            Taken::More => return,
            Taken::Malformed => (None, at_ns),
            Taken::Head(bytes, first_ns) => {
                let parsed = match side {
                    Message::Request => head::request(bytes, fields_max).map(Parsed::Request),
                    Message::Response => head::response(bytes, fields_max).map(Parsed::Response),
                };
                (parsed, first_ns)
            }
        };
        messages.collector.clear();
        match parsed {
            Some(Parsed::Request(request)) => self.request(&request, (first_ns, at_ns), sink),
            Some(Parsed::Response(response)) => self.response(&response, (first_ns, at_ns), sink),
            None => {
                self.metrics.malformed_heads = self.metrics.malformed_heads.saturating_add(1);
                self.lose(side, at_ns);
            }
        }
    }

    /// Begins an exchange; the head's first and last byte passed at the two times.
    fn request(
        &mut self,
        request: &head::Request,
        (first_ns, at_ns): (u64, u64),
        sink: &mut dyn Sink,
    ) {
        let method = match &*request.head.method {
            b"HEAD" => Method::Head,
            b"CONNECT" => Method::Connect,
            _ => Method::Other,
        };
        let id = self.exchanges.begin(first_ns, method, sink, &mut self.metrics);
        sink.event(id, first_ns, Event::Request(&request.head));
        self.begin_body(Message::Request, (request.framing, &request.codings), (id, at_ns), sink);
    }

    /// Gives a response to its exchange; interim responses are passed over (RFC 9110, 15.2).
    fn response(
        &mut self,
        response: &head::Response,
        (first_ns, at_ns): (u64, u64),
        sink: &mut dyn Sink,
    ) {
        if matches!(response.status, 100 | 102..=199) {
            return;
        }
        let (id, method) = self.exchanges.answer(first_ns, sink, &mut self.metrics);
        if method == Method::Unseen && matches!(self.requests.state, State::Search) {
            // Its head was lost: the answer tells that there was a request, and what it cost.
            sink.event(id, first_ns, Event::Request(&head::unseen(response.head.version)));
            sink.event(id, first_ns, Event::RequestEnd(BodyEnd::Gap));
        }
        let tunnel = method == Method::Connect && matches!(response.status, 200..=299);
        if response.status == 101 || tunnel {
            self.exchanges.upgrade(id, first_ns, sink);
            let websocket = websocket::Connection::accepted(id, &response.head, &self.config);
            let websocket = websocket.filter(|_| !tunnel);
            sink.event(
                id,
                first_ns,
                match websocket {
                    Some(_) => Event::WebSocket(&response.head),
                    None => Event::Upgraded(&response.head),
                },
            );
            self.websocket = websocket.map(Box::new);
            self.metrics.upgrades = self.metrics.upgrades.saturating_add(1);
            self.exchanges.close(at_ns, sink, &mut self.metrics);
            self.requests = Messages::in_state(State::Opaque);
            self.responses = Messages::in_state(State::Opaque);
            return;
        }
        sink.event(id, first_ns, Event::Response(&response.head));
        if let Some(framing) = response.framing(method == Method::Head) {
            self.begin_body(Message::Response, (framing, &response.codings), (id, at_ns), sink);
        } else {
            self.metrics.malformed_heads = self.metrics.malformed_heads.saturating_add(1);
            self.responses.search(&mut self.metrics);
            self.exchanges.end_response(id, at_ns, BodyEnd::Aborted, sink);
        }
    }

    fn begin_body(
        &mut self,
        side: Message,
        (framing, codings): (Framing, &[u8]),
        (id, at_ns): (ExchangeId, u64),
        sink: &mut dyn Sink,
    ) {
        if framing == Framing::Length(0) {
            self.end_body(side, (BodyEnd::Complete, id), at_ns, sink);
        } else {
            let body = Body::new(framing, codings, &self.config);
            self.messages(side).state = State::Body(body, id);
        }
    }

    /// Gives up the message at hand, of which no event was made yet.
    fn lose(&mut self, side: Message, at_ns: u64) {
        if side == Message::Response {
            let at_head = matches!(self.responses.state, State::Head);
            self.exchanges.lose_response(at_head, at_ns);
        }
        self.search(side);
    }

    fn search(&mut self, side: Message) {
        match side {
            Message::Request => self.requests.search(&mut self.metrics),
            Message::Response => self.responses.search(&mut self.metrics),
        }
    }

    /// Passes over missing bytes. What comes before is never joined with what comes behind.
    fn gap(&mut self, side: Message, missing: Option<u64>, at_ns: u64, sink: &mut dyn Sink) {
        if missing == Some(0) {
            return;
        }
        let metrics = &mut self.metrics;
        let messages = match side {
            Message::Request => &mut self.requests,
            Message::Response => &mut self.responses,
        };
        match &mut messages.state {
            State::Opaque => {
                if let Some(websocket) = &mut self.websocket {
                    websocket.gap(side, missing, at_ns, sink);
                }
            }
            State::Head if missing.is_none() && !messages.heard => messages.join(at_ns, metrics),
            State::Head | State::Search => self.lose(side, at_ns),
            State::Body(body, id) => {
                let id = *id;
                let progress = body.skip(missing.unwrap_or(u64::MAX));
                let known = progress == Progress::More && !body.is_withheld();
                let missing = missing.filter(|_| known);
                let resume = missing.is_some_and(|missing| {
                    sink.body_gap(id, at_ns, side, missing) == AfterGap::Resume
                });
                if !resume {
                    body.withhold();
                }
                // A gap longer than the rest of a body reaches into the next head.
                let at_head = body.has_known_length();
                if progress == Progress::Broken && side == Message::Response {
                    self.exchanges.lose_response(at_head, at_ns);
                }
                self.progress(side, progress, at_ns, sink);
            }
        }
    }
}

/// A head of either side.
enum Parsed {
    Request(head::Request),
    Response(head::Response),
}

#[cfg(test)]
mod tests;
