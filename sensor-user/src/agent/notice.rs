//! What the thread that attaches and the thread that decodes tell each other.

use sensor_common::record::Socket;

/// From the thread that watches processes and sockets.
pub(super) enum ToPipeline {
    /// A ClientHello passed on a socket.
    Hello { socket: Socket, name: Option<String>, ai: bool },
    /// A socket closed.
    Closed { socket: Socket, at_ns: u64 },
    /// A process ended.
    Exited { pid: u32, at_ns: u64 },
    /// A process talks to AI, but no TLS library was found in it.
    Blind { pid: u32, reason: &'static str },
}

/// From the thread that decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FromPipeline {
    /// A process made an AI call.
    AiCall { pid: u32 },
    /// What a process said so far is not AI traffic.
    NotAi { pid: u32 },
}
