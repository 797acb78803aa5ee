//! What the agent has to say comes in, one struct a kind; its line of flat attributes goes out.

use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;

use crate::policy::Ruling;
use crate::report::attributes::Attributes;
use crate::report::call::CallEvent;
pub use crate::report::coverage::Coverage;
use crate::report::names::Finding;
use crate::report::names::Named;
use crate::workload::Workload;

/// Anything that is reported.
#[derive(Clone, Debug)]
pub enum Event {
    /// One call to an AI provider.
    Call(Box<CallEvent>),
    /// One connection to an AI provider has ended.
    Connection(Connection),
    /// How much of a connection's plaintext could be seen, where it is not all.
    Coverage(Box<Coverage>),
    /// Something was refused, or passed unseen where it should not.
    Decision(Decision),
    /// Something about a connection should be looked at.
    Finding(Finding),
    /// Something was lost.
    Loss(Loss),
    /// The agent itself.
    Agent(Agent),
}

/// The process behind an event.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Process id, where known.
    pub pid: Option<u32>,
    /// Wall-clock start, where known.
    pub started: Option<Timestamp>,
    /// Who it is; `None` is an unattributed event.
    pub workload: Option<Arc<Workload>>,
}

/// The far end of a connection.
#[derive(Clone, Debug, Default)]
pub struct Server {
    /// Host name that was asked for.
    pub name: Option<String>,
    /// Address of the socket's peer.
    pub peer: Option<SocketAddr>,
}

/// The TLS library of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Its name (`openssl`, …).
    pub library: Option<&'static str>,
    /// How its functions were found (`symbols`, `offsets`, `signature`, `structure`).
    pub resolved_by: Option<&'static str>,
}

impl Tls {
    pub(super) fn put(self, line: &mut Attributes) {
        line.put("tls.library", self.library);
        line.put("tollgate.tls.resolved_by", self.resolved_by);
    }
}

/// How much of the plaintext was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Seen {
    /// All of it.
    Complete,
    /// A part of it.
    Truncated,
    /// Nothing.
    Blind,
}

impl Seen {
    /// The value of `tollgate.coverage`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Truncated => "truncated",
            Self::Blind => "blind",
        }
    }
}

/// A connection to an AI provider has ended.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Wall-clock time of its end.
    pub time: Timestamp,
    /// Who held it.
    pub process: Process,
    /// The far end.
    pub server: Server,
    /// Provider behind the name, where the catalogue has it.
    pub provider: Option<crate::report::coverage::Provider>,
    /// What it was called, by place.
    pub named: Box<Named>,
    /// TLS library.
    pub tls: Tls,
    /// How the TLS object was bound to the socket (`client_random`, `wire_record`, `descriptor`, `unique`).
    pub binding: Option<&'static str>,
    /// How much was seen.
    pub seen: Seen,
    /// What the policies say of it, where they judge and no call on it was judged.
    pub ruling: Option<Box<Ruling>>,
    /// Calls made on it.
    pub calls: u64,
    /// Nanoseconds from its start to its end.
    pub duration_ns: Option<u64>,
    /// Bytes on the wire, to the server.
    pub bytes_sent: Option<u64>,
    /// Bytes on the wire, from the server.
    pub bytes_received: Option<u64>,
}

/// What was decided about a connection or call, and done.
#[derive(Clone, Debug)]
pub struct Decision {
    /// Wall-clock time.
    pub time: Timestamp,
    /// Who wanted it.
    pub process: Process,
    /// The far end.
    pub server: Server,
    /// Provider, where known.
    pub provider: Option<String>,
    /// `deny`, `unseen` for what passed without being seen; of a call, or a connection without one, whatever the policies say
    /// (`alert`, `deny`, `kill`).
    pub decision: &'static str,
    /// Policy and rule, where policies judged a call or connection.
    pub ruling: Option<Ruled>,
    /// Whether it was really refused.
    pub enforced: bool,
    /// Which layer acted (`address`, `name`, `content`, `change`, `opaque`, `socket`, `quic`; `request`, `call` and `connection`
    /// for the agent).
    pub layer: &'static str,
    /// Error that the application saw.
    pub error: Option<&'static str>,
    /// Why.
    pub reason: String,
    /// Bytes of the connection that had left before.
    pub bytes_sent: u64,
}

/// Which policy judged a call or connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruled {
    /// Its name.
    pub policy: Arc<str>,
    /// Its rule; none where its default decided.
    pub rule: Option<Arc<str>>,
    /// Mode it holds in for the subject.
    pub mode: &'static str,
}

impl Ruled {
    /// The policy behind a ruling, where there is one.
    pub fn of(ruling: &Ruling) -> Option<Self> {
        let policy = ruling.policy.clone()?;
        Some(Self { policy, rule: ruling.rule.clone(), mode: ruling.mode.as_str() })
    }

    /// Puts what was decided, and by which policy, where any judged.
    pub(super) fn tell(ruling: Option<&Ruling>, line: &mut Attributes) {
        line.put("tollgate.decision", ruling.map(|ruling| ruling.effect.as_str()));
        if let Some(ruled) = ruling.and_then(Self::of) {
            ruled.put(line);
        }
    }

    fn put(&self, line: &mut Attributes) {
        line.put("tollgate.policy", Some(&*self.policy));
        line.put("tollgate.rule", self.rule.as_deref());
        line.put("tollgate.policy.mode", Some(self.mode));
    }
}

/// Something was lost.
#[derive(Clone, Debug)]
pub struct Loss {
    /// Wall-clock time.
    pub time: Timestamp,
    /// Why (`payload_no_room`, …).
    pub reason: &'static str,
    /// Records lost since the last such event.
    pub records: u64,
    /// Bytes lost since then, where that is known.
    pub bytes: Option<u64>,
}

/// The agent started, stopped, or changed what it can see.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Wall-clock time.
    pub time: Timestamp,
    /// `started`, `ready`, `limited`, `stopping`, `stopped`.
    pub state: &'static str,
    /// What there is to say about it.
    pub message: Option<String>,
    /// Version of the agent.
    pub version: &'static str,
    /// Kernel release.
    pub kernel: Option<String>,
}

impl Event {
    /// The event as one line of JSON, without its end.
    pub fn line(&self, host: &str) -> String {
        match self {
            Self::Call(call) => call.line(host),
            Self::Connection(connection) => connection.line(host),
            Self::Coverage(coverage) => coverage.line(host),
            Self::Decision(decision) => decision.line(host),
            Self::Finding(finding) => finding.line(host),
            Self::Loss(loss) => loss.line(host),
            Self::Agent(agent) => agent.line(host),
        }
    }
}

impl Server {
    pub(super) fn put(&self, line: &mut Attributes) {
        line.put(
            "server.address",
            self.name.clone().or_else(|| self.peer.map(|peer| peer.ip().to_string())),
        );
        line.put("server.port", self.peer.map(|peer| peer.port()));
        line.put("network.peer.address", self.peer.map(|peer| peer.ip().to_string()));
        line.put("network.peer.port", self.peer.map(|peer| peer.port()));
    }
}

impl Connection {
    fn line(&self, host: &str) -> String {
        let mut line = Attributes::new("tollgate.connection", self.time, host);
        line.put_process(&self.process);
        self.server.put(&mut line);
        let provider = self.provider.as_ref().map(|provider| provider.name.as_str());
        line.put("gen_ai.provider.name", provider);
        self.named.put(&mut line);
        self.tls.put(&mut line);
        line.put("tollgate.binding", self.binding);
        line.put("tollgate.coverage", Some(self.seen.as_str()));
        Ruled::tell(self.ruling.as_deref(), &mut line);
        line.put("tollgate.connection.calls", Some(self.calls));
        line.put("tollgate.connection.bytes_sent", self.bytes_sent);
        line.put("tollgate.connection.bytes_received", self.bytes_received);
        line.put_millis("tollgate.duration_ms", self.duration_ns);
        line.into_line()
    }
}

impl Decision {
    fn line(&self, host: &str) -> String {
        let mut line = Attributes::new("tollgate.decision", self.time, host);
        line.put_process(&self.process);
        self.server.put(&mut line);
        line.put("gen_ai.provider.name", self.provider.as_deref());
        line.put("tollgate.decision", Some(self.decision));
        line.put("tollgate.enforced", Some(self.enforced));
        line.put("tollgate.layer", Some(self.layer));
        if let Some(ruling) = &self.ruling {
            ruling.put(&mut line);
        }
        line.put("error.type", self.error);
        line.put("tollgate.reason", Some(self.reason.as_str()));
        line.put("tollgate.connection.bytes_sent", Some(self.bytes_sent));
        line.into_line()
    }
}

impl Loss {
    fn line(&self, host: &str) -> String {
        let mut line = Attributes::new("tollgate.loss", self.time, host);
        line.put("tollgate.loss.reason", Some(self.reason));
        line.put("tollgate.loss.records", Some(self.records));
        line.put("tollgate.loss.bytes", self.bytes);
        line.into_line()
    }
}

impl Agent {
    fn line(&self, host: &str) -> String {
        let mut line = Attributes::new("tollgate.agent", self.time, host);
        line.put("tollgate.agent.state", Some(self.state));
        line.put("tollgate.agent.message", self.message.as_deref());
        line.put("service.version", Some(self.version));
        line.put("os.version", self.kernel.as_deref());
        line.into_line()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Effect, Existing, Mode};
    use crate::report::sinks::sample;

    #[test]
    fn connection_tells_what_policies_decided_of_it_seen_or_not() {
        let ruling = Ruling {
            effect: Effect::Deny,
            mode: Mode::Warn,
            policy: Some(Arc::from("p")),
            rule: Some(Arc::from("r")),
            reason: None,
            existing: Existing::Keep,
            presumed: false,
            facts: Vec::new(),
        };
        let said = "\"tollgate.decision\":\"deny\",\"tollgate.policy\":\"p\",\"tollgate.rule\":\"r\",\"tollgate.policy.mode\":\"warn\"";
        let mut told = 0;
        for mut event in sample::events() {
            let place = match &mut event {
                Event::Connection(connection) => &mut connection.ruling,
                Event::Coverage(coverage) => &mut coverage.ruling,
                _ => continue,
            };
            *place = Some(Box::new(ruling.clone()));
            assert!(event.line("").contains(said), "{}", event.line(""));
            told += 1;
        }
        assert_eq!(told, 3);
    }
}
