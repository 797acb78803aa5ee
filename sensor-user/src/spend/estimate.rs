//! Bytes and packets of a connection that nobody could read come in; the tokens that may have passed go out.

/// Bytes to the server that are no body: `ClientHello`, end of the handshake, one request's head.
const SENT_OVERHEAD: u64 = 1_500;
/// Bytes from the server that are no body: certificates, tickets, one answer's head.
const RECEIVED_OVERHEAD: u64 = 2_500;
/// Packets with bytes from the server before its first answer: its handshake and its tickets.
const HANDSHAKE_PACKETS: u64 = 4;
/// Bytes of a request's JSON body a token, in tenths: prose, code, JSON, German and Chinese give 3.7 to 4.9.
const REQUEST_TENTHS: u64 = 42;
/// Bytes of an answer sent at once a token, in tenths: between plain JSON (42) and what gzip makes of it (13 to 30).
const ANSWER_TENTHS: u64 = 28;
/// Bytes of one event of a stream, a token each, where several share a packet.
const BYTES_PER_EVENT: u64 = 300;
/// Packets from which on an answer can be a stream.
const STREAM_PACKETS_MIN: u64 = 8;
/// A stream fills its packets less than this, on average; an answer sent at once fills them.
const STREAM_PACKET_BYTES_MAX: u64 = 1_200;
/// Nanoseconds that a token takes: no service writes faster.
const NS_PER_TOKEN: u64 = 1_000_000;

/// What the network tells of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes that the server has acknowledged.
    pub bytes_sent: u64,
    /// Bytes from the server.
    pub bytes_received: u64,
    /// Packets with bytes from the server: what came by and by came in many.
    pub packets_received: u64,
    /// How long it lasted, where that is known.
    pub duration_ns: Option<u64>,
}

/// Tokens that may have passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// To the model.
    pub input: u64,
    /// From the model.
    pub output: u64,
}

impl Tokens {
    /// Estimates tokens of a connection with one call. Each further call on it adds its heads, and the packets of a
    /// stream are taken for its tokens: a service that puts several into one event writes more than is said here. No
    /// more come than there was time for.
    pub fn of(traffic: Traffic) -> Self {
        let body = traffic.bytes_received.saturating_sub(RECEIVED_OVERHEAD);
        let packets = traffic.packets_received.saturating_sub(HANDSHAKE_PACKETS);
        let average = traffic.bytes_received.checked_div(packets).unwrap_or(u64::MAX);
        let streams = packets >= STREAM_PACKETS_MIN && average < STREAM_PACKET_BYTES_MAX;
        let output = if streams {
            packets.max(body.checked_div(BYTES_PER_EVENT).unwrap_or(0))
        } else {
            at(ANSWER_TENTHS, body)
        };
        let most = traffic.duration_ns.and_then(|took| took.checked_div(NS_PER_TOKEN));
        let output = output.min(most.unwrap_or(u64::MAX));
        let asked = traffic.bytes_sent.saturating_sub(SENT_OVERHEAD);
        Self { input: at(REQUEST_TENTHS, asked), output }
    }
}

fn at(tenths: u64, bytes: u64) -> u64 {
    bytes.saturating_mul(10).checked_div(tenths).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshake_alone_carries_no_tokens() {
        let traffic = Traffic {
            bytes_sent: 700,
            bytes_received: 2_500,
            packets_received: 4,
            duration_ns: None,
        };
        assert_eq!(Tokens::of(traffic), Tokens::default());
        assert_eq!(Tokens::of(Traffic::default()), Tokens::default());
    }

    #[test]
    fn answer_in_full_packets_is_text_and_in_small_ones_a_stream() {
        let whole = Traffic {
            bytes_sent: 9_900,
            bytes_received: 10_900,
            packets_received: 12,
            duration_ns: Some(9_000 * NS_PER_TOKEN),
        };
        assert_eq!(Tokens::of(whole), Tokens { input: 2_000, output: 3_000 });
        let streamed = Traffic { bytes_received: 32_400, packets_received: 104, ..whole };
        assert_eq!(Tokens::of(streamed).output, 100);
        let compressed = Traffic { bytes_received: 9_000, packets_received: 204, ..whole };
        assert_eq!(Tokens::of(compressed).output, 200);
        let short = Traffic { duration_ns: Some(77 * NS_PER_TOKEN), ..streamed };
        assert_eq!(Tokens::of(short).output, 77);
    }

    #[test]
    fn nothing_overflows() {
        let most = Traffic {
            bytes_sent: u64::MAX,
            bytes_received: u64::MAX,
            packets_received: u64::from(u32::MAX),
            duration_ns: Some(u64::MAX),
        };
        assert!(Tokens::of(most).input > 0);
    }
}
