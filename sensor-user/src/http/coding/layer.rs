//! Bytes of one coding come in; bytes with that coding undone go out, part by part.

use crate::http::coding::CodingError;
use crate::http::coding::brotli::Brotli;
use crate::http::coding::deflate::Deflate;
use crate::http::coding::gzip::Gzip;
use crate::http::coding::zstd::Zstd;

/// Bytes decoded in one step; small enough for the cache, and no body needs more memory than this for its output.
pub(super) const STEP_BYTES: usize = 16 * 1024;

/// Takes each decoded part; an error ends the decoding.
pub(in crate::http) type Output<'a> = dyn FnMut(&[u8]) -> Result<(), CodingError> + 'a;

/// One coding of a stack, with its state and its output buffer.
#[derive(Debug)]
pub(super) enum Layer {
    Gzip(Box<Gzip>),
    Deflate(Box<Deflate>),
    Brotli(Box<Brotli>),
    Zstd(Box<Zstd>),
    /// Nothing is decoded any more.
    Shut,
}

impl Layer {
    /// Makes the layer a coding's name asks for (RFC 9110, 8.4.1: names are case-insensitive).
    pub(super) fn new(name: &[u8]) -> Result<Self, CodingError> {
        if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") {
            Ok(Self::Gzip(Box::default()))
        } else if name.eq_ignore_ascii_case(b"deflate") {
            Ok(Self::Deflate(Box::default()))
        } else if name.eq_ignore_ascii_case(b"br") {
            Ok(Self::Brotli(Box::default()))
        } else if name.eq_ignore_ascii_case(b"zstd") {
            Ok(Self::Zstd(Box::new(Zstd::new()?)))
        } else {
            Err(CodingError::Unknown)
        }
    }

    /// Decodes all of `input`; bytes behind the end of the coding are ignored, as browsers do.
    pub(super) fn decode(&mut self, input: &[u8], out: &mut Output<'_>) -> Result<(), CodingError> {
        match self {
            Self::Gzip(gzip) => gzip.decode(input, out),
            Self::Deflate(deflate) => deflate.decode(input, out),
            Self::Brotli(brotli) => brotli.decode(input, out),
            Self::Zstd(zstd) => zstd.decode(input, out),
            Self::Shut => Ok(()),
        }
    }

    /// Lets go of what it has kept.
    pub(super) fn shut(&mut self) {
        *self = Self::Shut;
    }

    /// Bytes of its output that it may keep (RFC 7932, 9.1; RFC 9659, 3); the 32 KiB of the others do not count.
    pub(super) fn window(&self) -> u64 {
        match self {
            Self::Brotli(_) => 16 << 20,
            Self::Zstd(_) => 8 << 20,
            Self::Gzip(_) | Self::Deflate(_) | Self::Shut => 0,
        }
    }

    /// Whether the coding's own end has been seen.
    pub(super) fn is_complete(&self) -> bool {
        match self {
            Self::Gzip(gzip) => gzip.is_complete(),
            Self::Deflate(deflate) => deflate.is_complete(),
            Self::Brotli(brotli) => brotli.is_complete(),
            Self::Zstd(zstd) => zstd.is_complete(),
            Self::Shut => false,
        }
    }
}
