//! Streams that do not end as they should come in; each exchange still has its end.

use super::*;

#[test]
fn reset_aborts_one_stream() {
    let mut peers = Peers::new();
    peers.request(1, b"one");
    peers.request(3, b"three");
    peers.headers(Received, 3, 0, &[(":status", "200")]);
    peers.say(Received, frame(3, 0, 3, &[0, 0, 0, 2]));
    peers.data(Received, 3, 1, b"too late");
    peers.headers(Received, 1, 1, &[(":status", "200")]);
    let (log, _) = peers.tell(false);
    let ends: Vec<_> = log.exchanges.values().map(|exchange| exchange.response_end).collect();
    assert_eq!(ends, [Some(BodyEnd::Complete), Some(BodyEnd::Aborted)]);
    assert!(log.exchanges[&3].response_body.is_empty());
}

#[test]
fn fields_behind_a_body_are_told_before_its_end() {
    let mut peers = Peers::new();
    peers.request(1, b"one");
    peers.headers(Received, 1, 0, &[(":status", "200")]);
    peers.data(Received, 1, 0, b"answer");
    peers.headers(Received, 1, 1, &[("grpc-status", "0"), ("x", "y")]);
    // What comes behind the end is nobody's.
    peers.headers(Received, 1, 1, &[("grpc-status", "13")]);
    let (log, _) = peers.tell(false);
    let exchange = &log.exchanges[&1];
    let told = |name: &str, value: &str| (Some(name.to_owned()), value.to_owned());
    assert_eq!(exchange.trailers, [told("grpc-status", "0"), told("x", "y")]);
    assert_eq!(exchange.response_body, b"answer");
    assert_eq!(exchange.response_end, Some(BodyEnd::Complete));
}

#[test]
fn trailers_are_told_where_bytes_of_the_body_are_missing() {
    let mut peers = Peers::new();
    peers.request(1, b"one");
    peers.headers(Received, 1, 0, &[(":status", "200")]);
    peers.data(Received, 1, 0, b"answer");
    peers.headers(Received, 1, 1, &[("grpc-status", "0")]);
    let mut pieces = peers.pieces();
    let at = pieces.len() - 2;
    pieces[at] = (Received, Piece::Gap { at_ns: 1, bytes: Some(6) });
    let frame = peers.said[at].1[..9].to_vec();
    pieces.insert(at, (Received, data(1, &frame)));
    let (log, _) = tell(&pieces, false, false);
    let exchange = &log.exchanges[&1];
    assert_eq!((exchange.trailers.len(), exchange.response_end), (1, Some(BodyEnd::Gap)));
}

#[test]
fn response_before_the_end_of_its_request_waits_for_it() {
    let mut peers = Peers::new();
    peers.headers(Sent, 1, 0, &[(":method", "POST"), (":path", "/")]);
    peers.headers(Received, 1, 1, &[(":status", "413")]);
    peers.data(Sent, 1, 0, b"still sending");
    peers.say(Sent, frame(3, 0, 1, &[0, 0, 0, 0]));
    let (log, _) = peers.tell(false);
    let exchange = &log.exchanges[&1];
    assert_eq!(exchange.request_body, b"still sending");
    assert_eq!(exchange.request_end, Some(BodyEnd::Aborted));
    assert_eq!(exchange.response_end, Some(BodyEnd::Complete));
}

#[test]
fn goaway_aborts_what_will_not_be_answered() {
    let mut peers = Peers::new();
    peers.request(1, b"one");
    peers.request(3, b"three");
    peers.request(5, b"five");
    peers.say(Received, frame(7, 0, 0, b"\0\0\0\x03\0\0\0\0bye"));
    peers.headers(Received, 1, 1, &[(":status", "200")]);
    peers.headers(Received, 3, 1, &[(":status", "200")]);
    let (log, _) = peers.tell(false);
    let ends: Vec<_> =
        log.exchanges.values().map(|exchange| exchange.response_end.unwrap()).collect();
    assert_eq!(ends, [BodyEnd::Complete, BodyEnd::Complete, BodyEnd::Aborted]);
}

#[test]
fn promised_request_keeps_the_tables_right() {
    let mut peers = Peers::new();
    peers.request(1, b"{}");
    let block =
        peers.block(Received, &[(":method", "GET"), (":path", "/pushed"), (":authority", "a")]);
    let payload = [&[2, 0, 0, 0, 2], block.as_slice(), &[0, 0]].concat();
    peers.say(Received, frame(5, 0xc, 1, &payload));
    peers.headers(Received, 2, 1, &[(":status", "200"), (":authority", "a")]);
    peers.headers(Received, 1, 1, &[(":status", "200"), ("x", "y")]);
    let (log, _) = peers.tell(false);
    let lines = log.lines();
    assert_eq!(lines[1], "2 GET a/pushed @60 |  | Some(Complete) | 200 @70 |  | Some(Complete)");
    assert_eq!(log.exchanges[&1].response_fields, [(Some("x".into()), "y".into())]);
}

#[test]
fn successful_connect_is_an_upgrade() {
    let mut peers = Peers::new();
    peers.headers(Sent, 1, 0, &[(":method", "CONNECT"), (":authority", "a:443")]);
    peers.headers(Received, 1, 0, &[(":status", "200")]);
    peers.data(Sent, 1, 0, b"anything");
    let (log, _) = peers.tell(false);
    assert!(log.exchanges[&1].upgraded && log.exchanges[&1].request_body.is_empty());
}

#[test]
fn longest_idle_stream_gives_way() {
    let config = Config { streams_max: 2, ..Config::default() };
    let mut peers = Peers::new();
    peers.request(1, b"one");
    peers.request(3, b"three");
    peers.headers(Received, 1, 0, &[(":status", "200")]);
    peers.request(5, b"five");
    let mut connection = Connection::new(&config, false);
    let mut log = Log::default();
    for (direction, piece) in peers.pieces() {
        connection.push(direction, &piece, &mut log);
    }
    assert_eq!(connection.metrics().streams_evicted, 1);
    let ended: Vec<bool> =
        log.exchanges.values().map(|exchange| exchange.response_end.is_some()).collect();
    assert_eq!(ended, [false, true, false]);
}

#[test]
fn header_block_over_the_bound_makes_the_table_unknown() {
    let mut peers = Peers::new();
    let long = "x".repeat(100_000);
    let mut block =
        peers.block(Sent, &[(":method", "POST"), (":path", "/long"), ("cookie", &long)]);
    block.extend(peers.block(Sent, &[("x-a", "1")]));
    let mut parts = block.chunks(16_384).peekable();
    let mut kind = 1;
    while let Some(part) = parts.next() {
        let flags = if parts.peek().is_none() { 4 } else { 0 };
        peers.say(Sent, frame(kind, flags, 1, part));
        kind = 9;
    }
    peers.data(Sent, 1, 1, b"{}");
    peers.headers(
        Sent,
        3,
        1,
        &[(":method", "POST"), (":path", "/long"), ("x-a", "1"), ("x-b", "2")],
    );
    let (log, metrics) = peers.tell(false);
    assert_eq!(log.exchanges[&1].request, Some("POST /long? @40".to_owned()));
    assert_eq!(log.exchanges[&1].request_end, Some(BodyEnd::Complete));
    assert_eq!(log.exchanges[&3].request_fields.last(), Some(&(Some("x-b".into()), "2".into())));
    assert!(log.exchanges[&3].request.as_ref().unwrap().contains('?'));
    assert_eq!((metrics.header_blocks_over, metrics.resyncs), (1, 0));
}

#[test]
fn fields_over_the_bounds_are_left_out() {
    let mut peers = Peers::new();
    let value = "v".repeat(3000);
    peers.headers(Sent, 1, 0, &[(":method", "POST"), ("x-a", &value)]);
    // One octet a field: 3000 bytes each.
    let block = [vec![0x83], vec![0xbe; 10_000]].concat();
    peers.say(Sent, frame(1, 5, 3, &block));
    let (log, _) = peers.tell(false);
    let bytes: usize = log.exchanges[&3].request_fields.iter().map(|field| field.1.len()).sum();
    assert!(bytes > 60_000 && bytes <= Config::default().head_bytes_max);
    assert!(log.exchanges[&3].request.as_ref().unwrap().contains('?'));
}
