//! Conversations with missing bytes come in; what is told of them is never wrong.

use super::*;

/// A long conversation of fields that repeat, as they do on real connections.
fn repeated() -> Peers {
    let mut peers = recorded();
    for stream in (7..27).step_by(2) {
        let number = stream.to_string();
        peers.request(stream, format!("{{\"number\":{number}}}").as_bytes());
        let fields =
            [(":status", "200"), ("content-type", "text/event-stream"), ("request-id", &number)];
        peers.headers(Received, stream, 0, &fields);
        peers.data(Received, stream, 0, format!("data: {number}\n\n").as_bytes());
        peers.data(Received, stream, 1, b"data: [DONE]\n\n");
    }
    peers
}

/// Whether `part` is left of `whole` when some bytes are taken out.
fn is_rest(part: &[u8], whole: &[u8]) -> bool {
    let mut whole = whole.iter();
    part.iter().all(|byte| whole.any(|other| other == byte))
}

/// Asserts that whatever is known in `log` is known alike in `truth`.
fn agrees(log: &Log, truth: &Log, place: &str) {
    for (id, exchange) in &log.exchanges {
        let Some(whole) = truth.exchanges.get(id) else { panic!("{place}: {id} never was") };
        let told = [
            (&exchange.request_fields, &whole.request_fields),
            (&exchange.response_fields, &whole.response_fields),
        ];
        for (fields, whole) in told {
            for field in fields.iter().filter(|(name, _)| name.is_some()) {
                assert!(whole.contains(field), "{place}: {id} never had {field:?}");
            }
        }
        let bodies = [
            (&exchange.request_body, &whole.request_body, exchange.request_end),
            (&exchange.response_body, &whole.response_body, exchange.response_end),
        ];
        for (body, whole, end) in bodies {
            assert!(
                if log.resume { is_rest(body, whole) } else { whole.starts_with(body) },
                "{place}: {id} {}",
                text(body)
            );
            assert!(
                end != Some(BodyEnd::Complete) || body == whole,
                "{place}: {id} is not complete"
            );
        }
        assert!(exchange.response_end.is_some(), "{place}: {id} never ends");
    }
}

/// One direction of the conversation as a whole, and where in it each piece begins.
fn spans(pieces: &[(Direction, Piece)], of: Direction) -> Vec<(usize, usize, usize)> {
    let mut begin = 0;
    let mut spans = Vec::new();
    for (index, (direction, piece)) in pieces.iter().enumerate() {
        let Piece::Data { bytes, .. } = piece else { panic!("only data") };
        if *direction == of {
            spans.push((index, begin, begin + bytes.len()));
            begin += bytes.len();
        }
    }
    spans
}

/// The pieces with `missing` bytes of one direction taken out at `at`.
fn hole(
    pieces: &[(Direction, Piece)],
    of: Direction,
    (at, missing): (usize, usize),
    known: bool,
) -> Vec<(Direction, Piece)> {
    let mut holed = Vec::new();
    let spans = spans(pieces, of);
    for (index, (direction, piece)) in pieces.iter().enumerate() {
        let Piece::Data { at_ns, bytes } = piece else { panic!("only data") };
        let Some((_, begin, end)) = spans.iter().find(|span| span.0 == index) else {
            holed.push((*direction, piece.clone()));
            continue;
        };
        let clamp = |place: usize| place.clamp(*begin, *end) - begin;
        let (from, to) = (clamp(at), clamp(at + missing));
        holed.push((*direction, Piece::Data { at_ns: *at_ns, bytes: bytes.slice(..from) }));
        if (*begin..*end).contains(&at) {
            let bytes = known.then_some(u64::try_from(missing).unwrap());
            holed.push((*direction, Piece::Gap { at_ns: *at_ns, bytes }));
        }
        holed.push((*direction, Piece::Data { at_ns: *at_ns, bytes: bytes.slice(to..) }));
    }
    holed
}

#[test]
fn gap_at_any_place_never_makes_a_wrong_value() {
    const HOLES: &[usize] = &[1, 5, 9, 17, 60, 300];
    let pieces = repeated().pieces();
    let (truth, _) = tell(&pieces, false, false);
    let check = |of, missing, at, known, resume| {
        let place = format!("{of:?} {missing} at {at}, known: {known}");
        let (log, metrics) = tell(&hole(&pieces, of, (at, missing), known), false, resume);
        agrees(&log, &truth, &place);
        assert!(metrics.resyncs <= 1, "{place}: {metrics:?}");
    };
    for of in [Sent, Received] {
        let length = spans(&pieces, of).last().unwrap().2;
        for (at, missing) in
            (0..length).flat_map(|at| HOLES.iter().map(move |missing| (at, *missing)))
        {
            check(of, missing, at, true, false);
            check(of, missing, at, false, true);
        }
    }
}

#[test]
fn connection_joined_at_any_place_never_has_a_wrong_value() {
    let pieces = repeated().pieces();
    let (truth, _) = tell(&pieces, false, false);
    let mut named = 0;
    for of in [Sent, Received] {
        let length = spans(&pieces, of).last().unwrap().2;
        for at in 1..length {
            // Everything before is missing, of this direction; of the other, as much as it had said by then.
            let index = spans(&pieces, of).iter().find(|span| at < span.2).unwrap().0;
            let begin = spans(&pieces, of).iter().find(|span| at < span.2).unwrap().1;
            let mut joined = pieces[index..].to_vec();
            let (_, Piece::Data { bytes, .. }) = &mut joined[0] else { panic!("only data") };
            *bytes = bytes.slice(at - begin..);
            let (log, metrics) = tell(&joined, true, false);
            agrees(&log, &truth, &format!("{of:?} joined at {at}"));
            assert_eq!(metrics.resyncs, 0, "{of:?} joined at {at}: a boundary was none");
            let fields = log.exchanges.values().flat_map(|exchange| &exchange.request_fields);
            named += fields.filter(|(name, _)| name.is_some()).count();
        }
    }
    assert!(named > 1000, "{named} fields with a name");
}

#[test]
fn gap_within_a_body_costs_only_that_body() {
    let mut peers = Peers::new();
    peers.request(1, b"{}");
    peers.headers(Received, 1, 0, &[(":status", "200"), ("x-a", "1")]);
    peers.data(Received, 1, 0, b"data: one\n\ndata: two\n\n");
    peers.data(Received, 1, 1, b"data: three\n\n");
    peers.request(3, b"{}");
    peers.headers(Received, 3, 1, &[(":status", "200"), ("x-a", "1")]);
    let pieces = peers.pieces();
    let begin = spans(&pieces, Received)[2].1 + 9;
    let holed = hole(&pieces, Received, (begin + 4, 12), true);
    let (log, metrics) = tell(&holed, false, true);
    assert_eq!(metrics.resyncs, 0);
    assert_eq!(log.missing, [(1, 12)]);
    assert_eq!(log.exchanges[&1].response_body, b"data two\n\ndata: three\n\n");
    assert_eq!(log.exchanges[&1].response_end, Some(BodyEnd::Gap));
    assert_eq!(log.exchanges[&3].response_fields, [(Some("x-a".into()), "1".into())]);
    assert_eq!(log.exchanges[&3].response_end, Some(BodyEnd::Complete));
}

#[test]
fn start_that_only_resembles_the_preface_is_counted_as_lost_however_it_is_cut() {
    // Two frames that a search takes for proof where the bytes at hand end there, and something that is no frame.
    let empty = frame(0, 0, 1, b"");
    let ping = frame(6, 0, 0, b"12345678");
    let bytes = [b"PRI".as_slice(), &empty, &empty, &[0xfe; 9], &ping, &ping, &ping].concat();
    for cut in 1..=bytes.len() {
        let pieces: Vec<_> = bytes.chunks(cut).map(|part| (Sent, data(1, part))).collect();
        let (_, metrics) = tell(&pieces, false, false);
        assert!(metrics.resyncs > 0, "in pieces of {cut}: {metrics:?}");
    }
}

#[test]
fn fields_behind_a_start_that_was_no_preface_have_no_name_of_a_table_that_was_not_seen() {
    let mut peers = repeated();
    peers.said[0].1.splice(0..24, *b"PRI *");
    // What stands between is skipped; the table that it filled is not known.
    peers.said[0].1.extend_from_slice(&[0xfe; 40]);
    let (log, metrics) = peers.tell(false);
    assert!(metrics.resyncs > 0, "{metrics:?}");
    let (truth, _) = repeated().tell(false);
    agrees(&log, &truth, "broken preface");
}

#[test]
fn an_end_that_was_lost_is_when_the_last_byte_came_and_is_told_after_a_silence() {
    // A model that thinks may say nothing for a minute.
    const THINKING: u64 = 60_000_000_070;
    const LATER: u64 = 600_000_000_070;
    let mut peers = Peers::new();
    peers.request(1, b"{}");
    peers.headers(Received, 1, 0, &[(":status", "200")]);
    peers.data(Received, 1, 0, b"data: one\n\n");
    peers.data(Received, 1, 1, b"data: [DONE]\n\n");
    let lost = peers.said.len() - 1;
    peers.request(3, b"{}");
    let mut pieces = peers.pieces();
    pieces[lost].1 = Piece::Gap { at_ns: 80, bytes: Some(23) };
    let told = |log: &Log| (log.exchanges[&1].response_end, log.exchanges[&1].ended_ns);
    let (log, _) = tell(&pieces, false, false);
    assert_eq!(told(&log), (Some(BodyEnd::Gap), Some(70)), "at the connection's end");

    let (mut connection, mut log) = (Connection::new(&Config::default(), false), Log::default());
    for (index, (direction, piece)) in pieces.into_iter().enumerate() {
        assert_eq!(told_of(&log, 1), None, "before piece {index}");
        let at_ns = if index == lost + 1 { THINKING } else { LATER };
        let piece = match piece {
            Piece::Data { bytes, .. } if index > lost => Piece::Data { at_ns, bytes },
            piece => piece,
        };
        connection.push(direction, &piece, &mut log);
        if index > lost + 1 {
            break;
        }
    }
    assert_eq!(told(&log), (Some(BodyEnd::Gap), Some(70)), "with the next request");
    assert_eq!(told_of(&log, 3), None);
}

/// How an exchange has ended, if it has.
fn told_of(log: &Log, id: u64) -> Option<BodyEnd> {
    log.exchanges.get(&id).and_then(|exchange| exchange.response_end)
}

#[test]
fn request_with_a_long_body_in_one_write_is_found_where_the_connection_is_joined() {
    let mut peers = Peers::new();
    let block = peers.block(Sent, &[(":method", "POST"), (":path", "/"), (":authority", "a")]);
    let written = [frame(1, 4, 1, &block), frame(0, 1, 1, &vec![b'x'; 40_000])].concat();
    let (log, metrics) = tell(&[(Sent, data(10, &written))], true, false);
    assert_eq!(log.exchanges[&1].request, Some("POST a/ @10".to_owned()));
    assert_eq!(log.exchanges[&1].request_body.len(), 40_000);
    assert_eq!((log.exchanges[&1].request_end, metrics.requests), (Some(BodyEnd::Complete), 1));
}
