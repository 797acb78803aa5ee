//! Messages of gRPC calls go out as inputs, whole, in parts, compressed, refused.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::Seed;

const FRAMED: u8 = 1 << 3;
const CODED: u8 = 1 << 4;
const REFUSED: u8 = 1 << 5;
const ABORTED: u8 = 1 << 7;

/// `GetCompletionsRequest`: a message of two letters, a model, a tier; four bytes a step long.
const ASK: &[u8] = b"\x0a\x06\x0a\x04\x0a\x02hi\x12\x06grok-4\xf8\x01\x02\x38\x85\x80\x80\x00";
/// `GetChatCompletionResponse`.
const ANSWER: &[u8] =
    b"\x0a\x02r1\x12\x06\x1a\x04\x0a\x02Hi\x32\x06grok-4\x4a\x0a\x08\x07\x10\x14\x30\x04\x38\x03\x58\x78";
/// `GetChatCompletionChunk`, and the last one.
const CHUNKS: &[u8] = b"\x0a\x02r1\x12\x05\x0a\x03\x0a\x01H\x32\x04\x08\x01\x10\x14\xff\x0a\x02r1\x12\x02\x18\x03\x32\x04\x08\x07\x10\x14";
/// `GenerateContentResponse` of Gemini.
const GEMINI: &[u8] = b"\x0a\x0a\x0a\x06\x0a\x04\x12\x02Hi\x10\x01\x1a\x0a\x08\x0a\x10\x02\x18\x14\x20\x04\x50\x08\x22\x03g-2\x2a\x02r1";
/// `GenerateContentRequest` of Gemini.
const CONTENTS: &[u8] = b"\x0a\x08models/m\x12\x08\x0a\x06\x12\x04hiyo";

fn call(options: u8, asked: &[u8], answer: &[u8]) -> Vec<u8> {
    let length = u8::try_from(asked.len() / 4).unwrap_or(u8::MAX);
    [&[options, length], asked, answer].concat()
}

/// A body of one compressed message.
fn gzipped(message: &[u8]) -> Vec<u8> {
    let mut coder = GzEncoder::new(Vec::new(), Compression::default());
    coder.write_all(message).ok();
    let coded = coder.finish().unwrap_or_default();
    let length = u32::try_from(coded.len()).unwrap_or(0).to_be_bytes();
    [&[1], &length[..], &coded].concat()
}

/// All seeds of this file.
pub(crate) fn seeds() -> Vec<Seed> {
    vec![
        ("grpc", "whole", call(FRAMED, ASK, ANSWER)),
        ("grpc", "stream", call(FRAMED | 1, ASK, CHUNKS)),
        ("grpc", "aborted", call(FRAMED | 1 | ABORTED | 3 << 5, ASK, CHUNKS)),
        ("grpc", "refused", call(REFUSED, ASK, b"")),
        ("grpc", "gemini", call(FRAMED | 4, CONTENTS, GEMINI)),
        ("grpc", "gzip", call(CODED, b"", &gzipped(ANSWER))),
        ("grpc", "bare", call(0, b"", &[&[0, 0, 0, 0, 32], ANSWER].concat())),
    ]
}
