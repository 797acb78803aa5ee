//! What real clients of gRPC and their servers said, recorded without TLS, comes in; the calls that it was are compared.

use std::sync::Arc;

use bytes::Bytes;

use crate::http;
use crate::http::Decoder;
use crate::provider;
use crate::provider::{Call, Catalogue, Operation, Tracker};
use crate::reassembly::{Direction, Piece};

/// xai-sdk 1.21.0 on grpcio 1.85.3: two good calls, a refused one, two compressed ones, one that fails in the end.
const XAI: &str = include_str!("../../../tests/corpus/grpc/xai.txt");
/// The same, of which the client compresses too.
const XAI_GZIP: &str = include_str!("../../../tests/corpus/grpc/xai-gzip.txt");
/// google-generativeai 0.8.6 on grpcio 1.85.3: whole, in parts, a count.
const GEMINI: &str = include_str!("../../../tests/corpus/grpc/gemini.txt");

/// What one side said in a row, a line each: `S` or `R`, and bytes in hexadecimal digits.
fn said(recorded: &str) -> Vec<(Direction, Vec<u8>)> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let line = |line: &str| {
        let (side, digits) = line.split_once(' ').unwrap();
        let direction = if side == "S" { Direction::Sent } else { Direction::Received };
        (direction, digits.as_bytes().chunks(2).map(byte).collect())
    };
    recorded.lines().map(line).collect()
}

/// The calls that come of it, with pieces of so many bytes.
fn calls(said: &[(Direction, Vec<u8>)], bytes: usize, name: &str) -> Vec<Call> {
    let mut decoder = Decoder::new(&http::Config::default());
    let catalogue = Arc::new(Catalogue::bundled().unwrap());
    let mut tracker = Tracker::new(catalogue, provider::Config::default(), name);
    for ((direction, said), at_ns) in said.iter().zip(1..) {
        for part in said.chunks(bytes) {
            let piece = Piece::Data { at_ns, bytes: Bytes::copy_from_slice(part) };
            decoder.push(*direction, piece, &mut tracker);
        }
    }
    assert_eq!(tracker.metrics().bodies_broken, 0);
    tracker.take_calls().collect()
}

/// A call as one line.
fn line(call: &Call) -> String {
    let usage = &call.usage;
    let word = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let count = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
    format!(
        "{} {} {} {} {} {} stream={} in={} read={} out={} think={} usd={} {:?} {} {}",
        call.provider,
        call.operation.as_str(),
        call.path.rsplit('/').next().unwrap(),
        word(&call.request_model),
        word(&call.response_model),
        word(&call.response_id),
        call.stream,
        count(usage.input_uncached),
        count(usage.cache_read),
        count(usage.output),
        count(usage.output_reasoning),
        usage.reported_picodollars.unwrap_or(0),
        call.usage_quality,
        call.rpc_status.map_or("-".to_owned(), |code| code.to_string()),
        word(&call.error_type),
    )
}

const WHOLE: &str = "x_ai chat GetCompletion grok-4 grok-4-0709 rec-1 stream=false in=969 read=32 out=257 think=19 \
    usd=1500000000 Reported 0 -";
const PARTS: &str = "x_ai chat GetCompletionChunk grok-4 grok-4-0709 rec-2 stream=true in=969 read=32 out=257 think=19 \
    usd=1500000000 Reported 0 -";

const CASES: &[(&str, &[&str])] = &[
    (
        XAI,
        &[
            WHOLE,
            PARTS,
            "x_ai chat GetCompletion grok-4 - - stream=false in=- read=- out=- think=- usd=0 Missing 8 RESOURCE_EXHAUSTED",
            WHOLE,
            PARTS,
            "x_ai chat GetCompletionChunk grok-4 grok-4-0709 rec-2 stream=true in=969 read=32 out=169 think=19 \
             usd=1500000000 Partial 14 UNAVAILABLE",
        ],
    ),
    (XAI_GZIP, &[WHOLE]),
    (
        GEMINI,
        &[
            "gcp.gemini chat GenerateContent gemini-2.5-flash gemini-2.5-flash - stream=false in=969 read=32 out=238 \
             think=0 usd=0 Reported 0 -",
            "gcp.gemini chat StreamGenerateContent gemini-2.5-flash gemini-2.5-flash - stream=true in=969 read=32 out=238 \
             think=0 usd=0 Reported 0 -",
            "gcp.gemini count_tokens CountTokens gemini-2.5-flash - - stream=false in=- read=- out=- think=- usd=0 Missing \
             0 -",
        ],
    ),
];

#[test]
fn calls_of_real_clients_are_exact_however_they_are_cut() {
    for (recorded, expected) in CASES {
        for bytes in [1, 7, 1000, usize::MAX] {
            let calls = calls(&said(recorded), bytes, "");
            let told: Vec<_> = calls.iter().map(line).collect();
            assert_eq!(told, *expected, "in pieces of {bytes}");
            for call in &calls {
                let key = call.credential.as_ref().map(|place| place.secret.expose());
                assert!(key.is_some_and(
                    |key| key.starts_with(b"xai-LABFAKE") || key.starts_with(b"LABFAKE")
                ));
                assert!(!format!("{call:?}").contains("you said"));
            }
        }
    }
}

/// How many lines of the first recording stand before the first call has left.
const OPENING_LINES: usize = 3;

#[test]
fn calls_of_a_connection_joined_late_are_told_by_their_messages() {
    let told = calls(&said(XAI)[OPENING_LINES..], usize::MAX, "api.x.ai");
    let seen: Vec<_> = told
        .iter()
        .map(|call| (call.operation, call.request_model.as_deref(), call.usage.output))
        .collect();
    let model = Some("grok-4");
    let expected = [
        // Nothing of the first request was seen; its answer is of the provider that was asked for.
        (Operation::Other, None, Some(257)),
        (Operation::Chat, model, Some(257)),
        (Operation::Chat, model, None),
        // Its path stands in a table that was not seen.
        (Operation::Chat, model, Some(257)),
        (Operation::Chat, model, Some(257)),
        (Operation::Chat, model, Some(169)),
    ];
    assert_eq!(seen, expected);
    assert!(told.iter().all(|call| call.response_model.is_some() || call.rpc_status == Some(8)));
}
