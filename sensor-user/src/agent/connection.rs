//! Records of one TLS connection come in; the calls made over it go out.

use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use sensor_common::record::{FAMILY_GO, FLAG_FAMILY_MASK, FLAG_FAMILY_SHIFT, Header, Socket};

use crate::capture;
use crate::http;
use crate::http::Decoder;
use crate::http::Protocol;
use crate::probes::connections;
use crate::provider;
use crate::provider::{Call, Tracker, Verdict};
use crate::reassembly::{Chunk, Direction, Loss, Piece, Start, Table};

use crate::report;
use crate::report::event::{Process, Server, Tls};
use crate::report::names::Named;

use super::catalogues::Catalogues;
use super::counted::Counted;
use super::missed::{Judgement, Missed};
use super::notice::Greeting;
use super::writes::{Part, Writes};

/// One generation of a TLS object.
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) pid: u32,
    pub(super) start_ns: u64,
    /// Family of its TLS library, as the kernel half tells.
    pub(super) family: u32,
    pub(super) name: Option<String>,
    /// What it is called elsewhere.
    pub(super) called: Called,
    /// When its socket has closed, and told its counts.
    pub(super) closed_ns: Option<u64>,
    pub(super) socket: Option<Socket>,
    /// Descriptor given to `SSL_set_fd`.
    pub(super) descriptor: Option<u32>,
    /// Remote end found by other means than the wire.
    pub(super) found: Option<(SocketAddr, &'static str)>,
    /// Socket that ended and can only have been this connection's, though nothing on the wire told.
    pub(super) closed: Option<Socket>,
    /// When a socket or process that ended takes the connection with it.
    pub(super) ends_ns: Option<u64>,
    ending: Ending,
    /// It is AI traffic, by its name or by what it said.
    pub(super) judged: bool,
    /// The kernel half knows that.
    pub(super) watched: bool,
    /// Calls reported so far.
    pub(super) reported_calls: u64,
    /// Bytes of plaintext that were sent.
    pub(super) sent: u64,
    /// When those of its calls began that were refused when they were asked for.
    pub(super) condemned: Vec<u64>,
    /// The socket was found by the client random of the ClientHello.
    pub(super) by_random: bool,
    writes: Writes,
    /// Thread that wrote last.
    writer: u32,
    missed: Missed,
    /// Made at the first plaintext, when the name is known.
    plaintext: Option<Box<Plaintext>>,
}

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// One of its ends closed it, as far as is known.
    Closed,
    /// It ends though nobody closed it.
    Cut,
}

/// What a connection is called outside of its requests.
#[derive(Default)]
pub(super) struct Called {
    /// Name given to its TLS library.
    pub(super) library: Option<String>,
    /// What its ClientHello said on the wire.
    pub(super) greeting: Greeting,
    /// A place has named it that had not, or named it otherwise.
    pub(super) is_renamed: bool,
}

struct Plaintext {
    decoder: Decoder,
    tracker: Tracker,
}

/// What all connections share.
pub(super) struct Shared {
    pub(super) table: Table<u64>,
    pub(super) catalogues: Arc<Catalogues>,
    pub(super) http: http::Config,
    pub(super) provider: provider::Config,
    /// Pieces on their way from the table to a decoder; empty between records, kept for its memory.
    pub(super) pieces: Vec<Piece>,
    /// What the connections that are over have counted.
    pub(super) counted: Counted,
}

impl Connection {
    pub(super) fn new(header: &Header) -> Self {
        Self {
            id: header.connection,
            pid: header.tgid,
            start_ns: header.start_ns,
            family: 0,
            name: None,
            called: Called::default(),
            closed_ns: None,
            socket: None,
            descriptor: None,
            found: None,
            closed: None,
            ends_ns: None,
            ending: Ending::Closed,
            judged: false,
            watched: false,
            reported_calls: 0,
            sent: 0,
            condemned: Vec::new(),
            by_random: false,
            writes: Writes::default(),
            writer: 0,
            missed: Missed::default(),
            plaintext: None,
        }
    }

    /// Takes what each record says of the connection.
    pub(super) fn observe(&mut self, header: &Header) {
        self.missed.observe(header.flags);
        self.family |= (header.flags & FLAG_FAMILY_MASK) >> FLAG_FAMILY_SHIFT;
    }

    /// Takes plaintext that was written; it counts once its return is seen.
    pub(super) fn sent(&mut self, thread: u32, part: Part, shared: &mut Shared) {
        self.writer = thread;
        for part in self.writes.enter(part) {
            self.push(Direction::Sent, part, shared);
        }
    }

    /// Takes the return of a write.
    pub(super) fn committed(&mut self, accepted: u64, shared: &mut Shared) {
        for part in self.writes.commit(accepted) {
            self.push(Direction::Sent, part, shared);
        }
        // A connection that was joined and not found on the wire is looked for while its socket is surely open.
        if self.socket.is_none() && !self.missed.is_fresh() && self.found.is_none() {
            self.found = self.look_up();
        }
    }

    /// Takes plaintext that was read.
    pub(super) fn received(&mut self, thread: u32, part: Part, shared: &mut Shared) {
        if self.family == FAMILY_GO || self.writer != thread {
            // Another thread writes: an answer may be read before the write returns, and tells that it was accepted.
            // Were it not, its bytes would come again, at the same offset.
            for part in self.writes.commit(u64::MAX) {
                self.push(Direction::Sent, part, shared);
            }
        }
        self.push(Direction::Received, part, shared);
    }

    fn push(&mut self, direction: Direction, part: Part, shared: &mut Shared) {
        let name = self.name.as_deref().unwrap_or_default();
        if self.plaintext.is_none() {
            let start = if self.missed.is_fresh() { Start::Fresh } else { Start::Joined };
            // Whoever gives way is found idle by its own clock.
            let _other = shared.table.open(self.id, start, part.at_ns);
            let tracker = Tracker::new(shared.catalogues.now(), shared.provider.clone(), name);
            let decoder = Decoder::new(&shared.http);
            self.plaintext = Some(Box::new(Plaintext { decoder, tracker }));
        }
        let captured = u64::try_from(part.bytes.len()).unwrap_or(u64::MAX);
        let (offset, at_ns) = (part.offset, part.at_ns);
        if direction == Direction::Sent {
            self.sent = self.sent.max(offset.saturating_add(part.length));
        }
        let mut pieces = mem::take(&mut shared.pieces);
        if captured != 0 {
            let chunk = Chunk { offset, at_ns, bytes: part.bytes };
            let _other = shared.table.push(self.id, direction, chunk, &mut pieces);
        }
        let missing = part.length.saturating_sub(captured);
        if missing != 0 {
            let loss = Loss { offset: offset.saturating_add(captured), at_ns, len: missing };
            let _other = shared.table.lose(self.id, direction, loss, &mut pieces);
        }
        self.pieces(direction, &mut pieces);
        shared.pieces = pieces;
    }

    /// Decodes what the table has given out.
    pub(super) fn pieces(&mut self, direction: Direction, pieces: &mut Vec<Piece>) {
        let Some(plaintext) = &mut self.plaintext else { return };
        for piece in pieces.drain(..) {
            self.missed.piece(&piece);
            plaintext.decoder.push(direction, piece, &mut plaintext.tracker);
        }
        if plaintext.decoder.protocol() == Some(Protocol::Other) {
            plaintext.tracker.not_http();
        }
        self.called.is_renamed |= plaintext.tracker.take_renamed();
    }

    /// Takes what the ClientHello of its socket said.
    pub(super) fn greet(&mut self, greeting: &Greeting) {
        if self.name.is_none() {
            self.name.clone_from(&greeting.name);
        }
        self.judged |= greeting.ai;
        let told = self.called.greeting.told | greeting.told;
        self.called.greeting = Greeting { told, ..greeting.clone() };
        self.called.is_renamed = true;
    }

    /// Whether another place has named it since the last time.
    pub(super) fn take_renamed(&mut self) -> bool {
        mem::take(&mut self.called.is_renamed)
    }

    /// Whether it is to be reported, and something is still to come of it.
    pub(super) fn is_awaiting(&self) -> bool {
        let is_reported = self.judged || self.reported_calls != 0;
        is_reported && self.socket.is_some() && !(self.closed_ns.is_some() && self.is_settled())
    }

    /// Whether all that its ClientHello says is known: where it was seen on the wire, it is read a moment later.
    pub(super) fn is_settled(&self) -> bool {
        if self.by_random {
            self.called.greeting.read.is_some()
        } else {
            self.called.greeting.is_settled()
        }
    }

    /// What it is called, by the place where each name was said.
    pub(super) fn named(&self) -> Named {
        let mut named = self.called.greeting.named();
        named.names.library.clone_from(&self.called.library);
        let tracker = self.plaintext.as_ref().map(|plaintext| &plaintext.tracker);
        named.names.authority = tracker.and_then(Tracker::authority).map(str::to_owned);
        named
    }

    /// Notes that it ends though nobody closed it: with its process, for its silence, with the agent.
    pub(super) fn cut(&mut self, at_ns: u64) {
        if self.ends_ns.is_none() {
            self.ending = Ending::Cut;
        }
        self.ends_ns.get_or_insert(at_ns);
    }

    /// Notes that the process has freed it, which may be told after the end of that process.
    pub(super) fn freed(&mut self) {
        self.ending = Ending::Closed;
    }

    /// Ends what is open; streams that were cut become calls marked so.
    pub(super) fn close(&mut self, at_ns: u64) {
        let Some(plaintext) = &mut self.plaintext else { return };
        if self.ending == Ending::Cut {
            plaintext.decoder.abandon(at_ns, &mut plaintext.tracker);
        } else {
            plaintext.decoder.close(at_ns, &mut plaintext.tracker);
        }
        plaintext.tracker.close(at_ns);
    }

    /// Calls that have ended since the last time.
    pub(super) fn calls(&mut self) -> Vec<Call> {
        self.plaintext
            .as_mut()
            .map(|plaintext| plaintext.tracker.take_calls().collect())
            .unwrap_or_default()
    }

    /// Calls whose request has been made since the last time; none where nobody wants them.
    pub(super) fn take_asked(&mut self, wanted: bool) -> Vec<Call> {
        let plaintext = self.plaintext.as_mut();
        let asked = plaintext.into_iter().flat_map(|plaintext| plaintext.tracker.take_asked());
        asked.filter(|_| wanted).cloned().collect()
    }

    /// The stages of the connection; `None` where no plaintext was seen.
    pub(super) fn stages(&self) -> Option<(&Decoder, &Tracker)> {
        self.plaintext.as_ref().map(|plaintext| (&plaintext.decoder, &plaintext.tracker))
    }

    /// Whether requests were seen to be sent on it: the one thing that wrong probes never show.
    pub(super) fn asks(&self) -> bool {
        self.plaintext.as_ref().is_some_and(|plaintext| plaintext.decoder.asks())
    }

    /// Whether what was said is no HTTP.
    pub(super) fn is_foreign(&self) -> bool {
        let protocol = self.plaintext.as_ref().map(|plaintext| plaintext.decoder.protocol());
        protocol == Some(Some(Protocol::Other))
    }

    /// What the connection has turned out to be.
    pub(super) fn verdict(&self) -> Verdict {
        self.plaintext.as_ref().map_or(Verdict::Undecided, |plaintext| plaintext.tracker.verdict())
    }

    /// Remote end of the connection, and how it was found: both ends carried the same client random or the same record,
    /// the descriptor given to the TLS object, or the only connection that the process has.
    pub(super) fn remote(&mut self) -> (Option<SocketAddr>, Option<&'static str>) {
        if let Some(socket) = &self.socket {
            let binding = if self.by_random { "client_random" } else { "wire_record" };
            return (capture::remote_of(socket), Some(binding));
        }
        if self.found.is_none() {
            self.found = self.look_up();
        }
        self.found.map_or((None, None), |(address, binding)| (Some(address), Some(binding)))
    }

    fn look_up(&self) -> Option<(SocketAddr, &'static str)> {
        if let Some(descriptor) = self.descriptor
            && let Some((_, remote)) = connections::of_descriptor(self.pid, descriptor)
        {
            return Some((remote, "descriptor"));
        }
        match connections::of_process(self.pid).as_slice() {
            [(_, remote)] => Some((*remote, "unique")),
            _ => None,
        }
    }

    /// How much of it was seen.
    pub(super) fn judge(&self) -> Judgement {
        self.missed.judge(self.socket.or(self.closed).as_ref())
    }

    /// Whether a socket that ended may have been its: of those of its process, no other is known to be.
    pub(super) fn may_be(&self, socket: &Socket, name: Option<&str>) -> bool {
        let known = self.socket.is_some() || self.closed.is_some() || self.ends_ns.is_some();
        let is_ai = self.judged || self.reported_calls > 0;
        let named = self.name.is_none() || self.name.as_deref() == name;
        self.pid == socket.tgid && !known && is_ai && named
    }

    /// The connection as it is reported at its end; `None` where it did not lead to AI.
    pub(super) fn ending(
        &mut self,
        time: Timestamp,
        process: Process,
        tls: Tls,
    ) -> Option<report::event::Connection> {
        if !self.judged && self.reported_calls == 0 {
            return None;
        }
        let (peer, binding) = self.remote();
        let socket = self.socket.or(self.closed);
        let ended = self.ends_ns.filter(|_| socket.is_some());
        let seen = self.missed.judge(socket.as_ref()).seen;
        let socket = socket.unwrap_or_default();
        let started = [socket.established_ns, socket.connected_ns].into_iter().find(|at| *at != 0);
        Some(report::event::Connection {
            time,
            process,
            server: Server { name: self.name.clone(), peer },
            provider: None,
            named: Box::new(self.named()),
            tls,
            binding,
            seen,
            ruling: None,
            calls: self.reported_calls,
            duration_ns: started.zip(ended).map(|(started, ended)| ended.saturating_sub(started)),
            // A TLS object may be freed before its socket closes: then nobody has counted yet.
            bytes_sent: Some(socket.bytes_sent).filter(|bytes| *bytes != 0),
            bytes_received: Some(socket.bytes_received).filter(|bytes| *bytes != 0),
        })
    }
}

/// A part made of a record and its payload.
pub(super) fn part(header: &Header, bytes: Bytes) -> Part {
    Part { offset: header.offset, length: u64::from(header.call_len), bytes, at_ns: header.at_ns }
}
