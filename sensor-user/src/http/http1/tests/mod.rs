//! Conversations of clients and servers come in; the events, and that no cut of the bytes changes them, are checked.

use crate::http::Config;
use crate::http::http1::Connection;
use crate::http::recorder::{self, Recorder, Said};
use crate::reassembly::Direction::{self, Received, Sent};
use crate::reassembly::Piece;

mod corpus;
mod gaps;
mod mutations;
mod pipeline;

/// A close, when the pieces are over.
const CLOSE_NS: u64 = 1000;

fn play(pieces: Vec<(Direction, Piece)>, resume: bool) -> Vec<String> {
    let mut connection = Connection::new(&Config::default(), Sent);
    let mut recorder = Recorder { resume, ..Recorder::default() };
    for (direction, piece) in pieces {
        connection.push(direction, &piece, &mut recorder);
    }
    connection.close(CLOSE_NS, &mut recorder);
    recorder.lines
}

fn say(conversation: &[Said]) -> Vec<String> {
    play(recorder::pieces(conversation), false)
}

#[test]
fn conversations_give_their_events() {
    for (name, conversation, expected) in corpus::CASES {
        assert_eq!(say(conversation), *expected, "{name}");
    }
}

#[test]
fn no_cut_changes_the_events() {
    for (name, conversation, expected) in corpus::CASES {
        let pieces = recorder::pieces(conversation);
        for (index, (_, bytes)) in conversation.iter().enumerate() {
            for at in 0..=bytes.len() {
                let lines = play(recorder::cut(&pieces, index, at), false);
                assert_eq!(lines, *expected, "{name}, message {index} cut at {at}");
            }
        }
    }
}

#[test]
fn single_bytes_give_the_same_events() {
    for (name, conversation, expected) in corpus::CASES {
        let pieces =
            conversation.iter().zip((10..).step_by(10)).flat_map(|((direction, bytes), step)| {
                bytes.iter().map(move |byte| (*direction, recorder::data(step, &[*byte])))
            });
        assert_eq!(play(pieces.collect(), false), *expected, "{name}");
    }
}

#[test]
fn a_body_until_close_is_whole_only_where_the_connection_was_closed() {
    let (_, conversation, expected) =
        corpus::CASES.iter().find(|(name, ..)| name.ends_with("then until close")).unwrap();
    let mut connection = Connection::new(&Config::default(), Sent);
    let mut recorder = Recorder::default();
    for (direction, piece) in recorder::pieces(conversation) {
        connection.push(direction, &piece, &mut recorder);
    }
    connection.abandon(CLOSE_NS, &mut recorder);
    let (_, before) = expected.split_last().unwrap();
    assert_eq!(recorder.lines, [before, &["0 <| Aborted"]].concat());
}

#[test]
fn the_traced_process_may_be_the_server() {
    let mut connection = Connection::new(&Config::default(), Received);
    let mut recorder = Recorder::default();
    let pieces = recorder::pieces(&[
        (Received, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (Sent, b"HTTP/1.1 204 No Content\r\n\r\n"),
    ]);
    for (direction, piece) in pieces {
        connection.push(direction, &piece, &mut recorder);
    }
    assert_eq!(recorder.lines, ["0 GET / at a @10", "0 >| Complete", "0 204 @20", "0 <| Complete"]);
    assert_eq!((connection.metrics().requests, connection.metrics().responses), (1, 1));
}

#[test]
fn coded_bodies_are_decoded_and_bombs_are_not() {
    let zeros = vec![0; 64 * 1024 * 1024];
    let (text, bomb) = (zstd::encode_all(&b"{\"usage\":1}"[..], 3), zstd::encode_all(&*zeros, 3));
    for (coded, expected) in [(text.unwrap(), "0 <| Complete"), (bomb.unwrap(), "0 <| Undecodable")]
    {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: zstd\r\nContent-Length: {}\r\n\r\n",
            coded.len()
        );
        let response = [head.as_bytes(), &coded, b"HTTP/1.1 204\r\n\r\n"].concat();
        let requests = b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n";
        let lines = play(
            vec![(Sent, recorder::data(1, requests)), (Received, recorder::data(2, &response))],
            false,
        );
        assert!(lines.contains(&expected.to_owned()));
        assert_eq!(lines[lines.len() - 2..], ["1 204 @2", "1 <| Complete"]);
        let body = lines.iter().find_map(|line| line.strip_prefix("0 < ")).unwrap();
        assert!(body == "{\\\"usage\\\":1}" || body.starts_with("\\x00"));
    }
}

#[test]
fn requests_without_answers_are_bounded() {
    let config = Config { exchanges_pending_max: 3, ..Config::default() };
    let mut connection = Connection::new(&config, Sent);
    let mut recorder = Recorder::default();
    for at_ns in 0..10 {
        let head = recorder::data(at_ns, b"GET / HTTP/1.1\r\n\r\n");
        connection.push(Sent, &head, &mut recorder);
    }
    let ended = recorder.lines.iter().filter(|line| line.ends_with("<| Aborted")).count();
    assert_eq!((ended, connection.metrics().unanswered_requests), (7, 7));
}

#[test]
fn endless_heads_are_given_up() {
    let mut connection = Connection::new(&Config::default(), Sent);
    let mut recorder = Recorder::default();
    connection.push(Sent, &recorder::data(1, b"GET / HTTP/1.1\r\n"), &mut recorder);
    for _ in 0..100 {
        connection.push(
            Sent,
            &recorder::data(2, "A: b\r\n".repeat(1000).as_bytes()),
            &mut recorder,
        );
    }
    assert_eq!(recorder.lines.len(), 0);
    connection.push(Sent, &recorder::data(3, b"GET /b HTTP/1.1\r\n\r\n"), &mut recorder);
    assert_eq!(recorder.lines, ["0 GET /b at  @3", "0 >| Complete"]);
    assert_eq!(connection.metrics().malformed_heads, 1);
}
