//! `Sec-WebSocket-Extensions` of an accepted handshake comes in; how each side's messages are compressed goes out.

use crate::http::ResponseHead;

/// What was agreed on (RFC 7692, 7.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent parameters of one handshake")]
pub(super) struct Agreed {
    /// Messages may be compressed.
    pub(super) deflate: bool,
    /// The client begins each message with an empty window.
    pub(super) client_forgets: bool,
    /// The server does.
    pub(super) server_forgets: bool,
    /// An extension that may change frames in ways that are not known here.
    pub(super) unknown: bool,
}

/// Reads the extensions that the server accepted.
pub(super) fn agreed(head: &ResponseHead) -> Agreed {
    let mut agreed = Agreed::default();
    let fields = head.headers.all("sec-websocket-extensions");
    for extension in fields.flat_map(|field| field.split(|byte| *byte == b',')) {
        let mut words = extension.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = words.next().unwrap_or_default();
        if name.is_empty() {
            continue;
        }
        if !name.eq_ignore_ascii_case(b"permessage-deflate") || agreed.deflate {
            agreed.unknown = true;
        }
        agreed.deflate = true;
        for word in words {
            agreed.client_forgets |= word.eq_ignore_ascii_case(b"client_no_context_takeover");
            agreed.server_forgets |= word.eq_ignore_ascii_case(b"server_no_context_takeover");
        }
    }
    agreed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Header, Headers, Version};
    use crate::redact::Redacted;

    fn read(fields: &[&'static str]) -> Agreed {
        let name = Some(bytes::Bytes::from_static(b"sec-websocket-extensions"));
        let field =
            |value: &&'static str| Header { name: name.clone(), value: Redacted::new(*value) };
        let headers = Headers { fields: fields.iter().map(field).collect(), incomplete: false };
        agreed(&ResponseHead { version: Version::Http11, status: Some(101), headers })
    }

    #[test]
    fn parameters_and_unknown_extensions_are_told_apart() {
        let deflate = Agreed { deflate: true, ..Agreed::default() };
        assert_eq!(read(&[]), Agreed::default());
        assert_eq!(read(&["permessage-deflate; server_max_window_bits=12"]), deflate);
        assert_eq!(
            read(&["Permessage-Deflate ;client_no_context_takeover; server_no_context_takeover"]),
            Agreed { client_forgets: true, server_forgets: true, ..deflate }
        );
        assert!(read(&["x-other"]).unknown);
        assert!(read(&["permessage-deflate, x-other"]).unknown);
        assert!(read(&["permessage-deflate", "permessage-deflate"]).unknown);
    }
}
