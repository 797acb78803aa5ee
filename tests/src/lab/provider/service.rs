//! One HTTP request comes in; its answer, shaped by the scenario, goes out, and its fact is filed when the answer ends.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};

use crate::harness::monotonic_ns;
use crate::lab::provider::answer::{Answer, Piece};
use crate::lab::provider::body::{Pace, PacedBody};
use crate::lab::provider::call::{Asked, Call, Operation};
use crate::lab::provider::connection::Connection;
use crate::lab::provider::encoding::Encoding;
use crate::lab::provider::fact::{Fact, Facts, Outcome, Pending};
use crate::lab::provider::scenario::Scenario;
use crate::lab::provider::session::{self, Session};
use crate::lab::provider::{chat, grpc, messages, responses, rest, websocket};

/// Bytes of a request body: images and files of real calls fit.
const REQUEST_BYTES_MAX: usize = 128 << 20;

/// Scenarios whose failures are counted.
const FAILING_MAX: usize = 10_000;

/// Part of a key that no service accepts.
pub(super) const REVOKED: &str = "REVOKED";

/// Status of a refused call whose scenario names none.
const REFUSED: u16 = 429;

/// What all connections of a server share.
#[derive(Debug, Default)]
pub struct Service {
    facts: Facts,
    calls: AtomicU64,
    run: u64,
    failed: Mutex<HashMap<String, u32>>,
}

impl Service {
    /// Makes a service whose identifiers are unlike those of any other run.
    pub fn new(facts: Facts) -> Self {
        Self { facts, run: monotonic_ns(), ..Self::default() }
    }

    /// Serves one request.
    pub async fn serve(
        self: Arc<Self>,
        connection: Arc<Connection>,
        request: Request<Incoming>,
    ) -> Result<Response<PacedBody>, Infallible> {
        let began = connection.request_began_ns();
        let (head, body) = request.into_parts();
        connection.claim();
        if session::is_asked(&head) {
            return Ok(self.upgrade(connection, Request::from_parts(head, body)));
        }
        let (number, tag) = self.next_call();
        let mut pending =
            Pending::new(opening(&head, &connection, number, began), self.facts.clone());
        // A body that never arrives whole leaves a fact of a client that went away.
        let body = match Limited::new(body, REQUEST_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => Bytes::new(),
        };
        connection.claim();
        pending.update(|fact| fact.request_bytes = u64::try_from(body.len()).unwrap_or(u64::MAX));
        if grpc::is_asked(&head.headers) {
            return Ok(self.rpc((&head, &body), &tag, pending, connection));
        }
        let knobs = Scenario::of_call(
            text(&head.headers, "x-lab-scenario"),
            text(&head.headers, "x-lab-usage"),
            &body,
        );
        let (mut answer, knobs) = match knobs {
            Ok(knobs) => (self.answer(&head, &body, &tag, knobs.clone()), knobs),
            Err(_) => (rest::refusal(None, 400, None), Scenario::default()),
        };
        // Each large service has its own name for it.
        for name in ["x-request-id", "request-id"] {
            answer.headers.push((name, format!("req_{tag}")));
        }
        connection.split_writes(knobs.split);
        let length = length_promised(&answer, &knobs);
        let broken = answer.shape(&knobs);
        let encoding = Self::encode(&head.headers, &knobs, &mut answer);
        // An encoded length is known only where nothing was cut from the body.
        let length = match (length, encoding) {
            (Some(_), Encoding::Identity) => length,
            (Some(_), _) if !broken => Some(bytes_of(&answer.pieces)),
            _ => None,
        };
        pending.update(|fact| closing(fact, &answer, &knobs, encoding));
        Ok(respond(answer, &knobs, (broken, length, encoding), pending, connection))
    }

    /// Accepts a handshake, and speaks over the connection from then on.
    fn upgrade(
        self: Arc<Self>,
        connection: Arc<Connection>,
        request: Request<Incoming>,
    ) -> Response<PacedBody> {
        let head = request.headers();
        let accept = websocket::accept(text(head, "sec-websocket-key").unwrap_or_default());
        let parts = {
            let mut copy = Request::new(());
            *copy.method_mut() = request.method().clone();
            *copy.uri_mut() = request.uri().clone();
            *copy.headers_mut() = head.clone();
            copy.into_parts().0
        };
        // A handshake is no call: its fact is filed nowhere.
        let fact = opening(&parts, &connection, 0, monotonic_ns());
        let pending = Pending::new(fact, Facts::default());
        let pace = Pace::new(&Scenario::default(), false, None);
        let body = PacedBody::new(Vec::new(), pace, pending, Arc::clone(&connection));
        let session = Session::new(parts, connection, self);
        let compresses = session.compresses();
        // A client that breaks off is an ordinary event: its fact says so.
        tokio::spawn(async move { drop(session.run(request).await) });
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert("upgrade", HeaderValue::from_static("websocket"));
        headers.insert("connection", HeaderValue::from_static("Upgrade"));
        if let Ok(accept) = HeaderValue::from_str(&accept) {
            headers.insert("sec-websocket-accept", accept);
        }
        if compresses {
            let name = HeaderValue::from_static("permessage-deflate");
            headers.insert("sec-websocket-extensions", name);
        }
        response
    }

    /// Numbers a call, and gives the unique part of its identifiers.
    pub(super) fn next_call(&self) -> (u64, String) {
        let number = self.calls.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        (number, format!("LAB{:012x}{number:08x}", self.run & 0xffff_ffff_ffff))
    }

    /// Where facts are filed.
    pub(super) fn facts(&self) -> &Facts {
        &self.facts
    }

    fn answer(&self, head: &Parts, body: &[u8], tag: &str, knobs: Scenario) -> Answer {
        let path = head.uri.path();
        if head.method == Method::DELETE {
            return Answer { status: 204, ..Answer::default() };
        }
        let Some(operation) = Operation::of(&head.method, path) else {
            return rest::refusal(None, 404, None);
        };
        match key(&head.headers) {
            Some(key) if !key.contains(REVOKED) => {}
            _ => return rest::refusal(Some(operation), 401, None),
        }
        if self.fails(&knobs) {
            let status = knobs.status.unwrap_or(REFUSED);
            return rest::refusal(Some(operation), status, knobs.retry_after);
        }
        let Some(asked) = asked(&head.method, operation, body) else {
            return rest::refusal(Some(operation), 400, None);
        };
        let call = Call::new(operation, host(head), path, asked).with_knobs(knobs, tag.to_owned());
        let model = call.asked.model.clone();
        let mut answer = match operation {
            Operation::Chat | Operation::Completions => chat::answer(&call),
            Operation::Responses => responses::answer(&call),
            Operation::Messages => messages::answer(&call),
            Operation::StoredResponse => self.stored(call),
            _ => rest::answer(&call),
        };
        answer.model = model;
        answer
    }

    /// Answers a look at a stored response, if one was served under this identifier.
    fn stored(&self, mut call: Call) -> Answer {
        let id = call.path.rsplit('/').next().unwrap_or_default().to_owned();
        let first = self.facts.all().into_iter().find(|fact| fact.id == id && fact.usage.is_some());
        let Some(first) = first else {
            return rest::refusal(Some(call.operation), 404, None);
        };
        call.usage = first.usage.unwrap_or_default();
        call.served_model = first.served_model;
        responses::stored(&call, &id)
    }

    /// Counts a call of a failing scenario; reports whether it is one of those to refuse.
    pub(super) fn fails(&self, knobs: &Scenario) -> bool {
        let Ok(mut failed) = self.failed.lock() else { return false };
        if knobs.fail == 0 || failed.len() >= FAILING_MAX {
            return false;
        }
        let count = failed.entry(knobs.id.clone()).or_default();
        *count = count.saturating_add(1);
        *count <= knobs.fail
    }

    fn encode(headers: &HeaderMap, knobs: &Scenario, answer: &mut Answer) -> Encoding {
        // Streams go out plain unless told otherwise, as the large services do.
        let accepted = match text(headers, "accept-encoding") {
            Some(header) if !answer.stream => Encoding::accepted(header),
            _ => Encoding::Identity,
        };
        let encoding = knobs.encoding.unwrap_or(accepted);
        let plain: Vec<Bytes> = answer.pieces.iter().map(|piece| piece.bytes.clone()).collect();
        match encoding.encode(plain) {
            Ok(encoded) => {
                for (piece, bytes) in answer.pieces.iter_mut().zip(encoded) {
                    piece.bytes = bytes;
                }
                encoding
            }
            // Writing into memory does not fail; were it to, the plain body stands.
            Err(_) => Encoding::Identity,
        }
    }
}

fn asked(method: &Method, operation: Operation, body: &[u8]) -> Option<Asked> {
    match operation {
        // A file comes as a form.
        Operation::Files => Some(Asked::default()),
        _ if method == Method::GET || method == Method::HEAD => Some(Asked::default()),
        _ => serde_json::from_slice(body).ok(),
    }
}

fn bytes_of(pieces: &[Piece]) -> u64 {
    pieces.iter().map(|piece| u64::try_from(piece.bytes.len()).unwrap_or(0)).sum()
}

fn length_promised(answer: &Answer, knobs: &Scenario) -> Option<u64> {
    (!answer.stream && !knobs.chunked).then(|| bytes_of(&answer.pieces))
}

pub(super) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

pub(super) fn key(headers: &HeaderMap) -> Option<&str> {
    let authorization = text(headers, "authorization");
    let bearer = authorization.and_then(|value| value.strip_prefix("Bearer "));
    // AWS, Signature Version 4: the id of the key; what it signs is not checked.
    let signing =
        authorization.and_then(|value| value.strip_prefix("AWS4-HMAC-SHA256 Credential="));
    let bearer = bearer.or(signing.and_then(|rest| rest.split('/').next()));
    let named = ["x-api-key", "api-key", "x-goog-api-key"];
    bearer.or_else(|| named.iter().find_map(|name| text(headers, name)))
}

pub(super) fn host(head: &Parts) -> &str {
    let named = head.uri.authority().map(hyper::http::uri::Authority::host);
    let name = named.or_else(|| text(&head.headers, "host")).unwrap_or_default();
    name.split(':').next().unwrap_or_default()
}

pub(super) fn opening(head: &Parts, connection: &Connection, number: u64, began: u64) -> Fact {
    let key = key(&head.headers).unwrap_or_default();
    let skipped = key.chars().count().saturating_sub(4);
    Fact {
        number,
        scenario: String::new(),
        id: String::new(),
        host: host(head).to_owned(),
        sni: connection.sni.clone(),
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        operation: Operation::of(&head.method, head.uri.path())
            .map_or("", Operation::name)
            .to_owned(),
        model: String::new(),
        served_model: String::new(),
        key_last4: key.chars().skip(skipped).collect(),
        retry: ["x-stainless-retry-count", "grpc-previous-rpc-attempts"]
            .iter()
            .find_map(|name| text(&head.headers, name)?.parse().ok()),
        user_agent: text(&head.headers, "user-agent").unwrap_or_default().to_owned(),
        peer: connection.peer,
        local: connection.local,
        connection: connection.number,
        protocol: if connection.h2 { "h2" } else { "http/1.1" }.to_owned(),
        tls: connection.tls,
        request_bytes: 0,
        response_bytes: 0,
        encoding: String::new(),
        status: 0,
        stream: false,
        chunks: 0,
        usage: None,
        cost_usd: None,
        usage_on_wire: false,
        t_request_ns: began,
        t_first_token_ns: 0,
        t_end_ns: 0,
        outcome: Outcome::ClientGone,
    }
}

pub(super) fn closing(fact: &mut Fact, answer: &Answer, knobs: &Scenario, encoding: Encoding) {
    fact.scenario.clone_from(&knobs.id);
    fact.id.clone_from(&answer.id);
    fact.model.clone_from(&answer.model);
    fact.served_model.clone_from(&answer.served_model);
    fact.cost_usd.clone_from(&answer.cost_usd);
    encoding.name().clone_into(&mut fact.encoding);
    fact.status = answer.status;
    fact.stream = answer.stream;
    fact.usage = answer.usage;
}

/// The body's break, promised length and encoding.
type Framing = (bool, Option<u64>, Encoding);

fn respond(
    answer: Answer,
    knobs: &Scenario,
    (broken, length, encoding): Framing,
    pending: Pending,
    connection: Arc<Connection>,
) -> Response<PacedBody> {
    let kind = if answer.stream { "text/event-stream; charset=utf-8" } else { "application/json" };
    let close = knobs.close && !connection.h2;
    let body = PacedBody::new(answer.pieces, Pace::new(knobs, broken, length), pending, connection);
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static(kind));
    headers.insert("server", HeaderValue::from_static("lab"));
    if encoding != Encoding::Identity {
        headers.insert("content-encoding", HeaderValue::from_static(encoding.name()));
    }
    if close {
        headers.insert("connection", HeaderValue::from_static("close"));
    }
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}
