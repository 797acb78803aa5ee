//! Records as the kernel half writes them come in, a call after a call on one connection; priced calls go out.

use std::hint::black_box;
use std::sync::Arc;

use bytes::BytesMut;
use sensor_common::record::{self, FLAG_SENT, Header, KIND_DATA};
use sensor_user::capture::{self, Body};
use sensor_user::credential::{FleetKey, Keyring};
use sensor_user::http;
use sensor_user::http::Decoder;
use sensor_user::provider::{self, Catalogue, Tracker};
use sensor_user::reassembly;
use sensor_user::reassembly::{Chunk, Direction, Piece, Start, Table};
use sensor_user::spend::{Prices, Query};
use zerocopy::{FromBytes, IntoBytes};

use crate::bodies::EVENT;
use crate::{Load, length};

/// Calls in one round.
const CALLS: u64 = 64;
/// Events of one streamed answer.
const EVENTS: usize = 50;
/// Bytes of one request's body.
const REQUEST_BYTES: usize = 4096;
/// Bytes of plaintext taken from the ring into one allocation, as the agent does.
const ARENA_BYTES: usize = 256 * 1024;
/// When the calls are priced, in seconds since 1970.
const AT_UNIX_SECONDS: i64 = 1_790_000_000;

/// The stages from a ring to a price, as the agent joins them.
struct Path {
    table: Table<u64>,
    decoder: Decoder,
    tracker: Tracker,
    keyring: Keyring,
    prices: Prices,
    arena: BytesMut,
    pieces: Vec<Piece>,
    /// Bytes that both directions have had before this call.
    base: [u64; 2],
    calls: u64,
}

impl Path {
    fn new() -> anyhow::Result<Self> {
        let mut table = Table::new(&reassembly::Config::default());
        let _none = table.open(1, Start::Fresh, 0);
        let catalogue = Arc::new(Catalogue::bundled()?);
        Ok(Self {
            table,
            decoder: Decoder::new(&http::Config::default()),
            tracker: Tracker::new(catalogue, provider::Config::default(), "api.openai.com"),
            keyring: Keyring::new(FleetKey::new([7; 32])),
            prices: Prices::bundled()?,
            arena: BytesMut::new(),
            pieces: Vec::new(),
            base: [0; 2],
            calls: 0,
        })
    }

    fn take(&mut self, bytes: &[u8]) {
        let Ok(capture::Record { header, body: Body::Data(plain) }) = capture::decode(bytes) else {
            return;
        };
        let direction =
            if header.flags & FLAG_SENT != 0 { Direction::Sent } else { Direction::Received };
        let [sent, received] = self.base;
        let base = if direction == Direction::Sent { sent } else { received };
        if self.arena.capacity() < plain.len() {
            self.arena.reserve(ARENA_BYTES);
        }
        self.arena.extend_from_slice(plain);
        let bytes = self.arena.split().freeze();
        let chunk = Chunk { offset: base.wrapping_add(header.offset), at_ns: header.at_ns, bytes };
        let _none = self.table.push(header.connection, direction, chunk, &mut self.pieces);
        for piece in self.pieces.drain(..) {
            self.decoder.push(direction, piece, &mut self.tracker);
        }
        for mut call in self.tracker.take_calls() {
            let identity =
                call.credential.take().map(|place| self.keyring.identify(&place, &call.provider));
            let cost = self.prices.price(&Query::of(&call, AT_UNIX_SECONDS));
            debug_assert!(
                cost.picodollars.is_some_and(|amount| amount > 0),
                "the call has its price"
            );
            black_box((identity, cost, call));
            self.calls = self.calls.wrapping_add(1);
        }
    }
}

/// The records of one call.
fn records() -> Vec<Vec<u8>> {
    let front = "{\"model\":\"gpt-4o-mini\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"";
    let back = "\"}]}";
    let prompt = "p".repeat(REQUEST_BYTES.saturating_sub(front.len()).saturating_sub(back.len()));
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nContent-Type: application/json\r\n\
         Authorization: Bearer sk-proj-BENCHFAKE0000\r\nContent-Length: {REQUEST_BYTES}\r\n\r\n{front}{prompt}{back}"
    );
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let usage = "data: {\"id\":\"c\",\"model\":\"gpt-4o-mini-2024-07-18\",\"choices\":[],\"usage\":{\"prompt_tokens\":900,\
        \"completion_tokens\":50,\"total_tokens\":950}}\n\ndata: [DONE]\n\n";
    let chunk = |event: &str| format!("{:x}\r\n{event}\r\n", event.len());
    let mut said = vec![(FLAG_SENT, request), (0, head.to_owned())];
    said.extend((0..EVENTS).map(|_| (0, chunk(EVENT))));
    said.push((0, chunk(usage) + "0\r\n\r\n"));
    let mut offsets = [0_u64; 2];
    said.iter()
        .zip(1..)
        .map(|((flags, text), at_ns)| {
            let [sent, received] = &mut offsets;
            let offset = if *flags == FLAG_SENT { sent } else { received };
            let record = record((*flags, *offset, at_ns), text.as_bytes());
            *offset = offset.wrapping_add(u64::try_from(text.len()).unwrap_or(0));
            record
        })
        .collect()
}

fn record((flags, offset, at_ns): (u32, u64, u64), payload: &[u8]) -> Vec<u8> {
    let Ok(mut header) = Header::read_from_bytes(&[0; record::HEADER_LEN]) else {
        return Vec::new();
    };
    header.kind = KIND_DATA;
    header.connection = 1;
    header.captured = u32::try_from(payload.len()).unwrap_or(0);
    header.call_len = header.captured;
    (header.flags, header.offset, header.at_ns) = (flags, offset, at_ns);
    [header.as_bytes(), payload].concat()
}

/// All loads of this file.
pub(crate) fn loads() -> anyhow::Result<Vec<Load>> {
    let mut path = Path::new()?;
    let records = records();
    let plain: Vec<_> = (0..CALLS).flat_map(|_| records.clone()).collect();
    // A call moves both directions on by the same number of bytes.
    let moved = |sent: bool| {
        let of = |bytes: &&Vec<u8>| {
            capture::decode(bytes).is_ok_and(|r| (r.header.flags & FLAG_SENT != 0) == sent)
        };
        let plain = |bytes: &Vec<u8>| {
            u64::try_from(bytes.len().saturating_sub(record::HEADER_LEN)).unwrap_or(0)
        };
        records.iter().filter(of).map(plain).sum::<u64>()
    };
    let moved = [moved(true), moved(false)];
    for bytes in &records {
        path.take(bytes);
    }
    anyhow::ensure!(path.calls == 1, "the records of one call make {} calls", path.calls);
    let round = move || {
        for _ in 0..CALLS {
            let [sent, received] = path.base;
            let [more_sent, more_received] = moved;
            path.base = [sent.wrapping_add(more_sent), received.wrapping_add(more_received)];
            for bytes in &records {
                path.take(black_box(bytes));
            }
        }
        black_box(path.calls);
    };
    Ok(vec![Load {
        name: "path",
        bytes: length(&plain),
        chunks: CALLS,
        unit: "calls",
        plain,
        must_not_allocate: false,
        round: Box::new(round),
    }])
}
