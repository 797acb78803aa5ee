//! Events of streams come in; they go to the sink under the stream's exchange, with their time.

use crate::http::{AfterGap, Event, ExchangeId, Message, Sink};

/// Where the events of one piece go.
pub(super) struct Output<'a> {
    pub(super) sink: &'a mut dyn Sink,
    /// When the bytes behind the events passed.
    pub(super) at_ns: u64,
}

impl Output<'_> {
    pub(super) fn tell(&mut self, stream: u32, event: Event<'_>) {
        self.sink.event(ExchangeId(u64::from(stream)), self.at_ns, event);
    }

    /// Tells of something that began at another time.
    pub(super) fn tell_at(&mut self, at_ns: u64, stream: u32, event: Event<'_>) {
        self.sink.event(ExchangeId(u64::from(stream)), at_ns, event);
    }

    /// Asks whether the bytes behind a gap are wanted.
    pub(super) fn resumes(&mut self, stream: u32, of: Message, missing: u64) -> bool {
        self.sink.body_gap(ExchangeId(u64::from(stream)), self.at_ns, of, missing)
            == AfterGap::Resume
    }
}
