//! One conversation comes in, cut in every way; the same is told of it each time.

use super::*;

#[test]
fn conversation_is_told() {
    let (log, metrics) = recorded().tell(false);
    assert_eq!(log.lines(), RECORDED);
    let expected = [("x-api-key", "sk-ant-not-a-real-key")]
        .map(|(name, value)| (Some(name.into()), value.into()));
    assert_eq!(log.exchanges[&1].request_fields, expected);
    assert_eq!(metrics, Metrics { requests: 3, responses: 3, ..Metrics::default() });
}

#[test]
fn conversation_seen_by_the_server_is_told_alike() {
    let turned: Vec<(Direction, Piece)> = recorded()
        .pieces()
        .into_iter()
        .map(|(direction, piece)| (if direction == Sent { Received } else { Sent }, piece))
        .collect();
    assert_eq!(tell(&turned, false, false).0.lines(), RECORDED);
    assert_eq!(tell(&turned, true, false).0.lines().len(), RECORDED.len());
}

/// The pieces, each cut behind its first `at` bytes.
fn cut(pieces: &[(Direction, Piece)], at: usize) -> Vec<(Direction, Piece)> {
    let mut cut = Vec::new();
    for (direction, piece) in pieces {
        let Piece::Data { at_ns, bytes } = piece else { panic!("only data") };
        let at = at.min(bytes.len());
        for part in [bytes.slice(..at), bytes.slice(at..)] {
            cut.push((*direction, Piece::Data { at_ns: *at_ns, bytes: part }));
        }
    }
    cut
}

#[test]
fn cuts_anywhere_change_nothing() {
    let pieces = recorded().pieces();
    let (whole, metrics) = tell(&pieces, false, false);
    for at in 0..80 {
        assert_eq!(
            tell(&cut(&pieces, at), false, false),
            tell(&pieces, false, false),
            "cut at {at}"
        );
    }
    let mut single = Vec::new();
    for (direction, piece) in &pieces {
        let Piece::Data { at_ns, bytes } = piece else { panic!("only data") };
        single.extend(bytes.iter().map(|octet| (*direction, data(*at_ns, &[*octet]))));
    }
    assert_eq!(tell(&single, false, false), (whole, metrics));
}

#[test]
fn coded_bodies_are_decoded() {
    use std::io::Write;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(b"{\"usage\":{\"total_tokens\":7}}").unwrap();
    let coded = gzip.finish().unwrap();
    let mut peers = Peers::new();
    peers.request(1, b"{}");
    peers.headers(Received, 1, 0, &[(":status", "200"), ("content-encoding", "gzip")]);
    peers.data(Received, 1, 0, &coded[..9]);
    peers.data(Received, 1, 1, &coded[9..]);
    peers.request(3, b"{}");
    peers.headers(Received, 3, 0, &[(":status", "200"), ("content-encoding", "gzip")]);
    peers.data(Received, 3, 1, b"not gzip at all");
    let (log, _) = peers.tell(false);
    assert_eq!(log.exchanges[&1].response_body, b"{\"usage\":{\"total_tokens\":7}}");
    assert_eq!(log.exchanges[&1].response_end, Some(BodyEnd::Complete));
    assert_eq!(log.exchanges[&3].response_end, Some(BodyEnd::Undecodable));

    // The second response names its coding by an index to what was not seen: the mark of the coding tells.
    let mut peers = Peers::new();
    peers.headers(Received, 1, 1, &[(":status", "200"), ("content-encoding", "gzip")]);
    let joined_at = peers.said.len();
    peers.request(3, b"{}");
    peers.headers(Received, 3, 0, &[(":status", "200"), ("content-encoding", "gzip")]);
    peers.data(Received, 3, 1, &coded);
    let (log, metrics) = tell(&peers.pieces()[joined_at..], true, false);
    assert_eq!(log.exchanges[&3].response, Some("0? @70".to_owned()));
    assert_eq!(log.exchanges[&3].response_body, b"{\"usage\":{\"total_tokens\":7}}");
    assert_eq!(metrics.header_fields_unknown, 2);
}
