//! An upgraded connection comes in; whole text messages (RFC 6455), compressed where that was agreed on (RFC 7692), go out.

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What a server adds to a client's key (RFC 6455, 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Bytes of one message; those of real clients are a hundredth.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// What ends each flush, and is left out of a message (RFC 7692, 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// Bytes by which room for compressed and plain text grows.
const ROOM: usize = 64 * 1024;

const CONTINUED: u8 = 0;
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FIN: u8 = 0x80;
const COMPRESSED: u8 = 0x40;

/// The answer to a client's `Sec-WebSocket-Key`.
pub fn accept(key: &str) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes()))
}

/// The server's end of a `WebSocket`.
#[derive(Debug)]
pub struct Socket<T> {
    io: T,
    deflate: Option<(Decompress, Compress)>,
    piece: usize,
}

/// One frame of the client, unmasked.
struct Frame {
    first: u8,
    payload: Vec<u8>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Socket<T> {
    /// Wraps a connection behind its handshake; `piece` bounds the bytes of a frame, so that messages are cut.
    pub fn new(io: T, deflate: bool, piece: Option<usize>) -> Self {
        let deflate =
            deflate.then(|| (Decompress::new(false), Compress::new(Compression::default(), false)));
        Self { io, deflate, piece: piece.unwrap_or(usize::MAX) }
    }

    /// Returns the next whole message; `None` once the client has closed.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let (mut message, mut compressed, mut whole) = (Vec::new(), false, false);
        while !whole {
            let frame = self.frame().await?;
            match frame.first & 0xf {
                PING => self.frame_out(FIN | PONG, &frame.payload).await?,
                PONG => {}
                CLOSE => {
                    self.frame_out(FIN | CLOSE, &frame.payload).await?;
                    return Ok(None);
                }
                TEXT | CONTINUED => {
                    compressed |= frame.first & COMPRESSED != 0;
                    message.extend_from_slice(&frame.payload);
                    ensure!(message.len() <= MESSAGE_BYTES_MAX, "a message is too long");
                    whole = frame.first & FIN != 0;
                }
                other => bail!("a frame of kind {other}"),
            }
        }
        if compressed {
            let (inflate, _) = self.deflate.as_mut().context("compression was not agreed on")?;
            message.extend_from_slice(&TAIL);
            message = inflated(inflate, &message)?;
        }
        Ok(Some(message))
    }

    async fn frame(&mut self) -> Result<Frame> {
        let first = self.io.read_u8().await?;
        let second = self.io.read_u8().await?;
        ensure!(second & 0x80 != 0, "a client's frame is not masked");
        let length = match second & 0x7f {
            126 => u64::from(self.io.read_u16().await?),
            127 => self.io.read_u64().await?,
            short => u64::from(short),
        };
        let length = usize::try_from(length)?;
        ensure!(length <= MESSAGE_BYTES_MAX, "a frame is too long");
        let mut mask = [0; 4];
        self.io.read_exact(&mut mask).await?;
        let mut payload = vec![0; length];
        self.io.read_exact(&mut payload).await?;
        payload.iter_mut().zip(mask.into_iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        Ok(Frame { first, payload })
    }

    /// Sends one text message, in as many frames as its length asks for.
    pub async fn send(&mut self, text: &[u8]) -> Result<()> {
        let mut packed = None;
        if let Some((_, compress)) = self.deflate.as_mut() {
            packed = Some(deflated(compress, text)?);
        }
        let mut kind = TEXT | if packed.is_some() { COMPRESSED } else { 0 };
        let mut rest = packed.as_deref().unwrap_or(text);
        loop {
            let (now, later) = rest.split_at(rest.len().min(self.piece));
            let last = if later.is_empty() { FIN } else { 0 };
            self.frame_out(last | kind, now).await?;
            if later.is_empty() {
                return Ok(());
            }
            (kind, rest) = (CONTINUED, later);
        }
    }

    async fn frame_out(&mut self, first: u8, payload: &[u8]) -> Result<()> {
        let mut frame = vec![first];
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(short), _) if short < 126 => frame.push(short),
            (_, Ok(long)) => {
                frame.push(126);
                frame.extend_from_slice(&long.to_be_bytes());
            }
            _ => {
                frame.push(127);
                frame.extend_from_slice(&u64::try_from(payload.len())?.to_be_bytes());
            }
        }
        frame.extend_from_slice(payload);
        self.io.write_all(&frame).await?;
        self.io.flush().await.context("flushing a frame")
    }
}

fn inflated(inflate: &mut Decompress, packed: &[u8]) -> Result<Vec<u8>> {
    let (mut out, before) = (Vec::new(), inflate.total_in());
    loop {
        out.reserve(ROOM);
        let done = usize::try_from(inflate.total_in().saturating_sub(before))?;
        let rest = packed.get(done..).unwrap_or_default();
        let status = inflate.decompress_vec(rest, &mut out, FlushDecompress::Sync)?;
        ensure!(out.len() <= MESSAGE_BYTES_MAX, "a message is too long");
        let taken = usize::try_from(inflate.total_in().saturating_sub(before))?;
        if status == Status::StreamEnd || (taken == packed.len() && out.len() < out.capacity()) {
            return Ok(out);
        }
    }
}

fn deflated(compress: &mut Compress, text: &[u8]) -> Result<Vec<u8>> {
    let (mut out, before) = (Vec::new(), compress.total_in());
    loop {
        out.reserve(ROOM);
        let done = usize::try_from(compress.total_in().saturating_sub(before))?;
        let rest = text.get(done..).unwrap_or_default();
        compress.compress_vec(rest, &mut out, FlushCompress::Sync)?;
        let taken = usize::try_from(compress.total_in().saturating_sub(before))?;
        if taken == text.len() && out.len() < out.capacity() {
            break;
        }
    }
    ensure!(out.ends_with(&TAIL), "a flush without its end");
    out.truncate(out.len().saturating_sub(TAIL.len()));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_answered_as_the_standard_shows() {
        // RFC 6455, 1.3.
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn message_is_compressed_as_the_standard_shows() {
        // RFC 7692, 7.2.3.1 and 7.2.3.2: the second message refers to the first.
        let mut compress = Compress::new(Compression::default(), false);
        let first = deflated(&mut compress, b"Hello").unwrap();
        assert_eq!(first, [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
        let mut inflate = Decompress::new(false);
        for packed in [first, vec![0xf2, 0x00, 0x11, 0x00, 0x00]] {
            let packed = [packed.as_slice(), &TAIL].concat();
            assert_eq!(inflated(&mut inflate, &packed).unwrap(), b"Hello");
        }
        let long = vec![b'x'; 3 * ROOM];
        let packed = [deflated(&mut compress, &long).unwrap().as_slice(), &TAIL].concat();
        let mut both = Decompress::new(false);
        let hello = [&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], TAIL.as_slice()].concat();
        assert_eq!(inflated(&mut both, &hello).unwrap(), b"Hello");
        assert_eq!(inflated(&mut both, &packed).unwrap(), long);
    }
}
