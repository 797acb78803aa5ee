//! A message in network order comes in; its fields go out one by one, and nothing is read beyond its end.

/// Reads a message from its start to its end.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    /// A reader of `message`.
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `length` bytes; `None` where there are fewer, and then nothing is read.
    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    /// The next byte.
    pub fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// The next number of `length` bytes, eight at most.
    pub fn number(&mut self, length: usize) -> Option<u64> {
        let bytes = self.take(length.min(8))?;
        Some(bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }

    /// The next 16-bit number.
    pub fn half(&mut self) -> Option<u16> {
        u16::try_from(self.number(2)?).ok()
    }

    /// What stands behind a length of `width` bytes.
    pub fn prefixed(&mut self, width: usize) -> Option<&'a [u8]> {
        let before = self.rest;
        let length = self.number(width).and_then(|length| usize::try_from(length).ok())?;
        let taken = self.take(length);
        if taken.is_none() {
            self.rest = before;
        }
        taken
    }

    /// The next variable-length integer (RFC 9000, 16).
    pub fn varint(&mut self) -> Option<u64> {
        let first = *self.rest.first()?;
        let length = 1_usize << (first >> 6);
        let number = self.number(length)?;
        let bits = u32::try_from(length).ok()?.saturating_mul(8).saturating_sub(2);
        Some(number & (u64::MAX >> 64_u32.saturating_sub(bits)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_beyond_the_end() {
        let mut bytes = Bytes::new(&[2, 7, 9, 5, 1]);
        assert_eq!(bytes.prefixed(1), Some(&[7, 9][..]));
        assert_eq!(bytes.prefixed(1), None);
        assert_eq!(bytes.rest(), &[5, 1]);
        assert_eq!((bytes.half(), bytes.byte(), bytes.is_empty()), (Some(0x0501), None, true));
    }

    #[test]
    fn variable_length_integers_are_those_of_the_standard() {
        // RFC 9000, A.1.
        const CASES: [(&[u8], u64); 4] = [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ];
        for (bytes, number) in CASES {
            assert_eq!(Bytes::new(bytes).varint(), Some(number), "{bytes:x?}");
        }
        assert_eq!(Bytes::new(&[0x40]).varint(), None);
    }
}
