//! Bytes of a `text/event-stream` body come in, cut anywhere; event names, data pieces and event ends go out.
//!
//! The grammar is that of the WHATWG HTML standard, 9.2.6 "Interpreting an event stream". Data is never buffered.

use memchr::memchr2;

/// Bytes of an event's name that are kept; the longest name in use has 45 (`response.code_interpreter_call_…`).
pub const EVENT_NAME_BYTES_MAX: usize = 128;

/// The only fields that are not ignored; longer names are skipped to the end of their line.
const FIELD_BYTES_MAX: usize = 5;

/// UTF-8's byte order mark; one at the start of the stream is no part of the first line.
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// Takes the parts of the events, in order.
pub trait SseSink {
    /// The event's name is known; empty for the default (`message`). May come behind the data and more than once:
    /// the last one before `dispatch` counts, and the next event begins without a name.
    fn event_name(&mut self, name: &[u8]);
    /// The next part of the event's data; lines are already joined by a line feed.
    fn data(&mut self, piece: &[u8]);
    /// The event is complete.
    fn dispatch(&mut self);
}

/// What the parser is in the middle of.
///
/// ```text
/// LineStart -> Field -> Blank -> Data | Name -> LineStart
///     |          `----------------> Skip --------^
///     `-> (empty line: dispatch)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Bytes of a possible byte order mark were seen.
    Mark(u8),
    LineStart,
    /// Inside a field's name, kept in `word`.
    Field,
    /// Behind the colon: one space may follow.
    Blank(Field),
    Data,
    Name,
    /// A comment, or a field that does not matter.
    Skip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Data,
    Event,
}

/// A parser of one event stream.
#[derive(Debug)]
pub struct Parser {
    state: State,
    /// The last byte was CR: a LF that follows belongs to the same line end.
    after_cr: bool,
    /// The event has at least one data line; the next one is joined by a line feed.
    has_data: bool,
    /// The event has been given a name.
    has_name: bool,
    word: [u8; EVENT_NAME_BYTES_MAX],
    word_len: usize,
}

impl Default for Parser {
    fn default() -> Self {
        Self {
            state: State::Mark(0),
            after_cr: false,
            has_data: false,
            has_name: false,
            word: [0; EVENT_NAME_BYTES_MAX],
            word_len: 0,
        }
    }
}

impl Parser {
    /// Makes a parser at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses the next bytes of the stream.
    pub fn push(&mut self, mut input: &[u8], sink: &mut dyn SseSink) {
        while let Some(first) = input.first() {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                input = input.get(1..).unwrap_or_default();
            } else {
                input = self.step(*first, input, sink);
            }
        }
    }

    /// Ends the stream. An event without its empty line is still dispatched, unlike in the standard: the figures
    /// of a last event were billed although a browser would forget it.
    pub fn finish(&mut self, sink: &mut dyn SseSink) {
        match self.state {
            State::Field => self.end_field_without_colon(sink),
            State::Blank(Field::Data) => self.begin_data(sink),
            State::Blank(Field::Event) => {
                self.begin_word(State::Name);
                self.give_name(sink);
            }
            State::Name => self.give_name(sink),
            _ => {}
        }
        self.end_event(sink);
        *self = Self::default();
    }

    /// Takes at least one byte in every state but `Mark` and `Blank`, which then give way to another.
    fn step<'a>(&mut self, first: u8, input: &'a [u8], sink: &mut dyn SseSink) -> &'a [u8] {
        match self.state {
            State::Mark(seen) => self.mark(seen, first, input),
            State::LineStart => self.line_start(first, input, sink),
            State::Field => self.field(input, sink),
            State::Blank(field) => {
                match field {
                    Field::Data => self.begin_data(sink),
                    Field::Event => self.begin_word(State::Name),
                }
                if first == b' ' { input.get(1..).unwrap_or_default() } else { input }
            }
            State::Data | State::Name | State::Skip => self.value(input, sink),
        }
    }

    fn mark<'a>(&mut self, seen: u8, first: u8, input: &'a [u8]) -> &'a [u8] {
        if BYTE_ORDER_MARK.get(usize::from(seen)) != Some(&first) {
            // A part of a mark is a part of an unknown field's name.
            self.state = if seen == 0 { State::LineStart } else { State::Skip };
            return input;
        }
        let seen = seen.saturating_add(1);
        let whole = usize::from(seen) == BYTE_ORDER_MARK.len();
        self.state = if whole { State::LineStart } else { State::Mark(seen) };
        input.get(1..).unwrap_or_default()
    }

    /// Takes a field's value up to the line's end; returns what follows.
    fn value<'a>(&mut self, input: &'a [u8], sink: &mut dyn SseSink) -> &'a [u8] {
        let end = memchr2(b'\r', b'\n', input);
        let (value, rest) =
            input.split_at_checked(end.unwrap_or(input.len())).unwrap_or((input, &[]));
        match self.state {
            State::Data if !value.is_empty() => sink.data(value),
            State::Name => self.keep(value),
            _ => {}
        }
        let Some((line_end, rest)) = rest.split_first() else { return rest };
        if self.state == State::Name {
            self.give_name(sink);
        }
        self.after_cr = *line_end == b'\r';
        self.state = State::LineStart;
        rest
    }

    fn line_start<'a>(&mut self, first: u8, input: &'a [u8], sink: &mut dyn SseSink) -> &'a [u8] {
        match first {
            b'\r' | b'\n' => {
                self.after_cr = first == b'\r';
                self.end_event(sink);
                input.get(1..).unwrap_or_default()
            }
            b':' => {
                self.state = State::Skip;
                input
            }
            _ => {
                // Nearly every line of a model's stream begins like this and lies within one chunk.
                if let Some(rest) = input.strip_prefix(b"data: ") {
                    self.begin_data(sink);
                    return rest;
                }
                self.begin_word(State::Field);
                input
            }
        }
    }

    /// Collects a field's name up to the colon or the line's end.
    fn field<'a>(&mut self, input: &'a [u8], sink: &mut dyn SseSink) -> &'a [u8] {
        let window = input.get(..=FIELD_BYTES_MAX).unwrap_or(input);
        let end = window.iter().position(|byte| matches!(byte, b':' | b'\r' | b'\n'));
        self.keep(window.get(..end.unwrap_or(window.len())).unwrap_or_default());
        let Some(end) = end else {
            if self.word_len > FIELD_BYTES_MAX {
                self.state = State::Skip;
            }
            return input.get(window.len()..).unwrap_or_default();
        };
        let rest = input.get(end.saturating_add(1)..).unwrap_or_default();
        if window.get(end) == Some(&b':') {
            self.state = match self.word.get(..self.word_len) {
                Some(b"data") => State::Blank(Field::Data),
                Some(b"event") => State::Blank(Field::Event),
                _ => State::Skip,
            };
        } else {
            self.after_cr = window.get(end) == Some(&b'\r');
            self.end_field_without_colon(sink);
            self.state = State::LineStart;
        }
        rest
    }

    fn begin_word(&mut self, state: State) {
        self.state = state;
        self.word_len = 0;
    }

    /// Appends to the word, as far as there is room.
    fn keep(&mut self, bytes: &[u8]) {
        let room = self.word.get_mut(self.word_len..).unwrap_or_default();
        let len = bytes.len().min(room.len());
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.word_len = self.word_len.saturating_add(len);
    }

    fn begin_data(&mut self, sink: &mut dyn SseSink) {
        if self.has_data {
            sink.data(b"\n");
        }
        self.has_data = true;
        self.state = State::Data;
    }

    fn give_name(&mut self, sink: &mut dyn SseSink) {
        self.has_name = true;
        sink.event_name(self.word.get(..self.word_len).unwrap_or_default());
    }

    /// A line without a colon is a field with an empty value.
    fn end_field_without_colon(&mut self, sink: &mut dyn SseSink) {
        match self.word.get(..self.word_len) {
            Some(b"data") => self.begin_data(sink),
            Some(b"event") => {
                self.word_len = 0;
                self.give_name(sink);
            }
            _ => {}
        }
    }

    fn end_event(&mut self, sink: &mut dyn SseSink) {
        if self.has_data {
            sink.dispatch();
        } else if self.has_name {
            // An event without data is none; its name must not reach the next one.
            sink.event_name(b"");
        }
        self.has_data = false;
        self.has_name = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Events {
        name: Vec<u8>,
        data: Vec<u8>,
        done: Vec<(String, String)>,
    }

    impl SseSink for Events {
        fn event_name(&mut self, name: &[u8]) {
            self.name = name.to_vec();
        }
        fn data(&mut self, piece: &[u8]) {
            assert!(!piece.is_empty());
            self.data.extend_from_slice(piece);
        }
        fn dispatch(&mut self) {
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            self.done
                .push((text(std::mem::take(&mut self.name)), text(std::mem::take(&mut self.data))));
        }
    }

    fn parse(parts: &[&[u8]]) -> Vec<(String, String)> {
        let mut events = Events::default();
        let mut parser = Parser::new();
        for part in parts {
            parser.push(part, &mut events);
        }
        parser.finish(&mut events);
        events.done
    }

    type Case = (&'static str, &'static [(&'static str, &'static str)]);

    const CASES: &[Case] = &[
        ("data: one\n\ndata: two\n\n", &[("", "one"), ("", "two")]),
        ("data: one\r\n\r\ndata: two\r\n\r\n", &[("", "one"), ("", "two")]),
        ("data: one\r\rdata: two\r\r", &[("", "one"), ("", "two")]),
        ("data: one\r\n\rdata: two\n\r\n", &[("", "one"), ("", "two")]),
        ("\u{feff}data: marked\n\n", &[("", "marked")]),
        ("\n\u{feff}data: late mark\n\ndata: x\n\n", &[("", "x")]),
        ("data: é 漢字 🦀\n\n", &[("", "é 漢字 🦀")]),
        ("data:YHOO\ndata:+2\ndata: 10\n\n", &[("", "YHOO\n+2\n10")]),
        ("data\n\ndata\ndata\n\ndata:", &[("", ""), ("", "\n"), ("", "")]),
        ("data:test\n\ndata:  test\n\n", &[("", "test"), ("", " test")]),
        (": a comment\n\n:\n:data: x\ndata: y\n\n", &[("", "y")]),
        ("event: delta\ndata: 1\n\ndata: 2\n\n", &[("delta", "1"), ("", "2")]),
        ("data: 1\nevent: late\n\n", &[("late", "1")]),
        ("event: a\nevent: b\ndata: 1\n\n", &[("b", "1")]),
        ("event: a\nevent\ndata: 1\n\n", &[("", "1")]),
        ("event: lost\n\ndata: 1\n\n", &[("", "1")]),
        (
            "id: 7\nretry: 10\ndat: x\ndatax: x\ndatabase: x\neventually: x\ndata: y\n\n",
            &[("", "y")],
        ),
        ("Data: x\n data: x\ndata : x\n\n", &[]),
        ("data: a: b:c\n\n", &[("", "a: b:c")]),
        ("data: no empty line", &[("", "no empty line")]),
        ("event: e", &[]),
        ("", &[]),
    ];

    #[test]
    fn streams_parse_as_the_standard_says_however_they_are_cut() {
        for (stream, expected) in CASES {
            let expected: Vec<(String, String)> =
                expected.iter().map(|(name, data)| ((*name).into(), (*data).into())).collect();
            let bytes = stream.as_bytes();
            assert_eq!(parse(&[bytes]), expected, "{stream:?}");
            assert_eq!(
                parse(&bytes.chunks(1).collect::<Vec<_>>()),
                expected,
                "{stream:?} by bytes"
            );
            let cuts = (0..=bytes.len())
                .flat_map(|first| (first..=bytes.len()).map(move |second| (first, second)));
            for (first, second) in cuts {
                let parts = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(parse(&parts), expected, "{stream:?} cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn names_are_cut_at_their_bound() {
        let stream = format!("event: {}\ndata: x\n\n", "n".repeat(1000));
        assert_eq!(parse(&[stream.as_bytes()]), [("n".repeat(EVENT_NAME_BYTES_MAX), "x".into())]);
    }
}
