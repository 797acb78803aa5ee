//! Decoded fields of a header block come in; the head of a request or response goes out (RFC 9113, 8.3).

use bytes::Bytes;

use crate::http::{Header, Headers, RequestHead, ResponseHead, Version, authority};
use crate::redact::Redacted;

/// Fields of one header block.
#[derive(Default)]
pub(super) struct Fields {
    method: Bytes,
    path: Redacted,
    authority: Bytes,
    status: Option<u16>,
    /// Whether fields were seen that only a request has, or only a response.
    of_request: bool,
    of_response: bool,
    headers: Headers,
    /// Whether the first field has a name, and not that of a pseudo-header field.
    regular_first: Option<bool>,
    unknown: u64,
    room_count: usize,
    room_bytes: usize,
}

impl Fields {
    /// Keeps at most `fields_max` fields of `bytes_max` bytes altogether: a short block can name a long value often.
    pub(super) fn new(fields_max: usize, bytes_max: usize) -> Self {
        Self { room_count: fields_max, room_bytes: bytes_max, ..Self::default() }
    }

    /// Takes a field; no name means that it is not known.
    pub(super) fn add(&mut self, name: Option<&Bytes>, value: &[u8]) {
        if name.is_none() {
            self.unknown = self.unknown.saturating_add(1);
            self.headers.incomplete = true;
        }
        let regular = name.is_some_and(|name| !name.starts_with(b":"));
        self.regular_first.get_or_insert(regular);
        let length = name.map_or(0, Bytes::len).saturating_add(value.len());
        let room = self.room_bytes.checked_sub(length).zip(self.room_count.checked_sub(1));
        let Some((room_bytes, room_count)) = room else {
            self.headers.incomplete = true;
            return;
        };
        (self.room_bytes, self.room_count) = (room_bytes, room_count);
        match name {
            Some(name) if !regular => self.pseudo(name, value),
            _ => self
                .headers
                .fields
                .push(Header { name: name.cloned(), value: Redacted::new(value) }),
        }
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b":method" => self.method = Bytes::copy_from_slice(value),
            b":path" => self.path = Redacted::new(value),
            b":authority" => self.authority = authority(value),
            b":status" => self.status = status(value),
            _ => {}
        }
        self.of_response |= name == b":status";
        self.of_request |= name != b":status";
    }

    /// Says that the block had more fields.
    pub(super) fn cut_short(&mut self) {
        self.headers.incomplete = true;
    }

    /// Fields whose name is not known.
    pub(super) fn unknown(&self) -> u64 {
        self.unknown
    }

    pub(super) fn is_request(&self) -> bool {
        self.of_request
    }

    pub(super) fn is_response(&self) -> bool {
        self.of_response
    }

    /// RFC 9113, 8.3: a head begins with pseudo-header fields, and trailers have none.
    pub(super) fn is_trailers(&self) -> bool {
        self.regular_first == Some(true)
    }

    /// RFC 9113, 8.1: a response that only announces another one.
    pub(super) fn is_interim(&self) -> bool {
        self.status.is_some_and(|status| (100..200).contains(&status))
    }

    pub(super) fn into_request(self) -> RequestHead {
        let authority = if self.authority.is_empty() {
            authority(self.headers.get("host").unwrap_or_default())
        } else {
            self.authority
        };
        RequestHead {
            version: Version::Http2,
            method: self.method,
            target: self.path,
            authority,
            headers: self.headers,
        }
    }

    pub(super) fn into_trailers(self) -> Headers {
        self.headers
    }

    pub(super) fn into_response(self) -> ResponseHead {
        ResponseHead { version: Version::Http2, status: self.status, headers: self.headers }
    }
}

/// RFC 9110, 15: three digits.
fn status(value: &[u8]) -> Option<u16> {
    if value.len() != 3 {
        return None;
    }
    value.iter().try_fold(0_u16, |status, digit| {
        let digit = digit.is_ascii_digit().then(|| digit.wrapping_sub(b'0'))?;
        Some(status.saturating_mul(10).saturating_add(u16::from(digit)))
    })
}
