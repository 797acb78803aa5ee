//! Bytes of a chunked body come in; data slices and the body's end go out (RFC 9112, 7.1).

/// Bytes of chunk extensions on one line, and of all trailer fields together; nobody sends more.
const EXTRA_BYTES_MAX: u32 = 16 * 1024;

/// Where in the body the parser stands.
///
/// ```text
/// Size -> Extension -> Data -> DataEnd -> Size …
///              `-> (size 0) TrailerStart <-> TrailerLine
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Inside the hexadecimal size; no digit yet or some.
    Size { any: bool },
    /// Between the size and the line feed.
    Extension,
    /// Inside the data.
    Data,
    /// Between the data and the line feed.
    DataEnd,
    /// At the start of a trailer line.
    TrailerStart,
    /// Inside a trailer line.
    TrailerLine,
}

/// What the next bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Data of a chunk.
    Data(&'a [u8]),
    /// The input is used up.
    More,
    /// The body has ended.
    End,
    /// The bytes break the format.
    Malformed,
}

/// Parser of one chunked body.
#[derive(Debug)]
pub(super) struct Chunked {
    state: State,
    /// Bytes left of the chunk, or its size so far.
    left: u64,
    /// Bytes seen of extensions or trailers.
    extra: u32,
}

impl Chunked {
    pub(super) fn new() -> Self {
        Self { state: State::Size { any: false }, left: 0, extra: 0 }
    }

    /// Takes bytes from the front of `input` up to the next data or the end.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Part<'a> {
        loop {
            if self.state == State::Data {
                return self.data(input);
            }
            let Some((byte, rest)) = input.split_first() else { return Part::More };
            *input = rest;
            if let Some(part) = self.line_byte(*byte) {
                return part;
            }
        }
    }

    /// Skips missing bytes, where they lie within the data of one chunk.
    pub(super) fn skip(&mut self, missing: u64) -> bool {
        let within = self.state == State::Data && missing <= self.left;
        if within {
            self.left = self.left.saturating_sub(missing);
            if self.left == 0 {
                self.state = State::DataEnd;
            }
        }
        within
    }

    fn data<'a>(&mut self, input: &mut &'a [u8]) -> Part<'a> {
        if input.is_empty() {
            return Part::More;
        }
        let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
        let (data, rest) = input.split_at_checked(take).unwrap_or((input, &[]));
        *input = rest;
        self.left = self.left.saturating_sub(u64::try_from(take).unwrap_or(u64::MAX));
        if self.left == 0 {
            self.state = State::DataEnd;
        }
        Part::Data(data)
    }

    /// Takes one byte outside the data. A line may end with LF alone (RFC 9112, 2.2).
    fn line_byte(&mut self, byte: u8) -> Option<Part<'static>> {
        match (self.state, byte) {
            (State::Size { any }, _) => return self.size_byte(any, byte),
            (State::Extension, b'\n') => self.end_size_line(),
            (State::DataEnd, b'\r') => {}
            (State::DataEnd, b'\n') => self.state = State::Size { any: false },
            (State::DataEnd | State::Data, _) => return Some(Part::Malformed),
            (State::TrailerStart, b'\n') => return Some(Part::End),
            (State::TrailerLine, b'\n') => self.state = State::TrailerStart,
            (State::TrailerStart, b'\r') | (State::Extension | State::TrailerLine, _) => {
                return self.count();
            }
            (State::TrailerStart, _) => {
                self.state = State::TrailerLine;
                return self.count();
            }
        }
        None
    }

    fn size_byte(&mut self, any: bool, byte: u8) -> Option<Part<'static>> {
        let digit = match byte {
            b'0'..=b'9' => byte.wrapping_sub(b'0'),
            b'a'..=b'f' => byte.wrapping_sub(b'a').wrapping_add(10),
            b'A'..=b'F' => byte.wrapping_sub(b'A').wrapping_add(10),
            b'\n' if any => {
                self.end_size_line();
                return None;
            }
            // RFC 9112, 7.1.1: blanks before an extension are tolerated.
            b';' | b'\r' | b' ' | b'\t' if any => {
                self.state = State::Extension;
                return None;
            }
            _ => return Some(Part::Malformed),
        };
        let size = self.left.checked_mul(16).and_then(|size| size.checked_add(u64::from(digit)));
        let Some(size) = size else { return Some(Part::Malformed) };
        self.left = size;
        self.state = State::Size { any: true };
        None
    }

    fn end_size_line(&mut self) {
        self.extra = 0;
        self.state = if self.left == 0 { State::TrailerStart } else { State::Data };
    }

    /// Counts a byte of an extension or trailer against its bound.
    fn count(&mut self) -> Option<Part<'static>> {
        self.extra = self.extra.saturating_add(1);
        (self.extra > EXTRA_BYTES_MAX).then_some(Part::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data, how the parse ended, and how many bytes were left behind the end.
    fn parse(body: &[u8], step: usize) -> (Vec<u8>, Part<'static>, usize) {
        let mut chunked = Chunked::new();
        let mut data = Vec::new();
        let mut chunks = body.chunks(step);
        while let Some(mut input) = chunks.next() {
            let end = loop {
                match chunked.next(&mut input) {
                    Part::Data(bytes) => data.extend_from_slice(bytes),
                    Part::More => break Part::More,
                    Part::End => break Part::End,
                    Part::Malformed => break Part::Malformed,
                }
            };
            if end != Part::More {
                let left = chunks.map(<[u8]>::len).sum::<usize>();
                return (data, end, left.saturating_add(input.len()));
            }
        }
        (data, Part::More, 0)
    }

    type Case = (&'static [u8], &'static [u8], Part<'static>, &'static [u8]);

    const CASES: &[Case] = &[
        (b"5\r\nhello\r\n0\r\n\r\nnext", b"hello", Part::End, b"next"),
        (b"1\r\na\r\nA;x=\"y\"\r\n0123456789\r\n000\r\n\r\n", b"a0123456789", Part::End, b""),
        (b"3\nabc\n0\n\n", b"abc", Part::End, b""),
        (b"3 \r\nabc\r\n0\r\nETag: x\r\nA: b\r\n\r\nGET", b"abc", Part::End, b"GET"),
        (b"5\r\nhel", b"hel", Part::More, b""),
        (b"\r\n", b"", Part::Malformed, b"\n"),
        (b"xyz", b"", Part::Malformed, b"yz"),
        (b"2\r\nabc\r\n", b"ab", Part::Malformed, b"\r\n"),
        (b"11111111111111111\r\n", b"", Part::Malformed, b"\r\n"),
    ];

    #[test]
    fn chunks_parse_however_they_are_cut() {
        for (body, data, end, rest) in CASES {
            for step in 1..=body.len() {
                let (parsed, ended, left) = parse(body, step);
                let name = body.escape_ascii();
                assert_eq!(
                    (parsed.as_slice(), &ended, left),
                    (*data, end, rest.len()),
                    "{name} by {step}"
                );
            }
        }
    }

    #[test]
    fn endless_extensions_and_trailers_are_malformed() {
        let filler = "x".repeat(20_000);
        assert_eq!(parse(format!("1;{filler}").as_bytes(), 1000).1, Part::Malformed);
        assert_eq!(
            parse(format!("0\r\n{}", "a: b\r\n".repeat(5000)).as_bytes(), 1000).1,
            Part::Malformed
        );
    }

    #[test]
    fn missing_bytes_are_skipped_within_a_chunk_only() {
        let mut chunked = Chunked::new();
        let mut input: &[u8] = b"a\r\n01";
        assert!(!chunked.skip(1));
        assert_eq!(chunked.next(&mut input), Part::Data(b"01"));
        assert!(!chunked.skip(9));
        assert!(chunked.skip(8));
        let mut input: &[u8] = b"\r\n0\r\n\r\n";
        assert_eq!(chunked.next(&mut input), Part::End);
    }
}
