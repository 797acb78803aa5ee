//! Conversations of lawful and unlawful peers come in; what the connection tells of them is compared.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::http::http2::{Connection, Metrics};
use crate::http::{AfterGap, BodyEnd, Config, Event, ExchangeId, Headers, Message, Sink};
use crate::reassembly::Direction::{self, Received, Sent};
use crate::reassembly::Piece;

pub(super) mod encoder;
mod conversation;
mod gaps;
mod hostile;
mod streams;

use encoder::{Encoder, frame};

/// What was told of one exchange.
#[derive(Debug, Default, PartialEq, Eq)]
struct Exchange {
    request: Option<String>,
    request_fields: Vec<(Option<String>, String)>,
    request_body: Vec<u8>,
    request_end: Option<BodyEnd>,
    response: Option<String>,
    response_fields: Vec<(Option<String>, String)>,
    response_body: Vec<u8>,
    trailers: Vec<(Option<String>, String)>,
    response_end: Option<BodyEnd>,
    ended_ns: Option<u64>,
    upgraded: bool,
}

/// Keeps what was told, and asserts that it came in a lawful order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Log {
    exchanges: BTreeMap<u64, Exchange>,
    /// Bytes missing before those that go on.
    missing: Vec<(u64, u64)>,
    resume: bool,
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn fields(headers: &Headers) -> Vec<(Option<String>, String)> {
    let name = |name: &Bytes| text(name);
    headers
        .fields
        .iter()
        .map(|field| (field.name.as_ref().map(name), text(field.value.expose())))
        .collect()
}

impl Sink for Log {
    fn event(&mut self, ExchangeId(id): ExchangeId, at_ns: u64, event: Event<'_>) {
        let begins = matches!(event, Event::Request(_));
        assert_eq!(
            begins,
            !self.exchanges.contains_key(&id),
            "exchange {id} begins with its request"
        );
        let exchange = self.exchanges.entry(id).or_default();
        assert!(
            exchange.response_end.is_none() && !exchange.upgraded,
            "nothing follows the end of {id}"
        );
        match event {
            Event::Request(head) => {
                let [method, authority] = [&head.method, &head.authority].map(|part| text(part));
                let target = text(head.target.expose());
                let whole = if head.headers.incomplete { "?" } else { "" };
                exchange.request = Some(format!("{method} {authority}{target}{whole} @{at_ns}"));
                exchange.request_fields = fields(&head.headers);
            }
            Event::RequestBody(bytes) => {
                assert!(exchange.request_end.is_none());
                exchange.request_body.extend_from_slice(bytes);
            }
            Event::RequestEnd(end) => assert_eq!(exchange.request_end.replace(end), None),
            Event::Response(head) => {
                let status = head.status.unwrap_or(0);
                let whole = if head.headers.incomplete { "?" } else { "" };
                let head_line = format!("{status}{whole} @{at_ns}");
                assert_eq!(exchange.response.replace(head_line), None);
                exchange.response_fields = fields(&head.headers);
            }
            Event::ResponseBody(bytes) => {
                assert!(exchange.response.is_some());
                exchange.response_body.extend_from_slice(bytes);
            }
            Event::Trailers(told) => {
                assert!(exchange.response.is_some());
                exchange.trailers.extend(fields(told));
            }
            Event::ResponseEnd(end) => {
                assert!(exchange.request_end.is_some());
                exchange.response_end = Some(end);
                exchange.ended_ns = Some(at_ns);
            }
            Event::Upgraded(_) => exchange.upgraded = true,
            Event::WebSocket(_) | Event::MessageData(..) | Event::MessageEnd(..) => {
                panic!("no WebSocket is told of over HTTP/2")
            }
        }
    }

    fn body_gap(
        &mut self,
        ExchangeId(id): ExchangeId,
        _: u64,
        _: Message,
        missing: u64,
    ) -> AfterGap {
        self.missing.push((id, missing));
        if self.resume { AfterGap::Resume } else { AfterGap::Withhold }
    }
}

impl Exchange {
    /// The exchange on one line.
    fn line(&self) -> String {
        let known = |part: &Option<String>| part.clone().unwrap_or_default();
        format!(
            "{} | {} | {:?} | {} | {} | {:?}",
            known(&self.request),
            text(&self.request_body),
            self.request_end,
            known(&self.response),
            text(&self.response_body),
            self.response_end
        )
    }
}

impl Log {
    fn lines(&self) -> Vec<String> {
        self.exchanges.iter().map(|(id, exchange)| format!("{id} {}", exchange.line())).collect()
    }
}

fn data(at_ns: u64, bytes: &[u8]) -> Piece {
    Piece::Data { at_ns, bytes: Bytes::copy_from_slice(bytes) }
}

/// Both sides of a connection that is being made up.
struct Peers {
    sent: Encoder,
    received: Encoder,
    said: Vec<(Direction, Vec<u8>)>,
}

impl Peers {
    /// Peers that have greeted each other (RFC 9113, 3.4).
    fn new() -> Self {
        let mut peers =
            Self { sent: Encoder::new(4096), received: Encoder::new(4096), said: Vec::new() };
        let settings = [0, 1, 0, 0, 0x20, 0, 0, 4, 0, 0, 0x80, 0];
        peers.say(
            Sent,
            [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &settings)].concat(),
        );
        peers.say(Received, [frame(4, 0, 0, &settings), frame(4, 1, 0, &[])].concat());
        peers.say(Sent, [frame(4, 1, 0, &[]), frame(8, 0, 0, &[0, 1, 0, 0])].concat());
        peers
    }

    fn say(&mut self, direction: Direction, bytes: Vec<u8>) {
        self.said.push((direction, bytes));
    }

    /// A header block; every field is inserted into the table, every second Huffman-coded.
    fn block(&mut self, direction: Direction, fields: &[(&str, &str)]) -> Vec<u8> {
        let encoder = if direction == Sent { &mut self.sent } else { &mut self.received };
        let mut block = Vec::new();
        for (index, (name, value)) in fields.iter().enumerate() {
            encoder.field((name, value), 2, index % 2 == 0, &mut block);
        }
        block
    }

    /// A header block in one `HEADERS` frame.
    fn headers(&mut self, direction: Direction, stream: u32, flags: u8, fields: &[(&str, &str)]) {
        let block = self.block(direction, fields);
        self.say(direction, frame(1, 4 | flags, stream, &block));
    }

    fn data(&mut self, direction: Direction, stream: u32, flags: u8, bytes: &[u8]) {
        self.say(direction, frame(0, flags, stream, bytes));
    }

    /// A request as SDKs send it.
    fn request(&mut self, stream: u32, body: &[u8]) {
        let fields = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "API.openai.com:443"),
            (":path", "/v1/chat/completions"),
            ("authorization", "Bearer sk-test-not-a-real-key"),
            ("content-type", "application/json"),
        ];
        self.headers(Sent, stream, 0, &fields);
        self.data(Sent, stream, 1, body);
    }

    /// What is said, each step ten nanoseconds after the one before.
    fn pieces(&self) -> Vec<(Direction, Piece)> {
        self.said
            .iter()
            .zip(1..)
            .map(|((direction, bytes), step)| (*direction, data(step * 10, bytes)))
            .collect()
    }

    fn tell(&self, joined: bool) -> (Log, Metrics) {
        tell(&self.pieces(), joined, false)
    }
}

/// Plays pieces to a connection and closes it.
fn tell(pieces: &[(Direction, Piece)], joined: bool, resume: bool) -> (Log, Metrics) {
    let mut connection = Connection::new(&Config::default(), joined);
    let mut log = Log { resume, ..Log::default() };
    for (direction, piece) in pieces {
        connection.push(*direction, piece, &mut log);
    }
    connection.close(9999, &mut log);
    (log, connection.metrics())
}

/// Some of everything: padding, priority, CONTINUATION, an interim response, two streams at once, trailers, a ping.
fn recorded() -> Peers {
    let mut peers = Peers::new();
    let block = peers.block(
        Sent,
        &[
            (":method", "POST"),
            (":scheme", "https"),
            (":path", "/v1/messages"),
            (":authority", "api.anthropic.com"),
            ("x-api-key", "sk-ant-not-a-real-key"),
        ],
    );
    let (front, rest) = block.split_at(7);
    let (middle, back) = rest.split_at(rest.len() - 3);
    let front = [&[5, 0x80, 0, 0, 0, 15], front, &[0; 5]].concat();
    peers.say(Sent, frame(1, 0x28, 1, &front));
    peers.say(Sent, [frame(9, 0, 1, middle), frame(9, 4, 1, back)].concat());
    peers.say(Sent, [frame(0, 8, 1, b"\x03{\"model\":\0\0\0"), frame(0, 0, 1, b"")].concat());
    peers.request(3, b"{\"model\":\"gpt-test\"}");
    peers.data(Sent, 1, 1, b"\"claude-test\"}");
    peers.headers(Received, 1, 0, &[(":status", "103"), ("link", "</style.css>")]);
    peers.headers(Received, 3, 0, &[(":status", "200"), ("content-type", "text/event-stream")]);
    peers.say(Received, frame(6, 0, 0, b"12345678"));
    peers.headers(Received, 1, 0, &[(":status", "429"), ("retry-after", "7")]);
    peers.data(Received, 3, 0, b"data: one\n\n");
    peers.data(Received, 1, 9, b"\x02busy\0\0");
    peers.say(Received, frame(0xfa, 0xff, 3, b"an extension"));
    peers.data(Received, 3, 0, b"data: two\n\n");
    peers.headers(Received, 3, 1, &[("grpc-status", "0")]);
    peers.headers(
        Sent,
        5,
        1,
        &[(":method", "GET"), (":scheme", "https"), (":path", "/v1/models"), ("host", "h")],
    );
    peers.headers(Received, 5, 1, &[(":status", "204")]);
    peers
}

/// What `recorded` says.
const RECORDED: &[&str] = &[
    "1 POST api.anthropic.com/v1/messages @40 | {\\\"model\\\":\\\"claude-test\\\"} | Some(Complete) | 429 @130 | busy \
     | Some(Complete)",
    "3 POST api.openai.com/v1/chat/completions @70 | {\\\"model\\\":\\\"gpt-test\\\"} | Some(Complete) | 200 @110 \
     | data: one\\n\\ndata: two\\n\\n | Some(Complete)",
    "5 GET h/v1/models @190 |  | Some(Complete) | 204 @200 |  | Some(Complete)",
];
