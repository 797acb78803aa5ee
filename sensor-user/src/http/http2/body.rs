//! The body of one message comes in, as its stream carries it; its decoded bytes and its end go out.

use crate::http::coding::Decoder;
use crate::http::http2::output::Output;
use crate::http::{BodyEnd, Config, Event, Headers, Message};

/// Bytes behind a gap that are looked at where the coding of the body is not known.
const LOOK_BYTES: usize = 64;

/// How the body is coded.
enum Coding {
    /// The field that says so may have been missed: the first bytes must tell.
    Unknown,
    Known(Box<Decoder>),
    /// It cannot be decoded.
    Failed,
}

/// A body on its way.
pub(super) struct Body {
    of: Message,
    coding: Coding,
    /// Bytes missing before the next ones; 0 where their number is not known.
    missing: Option<u64>,
    /// Whether bytes are, or may be, missing.
    gap: bool,
    /// Nothing more is handed out.
    mute: bool,
    end: Option<BodyEnd>,
}

impl Body {
    pub(super) fn new(of: Message, headers: &Headers, config: &Config) -> Self {
        let named: Vec<&[u8]> = headers.all("content-encoding").collect();
        let coding = if named.is_empty() && headers.incomplete {
            Coding::Unknown
        } else {
            Coding::new(&named.join(&b','), config)
        };
        Self { of, coding, missing: None, gap: false, mute: false, end: None }
    }

    pub(super) fn has_gap(&self) -> bool {
        self.gap
    }

    /// How it ended, if it has.
    pub(super) fn ended(&self) -> Option<BodyEnd> {
        self.end
    }

    /// Bytes of it are missing, or may be; `missing` of them, or 0 where nobody knows.
    pub(super) fn gap(&mut self, missing: u64) {
        if self.end.is_some() {
            return;
        }
        self.gap = true;
        self.missing = Some(match self.missing {
            Some(0) => 0,
            Some(before) if missing > 0 => before.saturating_add(missing),
            None => missing,
            Some(_) => 0,
        });
    }

    /// Takes bytes of the body.
    pub(super) fn push(
        &mut self,
        stream: u32,
        bytes: &[u8],
        config: &Config,
        out: &mut Output<'_>,
    ) {
        if bytes.is_empty() || self.mute || self.end.is_some() {
            return;
        }
        if let Some(missing) = self.missing.take() {
            // No coding goes on behind a gap.
            let readable = match &self.coding {
                Coding::Unknown => is_text(bytes),
                Coding::Known(decoder) => decoder.is_identity(),
                Coding::Failed => false,
            };
            if !readable || !out.resumes(stream, self.of, missing) {
                self.mute = true;
                // What it holds is of no use any more.
                self.coding = Coding::Failed;
                return;
            }
            self.coding = Coding::new(b"", config);
        }
        if matches!(self.coding, Coding::Unknown) {
            self.coding = Coding::new(coding_of(bytes), config);
        }
        let Coding::Known(decoder) = &mut self.coding else { return };
        let of = self.of;
        if decoder.push(bytes, &mut |decoded| out.tell(stream, event(of, decoded))).is_err() {
            self.coding = Coding::Failed;
        }
    }

    /// Ends the body; `framed` is what its frames say about the end.
    pub(super) fn finish(&mut self, framed: BodyEnd) -> BodyEnd {
        let end = match &self.coding {
            _ if self.gap => BodyEnd::Gap,
            Coding::Failed => BodyEnd::Undecodable,
            Coding::Known(decoder) if framed == BodyEnd::Complete && decoder.finish().is_err() => {
                BodyEnd::Undecodable
            }
            _ => framed,
        };
        *self.end.get_or_insert(end)
    }
}

impl Coding {
    fn new(content_encoding: &[u8], config: &Config) -> Self {
        Decoder::new(content_encoding, config)
            .map_or(Self::Failed, |decoder| Self::Known(Box::new(decoder)))
    }
}

/// What is told of a body's bytes.
fn event(of: Message, bytes: &[u8]) -> Event<'_> {
    match of {
        Message::Request => Event::RequestBody(bytes),
        Message::Response => Event::ResponseBody(bytes),
    }
}

/// Guesses a coding from the first bytes of a body; brotli has no mark.
fn coding_of(bytes: &[u8]) -> &'static [u8] {
    match bytes {
        // RFC 1952, 2.3.1.
        [0x1f] | [0x1f, 0x8b, ..] => b"gzip",
        // RFC 8878, 3.1.1.
        [0x28] | [0x28, 0xb5, ..] => b"zstd",
        _ => b"",
    }
}

/// Whether the bytes can be part of a text rather than of something coded.
fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().take(LOOK_BYTES).all(|byte| *byte >= b' ' || matches!(byte, b'\t' | b'\n' | b'\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unnamed_coding_is_told_by_its_mark() {
        assert_eq!(coding_of(&[0x1f, 0x8b, 8]), b"gzip");
        assert_eq!(coding_of(&[0x28, 0xb5, 0x2f, 0xfd]), b"zstd");
        assert_eq!(coding_of(b"(note)"), b"");
        assert_eq!(coding_of(b"{}"), b"");
    }

    #[test]
    fn coded_bytes_do_not_pass_for_text() {
        assert!(is_text("data: {\"text\":\"grüß\"}\n\n".as_bytes()));
        assert!(!is_text(&[b'a', 0, b'b']));
    }
}
