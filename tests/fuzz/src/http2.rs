//! A conversation in HTTP/2 comes in, from its start or joined; however it is cut, the same events must come of it.

use sensor_user::http::http2::{Connection, Metrics};
use sensor_user::http::{Config, Decoder};
use sensor_user::reassembly::{Direction, Piece};

use crate::http1::narrow;
use crate::input::{
    self, Choices, Cut, NARROW, PREFACED, RESUME, SINGLE_MAX, SNIFFED, Step, TURNED, has,
};
use crate::recorder::Recorder;

/// A close, when the pieces are over.
const CLOSE_NS: u64 = 1_000_000;

/// RFC 9113, 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Runs one input: a byte of options, then a conversation.
pub(crate) fn run(data: &[u8]) {
    let Some((options, rest)) = data.split_first() else { return };
    let mut steps = input::conversation(rest);
    if has(*options, PREFACED) {
        steps.insert(0, Step::Said(Direction::Sent, PREFACE.to_vec()));
    }
    let mut choices = Choices::of(data);
    let (whole, counted) = play(input::pieces(&steps, Cut::Whole, &mut choices), *options);
    whole.assert_over();
    let sniffed = has(*options, SNIFFED);
    let from_start = if sniffed { has(*options, PREFACED) } else { !has(*options, TURNED) };
    let strict = from_start
        && input::is_gapless(&steps)
        && !whole.has_guesses()
        && counted.is_some_and(|counted| counted.resyncs == 0 && counted.requests_unseen == 0);
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

fn play(pieces: Vec<(Direction, Piece)>, options: u8) -> (Recorder, Option<Metrics>) {
    let mut recorder = Recorder::new(has(options, RESUME));
    let config =
        if has(options, NARROW) && !has(options, SNIFFED) { narrow() } else { Config::default() };
    let counted = if has(options, SNIFFED) {
        let mut decoder = Decoder::new(&config);
        for (direction, piece) in pieces {
            decoder.push(direction, piece, &mut recorder);
        }
        decoder.close(CLOSE_NS, &mut recorder);
        decoder.http2_metrics()
    } else {
        let mut connection = Connection::new(&config, has(options, TURNED));
        for (direction, piece) in pieces {
            connection.push(direction, &piece, &mut recorder);
        }
        connection.close(CLOSE_NS, &mut recorder);
        Some(connection.metrics())
    };
    (recorder, counted)
}
