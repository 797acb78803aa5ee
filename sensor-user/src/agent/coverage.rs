//! Connections to AI that have ended come in, seen or not; their verdicts, and what the unseen ones may have cost, go out.

use std::collections::HashMap;

use sensor_common::record::{SOCKET_AI, SOCKET_BOUND, SOCKET_HELLO_SEEN, Socket};

use crate::capture;
use crate::policy::Fact;
use crate::provider::{Catalogue, Operation, PriceContext, Usage, UsageQuality};
use crate::report::coverage::{Coverage, Estimate, Provider, Scope};
use crate::report::event::{Seen, Server};
use crate::report::names::Named;
use crate::report::{CallEvent, Event};
use crate::spend::{Basis, Cost, Gap, Query, Tokens, Traffic};

use super::blind::Unseen;
use super::clock::Clock;
use super::connection::Connection;
use super::missed::{Judgement, REQUEST_SENT_MIN};
use super::notice::{FromPipeline, Greeting};
use super::pipeline::Pipeline;
use super::uncalled::Uncalled;

/// Pairs of program and provider whose model is remembered; then the memory begins anew.
const MODELS_MAX: usize = 4096;
/// Port of connections whose `ClientHello` must have been seen.
const TLS_PORT: u32 = 443;

/// Which model a program, or anybody, last used of a provider.
#[derive(Debug, Default)]
pub(super) struct Models {
    last: HashMap<(String, String), Used>,
}

/// A model as it is priced.
#[derive(Clone, Debug)]
struct Used {
    price_provider: String,
    model: String,
}

impl Models {
    /// Notes a model that was seen used.
    pub(super) fn note(&mut self, program: &str, provider: &str, price: &str, model: &str) {
        let used = Used { price_provider: price.to_owned(), model: model.to_owned() };
        if self.last.len() >= MODELS_MAX {
            self.last.clear();
        }
        for program in [program, ""] {
            self.last.insert((program.to_owned(), provider.to_owned()), used.clone());
        }
    }

    fn of(&self, program: &str, provider: &str) -> Option<&Used> {
        let key = |program: &str| (program.to_owned(), provider.to_owned());
        self.last.get(&key(program)).or_else(|| self.last.get(&key("")))
    }
}

impl Pipeline {
    /// Takes the end of a socket that was of interest: that of a connection which was seen ends it, any other waits for
    /// its verdict.
    pub(super) fn socket_closed(&mut self, socket: Socket, at_ns: u64) {
        let mut greeting = self.greetings.remove(&socket.cookie).unwrap_or_default();
        greeting.ai |= socket.flags & SOCKET_AI != 0
            && self.shared.catalogues.confirms(greeting.name.as_deref());
        if self.is_unseen(&greeting, &socket) {
            self.tell(FromPipeline::Unseen { pid: socket.tgid });
        }
        let bound = |connection: &&mut Connection| {
            connection.socket.is_some_and(|own| own.cookie == socket.cookie)
        };
        for connection in self.connections.values_mut().filter(bound) {
            connection.socket = Some(socket);
            connection.closed_ns = Some(at_ns);
            connection.ends_ns = Some(at_ns);
        }
        for connection in self.parting.iter_mut().filter(bound) {
            connection.socket = Some(socket);
            connection.closed_ns = Some(at_ns);
        }
        if self.blind.spoke_no_http(socket.cookie) {
            self.report_unseen(&Unseen { socket, greeting, at_ns }, "not_http");
            return;
        }
        if socket.flags & SOCKET_BOUND != 0 || !is_ai_connection(&greeting, &socket) {
            return;
        }
        // A connection whose socket was not found on the wire may still be this one: then it is seen.
        let name = greeting.name.as_deref();
        let own = self.connections.values_mut().find(|own| own.may_be(&socket, name));
        if let Some(own) = own {
            own.closed = Some(socket);
            own.ends_ns = Some(at_ns);
        } else {
            self.blind.ended(Unseen { socket, greeting, at_ns });
        }
    }

    /// Whether a connection must have shown a request by its end, and its process shows none.
    fn is_unseen(&self, greeting: &Greeting, socket: &Socket) -> bool {
        let asks = |connection: &Connection| connection.pid == socket.tgid && connection.asks();
        greeting.ai
            && greeting.probed
            && socket.bytes_sent >= REQUEST_SENT_MIN
            && !self.connections.values().any(asks)
    }

    /// What is known of a blind process before a connection of its has ended.
    pub(super) fn blind_process(&self, pid: u32, reason: &'static str) -> Coverage {
        let now = Clock::monotonic_ns();
        Coverage {
            time: self.clock.wall(now),
            process: self.process(pid, 0, now),
            server: Server::default(),
            provider: None,
            named: Box::default(),
            scope: Scope::Process,
            seen: Seen::Blind,
            reason,
            missing: None,
            estimate: None,
            ruling: None,
            duration_ns: None,
            bytes_sent: None,
            bytes_received: None,
        }
    }

    /// Reports ended connections that nobody could read, with what the network told.
    pub(super) fn report_blind(&mut self, now_ns: u64) {
        for (unseen, reason) in self.blind.take(now_ns) {
            self.report_unseen(&unseen, reason);
        }
    }

    fn report_unseen(&self, unseen: &Unseen, reason: &'static str) {
        let Unseen { socket, greeting, at_ns } = unseen;
        let server = Server { name: greeting.name.clone(), peer: capture::remote_of(socket) };
        let judged = Judgement { seen: Seen::Blind, reason, missing: None };
        let provider = self.provider_of(&server);
        let ech = Some(greeting.ech());
        self.report_coverage((socket, *at_ns), (server, provider, greeting.named()), judged, ech);
    }

    /// Reports a connection that was seen, wholly or in part, at its end.
    pub(super) fn report_ending(&mut self, mut connection: Connection, at_ns: u64) {
        let process = self.process(connection.pid, connection.start_ns, at_ns);
        let tls = self.stacks.of(connection.pid, connection.family);
        let Some(mut ending) = connection.ending(self.clock.wall(at_ns), process, tls) else {
            return;
        };
        let judged = connection.judge();
        let server = ending.server.clone();
        let mut provider = self.provider_of(&server);
        if let Some(provider) = &mut provider {
            provider.presumed &= connection.reported_calls == 0;
        }
        ending.provider.clone_from(&provider);
        if connection.is_uncalled() {
            let socket = connection.socket.or(connection.closed);
            ending.ruling = self.judge_uncalled(&Uncalled {
                time: ending.time,
                process: &ending.process,
                server: &ending.server,
                seen: ending.seen,
                is_quic: false,
                ech: connection.called.greeting.ech(),
                cookie: socket.map_or(0, |socket| socket.cookie),
                sent: connection.sent,
            });
        }
        self.send(Event::Connection(ending));
        if connection.socket.is_none() && connection.closed.is_none() {
            self.blind.was_seen(connection.pid, connection.name.clone(), at_ns);
        }
        if judged.seen == Seen::Complete {
            return;
        }
        let (pid, start_ns) = (connection.pid, connection.start_ns);
        let unknown = Socket { tgid: pid, start_ns, ..Socket::default() };
        let socket = connection.socket.or(connection.closed).unwrap_or(unknown);
        let named = connection.named();
        self.report_coverage((&socket, at_ns), (server, provider, named), judged, None);
    }

    /// Reports what of a connection was not seen; one whose name is hidden or not, by `ech`, is judged here.
    fn report_coverage(
        &self,
        (socket, at_ns): (&Socket, u64),
        (server, provider, named): (Server, Option<Provider>, Named),
        judged: Judgement,
        ech: Option<Fact<bool>>,
    ) {
        let process = self.process(socket.tgid, socket.start_ns, at_ns);
        let program = process.workload.as_deref().map_or("", |workload| &workload.executable);
        let estimate = is_estimated(judged.seen, socket, provider.as_ref())
            .then(|| self.estimate(socket, (program, provider.as_ref()), at_ns));
        let time = self.clock.wall(at_ns);
        let ruling = ech.and_then(|ech| {
            self.judge_uncalled(&Uncalled {
                time,
                process: &process,
                server: &server,
                seen: judged.seen,
                is_quic: false,
                ech,
                cookie: socket.cookie,
                sent: socket.bytes_sent,
            })
        });
        self.send(Event::Coverage(Box::new(Coverage {
            time,
            process,
            server,
            provider,
            named: Box::new(named),
            scope: Scope::Connection,
            seen: judged.seen,
            reason: judged.reason,
            missing: judged.missing,
            estimate,
            ruling,
            duration_ns: lasted(socket, at_ns),
            bytes_sent: Some(socket.bytes_sent).filter(|bytes| *bytes != 0),
            bytes_received: Some(socket.bytes_received).filter(|bytes| *bytes != 0),
        })));
    }

    /// What a connection that could not be read may have carried and cost.
    fn estimate(
        &self,
        socket: &Socket,
        (program, provider): (&str, Option<&Provider>),
        at_ns: u64,
    ) -> Estimate {
        let tokens = Tokens::of(Traffic {
            bytes_sent: socket.bytes_sent,
            bytes_received: socket.bytes_received,
            packets_received: u64::from(socket.packets_received),
            duration_ns: lasted(socket, at_ns),
        });
        let used = provider.and_then(|provider| self.models.of(program, &provider.name));
        let usage = Usage {
            input_uncached: Some(tokens.input),
            output: Some(tokens.output),
            ..Usage::default()
        };
        let Some(used) = used else {
            return Estimate { tokens, model: None, cost: Cost::unknown(Gap::Model) };
        };
        let mut cost = self.prices.price(&Query {
            provider: &used.price_provider,
            operation: Operation::Chat,
            status: None,
            request_model: None,
            response_model: Some(&used.model),
            usage: &usage,
            quality: UsageQuality::Partial,
            context: &PriceContext::default(),
            at_unix_seconds: self.clock.wall_seconds(at_ns),
        });
        if cost.picodollars.is_some() {
            (cost.basis, cost.gap) = (Basis::Estimated, Some(Gap::Unseen));
        }
        Estimate { tokens, model: Some(used.model.clone()), cost }
    }

    /// Remembers which model was used, to price what of the same kind cannot be seen.
    pub(super) fn note_model(&mut self, event: &CallEvent) {
        let Some(model) = event.model().filter(|_| event.cost.picodollars.is_some()) else {
            return;
        };
        let workload = event.process.workload.as_deref();
        let program = workload.map_or("", |workload| &workload.executable);
        self.models.note(program, &event.call.provider, &event.call.price_provider, model);
    }

    pub(super) fn provider_of(&self, server: &Server) -> Option<Provider> {
        provider_at(&self.shared.catalogues.now(), server.name.as_deref()?)
    }
}

/// The provider at a host, which is presumed where the host carries other traffic too.
fn provider_at(catalogue: &Catalogue, host: &str) -> Option<Provider> {
    let row = catalogue.find(host)?;
    let (name, category) = (row.name.clone(), row.category.as_str());
    Some(Provider { name, category, presumed: !row.paths.is_empty() })
}

/// Whether it is worked out what may have passed: where nothing was seen, the socket is known, and it is one to AI.
fn is_estimated(seen: Seen, socket: &Socket, provider: Option<&Provider>) -> bool {
    seen == Seen::Blind && socket.cookie != 0 && Provider::counts(provider)
}

fn lasted(socket: &Socket, at_ns: u64) -> Option<u64> {
    let started = [socket.established_ns, socket.connected_ns].into_iter().find(|at| *at != 0);
    started.map(|started| at_ns.saturating_sub(started))
}

/// Whether a socket that ended without a TLS object led to AI: by its name, or, where no `ClientHello` said or hid one, by an
/// address that DNS gave for an AI name: others share such addresses. Where no byte came back there was no connection of TLS.
fn is_ai_connection(greeting: &Greeting, socket: &Socket) -> bool {
    let unnamed = socket.flags & SOCKET_HELLO_SEEN == 0 && socket.remote_port == TLS_PORT;
    socket.bytes_received != 0 && (greeting.ai || (unnamed && greeting.may_lead_to_ai()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::agent::notice::Read;

    #[test]
    fn model_of_the_program_wins_over_that_of_anybody() {
        let mut models = Models::default();
        models.note("/bin/a", "openai", "openai", "one");
        models.note("/bin/b", "openai", "openai", "two");
        let model = |program| models.of(program, "openai").map(|used| used.model.as_str());
        assert_eq!(model("/bin/a"), Some("one"));
        assert_eq!(model("/bin/c"), Some("two"));
        assert!(models.of("/bin/a", "anthropic").is_none());
    }

    #[test]
    fn socket_is_judged_by_its_name_or_else_its_address() {
        let socket = |flags, port, received| Socket {
            flags,
            remote_port: port,
            bytes_received: received,
            ..Socket::default()
        };
        let greeting = |ai| Greeting { ai, ..Greeting::default() };
        for (expected, ai, flags, port, received) in [
            (true, true, SOCKET_HELLO_SEEN, 443, 1),
            (false, false, SOCKET_HELLO_SEEN, 443, 1),
            (true, false, 0, 443, 1),
            (false, false, 0, 80, 1),
            (false, true, SOCKET_HELLO_SEEN, 443, 0),
        ] {
            let is = is_ai_connection(&greeting(ai), &socket(flags, port, received));
            assert_eq!(is, expected, "{ai} {flags} {port} {received}");
        }
    }

    #[test]
    fn name_of_a_host_with_other_traffic_is_estimated_to_nothing() {
        let catalogue = Catalogue::bundled().unwrap();
        let socket = Socket { cookie: 7, ..Socket::default() };
        let cases = [
            ("api.openai.com", true),
            ("acme.snowflakecomputing.com", false),
            ("dbc-1.cloud.databricks.com", false),
            ("acme.azure-api.net", false),
            ("huggingface.co", false),
        ];
        for (host, expected) in cases {
            let provider = provider_at(&catalogue, host);
            assert_eq!(provider.as_ref().map(|it| it.presumed), Some(!expected), "{host}");
            assert_eq!(is_estimated(Seen::Blind, &socket, provider.as_ref()), expected, "{host}");
        }
        assert!(is_estimated(Seen::Blind, &socket, None));
        assert!(!is_estimated(Seen::Truncated, &socket, None));
        assert!(!is_estimated(Seen::Blind, &Socket::default(), None));
    }

    #[test]
    fn socket_that_named_another_host_is_not_judged_by_its_address() {
        let socket = Socket { remote_port: 443, bytes_received: 1, ..Socket::default() };
        let read = |has_encrypted_hello| Read { ja4: String::new(), has_encrypted_hello };
        for (expected, name, read) in [
            (false, Some("www.example.com"), None),
            (false, Some("www.example.com"), Some(read(false))),
            (true, Some("front.example"), Some(read(true))),
            (true, None, Some(read(false))),
        ] {
            let (name, read) = (name.map(str::to_owned), read.map(Arc::new));
            let greeting = Greeting { name, read, ..Greeting::default() };
            assert_eq!(is_ai_connection(&greeting, &socket), expected, "{greeting:?}");
        }
    }
}
