//! The first bytes of something come in; whether they begin an HTTP/1 message or an HTTP/2 connection goes out.

use memchr::memchr;

/// Bytes of the longest start line (RFC 9112, 3: 8000 at least are to be supported).
const START_LINE_BYTES_MAX: usize = 16 * 1024;
/// Letters of the shortest and the longest method registered (`GET`, `BASELINE-CONTROL`), with some room.
const METHOD_LETTERS: std::ops::RangeInclusive<usize> = 3..=20;
/// RFC 9113, 3.4: what a client sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// RFC 9113, 4.1: length (3), type, flags, stream identifier (4).
const FRAME_HEADER_BYTES: usize = 9;
/// RFC 9113, 6.5.2: the largest frame before the peer allows larger ones, which nobody at hand does.
const FRAME_BYTES_MAX: usize = 16_384;
/// The longest frame behind another one: the setting that allows it may have been missed, and Go's servers allow this.
const FRAME_BYTES_UNANNOUNCED_MAX: usize = 1 << 20;

/// What the bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// It is one.
    Yes,
    /// More bytes are needed.
    Maybe,
    /// It is none.
    No,
}

impl Shape {
    fn is(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// Whether the bytes begin with a whole request line of HTTP/1.
pub(super) fn request_line(bytes: &[u8]) -> Shape {
    let letters =
        bytes.iter().take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-').count();
    match bytes.get(letters) {
        _ if letters > *METHOD_LETTERS.end() => return Shape::No,
        None => return Shape::Maybe,
        Some(b' ') if METHOD_LETTERS.contains(&letters) => {}
        Some(_) => return Shape::No,
    }
    let Some(end) = memchr(b'\n', bytes) else {
        return if bytes.len() > START_LINE_BYTES_MAX { Shape::No } else { Shape::Maybe };
    };
    let line = bytes.get(..end).unwrap_or_default().trim_ascii_end();
    let without_digit = line.split_last().map_or(line, |(_, rest)| rest);
    Shape::is(without_digit.ends_with(b" HTTP/1.") && line.ends_with(b"0") | line.ends_with(b"1"))
}

/// Whether the bytes begin with a status line of HTTP/1, as far as the status code.
pub(super) fn status_line(bytes: &[u8]) -> Shape {
    // `v` stands for the minor version, `d` for a digit, `~` for what may end the code.
    const FORM: &[u8] = b"HTTP/1.v ddd~";
    let fits = |(byte, form): (&u8, &u8)| match form {
        b'v' => matches!(byte, b'0' | b'1'),
        b'd' => byte.is_ascii_digit(),
        // The reason phrase may be missing, and the blank before it.
        b'~' => matches!(byte, b' ' | b'\r' | b'\n'),
        _ => byte == form,
    };
    match bytes.iter().zip(FORM).all(fits) {
        true if bytes.len() < FORM.len() => Shape::Maybe,
        all => Shape::is(all),
    }
}

/// Whether the bytes begin with HTTP/2's client preface.
pub(super) fn preface(bytes: &[u8]) -> Shape {
    if bytes.len() < PREFACE.len() && PREFACE.starts_with(bytes) {
        return Shape::Maybe;
    }
    Shape::is(bytes.starts_with(PREFACE))
}

/// Whether the bytes are HTTP/2 frames in a row, as far as they go; `first_type` names the first one where known.
pub(super) fn frames(bytes: &[u8], first_type: Option<u8>) -> Shape {
    let mut rest = bytes;
    let mut seen = false;
    while !rest.is_empty() {
        let Some((header, behind)) = rest.split_first_chunk::<FRAME_HEADER_BYTES>() else {
            // The end of a piece may cut a header; a whole one before it is proof enough.
            let may_be = rest.first() == Some(&0);
            return if seen {
                Shape::Yes
            } else if may_be {
                Shape::Maybe
            } else {
                Shape::No
            };
        };
        let [high, middle, low, kind, flags, stream @ ..] = *header;
        let length =
            usize::try_from(u32::from_be_bytes([0, high, middle, low])).unwrap_or(usize::MAX);
        let first_fits = seen || first_type.is_none_or(|first| first == kind);
        let length_max = if seen { FRAME_BYTES_UNANNOUNCED_MAX } else { FRAME_BYTES_MAX };
        let fits = first_fits && length <= length_max;
        if !fits || !is_frame(length, kind, flags, u32::from_be_bytes(stream)) {
            return Shape::No;
        }
        seen = true;
        rest = behind.get(length..).unwrap_or_default();
    }
    if seen { Shape::Yes } else { Shape::Maybe }
}

/// RFC 9113, 6: which lengths, flags and stream identifiers a type of frame allows.
fn is_frame(length: usize, kind: u8, flags: u8, stream: u32) -> bool {
    let on_stream = stream > 0;
    let fits = match kind {
        0 => on_stream && flags & !0x09 == 0,
        1 => on_stream && flags & !0x2d == 0 && length > 0,
        2 => on_stream && flags == 0 && length == 5,
        3 => on_stream && flags == 0 && length == 4,
        4 => {
            !on_stream
                && flags & !0x01 == 0
                && length.is_multiple_of(6)
                && (flags == 0 || length == 0)
        }
        5 => on_stream && flags & !0x0c == 0 && length >= 4,
        6 => !on_stream && flags & !0x01 == 0 && length == 8,
        7 => !on_stream && flags == 0 && length >= 8,
        8 => flags == 0 && length == 4,
        9 => on_stream && flags & !0x04 == 0,
        _ => false,
    };
    fits && stream >> 31 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUESTS: &[(&[u8], Shape)] = &[
        (b"GET / HTTP/1.1\r\n", Shape::Yes),
        (b"PATCH /a?b=c%20d HTTP/1.0\nHost", Shape::Yes),
        (b"VERSION-CONTROL / HTTP/1.1\r\n", Shape::Yes),
        (b"POST /v1/mess", Shape::Maybe),
        (b"P", Shape::Maybe),
        (b"", Shape::Maybe),
        (b"GET key\r\n", Shape::No),
        (b"PRI * HTTP/2.0\r\n", Shape::No),
        (b"GO / HTTP/1.1\r\n", Shape::No),
        (b"get / HTTP/1.1\r\n", Shape::No),
        (b"{\"a\":1}", Shape::No),
        (b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", Shape::No),
    ];

    const STATUSES: &[(&[u8], Shape)] = &[
        (b"HTTP/1.1 200 OK\r\n", Shape::Yes),
        (b"HTTP/1.0 404 ", Shape::Yes),
        (b"HTTP/1.1 204\r\n", Shape::Yes),
        (b"HTTP/1.1 200", Shape::Maybe),
        (b"HTT", Shape::Maybe),
        (b"HTTP/2 200", Shape::No),
        (b"HTTP/1.1\r\n", Shape::No),
        (b"HTTP/1.1 2x0 ", Shape::No),
        (b"\nHTTP/1.1 200 OK", Shape::No),
    ];

    const FRAMES: &[(&[u8], Shape)] = &[
        (&[0, 0, 0, 4, 1, 0, 0, 0, 0], Shape::Yes),
        (&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100, 0, 0, 4, 8], Shape::Yes),
        (&[0, 0x10, 0, 0, 0, 0, 0, 0, 1, b'{'], Shape::Yes),
        (&[0, 0, 1, 1, 4, 0, 0, 0, 1, 0x82, 1, 0, 0, 0, 1, 0, 0, 0, 1, b'{'], Shape::Yes),
        (&[0, 0, 1, 1, 4, 0, 0, 0, 1, 0x82, 0x10, 0, 1, 0, 1, 0, 0, 0, 1, b'{'], Shape::No),
        (&[1, 0, 0, 0, 1, 0, 0, 0, 1, b'{'], Shape::No),
        (&[0, 0, 8, 6], Shape::Maybe),
        (&[0, 0, 8, 6, 0, 0, 0, 0, 1], Shape::No),
        (&[0, 0, 0, 4, 1, 0, 0, 0, 0, b'G', b'E', b'T', b' ', b'/', 0, 0, 0, 0], Shape::No),
        (b"{\"choices\":[]}", Shape::No),
        (b"{}", Shape::No),
    ];

    #[test]
    fn start_lines_and_frames_are_told_apart() {
        for (bytes, shape) in REQUESTS {
            assert_eq!(request_line(bytes), *shape, "{}", bytes.escape_ascii());
        }
        for (bytes, shape) in STATUSES {
            assert_eq!(status_line(bytes), *shape, "{}", bytes.escape_ascii());
        }
        for (bytes, shape) in FRAMES {
            assert_eq!(frames(bytes, None), *shape, "{}", bytes.escape_ascii());
        }
        assert_eq!(frames(&[0, 0, 4, 8, 0, 0, 0, 0, 0], Some(4)), Shape::No);
        assert_eq!(preface(&PREFACE[..10]), Shape::Maybe);
        assert_eq!(preface(PREFACE), Shape::Yes);
        assert_eq!(preface(b"POST / HTTP/1.1\r\n"), Shape::No);
    }
}
