//! Plaintext records come in; AI calls with who, which key and what price go out.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sensor_common::record::{FLAG_AI_NAME, FLAG_FRESH, FLAG_SENT, SOCKET_AI};
use sensor_common::state::{VERDICT_IGNORE, VERDICT_WATCH};

use crate::bpf::GateMaps;
use crate::bpf::VerdictMap;
use crate::capture::{self, Body, Record};
use crate::credential::Keyring;
use crate::provider::{Call, Verdict};
use crate::reassembly::Evicted;
use crate::report::event::{Process, Server};
use crate::report::{CallEvent, Event};
use crate::spend::{Prices, Query, Repeats};
use crate::workload::Table as Workloads;
use crate::workload::ticks_of_boot_ns;

use super::blind::Blind;
use super::clock::Clock;
use super::connection::{Connection, Shared, part};
use super::coverage::Models;
use super::notice::{FromPipeline, Greeting, ToPipeline};
use super::policies::Policies;
use super::stacks::Stacks;
use super::status::Status;
use super::uncalled::Refused;

/// Connections decoded at once; the same bound as the kernel's table.
const CONNECTIONS_MAX: usize = sensor_common::limits::CONNECTIONS_MAX as usize;
/// Records of an ended connection may still be under way for this long.
const END_GRACE: Duration = Duration::from_millis(250);
/// Bytes of plaintext taken from the ring into one allocation.
const ARENA_BYTES: usize = 256 * 1024;

/// What the thread owns.
pub(super) struct Pipeline {
    pub(super) prices: Prices,
    /// Answers that were counted, so that none is twice.
    pub(super) repeats: Repeats,
    pub(super) keyring: Keyring,
    pub(super) verdicts: VerdictMap,
    pub(super) workloads: Arc<Mutex<Workloads>>,
    pub(super) intent: SyncSender<FromPipeline>,
    pub(super) events: SyncSender<Event>,
    pub(super) status: Arc<Status>,
    pub(super) stacks: Arc<Stacks>,
    pub(super) clock: Clock,
    pub(super) shared: Shared,
    pub(super) connections: HashMap<u64, Connection>,
    /// Connections that are over, until the network had the time to tell of them.
    pub(super) parting: VecDeque<Connection>,
    /// What ClientHellos said, by socket cookie, until the socket closes.
    pub(super) greetings: HashMap<u64, Greeting>,
    pub(super) arena: BytesMut,
    pub(super) policies: Arc<Policies>,
    /// Whether this node refuses anything.
    pub(super) enforces: bool,
    /// The gate's maps, for panics about what only a request tells; none where nothing is enforced.
    pub(super) alarms: Option<GateMaps>,
    /// Sockets of which the kernel has refused something.
    pub(super) refused: Arc<Refused>,
    /// Processes and connections whose plaintext cannot be seen.
    pub(super) blind: Blind,
    /// Models that were seen used, for what cannot be seen.
    pub(super) models: Models,
}

impl Pipeline {
    /// Takes one record of the plaintext ring.
    pub(super) fn on_record(&mut self, record: &Record<'_>) {
        let header = &record.header;
        let id = header.connection;
        let bytes = match record.body {
            Body::Data(bytes) | Body::Name(bytes) => self.hold(bytes),
            _ => Bytes::new(),
        };
        if matches!(record.body, Body::Free) {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.freed();
            }
            self.end(id, header.at_ns);
            return;
        }
        if !self.connections.contains_key(&id) {
            if self.connections.len() >= CONNECTIONS_MAX {
                self.status.connection_dropped();
                return;
            }
            self.connections.insert(id, Connection::new(header));
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.observe(header);
        match &record.body {
            Body::Data(_) if header.flags & FLAG_SENT != 0 => {
                connection.sent(header.tid, part(header, bytes), &mut self.shared);
            }
            Body::Data(_) => connection.received(header.tid, part(header, bytes), &mut self.shared),
            Body::Commit => connection.committed(header.aux, &mut self.shared),
            Body::Name(_) => {
                connection.name = capture::host_name(&bytes);
                connection.called.library.clone_from(&connection.name);
                connection.called.is_renamed = true;
                let is_ai = header.flags & FLAG_AI_NAME != 0;
                let name = connection.name.as_deref();
                // The kernel half leaves it to the agent where only a whole pattern tells.
                connection.judged |= name.map_or(is_ai, |name| self.shared.catalogues.is_ai(name));
                connection.watched |= is_ai;
            }
            Body::Descriptor => connection.descriptor = u32::try_from(header.aux).ok(),
            Body::Bound(socket) => {
                connection.socket = Some(*socket);
                connection.by_random = header.flags & FLAG_FRESH != 0;
                let greeting = self.greetings.get(&header.aux);
                let said = greeting.and_then(|greeting| greeting.name.as_deref());
                let is_ai = socket.flags & SOCKET_AI != 0;
                connection.judged |= is_ai && self.shared.catalogues.confirms(said);
                connection.watched |= is_ai;
                if let Some(greeting) = greeting {
                    connection.greet(greeting);
                }
            }
            _ => tracing::debug!(kind = header.kind, "record in the wrong ring"),
        }
        self.after(id);
    }

    /// Counts a record that cannot be read.
    pub(super) fn refuse(&self, error: &capture::Error) {
        self.status.record_refused();
        tracing::debug!(%error, "record is left out");
    }

    /// Copies plaintext out of the ring; many records share one allocation.
    fn hold(&mut self, bytes: &[u8]) -> Bytes {
        if self.arena.capacity() < bytes.len() {
            self.arena.reserve(ARENA_BYTES.max(bytes.len()));
        }
        self.arena.extend_from_slice(bytes);
        self.arena.split().freeze()
    }

    /// Takes what the thread that attaches found out.
    pub(super) fn on_notice(&mut self, notice: ToPipeline) {
        match notice {
            ToPipeline::Hello { socket, greeting } => self.on_hello(&socket, greeting),
            ToPipeline::Quic { socket, greeting, at_ns } => {
                self.on_quic(&socket, &greeting, at_ns);
            }
            ToPipeline::Closed { socket, at_ns } => self.socket_closed(socket, at_ns),
            ToPipeline::Exited { pid, at_ns } => {
                self.blind.exited(pid, at_ns);
                for connection in
                    self.connections.values_mut().filter(|connection| connection.pid == pid)
                {
                    connection.cut(at_ns);
                }
            }
            ToPipeline::Blind { pid, reason } => {
                self.status.blind();
                if self.blind.judge(pid, reason) {
                    self.send(Event::Coverage(Box::new(self.blind_process(pid, reason))));
                }
            }
        }
    }

    /// Who a process is; an unattributed one is counted, never guessed.
    pub(super) fn process(&self, pid: u32, start_ns: u64, at_ns: u64) -> Process {
        let process = self.who(pid, start_ns, at_ns);
        if process.workload.is_none() {
            self.status.unattributed();
        }
        process
    }

    /// The same, for what is told again.
    pub(super) fn who(&self, pid: u32, start_ns: u64, at_ns: u64) -> Process {
        let start = (start_ns != 0).then(|| ticks_of_boot_ns(start_ns));
        let mut workloads = self.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        let workload = workloads.attribute(pid, start, at_ns);
        drop(workloads);
        let started = (start_ns != 0).then(|| self.clock.wall_of_boot(start_ns));
        Process { pid: Some(pid), started, workload }
    }

    /// Ends connections whose socket or process has ended, and gives out what waited too long for a missing part.
    pub(super) fn tick(&mut self, now_ns: u64) {
        let grace = u64::try_from(END_GRACE.as_nanos()).unwrap_or(u64::MAX);
        let over = |connection: &&Connection| {
            connection.ends_ns.is_some_and(|at| at.saturating_add(grace) <= now_ns)
        };
        let ended: Vec<_> =
            self.connections.values().filter(over).map(|connection| connection.id).collect();
        for id in ended {
            let at = self
                .connections
                .get(&id)
                .and_then(|connection| connection.ends_ns)
                .unwrap_or(now_ns);
            self.end(id, at);
        }
        let connections = &mut self.connections;
        let mut late = Vec::new();
        self.shared.table.expire(now_ns, |id, direction, pieces| {
            if let Some(connection) = connections.get_mut(&id) {
                connection.pieces(direction, pieces);
                late.push(id);
            }
        });
        self.shared.table.evict_idle(now_ns, |Evicted(id)| {
            if let Some(connection) = connections.get_mut(&id) {
                connection.cut(now_ns);
            }
        });
        for id in late {
            self.after(id);
        }
        self.part_those_told(now_ns);
        self.report_blind(now_ns);
        self.status.set_connections(self.connections.len());
    }

    /// Hands out what all stages have counted so far.
    pub(super) fn publish(&self) {
        let mut stages = self.shared.counted.all(&self.connections);
        stages.reassembly = *self.shared.table.metrics();
        let workloads = self.workloads.lock().unwrap_or_else(PoisonError::into_inner);
        stages.workload = workloads.metrics();
        drop(workloads);
        self.status.set_stages(&stages);
    }

    /// Ends everything: the agent stops.
    pub(super) fn finish(&mut self, now_ns: u64) {
        self.connections.values_mut().for_each(|connection| connection.cut(now_ns));
        let all: Vec<_> = self.connections.keys().copied().collect();
        for id in all {
            self.end(id, now_ns);
        }
        self.part_those_told(u64::MAX);
        self.report_blind(u64::MAX);
    }

    fn end(&mut self, id: u64, at_ns: u64) {
        if let Some(connection) = self.connections.get_mut(&id) {
            self.shared
                .table
                .close(id, at_ns, |direction, pieces| connection.pieces(direction, pieces));
            connection.close(at_ns);
        }
        self.after(id);
        let Some(mut connection) = self.connections.remove(&id) else { return };
        self.shared.counted.over(&connection);
        connection.ends_ns.get_or_insert(at_ns);
        self.take_leave(connection);
    }

    /// Sends finished calls out and tells everybody what the connection turned out to be.
    pub(super) fn after(&mut self, id: u64) {
        if self.connections.get_mut(&id).is_some_and(Connection::take_renamed) {
            self.examine(id);
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let calls = connection.calls();
        let verdict = connection.verdict();
        let (pid, judged, foreign) = (connection.pid, connection.judged, connection.is_foreign());
        let watched = connection.watched;
        let asked = connection.asks();
        match verdict {
            _ if is_news(verdict, (judged, watched), foreign) => self.watch(id),
            // What the handshake led to a provider is judged to its end, whatever its first requests name.
            Verdict::NotAi if judged && !foreign => {}
            Verdict::NotAi => {
                self.ignore(id);
                self.tell(FromPipeline::NotAi { pid });
                // What leads elsewhere need not be HTTP.
                if foreign && judged {
                    self.tell(FromPipeline::NotHttp { pid });
                }
            }
            _ => {}
        }
        self.judge_requests(id);
        for call in calls {
            self.tell(FromPipeline::AiCall { pid, asked });
            self.report(id, call);
        }
    }

    fn watch(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.judged = true;
            connection.watched = true;
        }
        if let Err(error) = self.verdicts.set(id, VERDICT_WATCH) {
            tracing::debug!(%error, "the kernel half keeps the connection on probation");
        }
    }

    fn ignore(&mut self, id: u64) {
        if let Err(error) = self.verdicts.set(id, VERDICT_IGNORE) {
            tracing::debug!(%error, "the kernel half keeps the connection on probation");
        }
        self.shared.table.close(id, 0, |_, _| {});
        if let Some(connection) = self.connections.remove(&id) {
            self.shared.counted.over(&connection);
            if let Some(socket) =
                connection.socket.filter(|_| connection.judged && connection.is_foreign())
            {
                self.blind.speaks_no_http(socket.cookie);
            }
        }
    }

    pub(super) fn tell(&self, notice: FromPipeline) {
        // The other thread may be busy attaching; the next call of the process says the same.
        let _next_time = self.intent.try_send(notice);
    }

    fn report(&mut self, id: u64, mut call: Call) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (peer, binding) = connection.remote();
        let name_hidden = connection.named().hides_name();
        let cookie = connection.socket.map_or(0, |socket| socket.cookie);
        let tls = self.stacks.of(connection.pid, connection.family);
        connection.reported_calls = connection.reported_calls.saturating_add(1);
        let (pid, start_ns, name) = (connection.pid, connection.start_ns, connection.name.clone());
        let condemned = connection.take_condemned(call.started_ns);
        let process = self.process(pid, start_ns, call.started_ns);
        let place = call.credential.take();
        let identity = place.map(|place| self.keyring.identify(&place, &call.provider));
        let cost = self.prices.price(&Query::of(&call, self.clock.wall_seconds(call.ended_ns)));
        let fingerprint = identity.as_ref().map(|key| key.fingerprint.as_str());
        let cost = self.repeats.settle(&mut call, fingerprint, cost);
        let time = self.clock.wall(call.ended_ns);
        let server = Server { name, peer };
        let mut event = CallEvent {
            time,
            call,
            cost,
            identity,
            process,
            server,
            binding,
            tls,
            name_hidden,
            decision: None,
        };
        self.note_model(&event);
        self.judge(&mut event, cookie, condemned);
        self.send(Event::Call(Box::new(event)));
    }

    /// Waits where the reporter is behind: the ring, whose losses are counted, takes the pressure.
    pub(super) fn send(&self, event: Event) {
        if self.events.send(event).is_err() {
            self.status.reporter_gone();
        }
    }
}

/// Whether what is known of a connection has yet to be told: to the kernel half, or by it.
fn is_news(verdict: Verdict, (judged, watched): (bool, bool), foreign: bool) -> bool {
    match verdict {
        Verdict::Ai => !(judged && watched),
        Verdict::Undecided | Verdict::NotAi => judged && !watched && !foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_takes_a_connection_off_probation_before_its_requests_do() {
        for (verdict, known, foreign, news) in [
            (Verdict::Undecided, (true, false), false, true),
            (Verdict::NotAi, (true, false), false, true),
            (Verdict::NotAi, (true, false), true, false),
            (Verdict::Undecided, (true, true), false, false),
            (Verdict::Undecided, (false, true), false, false),
            (Verdict::Undecided, (false, false), false, false),
            (Verdict::Ai, (false, true), false, true),
            (Verdict::Ai, (true, true), false, false),
        ] {
            assert_eq!(is_news(verdict, known, foreign), news, "{verdict:?} {known:?} {foreign}");
        }
    }
}
