//! The states of a head come in; those that find host, key and an upgrade among its fields are added.

use sensor_common::scan::{
    MARK_HEAD_END, MARK_HOST, MARK_HOST_END, MARK_KEY, MARK_KEY_END, MARK_PATH, MARK_UPGRADE,
};

use super::{
    AUTH, AUTH_BLANK, BODY, EMPTY, HOST, HOST_BLANK, KEY, KEY_BLANK, LINE, METHOD, PATH, SKIP,
    Scanner, VERSION, path,
};

/// Header fields that carry a credential, without a scheme before it.
const KEYS: [&str; 3] = ["x-api-key", "api-key", "x-goog-api-key"];
/// Schemes whose credential begins with the id of a key, and goes on with what each request has anew.
const SIGNED: [&str; 2] = ["AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"];

/// Adds the states of a head.
pub(super) fn add(scanner: &mut Scanner) {
    scanner.all(METHOD, METHOD);
    scanner.set(METHOD, b' ', PATH, MARK_PATH);
    path::add(scanner);
    for state in [VERSION, SKIP] {
        scanner.all(state, state);
        scanner.set(state, b'\n', LINE, 0);
    }
    scanner.all(LINE, SKIP);
    scanner.all(EMPTY, SKIP);
    scanner.set(EMPTY, b'\n', BODY, MARK_HEAD_END);
    let fields = [("host", HOST_BLANK), ("authorization", AUTH_BLANK)];
    for (name, blank) in fields.into_iter().chain(KEYS.map(|name| (name, KEY_BLANK))) {
        let last = scanner.word(LINE, name.as_bytes(), true, SKIP);
        scanner.set(last, b':', blank, 0);
    }
    scanner.set(LINE, b'\r', EMPTY, 0);
    scanner.set(LINE, b'\n', BODY, MARK_HEAD_END);
    scanner.value(HOST_BLANK, HOST, MARK_HOST, MARK_HOST_END);
    scanner.value(KEY_BLANK, KEY, MARK_KEY, MARK_KEY_END);
    scanner.value(AUTH_BLANK, AUTH, MARK_KEY, MARK_KEY_END);
    host(scanner);
    // `Bearer KEY`: behind each blank the credential begins anew, if anything comes.
    let next = scanner.like(AUTH_BLANK);
    scanner.set(next, b'\r', SKIP, MARK_KEY_END);
    scanner.set(next, b'\n', LINE, MARK_KEY_END);
    for state in [AUTH, next] {
        b" \t".iter().for_each(|byte| scanner.set(state, *byte, next, 0));
    }
    signed(scanner);
    let last = scanner.word(LINE, b"upgrade", true, SKIP);
    let blank = scanner.state(SKIP);
    scanner.set(last, b':', blank, 0);
    b" \t".iter().for_each(|byte| scanner.set(blank, *byte, blank, 0));
    // `websocket` (RFC 6455, 4.1); the other protocols have other letters.
    b"wW".iter().for_each(|byte| scanner.set(blank, *byte, SKIP, MARK_UPGRADE));
    scanner.set(blank, b'\n', LINE, 0);
}

/// Has a port and blanks end the name of a host; brackets hold an address with colons in it (RFC 3986, 3.2.2).
fn host(scanner: &mut Scanner) {
    let behind = scanner.state(HOST);
    // What comes behind a blank makes it another host.
    (0..=u8::MAX).for_each(|byte| scanner.set(behind, byte, HOST, MARK_HOST_END));
    let bracket = scanner.like(HOST);
    for byte in (0..=u8::MAX).filter(|byte| !matches!(byte, b']' | b'\r' | b'\n')) {
        scanner.set(bracket, byte, bracket, 0);
    }
    scanner.set(HOST_BLANK, b'[', bracket, MARK_HOST);
    b": \t".iter().for_each(|byte| scanner.set(HOST, *byte, behind, MARK_HOST_END));
    b" \t0123456789".iter().for_each(|byte| scanner.set(behind, *byte, behind, 0));
    scanner.set(behind, b'\r', SKIP, 0);
    scanner.set(behind, b'\n', LINE, 0);
}

/// Has `AWS4-HMAC-SHA256 Credential=ID/DATE/…` end the credential behind the id.
fn signed(scanner: &mut Scanner) {
    let blank = scanner.like(AUTH_BLANK);
    scanner.set(blank, b' ', blank, 0);
    for scheme in SIGNED {
        let last = scanner.within(AUTH_BLANK, scheme.as_bytes(), AUTH);
        scanner.set(last, b' ', blank, 0);
    }
    let last = scanner.within(blank, b"Credential=", AUTH);
    let id = scanner.like(AUTH);
    (0..=u8::MAX).for_each(|byte| {
        if scanner.next(last, byte) == AUTH {
            scanner.set(last, byte, id, MARK_KEY);
            scanner.set(id, byte, id, 0);
        }
    });
    for byte in *b"/, " {
        scanner.set(last, byte, scanner.next(AUTH, byte), 0);
        scanner.set(id, byte, SKIP, MARK_KEY_END);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforce::scanner::tests::{between, count};

    #[test]
    fn key_of_a_signed_request_is_the_id_that_signs() {
        const CASES: [(&str, &str); 9] = [
            (
                "AWS4-HMAC-SHA256 Credential=AKIAFAKE/20261128/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=0a1",
                "AKIAFAKE",
            ),
            ("AWS4-ECDSA-P256-SHA256  Credential=AKIAFAKE/20261128/x,Signature=0", "AKIAFAKE"),
            ("AWS4-HMAC-SHA256 Credential=AKIAFAKE", "AKIAFAKE"),
            ("AWS4-HMAC-SHA256 Credential=AKIAFAKE, Signature=0", "AKIAFAKE"),
            // No such thing: the last word counts, as elsewhere.
            ("AWS4-HMAC-SHA256 Signature=0 Credential=X", "Credential=X"),
            ("Bearer Credential=AKIAFAKE/x", "Credential=AKIAFAKE/x"),
            ("Bearer AWS4-HMAC-SHA25", "AWS4-HMAC-SHA25"),
            ("AWS4-HMAC-SHA256X Credential=X/y", "Credential=X/y"),
            ("AWS4-HMAC-SHA256 Credentials", "Credentials"),
        ];
        for (value, expected) in CASES {
            let text = format!("GET / HTTP/1.1\r\nAuthorization: {value}\r\nA: b\r\n\r\n");
            let found = between(&text, METHOD, MARK_KEY, MARK_KEY_END);
            assert_eq!(found.as_deref(), Some(expected), "{value}");
            assert!(between(&text, METHOD, MARK_PATH, MARK_HEAD_END).is_some(), "{value}");
        }
    }

    #[test]
    fn every_place_of_a_key_is_known() {
        for name in ["x-api-key", "Api-Key", "x-goog-api-key"] {
            let text = format!("POST / HTTP/1.1\r\n{name}: sk-fake-2\r\n\r\n");
            assert_eq!(between(&text, METHOD, MARK_KEY, MARK_KEY_END).unwrap(), "sk-fake-2");
        }
        assert!(
            between("GET / HTTP/1.1\r\nx-api-keys: a\r\n\r\n", METHOD, MARK_KEY, MARK_KEY_END)
                .is_none()
        );
    }

    fn head(field: &str) -> String {
        format!("POST / HTTP/1.1\r\n{field}\r\nA: b\r\n\r\n")
    }

    #[test]
    fn host_ends_before_its_port_and_before_blanks() {
        const CASES: [(&str, &str, usize); 8] = [
            ("Host: a.b", "a.b", 1),
            ("Host:a.b \t", "a.b", 1),
            ("Host: a.b:443", "a.b", 1),
            ("Host: a.b:0000443 ", "a.b", 1),
            ("Host: a.b:", "a.b", 1),
            ("Host: [::1]:8443", "[::1]", 1),
            ("Host: [fe80::1", "[fe80::1", 1),
            // No host that a server could agree about.
            ("Host: a.b c.d", "a.b c.d", 3),
        ];
        for (field, expected, times) in CASES {
            let text = head(field);
            assert_eq!(between(&text, METHOD, MARK_HOST, MARK_HOST_END).unwrap(), expected);
            assert_eq!(count(&text, METHOD, MARK_HOST_END), times, "{field}");
            assert_eq!(count(&text, METHOD, MARK_HEAD_END), 1, "{field}");
        }
    }

    #[test]
    fn blanks_behind_a_key_do_not_hide_it() {
        // The gate takes them off.
        const CASES: [(&str, Option<&str>); 5] = [
            ("Authorization: Bearer sk-fake \t", Some("sk-fake")),
            ("Authorization: Bearer\tsk-fake", Some("sk-fake")),
            ("x-api-key: sk-fake ", Some("sk-fake")),
            ("Authorization: Bearer ", Some("Bearer")),
            ("Authorization: ", None),
        ];
        for (field, expected) in CASES {
            let text = head(field);
            let found = between(&text, METHOD, MARK_KEY, MARK_KEY_END);
            assert_eq!(found.as_deref().map(str::trim_end), expected, "{field}");
            assert!(count(&text, METHOD, MARK_KEY_END) < 2, "{field}");
        }
    }

    #[test]
    fn request_for_a_websocket_is_known() {
        for (field, expected) in [
            ("Upgrade: websocket", 1),
            ("upgrade:  WebSocket", 1),
            ("Upgrade: h2c", 0),
            ("Upgrade:", 0),
            ("Upgrade-Insecure-Requests: w", 0),
            ("X-Upgrade: websocket", 0),
        ] {
            assert_eq!(count(&head(field), METHOD, MARK_UPGRADE), expected, "{field}");
            assert_eq!(count(&head(field), METHOD, MARK_HEAD_END), 1, "{field}");
        }
    }
}
