//! A coded body comes in; it must be decoded within its bounds, alike however it is cut, and round trips must be true.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use sensor_user::http::Config;
use sensor_user::http::coding::{CodingError, Decoder};

use crate::input::Choices;

/// `Content-Encoding` values under test.
const CODINGS: [&[u8]; 8] = [
    b"gzip",
    b"deflate",
    b"br",
    b"zstd",
    b"gzip, br",
    b"zstd, deflate",
    b"gzip, gzip, gzip",
    b"identity, x-gzip",
];

/// Longest body that is coded for a round trip.
const ROUND_TRIP_MAX: usize = 4096;

/// Bounds that short inputs can reach.
fn bounds() -> Config {
    Config {
        decoded_bytes_max: 256 * 1024,
        decoded_ratio_max: 64,
        decoded_ratio_free_bytes: 32 * 1024,
        ..Config::default()
    }
}

/// Runs one input: the coding, then the body.
pub(crate) fn run(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else { return };
    let index = usize::from(*choice & 7);
    let (whole, outcome) = decode(CODINGS[index], &[body]);
    let (cut, cut_outcome) = decode(CODINGS[index], &Choices::of(data).parts(body));
    if outcome.is_ok() {
        assert_eq!((&whole, Ok(())), (&cut, cut_outcome), "a cut changes the body");
    } else {
        assert!(cut_outcome.is_err(), "a cut heals a broken body");
        let common = whole.len().min(cut.len());
        assert_eq!(whole.get(..common), cut.get(..common), "a cut changes the body");
    }
    if body.len() <= ROUND_TRIP_MAX && choice & 8 != 0 {
        round_trip(index, body, &mut Choices::of(data));
    }
}

fn decode(coding: &[u8], parts: &[&[u8]]) -> (Vec<u8>, Result<(), CodingError>) {
    let bounds = bounds();
    let mut body = Vec::new();
    let mut decoder = match Decoder::new(coding, &bounds) {
        Ok(decoder) => decoder,
        Err(error) => return (body, Err(error)),
    };
    for part in parts {
        if let Err(error) = decoder.push(part, &mut |bytes| body.extend_from_slice(bytes)) {
            assert_eq!(decoder.push(b"", &mut |_| ()), Err(error), "an error stays");
            return (body, Err(error));
        }
        let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
        assert!(length <= bounds.decoded_bytes_max, "the body is over its bound");
    }
    (body, decoder.finish())
}

fn round_trip(index: usize, body: &[u8], choices: &mut Choices) {
    let coded = match index {
        0 => gzip(body),
        1 if body.len().is_multiple_of(2) => {
            finish(DeflateEncoder::new(Vec::new(), Compression::fast()), body)
        }
        1 => finish(ZlibEncoder::new(Vec::new(), Compression::best()), body),
        2 => brotli(body),
        3 => zstd::encode_all(body, 1).unwrap_or_default(),
        4 => brotli(&gzip(body)),
        _ => return,
    };
    let (decoded, outcome) = decode(CODINGS[index], &choices.parts(&coded));
    // A long run of one byte may be over the ratio; that is what the ratio is for.
    if !matches!(outcome, Err(CodingError::Ratio | CodingError::TooLong)) {
        assert_eq!((decoded.as_slice(), outcome), (body, Ok(())), "the round trip is not true");
    }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    finish(GzEncoder::new(Vec::new(), Compression::default()), body)
}

fn brotli(body: &[u8]) -> Vec<u8> {
    let mut coded = Vec::new();
    let written = brotli::CompressorWriter::new(&mut coded, 4096, 2, 18).write_all(body);
    written.map_or_else(|_| Vec::new(), |()| coded)
}

/// The encoders of `flate2` have no trait for their end.
trait Finish: Write {
    fn end(self) -> std::io::Result<Vec<u8>>;
}

macro_rules! finish {
    ($($encoder:ident),+) => {
        $(impl Finish for $encoder<Vec<u8>> {
            fn end(self) -> std::io::Result<Vec<u8>> {
                self.finish()
            }
        })+
    };
}

finish!(GzEncoder, DeflateEncoder, ZlibEncoder);

fn finish(mut encoder: impl Finish, body: &[u8]) -> Vec<u8> {
    encoder.write_all(body).and_then(|()| encoder.end()).unwrap_or_default()
}
