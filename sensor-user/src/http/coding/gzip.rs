//! Gzip members come in, one after the other; inflated bytes go out (RFC 1952).

use flate2::Crc;

use crate::http::coding::CodingError;
use crate::http::coding::deflate::Inflate;
use crate::http::coding::layer::Output;

/// RFC 1952, 2.3.1: `ID1 ID2 CM`.
const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
/// RFC 1952, 2.3.1: bits of `FLG` that announce a part of the header.
const HEADER_CRC: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;
/// Bits of `FLG` that must be zero.
const RESERVED: u8 = 0xe0;
/// Bytes of the fixed header.
const FIXED_BYTES: u8 = 10;
/// Bytes of the trailer: CRC-32 and length.
const TRAILER_BYTES: u8 = 8;

/// Where in a member the decoder stands.
///
/// ```text
/// Fixed -> ExtraLength -> Extra -> Name -> Comment -> HeaderCrc -> Data -> Trailer -> Fixed …
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Fixed,
    ExtraLength,
    Extra(u16),
    Name,
    Comment,
    HeaderCrc,
    Data,
    Trailer,
    /// What follows the last member is padding.
    Ignore,
}

/// The coding `gzip`, multi-member.
#[derive(Debug)]
pub(super) struct Gzip {
    state: State,
    /// Bytes seen of the part the state names.
    seen: u8,
    flags: u8,
    /// The two bytes of a length, or the eight of the trailer, shifted in from the left.
    word: u64,
    members: u64,
    inflate: Inflate,
    crc: Crc,
}

impl Default for Gzip {
    fn default() -> Self {
        Self {
            state: State::Fixed,
            seen: 0,
            flags: 0,
            word: 0,
            members: 0,
            inflate: Inflate::new(false),
            crc: Crc::new(),
        }
    }
}

impl Gzip {
    pub(super) fn is_complete(&self) -> bool {
        self.members > 0
            && (self.state == State::Ignore || self.state == State::Fixed && self.seen == 0)
    }

    pub(super) fn decode(
        &mut self,
        mut input: &[u8],
        out: &mut Output<'_>,
    ) -> Result<(), CodingError> {
        while !input.is_empty() && self.state != State::Ignore {
            if self.state == State::Data {
                input = self.data(input, out)?;
            } else if let Some((byte, rest)) = input.split_first() {
                input = rest;
                self.header_byte(*byte)?;
            }
        }
        Ok(())
    }

    /// Inflates the data of a member; returns what stands behind it.
    fn data<'a>(&mut self, input: &'a [u8], out: &mut Output<'_>) -> Result<&'a [u8], CodingError> {
        let crc = &mut self.crc;
        let rest = self.inflate.decode(input, &mut |decoded| {
            crc.update(decoded);
            out(decoded)
        })?;
        if self.inflate.is_complete() {
            self.enter(State::Trailer);
        }
        Ok(rest)
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.seen = 0;
        self.word = 0;
    }

    /// Takes one byte of a header or trailer.
    fn header_byte(&mut self, byte: u8) -> Result<(), CodingError> {
        let index = self.seen;
        self.seen = self.seen.saturating_add(1);
        match self.state {
            State::Fixed => return self.fixed_byte(index, byte),
            State::ExtraLength => {
                self.word = self.word >> 8 | u64::from(byte) << 8;
                match u16::try_from(self.word) {
                    _ if self.seen < 2 => {}
                    Ok(0) | Err(_) => self.after(EXTRA),
                    Ok(length) => self.enter(State::Extra(length)),
                }
            }
            State::Extra(left) => match left.saturating_sub(1) {
                0 => self.after(EXTRA),
                left => self.state = State::Extra(left),
            },
            State::Name if byte == 0 => self.after(NAME),
            State::Comment if byte == 0 => self.after(COMMENT),
            State::HeaderCrc if self.seen == 2 => self.after(HEADER_CRC),
            State::Trailer => {
                self.word = self.word >> 8 | u64::from(byte) << 56;
                if self.seen == TRAILER_BYTES {
                    return self.check();
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn fixed_byte(&mut self, index: u8, byte: u8) -> Result<(), CodingError> {
        let expected = MAGIC.get(usize::from(index));
        if expected.is_some_and(|expected| *expected != byte) {
            if self.members == 0 {
                return Err(CodingError::Broken);
            }
            // Padding behind the last member, zeros as a rule, is no member.
            self.enter(State::Ignore);
            return Ok(());
        }
        if index == 3 {
            self.flags = byte;
            if byte & RESERVED != 0 {
                return Err(CodingError::Broken);
            }
        }
        if self.seen == FIXED_BYTES {
            self.after(0);
        }
        Ok(())
    }

    /// Goes to the part of the header that follows the part `done`, or to the data.
    fn after(&mut self, done: u8) {
        let wanted =
            |part: u8, order: u8, done_order: u8| self.flags & part != 0 && order > done_order;
        let done_order = match done {
            EXTRA => 1,
            NAME => 2,
            COMMENT => 3,
            HEADER_CRC => 4,
            _ => 0,
        };
        let next = if wanted(EXTRA, 1, done_order) {
            State::ExtraLength
        } else if wanted(NAME, 2, done_order) {
            State::Name
        } else if wanted(COMMENT, 3, done_order) {
            State::Comment
        } else if wanted(HEADER_CRC, 4, done_order) {
            State::HeaderCrc
        } else {
            State::Data
        };
        self.enter(next);
    }

    /// Compares the trailer with what was inflated and makes ready for the next member.
    fn check(&mut self) -> Result<(), CodingError> {
        // RFC 1952, 2.3.1: CRC-32, then the length modulo 2^32, both little-endian; `amount` wraps likewise.
        let actual = u64::from(self.crc.amount()) << 32 | u64::from(self.crc.sum());
        if self.word != actual {
            return Err(CodingError::Broken);
        }
        self.members = self.members.saturating_add(1);
        self.inflate.restart();
        self.crc.reset();
        self.enter(State::Fixed);
        Ok(())
    }
}
