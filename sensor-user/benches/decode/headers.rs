//! Header blocks of a connection under way come in; a load for HPACK goes out.

use std::hint::black_box;

use sensor_user::http::http2::hpack::Decoder;

use crate::{Load, length};

/// Header blocks in one round.
const BLOCKS: usize = 4096;

/// Fields that an SDK sends with every request.
const FIELDS: [(&str, &str); 14] = [
    (":method", "POST"),
    (":scheme", "https"),
    (":authority", "api.openai.com"),
    (":path", "/v1/chat/completions"),
    ("accept", "application/json"),
    ("authorization", "Bearer sk-proj-BENCHFAKE000000000000000000000000"),
    ("content-type", "application/json"),
    ("user-agent", "OpenAI/Python 2.8.1"),
    ("x-stainless-arch", "x64"),
    ("x-stainless-async", "false"),
    ("x-stainless-lang", "python"),
    ("x-stainless-os", "Linux"),
    ("x-stainless-package-version", "2.8.1"),
    ("x-stainless-runtime-version", "3.11.2"),
];

/// Literals that are inserted into the table (RFC 7541, 6.2.1).
fn first_block() -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap_or(0);
    let field = |(name, value): &(&str, &str)| {
        [&[0x40, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
    };
    FIELDS.iter().flat_map(field).collect()
}

/// The same fields by their indices, and a length that is new each time (RFC 7541, 6.1 and 6.2.2).
fn next_block() -> Vec<u8> {
    let oldest = u8::try_from(FIELDS.len()).unwrap_or(0).saturating_add(61);
    let indices = (62..=oldest).rev().map(|index| 0x80 | index);
    indices.chain(*b"\x0f\x0d\x041234").collect()
}

/// All loads of this file.
pub(crate) fn loads() -> Vec<Load> {
    let mut decoder = Decoder::new(64 * 1024);
    let first = decoder.decode(&first_block(), &mut |_, _| ());
    debug_assert!(first.is_ok(), "the first block is a good one");
    let block = next_block();
    let plain = vec![block.repeat(BLOCKS)];
    let round = move || {
        for _ in 0..BLOCKS {
            let mut bytes = 0_usize;
            let told = decoder
                .decode(black_box(&block), &mut |_, value| bytes = bytes.wrapping_add(value.len()));
            debug_assert!(told.is_ok(), "the block is a good one");
            black_box(bytes);
        }
    };
    vec![Load {
        name: "hpack",
        bytes: length(&plain),
        chunks: u64::try_from(BLOCKS).unwrap_or(0),
        unit: "blocks",
        plain,
        must_not_allocate: true,
        round: Box::new(round),
    }]
}
