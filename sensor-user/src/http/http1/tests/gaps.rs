//! Conversations with missing bytes come in; no event may join what the gap has parted, and no pair may be wrong.

use super::*;

fn gap(at_ns: u64, bytes: u64) -> Piece {
    Piece::Gap { at_ns, bytes: Some(bytes) }
}

/// The conversation without `missing` bytes from `at` on of the message at `index`.
fn lose(conversation: &[Said], index: usize, at: usize, missing: usize) -> Vec<(Direction, Piece)> {
    let mut pieces = recorder::pieces(conversation);
    let (direction, Piece::Data { at_ns, bytes }) = pieces[index].clone() else { return pieces };
    let (before, mut behind) = (bytes.slice(..at), bytes.slice(at..));
    let lost = behind.split_to(missing.min(behind.len()));
    let parts = [
        Piece::Data { at_ns, bytes: before },
        gap(at_ns, u64::try_from(lost.len()).unwrap()),
        Piece::Data { at_ns, bytes: behind },
    ];
    pieces.splice(index..=index, parts.map(|part| (direction, part)));
    pieces
}

/// Whether every exchange has its events in order, each at most once, and ends.
fn is_well_formed(lines: &[String]) -> bool {
    (0..10).all(|id| {
        let own: Vec<&str> =
            lines.iter().filter_map(|line| line.strip_prefix(&format!("{id} "))).collect();
        let ends = own
            .iter()
            .filter(|line| line.starts_with("<|") || line.starts_with("upgraded"))
            .count();
        let last =
            own.last().is_none_or(|line| line.starts_with("<|") || line.starts_with("upgraded"));
        ends == usize::from(!own.is_empty()) && last
    })
}

#[test]
fn a_gap_anywhere_leaves_whole_exchanges_and_spliced_bodies_to_nobody() {
    for (name, conversation, whole) in corpus::CASES {
        // How many pipelined messages a gap has swallowed cannot be known: responses may go to the wrong requests.
        let pipelining = *name == "pipelining";
        let body_of = |line: &&'static str| line.split_once(" > ").or(line.split_once(" < "));
        let bodies: Vec<&str> = whole.iter().filter_map(body_of).map(|(_, body)| body).collect();
        let places = conversation
            .iter()
            .enumerate()
            .skip(usize::from(pipelining))
            .flat_map(|(index, (_, bytes))| {
                (0..bytes.len()).flat_map(move |at| [1, 5, 40].map(|missing| (index, at, missing)))
            })
            .filter(|(_, _, missing)| *missing <= 5 || !pipelining);
        for (index, at, missing) in places {
            let lines = play(lose(conversation, index, at, missing), false);
            assert!(
                is_well_formed(&lines),
                "{name}: {missing} lost at {at} of {index}: {lines:#?}"
            );
            for line in lines.iter().filter(|line| line.contains(" Complete")) {
                let id = line.split(' ').next().unwrap();
                let prefix = format!("{id} {} ", if line.contains(">|") { '>' } else { '<' });
                let body = lines.iter().find_map(|line| line.strip_prefix(&prefix));
                let known = body.is_none_or(|body| bodies.contains(&body));
                assert!(known, "{name}: {missing} lost at {at} of {index}: {body:?}");
            }
        }
    }
}

const TWO: &[Said] = &[
    (Sent, b"POST /1 HTTP/1.1\r\nContent-Length: 8\r\n\r\n{\"a\":12}"),
    (Received, b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{\"b\":34}"),
    (Sent, b"POST /2 HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"),
    (Received, b"HTTP/1.1 201 OK\r\nContent-Length: 2\r\n\r\n[]"),
];

#[test]
fn a_gap_within_a_body_is_passed_over_and_nothing_is_joined() {
    let body_at = TWO[1].1.len() - 8;
    let lines = play(lose(TWO, 1, body_at + 2, 4), false);
    let expected = [
        "0 POST /1 at  @10",
        "0 > {\\\"a\\\":12}",
        "0 >| Complete",
        "0 200 @20",
        "0 < {\\\"",
        "0 gap < 4",
        "0 <| Gap",
    ];
    assert_eq!(lines[..7], expected);
    assert_eq!(lines[lines.len() - 3..], ["1 201 @40", "1 < []", "1 <| Complete"]);
}

#[test]
fn a_sink_may_ask_for_the_rest_behind_a_gap() {
    let body_at = TWO[1].1.len() - 8;
    let lines = play(lose(TWO, 1, body_at + 2, 4), true);
    assert_eq!(lines[4..8], ["0 < {\\\"", "0 gap < 4", "0 < 4}", "0 <| Gap"].map(str::to_owned));
}

#[test]
fn a_lost_response_is_closed_by_the_next() {
    let lines = play(lose(TWO, 1, 0, 1000), false);
    let expected = [
        "0 POST /1 at  @10",
        "0 > {\\\"a\\\":12}",
        "0 >| Complete",
        "1 POST /2 at  @30",
        "1 > {}",
        "1 >| Complete",
        "0 <| Gap",
        "1 201 @40",
        "1 < []",
        "1 <| Complete",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn several_responses_in_one_gap_do_not_shift_the_pairs() {
    let requests: [&[u8]; 3] =
        [b"GET /1 HTTP/1.1\r\n\r\n", b"GET /2 HTTP/1.1\r\n\r\n", b"GET /3 HTTP/1.1\r\n\r\n"];
    let mut pieces: Vec<_> =
        requests.iter().zip(1..).map(|(head, at_ns)| (Sent, recorder::data(at_ns, head))).collect();
    pieces.push((Received, gap(9, 500)));
    pieces.push((Received, recorder::data(9, b"HTTP/1.1 203 OK\r\nContent-Length: 0\r\n\r\n")));
    let lines = play(pieces, false);
    assert_eq!(
        lines[6..],
        ["0 <| Gap", "1 <| Gap", "2 203 @9", "2 <| Complete"].map(str::to_owned)
    );
}

#[test]
fn a_lost_interim_response_does_not_cost_the_final_one() {
    let lines = play(
        vec![
            (Sent, recorder::data(1, b"PUT / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx")),
            (Received, gap(2, 25)),
            (Received, recorder::data(3, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\ny")),
        ],
        false,
    );
    assert_eq!(lines[3..], ["0 200 @3", "0 < y", "0 <| Complete"].map(str::to_owned));
}

#[test]
fn a_lost_request_is_told_by_its_response() {
    let expected = ["1   at  @40", "1 >| Gap", "1 201 @40", "1 < []", "1 <| Complete"];
    for (at, missing) in [(0, 1000), (3, 5), (20, 9)] {
        let lines = play(lose(TWO, 2, at, missing), false);
        assert_eq!(lines[6..], expected.map(str::to_owned), "{missing} lost at {at}");
    }
}

#[test]
fn an_answer_that_no_request_was_lost_for_tells_of_none() {
    // A server that is tired of waiting says so before it hangs up.
    let lines = play(
        vec![(Received, recorder::data(20, b"HTTP/1.1 408 Late\r\nContent-Length: 0\r\n\r\n"))],
        false,
    );
    assert_eq!(lines, ["0 408 @20", "0 <| Complete"]);
}

#[test]
fn a_response_seen_before_its_request_is_not_given_to_the_next_one() {
    let lines = play(
        vec![
            (Received, recorder::data(20, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")),
            (Sent, recorder::data(10, b"GET /late HTTP/1.1\r\n\r\n")),
            (Sent, recorder::data(30, b"GET /next HTTP/1.1\r\n\r\n")),
            (Received, recorder::data(40, b"HTTP/1.1 201 OK\r\nContent-Length: 0\r\n\r\n")),
        ],
        false,
    );
    assert_eq!(lines[6..], ["1 <| Gap", "2 201 @40", "2 <| Complete"].map(str::to_owned));
}

#[test]
fn a_connection_joined_in_the_middle_begins_with_its_next_messages() {
    let joined = Piece::Gap { at_ns: 0, bytes: None };
    let mut pieces = vec![(Sent, joined.clone()), (Received, joined)];
    pieces.push((Sent, recorder::data(1, b"rest of a body}")));
    pieces.push((Received, recorder::data(2, b"data: [DONE]\n\n\r\n0\r\n\r\n")));
    pieces.extend(recorder::pieces(TWO));
    assert_eq!(play(pieces, false), say(TWO));
}
