//! Copies of writes come in at their entry; the bytes that the library accepted go out at their return.

use bytes::Bytes;

/// Chunks of one call that wait for its return; the kernel half copies at most this many.
const CHUNKS_MAX: usize = sensor_common::limits::CHUNKS_PER_CALL_MAX as usize + 2;

/// A part of the plaintext of one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Offset of the first byte.
    pub(super) offset: u64,
    /// Bytes that the part stands for.
    pub(super) length: u64,
    /// Bytes that were captured, from `offset` on; the rest is lost.
    pub(super) bytes: Bytes,
    /// When the call was made.
    pub(super) at_ns: u64,
}

impl Part {
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// The write of one connection whose return was not yet seen.
#[derive(Debug, Default)]
pub(super) struct Writes {
    pending: Vec<Part>,
}

impl Writes {
    /// Takes a chunk copied at entry; gives back parts of an earlier call whose return was lost but which, as the offset
    /// shows, was accepted.
    pub(super) fn enter(&mut self, part: Part) -> Vec<Part> {
        let mut accepted = Vec::new();
        if let (Some(first), Some(last)) = (self.pending.first(), self.pending.last())
            && part.offset != last.end()
        {
            // The same offset again is a retry; a later one means that the bytes between were accepted.
            let moved = part.offset.saturating_sub(first.offset);
            accepted = self.commit(moved);
        }
        if self.pending.len() < CHUNKS_MAX {
            self.pending.push(part);
        }
        accepted
    }

    /// Takes the return of the call: the first `accepted` bytes go out, the rest was not sent.
    pub(super) fn commit(&mut self, accepted: u64) -> Vec<Part> {
        let Some(start) = self.pending.first().map(|part| part.offset) else { return Vec::new() };
        let end = start.saturating_add(accepted);
        let mut parts: Vec<_> = self.pending.drain(..).filter(|part| part.offset < end).collect();
        for part in &mut parts {
            part.length = part.length.min(end.saturating_sub(part.offset));
            let keep = usize::try_from(part.length).unwrap_or(usize::MAX).min(part.bytes.len());
            part.bytes.truncate(keep);
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(offset: u64, text: &'static str) -> Part {
        let length = u64::try_from(text.len()).unwrap();
        Part { offset, length, bytes: Bytes::from_static(text.as_bytes()), at_ns: 0 }
    }

    fn text(parts: &[Part]) -> String {
        parts.iter().map(|part| String::from_utf8_lossy(&part.bytes).into_owned()).collect()
    }

    #[test]
    fn retry_is_not_counted_twice() {
        let mut writes = Writes::default();
        assert!(writes.enter(part(0, "hello")).is_empty());
        assert!(writes.commit(0).is_empty());
        assert!(writes.enter(part(0, "hello")).is_empty());
        assert_eq!(text(&writes.commit(5)), "hello");
        assert!(writes.commit(5).is_empty());
    }

    #[test]
    fn partial_write_goes_out_as_far_as_it_was_accepted() {
        let mut writes = Writes::default();
        assert!(writes.enter(part(0, "abcd")).is_empty());
        assert!(writes.enter(part(4, "efgh")).is_empty());
        assert_eq!(text(&writes.commit(6)), "abcdef");
    }

    #[test]
    fn lost_return_is_made_good_by_the_next_offset() {
        let mut writes = Writes::default();
        assert!(writes.enter(part(0, "abcd")).is_empty());
        assert_eq!(
            text(&writes.enter(part(4, "efgh"))),
            "",
            "a chunk of the same call looks alike"
        );
        assert_eq!(text(&writes.enter(part(20, "x"))), "abcdefgh");
    }

    #[test]
    fn write_that_was_answered_is_accepted_once_and_whole() {
        let mut writes = Writes::default();
        assert!(writes.enter(part(8, "abcd")).is_empty());
        assert!(writes.enter(part(12, "ef")).is_empty());
        assert_eq!(text(&writes.commit(u64::MAX)), "abcdef");
        assert!(writes.commit(6).is_empty());
        assert!(writes.enter(part(14, "gh")).is_empty());
        assert_eq!(text(&writes.commit(2)), "gh");
    }

    #[test]
    fn lost_retry_is_dropped() {
        let mut writes = Writes::default();
        assert!(writes.enter(part(0, "abcd")).is_empty());
        assert!(writes.enter(part(0, "abcd")).is_empty());
        assert_eq!(text(&writes.commit(4)), "abcd");
    }
}
