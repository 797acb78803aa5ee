//! Frames of both sides of a WebSocket go out as inputs: plain, fragmented, compressed, with gaps.

use flate2::{Compress, Compression, FlushCompress};

use crate::Seed;
use crate::protocols::talk;

const CREATE: &[u8] = br#"{"type":"response.create","model":"m","input":"hi"}"#;
const DONE: &[u8] =
    br#"{"type":"response.completed","response":{"id":"r","usage":{"input_tokens":1}}}"#;
const DEFLATE: u8 = 1 << 5;
const FORGETS: u8 = 1 << 6;

fn frame(mask: Option<[u8; 4]>, first: u8, payload: &[u8]) -> Vec<u8> {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    let length = u8::try_from(payload.len()).unwrap_or(125);
    let key = mask.unwrap_or_default();
    let mut frame = vec![first, bit | length];
    frame.extend(mask.iter().flatten());
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

fn ask(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(Some([7, 0xff, 0, 99]), first, payload)
}

fn answer(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(None, first, payload)
}

fn deflated(times: usize) -> Vec<Vec<u8>> {
    let mut compress = Compress::new(Compression::best(), false);
    let mut one = || {
        let mut out = Vec::with_capacity(512);
        compress.compress_vec(DONE, &mut out, FlushCompress::Sync).ok();
        out.truncate(out.len().saturating_sub(4));
        out
    };
    (0..times).map(|_| one()).collect()
}

/// All seeds of this file.
pub(crate) fn seeds() -> Vec<Seed> {
    let (create, done) = (ask(0x81, CREATE), answer(0x81, DONE));
    let parts = [ask(0x01, b"one"), ask(0x89, b"ping"), ask(0x80, b"two")].concat();
    let coded: Vec<u8> = deflated(2).iter().flat_map(|part| answer(0xc1, part)).collect();
    let cut = create.get(..9).unwrap_or_default();
    let seed = |name, options, steps: &[(u8, &[u8])]| ("websocket", name, talk(options, steps));
    vec![
        seed("session", 0, &[(b'S', &create), (b'R', &done), (b'S', &create), (b'R', &done)]),
        seed("fragments", 0, &[(b'S', &parts), (b'R', &answer(0x88, b"\x03\xe8"))]),
        seed("deflate", DEFLATE, &[(b'S', &create), (b'R', &coded)]),
        seed("deflate-anew", DEFLATE | FORGETS, &[(b'R', &coded), (b'R', &answer(0xc1, b"\xff"))]),
        seed("gap-inside", 0, &[(b'S', cut), (b's', &[5]), (b'S', &create)]),
        seed("gap-over", 0, &[(b'R', &done), (b'r', &[0]), (b'R', b"xx\x81"), (b'R', &done)]),
        seed(
            "reserved",
            0,
            &[(b'R', &answer(0xb1, b"x")), (b'R', &done), (b'S', &answer(0x81, b""))],
        ),
    ]
}
