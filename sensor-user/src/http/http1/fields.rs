//! The lines of a head come in; header fields, and what of them frames and codes the body, go out.

use bytes::Bytes;
use memchr::memchr;

use crate::http::{Header, Headers};
use crate::redact::Redacted;

/// How long the fields say the body is (RFC 9112, 6.1 and 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// Nothing is said.
    Unsaid,
    /// `Content-Length`.
    Bytes(u64),
    /// `Transfer-Encoding` with `chunked` as the last coding.
    Chunked,
    /// `Transfer-Encoding` with another last coding.
    UntilClose,
    /// `Content-Length` fields that are no number or contradict each other.
    Invalid,
}

/// The fields of one head.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) headers: Headers,
    pub(super) length: Length,
    /// Content codings, then transfer codings but `chunked`, in the order in which they were applied.
    pub(super) codings: Vec<u8>,
    /// The `Host` value as it came.
    pub(super) host: Vec<u8>,
}

/// Takes the first line off `bytes`, without its line end; a bare LF ends a line too (RFC 9112, 2.2).
pub(super) fn take_line<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = memchr(b'\n', bytes)?;
    let (line, rest) = bytes.split_at_checked(end)?;
    *bytes = rest.get(1..).unwrap_or_default();
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

/// Parses the lines behind the start line, up to the empty one.
pub(super) fn parse(mut lines: &[u8], fields_max: usize) -> Fields {
    let mut collected = Collected {
        headers: Headers::default(),
        content_length: Length::Unsaid,
        transfer_codings: Vec::new(),
        content_codings: Vec::new(),
        host: Vec::new(),
    };
    while let Some(line) = take_line(&mut lines) {
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = split_field(line) else {
            collected.headers.incomplete = true;
            continue;
        };
        let mut value = value.to_vec();
        // RFC 9112, 5.2: a line that begins with a blank continues the value (obsolete folding).
        while let Some(b' ' | b'\t') = lines.first() {
            let Some(folded) = take_line(&mut lines) else { break };
            value.push(b' ');
            value.extend_from_slice(folded.trim_ascii());
        }
        collected.take(name, &value);
        if collected.headers.fields.len() < fields_max {
            let name = Some(Bytes::from(name.to_ascii_lowercase()));
            collected.headers.fields.push(Header { name, value: Redacted::new(value) });
        } else {
            collected.headers.incomplete = true;
        }
    }
    collected.finish()
}

/// Name and value; `None` where the line is no field.
fn split_field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = line.split_at_checked(memchr(b':', line)?)?;
    // RFC 9112, 5.1 forbids a blank before the colon; some servers write it all the same.
    let name = name.trim_ascii_end();
    let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    is_name.then(|| (name, value.get(1..).unwrap_or_default().trim_ascii()))
}

struct Collected {
    headers: Headers,
    content_length: Length,
    transfer_codings: Vec<u8>,
    content_codings: Vec<u8>,
    host: Vec<u8>,
}

impl Collected {
    /// Keeps what matters for the body, even of fields that are too many to be kept.
    fn take(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = content_length(value).map_or(Length::Invalid, Length::Bytes);
            let agrees = self.content_length == Length::Unsaid || self.content_length == length;
            self.content_length = if agrees { length } else { Length::Invalid };
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            append(&mut self.transfer_codings, value);
        } else if name.eq_ignore_ascii_case(b"content-encoding") {
            append(&mut self.content_codings, value);
        } else if name.eq_ignore_ascii_case(b"host") {
            self.host = value.to_vec();
        }
    }

    fn finish(self) -> Fields {
        let mut codings = self.content_codings;
        let mut chunked_last = None;
        for coding in self.transfer_codings.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            // RFC 2616, 3.6 had `identity`, which says nothing of the length: the other field still does.
            if coding.is_empty() || coding.eq_ignore_ascii_case(b"identity") {
                continue;
            }
            let chunked = coding.eq_ignore_ascii_case(b"chunked");
            chunked_last = Some(chunked);
            if !chunked {
                append(&mut codings, coding);
            }
        }
        // RFC 9112, 6.3: `Transfer-Encoding` overrides `Content-Length`.
        let length = match chunked_last {
            Some(true) => Length::Chunked,
            Some(false) => Length::UntilClose,
            None => self.content_length,
        };
        Fields { headers: self.headers, length, codings, host: self.host }
    }
}

/// Joins list values as RFC 9110, 5.3 says.
fn append(list: &mut Vec<u8>, value: &[u8]) {
    if !list.is_empty() {
        list.push(b',');
    }
    list.extend_from_slice(value);
}

/// The one number of a `Content-Length`; a list of the same number is tolerated (RFC 9110, 8.6).
fn content_length(value: &[u8]) -> Option<u64> {
    let mut agreed = None;
    for part in value.split(|byte| *byte == b',') {
        let number = decimal(part.trim_ascii())?;
        if agreed.is_some_and(|agreed| agreed != number) {
            return None;
        }
        agreed = Some(number);
    }
    agreed
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit.wrapping_sub(b'0')))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: &[(&[u8], Length)] = &[
        (b"\r\n", Length::Unsaid),
        (b"Content-Length: 12\r\n\r\n", Length::Bytes(12)),
        (b"content-length:12\ncontent-length: 12, 12\n\n", Length::Bytes(12)),
        (b"Content-Length: 12\r\nContent-Length: 13\r\n\r\n", Length::Invalid),
        (b"Content-Length: +12\r\n\r\n", Length::Invalid),
        (b"Content-Length: 99999999999999999999\r\n\r\n", Length::Invalid),
        (b"Content-Length: 12\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n", Length::Chunked),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n", Length::UntilClose),
        (b"Content-Length: 12\r\nTransfer-Encoding: Identity\r\n\r\n", Length::Bytes(12)),
        (b"Content-Length: 12\r\nTransfer-Encoding: identity, chunked\r\n\r\n", Length::Chunked),
        (b"Transfer-Encoding: identity\r\n\r\n", Length::Unsaid),
    ];

    #[test]
    fn lengths_follow_the_fields() {
        for (lines, length) in LENGTHS {
            assert_eq!(parse(lines, 0).length, *length, "{}", lines.escape_ascii());
        }
    }

    #[test]
    fn fields_keep_order_and_folded_lines() {
        let fields =
            parse(b"X-One : a\r\n b\r\n\t c\r\nno field\r\nx-one:d\r\n\r\nBody: x\r\n", 10);
        let values: Vec<_> = fields.headers.all("x-one").collect();
        assert_eq!(values, [&b"a b c"[..], b"d"]);
        assert_eq!(fields.headers.get("body"), None);
        assert!(fields.headers.incomplete);
    }

    #[test]
    fn fields_over_the_bound_still_frame_the_body() {
        let fields =
            parse(b"A: b\r\nHost: h\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n", 1);
        assert_eq!((fields.headers.fields.len(), fields.headers.incomplete), (1, true));
        assert_eq!(
            (fields.length, &*fields.codings, &*fields.host),
            (Length::Bytes(3), &b"gzip"[..], &b"h"[..])
        );
    }
}
