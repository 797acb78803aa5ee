//! The names of a connection by place come in, with what is wrong between them; attributes and the event of a finding go out.

use jiff::Timestamp;

use crate::destination::Names;
use crate::report::attributes::Attributes;
use crate::report::event::Process;
use crate::report::event::Server;

/// What a connection was called, and by whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Names by the place where each was said.
    pub names: Names,
    /// Fingerprint of the client's hello, where that was read whole.
    pub ja4: Option<String>,
    /// Whether the hello carries an encrypted one, real or for show, where it was read whole.
    pub encrypted_hello: Option<bool>,
}

impl Named {
    pub(super) fn put(&self, line: &mut Attributes) {
        let Names { dns, hello, library, authority, .. } = &self.names;
        line.put("tollgate.names.dns", dns.as_deref());
        line.put("tollgate.names.hello", hello.as_deref());
        line.put("tollgate.names.library", library.as_deref());
        line.put("tollgate.names.authority", authority.as_deref());
        line.put("tollgate.names.agreement", Some(self.names.agreement().as_str()));
        line.put("tls.client.ja4", self.ja4.as_deref());
        line.put("tollgate.tls.encrypted_hello", self.encrypted_hello);
    }
}

/// Something about a connection that should be looked at.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Wall-clock time.
    pub time: Timestamp,
    /// Who made the connection.
    pub process: Process,
    /// The far end.
    pub server: Server,
    /// `fronting`, `redirected`, `encrypted_hello` or `look_alike`.
    pub kind: &'static str,
    /// What the connection was called.
    pub named: Box<Named>,
    /// The host of an AI provider that a name imitates.
    pub imitates: Option<String>,
}

impl Finding {
    pub(super) fn line(&self, host: &str) -> String {
        let mut line = Attributes::new("tollgate.finding", self.time, host);
        line.put_process(&self.process);
        self.server.put(&mut line);
        line.put("tollgate.finding.kind", Some(self.kind));
        line.put("tollgate.finding.imitates", self.imitates.as_deref());
        self.named.put(&mut line);
        line.into_line()
    }
}
