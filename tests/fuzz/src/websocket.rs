//! Frames of both sides of a WebSocket come in; however they are cut, the same messages must come of them.

use sensor_user::http::http1::Connection;
use sensor_user::http::{Config, Metrics};
use sensor_user::reassembly::{Direction, Piece};

use crate::http1::narrow;
use crate::input::{self, Choices, Cut, NARROW, SINGLE_MAX, has};
use crate::recorder::Recorder;

/// Option: compression was agreed on, and whether each side begins every message anew.
const DEFLATE: u8 = 1 << 5;
const FORGETS: u8 = 1 << 6;

/// When the pieces are over.
const CLOSE_NS: u64 = 1_000_000;

const ASK: &[u8] = b"GET /v1/responses HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
const ACCEPT: &[u8] = b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\n";
const EXTENSION: &[u8] = b"Sec-WebSocket-Extensions: permessage-deflate";
const FORGETTING: &[u8] = b"; client_no_context_takeover; server_no_context_takeover";

/// Runs one input: a byte of options, then a conversation.
pub(crate) fn run(data: &[u8]) {
    let Some((options, rest)) = data.split_first() else { return };
    let steps = input::conversation(rest);
    let mut choices = Choices::of(data);
    let (whole, counted) = play(input::pieces(&steps, Cut::Whole, &mut choices), *options);
    whole.assert_over();
    // Behind a lost frame, or an inflated message that breaks, it matters what comes together.
    let strict = input::is_gapless(&steps) && counted.resyncs == 0;
    for cut in [Cut::Anywhere, Cut::Single] {
        if cut == Cut::Single && rest.len() > SINGLE_MAX {
            break;
        }
        let (told, told_counted) = play(input::pieces(&steps, cut, &mut choices), *options);
        told.assert_over();
        if strict {
            whole.assert_same(&told, &format!("{cut:?}"));
            assert_eq!(counted, told_counted, "{cut:?}");
        }
    }
}

fn play(pieces: Vec<(Direction, Piece)>, options: u8) -> (Recorder, Metrics) {
    let mut config = Config::default();
    if has(options, NARROW) {
        // The handshake is to pass.
        config = Config { head_bytes_max: config.head_bytes_max, header_fields_max: 9, ..narrow() };
    }
    let mut accept = ACCEPT.to_vec();
    if has(options, DEFLATE) {
        accept.extend_from_slice(EXTENSION);
        accept.extend(FORGETTING.iter().filter(|_| has(options, FORGETS)));
        accept.extend_from_slice(b"\r\n");
    }
    accept.extend_from_slice(b"\r\n");
    let (mut recorder, mut connection) =
        (Recorder::default(), Connection::new(&config, Direction::Sent));
    let said = |bytes: &[u8]| Piece::Data { at_ns: 0, bytes: bytes.to_vec().into() };
    connection.push(Direction::Sent, &said(ASK), &mut recorder);
    connection.push(Direction::Received, &said(&accept), &mut recorder);
    for (direction, piece) in pieces {
        connection.push(direction, &piece, &mut recorder);
    }
    connection.close(CLOSE_NS, &mut recorder);
    (recorder, connection.metrics())
}
