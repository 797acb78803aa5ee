//! The names of a connection by place come in, with what is wrong between them; attributes and the event of a finding go out.

use jiff::Timestamp;

use crate::destination::Agreement;
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
    /// Whether the hello hid the name that was meant behind another; `None` where that cannot be told. An encrypted hello
    /// beside the name that was meant is for show.
    pub fn hides_name(&self) -> Option<bool> {
        let Names { hello, library, authority, .. } = &self.names;
        let meant = library.as_ref().or(authority.as_ref());
        if self.encrypted_hello == Some(false) || (hello.is_some() && hello.as_ref() == meant) {
            return Some(false);
        }
        let differs = hello.is_some() && library.is_some();
        let is_hidden = differs || self.names.agreement() == Agreement::Encrypted;
        (self.encrypted_hello == Some(true) && is_hidden).then_some(true)
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_hidden_behind_another_and_not_beside_itself() {
        const CASES: [([&str; 4], Option<bool>, Option<bool>); 10] = [
            (["", "front.example", "", "api.openai.com"], Some(true), Some(true)),
            (["", "front.example", "api.openai.com", "api.openai.com"], Some(true), Some(true)),
            (["api.openai.com", "front.example", "", ""], Some(true), Some(true)),
            // An encrypted hello for show, as browsers send it.
            (["", "api.openai.com", "", "api.openai.com"], Some(true), Some(false)),
            (["", "api.openai.com", "api.openai.com", "eu.example"], Some(true), Some(false)),
            (["", "front.example", "", "api.openai.com"], Some(false), Some(false)),
            // The hello is not read yet, but its name is the one that was meant.
            (["", "api.openai.com", "", "api.openai.com"], None, Some(false)),
            (["", "front.example", "", "api.openai.com"], None, None),
            (["", "api.openai.com", "", ""], Some(true), None),
            (["api.openai.com", "", "", "api.openai.com"], None, None),
        ];
        for (said, encrypted_hello, expected) in CASES {
            let [dns, hello, library, authority] =
                said.map(|name| (!name.is_empty()).then(|| name.to_owned()));
            let has_encrypted_hello = encrypted_hello == Some(true);
            let names = Names { dns, hello, library, authority, has_encrypted_hello };
            let named = Named { names, ja4: None, encrypted_hello };
            assert_eq!(named.hides_name(), expected, "{named:?}");
        }
    }
}
