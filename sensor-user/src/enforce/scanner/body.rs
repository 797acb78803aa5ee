//! The states of a body come in; those that find the model of a JSON object, at its top alone, are added.
//!
//! ```text
//! { "model" : "name" , "other" : [ { "model": "not this" } ] }
//!   ^key        ^begin ^end        ^what is nested is skipped
//! ```

use sensor_common::scan::{MARK_LOOSE, MARK_LOOSE_END, MARK_MODEL, MARK_MODEL_END, MARK_UNCLEAR};

use super::{BODY, DONE, FLAT, Scanner};

/// The name of the field.
const FIELD: &[u8] = b"model";
/// Objects and lists within each other that are told apart; what is deeper is searched for the model wherever it stands.
const DEPTH_MAX: usize = 8;

/// States of the top of an object.
struct Top {
    /// A field's name is to come.
    key: usize,
    /// A value is to come, or has ended.
    value: usize,
}

/// Adds the states of a body.
pub(super) fn add(scanner: &mut Scanner) {
    flat(scanner);
    let top = Top { key: scanner.state(FLAT), value: scanner.state(FLAT) };
    begin(scanner, top.key);
    fields(scanner, &top);
    nested(scanner, top.value);
}

/// How a body begins: as an object, behind what may say how long it is (RFC 9112, 7.1), or as something else.
fn begin(scanner: &mut Scanner, key: usize) {
    for byte in 0..=u8::MAX {
        let (next, mark) = match byte {
            b'{' => (key, 0),
            b' ' | b'\t' | b'\r' | b'\n' | b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' |
            // The mark of an encoding before the text (RFC 8259, 8.1).
            0xef | 0xbb | 0xbf => (BODY, 0),
            // A compressed body (gzip; zstd begins with a bracket), text of two bytes a letter.
            0 | 0x1f | b'(' | 0xfe | 0xff => (FLAT, MARK_UNCLEAR),
            _ => (scanner.next(FLAT, byte), 0),
        };
        scanner.set(BODY, byte, next, mark);
    }
}

/// The fields of the object: their names, and their values as far as they are no objects and lists.
fn fields(scanner: &mut Scanner, top: &Top) {
    let [name, escaped, colon] = [(); 3].map(|()| scanner.state(FLAT));
    // A name that is spelt in escapes may be the model's.
    scanner.all(name, name);
    scanner.all(escaped, name);
    scanner.set(name, b'\\', escaped, MARK_UNCLEAR);
    scanner.set(name, b'"', colon, 0);
    let quoted = scanner.like(name);
    let last = FIELD.iter().fold(quoted, |state, byte| {
        let next = scanner.like(name);
        scanner.set(state, *byte, next, 0);
        next
    });
    let [of_model, ahead, text, after] = [(); 4].map(|()| scanner.state(FLAT));
    scanner.set(last, b'"', of_model, 0);
    scanner.set(top.key, b'"', quoted, 0);
    // What comes behind the object does not name its model.
    scanner.set(top.key, b'}', FLAT, 0);
    scanner.set(top.key, 0, FLAT, MARK_UNCLEAR);
    scanner.set(colon, b':', top.value, 0);
    scanner.set(of_model, b':', ahead, 0);
    scanner.all(text, text);
    scanner.all(after, text);
    scanner.set(text, b'\\', after, 0);
    scanner.set(text, b'"', top.value, 0);
    scanner.all(top.value, top.value);
    scanner.set(top.value, b'"', text, 0);
    scanner.set(top.value, b',', top.key, 0);
    scanner.set(top.value, b'}', FLAT, 0);
    for state in [top.key, colon, of_model] {
        b" \t\r\n".iter().for_each(|byte| scanner.set(state, *byte, state, 0));
    }
    let first = scanner.state(FLAT);
    // Of several the last counts, as for those who read JSON.
    let named = value(scanner, first, (top.value, after), (MARK_MODEL, MARK_MODEL_END));
    scanner.set(ahead, b'"', named, 0);
    for byte in (0..=u8::MAX).filter(|byte| *byte != b'"') {
        let next = if byte.is_ascii_whitespace() { ahead } else { scanner.next(top.value, byte) };
        scanner.set(ahead, byte, next, 0);
    }
}

/// The model's name between its quotes, and what comes behind: of a whole one, and of one that is spelt in escapes.
fn value(
    scanner: &mut Scanner,
    first: usize,
    (whole, escaped): (usize, usize),
    (begin, end): (usize, usize),
) -> usize {
    let rest = scanner.state(FLAT);
    (0..=u8::MAX).for_each(|byte| scanner.set(first, byte, rest, begin));
    scanner.all(rest, rest);
    scanner.set(rest, b'"', whole, end);
    scanner.set(first, b'"', whole, 0);
    // What is escaped is not compared here.
    for state in [first, rest] {
        scanner.set(state, b'\\', escaped, MARK_UNCLEAR);
    }
    first
}

/// Objects and lists within the object, each with its texts.
fn nested(scanner: &mut Scanner, top: usize) {
    let mut around = top;
    for depth in 1..=DEPTH_MAX {
        let [inside, text, escaped] = [(); 3].map(|()| scanner.state(FLAT));
        for byte in *b"{[" {
            scanner.set(around, byte, inside, 0);
        }
        scanner.all(inside, inside);
        scanner.all(text, text);
        scanner.all(escaped, text);
        scanner.set(inside, b'"', text, 0);
        scanner.set(text, b'"', inside, 0);
        scanner.set(text, b'\\', escaped, 0);
        for (byte, next) in [(b'}', around), (b']', around)] {
            scanner.set(inside, byte, next, 0);
        }
        if depth == DEPTH_MAX {
            for byte in *b"{[" {
                scanner.set(inside, byte, FLAT, 0);
            }
        }
        around = inside;
    }
}

/// A search through whatever it is: for the name in quotes, and a colon and a text, or an empty line and a line (a part of a
/// form, RFC 7578, 4.2).
fn flat(scanner: &mut Scanner) {
    scanner.all(FLAT, FLAT);
    let before = scanner.free;
    let quoted = [b"\"", FIELD, b"\""].concat();
    let last = scanner.word(FLAT, &quoted, false, FLAT);
    // A quote that breaks the word begins a new one.
    (before..last).for_each(|state| {
        if state != last.saturating_sub(1) {
            scanner.set(state, b'"', before, 0);
        }
    });
    let [colon, ahead, first] = [(); 3].map(|()| scanner.state(FLAT));
    for state in [last, colon] {
        scanner.set(state, b':', ahead, 0);
    }
    for byte in *b" \t\r\n" {
        scanner.set(last, byte, colon, 0);
        scanner.set(colon, byte, colon, 0);
        scanner.set(ahead, byte, ahead, 0);
    }
    let named = value(scanner, first, (DONE, DONE), (MARK_LOOSE, MARK_LOOSE_END));
    scanner.set(ahead, b'"', named, 0);
    scanner.all(DONE, DONE);
    part(scanner, last, colon);
}

/// The model as a part of a form, behind the name in quotes.
fn part(scanner: &mut Scanner, last: usize, colon: usize) {
    let [ended, empty, returned] = [(); 3].map(|()| scanner.like(colon));
    scanner.set(last, b'\r', ended, 0);
    scanner.set(ended, b'\n', empty, 0);
    scanner.set(empty, b'\r', returned, 0);
    let [first, rest] = [(); 2].map(|()| scanner.state(FLAT));
    scanner.set(returned, b'\n', first, 0);
    (0..=u8::MAX).for_each(|byte| scanner.set(first, byte, rest, MARK_LOOSE));
    scanner.all(rest, rest);
    scanner.set(rest, b'\r', DONE, MARK_LOOSE_END);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforce::scanner::tests::{between, count};

    /// As the gate takes it.
    fn model(text: &str) -> Option<String> {
        let own = between(text, BODY, MARK_MODEL, MARK_MODEL_END);
        own.or_else(|| between(text, BODY, MARK_LOOSE, MARK_LOOSE_END))
    }

    #[test]
    fn model_is_found_in_a_body_of_its_own() {
        const CASES: [(&str, Option<&str>); 12] = [
            (r#"{"model":"a"}"#, Some("a")),
            (r#"{"x":"model","model": "c"}"#, Some("c")),
            (r#"{"modele":"d"}"#, None),
            (r#"{"mode":"d"}"#, None),
            (r#"{"x\"model":"d"}"#, None),
            (r#"{"model":"a\u0062"}"#, None),
            (r#"{"model":null,"n":-1.5e3,"b":true,"model":"e"}"#, Some("e")),
            (" \r\n{ \"model\"\t: \n\"f\" }", Some("f")),
            ("1f\r\n{\"model\":\"g\"}\r\n", Some("g")),
            ("\u{feff}{\"model\":\"h\"}", Some("h")),
            (r#"{"model":{"id":"i"},"model":"j"}"#, Some("j")),
            // The rest of a body whose begin was in another write.
            (r#"said"}],"model":"k"}"#, Some("k")),
        ];
        for (text, expected) in CASES {
            assert_eq!(model(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn model_of_the_object_itself_counts_and_the_last_of_several() {
        const CASES: [(&str, Option<&str>); 7] = [
            (r#"{"metadata":{"model":"no"},"model":"a"}"#, Some("a")),
            (r#"{"model":"a","metadata":{"model":"no"}}"#, Some("a")),
            (r#"{"messages":[{"content":[{"input":{"model":"no"}}]}],"model":"a"}"#, Some("a")),
            (r#"{"messages":[{"content":"}]\"},\"model\":\"no\""}],"model":"a"}"#, Some("a")),
            (r#"{"a":["\\"],"model":"a"}"#, Some("a")),
            (r#"{"model":"no","model":"a"}"#, Some("a")),
            (r#"{"tools":[{"model":"no"}]}"#, None),
        ];
        for (text, expected) in CASES {
            assert_eq!(model(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn what_stands_behind_the_object_does_not_take_the_place_of_its_model() {
        for behind in [r#"{"model":"no"}"#, "\r\nPOST / HTTP/1.1\r\n\r\n{\"model\":\"no\"}"] {
            assert_eq!(model(&format!("{{\"model\":\"a\"}}{behind}")).as_deref(), Some("a"));
        }
        assert_eq!(model(r#"{"n":1}{"model":"a"}"#).as_deref(), Some("a"));
    }

    #[test]
    fn model_is_found_in_a_form() {
        let form = |name: &str| {
            format!(
                "--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\nwhisper-1\r\n--b\r\n\
                 Content-Disposition: form-data; name=\"file\"; filename=\"model\"\r\n\r\nx\r\n--b--\r\n"
            )
        };
        assert_eq!(model(&form("model")).as_deref(), Some("whisper-1"));
        assert_eq!(
            model(&form("purpose")),
            Some("x".to_owned()),
            "a file of that name is a look-alike"
        );
        assert_eq!(count(&form("model"), BODY, MARK_UNCLEAR), 0);
    }

    #[test]
    fn what_is_nested_too_deep_to_be_told_apart_hides_no_model() {
        for depth in [DEPTH_MAX - 1, DEPTH_MAX, DEPTH_MAX + 1, DEPTH_MAX + 20] {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            let text = format!("{{\"x\":{open}1{close},\"model\":\"a\"}}");
            assert_eq!(model(&text).as_deref(), Some("a"), "{depth}");
        }
    }

    #[test]
    fn what_may_name_a_model_that_is_not_read_is_unclear() {
        const CASES: [(&str, usize); 9] = [
            (r#"{"model":"gpt\u002d4o"}"#, 1),
            (r#"{"\u006dodel":"gpt-4o"}"#, 1),
            ("--boundary\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx", 0),
            ("\u{89}PNG", 0),
            ("\u{1f}\u{8b}", 1),
            ("(\u{b5}/", 1),
            ("\0{\0\"", 1),
            (r#"{"messages":"\u006d","model":"a"}"#, 0),
            (r#"{"a":{"\u006dodel":"b"},"model":"a"}"#, 0),
        ];
        for (text, expected) in CASES {
            assert_eq!(count(text, BODY, MARK_UNCLEAR).min(1), expected, "{text}");
        }
    }
}
