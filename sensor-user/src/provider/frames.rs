//! An `application/vnd.amazon.eventstream` body comes in, split anywhere; the JSON payloads of its messages go out.
//!
//! A message is: total length, length of its headers, checksum (4 bytes each, big endian), headers, payload, checksum.
//! The checksums are not verified: the plaintext came out of TLS.

use memchr::memmem;

/// Length of lengths and first checksum, in bytes.
const PRELUDE: usize = 12;
/// Longest message: 16 MiB of payload and 128 KiB of headers, as the protocol bounds them, in bytes.
const MESSAGE_MAX: u32 = 17 * 1024 * 1024;
/// Bytes of headers looked at; a message has some hundred.
const HEADERS_KEPT_MAX: usize = 1024;

/// Takes the payloads in order.
pub(super) trait FrameSink {
    /// The next part of a message's payload.
    fn payload(&mut self, piece: &[u8]);
    /// The message has ended; an exception or error carries its name.
    fn end(&mut self, exception: Option<&str>);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Prelude,
    Headers(u32),
    Payload(u32),
    Checksum(u32),
    Broken,
}

/// Splits a stream into messages.
#[derive(Debug)]
pub(super) struct Frames {
    part: Part,
    prelude: Vec<u8>,
    headers: Vec<u8>,
    payload: u32,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self { part: Part::Prelude, prelude: Vec::new(), headers: Vec::new(), payload: 0 }
    }

    /// Takes the next bytes; a broken stream is given up quietly.
    pub(super) fn push(&mut self, mut bytes: &[u8], sink: &mut dyn FrameSink) {
        while !bytes.is_empty() {
            bytes = match self.part {
                Part::Prelude => self.lengths(bytes),
                Part::Headers(left) => {
                    let (piece, rest, left) = take(bytes, left);
                    let room = HEADERS_KEPT_MAX.saturating_sub(self.headers.len());
                    self.headers.extend_from_slice(piece.get(..room).unwrap_or(piece));
                    self.part = Part::Headers(left);
                    rest
                }
                Part::Payload(left) => {
                    let (piece, rest, left) = take(bytes, left);
                    sink.payload(piece);
                    self.part = Part::Payload(left);
                    rest
                }
                Part::Checksum(left) => {
                    let (_, rest, left) = take(bytes, left);
                    self.part = Part::Checksum(left);
                    rest
                }
                Part::Broken => return,
            };
            self.advance(sink);
        }
    }

    fn lengths<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let missing = PRELUDE.saturating_sub(self.prelude.len());
        let (piece, rest) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
        self.prelude.extend_from_slice(piece);
        if self.prelude.len() < PRELUDE {
            return rest;
        }
        let number = |at: usize| {
            let four = self.prelude.get(at..at.saturating_add(4))?;
            Some(u32::from_be_bytes(four.try_into().ok()?))
        };
        let (total, headers) = (number(0).unwrap_or(0), number(4).unwrap_or(0));
        // Prelude and last checksum are 16 bytes of the total.
        let payload = total.checked_sub(16).and_then(|inner| inner.checked_sub(headers));
        self.prelude.clear();
        self.headers.clear();
        self.part = match payload.filter(|_| total <= MESSAGE_MAX) {
            Some(payload) => {
                self.payload = payload;
                Part::Headers(headers)
            }
            None => Part::Broken,
        };
        rest
    }

    /// Goes on to the next part where one has ended.
    fn advance(&mut self, sink: &mut dyn FrameSink) {
        if self.part == Part::Headers(0) {
            self.part = Part::Payload(self.payload);
        }
        if self.part == Part::Payload(0) {
            sink.end(exception(&self.headers));
            self.part = Part::Checksum(4);
        }
        if self.part == Part::Checksum(0) {
            self.part = Part::Prelude;
        }
    }
}

fn take(bytes: &[u8], left: u32) -> (&[u8], &[u8], u32) {
    let most = usize::try_from(left).unwrap_or(usize::MAX);
    let (piece, rest) = bytes.split_at_checked(most).unwrap_or((bytes, &[]));
    let taken = u32::try_from(piece.len()).unwrap_or(u32::MAX);
    (piece, rest, left.saturating_sub(taken))
}

/// The name of what went wrong: a modelled exception has its type, any other error a code.
fn exception(headers: &[u8]) -> Option<&str> {
    text(headers, b":exception-type\x07").or_else(|| text(headers, b":error-code\x07"))
}

/// Value of the header of that name, which its type byte follows (7 is text): a length of two bytes, the text.
fn text<'a>(headers: &'a [u8], name: &[u8]) -> Option<&'a str> {
    let at = memmem::find(headers, name)?.checked_add(name.len())?;
    let (length, rest) = headers.get(at..)?.split_first_chunk::<2>()?;
    std::str::from_utf8(rest.get(..usize::from(u16::from_be_bytes(*length)))?).ok()
}

/// Unpacks `{"bytes":"<base64>"}`, in which `InvokeModelWithResponseStream` wraps each event of the model.
#[derive(Debug, Default)]
pub(super) struct Unwrapper {
    /// How many bytes of the key were seen; all of them, and the value is being read.
    matched: usize,
    done: bool,
    bits: u32,
    held: u32,
}

impl Unwrapper {
    const KEY: &'static [u8] = b"\"bytes\":\"";

    /// Gives the decoded bytes of the next part of a payload to `out`.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for byte in bytes {
            if self.done {
                return;
            }
            match Self::KEY.get(self.matched) {
                None => self.digit(*byte, out),
                Some(key) if key == byte => self.matched = self.matched.saturating_add(1),
                // The key begins with the only quote it has in front of its end.
                Some(_) => self.matched = usize::from(*byte == b'"'),
            }
        }
    }

    // RFC 4648, 4: six bits a letter; padding carries none.
    fn digit(&mut self, byte: u8, out: &mut Vec<u8>) {
        let value = match byte {
            b'A'..=b'Z' => byte.wrapping_sub(b'A'),
            b'a'..=b'z' => byte.wrapping_sub(b'a').wrapping_add(26),
            b'0'..=b'9' => byte.wrapping_sub(b'0').wrapping_add(52),
            b'+' => 62,
            b'/' => 63,
            _ => {
                self.done = byte == b'"';
                return;
            }
        };
        self.held = (self.held << 6) | u32::from(value);
        self.bits = self.bits.saturating_add(6);
        if self.bits >= 8 {
            self.bits = self.bits.saturating_sub(8);
            out.extend(u8::try_from((self.held >> self.bits) & 0xff));
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Builds a message; the checksums are not looked at.
    pub(in crate::provider) fn message(headers: &[u8], payload: &[u8]) -> Vec<u8> {
        let total =
            u32::try_from([16, headers.len(), payload.len()].iter().sum::<usize>()).unwrap();
        let length = u32::try_from(headers.len()).unwrap();
        [&total.to_be_bytes()[..], &length.to_be_bytes(), &[0; 4], headers, payload, &[0; 4]]
            .concat()
    }

    #[derive(Default)]
    struct Seen(Vec<u8>);

    impl FrameSink for Seen {
        fn payload(&mut self, piece: &[u8]) {
            self.0.extend_from_slice(piece);
        }
        fn end(&mut self, exception: Option<&str>) {
            self.0.extend_from_slice(format!("|{}|", exception.unwrap_or("")).as_bytes());
        }
    }

    #[test]
    fn payloads_come_out_however_the_stream_is_cut() {
        let exception = b"\x0f:exception-type\x07\x00\x13throttlingException";
        let error = b"\x0d:message-type\x07\x00\x05error\x0b:error-code\x07\x00\x0dInternalError";
        let stream = [
            message(b"\x01a\x07\x00\x01b", b"{1}"),
            message(b"", b""),
            message(exception, b"{2}"),
            message(error, b""),
        ]
        .concat();
        for cut in 0..=stream.len() {
            let (mut frames, mut seen) = (Frames::new(), Seen::default());
            frames.push(&stream[..cut], &mut seen);
            frames.push(&stream[cut..], &mut seen);
            assert_eq!(seen.0, b"{1}||||{2}|throttlingException||InternalError|", "cut at {cut}");
        }
    }

    #[test]
    fn impossible_lengths_end_the_stream() {
        let (mut frames, mut seen) = (Frames::new(), Seen::default());
        frames.push(&[0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3], &mut seen);
        frames.push(&[0xff; 40], &mut seen);
        assert!(seen.0.is_empty());
    }

    #[test]
    fn wrapped_events_are_decoded() {
        const CASES: &[(&str, &str)] = &[
            (r#"{"bytes":"eyJhIjoxfQ==","p":"abc"}"#, r#"{"a":1}"#),
            (r#"{"p":"bytes","bytes":"YWI="}"#, "ab"),
            (r#"{"bytes":""}"#, ""),
            ("{}", ""),
        ];
        for (payload, expected) in CASES {
            let (mut unwrapper, mut out) = (Unwrapper::default(), Vec::new());
            for byte in payload.as_bytes() {
                unwrapper.push(&[*byte], &mut out);
            }
            assert_eq!(out, expected.as_bytes());
        }
    }
}
