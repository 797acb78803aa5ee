//! The text of a key file comes in; the 32 bytes under which all fingerprints of a fleet are made go out, and back.

use std::fmt;

use zeroize::Zeroize;

use crate::credential::Error;
use crate::redact::Redacted;

/// Bytes of the key: the block that HMAC-SHA-256 yields, so that no strength is lost.
const KEY_BYTES: usize = 32;

/// The key of the fleet; never printed, wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct FleetKey([u8; KEY_BYTES]);

impl FleetKey {
    /// Takes random bytes.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Reads a key file: 64 hex digits on a line of their own; blank lines and `#` comments are skipped.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut lines =
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let line = lines.next().ok_or(Error::Empty)?;
        if lines.next().is_some() {
            return Err(Error::Several);
        }
        if let Some(index) = line.chars().position(|character| !character.is_ascii_hexdigit()) {
            return Err(Error::NotHex { position: index.saturating_add(1) });
        }
        let mut key = Self([0; KEY_BYTES]);
        let pairs = line.as_bytes().chunks_exact(2);
        if pairs.len() != KEY_BYTES || !pairs.remainder().is_empty() {
            return Err(Error::Length { found: line.len() });
        }
        for (byte, pair) in key.0.iter_mut().zip(pairs) {
            *byte = pair.iter().fold(0, |value, digit| (value << 4) | nibble(*digit));
        }
        let first = key.0.first();
        if key.0.iter().all(|byte| Some(byte) == first) {
            return Err(Error::Weak);
        }
        Ok(key)
    }

    /// Writes the key file.
    pub fn to_text(&self) -> Redacted {
        let mut text = hex(&self.0).into_bytes();
        text.push(b'\n');
        Redacted::new(text)
    }

    /// The bytes, for whoever computes fingerprints.
    pub(crate) fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for FleetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FleetKey(…)")
    }
}

impl Drop for FleetKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

fn nibble(digit: u8) -> u8 {
    let letter = digit.to_ascii_lowercase().saturating_sub(b'a').saturating_add(10);
    if digit.is_ascii_digit() { digit.saturating_sub(b'0') } else { letter }
}

/// Writes bytes as small hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "000102030405060708090A0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn key_file_is_read_and_written() {
        let key = FleetKey::parse(&format!("# fleet key\n\n  {TEXT} \r\n")).unwrap();
        let expected: Vec<u8> = (0..32).collect();
        assert_eq!(key.expose().as_slice(), expected);
        assert_eq!(key.to_text().expose(), format!("{}\n", TEXT.to_lowercase()).as_bytes());
        assert_eq!(FleetKey::parse(std::str::from_utf8(key.to_text().expose()).unwrap()), Ok(key));
    }

    #[test]
    fn bad_key_files_say_why() {
        let cases = [
            (String::new(), Error::Empty),
            ("# only a comment\n".to_owned(), Error::Empty),
            (format!("{TEXT}\n{TEXT}\n"), Error::Several),
            (TEXT.chars().take(63).collect(), Error::Length { found: 63 }),
            (format!("{TEXT}00"), Error::Length { found: 66 }),
            (TEXT.replace('A', "ä"), Error::NotHex { position: 22 }),
            ("00".repeat(32), Error::Weak),
        ];
        for (text, error) in cases {
            assert_eq!(FleetKey::parse(&text), Err(error));
        }
    }

    #[test]
    fn debug_shows_nothing_of_the_key() {
        assert_eq!(format!("{:?}", FleetKey::parse(TEXT).unwrap()), "FleetKey(…)");
    }
}
