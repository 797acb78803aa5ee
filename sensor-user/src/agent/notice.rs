//! What the thread that attaches and the thread that decodes tell each other.

use std::sync::Arc;

use sensor_common::record::Socket;

/// What a ClientHello says of its connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Greeting {
    /// Name that the client asked for.
    pub(super) name: Option<String>,
    /// Name by which its process found the address.
    pub(super) dns: Option<String>,
    /// What else it says, once it is read whole.
    pub(super) read: Option<Arc<Read>>,
    /// Whether it is an AI name.
    pub(super) ai: bool,
    /// Whether its process carried probes before, so that the connection's plaintext must be seen.
    pub(super) probed: bool,
    /// Findings about its names that were told, a bit each.
    pub(super) told: u8,
}

/// What a ClientHello says that was read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// Fingerprint of the client.
    pub(super) ja4: String,
    /// Whether it carries an encrypted one, real or for show.
    pub(super) has_encrypted_hello: bool,
}

/// From the thread that watches processes and sockets.
pub(super) enum ToPipeline {
    /// A ClientHello passed on a socket.
    Hello { socket: Socket, greeting: Greeting },
    /// A ClientHello passed in datagrams.
    Quic { socket: Socket, greeting: Greeting, at_ns: u64 },
    /// A socket closed.
    Closed { socket: Socket, at_ns: u64 },
    /// A process ended.
    Exited { pid: u32, at_ns: u64 },
    /// A process talks to AI, but nothing of it can be read, for this reason.
    Blind { pid: u32, reason: &'static str },
}

/// From the thread that decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FromPipeline {
    /// A process made an AI call, or answered one.
    AiCall { pid: u32, asked: bool },
    /// What a process said so far is not AI traffic.
    NotAi { pid: u32 },
    /// What a process said on a connection is no HTTP at all.
    NotHttp { pid: u32 },
    /// A connection of a probed process led to AI and carried a request, and no plaintext of it was seen.
    Unseen { pid: u32 },
}
