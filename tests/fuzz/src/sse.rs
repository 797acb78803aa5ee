//! A body of server-sent events comes in; the events must be those of a plain reading of the standard, however it is cut.

use sensor_user::http::sse::{EVENT_NAME_BYTES_MAX, Parser, SseSink};

use crate::input::{Choices, SINGLE_MAX};

/// Name and data of an event.
type Told = (Vec<u8>, Vec<u8>);

#[derive(Default)]
struct Recorder {
    event: Told,
    events: Vec<Told>,
}

impl SseSink for Recorder {
    fn event_name(&mut self, name: &[u8]) {
        self.event.0 = name.to_vec();
    }

    fn data(&mut self, piece: &[u8]) {
        assert!(!piece.is_empty(), "a piece of nothing");
        self.event.1.extend_from_slice(piece);
    }

    fn dispatch(&mut self) {
        self.events.push(std::mem::take(&mut self.event));
    }
}

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
    let whole = parse(&[data]);
    assert_eq!(whole, reference(data), "the standard says otherwise");
    assert_eq!(parse(&Choices::of(data).parts(data)), whole, "cut anywhere");
    if data.len() <= SINGLE_MAX {
        assert_eq!(parse(&data.chunks(1).collect::<Vec<_>>()), whole, "by bytes");
    }
}

fn parse(parts: &[&[u8]]) -> Vec<Told> {
    let (mut parser, mut recorder) = (Parser::new(), Recorder::default());
    for part in parts {
        parser.push(part, &mut recorder);
    }
    parser.finish(&mut recorder);
    recorder.events
}

/// WHATWG HTML, 9.2.6, line by line; events without data are not dispatched, the last one needs no empty line.
fn reference(data: &[u8]) -> Vec<Told> {
    let text = data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data);
    let (mut events, mut name, mut lines) = (Vec::new(), Vec::new(), Vec::<&[u8]>::new());
    let mut dispatch = |name: &mut Vec<u8>, lines: &mut Vec<&[u8]>| {
        let name = std::mem::take(name);
        if !lines.is_empty() {
            events.push((name, lines.join(&b'\n')));
        }
        lines.clear();
    };
    for line in split_lines(text) {
        if line.is_empty() {
            dispatch(&mut name, &mut lines);
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (field, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => lines.push(value),
            b"event" => name = value.get(..EVENT_NAME_BYTES_MAX).unwrap_or(value).to_vec(),
            _ => {}
        }
    }
    dispatch(&mut name, &mut lines);
    events
}

/// Lines end with CR LF, LF or CR.
fn split_lines(text: &[u8]) -> Vec<&[u8]> {
    let (mut lines, mut rest) = (Vec::new(), text);
    while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        let (line, behind) = rest.split_at(end);
        lines.push(line);
        rest = behind.strip_prefix(b"\r\n").or_else(|| behind.get(1..)).unwrap_or_default();
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}
