//! What connections are called comes in; names that contradict each other, imitate or hide something go out as findings.

use std::collections::VecDeque;
use std::mem;
use std::net::SocketAddr;

use sensor_common::record::{SOCKET_OF_INTEREST, Socket};

use crate::capture;
use crate::destination::{Agreement, Names, look_alike};
use crate::policy::Fact;
use crate::provider::Catalogue;
use crate::report::Event;
use crate::report::coverage::Scope;
use crate::report::event::{Coverage, Process, Seen, Server};
use crate::report::names::{Finding, Named};

use super::clock::Clock;
use super::connection::Connection;
use super::notice::Greeting;
use super::pipeline::Pipeline;
use super::uncalled::Uncalled;

/// Sockets whose name is remembered until their TLS object is known.
const SOCKETS_MAX: usize = 16_384;
/// Connections that are over and not yet reported; the oldest is then.
const PARTING_MAX: usize = 4096;
/// How long the other thread may take to tell of a socket's end, in nanoseconds.
const PARTING_NS: u64 = 2_000_000_000;

/// Kinds of findings, each told once a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Fronting,
    Redirected,
    EncryptedHello,
    LookAlike,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Fronting => "fronting",
            Self::Redirected => "redirected",
            Self::EncryptedHello => "encrypted_hello",
            Self::LookAlike => "look_alike",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Whether two names lead to the same provider, as names of one front end do that an HTTP/2 client coalesces.
fn are_kin(catalogue: &Catalogue, names: &Names) -> bool {
    let Names { dns, hello, library, authority, .. } = names;
    let mut owners = [dns, hello, library, authority]
        .into_iter()
        .flatten()
        .map(|name| catalogue.find(name).map(|provider| provider.name.as_str()));
    let first = owners.next().flatten();
    first.is_some() && owners.all(|owner| owner == first)
}

/// Whether the name by which a process found an address tells something of a connection there: where the connection says
/// another one itself, that of a proxy or of a neighbour at the same address tells nothing, that of a provider does.
pub(super) fn is_telling(is_ai: impl Fn(&str) -> bool, dns: &str, said: Option<&str>) -> bool {
    said.is_none_or(|said| said == dns) || is_ai(dns)
}

/// What is to be said about names of a connection that leads to AI.
fn judge(catalogue: &Catalogue, names: &Names) -> Option<(Kind, Option<String>)> {
    let kind = match names.agreement() {
        Agreement::Encrypted => Some(Kind::EncryptedHello),
        Agreement::Fronted if !are_kin(catalogue, names) => Some(Kind::Fronting),
        Agreement::Redirected if !are_kin(catalogue, names) => Some(Kind::Redirected),
        _ => None,
    };
    if let Some(kind) = kind {
        return Some((kind, None));
    }
    let best = names.best().filter(|name| catalogue.find(name).is_none())?;
    let hosts = catalogue.ai_hosts().map(|host| host.pattern);
    let imitates = look_alike(best, hosts)?;
    Some((Kind::LookAlike, Some(imitates.to_owned())))
}

impl Greeting {
    /// What the connection was called before any request.
    pub(super) fn named(&self) -> Named {
        let has_encrypted_hello = self.read.as_ref().is_some_and(|read| read.has_encrypted_hello);
        Named {
            names: Names {
                dns: self.dns.clone(),
                hello: self.name.clone(),
                has_encrypted_hello,
                ..Names::default()
            },
            ja4: self.read.as_ref().map(|read| read.ja4.clone()),
            encrypted_hello: self.read.as_ref().map(|read| read.has_encrypted_hello),
        }
    }

    /// Whether nothing more will be said soon: a hello whose name is known is read whole a moment later.
    pub(super) fn is_settled(&self) -> bool {
        self.read.is_some() || self.name.is_none()
    }

    /// Adds what was known before of the same connection.
    fn after(mut self, before: &Self) -> Self {
        self.probed &= before.probed;
        self.ai |= before.ai;
        self.told |= before.told;
        self.read = self.read.or_else(|| before.read.clone());
        self.dns = self.dns.or_else(|| before.dns.clone());
        self
    }
}

impl Pipeline {
    /// Takes what a ClientHello says of its connection.
    pub(super) fn on_hello(&mut self, socket: &Socket, greeting: Greeting) {
        let cookie = socket.cookie;
        let mut greeting = match self.greetings.get(&cookie) {
            Some(before) => greeting.after(before),
            None => greeting,
        };
        // The hello may be read after the socket was bound.
        let bound: Vec<_> = self
            .connections
            .values_mut()
            .chain(&mut self.parting)
            .filter(|connection| connection.socket.is_some_and(|bound| bound.cookie == cookie))
            .map(|connection| {
                connection.greet(&greeting);
                connection.id
            })
            .collect();
        if bound.is_empty() {
            self.examine_socket(socket, &mut greeting);
        }
        if self.greetings.len() >= SOCKETS_MAX {
            self.greetings.clear();
        }
        self.greetings.insert(cookie, greeting);
        for id in bound {
            self.examine(id);
            self.after(id);
        }
    }

    /// Looks at the names of a connection whose plaintext is not known, or not yet.
    fn examine_socket(&self, socket: &Socket, greeting: &mut Greeting) {
        if !greeting.is_settled() {
            return;
        }
        let named = greeting.named();
        let to_ai = socket.flags & SOCKET_OF_INTEREST != 0;
        if !to_ai && !self.leads_to_ai(&named.names) {
            return;
        }
        // Under another name than an AI provider's to the address of one: the name may be that of a front.
        let hidden = greeting.ech() == Fact::Known(true);
        let hidden = hidden.then_some((Kind::EncryptedHello, None));
        let catalogue = &self.shared.catalogues.now();
        let Some((kind, imitates)) = hidden.or_else(|| judge(catalogue, &named.names)) else {
            return;
        };
        if greeting.told & kind.bit() != 0 {
            return;
        }
        greeting.told |= kind.bit();
        let process = self.process(socket.tgid, socket.start_ns, Clock::monotonic_ns());
        self.find(kind, (named, imitates), process, capture::remote_of(socket));
    }

    /// Looks at the names of a connection, once another place has named it.
    pub(super) fn examine(&mut self, id: u64) {
        let Some(mut connection) = self.connections.remove(&id) else { return };
        if connection.is_settled() {
            self.examine_named(&mut connection);
        }
        self.connections.insert(id, connection);
    }

    fn examine_named(&self, connection: &mut Connection) {
        let named = connection.named();
        if !connection.judged && !self.leads_to_ai(&named.names) {
            return;
        }
        let Some((kind, imitates)) = judge(&self.shared.catalogues.now(), &named.names) else {
            return;
        };
        if connection.called.greeting.told & kind.bit() != 0 {
            return;
        }
        connection.called.greeting.told |= kind.bit();
        let (peer, _) = connection.remote();
        let process = self.process(connection.pid, connection.start_ns, Clock::monotonic_ns());
        self.find(kind, (named, imitates), process, peer);
    }

    /// Takes a connection that is over. What the network tells of it may come a moment later.
    pub(super) fn take_leave(&mut self, connection: Connection) {
        if !connection.is_awaiting() {
            return self.part(connection);
        }
        self.parting.push_back(connection);
        if self.parting.len() > PARTING_MAX
            && let Some(oldest) = self.parting.pop_front()
        {
            self.part(oldest);
        }
    }

    /// Reports connections of which all is told, and those that have waited for it long enough.
    pub(super) fn part_those_told(&mut self, now_ns: u64) {
        let is_over = |connection: &Connection| {
            let ended = connection.ends_ns.unwrap_or_default();
            !connection.is_awaiting() || ended.saturating_add(PARTING_NS) <= now_ns
        };
        let (over, parting) = mem::take(&mut self.parting).into_iter().partition(is_over);
        self.parting = parting;
        let over: VecDeque<Connection> = over;
        for connection in over {
            self.part(connection);
        }
    }

    fn part(&mut self, mut connection: Connection) {
        self.examine_named(&mut connection);
        let at_ns = connection.ends_ns.unwrap_or_default();
        self.report_ending(connection, at_ns);
    }

    fn leads_to_ai(&self, names: &Names) -> bool {
        let Names { dns, hello, library, authority, .. } = names;
        let mut said = [dns, hello, library, authority].into_iter().flatten();
        let catalogue = self.shared.catalogues.now();
        said.any(|name| catalogue.find(name).is_some())
    }

    fn find(
        &self,
        kind: Kind,
        (named, imitates): (Named, Option<String>),
        process: Process,
        peer: Option<SocketAddr>,
    ) {
        let server = Server { name: named.names.best().map(str::to_owned), peer };
        let time = self.clock.now();
        let (kind, named) = (kind.as_str(), Box::new(named));
        self.send(Event::Finding(Finding { time, process, server, kind, named, imitates }));
    }

    /// Reports a connection of QUIC: its names are known, its plaintext is not. One to an address of a provider that names
    /// another host leads there.
    pub(super) fn on_quic(&self, socket: &Socket, greeting: &Greeting, at_ns: u64) {
        if !greeting.may_lead_to_ai() {
            return;
        }
        let named = greeting.named();
        let name = named.names.best().map(str::to_owned);
        let server = Server { name, peer: capture::remote_of(socket) };
        let time = self.clock.wall(at_ns);
        let process = self.process(socket.tgid, socket.start_ns, at_ns);
        let uncalled = Uncalled {
            time,
            process: &process,
            server: &server,
            seen: Seen::Blind,
            is_quic: true,
            ech: greeting.ech(),
            cookie: socket.cookie,
            sent: socket.bytes_sent,
        };
        let ruling = self.judge_uncalled(&uncalled);
        self.send(Event::Coverage(Box::new(Coverage {
            time,
            process,
            provider: self.provider_of(&server),
            server,
            named: Box::new(named),
            scope: Scope::Connection,
            seen: Seen::Blind,
            reason: "quic",
            missing: None,
            estimate: None,
            ruling,
            duration_ns: None,
            bytes_sent: None,
            bytes_received: None,
        })));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_by_which_an_address_was_found_tells_where_it_is_that_of_an_ai_host_or_the_same() {
        // One that only the configuration names.
        let is_ai = |name: &str| name == "llm.internal.example";
        assert!(is_telling(is_ai, "llm.internal.example", Some("front.example")));
        assert!(!is_telling(is_ai, "proxy.example", Some("front.example")));
        assert!(is_telling(is_ai, "front.example", Some("front.example")));
        assert!(is_telling(is_ai, "proxy.example", None));
    }

    #[test]
    fn names_are_judged_by_what_they_lead_to() {
        const CASES: [([&str; 3], bool, Option<&str>); 12] = [
            (["api.openai.com", "api.openai.com", "api.openai.com"], false, None),
            (["", "www.example.com", "api.openai.com"], false, Some("fronting")),
            (["", "api.openai.com", "api.groq.com"], false, Some("fronting")),
            (["", "api.openai.com", "eu.api.openai.com"], false, None),
            // Two rows of one provider.
            (["", "chat.openai.com", "auth.openai.com"], false, None),
            (["", "console.anthropic.com", "api.anthropic.com"], false, None),
            (["api.groq.com", "api.openai.com", ""], false, Some("redirected")),
            // The name of a proxy: who connects through it asks DNS for nothing else.
            (["proxy.example", "api.openai.com", "api.openai.com"], false, None),
            (["front.example", "front.example", ""], true, None),
            (["api.openai.com", "front.example", ""], true, Some("encrypted_hello")),
            (["", "api.0penai.com", ""], false, Some("look_alike")),
            (["", "api.openai.com", "10.77.0.11"], false, None),
        ];
        let catalogue = Catalogue::bundled().unwrap();
        let openai = "api.openai.com";
        for ([dns, hello, authority], has_encrypted_hello, expected) in CASES {
            let [dns, hello, authority] =
                [dns, hello, authority].map(|name| Some(name.to_owned()).filter(|n| !n.is_empty()));
            let is_ai = |name: &str| catalogue.find(name).is_some();
            let dns = dns.filter(|dns| is_telling(is_ai, dns, hello.as_deref()));
            let names = Names { dns, hello, authority, has_encrypted_hello, library: None };
            let found = judge(&catalogue, &names);
            assert_eq!(found.as_ref().map(|(kind, _)| kind.as_str()), expected, "{names:?}");
            let imitates = found.and_then(|(_, imitates)| imitates);
            assert_eq!(imitates.is_some(), expected == Some("look_alike"));
            assert!(imitates.is_none_or(|host| host == openai));
        }
    }
}
