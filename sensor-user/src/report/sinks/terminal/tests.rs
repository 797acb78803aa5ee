//! Sample events come in; the lines that a person would see are compared.

use super::*;
use crate::report::sinks::sample;
use unicode_width::UnicodeWidthStr;

fn shown(events: &[Event], width: Option<usize>, colour: bool, with_totals: bool) -> String {
    let mut out = Vec::new();
    let mut sink = Terminal::new(&mut out, Look::fixed(width, colour));
    for event in events {
        sink.take(event).unwrap();
    }
    if with_totals {
        sink.totals().unwrap();
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn golden_file_shows_the_view_at_several_widths() {
    let mut text = String::new();
    for width in [None, Some(140), Some(80)] {
        text.push_str(&shown(&sample::events(), width, false, true));
    }
    sample::compare(
        "terminal.txt",
        include_str!("../../../../../tests/golden/terminal.txt"),
        &text,
    );
}

#[test]
fn totals_of_nothing_say_so() {
    assert_eq!(shown(&[], None, false, true), "no call has been seen\n");
}

fn calls() -> Vec<Event> {
    vec![Event::Call(Box::new(sample::call())), sample::bare()]
}

#[test]
fn wide_line_shows_everything() {
    let text = shown(&calls(), None, false, false);
    let expected = [
        "03:04:05",
        "python3.13[4711]",
        "ana",
        "docker:3f2a91bc3f2a",
        "openai",
        "gpt-4o-mini-2024-07-18",
        "sk-proj-…a1B2 9f3c2e1a",
        "1,204",
        "1,024",
        "312",
        "$0.000291",
        "0.41s",
        "2.13s",
        "200",
    ];
    let line = text.lines().nth(1).unwrap();
    let mut rest = line;
    for word in expected {
        let (_, behind) =
            rest.split_once(word).unwrap_or_else(|| panic!("{word} is not in: {line}"));
        rest = behind;
    }
    assert!(text.lines().nth(2).unwrap().ends_with("cut aborted (truncated)"), "{text}");
}

#[test]
fn no_line_is_wider_than_the_terminal_and_columns_stand_under_their_titles() {
    for width in [20, 40, 60, 80, 100, 120, 160, 200, 300] {
        let text = shown(&calls(), Some(width), false, false);
        for line in text.lines() {
            assert!(line.width() <= width, "{width}: {line}");
        }
    }
    for line in shown(&calls(), Some(80), false, true).lines() {
        assert!(line.width() <= 80, "{line}");
    }
    let text = shown(&calls(), Some(120), false, false);
    let header = text.lines().next().unwrap();
    let line = text.lines().nth(1).unwrap();
    let column = |line: &str, word| line.split_once(word).unwrap().0.width();
    assert_eq!(column(header, "MODEL"), column(line, "gpt-4o"));
    assert_eq!(column(header, "STATUS"), column(line, "200"));
}

#[test]
fn narrow_terminal_keeps_process_model_and_cost() {
    let text = shown(&calls(), Some(80), false, false);
    let line = text.lines().nth(1).unwrap();
    for word in ["[4711]", "gpt-4o", "$0.000291", "200"] {
        assert!(line.contains(word), "{line}");
    }
}

#[test]
fn plain_output_holds_no_escape_and_coloured_output_resets_each() {
    assert!(!shown(&sample::events(), None, false, true).contains('\x1b'));
    let coloured = shown(&sample::events(), Some(200), true, true);
    assert!(coloured.contains("\x1b["));
    for line in coloured.lines().filter(|line| line.contains('\x1b')) {
        assert!(line.trim_end().ends_with("\x1b[0m"), "{line:?}");
    }
}

#[test]
fn text_of_a_peer_cannot_steer_the_terminal() {
    let mut call = sample::call();
    call.call.response_model = Some("\x1b]0;owned\x07\u{9b}2Jm\r\n".to_owned());
    call.call.error_type = Some("\x1b[2J".to_owned());
    let text = shown(&[Event::Call(Box::new(call))], None, false, true);
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
}

#[test]
fn header_comes_again_when_the_width_changes_and_after_totals() {
    let mut out = Vec::new();
    let mut sink = Terminal::new(&mut out, Look::fixed(Some(120), false));
    sink.take(&calls()[0]).unwrap();
    sink.take(&calls()[0]).unwrap();
    sink.look = Look::fixed(Some(100), false);
    sink.take(&calls()[0]).unwrap();
    sink.totals().unwrap();
    sink.take(&calls()[0]).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("TIME")).count(), 3);
}

#[test]
fn notes_say_what_was_not_seen() {
    let text = shown(&sample::events(), None, false, false);
    assert!(text.contains("! blind python3.13[4711] → api.anthropic.com: jsse"), "{text}");
    assert!(text.contains("api.anthropic.com: no_room, 32,768 bytes missing"), "{text}");
    assert!(text.contains("! lost 12 records, 98,304 bytes: payload_no_room"), "{text}");
}
