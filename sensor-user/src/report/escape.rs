//! Text that a peer or a process chose comes in; text that cannot steer a terminal or deceive a reader goes out.

use std::borrow::Cow;
use std::fmt::Write;

/// Writes each control character as `\u{…}`; all else stays.
pub fn plain(text: &str) -> Cow<'_, str> {
    replaced(text, |c, out| write!(out, "\\u{{{:x}}}", u32::from(c)))
}

/// The same of a text of several lines, which stay lines.
pub fn lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

/// The same within a JSON document, where the serializer has escaped the ASCII ones.
pub fn json(text: &str) -> Cow<'_, str> {
    let is_left = |c: char| !c.is_ascii() || c == '\x7f';
    replaced(text, |c, out| {
        if is_left(c) { write!(out, "\\u{:04x}", u32::from(c)) } else { out.write_char(c) }
    })
}

fn replaced(text: &str, write: impl Fn(char, &mut String) -> std::fmt::Result) -> Cow<'_, str> {
    if !text.contains(is_hazard) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hazard(c) {
            // Writing into a string cannot fail.
            let _written = write(c, &mut out);
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// C0, DEL and C1 controls, line and paragraph separators, and the marks that reorder or hide text.
fn is_hazard(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_becomes_visible() {
        const CASES: &[(&str, &str)] = &[
            ("gpt-4o", "gpt-4o"),
            ("zoë/日本", "zoë/日本"),
            ("a\x1b[31mb", "a\\u{1b}[31mb"),
            ("a\r\nb\t", "a\\u{d}\\u{a}b\\u{9}"),
            ("\u{9b}2J\x7f", "\\u{9b}2J\\u{7f}"),
            ("a\u{202e}b\u{200b}", "a\\u{202e}b\\u{200b}"),
        ];
        for (before, after) in CASES {
            assert_eq!(plain(before), *after);
        }
    }

    #[test]
    fn lines_stay_and_nothing_else_steers() {
        assert_eq!(lines("a\x1b[2J\nb\r\n"), "a\\u{1b}[2J\nb\\u{d}\n");
    }

    #[test]
    fn escaped_document_still_says_the_same() {
        let text = "a\u{9b}\x1b\u{202e}\x7f\n日";
        let document = serde_json::to_string(text).unwrap();
        let escaped = json(&document);
        assert!(!escaped.contains(is_hazard));
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
    }
}
