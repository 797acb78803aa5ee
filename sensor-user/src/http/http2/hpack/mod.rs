//! Header blocks of one direction come in, in order; their fields go out, each under its own name or under none.
//!
//! RFC 7541, seen from the side: blocks may be missing, and then indices may point to what was never seen.

use std::collections::VecDeque;

use bytes::Bytes;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

pub(super) mod huffman;
mod integer;
mod static_table;
mod table;

use table::{Found, Table};

/// RFC 9113, 6.5.2: size of the dynamic table before any setting, in bytes.
const TABLE_BYTES_INITIAL: usize = 4096;
/// Settings that wait for their acknowledgement; a peer that sends more without waiting is not followed.
const OFFERS_MAX: usize = 16;

/// Why a header block cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// The block ends within a field.
    #[error("header block ends within a field")]
    Truncated,
    /// An integer is too long or too large.
    #[error("integer of a header block is over its bound")]
    Integer,
    /// A string breaks the Huffman code.
    #[error("huffman code of a header block is broken")]
    Huffman,
    /// An index points to nothing.
    #[error("index of a header block points to nothing")]
    Index,
    /// A change of the table's size does not stand at the beginning.
    #[error("table size changes within a header block")]
    LateResize,
}

/// Takes each field: its name where it is known, and its value, empty where that is not.
pub type Output<'a> = dyn FnMut(Option<&Bytes>, &[u8]) + 'a;

/// Decoder of one direction.
pub struct Decoder {
    table: Table,
    /// Table sizes of the peer's settings that the encoder has not acknowledged yet, oldest first.
    offers: VecDeque<Option<usize>>,
    /// Whether none of the peer's settings was missed, so that the oldest offer is the one acknowledged.
    sure: bool,
    /// Where Huffman-coded strings are decoded to; kept so that fields cost no allocation.
    name: Zeroizing<Vec<u8>>,
    value: Zeroizing<Vec<u8>>,
}

impl Decoder {
    /// Makes a decoder that sees a connection from its start, and keeps `bytes_max` bytes of table.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            table: Table::new(TABLE_BYTES_INITIAL, bytes_max),
            offers: VecDeque::new(),
            sure: true,
            name: Zeroizing::default(),
            value: Zeroizing::default(),
        }
    }

    /// Table entries let go because of the bound.
    pub fn cut(&self) -> u64 {
        self.table.cut()
    }

    /// Forgets the table, because header blocks were not seen.
    pub fn forget(&mut self) {
        self.table.forget();
        self.doubt();
    }

    /// Notes that settings of the peer may not have been seen: which ones are acknowledged is not known any more.
    pub fn doubt(&mut self) {
        self.sure = false;
    }

    /// Begins anew, as at the start of a connection.
    pub fn restart(&mut self) {
        self.table.restart(TABLE_BYTES_INITIAL);
        self.sure = true;
    }

    /// Notes settings of the peer, which name a table size or leave it as it is.
    pub fn offer(&mut self, size: Option<usize>) {
        if self.offers.len() >= OFFERS_MAX {
            self.offers.pop_front();
            self.doubt();
        }
        self.offers.push_back(size);
    }

    /// Notes that the encoder has acknowledged the oldest settings.
    pub fn acknowledge(&mut self) {
        // RFC 7541, 4.2: a lower limit is in force from here on; a higher one only when a block says so.
        let size = self.offers.pop_front().flatten();
        // RFC 7541, 4.2: the encoder says a new size in its next block as well, so that nothing is lost by waiting.
        if let Some(size) = size.filter(|size| self.sure && *size < self.table.size()) {
            self.table.resize(size);
        }
    }

    /// Decodes one whole header block. After an error the table is unknown, as the fields already handed out are not.
    pub fn decode(&mut self, block: &[u8], out: &mut Output<'_>) -> Result<(), Error> {
        let outcome = self.fields(block, out);
        if outcome.is_err() {
            self.table.forget();
        }
        self.name.zeroize();
        self.value.zeroize();
        outcome
    }

    fn fields(&mut self, mut block: &[u8], out: &mut Output<'_>) -> Result<(), Error> {
        let mut begun = false;
        while let Some(first) = block.first().copied() {
            // RFC 7541, 6: the highest bit that is set says what it is.
            match first.leading_zeros() {
                0 => self.indexed(&mut block, out)?,
                1 => self.literal(&mut block, 6, out)?,
                2 if begun => return Err(Error::LateResize),
                2 => {
                    // RFC 7541, 6.3. Settings may have been missed, so their limit is not held against it.
                    let size = integer::take(&mut block, 5)?;
                    self.table.resize(size);
                    continue;
                }
                _ => self.literal(&mut block, 4, out)?,
            }
            begun = true;
        }
        Ok(())
    }

    /// RFC 7541, 6.1.
    fn indexed(&self, block: &mut &[u8], out: &mut Output<'_>) -> Result<(), Error> {
        let index = integer::take(block, 7)?;
        match self.table.get(index) {
            Found::Field(name, value) => out(name.as_ref(), value),
            Found::Unseen => out(None, &[]),
            Found::Nothing => return Err(Error::Index),
        }
        Ok(())
    }

    /// RFC 7541, 6.2: a prefix of 6 bits says that the field is to be inserted.
    fn literal(
        &mut self,
        block: &mut &[u8],
        prefix_bits: u32,
        out: &mut Output<'_>,
    ) -> Result<(), Error> {
        let index = integer::take(block, prefix_bits)?;
        let name = if index == 0 {
            let name = string(block)?.decoded(&mut self.name)?;
            Some(Bytes::from(name.to_ascii_lowercase()))
        } else {
            match self.table.get(index) {
                Found::Field(name, _) => name,
                Found::Unseen => None,
                Found::Nothing => return Err(Error::Index),
            }
        };
        let value = string(block)?.decoded(&mut self.value)?;
        out(name.as_ref(), value);
        if prefix_bits == 6 {
            self.table.insert(name, value);
        }
        Ok(())
    }
}

/// A string as it stands in a block (RFC 7541, 5.2).
enum Text<'a> {
    Plain(&'a [u8]),
    Huffman(&'a [u8]),
}

impl<'a> Text<'a> {
    /// The octets, which may need the place `decoded`.
    fn decoded(self, decoded: &'a mut Vec<u8>) -> Result<&'a [u8], Error> {
        match self {
            Self::Plain(octets) => Ok(octets),
            Self::Huffman(coded) => {
                decoded.clear();
                huffman::decode(coded, decoded)?;
                Ok(decoded)
            }
        }
    }
}

/// Takes a string off the front of the block.
fn string<'a>(block: &mut &'a [u8]) -> Result<Text<'a>, Error> {
    let coded = block.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer::take(block, 7)?;
    let (octets, rest) = block.split_at_checked(length).ok_or(Error::Truncated)?;
    *block = rest;
    Ok(if coded { Text::Huffman(octets) } else { Text::Plain(octets) })
}

#[cfg(test)]
mod tests;
