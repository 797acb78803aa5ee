//! Words between the registry of probes and whoever asks it come in one place: why, what came of it, what was taken back.

use super::library::Carried;

/// Why a process carries probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Why {
    /// Its program made AI calls before.
    Learned,
    /// It asked DNS for an AI name.
    Question,
    /// It connected to an AI address.
    Connect,
    /// It sent a ClientHello with an AI name.
    Hello,
    /// Its parent carries probes.
    Forked,
    /// It had open TLS connections when the agent started.
    Probation,
    /// The configuration asks for every process.
    Eager,
}

impl Why {
    /// The word used in events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Learned => "learned",
            Self::Question => "dns_question",
            Self::Connect => "connect",
            Self::Hello => "client_hello",
            Self::Forked => "forked",
            Self::Probation => "probation",
            Self::Eager => "eager",
        }
    }
}

/// What attaching to a process came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// Probes set by this call.
    pub probes: usize,
    /// Paths of the files that carry a TLS library, as the process sees them.
    pub libraries: Vec<String>,
    /// The libraries in those files.
    pub carried: Vec<Carried>,
    /// Whether a file is being searched, so that another call may find more.
    pub under_way: bool,
    /// Whether a file was left alone because its places have proven wrong.
    pub rejected: bool,
}

/// A process that loses its probes because they stood in wrong places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The process.
    pub pid: u32,
    /// Why it carried them.
    pub why: Why,
    /// Whether its file is searched for the right ones.
    pub again: bool,
}
