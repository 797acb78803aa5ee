//! The bytes of a coded body come in as they arrive; the decoded bytes go out at once, within bounds.
//!
//! Codings: identity, gzip, deflate (zlib and raw), br and zstd (RFC 9110, 8.4; RFC 8878; RFC 9659), stacked too.

use thiserror::Error;

use crate::http::Config;

mod brotli;
mod budget;
mod deflate;
mod gzip;
mod layer;
mod zstd;

use budget::{PROCESS, Share};
use layer::Layer;

pub(in crate::http) use deflate::Inflate;

/// Names of what codes nothing: the first is RFC 9110's word for it (12.5.3), some servers write the second.
const IDENTITY: [&[u8]; 2] = [b"identity", b"none"];

/// Why a body cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CodingError {
    /// A coding that this stage does not speak.
    #[error("content coding is unknown")]
    Unknown,
    /// More codings on top of each other than `codings_max`.
    #[error("too many content codings are stacked")]
    TooMany,
    /// The bytes break the format of their coding.
    #[error("coded bytes are broken")]
    Broken,
    /// The body decodes to more than `decoded_bytes_max`.
    #[error("decoded body is over its bound")]
    TooLong,
    /// The body decodes to more than `decoded_ratio_max` bytes for each of its own.
    #[error("decoded body is over its ratio")]
    Ratio,
    /// The body has ended before its coding did.
    #[error("coded body ends too early")]
    Truncated,
    /// The bodies under way together decode to more than the process may hold.
    #[error("too many large bodies are decoded at once")]
    Crowded,
    /// The decoder could not be made.
    #[error("cannot make the decoder")]
    Setup,
}

/// Undoes the content codings of one body, as a stream.
///
/// ```text
/// coded bytes -> last coding named -> … -> first coding named -> decoded bytes
/// ```
#[derive(Debug)]
pub struct Decoder {
    /// In the order in which they are undone.
    layers: Vec<Layer>,
    bounds: Bounds,
    /// Of the memory that large windows take.
    share: Share,
    failed: Option<CodingError>,
}

impl Decoder {
    /// Makes a decoder for a `Content-Encoding` value (several fields joined by commas).
    ///
    /// # Errors
    /// `Unknown` and `TooMany`; `Setup` where a coding's library refuses.
    pub fn new(content_encoding: &[u8], config: &Config) -> Result<Self, CodingError> {
        let mut layers = Vec::new();
        for name in content_encoding.split(|byte| *byte == b',') {
            let name = name.trim_ascii();
            if name.is_empty() || IDENTITY.iter().any(|none| name.eq_ignore_ascii_case(none)) {
                continue;
            }
            if layers.len() >= config.codings_max {
                return Err(CodingError::TooMany);
            }
            layers.push(Layer::new(name)?);
        }
        // RFC 9110, 8.4: codings are listed in the order in which they were applied.
        layers.reverse();
        let (bounds, share) = (Bounds::new(config), Share::of(&PROCESS));
        Ok(Self { layers, bounds, share, failed: None })
    }

    /// Whether nothing is to be undone, so that the body's bytes can be used as they are.
    pub fn is_identity(&self) -> bool {
        self.layers.is_empty()
    }

    /// Decodes `input` and hands everything that can be known by now to `out`.
    ///
    /// # Errors
    /// `Broken`, `TooLong`, `Ratio`, `Crowded`; the same again on every later call.
    pub fn push(&mut self, input: &[u8], out: &mut dyn FnMut(&[u8])) -> Result<(), CodingError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.layers.is_empty() {
            out(input);
            return Ok(());
        }
        self.bounds.take(input);
        let mut outcome = run(&mut self.layers, input, &mut self.bounds, out);
        let window = self.layers.iter().map(Layer::window).sum();
        outcome = outcome.and_then(|()| self.share.hold(self.bounds.decoded, window));
        if let Err(error) = outcome {
            self.failed = Some(error);
            // Nothing more comes out of them, and their windows may be large.
            self.layers.iter_mut().for_each(Layer::shut);
            self.share = Share::of(&PROCESS);
        }
        outcome
    }

    /// Says whether every coding has come to its end; a body of no bytes at all has.
    ///
    /// # Errors
    /// `Truncated`, or the error of an earlier `push`.
    pub fn finish(&self) -> Result<(), CodingError> {
        match self.failed {
            Some(error) => Err(error),
            None if self.bounds.coded == 0 || self.layers.iter().all(Layer::is_complete) => Ok(()),
            None => Err(CodingError::Truncated),
        }
    }
}

/// What has been spent of the bounds.
#[derive(Debug)]
pub(in crate::http) struct Bounds {
    coded: u64,
    decoded: u64,
    decoded_max: u64,
    ratio_max: u64,
    ratio_free: u64,
}

impl Bounds {
    pub(in crate::http) fn new(config: &Config) -> Self {
        Self {
            coded: 0,
            decoded: 0,
            decoded_max: config.decoded_bytes_max,
            ratio_max: config.decoded_ratio_max,
            ratio_free: config.decoded_ratio_free_bytes,
        }
    }

    /// Counts coded bytes.
    pub(in crate::http) fn take(&mut self, coded: &[u8]) {
        self.coded = self.coded.saturating_add(length(coded));
    }

    /// Counts the output of any layer: a bomb inside a bomb spends its bound in the middle.
    pub(in crate::http) fn spend(&mut self, decoded: &[u8]) -> Result<(), CodingError> {
        self.decoded = self.decoded.saturating_add(length(decoded));
        if self.decoded > self.decoded_max {
            return Err(CodingError::TooLong);
        }
        let allowed = self.coded.saturating_mul(self.ratio_max).saturating_add(self.ratio_free);
        if self.decoded > allowed { Err(CodingError::Ratio) } else { Ok(()) }
    }
}

/// Feeds the first layer; each part of its output goes through the layers behind it before it goes on.
fn run(
    layers: &mut [Layer],
    input: &[u8],
    bounds: &mut Bounds,
    out: &mut dyn FnMut(&[u8]),
) -> Result<(), CodingError> {
    let Some((first, rest)) = layers.split_first_mut() else {
        out(input);
        return Ok(());
    };
    first.decode(input, &mut |decoded| {
        bounds.spend(decoded)?;
        run(rest, decoded, bounds, out)
    })
}

/// A length as the counters need it.
fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
