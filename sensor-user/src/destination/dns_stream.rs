//! Segments of name servers come in; whole DNS messages go out (RFC 1035, 4.2.2: two bytes of length, then the message).

use std::collections::HashMap;

/// Connections with a message under way at once; of each at most one message and one segment are held.
const STREAMS_MAX: usize = 64;
/// Time after which a message whose rest is missing gives way to others, in nanoseconds.
const GIVEN_UP_NS: u64 = 10_000_000_000;
/// Bytes of the length before a message.
const LENGTH_LEN: usize = 2;
/// Bytes of the head of a message: a shorter one is none, and what came is no DNS.
const HEAD_LEN: usize = 12;

/// Messages under way.
#[derive(Debug, Default)]
pub struct Streams {
    under_way: HashMap<u64, Stream>,
}

#[derive(Debug)]
struct Stream {
    /// Sequence number of the next byte.
    next: u32,
    held: Vec<u8>,
    began_ns: u64,
}

/// A segment, as far as it was captured.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Cookie of its socket.
    pub cookie: u64,
    /// TCP sequence number of its first byte.
    pub sequence: u32,
    /// Its bytes; fewer than `length` where it was too long.
    pub bytes: &'a [u8],
    /// How many bytes it had.
    pub length: usize,
    /// When it came.
    pub at_ns: u64,
}

impl Streams {
    /// Takes a segment; gives the messages that are whole now, and of one that cannot become whole what there is. `Err`:
    /// there is no room for one more connection.
    pub fn push(&mut self, segment: &Segment<'_>) -> Result<Vec<Vec<u8>>, Full> {
        let Segment { cookie, sequence, bytes, length, at_ns } = *segment;
        if !self.under_way.contains_key(&cookie) && self.under_way.len() >= STREAMS_MAX {
            self.under_way.retain(|_, stream| stream.began_ns.saturating_add(GIVEN_UP_NS) > at_ns);
            if self.under_way.len() >= STREAMS_MAX {
                return Err(Full);
            }
        }
        let begun = || Stream { next: sequence, held: Vec::new(), began_ns: at_ns };
        let stream = self.under_way.entry(cookie).or_insert_with(begun);
        let again = stream.next.wrapping_sub(sequence);
        if again >= u32::MAX / 2 {
            // Something before this segment is missing: it may begin a message, and then its form says so.
            *stream = begun();
        }
        let again = usize::try_from(stream.next.wrapping_sub(sequence)).unwrap_or(usize::MAX);
        let fresh = bytes.get(again..).unwrap_or_default();
        stream.held.extend_from_slice(fresh);
        stream.next = stream.next.wrapping_add(u32::try_from(fresh.len()).unwrap_or(0));
        let (mut whole, is_dns) = stream.take();
        if bytes.len() < length || !is_dns {
            // What follows stands at places that are not known.
            let rest = self.under_way.remove(&cookie).map(|stream| stream.held);
            whole.extend(rest.filter(|_| is_dns).and_then(|held| {
                held.get(LENGTH_LEN..).filter(|part| part.len() >= HEAD_LEN).map(<[u8]>::to_vec)
            }));
        } else if stream.held.is_empty() {
            self.under_way.remove(&cookie);
        }
        Ok(whole)
    }
}

/// Too many connections have a message under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {STREAMS_MAX} connections have a message of DNS under way")]
pub struct Full;

impl Stream {
    /// Takes the whole messages out, and says whether what there is can be DNS.
    fn take(&mut self) -> (Vec<Vec<u8>>, bool) {
        let mut whole = Vec::new();
        let mut at = 0_usize;
        loop {
            let rest = self.held.get(at..).unwrap_or_default();
            let Some((length, rest)) = rest.split_first_chunk::<LENGTH_LEN>() else { break };
            let length = usize::from(u16::from_be_bytes(*length));
            if length < HEAD_LEN {
                return (whole, false);
            }
            let Some(message) = rest.get(..length) else { break };
            whole.push(message.to_vec());
            at = at.saturating_add(LENGTH_LEN).saturating_add(length);
        }
        self.held.drain(..at.min(self.held.len()));
        (whole, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u16, filler: u8) -> Vec<u8> {
        let body = vec![filler; usize::from(length)];
        [&length.to_be_bytes(), body.as_slice()].concat()
    }

    fn segment(sequence: u32, bytes: &[u8]) -> Segment<'_> {
        Segment { cookie: 1, sequence, bytes, length: bytes.len(), at_ns: 0 }
    }

    #[test]
    fn messages_are_whole_however_they_are_cut() {
        let both = [message(40, 1), message(300, 2)].concat();
        let expected = [vec![1; 40], vec![2; 300]];
        // The numbers begin anew within the messages.
        let start = u32::MAX - 20;
        for cut in 0..=both.len() {
            let mut streams = Streams::default();
            let (first, second) = both.split_at(cut);
            let mut found = streams.push(&segment(start, first)).unwrap();
            let next = start.wrapping_add(u32::try_from(cut).unwrap());
            // The same again, as TCP may send it.
            if !streams.under_way.is_empty() {
                assert_eq!(streams.push(&segment(start, first)), Ok(Vec::new()), "{cut}");
            }
            found.extend(streams.push(&segment(next, second)).unwrap());
            assert_eq!(found, expected, "{cut}");
            assert!(streams.under_way.is_empty(), "{cut}");
        }
        let mut streams = Streams::default();
        let single = |(at, byte): (u32, &u8)| {
            streams.push(&segment(start.wrapping_add(at), &[*byte])).unwrap()
        };
        assert_eq!((0..).zip(&both).flat_map(single).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn behind_a_gap_the_next_message_is_found() {
        let mut streams = Streams::default();
        assert_eq!(streams.push(&segment(0, &message(40, 1)[..20])), Ok(Vec::new()));
        assert_eq!(streams.push(&segment(100, &message(40, 2))), Ok(vec![vec![2; 40]]));
        // Bytes that are no DNS are not waited for.
        assert_eq!(streams.push(&segment(500, &[0, 3, 1, 2, 3])), Ok(Vec::new()));
        assert!(streams.under_way.is_empty());
    }

    #[test]
    fn of_a_segment_that_was_too_long_its_begin_counts() {
        let mut streams = Streams::default();
        let long = message(300, 7);
        let cut = Segment { length: long.len(), ..segment(0, &long[..100]) };
        assert_eq!(streams.push(&cut), Ok(vec![vec![7; 98]]));
        assert!(streams.under_way.is_empty());
    }

    #[test]
    fn connections_and_what_is_held_of_them_are_bounded() {
        let mut streams = Streams::default();
        let one = |cookie, at_ns| Segment { cookie, at_ns, ..segment(0, &[0xff, 0xff, 1]) };
        for cookie in 0..u64::try_from(STREAMS_MAX).unwrap() {
            streams.push(&one(cookie, 0)).unwrap();
        }
        assert_eq!(streams.push(&one(1_000, 1)), Err(Full));
        // Those that were given up make room.
        assert_eq!(streams.push(&one(1_000, GIVEN_UP_NS)), Ok(Vec::new()));
        assert_eq!(streams.under_way.len(), 1);
        let mut sequence = 3_u32;
        for _ in 0..200 {
            streams.push(&Segment { cookie: 1_000, ..segment(sequence, &[9; 4096]) }).unwrap();
            sequence = sequence.wrapping_add(4096);
            let held: usize = streams.under_way.values().map(|stream| stream.held.len()).sum();
            assert!(held < 70_000, "{held}");
        }
    }
}
