//! What sockets say first comes in; whose ClientHello it is, and the names it carries, go out.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use sensor_common::record::{
    FLAG_AI_NAME, FLAG_DATAGRAM, FLAG_HELD, FLAG_UNKNOWN_LIBRARY, Header, Hello, SOCKET_AI,
    SOCKET_OF_INTEREST, Socket,
};

use crate::bpf::OpeningMap;
use crate::capture;
use crate::destination::client_hello::{Assembler, Progress};
use crate::destination::dns_stream::Streams;
use crate::destination::{ClientHello, Resolved, quic};
use crate::probes::Why;

use super::intent::Intent;
use super::notice::{Greeting, Read, ToPipeline};

/// ClientHellos that are put together at once; of each at most 32 KiB are held.
const UNDER_WAY_MAX: usize = 256;
/// Time after which a hello that is not whole gives way to others, in nanoseconds.
const GIVEN_UP_NS: u64 = 10_000_000_000;

/// A socket and its far end: one socket may carry many connections of QUIC.
type Place = (u64, Option<SocketAddr>);

/// What the thread knows about the beginnings of connections.
pub(super) struct Openings {
    kernel: OpeningMap,
    under_way: HashMap<Place, Opening>,
    pub(super) resolved: Resolved,
    /// Answers of name servers over TCP.
    pub(super) answers: Streams,
}

/// A hello on its way.
struct Opening {
    parts: Parts,
    began_ns: u64,
    /// Flags of its first part: whether the kernel half has told of its name, and which library it is of.
    flags: u32,
}

enum Parts {
    /// Of a byte stream, with the sequence number of the next byte.
    Stream(Assembler, u32),
    Datagrams(quic::Assembler),
}

/// Why a hello is not read.
struct Unread;

impl Parts {
    fn new(header: &Header) -> Self {
        if header.flags & FLAG_DATAGRAM != 0 {
            return Self::Datagrams(quic::Assembler::default());
        }
        Self::Stream(Assembler::default(), sequence_of(header))
    }

    fn push(&mut self, header: &Header, bytes: &[u8]) -> Result<Option<Box<ClientHello>>, Unread> {
        let (assembler, next) = match self {
            // A later packet of the same connection may be of another kind, and is of no use then.
            Self::Datagrams(assembler) => return Ok(assembler.push(bytes).ok().flatten()),
            Self::Stream(assembler, next) => (assembler, next),
        };
        let again = next.wrapping_sub(sequence_of(header));
        let again = usize::try_from(again).ok().filter(|_| again < u32::MAX / 2).ok_or(Unread)?;
        let Some(fresh) = bytes.get(again..).filter(|fresh| !fresh.is_empty()) else {
            return Ok(None);
        };
        match assembler.push(fresh) {
            Ok(Progress::Hello(hello)) => return Ok(Some(hello)),
            Ok(Progress::Incomplete) => {}
            Err(_) => return Err(Unread),
        }
        // Of a segment that was too long to be handed up whole, the rest is missing.
        if bytes.len() < usize::try_from(header.call_len).unwrap_or(usize::MAX) {
            return Err(Unread);
        }
        *next = next.wrapping_add(u32::try_from(fresh.len()).unwrap_or(u32::MAX));
        Ok(None)
    }
}

/// The TCP sequence number of the first byte, which is all that the offset of such a record is.
fn sequence_of(header: &Header) -> u32 {
    u32::try_from(header.offset & u64::from(u32::MAX)).unwrap_or_default()
}

impl Openings {
    pub(super) fn new(kernel: OpeningMap) -> Self {
        Self {
            kernel,
            under_way: HashMap::new(),
            resolved: Resolved::default(),
            answers: Streams::default(),
        }
    }

    /// Takes the next bytes; gives a hello that is whole, and the flags of its first part.
    fn push(
        &mut self,
        place: Place,
        header: &Header,
        bytes: &[u8],
    ) -> Result<Option<(Box<ClientHello>, u32)>, Unread> {
        if !self.under_way.contains_key(&place) {
            if self.under_way.len() >= UNDER_WAY_MAX {
                let now = header.at_ns;
                self.under_way
                    .retain(|_, opening| opening.began_ns.saturating_add(GIVEN_UP_NS) > now);
            }
            if self.under_way.len() >= UNDER_WAY_MAX {
                return Err(Unread);
            }
            let parts = Parts::new(header);
            let (began_ns, flags) = (header.at_ns, header.flags);
            self.under_way.insert(place, Opening { parts, began_ns, flags });
        }
        let Some(opening) = self.under_way.get_mut(&place) else { return Ok(None) };
        let outcome = opening.parts.push(header, bytes);
        let flags = opening.flags;
        if !matches!(outcome, Ok(None)) {
            self.under_way.remove(&place);
            self.kernel.remove(place.0);
        }
        Ok(outcome?.map(|hello| (hello, flags)))
    }
}

impl Intent {
    /// Takes a name that the kernel half has found in a ClientHello.
    pub(super) fn on_hello(&mut self, header: &Header, hello: &Hello) {
        let name = capture::name_of(hello);
        let ai = header.flags & FLAG_AI_NAME != 0
            && name.as_deref().is_some_and(|name| self.is_ai(name));
        let greeting = Greeting { name, ai, ..Greeting::default() };
        self.greet(header, &hello.socket, greeting, ai);
    }

    /// Takes what a socket says first.
    pub(super) fn on_opening(&mut self, header: &Header, socket: &Socket, bytes: &[u8]) {
        let remote = capture::remote_of(socket);
        if header.flags & FLAG_UNKNOWN_LIBRARY != 0 && socket.flags & SOCKET_AI != 0 {
            // Its name was seen before, and it may wait: there is no time to lose.
            self.look_deeper(header.tgid, header.at_ns);
        }
        let (hello, first) = match self.openings.push((header.connection, remote), header, bytes) {
            Ok(Some(found)) => found,
            Ok(None) => return,
            Err(Unread) => return self.status.hello_not_read(),
        };
        let over_quic = header.flags & FLAG_DATAGRAM != 0;
        let ai = hello.server_name.as_deref().is_some_and(|name| self.is_ai(name));
        let read =
            Read { ja4: hello.ja4(over_quic), has_encrypted_hello: hello.has_encrypted_hello };
        let greeting = Greeting {
            name: hello.server_name.clone(),
            ai,
            read: Some(Arc::new(read)),
            ..Greeting::default()
        };
        if !over_quic {
            let is_told = first & FLAG_AI_NAME != 0;
            let header = Header { flags: header.flags | first & FLAG_UNKNOWN_LIBRARY, ..*header };
            self.greet(&header, socket, greeting, ai && !is_told);
        } else if ai || socket.flags & SOCKET_OF_INTEREST != 0 {
            let greeting = self.named(socket, greeting, header.at_ns);
            self.notify(ToPipeline::Quic { socket: *socket, greeting, at_ns: header.at_ns });
        }
    }

    /// Tells the pipeline what a connection is called; `is_news` where its name is that of an AI provider, and nobody knew.
    fn greet(&mut self, header: &Header, socket: &Socket, greeting: Greeting, is_news: bool) {
        let probed = self.registry.why(header.tgid).is_some();
        if is_news && header.tgid != 0 {
            self.status.hello_seen(probed, header.flags & FLAG_HELD != 0);
            self.show_intent(header.tgid, Why::Hello, header.at_ns);
            if header.flags & FLAG_UNKNOWN_LIBRARY != 0 {
                self.look_deeper(header.tgid, header.at_ns);
            }
            self.note_socket(socket, header.cgroup, greeting.name.as_deref());
        }
        let greeting = Greeting { probed, ..self.named(socket, greeting, header.at_ns) };
        self.notify(ToPipeline::Hello { socket: *socket, greeting });
    }

    /// Adds the name by which the process found the address.
    fn named(&self, socket: &Socket, greeting: Greeting, now: u64) -> Greeting {
        let address = capture::remote_of(socket).map(|remote| remote.ip());
        let said = greeting.name.as_deref();
        let dns = address.and_then(|address| {
            self.openings.resolved.name_of(socket.tgid, address, said, now).map(str::to_owned)
        });
        Greeting { dns, ..greeting }
    }
}

#[cfg(test)]
mod tests {
    use sensor_common::record::HEADER_LEN;
    use zerocopy::FromBytes;

    use super::*;

    fn header(offset: u32, call_len: usize) -> Header {
        let mut header = Header::read_from_bytes(&[0; HEADER_LEN]).unwrap();
        header.offset = u64::from(offset);
        header.call_len = u32::try_from(call_len).unwrap();
        header
    }

    fn hello() -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        let [length, message] =
            [body.len(), body.len().saturating_add(4)].map(|length| u8::try_from(length).unwrap());
        [&[22, 3, 1, 0, message, 1, 0, 0, length], body.as_slice()].concat()
    }

    #[test]
    fn segments_sent_again_count_once_whatever_their_numbers() {
        let bytes = hello();
        // The numbers begin anew within the hello.
        let start = u32::MAX - 9;
        let mut parts = Parts::new(&header(start, 0));
        for (at, end) in [(0, 20), (10, 30), (0, 30), (30, bytes.len())] {
            let piece = &bytes[at..end];
            let number = start.wrapping_add(u32::try_from(at).unwrap());
            let whole = parts.push(&header(number, piece.len()), piece).ok().unwrap();
            assert_eq!(whole.is_some(), end == bytes.len(), "{at}..{end}");
        }
    }

    #[test]
    fn hello_with_a_gap_is_not_read() {
        let bytes = hello();
        let mut parts = Parts::new(&header(100, 0));
        assert!(parts.push(&header(100, 10), &bytes[..10]).is_ok());
        assert!(parts.push(&header(111, 5), &bytes[11..16]).is_err());
        let mut parts = Parts::new(&header(100, 0));
        assert!(parts.push(&header(100, 30), &bytes[..20]).is_err());
    }
}
