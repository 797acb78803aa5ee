//! Nothing comes in; the table by which the gate finds the parts of an HTTP/1 request, one look-up a byte, goes out.
//!
//! ```text
//! head:  METHOD SP path SP version LF (name ":" value CR LF)* CR LF   body: … "model" : "name"
//!               ^path    ^path end           ^begin   ^end      ^head end             ^begin ^end
//! path:  … "/models/" name ":" …   or   … "/model/" name "/" …   or   … "/deployments/" name "/" …
//!                     ^begin ^end                     ^begin ^end
//! ```

mod path;

use sensor_common::scan::{
    MARK_HEAD_END, MARK_HOST, MARK_HOST_END, MARK_KEY, MARK_KEY_END, MARK_MODEL, MARK_MODEL_END,
    MARK_PATH, SCANNER_STATES_MAX, SCANNER_TABLE_LEN,
};

/// Header fields that carry a credential, without a scheme before it.
const KEYS: [&str; 3] = ["x-api-key", "api-key", "x-goog-api-key"];
/// Schemes whose credential begins with the id of a key, and goes on with what each request has anew.
const SIGNED: [&str; 2] = ["AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"];

/// States with a number that others know.
const METHOD: usize = sensor_common::scan::SCANNER_HEAD as usize;
const BODY: usize = sensor_common::scan::SCANNER_BODY as usize;
const PATH: usize = 2;
const VERSION: usize = 3;
const LINE: usize = 4;
const SKIP: usize = 5;
const EMPTY: usize = 6;
const HOST_BLANK: usize = 7;
const HOST: usize = 8;
const AUTH_BLANK: usize = 9;
const AUTH: usize = 10;
const KEY_BLANK: usize = 11;
const KEY: usize = 12;
const COLON: usize = 13;
const QUOTE: usize = 14;
const MODEL_FIRST: usize = 15;
const MODEL: usize = 16;
const DONE: usize = 17;
const SLASH: usize = 18;
const QUERY: usize = 19;
const FREE: usize = 20;

/// The table while it is made.
struct Scanner {
    table: Vec<u16>,
    free: usize,
}

impl Scanner {
    fn set(&mut self, state: usize, byte: u8, next: usize, mark: usize) {
        let place = state.saturating_mul(256).saturating_add(usize::from(byte));
        let entry = u16::try_from(next | (mark << 8)).unwrap_or(0);
        if let Some(to) = self.table.get_mut(place) {
            *to = entry;
        }
    }

    fn next(&self, state: usize, byte: u8) -> usize {
        let place = state.saturating_mul(256).saturating_add(usize::from(byte));
        self.table.get(place).map_or(0, |entry| usize::from(entry & 0xff))
    }

    fn mark(&self, state: usize, byte: u8) -> usize {
        let place = state.saturating_mul(256).saturating_add(usize::from(byte));
        self.table.get(place).map_or(0, |entry| usize::from(entry >> 8))
    }

    fn all(&mut self, state: usize, next: usize) {
        (0..=u8::MAX).for_each(|byte| self.set(state, byte, next, 0));
    }

    /// Adds a word after a state, one state a byte; capitals count as small letters where `folded`.
    fn word(&mut self, from: usize, word: &[u8], folded: bool, otherwise: usize) -> usize {
        let mut state = from;
        // A line that breaks off within a folded word is over.
        let broken = if folded { LINE } else { otherwise };
        for byte in word {
            let known = self.next(state, *byte);
            let is_new = known == otherwise || known < FREE;
            let next = if is_new { self.free } else { known };
            if is_new {
                assert!(self.free < SCANNER_STATES_MAX, "the scanner has too many states");
                self.free = self.free.saturating_add(1);
                self.all(next, otherwise);
                self.set(next, b'\n', broken, 0);
            }
            self.set(state, *byte, next, 0);
            if folded {
                self.set(state, byte.to_ascii_uppercase(), next, 0);
            }
            state = next;
        }
        state
    }

    /// Adds a state from which everything goes on as from another.
    fn like(&mut self, state: usize) -> usize {
        assert!(self.free < SCANNER_STATES_MAX, "the scanner has too many states");
        let made = self.free;
        self.free = made.saturating_add(1);
        let row =
            |state: usize| state.saturating_mul(256)..state.saturating_add(1).saturating_mul(256);
        self.table.copy_within(row(state), row(made).start);
        made
    }

    /// Adds a word after a state, one state a byte; what breaks it goes on as from another state.
    fn within(&mut self, from: usize, word: &[u8], otherwise: usize) -> usize {
        word.iter().fold(from, |state, byte| {
            let known = self.next(state, *byte);
            let next = if known < FREE { self.like(otherwise) } else { known };
            let mark = self.mark(state, *byte);
            self.set(state, *byte, next, mark);
            next
        })
    }

    /// Adds the state behind a `%`; what is no escape goes on as from another state.
    fn percent(&mut self, state: usize, otherwise: usize) -> usize {
        let percent = self.like(otherwise);
        self.set(state, b'%', percent, 0);
        if state == otherwise {
            self.set(percent, b'%', percent, 0);
        }
        percent
    }

    /// Adds the two digits of an escaped byte behind the state of its `%`; what is no such escape goes on as from another
    /// state.
    fn escape(&mut self, percent: usize, byte: u8, otherwise: usize, (next, mark): (usize, usize)) {
        let [high, low] = [byte >> 4, byte & 0xf].map(|half| char::from_digit(half.into(), 16));
        let both = |digit: Option<char>| {
            digit.map_or([b'0'; 2], |digit| {
                [digit, digit.to_ascii_uppercase()].map(|digit| u8::try_from(digit).unwrap_or(b'0'))
            })
        };
        let [first, _] = both(high);
        let known = self.next(percent, first);
        let second =
            if known < self.free && known > percent { known } else { self.like(otherwise) };
        for digit in both(high) {
            self.set(percent, digit, second, 0);
        }
        for digit in both(low) {
            self.set(second, digit, next, mark);
        }
    }

    /// A field's value: blanks before it are left out.
    fn value(&mut self, blank: usize, state: usize, begin: usize, end: usize) {
        (0..=u8::MAX).for_each(|byte| self.set(blank, byte, state, begin));
        self.all(state, state);
        for byte in *b" \t" {
            self.set(blank, byte, blank, 0);
        }
        for from in [blank, state] {
            let mark = if from == state { end } else { 0 };
            self.set(from, b'\r', SKIP, mark);
            self.set(from, b'\n', LINE, mark);
        }
    }
}

/// Makes the table.
pub(super) fn table() -> Vec<u16> {
    let mut scanner = Scanner { table: vec![0; SCANNER_TABLE_LEN], free: FREE };
    head(&mut scanner);
    body(&mut scanner);
    scanner.table
}

fn head(scanner: &mut Scanner) {
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
    // `Bearer KEY`: behind each blank the credential begins anew.
    scanner.set(AUTH, b' ', AUTH_BLANK, 0);
    signed(scanner);
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

fn body(scanner: &mut Scanner) {
    scanner.all(BODY, BODY);
    let last = scanner.word(BODY, br#""model""#, false, BODY);
    // A quote that breaks the word begins a new one.
    let opened = scanner.free.saturating_sub(br#""model""#.len());
    (opened..last).for_each(|state| {
        if state != last.saturating_sub(1) {
            scanner.set(state, b'"', opened, 0);
        }
    });
    scanner.all(COLON, BODY);
    scanner.all(QUOTE, BODY);
    for state in [last, COLON] {
        scanner.set(state, b':', QUOTE, 0);
    }
    for byte in *b" \t\r\n" {
        scanner.set(last, byte, COLON, 0);
        scanner.set(COLON, byte, COLON, 0);
        scanner.set(QUOTE, byte, QUOTE, 0);
    }
    scanner.set(QUOTE, b'"', MODEL_FIRST, 0);
    (0..=u8::MAX).for_each(|byte| scanner.set(MODEL_FIRST, byte, MODEL, MARK_MODEL));
    scanner.all(MODEL, MODEL);
    scanner.set(MODEL, b'"', DONE, MARK_MODEL_END);
    // What is escaped is not compared here.
    for state in [MODEL_FIRST, MODEL] {
        scanner.set(state, b'\\', DONE, 0);
    }
    scanner.set(MODEL_FIRST, b'"', DONE, 0);
    scanner.all(DONE, DONE);
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensor_common::scan::{MARK_NAMED, MARK_NAMED_END, MARK_PATH_END};

    /// Runs the table as the gate does; gives the text between two marks.
    fn between(text: &str, state: usize, from: usize, to: usize) -> Option<String> {
        let table = table();
        let mut marks = [0usize; 16];
        let mut counts = [0; 16];
        let mut state = state;
        for (at, byte) in text.bytes().enumerate() {
            let entry = table[(state << 8) | usize::from(byte)];
            let mark = usize::from(entry >> 8);
            state = usize::from(entry & 0xff);
            marks[mark] = at;
            counts[mark] = 1;
        }
        (counts[to] > 0).then(|| text.get(marks[from]..marks[to]).unwrap().to_owned())
    }

    const HEAD: &str = "POST /v1/chat HTTP/1.1\r\nX-Ho: host: no\r\nHOST:  api.openai.com:443\r\nAuthorization: Bearer sk-fake-1\r\n\
        Content-Length: 2\r\n\r\n{\"messages\":[\"\\\"model\\\": \\\"no\\\"\"],\"model\" : \"gpt-x\",\"model\":\"y\"}";

    #[test]
    fn parts_of_a_request_are_found() {
        assert_eq!(between(HEAD, METHOD, MARK_PATH, MARK_PATH_END).unwrap(), " /v1/chat");
        assert_eq!(between(HEAD, METHOD, MARK_HOST, MARK_HOST_END).unwrap(), "api.openai.com:443");
        assert_eq!(between(HEAD, METHOD, MARK_KEY, MARK_KEY_END).unwrap(), "sk-fake-1");
        assert_eq!(between(HEAD, METHOD, MARK_MODEL, MARK_MODEL_END).unwrap(), "gpt-x");
        assert!(between(HEAD, METHOD, MARK_PATH, MARK_HEAD_END).is_some());
    }

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
    fn model_is_found_in_the_paths_that_name_one() {
        const CASES: [(&str, Option<&str>); 18] = [
            ("/v1beta/models/gemini-2.5-pro:generateContent?key=k", Some("gemini-2.5-pro")),
            ("/v1/projects/p/publishers/google/models/g-1:predict", Some("g-1")),
            ("/openai/deployments/prod-gpt/chat/completions?api-version=1", Some("prod-gpt")),
            ("/model/anthropic.claude-v1%3A0/invoke", Some("anthropic.claude-v1%3A0")),
            ("/model/x/y/models/z:w", Some("z")),
            // Spelt in escapes; the kernel leaves out what is left of the colon's.
            ("/v1beta/mod%65ls/g-1:predict", Some("g-1")),
            ("/v1beta%2Fmodels%2fg-1:predict", Some("g-1")),
            ("/v1beta/models/g%2D1%3Apredict", Some("g%2D1%3")),
            ("/v1beta/models/g%20b%3apredict", Some("g%20b%3")),
            ("/%6D%6f%64el/x/invoke", Some("x")),
            ("/openai/%64eployments/prod/chat", Some("prod")),
            ("/v1beta/m%4fdels/g-1:predict", None),
            ("/v1beta/models%20/g-1:predict%zz%", None),
            // Names of others, and lists.
            ("/models/org/name", None),
            ("/v1/models/gpt-4o", None),
            ("/v1/remodel/x/y", None),
            ("/v1/chat?path=/model/x/y", None),
            ("/v1//models", None),
        ];
        for (path, expected) in CASES {
            let text = format!("POST {path} HTTP/1.1\r\nhost: h\r\n\r\n{{\"model\":\"b\"}}");
            let found = between(&text, METHOD, MARK_NAMED, MARK_NAMED_END);
            assert_eq!(found.as_deref(), expected, "{path}");
            assert_eq!(
                between(&text, METHOD, MARK_PATH, MARK_PATH_END).unwrap(),
                format!(" {path}")
            );
            assert_eq!(between(&text, METHOD, MARK_MODEL, MARK_MODEL_END).unwrap(), "b");
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

    #[test]
    fn model_is_found_in_a_body_of_its_own() {
        const CASES: [(&str, Option<&str>); 5] = [
            (r#"{"model":"a"}"#, Some("a")),
            (r#"{""model":"b"}"#, Some("b")),
            (r#"{"x":"model","model": "c"}"#, Some("c")),
            (r#"{"modele":"d"}"#, None),
            (r#"{"model":"a\u0062"}"#, None),
        ];
        for (text, expected) in CASES {
            assert_eq!(
                between(text, BODY, MARK_MODEL, MARK_MODEL_END).as_deref(),
                expected,
                "{text}"
            );
        }
    }
}
