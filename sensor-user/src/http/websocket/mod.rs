//! Both directions of a connection behind its WebSocket handshake come in; their messages go out as events (RFC 6455).

use crate::http::metrics::Metrics;
use crate::http::{BodyEnd, Config, Event, ExchangeId, Message, ResponseHead, Sink};

mod extension;
mod frame;
mod inflate;
mod side;

use inflate::Inflater;
use side::{Side, Told};

/// One WebSocket.
#[derive(Debug)]
pub struct Connection {
    id: ExchangeId,
    client: Side,
    server: Side,
}

impl Connection {
    /// Makes the connection that `head` has agreed to; its messages go out under `id`. `None` where the head agrees to
    /// something else.
    pub fn accepted(id: ExchangeId, head: &ResponseHead, config: &Config) -> Option<Self> {
        let upgrade = head.headers.get("upgrade")?;
        if head.status != Some(101) || !upgrade.eq_ignore_ascii_case(b"websocket") {
            return None;
        }
        let agreed = extension::agreed(head);
        let side = |side, forgets| {
            let inflater = agreed.deflate.then(|| Inflater::new(config, forgets));
            Side::new(side, inflater, !agreed.unknown)
        };
        let client = side(Message::Request, agreed.client_forgets);
        let server = side(Message::Response, agreed.server_forgets);
        Some(Self { id, client, server })
    }

    /// Takes bytes of one side.
    pub fn push(&mut self, of: Message, bytes: &[u8], at_ns: u64, sink: &mut dyn Sink) {
        let id = self.id;
        self.side(of).push(bytes, &mut |told| tell(sink, (id, of, at_ns), told));
    }

    /// Passes over missing bytes of one side.
    pub fn gap(&mut self, of: Message, missing: Option<u64>, at_ns: u64, sink: &mut dyn Sink) {
        let id = self.id;
        self.side(of).gap(missing, &mut |told| tell(sink, (id, of, at_ns), told));
    }

    /// Ends with the connection.
    pub fn close(&mut self, at_ns: u64, sink: &mut dyn Sink) {
        let whole = self.client.is_over() || self.server.is_over();
        for of in [Message::Request, Message::Response] {
            let id = self.id;
            self.side(of).close(&mut |told| tell(sink, (id, of, at_ns), told));
        }
        let end = if whole { BodyEnd::Complete } else { BodyEnd::Aborted };
        sink.event(self.id, at_ns, Event::ResponseEnd(end));
    }

    /// Adds what was counted.
    pub(super) fn count(&self, metrics: &mut Metrics) {
        for counts in [self.client.counts, self.server.counts] {
            let add = |counter: &mut u64, more| *counter = counter.saturating_add(more);
            add(&mut metrics.websocket_messages, counts.messages);
            add(&mut metrics.websocket_undecodable, counts.undecodable);
            add(&mut metrics.websocket_malformed, counts.malformed);
            add(&mut metrics.resyncs, counts.resyncs);
        }
    }

    fn side(&mut self, of: Message) -> &mut Side {
        match of {
            Message::Request => &mut self.client,
            Message::Response => &mut self.server,
        }
    }
}

fn tell(sink: &mut dyn Sink, (id, of, at_ns): (ExchangeId, Message, u64), told: Told<'_>) {
    let event = match told {
        Told::Data([]) => return,
        Told::Data(data) => Event::MessageData(of, data),
        Told::End(end) => Event::MessageEnd(of, end),
    };
    sink.event(id, at_ns, event);
}

#[cfg(test)]
mod tests;
