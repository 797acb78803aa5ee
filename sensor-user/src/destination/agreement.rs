//! The names that a connection was given at each place come in; whether they agree goes out.

use std::fmt;
use std::net::IpAddr;

/// Names of one connection, lowercase, by the place where each was said; `None` where that place was not seen or is silent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Asked of DNS by this workload, with the connection's address in the answer.
    pub dns: Option<String>,
    /// Server name of the ClientHello on the wire.
    pub hello: Option<String>,
    /// Server name given to the TLS library.
    pub library: Option<String>,
    /// `Host` or `:authority` of the requests, without a port; the first that differs from the others where there are several.
    pub authority: Option<String>,
    /// Whether the ClientHello carries an encrypted one.
    pub has_encrypted_hello: bool,
}

/// What the names say of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Agreement {
    /// At least two places named the server, and all the same.
    Agreed,
    /// One place named it.
    Single,
    /// No place named it: an address was used.
    Unnamed,
    /// The request names another host than the handshake: domain fronting, or coalescing of an HTTP/2 client.
    Fronted,
    /// Handshake and DNS disagree: the address belongs to another name.
    Redirected,
    /// The handshake's name is that of a front, the real one is encrypted.
    Encrypted,
}

impl Agreement {
    /// The word used in events and policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agreed => "agreed",
            Self::Single => "single",
            Self::Unnamed => "unnamed",
            Self::Fronted => "fronted",
            Self::Redirected => "redirected",
            Self::Encrypted => "encrypted",
        }
    }

    /// Whether the names contradict each other.
    pub fn is_conflict(self) -> bool {
        matches!(self, Self::Fronted | Self::Redirected)
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Names {
    /// How the names agree. The request's word is proof of where the bytes are meant to go; DNS is a hint.
    pub fn agreement(&self) -> Agreement {
        let handshake = self.hello.as_deref().or(self.library.as_deref());
        let differ = |one: Option<&str>, other: Option<&str>| {
            one.zip(other).is_some_and(|(one, other)| one != other)
        };
        // An address is no name: it can neither confirm nor contradict one.
        let is_name = |host: &&str| host.parse::<IpAddr>().is_err();
        let authority = self.authority.as_deref().filter(is_name);
        let inner = differ(self.library.as_deref(), authority);
        if self.has_encrypted_hello && differ(handshake, authority) && !inner {
            return Agreement::Encrypted;
        }
        if differ(handshake, authority) || inner {
            return Agreement::Fronted;
        }
        if differ(self.hello.as_deref(), self.library.as_deref()) {
            return if self.has_encrypted_hello {
                Agreement::Encrypted
            } else {
                Agreement::Redirected
            };
        }
        if differ(self.dns.as_deref(), handshake.or(authority)) {
            return if self.has_encrypted_hello && handshake.is_some() {
                Agreement::Encrypted
            } else {
                Agreement::Redirected
            };
        }
        let said = [self.dns.as_deref(), self.hello.as_deref(), self.library.as_deref(), authority];
        match said.into_iter().flatten().count() {
            0 => Agreement::Unnamed,
            1 => Agreement::Single,
            _ => Agreement::Agreed,
        }
    }

    /// The name that counts, most trusted first: request, TLS library, handshake, DNS.
    pub fn best(&self) -> Option<&str> {
        [&self.authority, &self.library, &self.hello, &self.dns]
            .into_iter()
            .find_map(|name| name.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(said: [&str; 4], has_encrypted_hello: bool) -> Names {
        let [dns, hello, library, authority] =
            said.map(|name| (!name.is_empty()).then(|| name.to_owned()));
        Names { dns, hello, library, authority, has_encrypted_hello }
    }

    #[test]
    fn names_are_held_against_each_other() {
        const CASES: [([&str; 4], bool, Agreement); 13] = [
            (["a", "a", "a", "a"], false, Agreement::Agreed),
            (["", "", "", ""], false, Agreement::Unnamed),
            (["", "a", "", ""], false, Agreement::Single),
            (["a", "a", "a", "b"], false, Agreement::Fronted),
            (["", "front", "", "b"], true, Agreement::Encrypted),
            (["", "front", "b", ""], true, Agreement::Encrypted),
            (["", "front", "b", "b"], true, Agreement::Encrypted),
            (["c", "a", "", ""], false, Agreement::Redirected),
            (["c", "", "", "a"], false, Agreement::Redirected),
            (["", "a", "b", ""], false, Agreement::Redirected),
            (["b", "front", "", ""], true, Agreement::Encrypted),
            (["", "", "", "192.0.2.7"], false, Agreement::Unnamed),
            (["", "a", "", "2001:db8::7"], false, Agreement::Single),
        ];
        for (said, encrypted, expected) in CASES {
            assert_eq!(names(said, encrypted).agreement(), expected, "{said:?}");
        }
        assert!(Agreement::Fronted.is_conflict() && !Agreement::Encrypted.is_conflict());
    }

    #[test]
    fn what_the_request_says_counts_most() {
        assert_eq!(names(["c", "a", "", "b"], false).best(), Some("b"));
        assert_eq!(names(["c", "", "", ""], false).best(), Some("c"));
        assert_eq!(Names::default().best(), None);
    }
}
