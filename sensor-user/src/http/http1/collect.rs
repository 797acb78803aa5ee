//! Bytes of one side come in; whole heads go out, and after an interruption the place where the next one begins.

use std::fmt;

use memchr::{memchr, memchr_iter};
use zeroize::Zeroize;

use crate::http::sniff::Shape;

/// Decides whether bytes begin a message of this side.
pub(super) type StartLine = fn(&[u8]) -> Shape;

/// What became of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken<'a> {
    /// The head is not complete yet; all input was taken.
    More,
    /// A whole head, its empty line included, and when its first byte passed.
    Head(&'a [u8], u64),
    /// No head begins like this, or none is that long.
    Malformed,
}

/// Collects a head that is spread over several pieces; a head within one piece is never copied.
#[derive(Default)]
pub(super) struct Collector {
    held: Vec<u8>,
    /// When the first byte of `held` passed.
    at_ns: u64,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Collector({} bytes)", self.held.len())
    }
}

impl Collector {
    /// Forgets what was collected, keys among it, and gives the memory back: few heads are cut.
    pub(super) fn clear(&mut self) {
        self.held.zeroize();
        self.held.shrink_to_fit();
    }

    /// Bytes held.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Takes bytes from the front of `input` up to a head's end; the number says how many.
    pub(super) fn take<'a>(
        &'a mut self,
        input: &'a [u8],
        at_ns: u64,
        bytes_max: usize,
        start_line: StartLine,
    ) -> (Taken<'a>, usize) {
        let mut blank = 0;
        if self.held.is_empty() {
            // RFC 9112, 2.2: empty lines before a start line are ignored.
            blank = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            self.at_ns = at_ns;
        }
        let input = input.get(blank..).unwrap_or_default();
        if self.held.is_empty() {
            if start_line(input) == Shape::No {
                return (Taken::Malformed, blank);
            }
            let end = head_end(input, 0);
            match end.and_then(|end| input.get(..end)) {
                Some(head) if head.len() <= bytes_max => {
                    return (Taken::Head(head, at_ns), blank.saturating_add(head.len()));
                }
                Some(head) => return (Taken::Malformed, blank.saturating_add(head.len())),
                None => {}
            }
        }
        let (taken, count) = self.append(input, bytes_max, start_line);
        (taken, blank.saturating_add(count))
    }

    /// Takes bytes of a head that does not lie within one piece.
    fn append(
        &mut self,
        input: &[u8],
        bytes_max: usize,
        start_line: StartLine,
    ) -> (Taken<'_>, usize) {
        let held = self.held.len();
        let room = bytes_max.saturating_sub(held);
        let taken = input.get(..room.min(input.len())).unwrap_or_default();
        self.held.extend_from_slice(taken);
        // The last three bytes held before may be the beginning of the end.
        if let Some(end) = head_end(&self.held, held.saturating_sub(3)) {
            // What is refused within one piece is refused in parts, too.
            if start_line(&self.held) == Shape::No {
                self.clear();
                return (Taken::Malformed, 0);
            }
            self.held.truncate(end);
            return (Taken::Head(&self.held, self.at_ns), end.saturating_sub(held));
        }
        let full = taken.len() < input.len();
        if full || start_line(&self.held) == Shape::No {
            self.clear();
            return (Taken::Malformed, if full { taken.len() } else { 0 });
        }
        (Taken::More, input.len())
    }

    /// Searches `input` for a start line, at its beginning and behind each line feed; a body that was cut gives no
    /// better hint. `true` where one was found: what is held and what is left of `input` then begin with it.
    pub(super) fn search(&mut self, input: &mut &[u8], at_ns: u64, start_line: StartLine) -> bool {
        if !self.held.is_empty() {
            let line = memchr(b'\n', input).map_or(input.len(), |end| end.saturating_add(1));
            let (rest_of_line, behind) = input.split_at_checked(line).unwrap_or((input, &[]));
            self.held.extend_from_slice(rest_of_line);
            match start_line(&self.held) {
                Shape::No => self.clear(),
                Shape::Yes => {
                    *input = behind;
                    return true;
                }
                Shape::Maybe => {
                    *input = &[];
                    return false;
                }
            }
        }
        loop {
            match start_line(input) {
                Shape::Yes => return true,
                Shape::Maybe => {
                    self.held.extend_from_slice(input);
                    self.at_ns = at_ns;
                    *input = &[];
                    return false;
                }
                Shape::No => {}
            }
            let behind = memchr(b'\n', input).and_then(|end| input.get(end.saturating_add(1)..));
            let Some(behind) = behind else {
                *input = &[];
                return false;
            };
            *input = behind;
        }
    }
}

/// The offset behind a head's empty line, searched from `from` on.
fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let searched = bytes.get(from..)?;
    memchr_iter(b'\n', searched).find_map(|feed| {
        let behind = from.saturating_add(feed).saturating_add(1);
        match bytes.get(behind..)? {
            [b'\n', ..] => Some(behind.saturating_add(1)),
            [b'\r', b'\n', ..] => Some(behind.saturating_add(2)),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::sniff::{request_line, status_line};

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    #[test]
    fn a_head_is_whole_however_it_is_cut() {
        let message = [b"\r\n", HEAD, b"body"].concat();
        for cut in 0..message.len() - 4 {
            let (first, second) = message.split_at(cut);
            let mut collector = Collector::default();
            assert_eq!(collector.take(first, 1, 100, request_line), (Taken::More, cut));
            let at_ns = if cut > 2 { 1 } else { 2 };
            let expected = (Taken::Head(HEAD, at_ns), second.len() - b"body".len());
            assert_eq!(collector.take(second, 2, 100, request_line), expected, "{cut}");
        }
    }

    #[test]
    fn long_and_implausible_heads_are_malformed() {
        let mut collector = Collector::default();
        let (first, second) = HEAD.split_at(20);
        assert_eq!(collector.take(first, 0, 25, request_line), (Taken::More, 20));
        assert_eq!(collector.take(second, 0, 25, request_line), (Taken::Malformed, 5));
        assert_eq!(collector.take(HEAD, 0, 25, request_line), (Taken::Malformed, HEAD.len()));
        assert_eq!(collector.take(b"{\"json\"", 0, 25, request_line), (Taken::Malformed, 0));
        // The line ends in a version that is none; only its end shows that.
        assert_eq!(collector.take(b"GET / HTTP/1.1\r", 0, 99, request_line), (Taken::More, 15));
        let rest = b"HTTP/1.x\r\n\r\n";
        assert_eq!(collector.take(rest, 0, 99, request_line), (Taken::Malformed, 0));
    }

    #[test]
    fn a_start_line_is_found_behind_a_line_feed_however_it_is_cut() {
        let stream = b"rest of a body\nGET it\n\nHTTP/1.1 200 OK\r\nA: b\r\n\r\n";
        for cut in 0..=stream.len() {
            let (mut first, mut second) = stream.split_at(cut);
            let mut collector = Collector::default();
            let found = collector.search(&mut first, 1, status_line);
            assert!(found || collector.search(&mut second, 2, status_line), "{cut}");
            let rest = [&collector.held, first, second].concat();
            assert!(rest.starts_with(b"HTTP/1.1 200 OK\r\nA: b"), "{cut}");
        }
    }
}
