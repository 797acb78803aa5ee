//! A Huffman-coded string comes in; its octets go out (RFC 7541, 5.2 and appendix B).

use crate::http::http2::hpack::Error;

/// The codes of one length: the code is canonical, so the first of them and their number say all.
struct Level {
    bits: u32,
    first: u32,
    count: u32,
    /// Where the octets of this level begin in `OCTETS`.
    offset: u32,
}

/// Makes a row of `LEVELS`.
const fn level(bits: u32, first: u32, count: u32, offset: u32) -> Level {
    Level { bits, first, count, offset }
}

/// RFC 7541, appendix B, by length. The last code of the last level is EOS, which has no octet.
const LEVELS: &[Level] = &[
    level(5, 0x0, 10, 0),
    level(6, 0x14, 26, 10),
    level(7, 0x5c, 32, 36),
    level(8, 0xf8, 6, 68),
    level(10, 0x3f8, 5, 74),
    level(11, 0x7fa, 3, 79),
    level(12, 0xffa, 2, 82),
    level(13, 0x1ff8, 6, 84),
    level(14, 0x3ffc, 2, 90),
    level(15, 0x7ffc, 3, 92),
    level(19, 0x0007_fff0, 3, 95),
    level(20, 0x000f_ffe6, 8, 98),
    level(21, 0x001f_ffdc, 13, 106),
    level(22, 0x003f_ffd2, 26, 119),
    level(23, 0x007f_ffd8, 29, 145),
    level(24, 0x00ff_ffea, 12, 174),
    level(25, 0x01ff_ffec, 4, 186),
    level(26, 0x03ff_ffe0, 15, 190),
    level(27, 0x07ff_ffde, 19, 205),
    level(28, 0x0fff_ffe2, 29, 224),
    level(30, 0x3fff_fffc, 4, 253),
];

/// The octets in the order of their codes.
#[rustfmt::skip]
const OCTETS: &[u8; 256] = &[
    48, 49, 50, 97, 99, 101, 105, 111, 115, 116, 32, 37, 45, 46, 47, 51, 52, 53, 54, 55,
    56, 57, 61, 65, 95, 98, 100, 102, 103, 104, 108, 109, 110, 112, 114, 117, 58, 66, 67, 68,
    69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 89,
    106, 107, 113, 118, 119, 120, 121, 122, 38, 42, 44, 59, 88, 90, 33, 34, 40, 41, 63, 39,
    43, 124, 35, 62, 0, 36, 64, 91, 93, 126, 94, 125, 60, 96, 123, 92, 195, 208, 128, 130,
    131, 162, 184, 194, 224, 226, 153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230, 129,
    132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190,
    196, 198, 228, 232, 233, 1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157,
    158, 165, 166, 168, 174, 175, 180, 182, 183, 188, 191, 197, 231, 239, 9, 142, 144, 145, 148, 159,
    171, 206, 215, 225, 236, 237, 199, 207, 234, 235, 192, 193, 200, 201, 202, 205, 210, 213, 218, 219,
    238, 240, 242, 243, 255, 203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250,
    251, 252, 253, 254, 2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20,
    21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 127, 220, 249, 10, 13, 22,
];

/// Appends the decoded string to `out`; it is at most 8/5 as long as `input`.
pub(super) fn decode(input: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let mut octets = input.iter();
    // The bits at hand, the next one highest; zeros stand below them.
    let (mut window, mut have) = (0_u64, 0_u32);
    loop {
        while have <= 56 {
            let Some(octet) = octets.next() else { break };
            window |= u64::from(*octet).checked_shl(56_u32.saturating_sub(have)).unwrap_or(0);
            have = have.saturating_add(8);
        }
        // Behind the last bit stand ones, as padding does.
        let padding = u32::MAX.checked_shr(have).unwrap_or(0);
        let ahead = u32::try_from(window >> 32).unwrap_or(u32::MAX) | padding;
        if have < 8 && ahead == u32::MAX {
            return Ok(());
        }
        let (bits, index) = next(ahead).ok_or(Error::Huffman)?;
        // RFC 7541, 5.2: EOS within a string, padding of 8 bits or more, and padding of zeros are errors.
        let octet = OCTETS.get(index).filter(|_| bits <= have).ok_or(Error::Huffman)?;
        out.push(*octet);
        window = window.checked_shl(bits).unwrap_or(0);
        have = have.saturating_sub(bits);
    }
}

/// Length and number of the code at the top of `ahead`.
fn next(ahead: u32) -> Option<(u32, usize)> {
    for level in LEVELS {
        let code = ahead.checked_shr(32_u32.saturating_sub(level.bits))?;
        // No code of this length is lower than the first: its beginning would be a shorter code.
        let within = code.checked_sub(level.first)?;
        if within < level.count {
            let index = usize::try_from(level.offset.saturating_add(within)).ok()?;
            return Some((level.bits, index));
        }
    }
    None
}

/// Appends the code of `input` to `out`, for the encoder of the tests.
#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "an overflow fails the test that has it")]
pub(in crate::http::http2) fn encode(input: &[u8], out: &mut Vec<u8>) {
    let (mut window, mut have) = (0_u64, 0_u32);
    for octet in input {
        let index =
            u32::try_from(OCTETS.iter().position(|listed| listed == octet).unwrap()).unwrap();
        let level = LEVELS.iter().rev().find(|level| level.offset <= index).unwrap();
        window = window << level.bits | u64::from(level.first + index - level.offset);
        have += level.bits;
        while have >= 8 {
            have -= 8;
            out.push(u8::try_from(window >> have & 0xff).unwrap());
        }
    }
    if have > 0 {
        out.push(u8::try_from((window << (8 - have) | 0xff >> have) & 0xff).unwrap());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(input: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        decode(input, &mut out).map(|()| out)
    }

    #[test]
    fn codes_fill_their_space_exactly() {
        let space: u64 =
            LEVELS.iter().map(|level| u64::from(level.count) << (32 - level.bits)).sum();
        assert_eq!(space, 1 << 32);
        for pair in LEVELS.windows(2) {
            let next = (pair[0].first + pair[0].count) << (pair[1].bits - pair[0].bits);
            assert_eq!((next, pair[0].offset + pair[0].count), (pair[1].first, pair[1].offset));
        }
    }

    #[test]
    fn every_octet_survives() {
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        let mut coded = Vec::new();
        encode(&all, &mut coded);
        assert_eq!(decoded(&coded), Ok(all));
    }

    type Outcome = Result<&'static [u8], Error>;

    /// Strings, and what their padding may and may not be.
    const CASES: &[(&[u8], Outcome)] = &[
        (&[], Ok(b"")),
        (&[0x07], Ok(b"0")),
        (&[0x00, 0x00, 0x00, 0x00, 0x00], Ok(b"00000000")),
        (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], Ok(b"no-cache")),
        // Padding of zeros.
        (&[0x00], Err(Error::Huffman)),
        (&[0x06], Err(Error::Huffman)),
        // Padding of eight bits and more.
        (&[0xff], Err(Error::Huffman)),
        (&[0x07, 0xff], Err(Error::Huffman)),
        (&[0x00, 0x00, 0x00, 0x00, 0x00, 0xff], Err(Error::Huffman)),
        // EOS within the string, with padding and with another code behind it.
        (&[0xff, 0xff, 0xff, 0xff], Err(Error::Huffman)),
        (&[0xff, 0xff, 0xff, 0xfc, 0x00, 0x7f], Err(Error::Huffman)),
        // A code that is cut off.
        (&[0xff, 0xa0], Err(Error::Huffman)),
    ];

    #[test]
    fn padding_is_exact() {
        for (input, expected) in CASES {
            assert_eq!(decoded(input).as_deref(), expected.as_ref().copied(), "{input:02x?}");
        }
    }
}
