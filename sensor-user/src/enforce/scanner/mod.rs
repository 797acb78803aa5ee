//! Nothing comes in; the table by which the gate finds the parts of an HTTP/1 request, one look-up a byte, goes out.
//!
//! ```text
//! head:  METHOD SP path SP version LF (name ":" value CR LF)* CR LF   body
//!               ^path    ^path end           ^begin   ^end      ^head end
//! path:  … "/models/" name ":" …   or   … "/model/" name "/" …   or   … "/deployments/" name "/" …
//!                     ^begin ^end                     ^begin ^end
//! ```

mod arn;
mod body;
mod head;
mod path;

use sensor_common::scan::{SCANNER_STATES_MAX, SCANNER_TABLE_LEN};

/// States with a number that others know.
const METHOD: usize = sensor_common::scan::SCANNER_HEAD as usize;
const BODY: usize = sensor_common::scan::SCANNER_BODY as usize;
const FLAT: usize = sensor_common::scan::SCANNER_FLAT as usize;
const PATH: usize = 3;
const VERSION: usize = 4;
const LINE: usize = 5;
const SKIP: usize = 6;
const EMPTY: usize = 7;
const HOST_BLANK: usize = 8;
const HOST: usize = 9;
const AUTH_BLANK: usize = 10;
const AUTH: usize = 11;
const KEY_BLANK: usize = 12;
const KEY: usize = 13;
const DONE: usize = 14;
const SLASH: usize = 15;
const QUERY: usize = 16;
const FREE: usize = 17;

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
                let made = self.state(otherwise);
                self.set(made, b'\n', broken, 0);
            }
            self.set(state, *byte, next, 0);
            if folded {
                self.set(state, byte.to_ascii_uppercase(), next, 0);
            }
            state = next;
        }
        state
    }

    /// Adds a state from which everything leads to another.
    fn state(&mut self, otherwise: usize) -> usize {
        assert!(self.free < SCANNER_STATES_MAX, "the scanner has too many states");
        let made = self.free;
        self.free = made.saturating_add(1);
        self.all(made, otherwise);
        made
    }

    /// Adds a state from which everything goes on as from another.
    fn like(&mut self, state: usize) -> usize {
        let made = self.state(0);
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
    head::add(&mut scanner);
    body::add(&mut scanner);
    scanner.table
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensor_common::scan::{
        MARK_HEAD_END, MARK_HOST, MARK_HOST_END, MARK_KEY, MARK_KEY_END, MARK_MODEL,
        MARK_MODEL_END, MARK_NAMED, MARK_NAMED_END, MARK_PATH, MARK_PATH_END, MARKS_MAX,
    };

    /// Runs the table as the gate does; gives where each mark was set last, and how often.
    fn scan(text: &str, state: usize) -> ([usize; MARKS_MAX], [usize; MARKS_MAX]) {
        let table = table();
        let mut marks = [0; MARKS_MAX];
        let mut counts = [0_usize; MARKS_MAX];
        let mut state = state;
        for (at, byte) in text.bytes().enumerate() {
            let entry = table[(state << 8) | usize::from(byte)];
            let mark = usize::from(entry >> 8);
            state = usize::from(entry & 0xff);
            marks[mark] = at;
            counts[mark] = counts[mark].saturating_add(1);
        }
        (marks, counts)
    }

    /// The text between two marks.
    pub(super) fn between(text: &str, state: usize, from: usize, to: usize) -> Option<String> {
        let (marks, counts) = scan(text, state);
        (counts[to] > 0).then(|| text.get(marks[from]..marks[to]).unwrap().to_owned())
    }

    /// How often a mark was set.
    pub(super) fn count(text: &str, state: usize, mark: usize) -> usize {
        scan(text, state).1[mark]
    }

    const HEAD: &str = "POST /v1/chat HTTP/1.1\r\nX-Ho: host: no\r\nHOST:  api.openai.com:443\r\nAuthorization: Bearer sk-fake-1\r\n\
        Content-Length: 2\r\n\r\n{\"messages\":[\"\\\"model\\\": \\\"no\\\"\"],\"model\" : \"gpt-x\"}";

    #[test]
    fn parts_of_a_request_are_found() {
        assert_eq!(between(HEAD, METHOD, MARK_PATH, MARK_PATH_END).unwrap(), " /v1/chat");
        assert_eq!(between(HEAD, METHOD, MARK_HOST, MARK_HOST_END).unwrap(), "api.openai.com");
        assert_eq!(between(HEAD, METHOD, MARK_KEY, MARK_KEY_END).unwrap(), "sk-fake-1");
        assert_eq!(between(HEAD, METHOD, MARK_MODEL, MARK_MODEL_END).unwrap(), "gpt-x");
        assert!(between(HEAD, METHOD, MARK_PATH, MARK_HEAD_END).is_some());
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
}
