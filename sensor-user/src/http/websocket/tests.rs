//! Handshakes and frames come in, whole, cut and with gaps; the messages that come of them are compared.

use flate2::{Compress, Compression, FlushCompress};

use crate::http::http1;
use crate::http::recorder::{Recorder, data};
use crate::http::{Config, Metrics};
use crate::reassembly::{Direction, Piece};

const ASK: &[u8] = b"GET /v1/responses HTTP/1.1\r\nHost: api.openai.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\n\r\n";
const ACCEPT: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\r\n";
const ACCEPT_DEFLATE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n\r\n";
/// What a decoder says of the handshake.
const BEGUN: &[&str] =
    &["0 GET /v1/responses at api.openai.com @10", "0 >| Complete", "0 websocket @10"];

/// A frame as one side sends it: clients mask theirs.
fn frame(direction: Direction, first: u8, payload: &[u8]) -> Vec<u8> {
    let masked = direction == Direction::Sent;
    let bit = if masked { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(bit | u8::try_from(short).unwrap()),
        long => {
            frame.push(bit | 0x7e);
            frame.extend(u16::try_from(long).unwrap().to_be_bytes());
        }
    }
    let mask = if masked { [0x37, 0xfa, 0x21, 0x3d] } else { [0; 4] };
    frame.extend(mask.iter().filter(|_| masked));
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn sent(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(Direction::Sent, first, payload)
}

fn received(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(Direction::Received, first, payload)
}

fn tell(accept: &[u8], pieces: &[(Direction, Piece)], close: bool) -> (Vec<String>, Metrics) {
    let mut connection = http1::Connection::new(&Config::default(), Direction::Sent);
    let mut recorder = Recorder::default();
    connection.push(Direction::Sent, &data(10, ASK), &mut recorder);
    connection.push(Direction::Received, &data(10, accept), &mut recorder);
    for (direction, piece) in pieces {
        connection.push(*direction, piece, &mut recorder);
    }
    if close {
        connection.close(99, &mut recorder);
    }
    assert_eq!(recorder.lines[..BEGUN.len()], *BEGUN);
    (recorder.lines.split_off(BEGUN.len()), connection.metrics())
}

/// The frames of one side come whole, byte by byte, and cut at every place: the lines are the same.
fn messages(accept: &[u8], direction: Direction, frames: &[u8]) -> Vec<String> {
    let pieces = |parts: &[&[u8]]| -> Vec<(Direction, Piece)> {
        parts.iter().map(|part| (direction, data(20, part))).collect()
    };
    let (whole, _) = tell(accept, &pieces(&[frames]), false);
    let bytes: Vec<&[u8]> = frames.chunks(1).collect();
    assert_eq!(tell(accept, &pieces(&bytes), false).0, whole, "byte by byte");
    for cut in 0..=frames.len() {
        let (front, back) = frames.split_at(cut);
        assert_eq!(tell(accept, &pieces(&[front, back]), false).0, whole, "cut at {cut}");
    }
    whole
}

#[test]
fn messages_come_out_unmasked_and_joined_with_control_frames_left_out() {
    let frames = [
        sent(0x81, br#"{"type":"response.create"}"#),
        sent(0x01, b"one "),
        sent(0x89, b"ping"),
        sent(0x00, b"two "),
        sent(0x8a, b""),
        sent(0x80, b"three"),
        sent(0x82, b""),
        sent(0x88, b"\x03\xe8bye"),
        sent(0x81, b"nothing comes behind a close frame"),
    ];
    let expected = [
        r#"0 > {\"type\":\"response.create\"}"#,
        "0 >. Complete",
        "0 > one two three",
        "0 >. Complete",
        "0 >. Complete",
    ];
    assert_eq!(messages(ACCEPT, Direction::Sent, &frames.concat()), expected);
}

#[test]
fn the_first_frame_may_stand_behind_the_answer_to_the_handshake() {
    let accept = [ACCEPT, &received(0x81, b"hello")].concat();
    let (lines, metrics) = tell(&accept, &[], true);
    assert_eq!(lines, ["0 < hello", "0 <. Complete", "0 <| Aborted"]);
    assert_eq!((metrics.websocket_messages, metrics.upgrades), (1, 1));
}

fn deflated(compress: &mut Compress, text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len().saturating_add(64));
    compress.compress_vec(text, &mut out, FlushCompress::Sync).unwrap();
    assert_eq!(out.split_off(out.len().saturating_sub(4)), [0, 0, 0xff, 0xff]);
    out
}

#[test]
fn compressed_messages_share_a_window_unless_agreed_otherwise() {
    const TEXT: &[u8] = br#"{"type":"response.output_text.delta","delta":"again and again"}"#;
    let mut compress = Compress::new(Compression::best(), false);
    let (first, second) = (deflated(&mut compress, TEXT), deflated(&mut compress, TEXT));
    assert!(second.len().saturating_mul(2) < first.len(), "the second leans on the first");
    let (front, back) = second.split_at(3);
    let client =
        [sent(0xc1, &first), sent(0x41, front), sent(0x80, back), sent(0x81, b"plain")].concat();
    let text = format!("0 > {}", TEXT.escape_ascii());
    let complete = "0 >. Complete";
    let expected = [text.as_str(), complete, &text, complete, "0 > plain", complete];
    assert_eq!(messages(ACCEPT_DEFLATE, Direction::Sent, &client), expected);
    // This server forgets its window after each message, so the second one cannot be undone.
    let server = [received(0xc1, &first), received(0xc1, &second), received(0xc1, &first)].concat();
    let pieces = [(Direction::Received, data(20, &server))];
    let (lines, metrics) = tell(ACCEPT_DEFLATE, &pieces, false);
    assert_eq!(lines.iter().filter(|line| line.contains("again")).count(), 2, "{lines:?}");
    assert_eq!(metrics.websocket_messages, 3);
}

#[test]
fn an_inflated_message_is_bounded() {
    let mut compress = Compress::new(Compression::best(), false);
    let bomb = deflated(&mut compress, &vec![b' '; 0x0100_0000]);
    let pieces = [(Direction::Received, data(20, &received(0xc1, &bomb)))];
    let config = Config { decoded_ratio_free_bytes: 1024, ..Config::default() };
    let mut connection = http1::Connection::new(&config, Direction::Sent);
    let mut recorder = Recorder::default();
    connection.push(Direction::Sent, &data(10, ASK), &mut recorder);
    connection.push(Direction::Received, &data(10, ACCEPT_DEFLATE), &mut recorder);
    for (direction, piece) in &pieces {
        connection.push(*direction, piece, &mut recorder);
    }
    assert_eq!(recorder.lines.last().map(String::as_str), Some("0 <. Undecodable"));
    let longest = recorder.lines.iter().map(String::len).max().unwrap_or_default();
    assert!(longest < bomb.len().saturating_add(1024).saturating_mul(256), "{longest}");
}

#[test]
fn a_gap_within_a_message_costs_that_message_alone() {
    let frames = [sent(0x81, b"0123456789"), sent(0x81, b"next")].concat();
    let lost = |from: usize, to: usize, told: Option<u64>| {
        let pieces = [
            (Direction::Sent, data(20, &frames[..from])),
            (Direction::Sent, Piece::Gap { at_ns: 30, bytes: told }),
            (Direction::Sent, data(40, &frames[to..])),
        ];
        tell(ACCEPT, &pieces, false).0
    };
    let expected = ["0 > 012", "0 >. Gap", "0 > next", "0 >. Complete"];
    for to in 10..=16 {
        assert_eq!(
            lost(9, to, Some(u64::try_from(to).map(|to| to.saturating_sub(9)).unwrap())),
            expected,
            "to {to}"
        );
    }
}

#[test]
fn behind_a_lost_frame_only_a_certain_message_is_taken() {
    let sure = sent(0x81, br#"{"type":"response.create","model":"m"}"#);
    let frames = [sent(0x81, b"lost"), sent(0x81, b"no object"), sure.clone()].concat();
    for (cut, missing) in [(2, None), (2, Some(30)), (0, Some(3))] {
        let behind =
            missing.map_or(7, |missing| usize::try_from(missing).unwrap().saturating_add(cut));
        let pieces = [
            (Direction::Sent, data(20, &frames[..cut])),
            (Direction::Sent, Piece::Gap { at_ns: 30, bytes: missing }),
            (
                Direction::Sent,
                data(
                    40,
                    frames.get(behind..frames.len().saturating_sub(sure.len())).unwrap_or_default(),
                ),
            ),
            (Direction::Sent, data(40, &sure)),
        ];
        let (lines, metrics) = tell(ACCEPT, &pieces, false);
        let message = r#"0 > {\"type\":\"response.create\",\"model\":\"m\"}"#;
        assert_eq!(lines, ["0 >. Gap", message, "0 >. Complete"], "cut at {cut}");
        assert_eq!(metrics.resyncs, 1);
    }
}

#[test]
fn broken_frames_and_unknown_extensions_end_nothing_but_themselves() {
    let frames = [received(0xb1, b"reserved"), received(0x81, br#"{"type":"error"}"#)].concat();
    let (lines, metrics) = tell(ACCEPT, &[(Direction::Received, data(20, &frames))], false);
    assert_eq!(lines, ["0 <. Gap", r#"0 < {\"type\":\"error\"}"#, "0 <. Complete"]);
    assert_eq!(metrics.websocket_malformed, 1);
    let other = b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nSec-WebSocket-Extensions: x-mux\r\n\r\n";
    let (lines, _) = tell(other, &[(Direction::Received, data(20, &frames))], true);
    assert_eq!(lines, ["0 <| Complete"]);
}

#[test]
fn a_message_that_is_cut_by_the_end_is_aborted() {
    let pieces = [(Direction::Received, data(20, &received(0x01, b"half")))];
    let (lines, _) = tell(ACCEPT, &pieces, true);
    assert_eq!(lines, ["0 < half", "0 <. Aborted", "0 <| Aborted"]);
}
