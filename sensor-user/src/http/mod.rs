//! Contiguous plaintext of both directions of one connection comes in; HTTP events with decoded bodies go out.

use std::fmt;

use bytes::Bytes;

use crate::redact::Redacted;

mod authority;
mod config;
mod decoder;
mod metrics;
#[cfg(test)]
mod recorder;
mod sniff;
pub mod coding;
pub mod http1;
pub mod http2;
pub mod sse;
pub mod websocket;

pub use authority::authority;
pub use config::Config;
pub use decoder::{Decoder, Protocol};
pub use metrics::Metrics;

/// Number of one request/response pair within its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeId(pub u64);

/// Version of the protocol spoken, as OpenTelemetry's `network.protocol.version` writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

/// One header field. The name is lowercase; the value is secret until a stage knows better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Field name, lowercase; `None` where HPACK state is missing and the name cannot be known.
    pub name: Option<Bytes>,
    /// Field value, never printed.
    pub value: Redacted,
}

/// Header fields in the order they came. Bounded by the limits of `Config`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// The fields.
    pub fields: Vec<Header>,
    /// Whether fields were left out (over the limit, or unknown to the HPACK decoder).
    pub incomplete: bool,
}

impl Headers {
    /// Value of the first field of that name (lowercase), exposed.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// Values of all fields of that name (lowercase), exposed, in the order they came.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.fields
            .iter()
            .filter(move |field| field.name.as_deref() == Some(name.as_bytes()))
            .map(|field| field.value.expose())
    }
}

/// First line and header fields of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// Protocol version.
    pub version: Version,
    /// Method, as sent; empty where HPACK state is missing.
    pub method: Bytes,
    /// Request target (path and query); secret, because a key can stand in the query.
    pub target: Redacted,
    /// `Host` or `:authority`, lowercase, without port 443; empty where unknown.
    pub authority: Bytes,
    /// Header fields, pseudo-header fields left out.
    pub headers: Headers,
}

/// Status and header fields of a final (not 1xx) response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// Protocol version.
    pub version: Version,
    /// Status code; `None` where HPACK state is missing.
    pub status: Option<u16>,
    /// Header fields, pseudo-header fields left out.
    pub headers: Headers,
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEnd {
    /// All of it was seen.
    Complete,
    /// Bytes are missing: a gap in the capture.
    Gap,
    /// The connection or stream ended before the body did.
    Aborted,
    /// The content coding was broken, unknown, or over its bound of size or ratio.
    Undecodable,
}

/// What the decoder tells its sink, in order within an exchange. `Debug` shows no byte of a body.
pub enum Event<'a> {
    /// A request's head is complete.
    Request(&'a RequestHead),
    /// Decoded bytes of the request body.
    RequestBody(&'a [u8]),
    /// The request has ended.
    RequestEnd(BodyEnd),
    /// A final response's head is complete.
    Response(&'a ResponseHead),
    /// Decoded bytes of the response body.
    ResponseBody(&'a [u8]),
    /// Fields behind the response's body (RFC 9113, 8.1); told of HTTP/2, where gRPC ends its calls with them.
    Trailers(&'a Headers),
    /// The exchange has ended; nothing follows under this id.
    ResponseEnd(BodyEnd),
    /// 101 or a successful CONNECT: what follows is not HTTP. Nothing follows under this id.
    Upgraded(&'a ResponseHead),
    /// 101 to a `WebSocket` handshake: its messages follow under this id, until `ResponseEnd`.
    WebSocket(&'a ResponseHead),
    /// Bytes of the message that this side of a `WebSocket` sends, neither masked nor compressed.
    MessageData(Message, &'a [u8]),
    /// A message of that side has ended, or some were lost.
    MessageEnd(Message, BodyEnd),
}

impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(head) => f.debug_tuple("Request").field(head).finish(),
            Self::RequestBody(bytes) => write!(f, "RequestBody({} bytes)", bytes.len()),
            Self::RequestEnd(end) => f.debug_tuple("RequestEnd").field(end).finish(),
            Self::Response(head) => f.debug_tuple("Response").field(head).finish(),
            Self::ResponseBody(bytes) => write!(f, "ResponseBody({} bytes)", bytes.len()),
            Self::Trailers(fields) => f.debug_tuple("Trailers").field(fields).finish(),
            Self::ResponseEnd(end) => f.debug_tuple("ResponseEnd").field(end).finish(),
            Self::Upgraded(head) => f.debug_tuple("Upgraded").field(head).finish(),
            Self::WebSocket(head) => f.debug_tuple("WebSocket").field(head).finish(),
            Self::MessageData(of, bytes) => {
                write!(f, "MessageData({of:?}, {} bytes)", bytes.len())
            }
            Self::MessageEnd(of, end) => f.debug_tuple("MessageEnd").field(of).field(end).finish(),
        }
    }
}

/// Takes the events of one connection.
pub trait Sink {
    /// Is called for each event: `id` names the exchange, `at_ns` is when the bytes that made the event passed;
    /// of a head, when its first byte did.
    fn event(&mut self, id: ExchangeId, at_ns: u64, event: Event<'_>);

    /// Is called where `missing` bytes of that message's body were lost but the body goes on behind them; the
    /// answer says whether the bytes behind the gap are wanted. Unless a sink says so they are withheld: one that
    /// knows nothing of gaps never joins what does not belong together. The body's end says `Gap` either way.
    fn body_gap(&mut self, _id: ExchangeId, _at_ns: u64, _of: Message, _missing: u64) -> AfterGap {
        AfterGap::Withhold
    }
}

/// One of the two messages of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// From the client.
    Request,
    /// From the server.
    Response,
}

/// What becomes of the bytes of a body behind a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterGap {
    /// They are left out.
    Withhold,
    /// They are handed out; the sink knows that they do not continue what came before.
    Resume,
}
