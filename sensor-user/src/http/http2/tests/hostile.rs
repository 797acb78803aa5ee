//! Octets nobody would send come in; nothing breaks, and memory stays within its bounds.

use super::*;
use crate::http::http2::tests::encoder::Random;

/// Inputs of the long loop.
const INPUTS: u64 = 100_000;

/// Frames of every type with arbitrary flags, streams and payloads.
fn frames(random: &mut Random) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..=random.below(6) {
        let length = random.below(40);
        let payload = random.octets(length);
        let flags = u8::try_from(random.below(256)).unwrap();
        let kind = u8::try_from(random.below(11)).unwrap();
        out.extend(frame(kind, flags, u32::try_from(random.below(8)).unwrap(), &payload));
    }
    out
}

fn at(random: &mut Random, length: usize) -> usize {
    usize::try_from(random.below(u64::try_from(length).unwrap() + 1)).unwrap()
}

/// The octets, changed here and there.
fn mutated(octets: &[u8], random: &mut Random) -> Vec<u8> {
    let mut octets = octets.to_vec();
    for _ in 0..=random.below(4) {
        let place = at(random, octets.len());
        match random.below(4) {
            0 => octets.truncate(place),
            1 => octets.splice(place..place, random.octets(3)).for_each(drop),
            _ if place < octets.len() => octets[place] = random.octets(1)[0],
            _ => {}
        }
    }
    octets
}

#[test]
fn hostile_octets_break_nothing() {
    let said = recorded().said;
    let config = Config { streams_max: 8, header_table_bytes_max: 512, ..Config::default() };
    let mut random = Random(42);
    let mut inputs = 0;
    while inputs < INPUTS {
        let mut connection = Connection::new(&config, random.below(2) == 0);
        let mut log = Log { resume: random.below(2) == 0, ..Log::default() };
        for (direction, octets) in &said {
            let octets = match random.below(8) {
                0 => frames(&mut random),
                1 => {
                    let length = random.below(200);
                    random.octets(length)
                }
                2 | 3 => mutated(octets, &mut random),
                _ => octets.clone(),
            };
            let cut = at(&mut random, octets.len());
            for part in [&octets[..cut], &octets[cut..]] {
                connection.push(*direction, &data(inputs, part), &mut log);
                inputs += 1;
            }
            if random.below(20) == 0 {
                let bytes = [None, Some(0), Some(3), Some(u64::MAX)][at(&mut random, 3)];
                connection.push(*direction, &Piece::Gap { at_ns: inputs, bytes }, &mut log);
            }
            assert!(connection.streams.len() <= config.streams_max);
        }
        connection.close(inputs, &mut log);
        assert!(
            log.exchanges
                .values()
                .all(|exchange| exchange.upgraded || exchange.response_end.is_some())
        );
    }
}

#[test]
fn direction_that_is_no_http2_is_given_up() {
    let mut connection = Connection::new(&Config::default(), true);
    let mut log = Log::default();
    // Three frames that prove a boundary, and one that is none, again and again.
    let octets =
        [frame(0, 0, 1, b""), frame(0, 0, 1, b""), frame(0, 0, 1, b""), vec![0xff; 9]].concat();
    for _ in 0..2000 {
        connection.push(Sent, &data(1, &octets), &mut log);
    }
    connection.push(Sent, &Piece::Gap { at_ns: 2, bytes: None }, &mut log);
    let metrics = connection.metrics();
    assert_eq!((metrics.directions_given_up, metrics.resyncs), (1, 1001));
}

#[test]
fn endless_search_holds_no_more_than_its_bound() {
    let mut connection = Connection::new(&Config::default(), true);
    let mut random = Random(3);
    let mut log = Log::default();
    for _ in 0..200 {
        // Plausible frame headers that lead nowhere, among noise.
        let mut octets = random.octets(5000);
        for place in (0..4900).step_by(400) {
            octets[place..place + 9].copy_from_slice(&[0, 0x3f, 0, 0, 0, 0, 0, 0, 1]);
        }
        connection.push(Received, &data(1, &octets), &mut log);
        assert!(connection.received.hunt().is_some_and(|hunt| hunt.held_bytes() <= 64 * 1024));
    }
    // A conversation behind all that is found all the same.
    let mut peers = Peers::new();
    peers.headers(Received, 1, 0, &[(":status", "200"), ("x-a", "1")]);
    peers.data(Received, 1, 0, &[b'x'; 16_000]);
    peers.data(Received, 1, 0, &[b'y'; 16_000]);
    peers.data(Received, 1, 1, b"");
    for (_, piece) in peers.pieces().iter().skip(3) {
        connection.push(Received, piece, &mut log);
    }
    assert_eq!(log.exchanges[&1].response, Some("200 @40".to_owned()));
    assert_eq!(log.exchanges[&1].response_body.len(), 32_000);
}

#[test]
fn boundaries_that_lead_far_away_do_not_keep_a_true_one_out() {
    let mut peers = Peers::new();
    let (mut connection, mut log) = (Connection::new(&Config::default(), false), Log::default());
    for (direction, piece) in peers.pieces() {
        connection.push(direction, &piece, &mut log);
    }
    let greeted = peers.said.len();
    // The client allows the longest frames there are (RFC 9113, 6.5.2).
    let allowed = frame(4, 0, 0, &[0, 5, 0, 0xff, 0xff, 0xff]);
    connection.push(Sent, &data(31, &allowed), &mut log);
    connection.push(Received, &Piece::Gap { at_ns: 32, bytes: None }, &mut log);
    // More frame headers than are followed at once, each of a frame that ends megabytes away.
    let far = [0xf0_u8, 0, 0, 0, 0, 0, 0, 0, 1].repeat(100);
    connection.push(Received, &data(33, &[vec![0xff; 9], far].concat()), &mut log);
    peers.headers(Received, 1, 0, &[(":status", "200"), ("x-a", "1")]);
    peers.data(Received, 1, 0, &[b'x'; 16_000]);
    peers.data(Received, 1, 1, &[b'y'; 16_000]);
    for (direction, piece) in peers.pieces().iter().skip(greeted) {
        connection.push(*direction, piece, &mut log);
    }
    assert_eq!(log.exchanges[&1].response, Some("200 @40".to_owned()));
    assert_eq!(log.exchanges[&1].response_body.len(), 32_000);
}
