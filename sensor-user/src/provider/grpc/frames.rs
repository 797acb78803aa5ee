//! A body of gRPC comes in, split anywhere; the bytes of its messages, uncompressed, go out.
//!
//! A message is: a byte that says whether it is compressed, its length (4 bytes, big endian), its bytes.

use crate::http;
use crate::http::coding::Decoder;

/// Length of what stands before a message, in bytes.
const PREFIX: usize = 5;
/// Longest message, in bytes; services take some 20 MiB.
const MESSAGE_MAX: u32 = 256 * 1024 * 1024;
/// Bytes that one compressed message may become.
const DECODED_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of a message that are free of the bound on its ratio: short ones come by the thousand.
const RATIO_FREE: u64 = 64 * 1024;
/// Longest name of a coding, in bytes.
const CODING_MAX: usize = 32;
/// What nearly all clients compress with, where the field that says so was not seen.
const CODING_USUAL: &[u8] = b"gzip";

/// Takes the messages in order.
pub(super) trait MessageSink {
    /// The next part of a message.
    fn piece(&mut self, bytes: &[u8]);
    /// The message has ended; one whose compression could not be undone is not whole.
    fn end(&mut self, is_whole: bool);
}

#[derive(Debug)]
enum Part {
    Prefix,
    /// So many bytes are left, and what undoes their compression; nothing does where that has failed.
    Plain(u32),
    Coded(u32, Option<Box<Decoder>>),
    Broken,
}

/// Splits a body into messages.
#[derive(Debug)]
pub(super) struct Frames {
    part: Part,
    prefix: [u8; PREFIX],
    filled: usize,
    coding: Vec<u8>,
}

impl Frames {
    /// Begins a body; `coding` is what `grpc-encoding` says.
    pub(super) fn new(coding: Option<&[u8]>) -> Self {
        let coding = coding.filter(|name| name.len() <= CODING_MAX).unwrap_or(CODING_USUAL);
        Self { part: Part::Prefix, prefix: [0; PREFIX], filled: 0, coding: coding.to_vec() }
    }

    /// Whether the body was none of messages.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self.part, Part::Broken)
    }

    /// Takes the next bytes; a broken body is given up quietly.
    pub(super) fn push(&mut self, mut bytes: &[u8], sink: &mut dyn MessageSink) {
        while !bytes.is_empty() {
            bytes = match &mut self.part {
                Part::Broken => return,
                Part::Prefix => self.prefix(bytes),
                Part::Plain(left) => {
                    let (piece, rest) = take(bytes, left);
                    sink.piece(piece);
                    rest
                }
                Part::Coded(left, decoder) => {
                    let (piece, rest) = take(bytes, left);
                    decode(decoder, piece, sink);
                    rest
                }
            };
            self.advance(sink);
        }
    }

    fn prefix<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let free = self.prefix.get_mut(self.filled..).unwrap_or_default();
        let taken = free.len().min(bytes.len());
        free.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        self.filled = self.filled.saturating_add(taken);
        if self.filled == PREFIX {
            self.filled = 0;
            let [flag, length @ ..] = self.prefix;
            let length = u32::from_be_bytes(length);
            self.part = match flag {
                _ if length > MESSAGE_MAX => Part::Broken,
                0 => Part::Plain(length),
                1 => Part::Coded(length, decoder(&self.coding)),
                _ => Part::Broken,
            };
        }
        bytes.get(taken..).unwrap_or_default()
    }

    /// Ends the message of which nothing is left.
    fn advance(&mut self, sink: &mut dyn MessageSink) {
        let whole = match &self.part {
            Part::Plain(0) => true,
            // Of no bytes nothing is undone.
            Part::Coded(0, decoder) => decoder.as_ref().is_some_and(|d| d.finish().is_ok()),
            _ => return,
        };
        sink.end(whole);
        self.part = Part::Prefix;
    }
}

fn decoder(coding: &[u8]) -> Option<Box<Decoder>> {
    let config = http::Config {
        codings_max: 1,
        decoded_bytes_max: DECODED_MAX,
        decoded_ratio_free_bytes: RATIO_FREE,
        ..http::Config::default()
    };
    Decoder::new(coding, &config).ok().map(Box::new)
}

fn decode(decoder: &mut Option<Box<Decoder>>, piece: &[u8], sink: &mut dyn MessageSink) {
    let Some(coded) = decoder else { return };
    if coded.push(piece, &mut |bytes| sink.piece(bytes)).is_err() {
        *decoder = None;
    }
}

fn take<'a>(bytes: &'a [u8], left: &mut u32) -> (&'a [u8], &'a [u8]) {
    let most = usize::try_from(*left).unwrap_or(usize::MAX);
    let (piece, rest) = bytes.split_at_checked(most).unwrap_or((bytes, &[]));
    *left = left.saturating_sub(u32::try_from(piece.len()).unwrap_or(u32::MAX));
    (piece, rest)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    /// Puts the prefix before a message.
    pub(in crate::provider) fn framed(compressed: bool, message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap();
        [&[u8::from(compressed)][..], &length.to_be_bytes(), message].concat()
    }

    /// Compresses a message.
    pub(in crate::provider) fn gzipped(message: &[u8]) -> Vec<u8> {
        let mut coder = GzEncoder::new(Vec::new(), Compression::default());
        coder.write_all(message).unwrap();
        coder.finish().unwrap()
    }

    fn deflated(message: &[u8]) -> Vec<u8> {
        let mut coder = ZlibEncoder::new(Vec::new(), Compression::default());
        coder.write_all(message).unwrap();
        coder.finish().unwrap()
    }

    #[derive(Default)]
    struct Seen(Vec<u8>);

    impl MessageSink for Seen {
        fn piece(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }
        fn end(&mut self, is_whole: bool) {
            self.0.push(if is_whole { b'.' } else { b'?' });
        }
    }

    fn seen(coding: Option<&[u8]>, parts: &[&[u8]]) -> (String, bool) {
        let (mut frames, mut seen) = (Frames::new(coding), Seen::default());
        for part in parts {
            frames.push(part, &mut seen);
        }
        (String::from_utf8_lossy(&seen.0).into_owned(), frames.is_broken())
    }

    #[test]
    fn messages_come_out_however_the_body_is_cut() {
        let cases: [(Option<&[u8]>, Vec<u8>); 3] = [
            (Some(b"gzip"), gzipped(b"two")),
            (Some(b"deflate"), deflated(b"two")),
            (None, gzipped(b"two")),
        ];
        for (coding, coded) in cases {
            let body = [framed(false, b"one"), framed(false, b""), framed(true, &coded)].concat();
            for cut in 0..=body.len() {
                let told = seen(coding, &[&body[..cut], &body[cut..]]);
                assert_eq!(told, ("one..two.".to_owned(), false), "{coding:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_message_that_cannot_be_read_does_not_hide_the_next() {
        let broken = framed(true, b"no gzip at all");
        let short = framed(true, &gzipped(b"one")[..10]);
        for (coding, first) in
            [(&b"gzip"[..], broken), (b"gzip", short), (b"snappy", framed(true, b"x"))]
        {
            let (told, is_broken) = seen(Some(coding), &[&first, &framed(false, b"two")]);
            assert!(told.ends_with("?two.") && !is_broken, "{told}");
        }
    }

    #[test]
    fn impossible_prefixes_end_the_body() {
        for prefix in [b"\x02\0\0\0\x01", b"\0\xff\0\0\x01", b"{\"a\":"] {
            assert_eq!(seen(None, &[&prefix[..], b"aaaaaaaa"]), (String::new(), true));
        }
    }

    #[test]
    fn a_message_that_becomes_too_much_is_given_up() {
        let (mut frames, mut seen) = (Frames::new(Some(b"gzip")), Seen::default());
        frames.push(&framed(true, &gzipped(&vec![b'a'; 4 << 20])), &mut seen);
        assert!(seen.0.len() < 2 << 20 && seen.0.ends_with(b"?"), "{}", seen.0.len());
    }
}
