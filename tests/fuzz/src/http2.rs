//! A conversation in HTTP/2 comes in, from its start or joined; however it is cut, the same events must come of it.

use sensor_user::http::http2::{Connection, Metrics};
use sensor_user::http::{Config, Decoder};
use sensor_user::reassembly::{Direction, Piece};

use crate::http1::narrow;
use crate::input::{self, Choices, Cut, SINGLE_MAX, Step};
use crate::recorder::Recorder;

/// A close, when the pieces are over.
const CLOSE_NS: u64 = 1_000_000;

/// RFC 9113, 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Runs one input: a byte of options, then a conversation.
pub(crate) fn run(data: &[u8]) {
    let Some((options, rest)) = data.split_first() else { return };
    let mut steps = input::conversation(rest);
    if options & 16 != 0 {
        steps.insert(0, Step::Said(Direction::Sent, PREFACE.to_vec()));
    }
    let mut choices = Choices::of(data);
    let (whole, counted) = play(input::pieces(&steps, Cut::Whole, &mut choices), *options);
    whole.assert_over();
    let from_start = options & 8 == 0 && options & 4 == 0 || options & 24 == 24;
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
    let mut recorder = Recorder::new(options & 1 != 0);
    let config = if options & 10 == 2 { narrow() } else { Config::default() };
    let counted = if options & 8 == 0 {
        let mut connection = Connection::new(&config, options & 4 != 0);
        for (direction, piece) in pieces {
            connection.push(direction, &piece, &mut recorder);
        }
        connection.close(CLOSE_NS, &mut recorder);
        Some(connection.metrics())
    } else {
        let mut decoder = Decoder::new(&config);
        for (direction, piece) in pieces {
            decoder.push(direction, piece, &mut recorder);
        }
        decoder.close(CLOSE_NS, &mut recorder);
        decoder.http2_metrics()
    };
    (recorder, counted)
}
