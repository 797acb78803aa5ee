//! What the kernel half writes into its ring buffers.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::limits::NAME_MAX;

/// Plaintext of a TLS call; payload follows the header.
pub const KIND_DATA: u32 = 1;
/// A write has returned: `aux` bytes were accepted.
pub const KIND_COMMIT: u32 = 2;
/// The server name given to a TLS object; payload is the name.
pub const KIND_NAME: u32 = 3;
/// A TLS object was freed.
pub const KIND_FREE: u32 = 4;
/// A TLS object was given a file descriptor: `aux` is the descriptor.
pub const KIND_DESCRIPTOR: u32 = 5;
/// A TLS object and a socket carried the same bytes: `aux` is the socket cookie; payload is [`Socket`].
pub const KIND_BOUND: u32 = 6;
/// A socket sent a ClientHello: `connection` is its cookie; payload is [`Hello`].
pub const KIND_HELLO: u32 = 7;
/// A socket of interest closed: `connection` is its cookie; payload is [`Socket`].
pub const KIND_CLOSED: u32 = 8;
/// A process connects to an address of an AI provider: payload is [`Socket`].
pub const KIND_CONNECT: u32 = 9;
/// A process asks DNS for an AI name: payload is [`Hello`] with the name.
pub const KIND_QUESTION: u32 = 10;
/// A DNS answer: payload is the message. With [`FLAG_SEGMENT`] a segment of TCP, of which messages are a part: `offset` is
/// the sequence number of its first byte, `call_len` how many it had.
pub const KIND_ANSWER: u32 = 11;
/// A process of interest has executed a program.
pub const KIND_EXEC: u32 = 12;
/// A process that carries probes has forked: `aux` is the child.
pub const KIND_FORK: u32 = 13;
/// A process that carries probes has ended.
pub const KIND_EXIT: u32 = 14;

/// Bytes that a socket sends first, as far as its ClientHello goes: `connection` is its cookie, `offset` the TCP sequence
/// number of the first of them, `call_len` how many there are; payload is [`Socket`], then the bytes.
pub const KIND_OPENING: u32 = 15;

/// The bytes were written by the process; without it they were read.
pub const FLAG_SENT: u32 = 1;
/// The connection was seen from its ClientHello on.
pub const FLAG_FRESH: u32 = 2;
/// The bytes could not be read from the process (a page was not present).
pub const FLAG_UNREADABLE: u32 = 4;
/// The ring was full: only the header was written.
pub const FLAG_NO_ROOM: u32 = 8;
/// The server name is an AI provider's.
pub const FLAG_AI_NAME: u32 = 16;
/// The ClientHello was held back once.
pub const FLAG_HELD: u32 = 32;
/// The bytes were left out because the connection is still on probation.
pub const FLAG_PROBATION: u32 = 64;
/// The bytes are a datagram's.
pub const FLAG_DATAGRAM: u32 = 128;
/// The bytes are a segment's.
pub const FLAG_SEGMENT: u32 = 256;
/// The ClientHello comes from a TLS library that does not carry probes, in a process whose others do.
pub const FLAG_UNKNOWN_LIBRARY: u32 = 512;

/// Where the family of a connection's TLS library stands in the flags: which programs see its calls.
pub const FLAG_FAMILY_SHIFT: u32 = 24;
/// Bits of the family.
pub const FLAG_FAMILY_MASK: u32 = 0xf << FLAG_FAMILY_SHIFT;
/// Family of libraries with OpenSSL's calls.
pub const FAMILY_OPENSSL: u32 = 0;
/// Family of GnuTLS.
pub const FAMILY_GNUTLS: u32 = 1;
/// Family of Go's `crypto/tls`.
pub const FAMILY_GO: u32 = 2;
/// Family of stacks whose records are seen where they are sealed and opened.
pub const FAMILY_AEAD: u32 = 3;
/// Family of NSS, called through NSPR.
pub const FAMILY_NSS: u32 = 4;

/// Begins every record; `captured` payload bytes follow, padded to the record's tier.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// One of the `KIND_` constants.
    pub kind: u32,
    /// `FLAG_` bits.
    pub flags: u32,
    /// Kernel monotonic clock, nanoseconds.
    pub at_ns: u64,
    /// Process id (thread group) in the first PID namespace.
    pub tgid: u32,
    /// Thread id.
    pub tid: u32,
    /// When the process started, boot clock nanoseconds; 0 where it cannot be read.
    pub start_ns: u64,
    /// Connection id of a TLS object and its generation, or a socket cookie.
    pub connection: u64,
    /// Offset of the payload in its direction's stream of plaintext.
    pub offset: u64,
    /// Bytes the TLS call was about from `offset` on.
    pub call_len: u32,
    /// Payload bytes that follow.
    pub captured: u32,
    /// Depends on the kind.
    pub aux: u64,
    /// cgroup v2 id of the process; 0 where it cannot be read.
    pub cgroup: u64,
}

/// Size of [`Header`] in bytes.
pub const HEADER_LEN: usize = size_of::<Header>();

/// A record with room for `N` payload bytes.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Record<const N: usize> {
    /// Says what it is.
    pub header: Header,
    /// First `header.captured` bytes are valid.
    pub payload: [u8; N],
}

/// End points and byte counts of a socket.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Socket {
    /// Socket cookie.
    pub cookie: u64,
    /// When `connect` was called, kernel monotonic clock; 0 where it was not seen.
    pub connected_ns: u64,
    /// When the connection was established; 0 where it was not seen.
    pub established_ns: u64,
    /// Bytes the peer has acknowledged, at close.
    pub bytes_sent: u64,
    /// Bytes received, at close.
    pub bytes_received: u64,
    /// Start of the owning process, boot clock nanoseconds.
    pub start_ns: u64,
    /// Process that connected; 0 where it was not seen.
    pub tgid: u32,
    /// `SOCKET_` bits.
    pub flags: u32,
    /// 2 (IPv4) or 10 (IPv6).
    pub family: u32,
    /// Local port, host order.
    pub local_port: u32,
    /// Remote port, host order.
    pub remote_port: u32,
    /// Packets with bytes in them that were received, at close.
    pub packets_received: u32,
    /// Local address, network order; IPv4 in the first four bytes.
    pub local_address: [u8; 16],
    /// Remote address, network order; IPv4 in the first four bytes.
    pub remote_address: [u8; 16],
}

/// The agent is to hear of this socket's end.
pub const SOCKET_OF_INTEREST: u32 = 1;
/// The socket has sent a ClientHello that was reported.
pub const SOCKET_HELLO_SEEN: u32 = 2;
/// The socket's ClientHello was dropped once and will be sent again.
pub const SOCKET_HELD: u32 = 4;
/// A ClientHello of the socket was held back because it came from a library that nobody knew.
pub const SOCKET_HELD_FOR_LIBRARY: u32 = 32;
/// A TLS object was bound to the socket.
pub const SOCKET_BOUND: u32 = 8;

/// The socket's ClientHello carried an AI name.
pub const SOCKET_AI: u32 = 16;

/// A name seen on a socket, with the socket.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Hello {
    /// The socket.
    pub socket: Socket,
    /// Bytes of `name` that are valid.
    pub name_len: u32,
    /// Padding.
    pub reserved: u32,
    /// The name, lowercase.
    pub name: [u8; NAME_MAX],
}
