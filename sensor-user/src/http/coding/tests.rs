//! Bodies coded by the reference libraries come in; the same bytes must come out, at every split and within the bounds.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

use super::*;

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn raw_deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn br(body: &[u8]) -> Vec<u8> {
    let mut coded = Vec::new();
    ::brotli::CompressorWriter::new(&mut coded, 4096, 5, 20).write_all(body).unwrap();
    coded
}

fn zstd(body: &[u8]) -> Vec<u8> {
    ::zstd::stream::encode_all(body, 3).unwrap()
}

/// A gzip member with every optional part of the header.
fn gzip_with_all_parts(body: &[u8]) -> Vec<u8> {
    let mut coded = vec![0x1f, 0x8b, 8, 2 | 4 | 8 | 16, 0, 0, 0, 0, 0, 255];
    coded.extend_from_slice(b"\x03\x00abc");
    coded.extend_from_slice(b"name\0comment\0\x12\x34");
    coded.extend_from_slice(&raw_deflate(body));
    let mut crc = flate2::Crc::new();
    crc.update(body);
    coded.extend_from_slice(&crc.sum().to_le_bytes());
    coded.extend_from_slice(&crc.amount().to_le_bytes());
    coded
}

fn decode(coding: &[u8], parts: &[&[u8]]) -> Result<Vec<u8>, CodingError> {
    let mut decoder = Decoder::new(coding, &Config::default())?;
    let mut decoded = Vec::new();
    for part in parts {
        decoder.push(part, &mut |bytes| decoded.extend_from_slice(bytes))?;
    }
    decoder.finish().map(|()| decoded)
}

fn body() -> Vec<u8> {
    (0..400)
        .flat_map(|n: u32| {
            format!("{{\"token\":{}}}\n", n.wrapping_mul(2_654_435_761)).into_bytes()
        })
        .collect()
}

fn coded_bodies() -> Vec<(&'static [u8], Vec<u8>)> {
    let body = body();
    let (head, tail) = body.split_at(1000);
    vec![
        (b"", body.clone()),
        (b"identity", body.clone()),
        (b"None", body.clone()),
        (b"gzip", gzip(&body)),
        (b"X-GZip", gzip_with_all_parts(&body)),
        (b"gzip", [gzip(head), gzip(tail)].concat()),
        (b"gzip", [gzip(&body), vec![0; 32]].concat()),
        (b"deflate", zlib(&body)),
        (b"deflate", raw_deflate(&body)),
        (b"br", br(&body)),
        (b"zstd", zstd(&body)),
        (b"zstd", [zstd(head), zstd(tail)].concat()),
        (b"gzip, br", br(&gzip(&body))),
        (b"deflate,identity, zstd", zstd(&zlib(&body))),
    ]
}

#[test]
fn every_coding_decodes_whole_split_anywhere_and_byte_by_byte() {
    for (coding, coded) in coded_bodies() {
        let name = coding.escape_ascii().to_string();
        assert_eq!(decode(coding, &[&coded]).as_deref(), Ok(&*body()), "{name}");
        let bytes: Vec<&[u8]> = coded.chunks(1).collect();
        assert_eq!(decode(coding, &bytes).as_deref(), Ok(&*body()), "{name} by bytes");
        for at in (0..coded.len()).step_by(13) {
            let (head, tail) = coded.split_at(at);
            assert_eq!(
                decode(coding, &[head, tail]).as_deref(),
                Ok(&*body()),
                "{name} split at {at}"
            );
        }
    }
}

#[test]
fn flushed_bytes_come_out_at_once() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut decoder = Decoder::new(b"gzip", &Config::default()).unwrap();
    for n in 0..50 {
        let event = format!("data: {{\"n\":{n}}}\n\n");
        encoder.write_all(event.as_bytes()).unwrap();
        encoder.flush().unwrap();
        let coded = std::mem::take(encoder.get_mut());
        let mut decoded = Vec::new();
        decoder.push(&coded, &mut |bytes| decoded.extend_from_slice(bytes)).unwrap();
        assert_eq!(decoded, event.as_bytes());
    }
}

#[test]
fn flushed_brotli_and_zstd_come_out_at_once() {
    let mut br = ::brotli::CompressorWriter::new(Vec::new(), 4096, 5, 20);
    let mut zstd = ::zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    let mut from_br = Decoder::new(b"br", &Config::default()).unwrap();
    let mut from_zstd = Decoder::new(b"zstd", &Config::default()).unwrap();
    for n in 0..20 {
        let event = format!("event: delta\ndata: {n}\n\n").into_bytes();
        br.write_all(&event).unwrap();
        br.flush().unwrap();
        zstd.write_all(&event).unwrap();
        zstd.flush().unwrap();
        let coded = [std::mem::take(br.get_mut()), std::mem::take(zstd.get_mut())];
        for (decoder, coded) in [&mut from_br, &mut from_zstd].into_iter().zip(coded) {
            let mut decoded = Vec::new();
            decoder.push(&coded, &mut |bytes| decoded.extend_from_slice(bytes)).unwrap();
            assert_eq!(decoded, event);
        }
    }
}

#[test]
fn bombs_are_stopped_by_ratio_and_by_size() {
    let zeros = vec![0; 32 * 1024 * 1024];
    for (coding, bomb) in
        [(&b"gzip"[..], gzip(&zeros)), (b"br", br(&zeros)), (b"zstd", zstd(&zeros))]
    {
        assert_eq!(decode(coding, &[&bomb]), Err(CodingError::Ratio));
    }
    assert_eq!(decode(b"gzip, gzip", &[&gzip(&gzip(&zeros))]), Err(CodingError::Ratio));
    let config = Config { decoded_bytes_max: 1000, ..Config::default() };
    let mut decoder = Decoder::new(b"gzip", &config).unwrap();
    let mut decoded = 0;
    assert_eq!(
        decoder.push(&gzip(&zeros), &mut |bytes| decoded += bytes.len()),
        Err(CodingError::TooLong)
    );
    assert_eq!(decoded, 0);
    assert_eq!(decoder.push(b"", &mut |_| ()), Err(CodingError::TooLong));
}

#[test]
fn too_large_windows_are_refused() {
    let mut encoder = ::zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&body()).unwrap();
    assert_eq!(decode(b"zstd", &[&encoder.finish().unwrap()]), Err(CodingError::Broken));
    // The bits that announce a "large window" of brotli.
    assert_eq!(decode(b"br", &[&[0x11, 0x1e, 0, 0, 0, 0, 0]]), Err(CodingError::Broken));
}

#[test]
fn broken_bodies_are_refused() {
    let mut wrong_crc = gzip(&body());
    let at = wrong_crc.len() - 5;
    wrong_crc[at] ^= 1;
    let cases: [(&[u8], &[u8], CodingError); 8] = [
        (b"gzip", b"{\"plain\":true}", CodingError::Broken),
        (b"gzip", &wrong_crc, CodingError::Broken),
        (b"gzip", &gzip(&body())[..200], CodingError::Truncated),
        (b"br", &br(&body())[..200], CodingError::Truncated),
        (b"zstd", &zstd(&body())[..200], CodingError::Truncated),
        (b"zstd", b"{\"plain\":true}", CodingError::Broken),
        (b"compress", b"x", CodingError::Unknown),
        (b"gzip,gzip,gzip,gzip", b"x", CodingError::TooMany),
    ];
    for (coding, coded, expected) in cases {
        assert_eq!(decode(coding, &[coded]), Err(expected), "{}", coding.escape_ascii());
    }
}

#[test]
fn a_body_of_no_bytes_is_complete() {
    assert_eq!(decode(b"gzip", &[]), Ok(Vec::new()));
}
