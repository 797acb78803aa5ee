//! The frames of Initial packets come in; the contiguous beginning of the CRYPTO stream goes out (RFC 9000, 12.4 and 19).

use std::collections::BTreeMap;

use super::Error;
use crate::destination::bytes::Bytes;
use crate::destination::client_hello::HELLO_MAX;

/// Pieces of the CRYPTO stream that wait for what lies before them; clients cut a hello into a few dozen.
const PIECES_MAX: usize = 256;
/// Ranges of an acknowledgement that are stepped over.
const RANGES_MAX: u64 = 1024;

const PADDING: u64 = 0;
const PING: u64 = 1;
const ACK: u64 = 2;
const ACK_ECN: u64 = 3;
const CRYPTO: u64 = 6;
const CONNECTION_CLOSE: u64 = 0x1c;

/// The CRYPTO stream of a connection, as far as it is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Crypto {
    contiguous: Vec<u8>,
    waiting: BTreeMap<usize, Vec<u8>>,
}

impl Crypto {
    /// The bytes from the beginning to the first gap.
    pub(super) fn contiguous(&self) -> &[u8] {
        &self.contiguous
    }

    /// Whether any piece has come.
    pub(super) fn is_begun(&self) -> bool {
        !self.contiguous.is_empty() || !self.waiting.is_empty()
    }

    /// Takes the frames of a packet.
    pub(super) fn take(&mut self, frames: &[u8]) -> Result<(), Error> {
        let mut bytes = Bytes::new(frames);
        while let Some(kind) = bytes.varint() {
            match kind {
                PADDING | PING => {}
                ACK | ACK_ECN => acknowledgement(&mut bytes, kind == ACK_ECN)?,
                CRYPTO => {
                    let offset = number(&mut bytes)?;
                    let length = number(&mut bytes)?;
                    let data = usize::try_from(length).ok().and_then(|length| bytes.take(length));
                    self.piece(offset, data.ok_or(Error::Frame)?);
                }
                CONNECTION_CLOSE => break,
                _ => return Err(Error::Frame),
            }
        }
        self.join();
        Ok(())
    }

    /// Keeps a piece; what lies beyond the longest hello is not of interest.
    fn piece(&mut self, offset: u64, data: &[u8]) {
        let Some(offset) = usize::try_from(offset).ok().filter(|offset| *offset < HELLO_MAX) else {
            return;
        };
        let room = HELLO_MAX.saturating_sub(offset);
        let data = data.get(..room).unwrap_or(data);
        if self.waiting.len() < PIECES_MAX
            && self.waiting.get(&offset).is_none_or(|known| known.len() < data.len())
        {
            self.waiting.insert(offset, data.to_vec());
        }
    }

    fn join(&mut self) {
        while let Some(entry) = self.waiting.first_entry() {
            let known = self.contiguous.len();
            let Some(into) = known.checked_sub(*entry.key()) else { return };
            let piece = entry.remove();
            self.contiguous.extend(piece.get(into..).unwrap_or_default());
        }
    }
}

fn number(bytes: &mut Bytes<'_>) -> Result<u64, Error> {
    bytes.varint().ok_or(Error::Frame)
}

fn acknowledgement(bytes: &mut Bytes<'_>, with_ecn: bool) -> Result<(), Error> {
    let (_largest, _delay) = (number(bytes)?, number(bytes)?);
    let ranges = number(bytes)?;
    let _first = number(bytes)?;
    if ranges > RANGES_MAX {
        return Err(Error::Frame);
    }
    for _ in 0..ranges {
        let (_gap, _length) = (number(bytes)?, number(bytes)?);
    }
    if with_ecn {
        let (_ect0, _ect1, _ce) = (number(bytes)?, number(bytes)?, number(bytes)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crypto(offset: u8, data: &[u8]) -> Vec<u8> {
        [&[6, offset, u8::try_from(data.len()).unwrap()][..], data].concat()
    }

    #[test]
    fn pieces_in_any_order_with_overlaps_make_the_stream() {
        let frames = [
            crypto(4, b"efgh"),
            vec![0, 0, 1],
            crypto(2, b"cdef"),
            vec![2, 0, 0, 0, 0],
            crypto(0, b"abc"),
        ];
        let mut stream = Crypto::default();
        for frame in &frames {
            stream.take(frame).unwrap();
        }
        assert_eq!(stream.contiguous(), b"abcdefgh");
    }

    #[test]
    fn frame_that_is_cut_or_foreign_is_refused() {
        for frame in [&[6, 0, 9, 1][..], &[2, 0], &[8, 1, 2], &[2, 0, 0, 0x7f, 0xff, 0]] {
            assert_eq!(Crypto::default().take(frame), Err(Error::Frame), "{frame:x?}");
        }
    }

    #[test]
    fn stream_is_bounded() {
        let mut stream = Crypto::default();
        stream.piece(u64::MAX, b"x");
        stream.piece(u64::try_from(HELLO_MAX).unwrap() - 1, b"xyz");
        for offset in 1..2000 {
            stream.piece(offset, b"z");
        }
        assert!(stream.waiting.len() <= PIECES_MAX);
        assert_eq!(stream.waiting.last_key_value().map(|(_, data)| data.len()), Some(1));
    }
}
