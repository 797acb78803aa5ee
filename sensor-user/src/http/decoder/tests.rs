//! Beginnings of connections come in, cut and joined anywhere; the protocol must be found out, or given up.

use super::*;
use crate::http::recorder::{self, Recorder};
use crate::reassembly::Direction::{Received, Sent};

const JOINED: Piece = Piece::Gap { at_ns: 0, bytes: None };

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// What both sides sent, whether both were joined, and the protocol.
type Case = (&'static [(Direction, &'static [u8])], bool, Option<Protocol>);

const CASES: &[Case] = &[
    (&[(Sent, b"POST /v1 HTTP/1.1\r\n")], false, Some(Protocol::Http1)),
    (&[(Received, b"GET / HTTP/1.0\n\n")], false, Some(Protocol::Http1)),
    (&[(Received, b"HTTP/1.1 408 Timeout\r\n\r\n")], false, Some(Protocol::Http1)),
    (&[(Sent, PREFACE)], false, Some(Protocol::Http2)),
    (&[(Received, b"\0\0\0\x04\0\0\0\0\0")], false, Some(Protocol::Http2)),
    (&[(Sent, b"PRI * HT")], false, None),
    (&[(Sent, b"POST /v1 HT")], false, None),
    (&[(Sent, b"")], false, None),
    (&[(Sent, b"GET key\r\n")], false, Some(Protocol::Other)),
    (&[(Sent, b"EHLO mail.example\r\n")], false, Some(Protocol::Other)),
    (&[(Received, b"220 mail.example\r\n")], false, Some(Protocol::Other)),
    (&[(Sent, b"\x16\x03\x01\x02\0")], false, Some(Protocol::Other)),
    (&[(Sent, b"\0\0\x08\x06\0\0\0\0\0pingpong")], false, Some(Protocol::Other)),
    (&[(Sent, b"{\"a\":1}"), (Received, b"{}")], true, None),
    (&[(Received, b"0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")], true, Some(Protocol::Http1)),
    (&[(Sent, b"text\n"), (Sent, b"POST / HTTP/1.1\r\n\r\n")], true, Some(Protocol::Http1)),
    (&[(Received, b"\0\0\x04\x08\0\0\0\0\0\0\0\x10\0")], true, Some(Protocol::Http2)),
    (&[(Sent, b"\0\0\x02\0\x01\0\0\0\x03{}")], true, Some(Protocol::Http2)),
];

fn decode(pieces: Vec<(Direction, Piece)>) -> (Decoder, Vec<String>) {
    let mut decoder = Decoder::new(&Config::default());
    let mut recorder = Recorder::default();
    for (direction, piece) in pieces {
        decoder.push(direction, piece, &mut recorder);
    }
    decoder.close(100, &mut recorder);
    (decoder, recorder.lines)
}

fn begun(joined: bool) -> Vec<(Direction, Piece)> {
    if joined { vec![(Sent, JOINED), (Received, JOINED)] } else { Vec::new() }
}

#[test]
fn the_protocol_is_found_out_however_its_beginning_is_cut() {
    for (conversation, joined, expected) in CASES {
        let pieces = recorder::pieces(conversation);
        let (index, (direction, last)) = conversation.iter().enumerate().next_back().unwrap();
        for at in 0..=last.len() {
            let pieces = [begun(*joined), recorder::cut(&pieces, index, at)].concat();
            let (decoder, _) = decode(pieces);
            assert_eq!(decoder.protocol(), *expected, "{}, cut at {at}", last.escape_ascii());
            let answers = *direction == Received && last.starts_with(b"GET ");
            let http = matches!(expected, Some(Protocol::Http1 | Protocol::Http2));
            assert_eq!(decoder.asks(), http && !answers, "{}, cut at {at}", last.escape_ascii());
        }
    }
}

#[test]
fn what_was_held_back_is_not_lost() {
    let request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}";
    let response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]";
    let expected =
        ["0 POST / at a @10", "0 > {}", "0 >| Complete", "0 200 @20", "0 < []", "0 <| Complete"];
    let whole = recorder::pieces(&[(Sent, request), (Received, response)]);
    for joined in [false, true] {
        for at in 0..request.len() {
            let (decoder, lines) = decode([begun(joined), recorder::cut(&whole, 0, at)].concat());
            assert_eq!(lines, expected, "cut at {at}");
            assert_eq!(decoder.metrics().map(|metrics| metrics.requests), Some(1));
        }
    }
}

#[test]
fn a_connection_that_is_never_understood_is_given_up() {
    let mut decoder = Decoder::new(&Config { sniff_bytes_max: 1000, ..Config::default() });
    let mut recorder = Recorder::default();
    for direction in [Sent, Received] {
        decoder.push(direction, JOINED, &mut recorder);
        for _ in 0..11 {
            assert_eq!(decoder.protocol(), None);
            decoder.push(direction, recorder::data(1, &[0xff; 100]), &mut recorder);
        }
    }
    assert_eq!(decoder.protocol(), Some(Protocol::Other));
    decoder.push(Sent, recorder::data(1, b"GET / HTTP/1.1\r\n\r\n"), &mut recorder);
    assert_eq!(recorder.lines.len(), 0);
}

#[test]
fn a_side_that_only_ever_pushes_is_given_up_seen_or_left_out() {
    let seen = recorder::data(1, &[0xff; 1000]);
    for piece in [seen, Piece::Gap { at_ns: 1, bytes: Some(1000) }] {
        let mut decoder = Decoder::new(&Config { sniff_bytes_max: 1000, ..Config::default() });
        let mut recorder = Recorder::default();
        decoder.push(Received, JOINED, &mut recorder);
        let pushed = (0..100).position(|_| {
            decoder.push(Received, piece.clone(), &mut recorder);
            decoder.protocol() == Some(Protocol::Other)
        });
        assert_eq!(pushed, Some(64), "{piece:?}");
    }
}

#[test]
fn what_is_held_back_is_bounded_in_bytes_and_what_was_let_go_counts_no_more() {
    // Each may end with the first letter of a method.
    let begun = [[b'x'; 98].as_slice(), b"\nG"].concat();
    let (begun, nothing) = (begun.as_slice(), [b'x'; 100]);
    let let_go = [vec![begun; 9], vec![nothing.as_slice()]].concat();
    for (pieces, expected) in [(vec![begun], Some(10)), (let_go, None)] {
        let mut decoder = Decoder::new(&Config { sniff_bytes_max: 1000, ..Config::default() });
        let mut recorder = Recorder::default();
        decoder.push(Received, JOINED, &mut recorder);
        let pushed = pieces.iter().cycle().take(60).position(|bytes| {
            decoder.push(Received, recorder::data(1, bytes), &mut recorder);
            decoder.protocol() == Some(Protocol::Other)
        });
        assert_eq!(pushed, expected, "{} in turn", pieces.len());
    }
}

#[test]
fn a_long_answer_that_was_joined_costs_no_later_call() {
    let mut decoder = Decoder::new(&Config::default());
    let mut recorder = Recorder::default();
    decoder.push(Received, JOINED, &mut recorder);
    // A chunk of 1024 bytes: `data: {`, a text, `}`, an empty line.
    let chunk = format!("400\r\ndata: {{{}}}\n\n\r\n", "x".repeat(1014));
    for at_ns in 1..=400 {
        decoder.push(Received, recorder::data(at_ns, chunk.as_bytes()), &mut recorder);
    }
    decoder.push(Sent, JOINED, &mut recorder);
    let request = b"POST /v1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}";
    decoder.push(Sent, recorder::data(500, request), &mut recorder);
    assert_eq!(decoder.protocol(), Some(Protocol::Http1));
    assert_eq!(recorder.lines, ["0 POST /v1 at a @500", "0 > {}", "0 >| Complete"]);
    assert_eq!(decoder.metrics().map(|metrics| metrics.requests), Some(1));
}

#[test]
fn a_lost_beginning_is_a_joined_connection() {
    let mut decoder = Decoder::new(&Config::default());
    let mut recorder = Recorder::default();
    decoder.push(Sent, recorder::data(1, b"POST /lo"), &mut recorder);
    decoder.push(Sent, Piece::Gap { at_ns: 2, bytes: Some(9) }, &mut recorder);
    decoder.push(Sent, recorder::data(3, b"t: x\r\n\r\nGET /b HTTP/1.1\r\n\r\n"), &mut recorder);
    assert_eq!(recorder.lines, ["0 GET /b at  @3", "0 >| Complete"]);
}

#[test]
fn an_http2_request_comes_through_the_preface() {
    // RFC 7541, C.3.1: GET http://www.example.com/, on stream 1, ended.
    let block = b"\x82\x86\x84\x41\x0fwww.example.com";
    let request = [PREFACE, b"\0\0\x14\x01\x05\0\0\0\x01", block].concat();
    for at in 0..request.len() {
        let (first, second) = request.split_at(at);
        let pieces = vec![(Sent, recorder::data(1, first)), (Sent, recorder::data(2, second))];
        let (decoder, lines) = decode(pieces);
        let requests = decoder.http2_metrics().map(|metrics| metrics.requests);
        assert_eq!((decoder.protocol(), requests), (Some(Protocol::Http2), Some(1)));
        assert!(lines[0].starts_with("1 GET / at www.example.com @"), "cut at {at}: {}", lines[0]);
    }
}

#[test]
fn debug_never_shows_a_key() {
    let head =
        b"POST /?key=sk-test-not-a-real-key HTTP/1.1\r\nAuthorization: sk-test-not-a-real-key\r\n";
    for at in [0, 20, head.len()] {
        let (first, second) = head.split_at(at);
        let mut decoder = Decoder::new(&Config::default());
        for bytes in [first, second] {
            decoder.push(Sent, recorder::data(1, bytes), &mut Recorder::default());
            let text = format!("{decoder:?}");
            assert!(!text.contains("sk-test") && !text.contains("115, 107, 45"), "{text}");
        }
    }
}
