//! Pieces of what a socket sends, cut anywhere, come in; the ClientHello goes out once it is whole.
//!
//! ```text
//! pieces -> TLS records (RFC 8446, 5.1) -> handshake bytes -> ClientHello
//! ```

use super::ClientHello;
use super::Error;
use super::HELLO_MAX;

/// Bytes of a record's head.
const HEAD_LEN: usize = 5;
/// Content type of handshake records.
const HANDSHAKE: u8 = 22;
/// Longest record (RFC 8446, 5.1).
const RECORD_MAX: usize = 16 * 1024;
/// Records without a byte of content that are put up with before the bytes count as malformed.
const EMPTY_RECORDS_MAX: u8 = 4;

/// Where the assembly stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed.
    Incomplete,
    /// The ClientHello is whole.
    Hello(Box<ClientHello>),
}

/// Puts a ClientHello together that was split over writes, packets and records.
#[derive(Clone, Debug, Default)]
pub struct Assembler {
    head: Vec<u8>,
    /// Bytes of the current record that are still to come.
    left: usize,
    message: Vec<u8>,
    empty: u8,
}

impl Assembler {
    /// Takes the next bytes; holds at most [`HELLO_MAX`] of them. After an error or a hello, the rest is not of interest.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<Progress, Error> {
        while !bytes.is_empty() {
            if self.left == 0 {
                bytes = self.take_head(bytes)?;
                continue;
            }
            let (part, rest) = bytes.split_at(self.left.min(bytes.len()));
            self.left = self.left.saturating_sub(part.len());
            bytes = rest;
            if self.message.len().saturating_add(part.len()) > HELLO_MAX.saturating_add(RECORD_MAX)
            {
                return Err(Error::TooLong);
            }
            self.message.extend_from_slice(part);
            if let Some(hello) = ClientHello::parse(&self.message)? {
                return Ok(Progress::Hello(Box::new(hello)));
            }
        }
        Ok(Progress::Incomplete)
    }

    /// Takes bytes of a record's head; what lies behind them goes back.
    fn take_head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Error> {
        let wanted = HEAD_LEN.saturating_sub(self.head.len());
        let (part, rest) = bytes.split_at(wanted.min(bytes.len()));
        self.head.extend_from_slice(part);
        if self.head.first().is_some_and(|kind| *kind != HANDSHAKE)
            || self.head.get(1).is_some_and(|major| *major != 3)
        {
            return Err(Error::NotTls);
        }
        let [_, _, _, high, low] = self.head.as_slice() else { return Ok(rest) };
        self.left = usize::from(u16::from_be_bytes([*high, *low]));
        self.head.clear();
        if self.left > RECORD_MAX {
            return Err(Error::NotTls);
        }
        if self.left == 0 {
            self.empty = self.empty.saturating_add(1);
        }
        if self.empty > EMPTY_RECORDS_MAX { Err(Error::NotTls) } else { Ok(rest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::client_hello::tests::{hello, record};

    fn whole(bytes: &[u8]) -> Box<ClientHello> {
        match Assembler::default().push(bytes).unwrap() {
            Progress::Hello(hello) => hello,
            Progress::Incomplete => panic!("incomplete"),
        }
    }

    #[test]
    fn hello_cut_at_every_byte_is_the_same() {
        let bytes = record(&hello("api.openai.com"));
        let expected = whole(&bytes);
        for cut in 0..bytes.len() {
            let mut assembler = Assembler::default();
            let (first, second) = bytes.split_at(cut);
            assert_eq!(assembler.push(first), Ok(Progress::Incomplete), "{cut}");
            assert_eq!(assembler.push(second), Ok(Progress::Hello(expected.clone())), "{cut}");
        }
        let mut assembler = Assembler::default();
        let progress: Vec<_> = bytes.iter().map(|byte| assembler.push(&[*byte]).unwrap()).collect();
        assert_eq!(progress.last(), Some(&Progress::Hello(expected)));
    }

    #[test]
    fn hello_in_several_records_is_the_same() {
        let message = hello("api.anthropic.com");
        let expected = whole(&record(&message));
        for cut in 1..message.len() {
            let (first, second) = message.split_at(cut);
            let bytes = [record(first), record(second)].concat();
            assert_eq!(whole(&bytes), expected, "{cut}");
        }
        let tiny: Vec<u8> = message.iter().flat_map(|byte| record(&[*byte])).collect();
        assert_eq!(whole(&tiny), expected);
    }

    #[test]
    fn other_bytes_are_told_at_once() {
        const CASES: [(&[u8], Error); 5] = [
            (b"GET / HTTP/1.1\r\n", Error::NotTls),
            (&[22, 2], Error::NotTls),
            (&[22, 3, 1, 0xff, 0xff], Error::NotTls),
            (&[22, 3, 1, 0, 1, 2], Error::NotAHello),
            (&[22, 3, 1, 0, 4, 1, 0xff, 0, 0], Error::TooLong),
        ];
        for (bytes, error) in CASES {
            assert_eq!(Assembler::default().push(bytes), Err(error), "{bytes:x?}");
        }
    }

    #[test]
    fn endless_empty_records_are_given_up() {
        let mut assembler = Assembler::default();
        let mut outcome = Ok(Progress::Incomplete);
        for _ in 0..=EMPTY_RECORDS_MAX {
            outcome = assembler.push(&[22, 3, 1, 0, 0]);
        }
        assert_eq!(outcome, Err(Error::NotTls));
    }
}
