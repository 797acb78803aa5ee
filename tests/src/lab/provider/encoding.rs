//! Plain pieces of a body come in; the same pieces in a content encoding go out, each readable when it arrives.

use std::io::{self, Write};
use std::str::FromStr;

use anyhow::{Result, bail};
use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

/// Brotli quality and window of a server that compresses on the fly.
const BROTLI: (u32, u32) = (4, 19);

/// Bytes of the brotli writer's buffer.
const BROTLI_BUFFER: usize = 4096;

/// A content encoding (RFC 9110, 8.4.1; br: RFC 7932; zstd: RFC 8878).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// None.
    #[default]
    Identity,
    /// gzip.
    Gzip,
    /// br.
    Brotli,
    /// zstd.
    Zstd,
}

impl Encoding {
    /// Returns the name in `Content-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// Picks what a server at the edge of a large service would pick for `Accept-Encoding`.
    pub fn accepted(header: &str) -> Self {
        let offers = |name: &str| {
            header.split(',').any(|offer| {
                let (coding, weight) = offer.split_once(';').unwrap_or((offer, ""));
                coding.trim().eq_ignore_ascii_case(name) && weight.trim() != "q=0"
            })
        };
        [Self::Brotli, Self::Gzip, Self::Zstd]
            .into_iter()
            .find(|encoding| offers(encoding.name()))
            .unwrap_or_default()
    }

    /// Encodes pieces of one body, so that each can be read without the next.
    pub fn encode(self, pieces: Vec<Bytes>) -> io::Result<Vec<Bytes>> {
        match self {
            Self::Identity => Ok(pieces),
            Self::Gzip => {
                let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
                let mut out = each(&pieces, &mut gzip, |gzip| std::mem::take(gzip.get_mut()))?;
                push_tail(&mut out, gzip.finish()?);
                Ok(out)
            }
            Self::Brotli => {
                let (quality, window) = BROTLI;
                let mut br = CompressorWriter::new(Vec::new(), BROTLI_BUFFER, quality, window);
                let mut out = each(&pieces, &mut br, |br| std::mem::take(br.get_mut()))?;
                push_tail(&mut out, br.into_inner());
                Ok(out)
            }
            Self::Zstd => {
                let mut zstd = zstd::Encoder::new(Vec::new(), zstd::DEFAULT_COMPRESSION_LEVEL)?;
                let mut out = each(&pieces, &mut zstd, |zstd| std::mem::take(zstd.get_mut()))?;
                push_tail(&mut out, zstd.finish()?);
                Ok(out)
            }
        }
    }
}

impl FromStr for Encoding {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "identity" => Self::Identity,
            "gzip" => Self::Gzip,
            "br" => Self::Brotli,
            "zstd" => Self::Zstd,
            _ => bail!("no such content encoding"),
        })
    }
}

fn each<W: Write>(
    pieces: &[Bytes],
    writer: &mut W,
    mut take: impl FnMut(&mut W) -> Vec<u8>,
) -> io::Result<Vec<Bytes>> {
    let mut out = Vec::with_capacity(pieces.len());
    for piece in pieces {
        writer.write_all(piece)?;
        writer.flush()?;
        out.push(take(writer).into());
    }
    Ok(out)
}

/// The trailer belongs to the last piece, so that the number of pieces stays what it was.
fn push_tail(out: &mut Vec<Bytes>, tail: Vec<u8>) {
    match out.pop() {
        Some(last) => out.push([last.as_ref(), &tail].concat().into()),
        None => out.push(tail.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn decode(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let read = match encoding {
            Encoding::Identity => {
                out.extend_from_slice(bytes);
                bytes.len()
            }
            Encoding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).unwrap(),
            Encoding::Brotli => {
                brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out).unwrap()
            }
            Encoding::Zstd => zstd::Decoder::new(bytes).unwrap().read_to_end(&mut out).unwrap(),
        };
        assert_eq!(read, out.len());
        out
    }

    #[test]
    fn encoded_pieces_decode_to_the_same_body() {
        let pieces: Vec<Bytes> = (0..20).map(|n| Bytes::from(format!("data: {n}\n\n"))).collect();
        for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Brotli, Encoding::Zstd] {
            let encoded = encoding.encode(pieces.clone()).unwrap();
            assert_eq!(encoded.len(), pieces.len(), "{encoding:?}");
            assert!(encoded.iter().all(|piece| !piece.is_empty()), "{encoding:?}");
            assert_eq!(decode(encoding, &encoded.concat()), pieces.concat(), "{encoding:?}");
        }
    }

    #[test]
    fn the_best_accepted_encoding_is_picked() {
        const CASES: &[(&str, Encoding)] = &[
            ("gzip, deflate", Encoding::Gzip),
            ("gzip, deflate, br, zstd", Encoding::Brotli),
            ("br;q=0, zstd", Encoding::Zstd),
            ("identity", Encoding::Identity),
            ("", Encoding::Identity),
        ];
        for (header, encoding) in CASES {
            assert_eq!(Encoding::accepted(header), *encoding, "{header}");
        }
    }
}
