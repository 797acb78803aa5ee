//! The HTTP events of one connection come in; finished calls, and whether the connection leads to AI, go out.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Deserialize;

use crate::http::BodyEnd;
use crate::http::Event;
use crate::http::ExchangeId;
use crate::http::Message;
use crate::http::RequestHead;
use crate::http::ResponseHead;
use crate::http::Sink;
use crate::http::Version;
use crate::provider::Call;
use crate::provider::Catalogue;
use crate::provider::Operation;
use crate::provider::UsageQuality;
use crate::provider::exchange::Exchange;
use crate::provider::route;
use crate::provider::route::Method;
use crate::provider::session::Session;
use crate::provider::target::Target;
use crate::provider::unlisted;

/// Bounds of one connection's tracker.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Requests followed at once; HTTP/2 servers allow about 100.
    pub exchanges_max: usize,
    /// Finished calls that wait to be taken; more are dropped and counted.
    pub calls_max: usize,
    /// Requests to an unlisted host that are no AI calls before the connection is given up.
    pub other_requests_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { exchanges_max: 256, calls_max: 1024, other_requests_max: 3 }
    }
}

/// What a tracker has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Calls finished.
    pub calls: u64,
    /// Calls to hosts that are not in the catalogue, among `calls`.
    pub calls_unlisted: u64,
    /// Calls that should carry token counts and do not, among `calls`.
    pub usage_missing: u64,
    /// Calls whose token counts are lower bounds, among `calls`.
    pub usage_partial: u64,
    /// Bodies that were not the JSON they should be.
    pub bodies_broken: u64,
    /// Requests not followed because too many were under way.
    pub exchanges_dropped: u64,
    /// Calls lost because nobody took them.
    pub calls_dropped: u64,
}

impl Metrics {
    /// Adds what another one has counted.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.calls, other.calls),
            (&mut self.calls_unlisted, other.calls_unlisted),
            (&mut self.usage_missing, other.usage_missing),
            (&mut self.usage_partial, other.usage_partial),
            (&mut self.bodies_broken, other.bodies_broken),
            (&mut self.exchanges_dropped, other.exchanges_dropped),
            (&mut self.calls_dropped, other.calls_dropped),
        ];
        for (sum, more) in pairs {
            *sum = sum.saturating_add(more);
        }
    }
}

/// Whether a connection leads to AI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Too little was seen.
    Undecided,
    /// A listed host, or a call in the form of one.
    Ai,
    /// Something else: the kernel may ignore the connection.
    NotAi,
}

/// Follows one connection.
#[derive(Debug)]
pub struct Tracker {
    catalogue: Arc<Catalogue>,
    config: Config,
    /// Name the client asked for (server name indication), where a request names no host.
    server_name: String,
    open: Vec<(ExchangeId, Box<Exchange>)>,
    /// Those of them whose request has ended since the last time anybody asked.
    asked: Vec<ExchangeId>,
    /// What the connection went over to.
    session: Option<(ExchangeId, Box<Session>)>,
    calls: VecDeque<Call>,
    metrics: Metrics,
    is_ai: bool,
    /// Host that the requests name; the first that is not the server's where there are several.
    authority: Option<String>,
    is_renamed: bool,
    others: u32,
    not_http: bool,
}

impl Tracker {
    /// Begins a connection; `server_name` is what TLS or DNS says about it, or empty.
    pub fn new(catalogue: Arc<Catalogue>, config: Config, server_name: &str) -> Self {
        Self {
            catalogue,
            config,
            server_name: server_name.to_ascii_lowercase(),
            open: Vec::new(),
            asked: Vec::new(),
            session: None,
            calls: VecDeque::new(),
            metrics: Metrics::default(),
            is_ai: false,
            authority: None,
            is_renamed: false,
            others: 0,
            not_http: false,
        }
    }

    /// The calls finished since the last time.
    pub fn take_calls(&mut self) -> impl Iterator<Item = Call> {
        self.calls.drain(..)
    }

    /// The calls under way: model and credential are known once the request has ended.
    pub fn in_flight(&self) -> impl Iterator<Item = &Call> {
        let exchanges = self.open.iter().filter(|(_, exchange)| exchange.is_ai());
        let session = self.session.iter().flat_map(|(_, session)| session.in_flight());
        exchanges.map(|(_, exchange)| exchange.call()).chain(session)
    }

    /// The calls under way whose request has ended since the last time: nothing more will be known of what was asked.
    pub fn take_asked(&mut self) -> impl Iterator<Item = &Call> {
        let asked = std::mem::take(&mut self.asked);
        let of = move |open: &&(ExchangeId, Box<Exchange>)| asked.contains(&open.0);
        self.open.iter().filter(of).map(|(_, exchange)| exchange.call())
    }

    /// Whether the connection leads to AI, as far as is known.
    pub fn verdict(&self) -> Verdict {
        if self.is_ai {
            Verdict::Ai
        } else if self.not_http
            || (self.others >= self.config.other_requests_max
                && self.open.is_empty()
                && self.session.is_none())
        {
            Verdict::NotAi
        } else {
            Verdict::Undecided
        }
    }

    /// The host that requests name, without a port; the first that is not the server's name where there are several.
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// Whether that host is another one than at the last time.
    pub fn take_renamed(&mut self) -> bool {
        std::mem::take(&mut self.is_renamed)
    }

    fn note_authority(&mut self, head: &RequestHead) {
        let authority = String::from_utf8_lossy(&head.authority);
        let host = host_of(&authority);
        let before = self.authority.as_deref();
        let is_first = before.is_none() || before == Some(&self.server_name);
        // What a proxy is asked to connect to is no host of this connection (RFC 9110, 9.3.6).
        if host.is_empty() || !is_first || before == Some(host) || head.method == "CONNECT" {
            return;
        }
        self.authority = Some(host.to_owned());
        self.is_renamed = true;
    }

    /// Notes that the connection speaks something else than HTTP.
    pub fn not_http(&mut self) {
        self.not_http = true;
    }

    /// What was counted so far.
    pub fn metrics(&self) -> Metrics {
        self.metrics
    }

    /// Ends the connection: what is under way was cut.
    pub fn close(&mut self, at_ns: u64) {
        for (_, exchange) in std::mem::take(&mut self.open) {
            self.finish(*exchange, BodyEnd::Aborted, at_ns);
        }
        self.close_session(at_ns);
    }

    fn begin(&mut self, id: ExchangeId, head: &RequestHead, at_ns: u64) {
        self.note_authority(head);
        if is_tunnel(head) {
            return;
        }
        let target = Target::new(head.target.expose());
        let authority = String::from_utf8_lossy(&head.authority);
        let told = self.authority.as_deref().filter(|_| self.server_name.is_empty());
        let known = told.unwrap_or(&self.server_name);
        let host = if authority.is_empty() { known } else { &authority };
        // A WebSocket handshake is a GET that makes something.
        let upgrade = head.headers.get("upgrade").is_some();
        let method = if upgrade { Method::Write } else { Method::of(&head.method) };
        let provider = self.catalogue.find(host);
        let route = match provider {
            Some(provider) => route::find(provider, method, &target),
            None => unlisted::candidate(method, &target),
        };
        let Some(mut route) = route else {
            self.others = self.others.saturating_add(1);
            return;
        };
        if upgrade && route.model.is_none() {
            let named = target.parameter("model").or_else(|| target.parameter("deployment"));
            route.model = named.map(|name| String::from_utf8_lossy(name).into_owned());
        }
        self.is_ai |= provider.is_some();
        debug_assert!(self.open.iter().all(|(open, _)| *open != id), "an exchange begins once");
        if self.open.len() >= self.config.exchanges_max {
            self.metrics.exchanges_dropped = self.metrics.exchanges_dropped.saturating_add(1);
            return;
        }
        let exchange = Exchange::begin(provider, (head, &target, host), route, at_ns);
        self.open.push((id, Box::new(exchange)));
    }

    fn remove(&mut self, id: ExchangeId) -> Option<Exchange> {
        let at = self.open.iter().position(|(open, _)| *open == id)?;
        Some(*self.open.swap_remove(at).1)
    }

    /// The connection goes on as a session, or in a way that is not followed.
    fn upgrade(&mut self, id: ExchangeId, head: &ResponseHead, at_ns: u64) {
        let Some(exchange) = self.remove(id) else { return };
        match Session::begin(exchange, head, at_ns) {
            Ok(session) => self.session = Some((id, Box::new(session))),
            Err(exchange) if exchange.call().listed => self.keep(exchange.upgraded(head, at_ns)),
            Err(_unlisted) => {}
        }
    }

    fn session(&mut self, id: ExchangeId) -> Option<&mut Session> {
        let own = self.session.as_mut().filter(|(own, _)| *own == id);
        own.map(|(_, session)| &mut **session)
    }

    fn message_end(&mut self, id: ExchangeId, (of, end): (Message, BodyEnd), at_ns: u64) {
        let Some(session) = self.session(id) else { return };
        session.end(of, end, at_ns);
        while let Some((exchange, end)) = self.session(id).and_then(Session::take_ended) {
            self.finish(exchange, end, at_ns);
        }
    }

    fn close_session(&mut self, at_ns: u64) {
        let Some((_, session)) = self.session.take() else { return };
        for exchange in session.close() {
            self.finish(exchange, BodyEnd::Aborted, at_ns);
        }
    }

    fn finish(&mut self, exchange: Exchange, end: BodyEnd, at_ns: u64) {
        let mut exchange = exchange;
        exchange.request_end(end);
        if !exchange.is_ai() {
            // A request of which bytes are missing proves nothing.
            self.others = self.others.saturating_add(u32::from(exchange.call().complete));
            return;
        }
        let (call, broken) = exchange.finish(end, at_ns);
        self.metrics.bodies_broken = self.metrics.bodies_broken.saturating_add(broken);
        self.keep(call);
    }

    fn keep(&mut self, call: Call) {
        self.is_ai = true;
        let counters = &mut self.metrics;
        let count =
            |counter: &mut u64, yes: bool| *counter = counter.saturating_add(u64::from(yes));
        let answered = call.outcome().is_some_and(|status| status < 300) && !call.repeated;
        let metered = matches!(
            call.operation,
            Operation::Chat | Operation::TextCompletion | Operation::Embeddings | Operation::Rerank
        );
        count(&mut counters.calls, true);
        count(&mut counters.calls_unlisted, !call.listed);
        count(
            &mut counters.usage_missing,
            metered && answered && call.usage_quality == UsageQuality::Missing,
        );
        count(&mut counters.usage_partial, call.usage_quality == UsageQuality::Partial);
        if self.calls.len() < self.config.calls_max {
            self.calls.push_back(call);
        } else {
            count(&mut counters.calls_dropped, true);
        }
    }
}

/// Whether a proxy is asked for a way to another host: what is said there is another connection's. A CONNECT with a
/// path asks this host for another protocol (RFC 8441).
fn is_tunnel(head: &RequestHead) -> bool {
    let has_path = head.version == Version::Http2 && !head.target.expose().is_empty();
    head.method == "CONNECT" && !has_path
}

/// An authority without its port.
fn host_of(authority: &str) -> &str {
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.trim_end_matches('.')
}

impl Sink for Tracker {
    fn event(&mut self, id: ExchangeId, at_ns: u64, event: Event<'_>) {
        match event {
            Event::Request(head) => return self.begin(id, head, at_ns),
            Event::WebSocket(head) => return self.upgrade(id, head, at_ns),
            Event::MessageData(of, bytes) => {
                return self.session(id).map_or((), |session| session.data(of, bytes, at_ns));
            }
            Event::MessageEnd(of, end) => return self.message_end(id, (of, end), at_ns),
            Event::ResponseEnd(_) if self.session(id).is_some() => {
                return self.close_session(at_ns);
            }
            _ => {}
        }
        let Some((_, exchange)) = self.open.iter_mut().find(|(open, _)| *open == id) else {
            return;
        };
        match event {
            Event::Request(_)
            | Event::WebSocket(_)
            | Event::MessageData(..)
            | Event::MessageEnd(..) => {}
            Event::RequestBody(bytes) => exchange.request_body(bytes),
            Event::RequestEnd(end) => {
                exchange.request_end(end);
                self.is_ai |= exchange.is_ai();
                if exchange.is_ai() && self.asked.len() < self.config.exchanges_max {
                    self.asked.push(id);
                }
            }
            Event::Response(head) => exchange.response(head, at_ns),
            Event::Trailers(fields) => exchange.trailers(fields),
            Event::ResponseBody(bytes) => exchange.response_body(bytes, at_ns),
            Event::ResponseEnd(end) => {
                if let Some(exchange) = self.remove(id) {
                    self.finish(exchange, end, at_ns);
                }
            }
            Event::Upgraded(head) => {
                if let Some(exchange) = self.remove(id).filter(|exchange| exchange.call().listed) {
                    self.keep(exchange.upgraded(head, at_ns));
                }
            }
        }
    }
}
