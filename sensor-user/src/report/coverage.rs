//! What of a connection's plaintext was not seen comes in; its line of flat attributes, with what may have passed, goes out.

use jiff::Timestamp;

use crate::policy::Ruling;
use crate::report::attributes::Attributes;
use crate::report::event::Process;
use crate::report::event::Ruled;
use crate::report::event::Seen;
use crate::report::event::Server;
use crate::report::names::Named;
use crate::spend::Cost;
use crate::spend::Tokens;
use crate::spend::format_usd;

/// What a verdict is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// All that a process says: its connections have verdicts of their own when they end.
    Process,
    /// One connection that has ended.
    Connection,
}

impl Scope {
    /// The value of `tollgate.coverage.scope`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Connection => "connection",
        }
    }
}

/// Plaintext that was not seen.
#[derive(Clone, Debug)]
pub struct Coverage {
    /// Wall-clock time.
    pub time: Timestamp,
    /// Who made the connection.
    pub process: Process,
    /// The far end.
    pub server: Server,
    /// Provider behind the name, where the catalogue has it.
    pub provider: Option<Provider>,
    /// What it was called, by place.
    pub named: Box<Named>,
    /// What the verdict is about.
    pub scope: Scope,
    /// How much was seen.
    pub seen: Seen,
    /// Why not all of it (`jsse`, `tls_library_not_supported`, …).
    pub reason: &'static str,
    /// Bytes of plaintext that are missing, where a part was seen.
    pub missing: Option<Missing>,
    /// What may have passed, where nothing was seen.
    pub estimate: Option<Estimate>,
    /// What the policies say of it, where they judge and no other event says so.
    pub ruling: Option<Box<Ruling>>,
    /// Nanoseconds from its start to its end.
    pub duration_ns: Option<u64>,
    /// Bytes on the wire, to the server.
    pub bytes_sent: Option<u64>,
    /// Bytes on the wire, from the server.
    pub bytes_received: Option<u64>,
}

/// Whose a host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// `gen_ai.provider.name`.
    pub name: String,
    /// Kind of service.
    pub category: &'static str,
    /// Whether only a host's name stands for it that carries other traffic too, and no call: that proves nothing.
    pub presumed: bool,
}

impl Provider {
    /// Whether a connection counts among those to AI, where this is all that is known of its provider.
    pub fn counts(provider: Option<&Self>) -> bool {
        provider.is_none_or(|provider| !provider.presumed)
    }
}

/// How much is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Bytes of plaintext.
    pub bytes: u64,
    /// Whether it is so many; otherwise it is no more than that.
    pub exact: bool,
}

/// What a connection that could not be read may have carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Tokens.
    pub tokens: Tokens,
    /// Model whose prices were taken: one that was seen used before, if any was.
    pub model: Option<String>,
    /// What these tokens cost; without a model it is not known.
    pub cost: Cost,
}

impl Coverage {
    /// The event as one line of JSON, without its end.
    pub(super) fn line(&self, host: &str) -> String {
        let mut line = Attributes::new("tollgate.coverage", self.time, host);
        line.put_process(&self.process);
        self.server.put(&mut line);
        let provider = self.provider.as_ref().map(|provider| provider.name.as_str());
        line.put("gen_ai.provider.name", provider);
        if self.scope == Scope::Connection {
            self.named.put(&mut line);
        }
        line.put("tollgate.coverage", Some(self.seen.as_str()));
        line.put("tollgate.coverage.scope", Some(self.scope.as_str()));
        line.put("tollgate.coverage.reason", Some(self.reason));
        if let Some(missing) = self.missing {
            line.put("tollgate.coverage.missing_bytes", Some(missing.bytes));
            let bound = if missing.exact { "exact" } else { "at_most" };
            line.put("tollgate.coverage.missing_bound", Some(bound));
        }
        Ruled::tell(self.ruling.as_deref(), &mut line);
        line.put("tollgate.connection.bytes_sent", self.bytes_sent);
        line.put("tollgate.connection.bytes_received", self.bytes_received);
        line.put_millis("tollgate.duration_ms", self.duration_ns);
        if let Some(estimate) = &self.estimate {
            estimate.put(&mut line);
        }
        line.into_line()
    }
}

impl Estimate {
    fn put(&self, line: &mut Attributes) {
        line.put("tollgate.estimate.input_tokens", Some(self.tokens.input));
        line.put("tollgate.estimate.output_tokens", Some(self.tokens.output));
        line.put("tollgate.estimate.model", self.model.as_deref());
        let usd = self.cost.picodollars.map(|amount| format_usd(i128::from(amount)));
        line.put("tollgate.cost.usd", usd);
        line.put("tollgate.cost.basis", Some(self.cost.basis.as_str()));
        line.put("tollgate.cost.gap", self.cost.gap.map(crate::spend::Gap::as_str));
    }
}
