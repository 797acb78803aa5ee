//! Bytes of a body come in, still framed and coded; its decoded bytes and its end go out.

use crate::http::coding;
use crate::http::http1::chunked::{Chunked, Part};
use crate::http::http1::head::Framing;
use crate::http::{BodyEnd, Config};

/// How far the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It goes on.
    More,
    /// Its last byte was taken.
    Done,
    /// Its framing is broken or lost.
    Broken,
}

#[derive(Debug)]
enum Frame {
    Length(u64),
    Chunked(Chunked),
    UntilClose,
}

/// One body on its way.
#[derive(Debug)]
pub(super) struct Body {
    frame: Frame,
    /// `None` for identity, whose bytes are handed out as they are.
    decoder: Option<Box<coding::Decoder>>,
    /// How the body would end if all went well from now on.
    end: BodyEnd,
    /// Nothing is handed out any more.
    withheld: bool,
}

impl Body {
    pub(super) fn new(framing: Framing, codings: &[u8], config: &Config) -> Self {
        let frame = match framing {
            Framing::Length(bytes) => Frame::Length(bytes),
            Framing::Chunked => Frame::Chunked(Chunked::new()),
            Framing::UntilClose => Frame::UntilClose,
        };
        let mut body = Self { frame, decoder: None, end: BodyEnd::Complete, withheld: false };
        match coding::Decoder::new(codings, config) {
            Ok(decoder) if decoder.is_identity() => {}
            Ok(decoder) => body.decoder = Some(Box::new(decoder)),
            Err(_unknown) => body.fail(),
        }
        body
    }

    /// Takes the body's bytes from the front of `input`.
    pub(super) fn push(&mut self, input: &mut &[u8], out: &mut dyn FnMut(&[u8])) -> Progress {
        match &mut self.frame {
            Frame::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                let (data, rest) = input.split_at_checked(take).unwrap_or((input, &[]));
                *input = rest;
                *left = left.saturating_sub(u64::try_from(take).unwrap_or(u64::MAX));
                let progress = if *left == 0 { Progress::Done } else { Progress::More };
                self.decode(data, out);
                progress
            }
            Frame::UntilClose => {
                self.decode(std::mem::take(input), out);
                Progress::More
            }
            Frame::Chunked(_) => self.push_chunks(input, out),
        }
    }

    fn push_chunks(&mut self, input: &mut &[u8], out: &mut dyn FnMut(&[u8])) -> Progress {
        while let Frame::Chunked(chunked) = &mut self.frame {
            match chunked.next(input) {
                Part::Data(data) => self.decode(data, out),
                Part::More => return Progress::More,
                Part::End => return Progress::Done,
                Part::Malformed => break,
            }
        }
        Progress::Broken
    }

    /// Passes over missing bytes: the body goes on behind them, ends with them, or its framing is lost.
    pub(super) fn skip(&mut self, missing: u64) -> Progress {
        self.end = BodyEnd::Gap;
        // No coding goes on behind a gap.
        self.withheld |= self.decoder.is_some();
        match &mut self.frame {
            Frame::Length(left) if *left == missing => Progress::Done,
            Frame::Length(left) if *left > missing => {
                *left = left.saturating_sub(missing);
                Progress::More
            }
            Frame::UntilClose => Progress::More,
            Frame::Chunked(chunked) => {
                let within = chunked.skip(missing);
                if within { Progress::More } else { Progress::Broken }
            }
            Frame::Length(_) => Progress::Broken,
        }
    }

    /// Whether bytes are still handed out.
    pub(super) fn is_withheld(&self) -> bool {
        self.withheld
    }

    /// Hands out nothing any more.
    pub(super) fn withhold(&mut self) {
        self.withheld = true;
    }

    /// Whether the body's length was told beforehand.
    pub(super) fn has_known_length(&self) -> bool {
        matches!(self.frame, Frame::Length(_))
    }

    /// Whether the connection's end is the body's end.
    pub(super) fn ends_with_connection(&self) -> bool {
        matches!(self.frame, Frame::UntilClose)
    }

    /// The body's end, once its framing has ended as `framed` says.
    pub(super) fn finish(self, framed: BodyEnd) -> BodyEnd {
        if self.end == BodyEnd::Complete && framed == BodyEnd::Complete {
            let decoded = self.decoder.is_none_or(|decoder| decoder.finish().is_ok());
            return if decoded { BodyEnd::Complete } else { BodyEnd::Undecodable };
        }
        if self.end == BodyEnd::Complete { framed } else { self.end }
    }

    fn decode(&mut self, data: &[u8], out: &mut dyn FnMut(&[u8])) {
        if self.withheld || data.is_empty() {
            return;
        }
        let Some(decoder) = &mut self.decoder else { return out(data) };
        if decoder.push(data, out).is_err() {
            self.fail();
        }
    }

    /// The bytes of the body can no longer be known; its framing still is.
    fn fail(&mut self) {
        self.end = BodyEnd::Undecodable;
        self.withheld = true;
    }
}
