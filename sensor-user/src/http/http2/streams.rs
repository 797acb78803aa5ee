//! What the frames of both directions say comes in; the events of each stream go out, in order.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::http::http2::block::HeaderBlock;
use crate::http::http2::body::Body;
use crate::http::http2::metrics::Metrics;
use crate::http::http2::output::Output;
use crate::http::{BodyEnd, Config, Event, Headers, Message, RequestHead, ResponseHead, Version};
use crate::redact::Redacted;

/// Streams that have ended and are remembered, so that late frames do not open them again.
const CLOSED_MAX: usize = 128;
/// How long nothing may come of an answer whose end may have been missed: clients wait ten minutes, for its beginning and
/// while a model thinks, and not every server says anything meanwhile.
const SILENCE_NS_MAX: u64 = 600_000_000_000;

/// One exchange.
///
/// ```text
/// request:   head --> body --> end
/// response:            head --> body --> end, told once the request has ended too
/// ```
struct Stream {
    request: Body,
    response: Option<Body>,
    /// The response's head, or all of it, may have been missed.
    response_missed: bool,
    /// RFC 9113, 8.5: a successful answer makes it a tunnel.
    connect: bool,
    used_ns: u64,
}

impl Stream {
    /// Bytes of a message are missing, or may be.
    fn gap(&mut self, of: Message, missing: u64) {
        match (of, &mut self.response) {
            (Message::Request, _) => self.request.gap(missing),
            (Message::Response, Some(response)) => response.gap(missing),
            (Message::Response, None) => self.response_missed = true,
        }
    }

    /// Whether the end of the response may be among what is missing.
    fn may_have_ended(&self) -> bool {
        self.response.as_ref().map_or(self.response_missed, Body::has_gap)
    }

    /// Whether that must be so, as nothing comes any more.
    fn is_silent(&self, now_ns: u64) -> bool {
        self.may_have_ended() && now_ns.saturating_sub(self.used_ns) >= SILENCE_NS_MAX
    }

    /// Whether the response has ended, so that only the request keeps it open.
    fn is_answered(&self) -> bool {
        self.response.as_ref().is_some_and(|response| response.ended().is_some())
    }
}

/// The streams of one connection.
pub(super) struct Streams {
    config: Config,
    open: BTreeMap<u32, Stream>,
    closed: VecDeque<u32>,
    /// Highest stream opened by the client, which are odd, and by the server.
    highest_odd: u32,
    highest_even: u32,
    /// Streams may have been opened unseen.
    lossy: bool,
    /// Streams may have ended unseen.
    gapped: bool,
    requests: u64,
    responses: u64,
    unseen: u64,
    evicted: u64,
}

impl Streams {
    pub(super) fn new(config: &Config, joined: bool) -> Self {
        Self {
            config: config.clone(),
            open: BTreeMap::new(),
            closed: VecDeque::new(),
            highest_odd: 0,
            highest_even: 0,
            lossy: joined,
            gapped: false,
            requests: 0,
            responses: 0,
            unseen: 0,
            evicted: 0,
        }
    }

    /// Adds what was counted.
    pub(super) fn count(&self, metrics: &mut Metrics) {
        metrics.requests = metrics.requests.saturating_add(self.requests);
        metrics.responses = metrics.responses.saturating_add(self.responses);
        metrics.requests_unseen = metrics.requests_unseen.saturating_add(self.unseen);
        metrics.streams_evicted = metrics.streams_evicted.saturating_add(self.evicted);
    }

    /// Streams that are open.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Takes a header block of the client, or the promise of a server to answer one it never got.
    pub(super) fn request(&mut self, id: u32, block: HeaderBlock, out: &mut Output<'_>) {
        let ends = block.end_stream || block.promised.is_some();
        if block.fields.is_trailers() {
            // Trailers without a head: it was missed.
            self.known(Message::Request, id, out);
        }
        if !self.open.contains_key(&id) {
            if !self.is_new(id) {
                return;
            }
            self.requests = self.requests.saturating_add(1);
            let highest = if id % 2 == 1 { &mut self.highest_odd } else { &mut self.highest_even };
            *highest = id.max(*highest);
            let head = block.fields.into_request();
            self.open(id, &head, block.at_ns, out);
        }
        // Anything but the first block is trailers (RFC 9113, 8.1); nobody needs those of a request.
        if ends {
            self.end(Message::Request, id, out);
        }
    }

    /// Takes a header block of the server.
    pub(super) fn response(&mut self, id: u32, block: HeaderBlock, out: &mut Output<'_>) {
        if !self.known(Message::Response, id, out) {
            return;
        }
        let Some(stream) = self.open.get_mut(&id) else { return };
        stream.used_ns = out.at_ns;
        match &stream.response {
            Some(body) => {
                if body.ended().is_none() {
                    out.tell_at(block.at_ns, id, Event::Trailers(&block.fields.into_trailers()));
                }
            }
            None if block.fields.is_interim() || block.fields.is_trailers() => {}
            None => {
                self.responses = self.responses.saturating_add(1);
                let head = block.fields.into_response();
                let accepted = head.status.is_some_and(|status| (200..300).contains(&status));
                if stream.connect && accepted {
                    out.tell_at(block.at_ns, id, Event::Upgraded(&head));
                    self.forget(id);
                    return;
                }
                out.tell_at(block.at_ns, id, Event::Response(&head));
                stream.response = Some(Body::new(Message::Response, &head.headers, &self.config));
            }
        }
        if block.end_stream {
            self.end(Message::Response, id, out);
        }
    }

    /// Takes bytes of a body.
    pub(super) fn data(&mut self, of: Message, id: u32, bytes: &[u8], out: &mut Output<'_>) {
        if !self.known(of, id, out) {
            return;
        }
        let Some(stream) = self.open.get_mut(&id) else { return };
        stream.used_ns = out.at_ns;
        let message = match of {
            Message::Request => &mut stream.request,
            Message::Response => stream.response.get_or_insert_with(|| {
                let head = ResponseHead {
                    version: Version::Http2,
                    status: None,
                    headers: unknown_headers(),
                };
                out.tell(id, Event::Response(&head));
                let mut message = Body::new(of, &head.headers, &self.config);
                message.gap(0);
                message
            }),
        };
        message.push(id, bytes, &self.config, out);
    }

    /// Takes the end of a body.
    pub(super) fn end(&mut self, of: Message, id: u32, out: &mut Output<'_>) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        match (of, &mut stream.response) {
            (Message::Request, _) => end_request(stream, id, BodyEnd::Complete, out),
            (Message::Response, Some(response)) => {
                response.finish(BodyEnd::Complete);
            }
            (Message::Response, None) => {
                // An end without a head: the head was missed.
                stream.response_missed = true;
                self.abort(id, out);
            }
        }
        self.settle(id, out);
    }

    /// Takes a reset from either side (RFC 9113, 6.4).
    pub(super) fn reset(&mut self, id: u32, out: &mut Output<'_>) {
        self.abort(id, out);
    }

    /// Takes the announcement that streams above `last`, of those the sender of `of` has opened, are not going to
    /// be answered (RFC 9113, 6.8).
    pub(super) fn go_away(&mut self, of: Message, last: u32, out: &mut Output<'_>) {
        let parity = u32::from(of == Message::Request);
        let from = last.saturating_add(1);
        while let Some(id) = self.open.range(from..).map(|(id, _)| *id).find(|id| id % 2 == parity)
        {
            self.abort(id, out);
        }
    }

    /// Bytes of one body are missing.
    pub(super) fn gap(&mut self, of: Message, id: u32, missing: u64) {
        self.gapped = true;
        if let Some(stream) = self.open.get_mut(&id) {
            stream.gap(of, missing);
        }
    }

    /// Bytes of one direction are missing, and nobody knows of which streams.
    pub(super) fn lose(&mut self, of: Message, missing: u64, out: &mut Output<'_>) {
        self.lossy = true;
        self.gapped = true;
        self.open.values_mut().for_each(|stream| stream.gap(of, missing));
        // The end of a request that was still going on may be among what is missing.
        let mut from = 0;
        while let Some(id) =
            self.open.range(from..).find(|(_, stream)| stream.is_answered()).map(|(id, _)| *id)
        {
            self.settle(id, out);
            from = id.saturating_add(1);
        }
    }

    /// Ends what has ended unseen, as far as its silence tells.
    pub(super) fn expire(&mut self, out: &mut Output<'_>) {
        if !self.gapped {
            return;
        }
        let now_ns = out.at_ns;
        let silent = |(id, stream): (&u32, &Stream)| stream.is_silent(now_ns).then_some(*id);
        while let Some(id) = self.open.iter().find_map(silent) {
            self.lapse(id, out);
        }
        self.gapped = self.open.values().any(Stream::may_have_ended);
    }

    /// Ends everything.
    pub(super) fn close(&mut self, out: &mut Output<'_>) {
        while let Some(id) = self.open.keys().next().copied() {
            self.lapse(id, out);
        }
    }

    /// Whether a stream of that number can still open.
    fn is_new(&self, id: u32) -> bool {
        let highest = if id % 2 == 1 { self.highest_odd } else { self.highest_even };
        (self.lossy || id > highest) && !self.closed.contains(&id)
    }

    /// Whether the stream is open; one whose request was missed is opened with an empty head.
    fn known(&mut self, of: Message, id: u32, out: &mut Output<'_>) -> bool {
        if self.open.contains_key(&id) {
            return true;
        }
        if !self.is_new(id) {
            return false;
        }
        self.unseen = self.unseen.saturating_add(1);
        let head = RequestHead {
            version: Version::Http2,
            method: Bytes::new(),
            target: Redacted::default(),
            authority: Bytes::new(),
            headers: unknown_headers(),
        };
        self.open(id, &head, out.at_ns, out);
        self.gap(Message::Request, id, 0);
        if let Some(stream) = self.open.get_mut(&id).filter(|_| of == Message::Response) {
            end_request(stream, id, BodyEnd::Complete, out);
        }
        true
    }

    fn open(&mut self, id: u32, head: &RequestHead, at_ns: u64, out: &mut Output<'_>) {
        if self.open.len() >= self.config.streams_max {
            let longest_idle = self.open.iter().min_by_key(|(_, stream)| stream.used_ns);
            if let Some(id) = longest_idle.map(|(id, _)| *id) {
                self.evicted = self.evicted.saturating_add(1);
                self.lapse(id, out);
            }
        }
        out.tell_at(at_ns, id, Event::Request(head));
        let request = Body::new(Message::Request, &head.headers, &self.config);
        let connect = head.method.as_ref() == b"CONNECT";
        self.open.insert(
            id,
            Stream { request, response: None, response_missed: false, connect, used_ns: out.at_ns },
        );
    }

    /// Ends a stream that nobody ends: where its end may have been missed, it was when its last byte came.
    fn lapse(&mut self, id: u32, out: &mut Output<'_>) {
        let now_ns = out.at_ns;
        let ended = self.open.get(&id).filter(|stream| stream.may_have_ended());
        out.at_ns = ended.map_or(now_ns, |stream| stream.used_ns);
        self.abort(id, out);
        out.at_ns = now_ns;
    }

    /// Ends a stream whatever is missing of it.
    fn abort(&mut self, id: u32, out: &mut Output<'_>) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        end_request(stream, id, BodyEnd::Aborted, out);
        let end = match &mut stream.response {
            Some(response) => response.finish(BodyEnd::Aborted),
            None if stream.response_missed => BodyEnd::Gap,
            None => BodyEnd::Aborted,
        };
        out.tell(id, Event::ResponseEnd(end));
        self.forget(id);
    }

    /// Ends a stream whose response has ended, once its request has too or its end may have been missed.
    fn settle(&mut self, id: u32, out: &mut Output<'_>) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        let Some(end) = stream.response.as_ref().and_then(Body::ended) else { return };
        if stream.request.has_gap() {
            end_request(stream, id, BodyEnd::Aborted, out);
        }
        if stream.request.ended().is_some() {
            out.tell(id, Event::ResponseEnd(end));
            self.forget(id);
        }
    }

    fn forget(&mut self, id: u32) {
        self.open.remove(&id);
        if self.closed.len() >= CLOSED_MAX {
            self.closed.pop_front();
        }
        self.closed.push_back(id);
    }
}

/// Ends the request of a stream, if it has not ended.
fn end_request(stream: &mut Stream, id: u32, framed: BodyEnd, out: &mut Output<'_>) {
    if stream.request.ended().is_none() {
        let end = stream.request.finish(framed);
        out.tell(id, Event::RequestEnd(end));
    }
}

/// Fields of a header block that was missed.
fn unknown_headers() -> Headers {
    Headers { fields: Vec::new(), incomplete: true }
}
