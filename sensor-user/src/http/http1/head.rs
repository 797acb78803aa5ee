//! The bytes of a head come in; the request or response head, and how its body is framed, go out.

use bytes::Bytes;

use crate::http::http1::fields::{self, Fields, Length};
use crate::http::{Headers, RequestHead, ResponseHead, Version, authority};
use crate::redact::Redacted;

/// Methods that need no memory of their own.
const METHODS: &[&str] =
    &["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"];

/// How the end of a body is found (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes; zero where there is no body.
    Length(u64),
    /// After the last chunk.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// A request's head with what its body needs.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) head: RequestHead,
    pub(super) framing: Framing,
    pub(super) codings: Vec<u8>,
}

/// A response's head with what its body needs.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) head: ResponseHead,
    pub(super) status: u16,
    length: Length,
    pub(super) codings: Vec<u8>,
}

/// Parses a request's head; `None` where it is malformed.
pub(super) fn request(mut bytes: &[u8], fields_max: usize) -> Option<Request> {
    let line = fields::take_line(&mut bytes)?;
    let (method, rest) = line.split_at_checked(memchr::memchr(b' ', line)?)?;
    let rest = rest.trim_ascii();
    let (target, version) = rest.split_at_checked(memchr::memrchr(b' ', rest)?)?;
    let (target, version) = (target.trim_ascii(), version_of(version.trim_ascii())?);
    let is_method = method.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
    if method.is_empty() || !is_method || target.is_empty() {
        return None;
    }
    let Fields { headers, length, codings, host } = fields::parse(bytes, fields_max);
    let framing = match length {
        Length::Unsaid => Framing::Length(0),
        Length::Bytes(bytes) => Framing::Length(bytes),
        Length::Chunked => Framing::Chunked,
        // RFC 9112, 6.3: a request that goes until the connection's end cannot be answered.
        Length::UntilClose | Length::Invalid => return None,
    };
    let authority = authority(target_authority(method, target).unwrap_or(&host));
    let known = METHODS.iter().find(|known| known.as_bytes() == method);
    let method = known.map_or_else(
        || Bytes::copy_from_slice(method),
        |known| Bytes::from_static(known.as_bytes()),
    );
    let head = RequestHead { version, method, target: Redacted::new(target), authority, headers };
    Some(Request { head, framing, codings })
}

/// The head of a request that was lost.
pub(super) fn unseen(version: Version) -> RequestHead {
    RequestHead {
        version,
        method: Bytes::new(),
        target: Redacted::default(),
        authority: Bytes::new(),
        headers: Headers { fields: Vec::new(), incomplete: true },
    }
}

/// Parses a response's head; `None` where it is malformed.
pub(super) fn response(mut bytes: &[u8], fields_max: usize) -> Option<Response> {
    let line = fields::take_line(&mut bytes)?;
    let (version, rest) = line.split_at_checked(memchr::memchr(b' ', line)?)?;
    let version = version_of(version)?;
    let digits = rest.trim_ascii_start().split(|byte| *byte == b' ').next()?;
    let status: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    if digits.len() != 3 || status < 100 {
        return None;
    }
    let Fields { headers, length, codings, .. } = fields::parse(bytes, fields_max);
    let head = ResponseHead { version, status: Some(status), headers };
    Some(Response { head, status, length, codings })
}

impl Response {
    /// How the body is framed; `to_head` says that the request's method was HEAD. `None` where the head contradicts
    /// itself.
    pub(super) fn framing(&self, to_head: bool) -> Option<Framing> {
        if to_head || matches!(self.status, 100..=199 | 204 | 304) {
            return Some(Framing::Length(0));
        }
        match self.length {
            Length::Unsaid | Length::UntilClose => Some(Framing::UntilClose),
            Length::Bytes(bytes) => Some(Framing::Length(bytes)),
            Length::Chunked => Some(Framing::Chunked),
            Length::Invalid => None,
        }
    }
}

/// RFC 9112, 2.3: a minor version that is not known is treated as the highest one that is.
fn version_of(bytes: &[u8]) -> Option<Version> {
    match bytes.strip_prefix(b"HTTP/1.")? {
        b"0" => Some(Version::Http10),
        [digit] if digit.is_ascii_digit() => Some(Version::Http11),
        _ => None,
    }
}

/// RFC 9112, 3.2.2 and 3.2.3: the absolute form and the authority form of a target override `Host`.
fn target_authority<'a>(method: &[u8], target: &'a [u8]) -> Option<&'a [u8]> {
    if method == b"CONNECT" {
        return Some(target);
    }
    if target.first() == Some(&b'/') {
        return None;
    }
    let scheme_end = memchr::memmem::find(target, b"://")?;
    let behind = target.get(scheme_end.saturating_add(3)..)?;
    behind.split(|byte| matches!(byte, b'/' | b'?' | b'#')).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Case = (&'static [u8], &'static [u8], &'static [u8], &'static [u8], Version);

    const REQUESTS: &[Case] = &[
        (
            b"POST /v1/messages?beta=true HTTP/1.1\r\nHost: API.Anthropic.com:443\r\n\r\n",
            b"POST",
            b"/v1/messages?beta=true",
            b"api.anthropic.com",
            Version::Http11,
        ),
        (
            b"GET http://proxied.example:8080/a://b HTTP/1.0\nHost: other\n\n",
            b"GET",
            b"http://proxied.example:8080/a://b",
            b"proxied.example:8080",
            Version::Http10,
        ),
        (
            b"CONNECT api.openai.com:443 HTTP/1.1\r\n\r\n",
            b"CONNECT",
            b"api.openai.com:443",
            b"api.openai.com",
            Version::Http11,
        ),
        (b"PURGE /a b HTTP/1.2\r\n\r\n", b"PURGE", b"/a b", b"", Version::Http11),
    ];

    #[test]
    fn request_lines_give_method_target_authority_and_version() {
        for (bytes, method, target, authority, version) in REQUESTS {
            let head = request(bytes, 10).unwrap().head;
            assert_eq!((&*head.method, head.target.expose()), (*method, *target));
            assert_eq!((&*head.authority, head.version), (*authority, *version));
        }
    }

    #[test]
    fn malformed_heads_are_refused() {
        for bytes in [
            &b"GET /\r\n\r\n"[..],
            b"GET  HTTP/1.1\r\n\r\n",
            b"G\x00T / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/2.0\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        ] {
            assert!(request(bytes, 10).is_none(), "{}", bytes.escape_ascii());
        }
        for bytes in
            [&b"HTTP/1.1\r\n\r\n"[..], b"HTTP/1.1 20 OK\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n"]
        {
            assert!(response(bytes, 10).is_none(), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn some_responses_have_no_body_whatever_their_fields_say() {
        let length = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n";
        assert_eq!(response(length, 10).unwrap().framing(true), Some(Framing::Length(0)));
        assert_eq!(response(length, 10).unwrap().framing(false), Some(Framing::Length(7)));
        let not_modified = response(b"HTTP/1.1 304\r\nContent-Length: 7\r\n\r\n", 10).unwrap();
        assert_eq!(not_modified.framing(false), Some(Framing::Length(0)));
        let unsaid = response(b"HTTP/1.0 200 OK\r\n\r\n", 10).unwrap();
        assert_eq!(unsaid.framing(false), Some(Framing::UntilClose));
    }
}
