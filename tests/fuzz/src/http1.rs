//! A conversation in HTTP/1 comes in; however it is cut, the same events must come of it.

use sensor_user::http::http1::Connection;
use sensor_user::http::{Config, Decoder, Metrics};
use sensor_user::reassembly::{Direction, Piece};

use crate::input::{self, Choices, Cut, NARROW, RESUME, SINGLE_MAX, SNIFFED, TURNED, has};
use crate::recorder::Recorder;

/// A close, when the pieces are over.
const CLOSE_NS: u64 = 1_000_000;

/// Pieces that are held back until a protocol is found.
const HELD_PIECES_MAX: usize = 256;

/// Runs one input: a byte of options, then a conversation.
pub(crate) fn run(data: &[u8]) {
    let Some((options, rest)) = data.split_first() else { return };
    let steps = input::conversation(rest);
    let mut choices = Choices::of(data);
    let (whole, counted) = play(input::pieces(&steps, Cut::Whole, &mut choices), *options);
    whole.assert_over();
    let strict = input::is_gapless(&steps) && counted.is_some_and(|counted| counted.resyncs == 0);
    for cut in [Cut::Anywhere, Cut::Single] {
        if cut == Cut::Single && rest.len() > SINGLE_MAX {
            break;
        }
        let pieces = input::pieces(&steps, cut, &mut choices);
        let sniffed_well = !has(*options, SNIFFED) || pieces.len() < HELD_PIECES_MAX;
        let (told, told_counted) = play(pieces, *options);
        told.assert_over();
        if strict && sniffed_well {
            whole.assert_same(&told, &format!("{cut:?}"));
            assert_eq!(counted, told_counted, "{cut:?}");
        }
    }
}

fn play(pieces: Vec<(Direction, Piece)>, options: u8) -> (Recorder, Option<Metrics>) {
    let mut recorder = Recorder::new(has(options, RESUME));
    let config =
        if has(options, NARROW) && !has(options, SNIFFED) { narrow() } else { Config::default() };
    let requests_go = if has(options, TURNED) { Direction::Received } else { Direction::Sent };
    let counted = if has(options, SNIFFED) {
        let mut decoder = Decoder::new(&config);
        for (direction, piece) in pieces {
            decoder.push(direction, piece, &mut recorder);
        }
        decoder.close(CLOSE_NS, &mut recorder);
        decoder.metrics()
    } else {
        let mut connection = Connection::new(&config, requests_go);
        for (direction, piece) in pieces {
            connection.push(direction, &piece, &mut recorder);
        }
        connection.close(CLOSE_NS, &mut recorder);
        Some(connection.metrics())
    };
    (recorder, counted)
}

/// Bounds that short inputs can reach.
pub(crate) fn narrow() -> Config {
    Config {
        head_bytes_max: 64,
        header_fields_max: 3,
        exchanges_pending_max: 2,
        sniff_bytes_max: 64,
        codings_max: 2,
        decoded_bytes_max: 4096,
        decoded_ratio_max: 8,
        decoded_ratio_free_bytes: 256,
        streams_max: 2,
        header_table_bytes_max: 128,
    }
}
