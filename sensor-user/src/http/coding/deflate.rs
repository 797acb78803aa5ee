//! Deflate streams come in, raw or in their zlib frame; inflated bytes go out.

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};

use crate::http::coding::CodingError;
use crate::http::coding::layer::{Output, STEP_BYTES};

/// A raw deflate stream (RFC 1951) or one in a zlib frame (RFC 1950), with its output buffer.
pub(in crate::http) struct Inflate {
    stream: Decompress,
    buffer: Box<[u8]>,
    complete: bool,
}

impl fmt::Debug for Inflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflate").field("complete", &self.complete).finish_non_exhaustive()
    }
}

impl Inflate {
    pub(in crate::http) fn new(zlib: bool) -> Self {
        Self {
            stream: Decompress::new(zlib),
            buffer: vec![0; STEP_BYTES].into_boxed_slice(),
            complete: false,
        }
    }

    /// Begins a new raw stream with the same buffers.
    pub(in crate::http) fn restart(&mut self) {
        self.stream.reset(false);
        self.complete = false;
    }

    pub(in crate::http) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Inflates until the input or the stream ends; returns what stands behind the stream's end.
    pub(in crate::http) fn decode<'a>(
        &mut self,
        mut input: &'a [u8],
        out: &mut Output<'_>,
    ) -> Result<&'a [u8], CodingError> {
        while !self.complete {
            let (read, written) = (self.stream.total_in(), self.stream.total_out());
            let status = self
                .stream
                .decompress(input, &mut self.buffer, FlushDecompress::None)
                .map_err(|_broken| CodingError::Broken)?;
            let read = difference(self.stream.total_in(), read);
            let written = difference(self.stream.total_out(), written);
            input = input.get(read..).unwrap_or_default();
            if written > 0 {
                out(self.buffer.get(..written).unwrap_or_default())?;
            }
            self.complete = status == Status::StreamEnd;
            // A full buffer means that more output may wait although no input is left.
            if read == 0 && written == 0 || input.is_empty() && written < self.buffer.len() {
                break;
            }
        }
        Ok(input)
    }
}

/// How far a counter of the stream has gone in one step.
fn difference(after: u64, before: u64) -> usize {
    usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX)
}

/// The coding `deflate`: zlib by the standard, raw by some servers' habit (RFC 9110, 8.4.1.2).
#[derive(Debug, Default)]
pub(super) struct Deflate {
    first: Option<u8>,
    inflate: Option<Inflate>,
}

impl Deflate {
    pub(super) fn is_complete(&self) -> bool {
        self.inflate.as_ref().is_some_and(Inflate::is_complete)
    }

    pub(super) fn decode(&mut self, input: &[u8], out: &mut Output<'_>) -> Result<(), CodingError> {
        if let Some(inflate) = &mut self.inflate {
            inflate.decode(input, out)?;
            return Ok(());
        }
        let mut input = input;
        let first = match (self.first, input.split_first()) {
            (Some(first), _) => first,
            (None, Some((first, rest))) => {
                self.first = Some(*first);
                input = rest;
                *first
            }
            (None, None) => return Ok(()),
        };
        let Some(second) = input.first() else { return Ok(()) };
        let inflate = self.inflate.insert(Inflate::new(is_zlib(first, *second)));
        inflate.decode(&[first], out)?;
        inflate.decode(input, out)?;
        Ok(())
    }
}

/// RFC 1950, 2.2: method 8, a window of at most 32 KiB, and a check sum modulo 31.
fn is_zlib(first: u8, second: u8) -> bool {
    first & 0x0f == 8 && first >> 4 <= 7 && u16::from_be_bytes([first, second]).is_multiple_of(31)
}
