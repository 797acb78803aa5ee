//! Messages of peers and of the kernel half go out as inputs: HTTP, HPACK, events, coded bodies, JSON, records, chunks.

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use sensor_common::record::{self, Header, Hello, Socket};
use zerocopy::{FromBytes, IntoBytes};

use crate::Seed;

const REQUEST: &[u8] = b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nContent-Type: application/json\r\n\
    Authorization: Bearer sk-proj-FUZZFAKE0000\r\nContent-Length: 61\r\n\r\n\
    {\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 88\r\n\r\n\
    {\"id\":\"c1\",\"model\":\"gpt-4o\",\"choices\":[{}],\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":1}}";
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
    1d\r\ndata: {\"choices\":[{\"delta\":{\r\n16;x=y\r\n\"content\":\"Hi\"}}]}\n\n\n\r\n0\r\nTrailer: t\r\n\r\n";
const STREAM: &[u8] = b"event: message_start\r\ndata: {\"a\":1}\r\n\r\n: a comment\nid: 7\ndata\ndata: two\ndata:three\n\n\
    event: \xe2\x82\xac\rdata: last";

/// A conversation: options, then steps with their tags.
pub(crate) fn talk(options: u8, steps: &[(u8, &[u8])]) -> Vec<u8> {
    let mut input = vec![options];
    for (tag, bytes) in steps {
        input.extend([0xff, *tag]);
        input.extend(
            bytes.iter().flat_map(|byte| if *byte == 0xff { vec![0xff; 2] } else { vec![*byte] }),
        );
    }
    input
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).and_then(|()| encoder.finish()).unwrap_or_default()
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).and_then(|()| encoder.finish()).unwrap_or_default()
}

fn brotli(body: &[u8]) -> Vec<u8> {
    let mut coded = Vec::new();
    let written = brotli::CompressorWriter::new(&mut coded, 4096, 5, 20).write_all(body);
    written.map_or_else(|_| Vec::new(), |()| coded)
}

fn zstd(body: &[u8]) -> Vec<u8> {
    zstd::encode_all(body, 3).unwrap_or_default()
}

/// All seeds of this file.
pub(crate) fn seeds() -> Vec<Seed> {
    [http1(), http2(), hpack(), bodies(), kernel()].concat()
}

fn http1() -> Vec<Seed> {
    let gzipped = gzip(STREAM);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        gzipped.len()
    );
    let coded = [head.as_bytes(), &gzipped].concat();
    let early: &[u8] = b"PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    let pipelined: &[u8] =
        b"GET /1 HTTP/1.1\r\n\r\nHEAD /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n";
    let answers: &[u8] =
        b"HTTP/1.1 204\r\n\r\nHTTP/1.1 200\r\nContent-Length: 9\r\n\r\nHTTP/1.1 304 x\r\n\r\n";
    let upgrade: &[u8] = b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
    let both = |target: &'static str| {
        [
            (
                target,
                "keep-alive",
                talk(0, &[(b'S', REQUEST), (b'R', ANSWER), (b'S', REQUEST), (b'R', CHUNKED)]),
            ),
            (target, "sniffed", talk(8, &[(b'S', REQUEST), (b'R', CHUNKED)])),
            (target, "gzip", talk(0, &[(b'S', REQUEST), (b'R', &coded)])),
            (target, "pipelined", talk(2, &[(b'S', pipelined), (b'R', answers)])),
            (
                target,
                "gap",
                talk(
                    1,
                    &[
                        (b'S', REQUEST),
                        (b'R', &CHUNKED[..90]),
                        (b'r', &[9]),
                        (b'R', &CHUNKED[99..]),
                    ],
                ),
            ),
            (
                target,
                "joined",
                talk(
                    9,
                    &[(b'r', &[0]), (b'R', b"tail\r\n0\r\n\r\n"), (b'S', REQUEST), (b'R', ANSWER)],
                ),
            ),
        ]
    };
    let mut seeds = [both("http1"), both("path")].concat();
    seeds.push((
        "http1",
        "until-close",
        talk(
            0,
            &[
                (b'S', early),
                (b'R', b"HTTP/1.1 100 Continue\r\n\r\n"),
                (b'S', b"abc"),
                (b'R', b"HTTP/1.0 200 OK\r\n\r\nuntil the end"),
            ],
        ),
    ));
    seeds.push((
        "http1",
        "server-upgrade",
        talk(
            4,
            &[
                (b'R', upgrade),
                (b'S', b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x02hi"),
            ],
        ),
    ));
    seeds
}

/// A header block of literals that are inserted into the table (RFC 7541, 6.2.1).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap_or(126);
    let field = |(name, value): &(&str, &str)| {
        [&[0x40, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
    };
    fields.iter().flat_map(field).collect()
}

fn http2() -> Vec<Seed> {
    let part = |head: [u8; 3], payload: &[u8]| [&head, payload].concat();
    let asked = block(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "api.openai.com"),
        (":path", "/v1/chat/completions"),
        ("authorization", "Bearer sk-proj-FUZZFAKE0000"),
    ]);
    let told = block(&[(":status", "200"), ("content-type", "text/event-stream")]);
    let request = part([1, 4, 1], &asked);
    let split = [
        part([1, 0, 3], &asked[..20]),
        part([9, 0, 3], &asked[20..40]),
        part([9, 4, 3], &asked[40..]),
    ];
    let body = part([0, 1, 1], b"{\"model\":\"gpt-4o\",\"stream\":true,\"messages\":[{}]}");
    let answer = part([1, 4, 1], &told);
    let data = part([0, 0, 1], STREAM);
    let padded = part([0, 9, 1], b"\x03data: x\n\n\0\0\0");
    let trailers = part([1, 5, 1], &block(&[("grpc-status", "0")]));
    // A header block by its indices, the fields of which the block before has inserted.
    let again = part([1, 5, 5], &[0x80 | 66, 0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62]);
    let settings = part([4, 0, 0], &[0, 1, 0, 0, 0x20, 0, 0, 4, 0, 0, 0x80, 0]);
    let plain: Vec<(u8, &[u8])> = vec![
        (b'F', &settings),
        (b'f', &settings),
        (b'f', &[4, 1, 0]),
        (b'F', &request),
        (b'F', &body),
        (b'f', &answer),
        (b'f', &data),
        (b'f', &padded),
        (b'F', &again),
        (b'f', &trailers),
        (b'f', b"\x07\0\0\0\0\0\x01\0\0\0\0"),
    ];
    let continued: Vec<(u8, &[u8])> = vec![
        (b'F', &split[0]),
        (b'F', &split[1]),
        (b'F', &split[2]),
        (b'F', b"\x03\0\x03\0\0\0\x08"),
    ];
    let holed: Vec<(u8, &[u8])> = vec![
        (b'F', &request),
        (b'F', &body),
        (b'f', &answer),
        (b'r', &[0]),
        (b'f', &data),
        (b'f', &trailers),
    ];
    vec![
        ("http2", "conversation", talk(16, &plain)),
        ("http2", "sniffed", talk(24, &plain)),
        ("http2", "narrow", talk(18, &plain)),
        ("http2", "continuation", talk(16, &continued)),
        ("http2", "gap", talk(17, &holed)),
        ("http2", "joined", talk(12, &plain[3..])),
        (
            "path",
            "http2",
            talk(
                0,
                &[&[(b'S', b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice())], plain.as_slice()]
                    .concat(),
            ),
        ),
    ]
}

fn hpack() -> Vec<Seed> {
    // RFC 7541, C.6: three responses with Huffman codes, whose table evicts.
    const FOUND: &[u8] = b"\x48\x82\x64\x02\x58\x85\xae\xc3\x77\x1a\x4b\x61\x96\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\
        \x05\x95\x04\x0b\x81\x66\xe0\x82\xa6\x2d\x1b\xff\x6e\x91\x9d\x29\xad\x17\x18\x63\xc7\x8f\x0b\x97\xc8\xe9\xae\x82\xae\
        \x43\xd3";
    const MOVED: &[u8] = b"\x48\x83\x64\x0e\xff\xc1\xc0\xbf";
    let blocks = |head: &[u8], blocks: &[&[u8]]| {
        let length = |block: &[u8]| u8::try_from(block.len()).unwrap_or(0xfc);
        let blocks = blocks.iter().flat_map(|block| [&[length(block)], *block].concat());
        head.iter().copied().chain(blocks).collect::<Vec<u8>>()
    };
    let (first, second) = (block(&[("a", "1"), ("b", "2")]), [0xbe, 0xbf, 0x7f, 0x00, 0x01, b'x']);
    vec![
        ("hpack", "from-start", blocks(&[0, 0], &[FOUND, MOVED])),
        ("hpack", "joined", blocks(&[0, 1], &[FOUND, MOVED, MOVED])),
        (
            "hpack",
            "resized",
            blocks(&[0, 2, 0xfe, 8, 0xfd], &[&[0x3f, 0x1f], &first, &second, &second]),
        ),
        ("hpack", "narrow", blocks(&[1, 1], &[&first, &first, &second, &[0x20], &first])),
    ]
}

fn bodies() -> Vec<Seed> {
    let coded = |choice: u8, body: Vec<u8>| [vec![choice], body].concat();
    vec![
        ("sse", "events", STREAM.to_vec()),
        ("sse", "mark", [b"\xef\xbb\xbf".as_slice(), b"data: x\r\n\r\ndata: [DONE]\n\n"].concat()),
        ("coding", "gzip", coded(0, gzip(STREAM))),
        ("coding", "two-members", coded(0, [gzip(STREAM), gzip(ANSWER)].concat())),
        ("coding", "zlib", coded(1, zlib(STREAM))),
        ("coding", "br", coded(2, brotli(STREAM))),
        ("coding", "zstd", coded(3, zstd(STREAM))),
        ("coding", "gzip-br", coded(4, brotli(&gzip(STREAM)))),
        ("coding", "zeros", coded(3, zstd(&[0; 100_000]))),
        ("coding", "round-trip", coded(11, STREAM.to_vec())),
        ("skim", "answer", br#"{"id":"x","model":"m-1","choices":[{"delta":{"content":"Hi \" \u0041"}},null],"usage":{"a":[1,{}],"b":"]}"}}"#.to_vec()),
        ("skim", "list", br#"[{"n":1},{"n":"x"},{"n":-2.5e3},{"n":null}]"#.to_vec()),
        ("skim", "output", br#"{"output":[{"type":"web"},{"type":"file"}],"x":{"cache":{"ttl":"1h"}},"model":true}"#.to_vec()),
        ("skim", "duplicates", br#"{"model":"a","model":{"b":1},"usage":1,"usage":{"c":2},"mo\u0064el":"z"}"#.to_vec()),
    ]
}

fn kernel() -> Vec<Seed> {
    let record = |kind: u32, payload: &[u8]| {
        let Ok(mut header) = Header::read_from_bytes(&[0; record::HEADER_LEN]) else {
            return Vec::new();
        };
        header.kind = kind;
        header.captured = u32::try_from(payload.len()).unwrap_or(0);
        [header.as_bytes(), payload, b"PADDING"].concat()
    };
    let mut socket =
        Socket { family: 10, remote_port: 443, local_port: 40000, ..Socket::default() };
    socket.remote_address[15] = 1;
    let mut hello = [0; size_of::<Hello>()];
    hello[..size_of::<Socket>()].copy_from_slice(socket.as_bytes());
    hello[size_of::<Socket>()] = 14;
    hello[size_of::<Socket>() + 8..][..14].copy_from_slice(b"API.openai.com");
    vec![
        ("record", "data", record(record::KIND_DATA, REQUEST)),
        ("record", "name", record(record::KIND_NAME, b".api.openai.com")),
        ("record", "bound", record(record::KIND_BOUND, socket.as_bytes())),
        ("record", "hello", record(record::KIND_HELLO, &hello)),
        ("record", "fork", record(record::KIND_FORK, b"")),
        ("reassembly", "in-order", [&[0][..], &[3, 0, 0, 100, 3, 0, 100, 200]].concat()),
        (
            "reassembly",
            "overlaps",
            [
                &[1][..],
                &[3, 1, 0, 50, 3, 1, 20, 50, 4, 0, 200, 90, 2, 1, 90, 5, 0, 0, 0, 250, 1, 0, 0, 0],
            ]
            .concat(),
        ),
        (
            "reassembly",
            "wraps",
            [&[0x81 | 4][..], &[3, 2, 0x80, 100, 3, 3, 0, 60, 3, 2, 0xe4, 30]].concat(),
        ),
        (
            "reassembly",
            "bounded",
            [&[2 | 4 | 8 | 16][..], &[3, 0, 50, 40, 3, 0, 200, 90, 3, 1, 0, 90, 3, 1, 99, 9]]
                .concat(),
        ),
    ]
}
