//! Chunks in every order, with losses, doubles and overlaps, come in; the pieces must be the stream, each byte once.

use bytes::Bytes;

use super::*;
use crate::reassembly::Direction::{Received, Sent};

const MILLI: u64 = 1_000_000;

/// The `n`th byte of every test stream, so that a byte in the wrong place shows.
fn byte_at(n: u64) -> u8 {
    u8::try_from(n % 251).unwrap()
}

fn chunk(offset: u64, len: u64, at_ns: u64) -> Chunk {
    let bytes: Vec<u8> = (0..len).map(|n| byte_at(offset.wrapping_add(n))).collect();
    Chunk { offset, at_ns, bytes: Bytes::from(bytes) }
}

/// What the pieces say, as `offset+length` of data and `-length` of gaps; checks every byte.
fn shape(pieces: &[Piece], from: u64) -> String {
    let mut next = from;
    let mut text = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Data { bytes, .. } => {
                let start = next;
                for byte in bytes {
                    assert_eq!(*byte, byte_at(next), "byte {next}");
                    next = next.wrapping_add(1);
                }
                text.push(format!("{start}+{}", bytes.len()));
            }
            Piece::Gap { bytes: Some(len), .. } => {
                next = next.wrapping_add(*len);
                text.push(format!("-{len}"));
            }
            Piece::Gap { bytes: None, .. } => text.push("joined".to_owned()),
        }
    }
    text.join(" ")
}

/// Start, offset of the first piece, chunks as offset and length (0: loss of ten bytes), what comes out at once, and
/// what comes at the end.
type Case = (Start, u64, &'static [(u64, u64)], &'static str, &'static str);

const NEAR_END: u64 = u64::MAX - 9;

const CASES: &[Case] = &[
    (Start::Unknown, 0, &[(0, 5), (5, 5)], "0+5 5+5", ""),
    (Start::Fresh, 0, &[(5, 5), (0, 5)], "0+5 5+5", ""),
    (Start::Fresh, 0, &[(5, 5)], "", "-5 5+5"),
    (Start::Unknown, 5, &[(5, 5), (0, 5), (10, 5)], "joined 5+5 10+5", ""),
    (Start::Joined, 0, &[(0, 5)], "joined 0+5", ""),
    (Start::Fresh, 0, &[(0, 5), (0, 5), (3, 4), (1, 2)], "0+5 5+2", ""),
    (Start::Fresh, 0, &[(10, 5), (20, 5), (0, 12), (14, 8)], "0+10 10+5 15+5 20+5", ""),
    (Start::Fresh, 0, &[(10, 5), (20, 5), (5, 30)], "", "-5 5+5 10+5 15+5 20+5 25+10"),
    (Start::Fresh, 0, &[(10, 5), (10, 9), (12, 3)], "", "-10 10+5 15+4"),
    (Start::Fresh, 0, &[(0, 5), (5, 0), (15, 5)], "0+5 -10 15+5", ""),
    (Start::Fresh, 0, &[(15, 5), (5, 0), (0, 5)], "0+5 -10 15+5", ""),
    (Start::Fresh, 0, &[(8, 4), (5, 0), (0, 5)], "0+5 -3 8+4 -3", ""),
    (
        Start::Unknown,
        NEAR_END,
        &[(NEAR_END, 5), (0, 5), (NEAR_END + 5, 5)],
        "joined 18446744073709551606+5 18446744073709551611+5 0+5",
        "",
    ),
    (
        Start::Unknown,
        NEAR_END,
        &[(NEAR_END, 20), (2, 10)],
        "joined 18446744073709551606+20 10+2",
        "",
    ),
];

#[test]
fn pieces_are_in_order_and_gaps_are_explicit() {
    for (start, from, chunks, at_once, at_end) in CASES {
        let (mut metrics, mut out) = (Metrics::default(), Vec::new());
        let mut stream = Stream::new(&Config::default(), *start);
        for (offset, len) in *chunks {
            match len {
                0 => {
                    stream.lose(
                        Loss { offset: *offset, at_ns: 0, len: 10 },
                        &mut metrics,
                        &mut out,
                    );
                }
                _ => stream.push(chunk(*offset, *len, 0), &mut metrics, &mut out),
            }
        }
        assert_eq!(shape(&out, *from), *at_once, "{chunks:?}");
        let seen = out.len();
        stream.end(1, &mut metrics, &mut out);
        let whole =
            [*at_once, at_end].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>();
        assert_eq!(shape(&out, *from), whole.join(" "), "{chunks:?} ended");
        assert_eq!((stream.is_waiting(), stream.pending_bytes()), (false, 0));
        assert_eq!(seen == out.len(), at_end.is_empty());
    }
}

#[test]
fn any_order_of_any_overlapping_chunks_gives_the_stream() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for round in 0..500 {
        let base = if round % 2 == 0 { 0 } else { u64::MAX - random(500) };
        let mut chunks: Vec<(u64, u64)> = (0..20).map(|n| (n * 25, 25)).collect();
        chunks.extend((0..10).map(|_| (random(460), 1 + random(40))));
        for index in (1..chunks.len()).rev() {
            chunks.swap(index, usize::try_from(random(u64::try_from(index).unwrap() + 1)).unwrap());
        }
        let (mut metrics, mut out) = (Metrics::default(), Vec::new());
        let mut stream = Stream::new(&Config::default(), Start::Unknown);
        stream.push(chunk(base, 1, 0), &mut metrics, &mut out);
        for (offset, len) in chunks {
            stream.push(chunk(base.wrapping_add(offset), len, 0), &mut metrics, &mut out);
        }
        shape(&out, base);
        let bytes: usize = out
            .iter()
            .map(|piece| if let Piece::Data { bytes, .. } = piece { bytes.len() } else { 0 })
            .sum();
        assert_eq!((bytes, stream.is_waiting()), (500, false), "round {round}");
    }
}

#[test]
fn a_missing_part_is_given_up_after_its_time() {
    let (mut metrics, mut out) = (Metrics::default(), Vec::new());
    let mut stream = Stream::new(&Config::default(), Start::Fresh);
    stream.push(chunk(0, 5, 0), &mut metrics, &mut out);
    stream.push(chunk(10, 5, 100 * MILLI), &mut metrics, &mut out);
    stream.push(chunk(20, 5, 250 * MILLI), &mut metrics, &mut out);
    stream.expire(299 * MILLI, &mut metrics, &mut out);
    assert_eq!(shape(&out, 0), "0+5");
    stream.expire(300 * MILLI, &mut metrics, &mut out);
    assert_eq!(shape(&out, 0), "0+5 -5 10+5");
    stream.push(chunk(5, 5, 301 * MILLI), &mut metrics, &mut out);
    stream.push(chunk(15, 5, 301 * MILLI), &mut metrics, &mut out);
    assert_eq!(shape(&out, 0), "0+5 -5 10+5 15+5 20+5");
    assert_eq!((metrics.gaps_waited, metrics.gap_bytes, metrics.duplicate_bytes), (1, 5, 5));
}

#[test]
fn too_much_held_back_gives_the_missing_part_up() {
    let config = Config { chunks_pending_max: 2, bytes_pending_max: 100, ..Config::default() };
    let (mut metrics, mut out) = (Metrics::default(), Vec::new());
    let mut stream = Stream::new(&config, Start::Fresh);
    for offset in [10, 20, 30] {
        stream.push(chunk(offset, 5, 0), &mut metrics, &mut out);
    }
    assert_eq!(shape(&out, 0), "-10 10+5");
    stream.push(chunk(50, 95, 0), &mut metrics, &mut out);
    assert_eq!(shape(&out, 0), "-10 10+5 -5 20+5");
    stream.push(chunk(150, 100, 0), &mut metrics, &mut out);
    assert_eq!(
        (metrics.gaps_over_chunks, metrics.gaps_over_bytes, stream.pending_bytes()),
        (3, 1, 100)
    );
}

#[test]
fn connections_and_directions_do_not_mix() {
    let mut table = Table::new(&Config::default());
    let mut out = Vec::new();
    assert_eq!(table.open(1, Start::Fresh, 0), None);
    for (key, direction, offset) in [(1, Sent, 0), (2, Sent, 7), (1, Received, 5), (1, Received, 0)]
    {
        out.clear();
        assert_eq!(table.push(key, direction, chunk(offset, 5, 0), &mut out), None);
    }
    assert_eq!(shape(&out, 0), "0+5 5+5");
    assert_eq!((table.len(), table.pending_bytes()), (2, 0));
}

#[test]
fn missing_parts_expire_across_the_table_and_at_close() {
    let mut table = Table::new(&Config::default());
    let mut out = Vec::new();
    for key in [1_u32, 2] {
        assert_eq!(table.push(key, Sent, chunk(0, 5, 0), &mut out), None);
        assert_eq!(table.push(key, Sent, chunk(10, 5, u64::from(key) * MILLI), &mut out), None);
    }
    assert_eq!(table.pending_bytes(), 10);
    let mut expired = Vec::new();
    table
        .expire(201 * MILLI, |key, direction, pieces| expired.push((key, direction, pieces.len())));
    assert_eq!(expired, [(1, Sent, 2)]);
    table.close(2, 202 * MILLI, |direction, pieces| expired.push((0, direction, pieces.len())));
    assert_eq!((expired.len(), table.pending_bytes(), table.len()), (2, 0, 1));
    table.expire(900 * MILLI, |_, _, _| panic!("nothing is left"));
    assert_eq!(table.metrics().gaps_at_end, 1);
}

#[test]
fn the_connection_idle_longest_gives_way() {
    let mut table = Table::new(&Config { connections_max: 2, ..Config::default() });
    let mut out = Vec::new();
    assert_eq!(table.push(1, Sent, chunk(0, 5, 1), &mut out), None);
    assert_eq!(table.push(2, Sent, chunk(0, 5, 2), &mut out), None);
    assert_eq!(table.push(1, Received, chunk(0, 5, 3), &mut out), None);
    assert_eq!(table.push(3, Sent, chunk(0, 5, 4), &mut out), Some(Evicted(2)));
    assert_eq!(
        table.lose(4, Sent, Loss { offset: 0, at_ns: 5, len: 9 }, &mut out),
        Some(Evicted(1))
    );
    assert_eq!((table.len(), table.metrics().evicted_over_connections), (2, 2));
}

#[test]
fn idle_connections_are_forgotten() {
    let mut table = Table::new(&Config { idle_secs_max: 1, ..Config::default() });
    let mut out = Vec::new();
    let second = 1000 * MILLI;
    for key in [1, 2] {
        assert_eq!(table.push(key, Sent, chunk(5, 5, 0), &mut out), None);
    }
    assert_eq!(table.push(2, Sent, chunk(20, 5, second / 2), &mut out), None);
    let mut gone = Vec::new();
    table.evict_idle(second, |Evicted(key)| gone.push(key));
    assert_eq!(gone, [1]);
    table.evict_idle(second + second / 2, |Evicted(key)| gone.push(key));
    assert_eq!((gone.as_slice(), table.pending_bytes(), table.is_empty()), (&[1, 2][..], 0, true));
    assert_eq!((table.metrics().evicted_idle, table.metrics().evicted_bytes), (2, 5));
}

#[test]
fn the_total_held_back_is_bounded() {
    let mut table = Table::new(&Config { bytes_pending_total_max: 100, ..Config::default() });
    let mut out = Vec::new();
    for key in 0..10 {
        assert_eq!(table.open(key, Start::Fresh, 0), None);
        assert_eq!(table.push(key, Sent, chunk(10, 40, 0), &mut out), None);
        assert!(table.pending_bytes() <= 100);
    }
    assert_eq!((table.pending_bytes(), table.metrics().gaps_over_total), (80, 8));
}

#[test]
fn debug_never_shows_plaintext() {
    let mut table = Table::new(&Config::default());
    let chunk = Chunk { offset: 5, at_ns: 0, bytes: Bytes::from_static(b"sk-test-not-a-real-key") };
    let mut out = vec![Piece::Data { at_ns: 0, bytes: chunk.bytes.clone() }];
    assert_eq!(table.open(1, Start::Fresh, 0), None);
    let text = format!("{chunk:?}");
    assert_eq!(table.push(1, Sent, chunk, &mut out), None);
    assert_eq!(table.pending_bytes(), 22);
    let text = format!("{text} {table:?} {out:?}");
    assert!(text.contains("22 bytes") && !text.contains("sk-test"), "{text}");
}
