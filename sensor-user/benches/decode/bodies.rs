//! Bodies of requests and responses come in, endless and already under way; loads for each stage go out.

use std::hint::black_box;
use std::io::Write;
use std::sync::LazyLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sensor_user::http::sse::{Parser, SseSink};
use sensor_user::http::{Config, Event, ExchangeId, Sink, coding, http1, http2};
use sensor_user::provider::skim::{Plan, Skimmer, Want};
use sensor_user::reassembly;
use sensor_user::reassembly::{Chunk, Direction, Piece, Start, Table};

use crate::{Load, PIECE_BYTES, length, pieces, repeated};

/// An event as `OpenAI` sends one for each token.
pub(crate) const EVENT: &str = "data: {\"id\":\"chatcmpl-AbCdEfGhIjKlMnOpQrStUvWxYz01\",\"object\":\"chat.completion.chunk\",\
    \"created\":1790000000,\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\",\"system_fingerprint\":\
    \"fp_0123456789\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token\"},\"logprobs\":null,\
    \"finish_reason\":null}],\"usage\":null}\n\n";

/// A prompt as it stands in a request, with the escapes of a text.
const PROSE: &str =
    "The quick brown fox jumps over the lazy dog, \\\"twice\\\", and then it rests for a while.\\n";

/// Counts what it is told, so that nothing can be left out.
#[derive(Default)]
struct Tally(usize);

impl Sink for Tally {
    fn event(&mut self, _: ExchangeId, _: u64, event: Event<'_>) {
        if let Event::ResponseBody(bytes) | Event::RequestBody(bytes) = event {
            self.0 = self.0.wrapping_add(black_box(bytes).len());
        }
    }
}

impl SseSink for Tally {
    fn event_name(&mut self, name: &[u8]) {
        black_box(name);
    }

    fn data(&mut self, piece: &[u8]) {
        self.0 = self.0.wrapping_add(black_box(piece).len());
    }

    fn dispatch(&mut self) {
        self.0 = self.0.wrapping_add(1);
    }
}

/// A load whose chunks are pieces.
fn load(name: &'static str, plain: Vec<Vec<u8>>, round: Box<dyn FnMut()>) -> Load {
    let chunks = u64::try_from(plain.len()).unwrap_or(0);
    Load {
        name,
        bytes: length(&plain),
        chunks,
        unit: "pieces",
        plain,
        must_not_allocate: true,
        round,
    }
}

/// All loads of this file.
pub(crate) fn loads() -> Vec<Load> {
    vec![
        reassembly_in_order(),
        http1_body("http1-length", "Content-Length: 1152921504606846976", pieces(&repeated(EVENT))),
        http1_body(
            "http1-chunked",
            "Transfer-Encoding: chunked",
            pieces(&chunked(&repeated(EVENT))),
        ),
        http2_data(),
        sse("sse", pieces(&repeated(EVENT))),
        sse("sse-by-event", repeated(EVENT).chunks(EVENT.len()).map(<[u8]>::to_vec).collect()),
        gzipped_sse(),
        skim("json-request", request().into_bytes()),
        skim("json-events", repeated(EVENT)),
    ]
}

/// Wraps an endless body, so that a round can follow a round.
fn data(plain: &[Vec<u8>]) -> Vec<Piece> {
    plain.iter().map(|piece| Piece::Data { at_ns: 1, bytes: Bytes::from(piece.clone()) }).collect()
}

fn reassembly_in_order() -> Load {
    let plain = pieces(&repeated(EVENT));
    let chunks: Vec<_> = plain.iter().map(|piece| Bytes::from(piece.clone())).collect();
    let mut table = Table::new(&reassembly::Config::default());
    let _none = table.open(0_u64, Start::Fresh, 0);
    let (mut offset, mut out) = (0_u64, Vec::new());
    load(
        "reassembly",
        plain,
        Box::new(move || {
            for bytes in &chunks {
                let length = u64::try_from(bytes.len()).unwrap_or(0);
                let chunk = Chunk { offset, at_ns: 1, bytes: bytes.clone() };
                let _none = table.push(0, Direction::Received, chunk, &mut out);
                offset = offset.wrapping_add(length);
                black_box(&mut out).clear();
            }
        }),
    )
}

fn chunked(body: &[u8]) -> Vec<u8> {
    // Chunks of one event each, as servers write them.
    let chunk =
        |event: &[u8]| [format!("{:x}\r\n", event.len()).as_bytes(), event, b"\r\n"].concat();
    body.chunks(EVENT.len()).flat_map(chunk).collect()
}

fn http1_body(name: &'static str, framing: &str, plain: Vec<Vec<u8>>) -> Load {
    let mut connection = http1::Connection::new(&Config::default(), Direction::Sent);
    let mut tally = Tally::default();
    let piece = |text: String| Piece::Data { at_ns: 1, bytes: Bytes::from(text) };
    connection.push(
        Direction::Sent,
        &piece("GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned()),
        &mut tally,
    );
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{framing}\r\n\r\n");
    connection.push(Direction::Received, &piece(head), &mut tally);
    let data = data(&plain);
    load(
        name,
        plain,
        Box::new(move || {
            for piece in &data {
                connection.push(Direction::Received, black_box(piece), &mut tally);
            }
            black_box(&mut tally);
        }),
    )
}

/// A frame (RFC 9113, 4.1) on stream 1.
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let [_, length @ ..] = length;
    [&length[..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

fn http2_data() -> Load {
    // GET and a path by the static table; 200.
    let mut connection = http2::Connection::new(&Config::default(), false);
    let mut tally = Tally::default();
    let piece = |bytes: Vec<u8>| Piece::Data { at_ns: 1, bytes: Bytes::from(bytes) };
    let preface =
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(1, 5, &[0x82, 0x84, 0x87])]
            .concat();
    connection.push(Direction::Sent, &piece(preface), &mut tally);
    connection.push(Direction::Received, &piece(frame(1, 4, &[0x88])), &mut tally);
    // Frames do not begin where TLS records do.
    let body = repeated(EVENT);
    let frames: Vec<u8> = body.chunks(PIECE_BYTES / 2).flat_map(|part| frame(0, 0, part)).collect();
    let plain = pieces(&frames);
    let data = data(&plain);
    load(
        "http2-data",
        plain,
        Box::new(move || {
            for piece in &data {
                connection.push(Direction::Received, black_box(piece), &mut tally);
            }
            black_box(&mut tally);
        }),
    )
}

fn sse(name: &'static str, plain: Vec<Vec<u8>>) -> Load {
    let (mut parser, mut tally, input) = (Parser::new(), Tally::default(), plain.clone());
    load(
        name,
        plain,
        Box::new(move || {
            for piece in &input {
                parser.push(black_box(piece), &mut tally);
            }
            black_box(&mut tally);
        }),
    )
}

fn gzipped_sse() -> Load {
    let body = repeated(EVENT);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let coded = encoder.write_all(&body).and_then(|()| encoder.finish()).unwrap_or_default();
    // Of equal events hardly anything is left; a stream that is flushed for each of them is no smaller than this.
    let coded: Vec<_> = coded.chunks(256).map(<[u8]>::to_vec).collect();
    let config = Config { decoded_ratio_max: u64::MAX, ..Config::default() };
    let plain = pieces(&body);
    let round = move || {
        let (mut parser, mut tally) = (Parser::new(), Tally::default());
        let Ok(mut decoder) = coding::Decoder::new(b"gzip", &config) else { return };
        for piece in &coded {
            let outcome =
                decoder.push(black_box(piece), &mut |bytes| parser.push(bytes, &mut tally));
            debug_assert!(outcome.is_ok(), "the body is a good one");
        }
        black_box(tally.0);
    };
    // Each round begins a body, whose decoder has to be made.
    Load { must_not_allocate: false, ..load("gzip-sse", plain, Box::new(round)) }
}

static PLAN: LazyLock<Plan> = LazyLock::new(|| {
    Plan::new(&[
        ("model", Want::Text),
        ("stream", Want::Text),
        ("usage", Want::Json),
        ("choices[]", Want::Filled),
        ("choices[].delta.content", Want::Filled),
    ])
});

fn request() -> String {
    let prompt = PROSE.repeat(crate::ROUND_BYTES.checked_div(PROSE.len()).unwrap_or(1));
    format!(
        "{{\"messages\":[{{\"role\":\"user\",\"content\":\"{prompt}\"}}],\"model\":\"gpt-4o-mini\",\"stream\":true}}"
    )
}

fn skim(name: &'static str, bytes: Vec<u8>) -> Load {
    let mut skimmer = Skimmer::new(&PLAN);
    let plain = pieces(&bytes);
    let input = plain.clone();
    let events = bytes.starts_with(b"data: ");
    let round = move || {
        if events {
            for event in bytes.chunks(EVENT.len()) {
                skimmer.reset();
                skimmer.push(black_box(event.get(6..).unwrap_or_default()));
                black_box(skimmer.found().count());
            }
        } else {
            skimmer.reset();
            for piece in &input {
                skimmer.push(black_box(piece));
            }
            black_box(skimmer.found().count());
        }
    };
    load(name, plain, Box::new(round))
}
