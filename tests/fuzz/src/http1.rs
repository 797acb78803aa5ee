//! A conversation in HTTP/1 comes in; however it is cut, the same events must come of it.

use sensor_user::http::http1::Connection;
use sensor_user::http::{Config, Decoder, Metrics};
use sensor_user::reassembly::{Direction, Piece};

use crate::input::{self, Choices, Cut, SINGLE_MAX};
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
        let sniffed_well = options & 8 == 0 || pieces.len() < HELD_PIECES_MAX;
        let (told, told_counted) = play(pieces, *options);
        told.assert_over();
        if strict && sniffed_well {
            whole.assert_same(&told, &format!("{cut:?}"));
            assert_eq!(counted, told_counted, "{cut:?}");
        }
    }
}

fn play(pieces: Vec<(Direction, Piece)>, options: u8) -> (Recorder, Option<Metrics>) {
    let mut recorder = Recorder::new(options & 1 != 0);
    let config = if options & 10 == 2 { narrow() } else { Config::default() };
    let requests_go = if options & 4 == 0 { Direction::Sent } else { Direction::Received };
    let counted = if options & 8 == 0 {
        let mut connection = Connection::new(&config, requests_go);
        for (direction, piece) in pieces {
            connection.push(direction, &piece, &mut recorder);
        }
        connection.close(CLOSE_NS, &mut recorder);
        Some(*connection.metrics())
    } else {
        let mut decoder = Decoder::new(&config);
        for (direction, piece) in pieces {
            decoder.push(direction, piece, &mut recorder);
        }
        decoder.close(CLOSE_NS, &mut recorder);
        decoder.metrics().copied()
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
