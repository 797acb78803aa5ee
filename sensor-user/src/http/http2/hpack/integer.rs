//! The front of a header block comes in; the integer that stands there goes out (RFC 7541, 5.1).

use crate::http::http2::hpack::Error;

/// Octets behind the prefix; five carry 35 bits, more than any index or length needs.
const OCTETS_MAX: u32 = 5;

/// Takes an integer whose first octet lends it the low `prefix_bits` (1 to 8).
pub(super) fn take(input: &mut &[u8], prefix_bits: u32) -> Result<usize, Error> {
    let (first, mut rest) = input.split_first().ok_or(Error::Truncated)?;
    let mask = u8::MAX.checked_shr(8_u32.saturating_sub(prefix_bits)).unwrap_or(0);
    let prefix = first & mask;
    let mut value = u64::from(prefix);
    if prefix == mask {
        let mut shift = 0_u32;
        loop {
            let (octet, tail) = rest.split_first().ok_or(Error::Truncated)?;
            rest = tail;
            let part = u64::from(octet & 0x7f).checked_shl(shift).ok_or(Error::Integer)?;
            value = value.saturating_add(part);
            if octet & 0x80 == 0 {
                break;
            }
            shift = shift.saturating_add(7);
            if shift >= OCTETS_MAX.saturating_mul(7) {
                return Err(Error::Integer);
            }
        }
    }
    *input = rest;
    let value = u32::try_from(value).map_err(|_over| Error::Integer)?;
    usize::try_from(value).map_err(|_over| Error::Integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Octets, bits of the prefix, value: the first three are RFC 7541, C.1.
    const CASES: &[(&[u8], u32, Result<usize, Error>)] = &[
        (&[0xea], 5, Ok(10)),
        (&[0xff, 0x9a, 0x0a], 5, Ok(1337)),
        (&[0x2a], 8, Ok(42)),
        (&[0x1f, 0x00], 5, Ok(31)),
        (&[0x7f, 0x80, 0x80, 0x00], 7, Ok(127)),
        (&[0x0f, 0xf0, 0xff, 0xff, 0xff, 0x0f], 4, Ok(0xffff_ffff)),
        (&[0x0f, 0xff, 0xff, 0xff, 0xff, 0x0f], 4, Err(Error::Integer)),
        (&[0x0f, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00], 4, Err(Error::Integer)),
        (&[0x0f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00], 4, Err(Error::Integer)),
        (&[0x0f, 0x80], 4, Err(Error::Truncated)),
        (&[], 4, Err(Error::Truncated)),
    ];

    #[test]
    fn integers_are_read_and_bounded() {
        for (octets, prefix_bits, expected) in CASES {
            let mut input = *octets;
            assert_eq!(take(&mut input, *prefix_bits), *expected, "{octets:02x?}");
            assert!(expected.is_err() || input.is_empty(), "{octets:02x?}");
        }
    }
}
